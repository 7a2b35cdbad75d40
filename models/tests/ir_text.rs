//! Every network's IR verifies and round-trips through text.

use reflux_ir::{DType, text, verify};
use reflux_models::{ModelConfig, Sizes, flux1};

fn dev() -> (ModelConfig, Sizes) {
    let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024, reference: None };
    (ModelConfig::built_in("flux-dev").unwrap(), sizes)
}

#[test]
fn all_networks_round_trip() {
    for name in ModelConfig::built_in_names() {
        let config = ModelConfig::built_in(name).unwrap();
        let reference = Some([256, 512]);
        let sizes = Sizes { batch: 2, steps: 4, text_tokens: 256, height: 512, width: 768, reference };
        for net in flux1::FAMILY.all_nets() {
            let program = config.lower(net, &sizes, DType::BF16).unwrap();
            verify(&program).unwrap();
            let printed = program.to_string();
            let parsed = text::parse(&printed).unwrap();
            assert_eq!(parsed, program, "{name} {net:?}");
            assert_eq!(parsed.to_string(), printed);
            let unrolled = program.print(&text::PrintOptions { unrolled: true, ..Default::default() });
            assert_eq!(text::parse(&unrolled).unwrap(), program, "{name} {net:?} unrolled");
        }
    }
}

#[test]
fn flux_dev_is_a_page() {
    let (config, sizes) = dev();
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap();
    let text = program.to_string();
    assert!(text.lines().count() < 160, "{} lines", text.lines().count());
}

/// 57 attentions over 4608 tokens of 3072 channels, and 12 · 3072² multiply-adds per token and block besides.
#[test]
fn flux_dev_costs_74_tflop_a_step() {
    let (config, sizes) = dev();
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap();
    let graph = &program.variants["full"];
    let flops = |op: &str| -> u64 {
        graph.order().into_iter().filter(|&id| graph[id].op.name() == op).map(|id| graph.cost(id).flops).sum()
    };
    assert_eq!(flops("attention"), 57 * 4 * 4608 * 4608 * 3072);
    // What is not per token and block: embedders, modulations, the head.
    let blocks = 57 * 4608 * 2 * 12 * 3072u64.pow(2);
    let others = flops("linear") - blocks;
    let modulations = 2 * 3072 * (38 * 6 + 38 * 3 + 2) * 3072;
    let embedders = 2 * 3072 * (4096 * 64 + 512 * 4096 + 2 * (256 + 3072) + 768 + 3072);
    let head = 2 * 4096 * 3072 * 64;
    assert_eq!(others, modulations + embedders + head);
    let total = graph.total_cost().flops;
    assert!((74_300_000_000_000..74_500_000_000_000).contains(&total), "{total}");
}
