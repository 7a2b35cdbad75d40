//! The page of `reflux explore` in a browser, and the data that it has. `REFLUX_SCREENSHOTS=FOLDER` keeps what it looks like.

use crate::common::chromium::Chromium;
use crate::common::passes::flux_dev;
use reflux::explore::{Exploration, Explored};
use reflux::ir::pass::{Driver, Pipeline, Trace};
use reflux::ir::text::parse;
use reflux::ir::{Machine, Program};
use reflux::registry;
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const PIPELINE: &str = "canonicalize,bound-attention,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),\
    cache(fora,interval=3),merge-linear,fuse,dce";

fn explored(program: Program, passes: &str) -> Exploration {
    let machine = Machine::named("h100");
    let mut pipeline = Pipeline::parse(passes, &registry()).unwrap();
    pipeline.settle(machine.unwrap());
    let mut trace = Trace::of(program.clone());
    let mut driver = Driver { machine, trace: Some(&mut trace), ..Driver::default() };
    let (_, report) = driver.run(program, &pipeline).unwrap();
    let (pipeline, trace, report) = (&pipeline, &trace, &report);
    let title = "a test".to_owned();
    let (measured, compared) = (None, None);
    Exploration::of(Explored { title, pipeline, trace, report, machine, measured, compared }).unwrap()
}

fn data(exploration: &Exploration) -> Value {
    serde_json::from_str(&exploration.json()).unwrap()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The value of a state that is called so.
fn value<'d>(state: &'d Value, name: &str) -> &'d Value {
    list(&state["values"]).iter().find(|value| value["name"] == name).unwrap_or_else(|| panic!("no %{name}"))
}

/// What the page of FLUX.1-dev says holds together: numbers of values, lines and states exist, what is fused comes from the modules of
/// the checkpoint, and all of it is small enough to be sent to someone.
#[test]
fn the_data_of_flux_holds_together() {
    let exploration = explored(flux_dev(1024, 28), PIPELINE);
    assert!(exploration.page().len() < 4_000_000, "{}", exploration.page().len());
    let data = data(&exploration);
    let states = list(&data["states"]);
    assert_eq!(
        states.len(),
        1 + list(&data["passes"]).iter().filter(|pass| pass["before"] != pass["after"]).count()
    );
    for (at, state) in states.iter().enumerate() {
        let (values, lines) = (list(&state["values"]), list(&state["lines"]));
        let before = at.checked_sub(1).map(|before| &states[before]);
        for value in values {
            for list in ["operands", "users", "carried"].map(|key| list(&value[key])) {
                assert!(list.iter().all(|index| (index.as_u64().unwrap() as usize) < values.len()));
            }
            let before = before.map_or(0, |before| list(&before["values"]).len());
            assert!(list(&value["from"]).iter().all(|index| (index.as_u64().unwrap() as usize) < before));
            let sides = ["compute_ns", "memory_ns"].map(|side| value[side].as_u64().unwrap());
            assert!(value["ns"].as_u64().unwrap() >= *sides.iter().max().unwrap());
        }
        // Every op has its line.
        let defined = lines.iter().filter(|line| line.get(1).is_some()).count();
        let computed =
            values.iter().filter(|value| value["op"] != "input" && value["op"] != "weight").count();
        assert_eq!(defined, computed, "in state {at}");
        if let Some(before) = before {
            let rows = list(&state["difference"]);
            let count = |side: usize, signs: &[&str]| {
                rows.iter()
                    .filter(|row| signs.contains(&row[0].as_str().unwrap()) && !row[side].is_null())
                    .count()
            };
            assert_eq!(count(1, &["=", "~", "-", ">"]), list(&before["lines"]).len(), "in state {at}");
            assert_eq!(count(2, &["=", "~", "+", "<"]), lines.len(), "in state {at}");
        }
    }
    // The last product of a single block, fused with gate and residual: back to the linear of that module.
    let last = states.len() - 1;
    let mut modules = vec![value(&states[last], "h.{0..38}").clone()];
    for state in states[..last].iter().rev() {
        let from = modules.iter().flat_map(|value| list(&value["from"]));
        let indices: std::collections::BTreeSet<u64> = from.map(|index| index.as_u64().unwrap()).collect();
        modules = indices.into_iter().map(|index| state["values"][index as usize].clone()).collect();
    }
    let paths: Vec<&str> = modules.iter().map(|value| value["module"].as_str().unwrap()).collect();
    assert!(paths.contains(&"single_transformer_blocks.{0..38}.proj_out"), "{paths:?}");
    // What is quantized, and what is not.
    let quantized = list(&data["quantized"]);
    let of = |module: &str| quantized.iter().find(|found| found["module"] == module).unwrap();
    assert_eq!(of("transformer_blocks.*.attn.to_q")["scheme"], "i8.row.bf16");
    assert_eq!(of("transformer_blocks.*.attn.to_q")["count"], 19);
    assert!(of("context_embedder")["why"].as_str().unwrap().contains("preset `embedding`"));
    // E-graphs have what was chosen, and proofs.
    let fuse = list(&data["passes"]).iter().find(|pass| pass["name"] == "fuse").unwrap();
    for region in list(&fuse["regions"]) {
        let chosen = list(&region["eclasses"]).iter().flat_map(|class| list(&class["terms"]));
        assert!(chosen.filter(|term| term["chosen"] == true).count() > 0);
    }
    assert!(list(&fuse["proofs"]).len() > 10);
}

/// Each application of a rule is there with what it replaced and made, equal ones of several blocks once.
#[test]
fn rules_are_seen_at_work() {
    let program = parse(
        "program p {
           input %x : f32[1,8] latent
           variant full (%x) -> (%h) {
             repeat %i in 0..3 (%h.prev = %x) in blocks.{i} {
               %a = slice %h.prev {axis=1, start=0, end=6} : f32[1,6] in .part
               %b = slice %a {axis=1, start=1, end=3} : f32[1,2] in .part
               %c = concat %b, %b, %b, %b {axis=1} : f32[1,8]
               %h = silu %c : f32[1,8]
               yield %h
             }
             return %h.2
           }
           schedule full
         }",
    )
    .unwrap();
    let data = data(&explored(program, "canonicalize"));
    let edits = list(&data["passes"][0]["edits"]);
    let edit =
        edits.iter().find(|edit| edit["rule"] == "slice-of-slice").unwrap_or_else(|| panic!("{edits:?}"));
    // The first block reads the input, the others the block before.
    assert_eq!(edits.iter().filter(|edit| edit["rule"] == "slice-of-slice").count(), 2, "{edits:?}");
    assert_eq!(edit["stage"], "variant full");
    let others = edits.iter().find(|edit| edit["count"] == 2).unwrap();
    assert_eq!(
        others["after"],
        serde_json::json!(["%b.{i} = slice %h.{i-1} {axis=1, start=1, end=3} : f32[1,2] in blocks.{i}.part"])
    );
    // What could have been thought to apply elsewhere says why it does not.
    let values = list(&data["states"][0]["values"]);
    let why = |name: &str| -> Vec<String> {
        let value = values.iter().find(|value| value["name"] == name).unwrap();
        list(&value["why"]).iter().map(Value::to_string).collect()
    };
    assert!(
        why("b.{0..3}").iter().any(|verdict| verdict.contains("\"slice-of-slice\",true")),
        "{:?}",
        why("b.{0..3}")
    );
    assert!(
        why("a.{0..3}").iter().any(|verdict| verdict.contains("\"slice-of-slice\",false")),
        "{:?}",
        why("a.{0..3}")
    );
}

/// Nothing in a program is obeyed, whatever it is called.
#[test]
fn names_are_only_text() {
    let program = parse(
        "program p { input %x : f32[1,8] latent variant full (%x) -> (%y) { %y = silu %x : f32[1,8] return %y } schedule full }",
    );
    let machine = Machine::named("h100");
    let pipeline = Pipeline::new();
    let trace = Trace::of(program.unwrap());
    let report = Default::default();
    let title = "</script><script>document.title='obeyed'</script>".to_owned();
    let explored = Explored {
        title,
        pipeline: &pipeline,
        trace: &trace,
        report: &report,
        machine,
        measured: None,
        compared: None,
    };
    let page = Exploration::of(explored).unwrap().page();
    assert_eq!(page.matches("<script").count(), 2);
}

fn keep(name: &str, bytes: &[u8]) {
    if let Some(folder) = std::env::var_os("REFLUX_SCREENSHOTS") {
        std::fs::write(Path::new(&folder).join(name), bytes).unwrap();
    }
}

fn reflux(folder: &Path, arguments: &[&str]) -> Vec<u8> {
    let output =
        Command::new(env!("CARGO_BIN_EXE_reflux")).args(arguments).current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// The page of the bundled model, with measured times and a comparison.
fn page(folder: &Path) -> std::path::PathBuf {
    let model = concat!(env!("CARGO_MANIFEST_DIR"), "/models/emoji");
    let passes = "quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3)";
    let sizes = ["--steps", "4", "--width", "64", "--height", "64"];
    let bench = [
        &["bench", "--model", model, "--device", "cpu", "--passes", passes, "--profile", "--json"],
        &sizes[..],
    ]
    .concat();
    std::fs::write(folder.join("profile.json"), reflux(folder, &bench)).unwrap();
    let compare = [&["compare", model, "--passes-b", passes, "--json"], &sizes[..]].concat();
    std::fs::write(folder.join("comparison.json"), reflux(folder, &compare)).unwrap();
    let explore =
        ["explore", model, "--dtype", "f32", "--cost", "cpu", "--passes", passes, "--out", "page.html"];
    let beside = ["--measured", "profile.json", "--compared", "comparison.json"];
    reflux(folder, &[&explore[..], &beside, &sizes].concat());
    folder.join("page.html")
}

#[test]
fn the_page_works() {
    let folder = tempfile::tempdir().unwrap();
    let path = page(folder.path());
    let Some(mut chromium) = Chromium::start() else { return };
    chromium.show_as(1440, "", "light");
    chromium.open(&path);
    let mut walk = Walk { chromium: &mut chromium };

    // Passes as a timeline, and the program after each.
    let passes = walk.number("passes.length");
    assert_eq!(walk.count("#timeline a"), passes + 1);
    for pass in 1..=passes {
        walk.click(&format!("#pass-{pass}"));
        assert_eq!(
            walk.count(".program .line"),
            walk.number(&format!("states[passes[{pass} - 1].after].lines.length"))
        );
    }
    walk.run("const field = byId('search'); field.value = 'norm'; field.dispatchEvent(new Event('input'))");
    assert!(walk.text("#matches").starts_with("1 of "), "{}", walk.text("#matches"));
    walk.run("document.querySelector('.program summary').click()");
    assert_eq!(walk.eval("document.querySelector('.program details').open"), false);
    keep("explore.png", &walk.chromium.screenshot());

    // The difference, unified and side by side.
    walk.go("pass=1&view=difference");
    assert!(walk.count(".difference :is(.added, .removed, .arrived)") > 0);
    walk.go("pass=1&view=difference&layout=split");
    assert!(walk.count(".pair") > 0);

    // Applications of rules, step by step.
    let ruled = walk.number("passes.findIndex((pass) => pass.edits.length > 1)") + 1;
    walk.go(&format!("pass={ruled}&view=rules"));
    assert!(walk.text("output").starts_with("1 of "));
    walk.click("#next-edit");
    assert!(walk.text("output").starts_with("2 of "));

    // E-graphs and proofs.
    let fused = walk.number("passes.findIndex((pass) => pass.regions.length > 0)") + 1;
    walk.go(&format!("pass={fused}&view=egraph"));
    assert!(
        walk.count(".terms .chosen") > 0 && walk.count(".proof li") > 0 && walk.count(".drawing .node") > 0
    );

    // A value: history, cost on both sides of the roofline, verdicts, kernel; back and a deep link.
    walk.go(&format!("pass={passes}&view=program"));
    let value = walk.number(
        "states.at(-1).values.findIndex((value) => value.operands.length > 0 && value.from?.length > 0)",
    );
    walk.click(&format!(".program [data-value=\"{value}\"]"));
    assert!(walk.text("#panel h2").starts_with('%'));
    assert!(walk.text(".lineage li").starts_with("The input"));
    assert_eq!(walk.count(".roofline"), 2);
    assert!(walk.count("#panel .applies, #panel .fails") > 0);
    let first = walk.text("#panel h2");
    walk.click("#panel section a.value");
    assert!(walk.text("#panel h2") != first);
    walk.run("await new Promise((done) => { addEventListener('hashchange', done, { once: true }); history.back(); })");
    assert_eq!(walk.text("#panel h2"), first);
    walk.go("pass=0&view=program&value=h.4");
    assert_eq!(walk.text("#panel h2"), "%h.{0..5}");
    let kernel = walk.eval("states.at(-1).values.findIndex((value) => value.kernel !== undefined)");
    if kernel.as_i64().unwrap() >= 0 {
        walk.go(&format!("pass={passes}&view=program"));
        walk.click(&format!(".program [data-value=\"{kernel}\"]"));
        assert_eq!(walk.count("#panel pre"), 1);
    }

    // Drawings, quantization, measured times, the comparison.
    walk.go(&format!("pass={passes}&view=graph&scope=block&color=dtype"));
    assert!(walk.count(".drawing .node") > 5 && walk.count(".legend .key") > 0);
    keep("explore-graph.png", &walk.chromium.screenshot());
    walk.go(&format!("pass={passes}&view=time"));
    assert!(walk.count(".tile") > 5);
    assert!(walk.text("#view thead").contains("Measured"), "{}", walk.text("#view thead"));
    walk.go(&format!("pass={passes}&view=quantization"));
    assert!(walk.count(".tree tr") > 10);
    walk.go(&format!("pass={passes}&view=comparison"));
    assert!(walk.count(".tree tr") > 30 && walk.text("#view").contains("proj_out"));
    keep("explore-comparison.png", &walk.chromium.screenshot());

    // The keyboard, narrow windows, paper.
    walk.run("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: '?', bubbles: true }))");
    assert_eq!(walk.eval("document.querySelector('dialog').open"), true);
    walk.run("document.querySelector('dialog').close()");
    walk.follow("document.body.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', bubbles: true }))");
    assert_eq!(walk.eval("readAddress().pass"), passes - 1);
    for view in ["program", "difference", "rules", "egraph", "graph", "time", "quantization", "comparison"] {
        walk.chromium.show_as(420, "", "dark");
        walk.go(&format!("pass={fused}&view={view}"));
        assert_eq!(walk.eval("document.documentElement.scrollWidth <= innerWidth"), true, "{view}");
    }
    assert!(chromium.pdf().starts_with(b"%PDF"));

    // It asks for nothing, and complains of nothing.
    assert_eq!(chromium.requests().len(), 1, "{:?}", chromium.requests());
    assert_eq!(chromium.complaints(), Vec::<String>::new());
}

/// A reader of the page.
struct Walk<'c> {
    chromium: &'c mut Chromium,
}

impl Walk<'_> {
    fn eval(&mut self, expression: &str) -> Value {
        self.chromium.eval(expression)
    }

    fn run(&mut self, statements: &str) {
        self.eval(&format!("(async () => {{ {statements} }})()"));
    }

    fn number(&mut self, expression: &str) -> u64 {
        self.eval(expression).as_u64().unwrap_or_else(|| panic!("{expression}"))
    }

    fn count(&mut self, selector: &str) -> u64 {
        self.number(&format!("document.querySelectorAll({selector:?}).length"))
    }

    fn text(&mut self, selector: &str) -> String {
        let text = self.eval(&format!("document.querySelector({selector:?})?.textContent ?? ''"));
        text.as_str().unwrap().to_owned()
    }

    /// Clicks, and waits until the page has followed.
    fn click(&mut self, selector: &str) {
        self.follow(&format!("document.querySelector({selector:?}).click()"));
    }

    fn go(&mut self, address: &str) {
        self.follow(&format!("location.hash = {:?}", format!("#{address}")));
    }

    fn follow(&mut self, statement: &str) {
        self.run(&format!(
            "const before = location.hash;
             const followed = new Promise((done) => addEventListener('hashchange', done, {{ once: true }}));
             {statement};
             if (location.hash !== before) await followed;"
        ));
    }
}
