//! Every network's IR verifies and round-trips through text.

use reflux_ir::{DType, text, verify};
use reflux_models::{ModelConfig, Net, Sizes};

fn dev() -> (ModelConfig, Sizes) {
    let sizes = Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024 };
    (ModelConfig::built_in("flux-dev").unwrap(), sizes)
}

#[test]
fn all_networks_round_trip() {
    for name in ModelConfig::BUILT_IN {
        let config = ModelConfig::built_in(name).unwrap();
        let sizes = Sizes { batch: 2, steps: 4, text_tokens: 256, height: 512, width: 768 };
        for net in Net::ALL {
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
    let program = config.lower(Net::Transformer, &sizes, DType::BF16).unwrap();
    let text = program.to_string();
    assert!(text.lines().count() < 160, "{} lines", text.lines().count());
}
