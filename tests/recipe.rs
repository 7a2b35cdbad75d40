//! What a user asks for, and what runs: the default passes come along in the right places, and nothing is left slow.

use crate::common::passes::{NET, flux_dev, flux_dev_times, pipeline, program};
use reflux_ir::pass::{Driver, PassConfig, Pipeline, Recipe};
use reflux_ir::{Machine, Op};
use reflux_passes::pruna::translate;
use reflux_passes::{LOSSLESS, LOSSLESS_ONCE, LOSSLESS_PACKED, METHODS, PASSES, registry};
use std::collections::BTreeMap;
use std::fmt::Write;

fn recipe(text: &str) -> Recipe {
    Recipe::parse(text, &registry()).unwrap_or_else(|error| panic!("{error}"))
}

/// What runs on a GPU where `text` is asked for.
fn with_default(text: &str) -> String {
    recipe(text).pipeline(&pipeline(LOSSLESS)).to_string()
}

/// What is asked for, and what runs.
#[test]
fn wanted_passes_come_beside_the_default_ones() {
    let mut text = String::new();
    for wanted in [
        "",
        "cache(fora)",
        "quantize(int8dq,exclude=norm+embedding)",
        "cache(fora,interval=3),quantize(int8dq)",
        "quantize(int8dq),cache(fora),cache(pab)",
        // FORA takes whole blocks, and so comes before what reuses parts of them.
        "cache(pab),cache(fora)",
        "cache(pab),quantize(int8dq),cache(fora)",
        // Default passes are not run twice, and have the options that are given.
        "canonicalize,hoist,quantize(int8dq),cache(fora),dce",
        "fuse,quantize(int8dq)",
        "fuse(extract=worst),merge-linear,quantize(int8dq)",
        "fuse(device=l40s)",
        "dce",
        "tap(h.*)",
        // A pass that is none of the default ones runs before those that end what others need.
        "pack",
        // By hand.
        "default",
        "default,tap(h.*)",
        "quantize(int8dq),default",
        "canonicalize,default,default",
    ] {
        writeln!(text, "{wanted}\n→ {}\n", with_default(wanted)).unwrap();
    }
    snapshot!("recipe__wanted", text);
}

#[test]
fn devices_have_their_own_default_passes() {
    let on = |default, text| recipe(text).pipeline(&pipeline(default)).to_string();
    // They differ by what only one of them has a use for.
    assert_eq!(LOSSLESS_PACKED.replace(",pack", ""), LOSSLESS.replace("bound-attention,", ""));
    let fora = "cache(fora,interval=2)";
    assert_eq!(
        on(LOSSLESS_PACKED, "cache(fora)"),
        format!("canonicalize,hoist,canonicalize,{fora},merge-linear,fuse(device=h100),pack,dce")
    );
    // What is named without options keeps those of the default.
    let own = LOSSLESS.replace("fuse", "fuse(device=cpu)");
    assert_eq!(on(&own, "fuse"), own);
    assert_eq!(on(LOSSLESS_ONCE, "tap(x)"), "canonicalize,tap(x),merge-linear,fuse(device=h100),dce");
}

/// Passes that decide by a machine take the one that programs will run on, and say so, so that their text runs alike elsewhere.
#[test]
fn passes_take_the_machine_that_they_run_on() {
    let cpu = Machine::named("cpu").unwrap();
    let mut default = pipeline(LOSSLESS_PACKED);
    assert!(default.settle(cpu));
    assert_eq!(default.to_string(), LOSSLESS_PACKED.replace("fuse", "fuse(device=cpu)"));
    // What was told keeps to it.
    assert!(!default.settle(Machine::named("l40s").unwrap()));
    let mut told = pipeline("fuse(device=l40s),fuse");
    assert!(told.settle(cpu));
    assert_eq!(told.to_string(), "fuse(device=l40s),fuse(device=cpu)");
    assert!(!pipeline("canonicalize,dce").settle(cpu));
    // Nobody said where.
    assert_eq!(pipeline("fuse").to_string(), "fuse(device=h100)");
}

#[test]
fn what_is_wanted_twice_runs_twice() {
    let on = |text| recipe(text).pipeline(&pipeline(LOSSLESS)).to_string();
    assert_eq!(
        on("fuse(device=cpu),fuse(device=l40s)"),
        "canonicalize,bound-attention,hoist,canonicalize,merge-linear,fuse(device=cpu),fuse(device=l40s),dce"
    );
    assert_eq!(on("fuse,fuse"), LOSSLESS.replace("fuse", "fuse(device=h100)"));
}

/// The word for the default passes is a word like the names of passes.
#[test]
fn default_is_found_like_a_pass() {
    let by_hand = recipe("Default,tap(x)").pipeline(&pipeline(LOSSLESS)).to_string();
    assert_eq!(by_hand, with_default("default,tap(x)"));
    let error = Recipe::parse("defualt", &registry()).unwrap_err().to_string();
    assert!(
        error.starts_with("there is no pass `defualt` (did you mean `default`?); the passes are "),
        "{error}"
    );
    assert!(error.ends_with("; `default` stands for the default passes"), "{error}");
    // What cannot come after them can come before.
    let late = recipe("default,quantize(int8dq)").pipeline(&pipeline(LOSSLESS));
    let error = late.check_order(&program(NET)).unwrap_err();
    assert_eq!(error.fix, "put `quantize(int8dq)` before `merge-linear`");
}

#[test]
fn only_these_passes() {
    for text in ["", "cache(fora,interval=2)", "fuse(device=h100),dce", "dce,dce"] {
        assert_eq!(recipe(text).only().pipeline(&pipeline(LOSSLESS)).to_string(), text);
    }
    let by_hand = recipe("tap(x),default").only().pipeline(&pipeline(LOSSLESS)).to_string();
    assert_eq!(by_hand, format!("tap(x),{}", with_default("")));
}

#[test]
fn configurations_are_recipes() {
    let read = |text: &str| {
        let table = PassConfig::table(text).unwrap();
        assert!(PassConfig::is_own(&table));
        PassConfig::read(&table, &registry())
            .map(|config| config.recipe.pipeline(&pipeline(LOSSLESS)).to_string())
    };
    let fora = with_default("cache(fora,interval=3)");
    for text in [
        "version = 1\npasses = 'cache(fora,interval=3)'",
        "version = 1\npasses = [{ pass = 'cache', method = 'fora', interval = 3 }, 'dce']",
        r#"{"version": 1, "passes": ["cache(fora,interval=3)"]}"#,
    ] {
        assert_eq!(read(text).unwrap(), fora, "{text}");
    }
    for default in ["'default'", "{ pass = 'default' }"] {
        let text = format!("version = 1\npasses = [{default}, {{ pass = 'tap', values = 'x' }}]");
        assert_eq!(read(&text).unwrap(), with_default("default,tap(x)"));
    }
    assert_eq!(read("version = 1\npasses_only = ['dce']").unwrap(), "dce");
    assert_eq!(read("version = 1\npasses_only = []").unwrap(), "");
    let refused = |text| read(text).unwrap_err().to_string();
    assert_eq!(
        refused("version = 1\npasses = 'dce'\npasses_only = 'dce'"),
        "`passes` and `passes_only` cannot both be given: the first run with the default passes, the second without"
    );
    assert_eq!(refused("version = 1"), "it lacks `passes`");
    assert_eq!(
        refused("version = 1\npasses = 'default(x=1)'"),
        "pass `default`: it stands for the default passes and has no options"
    );
    assert_eq!(
        refused("version = 1\npass = 'dce'"),
        "unknown key `pass`; `version` and `passes`, or `passes_only`, are known"
    );
}

/// A pass that is in no registry is one like the others.
#[test]
fn passes_of_ones_own_come_along() {
    let mut own = Pipeline::new();
    own.push(reflux_passes::Tap { values: "s.1".into(), allow_nothing: false });
    let all = Recipe::wanted(own.clone()).pipeline(&pipeline(LOSSLESS));
    Driver::default().run(program(NET), &all).unwrap();
    assert_eq!(all.to_string(), with_default("tap(s.1)").replace("tap(s.1)", "tap(values=s.1)"));
    assert_eq!(Recipe::exactly(own).pipeline(&pipeline(LOSSLESS)).passes().len(), 1);
}

/// The configuration that the project started from.
const SEED: &str = r#"{"cacher": "fora", "fora_interval": 2, "compiler": "torch_compile",
    "torch_compile_mode": "max-autotune-no-cudagraphs", "quantizer": "torchao", "torchao_quant_type": "int8dq",
    "torchao_excluded_modules": "norm+embedding"}"#;

/// Each of Pruna's algorithms that Reflux follows, by itself.
const PRUNA: [&str; 17] = [
    SEED,
    r#"{"cacher": "fora"}"#,
    r#"{"cacher": "pab"}"#,
    r#"{"cacher": "fastercache"}"#,
    r#"{"compiler": "torch_compile"}"#,
    r#"{"compiler": "stable_fast"}"#,
    r#"{"compiler": "x_fast"}"#,
    r#"{"kernel": "flash_attn3"}"#,
    r#"{"kernel": "sage_attn"}"#,
    r#"{"ring_attn": true}"#,
    r#"{"factorizer": "qkv_diffusers"}"#,
    r#"{"half": true}"#,
    r#"{"padding_pruning": true}"#,
    r#"{"quantizer": "torchao"}"#,
    r#"{"torchao": {"quant_type": "int8wo"}}"#,
    r#"{"torchao": {"quant_type": "fp8dq", "excluded_modules": "norm"}}"#,
    r#"{"torchao": {"quant_type": "int4wo", "target_modules": {"include": ["transformer.*attn*"]}}}"#,
];

/// Ops of the steps that are neither fused, nor views, nor what fused kernels are made around, by name.
fn unfused(recipe: &Recipe) -> BTreeMap<&'static str, usize> {
    let mut driver = Driver { timesteps: Some(&flux_dev_times(1024, 28)), ..Driver::default() };
    let pipeline = recipe.pipeline(&pipeline(LOSSLESS));
    let (program, _) =
        driver.run(flux_dev(1024, 28), &pipeline).unwrap_or_else(|error| panic!("{pipeline}: {error}"));
    let mut counts = BTreeMap::new();
    for graph in program.variants.values() {
        for id in graph.ids().filter(|&id| !graph.is_leaf(id)) {
            let op = &graph[id].op;
            let is_whole = matches!(
                op,
                Op::Input(_)
                    | Op::Gemm(_)
                    | Op::Rowwise(_)
                    | Op::Attention(_)
                    | Op::Concat(_)
                    | Op::Select(_)
            );
            if !is_whole && !op.is_view() {
                *counts.entry(op.name()).or_default() += 1;
            }
        }
    }
    counts
}

/// The ops of a step that run as kernels of their own, whatever is typed: none but with schemes whose quantizing needs all of a
/// tensor, or whose weights are dequantized before they are multiplied.
#[test]
fn what_is_left_unfused() {
    let mut text = String::new();
    let mut wanted = vec![String::new()];
    let needed = |method: &str| if method == "magcache" { ",ratios=[1]" } else { "" };
    wanted.extend(METHODS.iter().map(|method| format!("cache({method}{})", needed(method.name))));
    let quantize = (registry().get("quantize").unwrap().about)();
    let schemes = quantize.options.into_iter().find(|option| option.name == "scheme").unwrap().values;
    wanted.extend(schemes.iter().map(|scheme| format!("quantize({})", scheme.name)));
    wanted.extend(PASSES.iter().filter(|pass| pass.name != "tap").map(|pass| pass.example.to_owned()));
    wanted.push("tap(img.*)".to_owned());
    for wanted in &wanted {
        writeln!(text, "{wanted}: {:?}", unfused(&recipe(wanted))).unwrap();
    }
    for config in PRUNA {
        let recipe = translate(&PassConfig::table(config).unwrap(), &[]).unwrap().recipe;
        let config: Vec<_> = config.split_whitespace().collect();
        writeln!(text, "{}: {:?}", config.join(" "), unfused(&recipe)).unwrap();
    }
    snapshot!("recipe__unfused", text);
}
