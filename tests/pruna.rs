//! Configurations of Pruna, in both of their forms.

use reflux_ir::DType;
use reflux_ir::pass::{Driver, PassConfig, Pipeline};
use reflux_models::{ModelConfig, Sizes, flux1};
use reflux_passes::pruna::{Translation, translate};
use reflux_passes::registry;
use std::fmt::Write;

fn read(text: &str) -> Result<Translation, String> {
    let table = PassConfig::table(text).unwrap();
    assert!(!PassConfig::is_own(&table));
    translate(&table, flux1::FAMILY.outside_blocks).map_err(|error| error.to_string())
}

/// The passes that it wants, without the default ones.
fn wanted(translation: &Translation) -> String {
    translation.recipe.pipeline(&Pipeline::new()).to_string()
}

fn passes(text: &str) -> String {
    wanted(&read(text).unwrap())
}

/// Each configuration with what it becomes.
fn report(configs: &[&str]) -> String {
    let mut report = String::new();
    for config in configs {
        let outcome = match read(config) {
            Ok(translation) => {
                let text = wanted(&translation);
                assert_eq!(Pipeline::parse(&text, &registry()).unwrap().to_string(), text);
                let notes: String = translation.notes.iter().map(|note| format!("\n  {note}")).collect();
                format!("{text}{notes}")
            }
            Err(error) => format!("error: {error}"),
        };
        writeln!(report, "{config}\n→ {outcome}\n").unwrap();
    }
    report
}

#[test]
fn both_forms_mean_the_same() {
    let forms = [
        r#"{"cacher": "fora", "fora_interval": 3, "quantizer": "torchao", "torchao_quant_type": "int8dq",
            "torchao_excluded_modules": "norm+embedding", "compiler": "torch_compile"}"#,
        r#"{"fora": {"interval": 3}, "torchao": {"quant_type": "int8dq", "excluded_modules": "norm+embedding"},
            "torch_compile": true}"#,
        r#"{"fora": true, "fora_interval": 3, "torchao": true, "torchao_excluded_modules": "norm+embedding"}"#,
        // As Pruna saves it.
        r#"{"fora": true, "fora_interval": 3, "pab": false, "hyper": false, "torchao": true, "factorizer": null,
            "torchao_quant_type": "int8dq", "torchao_excluded_modules": "norm+embedding",
            "torchao_target_modules": null, "save_fns": [], "reapply_after_load": {}}"#,
        "[fora]\nfora_interval = 3\n[torchao]\nexcluded_modules = 'norm+embedding'",
    ];
    for form in forms {
        assert_eq!(passes(form), "quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3)", "{form}");
    }
}

#[test]
fn every_key_says_what_it_became() {
    let configs = [
        r#"{"batch_size": 1}"#,
        r#"{"fora": true}"#,
        r#"{"cacher": "fora", "fora_start_step": 4, "fora_backbone_calls_per_step": 2}"#,
        r#"{"cacher": "pab", "pab_interval": 4}"#,
        r#"{"fastercache": {}, "fora": {"interval": 2}}"#,
        r#"{"quantizer": "torchao"}"#,
        r#"{"torchao": {"quant_type": "fp8dqrow"}, "torch_compile": {"mode": "default", "target": "model"}}"#,
        r#"{"torchao": {"quant_type": "int8wo"}, "torch_compile": {"target": "module_list"}}"#,
        r#"{"torchao": {"excluded_modules": "norm", "target_modules": {"exclude": ["*.norm1.*", "*embed*"]}}}"#,
        r#"{"torchao": true, "target_modules": {"include": ["transformer.*attn*", "text_encoder.*"]},
            "torch_compile": {"target": "module_list"}}"#,
        r#"{"torchao": {"target_modules": {"include": ["vae.*"]}}}"#,
        r#"{"compiler": "stable_fast", "factorizer": "qkv_diffusers", "kernel": "flash_attn3", "pruner": "padding_pruning",
            "padding_pruning_min_sequence_length": 64, "half": true, "device": "cuda", "save_fns": ["torchao"]}"#,
    ];
    snapshot!("pruna__notes", report(&configs));
}

#[test]
fn what_cannot_be_followed_says_why() {
    let configs = [
        r#"{"fora_intervall": 3, "fora": true}"#,
        r#"{"fora": {"intervall": 3}}"#,
        r#"{"casher": "fora"}"#,
        r#"{"frobnicate": true}"#,
        r#"{"cacher": "flora"}"#,
        r#"{"cacher": "frobnicate"}"#,
        r#"{"cacher": true}"#,
        r#"{"fora": "yes"}"#,
        r#"{"fora_interval": 3}"#,
        r#"{"fora": {"interval": 6}}"#,
        r#"{"fora": {"interval": "three"}}"#,
        r#"{"fora": {"start_step": 11}}"#,
        r#"{"quantizer": "torchao", "torchao_quant_type": "int4dq"}"#,
        r#"{"torchao": {"quant_type": "int3wo"}}"#,
        r#"{"torchao": {"excluded_modules": "norms"}}"#,
        r#"{"torchao": {"target_modules": ["transformer.*"]}}"#,
        r#"{"torchao": {"target_modules": {"includes": ["transformer.*"]}}}"#,
        r#"{"torchao": {"target_modules": {"include": "transformer.*"}}}"#,
        r#"{"torchao": {"target_modules": {"include": []}}}"#,
        r#"{"torchao": {"target_modules": {"include": ["transformer.*[ab"]}}}"#,
        r#"{"cacher": "deepcache", "deepcache_interval": 2}"#,
        r#"{"quantizer": "hqq_diffusers", "hqq_diffusers_weight_bits": 4}"#,
        r#"{"diffusers_int8": true}"#,
        r#"{"hyper": true}"#,
        r#"{"text_to_image_lora": true}"#,
    ];
    let report = report(&configs);
    assert_eq!(report.matches("→ error: ").count(), configs.len(), "{report}");
    snapshot!("pruna__errors", report);
}

/// The patterns mean the linears of FLUX.1 that they mean in Pruna.
#[test]
fn patterns_choose_as_in_pruna() {
    let config = ModelConfig::built_in("flux-dev").unwrap();
    let sizes = Sizes { batch: 1, steps: 1, text_tokens: 512, height: 1024, width: 1024, reference: None };
    let program = config.lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap();
    let quantized = |torchao: &str| {
        let config = format!("torch_compile_target = 'model'\ntorch_compile = true\n{torchao}");
        let pipeline = read(&config).unwrap().recipe.pipeline(&Pipeline::new());
        let (_, report) = Driver::default().run(program.clone(), &pipeline).unwrap();
        let report = report.passes.into_iter().find(|pass| pass.pass.starts_with("quantize")).unwrap();
        report.notes[0].split(" quantized").next().unwrap().to_owned()
    };
    assert_eq!(quantized("torchao = true"), "504 of 504 linears");
    assert_eq!(quantized("torchao = {excluded_modules = 'norm+embedding'}"), "419 of 504 linears");
    let targets = |lists: &str| quantized(&format!("torchao = {{target_modules = {{{lists}}}}}"));
    // What the preset excludes, as patterns.
    let preset = "'*.norm1.*', '*.norm1_context.*', '*.norm.*', '*.norm_out.*', '*.x_embedder', '*.context_embedder', \
                  '*.time_text_embed.*'";
    assert_eq!(targets(&format!("exclude = [{preset}]")), "419 of 504 linears");
    assert_eq!(targets("include = ['transformer.*']"), "504 of 504 linears");
    assert_eq!(targets("include = ['*.proj_out']"), "39 of 504 linears");
    assert_eq!(targets("include = ['transformer.*.to_[qk]']"), "114 of 504 linears");
    assert_eq!(targets("include = ['*single_transformer_blocks.*']"), "228 of 504 linears");
}
