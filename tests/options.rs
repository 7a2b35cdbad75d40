//! Options of passes as people, and programs that write configurations, have them: understood, or refused with what is nearest.

use crate::common::passes::without_lists;

use reflux_ir::pass::{PassConfig, Pipeline};
use reflux_passes::{pruna, registry};
use serde_json::{Map, Value, json};
use std::fmt::Write;

fn pipeline(text: &str) -> Result<String, String> {
    Pipeline::parse(text, &registry()).map(|pipeline| pipeline.to_string()).map_err(|error| error.to_string())
}

fn table(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(table) => table,
        other => panic!("{other} is no table"),
    }
}

#[test]
fn what_is_meant_is_understood() {
    let same = |texts: &[&str], meant: &str| {
        for text in texts {
            assert_eq!(pipeline(text).as_deref(), Ok(meant), "{text}");
        }
    };
    same(
        &[
            "cache(FORA)",
            "Cache(Fora)",
            "cache(\"fora\")",
            "cache( 'fora' , Interval=\"2\")",
            "cache(fora,interval=2.0)",
        ],
        "cache(fora,interval=2)",
    );
    same(
        &["cache(fora_paper,start-step=3.0)", "cache(FORA-Paper,START_STEP=3)"],
        "cache(fora-paper,interval=2,start_step=3)",
    );
    same(
        &[
            "quantize(INT8DQ,exclude=embedding+norm)",
            "quantize(int8dq,exclude=[norm,embedding])",
            "quantize(exclude=[Embedding,NORM])",
            "quantize(scheme=Int8dq,exclude=NORM+EMBEDDING)",
        ],
        "quantize(int8dq,exclude=norm+embedding)",
    );
    same(&["quantize(int8dq,exclude=[norm])"], "quantize(int8dq,exclude=norm)");
    same(&["quantize(int8wo,rule=TORCHAO_V1)"], "quantize(int8wo)");
    same(&["merge_linear", "Merge-Linear"], "merge-linear");
    // Words stay words: what is printed is read again.
    for name in ["5", "true", "1e3", "0110"] {
        same(&[&format!("tap({name})"), &format!("tap(\"{name}\")")], &format!("tap({name})"));
    }
    same(&["tap('a, (b)=c')", "tap( \"a, (b)=c\" )"], "tap(\"a, (b)=c\")");
    same(&["quantize(int8wo,skip=['a b',\"c\"])"], "quantize(int8wo,skip=[\"a b\",c])");
    same(
        &["cache(pab,window=[100,950.5])", "cache(pab,window=[\"100\",\"950.5\"])"],
        "cache(pab,interval=2,window=[100.0,950.5])",
    );
    same(&["cache(fora,steps=0110)", "cache(fora,steps=\"0110\")"], "cache(fora,steps=0110)");

    let configured = json!({ "version": 1, "passes": [
        { "pass": "QUANTIZE", "scheme": "INT8DQ", "exclude": ["embedding", "norm"], "rule": null },
        { "pass": "cache", "method": "FORA", "interval": "3", "start_step": 2.0 },
    ] });
    let recipe = format!("{:?}", PassConfig::read(&table(configured), &registry()).unwrap());
    assert!(
        recipe.contains("quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3,start_step=2)"),
        "{recipe}"
    );
}

#[test]
fn keys_of_pruna_are_as_forgiving() {
    let notes = |config: Value| pruna::translate(&table(config), &[]).unwrap().notes.join("\n");
    let plain = notes(json!({
        "cacher": "fora", "fora_interval": 2, "compiler": "torch_compile",
        "torch_compile_mode": "max-autotune-no-cudagraphs", "quantizer": "torchao",
        "torchao_quant_type": "int8dq", "torchao_excluded_modules": "norm+embedding",
    }));
    let odd = notes(json!({
        "cacher": "FORA", "fora_interval": "2", "compiler": "Torch_Compile",
        "torch_compile_mode": "Max-Autotune-no-cudagraphs", "quantizer": "TORCHAO",
        "torchao_quant_type": "INT8DQ", "torchao_excluded_modules": ["embedding", "norm"],
    }));
    assert_eq!(odd, plain);
    let listed = notes(json!({
        "fora": { "interval": 2.0 }, "torch_compile": { "mode": "max-autotune-no-cudagraphs" },
        "torchao": { "quant_type": "int8dq", "excluded_modules": "embedding+norm" },
    }));
    assert_eq!(listed, plain);
    assert!(
        plain.contains("cache(fora,interval=2)") && plain.contains("quantize(int8dq,exclude=norm+embedding)")
    );
}

#[test]
fn what_is_not_is_refused_with_what_is_nearest() {
    let mut report = String::new();
    for text in [
        "cache",
        "cache(flora)",
        "cache(pab,window=[100])",
        "cache(fora,steps=110,interval=2)",
        "cache(pab,steps=110,window=[100,950])",
        "tap",
        "cache(fora,interval=9)",
        "cache(fora,interval=2.5)",
        "cache(fora,interval=-1)",
        "cache(fora,interval=\"two\")",
        "cache(fora,interval=[2])",
        "cache(fora,interval=1e30)",
        "cache(fora,intervall=2)",
        "cache(fora,Interval=2,interval=3)",
        "cache(pab,window=100)",
        "cache(pab,window=[100])",
        "cache(pab,window=[a,b])",
        "cache(fastercache,weight=half)",
        "cache(fora,steps=1x)",
        "cache",
        "cache()",
        "quantize(int8)",
        "quantize(int8dq,exclude=norms)",
        "quantize(int8dq,exclude=norm+norm)",
        "quantize(int8dq,exclude=[norm,attention])",
        "quantize(int8dq,keep_rows=true)",
        "fuse(device=h200)",
        "hoist(all=true)",
        "hoist(all)",
        "cahce(fora)",
    ] {
        let error = pipeline(text).expect_err(text);
        writeln!(report, "{text}\n  {}", error.replace('\n', "\n  ")).unwrap();
    }
    for config in [
        json!({ "cacher": "flora" }),
        json!({ "cacher": "fora", "fora_interval": "many" }),
        json!({ "quantizer": "torchao", "torchao_quant_type": "int8" }),
        json!({ "quantizer": "torchao", "torchao_excluded_modules": ["norm", "attention"] }),
        json!({ "compiler": "torch_compile", "torch_compile_mode": "max-autotune-no-cudagraph" }),
        json!({ "compiler": "torch_compile", "torch_compile_mode": 3 }),
        json!({ "torch_compile": { "target": "modules" } }),
        json!({ "torch_compile": { "fullgraph": "yes" } }),
        json!({ "fora": "yes" }),
    ] {
        let error = pruna::translate(&table(config.clone()), &[]).expect_err("it is refused");
        writeln!(report, "{config}\n  {error}").unwrap();
    }
    snapshot!("options__refusals", without_lists(&report));
}
