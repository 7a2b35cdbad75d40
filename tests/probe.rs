//! Probes: variants that choose which variant runs the rest of a step. As text, as programs that are well formed or not, in
//! exports and estimates, and after passes. That they run is tested in `tests/probe_run.rs`.

use crate::common::passes::{
    self, assert_same, assert_settled, assert_unchanged, program, refusal, run, story,
};
use reflux_ir::export::{DotOptions, dot, model_explorer, node_data};
use reflux_ir::pass::Driver;
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{Machine, Name, Program, ProgramDiff, verify};
use std::fmt::Write;

/// A probe that reads what it keeps of the last step that computed, and two variants.
const GATED: &str = "\
program gated {
  input %x : f32[2,8] latent
  carry %h : f32[2,8] latent
  carry %last : f32[2,8] latent
  variant first (%x) -> (%y, %last) {
    %h = silu %x : f32[2,8] in block
    %y = gelu %h : f32[2,8] in head
    return %y, %h
  }
  probe gate (%x, %last) -> (%choice, %h) chooses reuse, full {
    %h = silu %x : f32[2,8] in block
    %same = equal %h, %last : f32[2,8]
    %one = slice %same {axis=0, start=0, end=1} : f32[1,8]
    %element = slice %one {axis=1, start=0, end=1} : f32[1,1]
    %differs = sub 1.0, %element : f32[1,1]
    %index = cast %differs {dtype=i32} : i32[1,1]
    %choice = reshape %index {shape=[]} : i32[]
    return %choice, %h
  }
  variant full (%h) -> (%y, %last) {
    %wide = linear %h, @.weight f32[64,8] : f32[2,64] in head.up
    %act = gelu %wide : f32[2,64] in head
    %y = linear %act, @.weight f32[8,64] : f32[2,8] in head.down
    return %y, %h
  }
  variant reuse (%last) -> (%y) {
    %y = gelu %last : f32[2,8] in head
    return %y
  }
  schedule first gate*3 full
}
";

const EXAMPLE: &str = include_str!("../examples/first_block_cache.ir");

fn gated() -> Program {
    let gated = program(GATED);
    verify(&gated).unwrap();
    gated
}

fn names<const N: usize>(names: [&str; N]) -> Vec<Name> {
    names.map(Name::from).into()
}

#[test]
fn probes_are_text() {
    let gated = gated();
    assert_eq!(gated.to_string(), GATED);
    assert_eq!(gated.probes[&Name::from("gate")], names(["reuse", "full"]));
    let unrolled = PrintOptions { unrolled: true, ..PrintOptions::default() };
    let example = program(EXAMPLE);
    verify(&example).unwrap();
    for program in [&gated, &example] {
        assert_same("rolled", &parse(&program.to_string()).unwrap(), program);
        assert_same("unrolled", &parse(&program.print(&unrolled)).unwrap(), program);
    }
    let without_comments = EXAMPLE.lines().skip_while(|line| line.starts_with("//"));
    assert!(example.to_string().lines().eq(without_comments), "{example}");
}

/// What a probe chooses among, and in which order, is part of the program.
#[test]
fn what_is_chosen_among_tells_programs_apart() {
    let gated = gated();
    let turned = program(&GATED.replace("chooses reuse, full", "chooses full, reuse"));
    assert_ne!(turned, gated);
    assert_ne!(turned.structural_hash(), gated.structural_hash());
    let diff = ProgramDiff::new(["a", "b"], [&gated, &turned]).to_string();
    assert!(diff.contains("\n-  probe gate (%x, %last) -> (%choice, %h) chooses reuse, full {\n"), "{diff}");
    assert!(diff.contains("\n+  probe gate (%x, %last) -> (%choice, %h) chooses full, reuse {\n"), "{diff}");
    let mut plain = gated.clone();
    plain.probes.clear();
    assert_ne!(plain, gated);
    assert_ne!(plain.structural_hash(), gated.structural_hash());
}

/// What is changed in the program, and to what.
const REFUSED: [(&str, &str, &str); 14] = [
    ("nothing chosen among", "chooses reuse, full {", "chooses {"),
    ("no word for it", "chooses reuse, full {", "{"),
    (
        "a variant that chooses",
        "variant full (%h) -> (%y, %last) {",
        "variant full (%h) -> (%y, %last) chooses reuse {",
    ),
    ("a probe called like a variant", "variant reuse (", "variant gate ("),
    ("a choice that is no variant", "chooses reuse, full", "chooses reuse, whole, whole"),
    ("a choice that is there twice", "chooses reuse, full", "chooses reuse, reuse"),
    ("a choice that is a probe", "chooses reuse, full", "chooses reuse, gate"),
    ("no choice", "(%choice, %h) chooses", "(%pick, %h) chooses"),
    (
        "a choice of another type",
        "%choice = reshape %index {shape=[]} : i32[]",
        "%choice = slice %index {axis=0, start=0, end=1} : i32[1,1]",
    ),
    ("a choice that is no integer", "return %choice, %h\n", "return %one_number, %h\n"),
    ("a choice that is carried", "  carry %h :", "  carry %choice : i32[] latent\n  carry %h :"),
    ("a result of a probe", "(%choice, %h) chooses", "(%choice, %result) chooses"),
    ("a carried value that the probe reads first", "schedule first gate*3", "schedule gate*3"),
    ("choices without their probe", "schedule first gate*3 full", "schedule full reuse"),
];

#[test]
fn what_is_wrong_with_a_probe_is_said() {
    let mut text = String::new();
    for (case, from, to) in REFUSED {
        let changed = GATED.replacen(from, to, 1);
        let changed = changed.replace(
            "    return %one_number,",
            "    %one_number = reshape %differs {shape=[]} : f32[]\n    return %one_number,",
        );
        assert_ne!(changed, GATED, "{case}");
        let error = match parse(&changed) {
            Err(error) => error.to_string(),
            Ok(program) => verify(&program).expect_err(case).to_string(),
        };
        writeln!(text, "# {case}\n{error}\n").unwrap();
    }
    let mut program = gated();
    program.probes.insert("nobody".into(), names(["full"]));
    writeln!(text, "# a probe that is no variant\n{}\n", verify(&program).unwrap_err()).unwrap();
    let mut program = gated();
    program.probes.insert("gate".into(), Vec::new());
    writeln!(text, "# a probe without choices\n{}", verify(&program).unwrap_err()).unwrap();
    snapshot!("probe__refusals", text);
}

/// After a step with a probe, only what the probe, or all of its choices, write is there.
#[test]
fn what_any_choice_leaves_unwritten_is_unwritten() {
    let probed = GATED.replace("(%x, %last) -> (%choice, %h)", "(%x) -> (%choice, %h)");
    let probed = probed
        .replace("equal %h, %last", "equal %h, %x")
        .replace("variant reuse (%last)", "variant reuse (%h)");
    let probed = probed.replace("gelu %last", "gelu %h");
    let reads = "  variant after (%last) -> (%y) {\n    %y = silu %last : f32[2,8]\n    return %y\n  }\n  schedule gate after";
    let surely = |text: &str| verify(&program(text));
    let one = probed.replace("  schedule first gate*3 full", reads);
    let error = surely(&one).unwrap_err().to_string();
    assert!(
        error.contains("variant after: step 1 reads `%last` before any step has surely written it"),
        "{error}"
    );
    let both = one.replace("variant reuse (%h) -> (%y)", "variant reuse (%h) -> (%y, %last)");
    surely(&both.replace(
        "gelu %h : f32[2,8] in head\n    return %y\n",
        "gelu %h : f32[2,8] in head\n    return %y, %h\n",
    ))
    .unwrap();
    // What the probe itself writes is there whatever is chosen.
    surely(&one.replace("(%last) -> (%y)", "(%h) -> (%y)").replace("silu %last", "silu %h")).unwrap();
}

#[test]
fn probes_are_exported() {
    let gated = gated();
    snapshot!("probe__dot", dot(&gated, DotOptions::default()));
    let graphs = model_explorer(&gated, Machine::named("cpu"));
    let is_gate = |graph: &&serde_json::Value| {
        graph["id"].as_str().is_some_and(|id| id.starts_with("gated variant gate #"))
    };
    let gate = graphs.as_array().unwrap().iter().find(is_gate).unwrap();
    let choice = gate["nodes"].as_array().unwrap().iter().find(|node| node["id"] == "-> choice").unwrap();
    let chosen = serde_json::json!([{ "key": "0", "value": "reuse" }, { "key": "1", "value": "full" }]);
    assert_eq!(choice["attrs"], chosen);
    assert_eq!(node_data(&gated, |graph, id| graph.cost(id).flops).as_object().unwrap().len(), 4);
}

/// A step with a probe costs the probe and the dearest of its choices, and whoever says so says that it is the most.
#[test]
fn costs_are_the_most_that_steps_can_cost() {
    let (gated, cpu) = (gated(), Machine::named("cpu").unwrap());
    let of = |name: &str| cpu.of_graph(&gated.variants[name]);
    assert!(of("full") > of("reuse"));
    assert_eq!(cpu.of_step(&gated, &"gate".into()), of("gate") + of("full"));
    assert_eq!(cpu.of_schedule(&gated), of("first") + 3 * (of("gate") + of("full")) + of("full"));
    let cost = |name: &str| gated.variants[name].total_cost();
    assert_eq!(gated.step_cost(&"gate".into()), cost("gate") + cost("full"));
    assert_eq!(gated.step_cost(&"full".into()), cost("full"));
    let printed = gated.print(&PrintOptions { costs: true, machine: Some(cpu), ..PrintOptions::default() });
    let said = printed.lines().filter(|line| line.contains("at most")).collect::<Vec<_>>();
    snapshot!("probe__costs", said.join("\n"));
    let mut driver = Driver { machine: Some(cpu), ..Driver::default() };
    let (_, report) = driver.run(gated.clone(), &passes::pipeline("canonicalize")).unwrap();
    assert!(report.to_string().contains(" | at most 0."), "{report}");
}

/// What a scheduled probe chooses among is live; what an unscheduled one does is not.
#[test]
fn dce_keeps_what_may_run() {
    let kept = gated();
    assert_unchanged("all is live", &kept, "dce");
    // What is never run may read what is never written.
    let unwritten = GATED.replace("schedule first gate*3 full", "schedule first*2");
    let unwritten = unwritten.replace("-> (%y, %last)", "-> (%y)").replace("return %y, %h", "return %y");
    let sliced =
        "%row = slice %last {axis=0, start=0, end=1} : f32[1,8]\n    %y = gelu %h : f32[2,8] in head";
    let unwritten = unwritten.replace("variant reuse (%last)", "variant reuse (%last, %h)");
    let unwritten = unwritten.replace("%y = gelu %last : f32[2,8] in head", sliced);
    let unwritten = unwritten
        .replace("(%x, %last) -> (%choice", "(%x) -> (%choice")
        .replace("equal %h, %last", "equal %h, %x");
    let (after, _) = run(&program(&unwritten), "dce");
    assert_eq!((after.variants.len(), after.probes.len(), after.carries.len()), (1, 0, 0));
    snapshot!("probe__dce", story(&GATED.replace("schedule first gate*3 full", "schedule first*2"), "dce"));
}

#[test]
fn passes_go_through_probes() {
    let passes = "canonicalize,quantize(int8dq),merge-linear,fuse,pack,dce";
    let (after, _) = run(&program(EXAMPLE), passes);
    assert_eq!(after.probes, program(EXAMPLE).probes);
    assert_same("parsed", &program(&after.to_string()), &after);
    snapshot!("probe__passes", run(&program(EXAMPLE), "canonicalize,fuse,dce").0.to_string());
    for pass in ["canonicalize", "merge-linear", "fuse", "dce"] {
        assert_settled(pass, &program(EXAMPLE), pass);
    }
    // Every variant that gives results gives one more; the probe gives none.
    let (tapped, report) = run(&program(EXAMPLE), "tap(s.3)");
    assert!(report.to_string().contains("1 value added to the results"), "{report}");
    let labels = |name: &str| {
        tapped.variants[name].outputs().iter().map(|output| output.label.to_string()).collect::<Vec<_>>()
    };
    assert_eq!(labels("reuse"), ["out", "s.3"]);
    assert_eq!(labels("gate"), ["choice", "h", "added"]);
}

#[test]
fn passes_that_count_steps_refuse() {
    let text = ["cache(fora)", "cache(pab,steps=10000000)", "hoist"]
        .map(|passes| format!("# {passes}\n{}\n", refusal(&program(EXAMPLE), passes)));
    snapshot!("probe__passes_refuse", text.join("\n"));
}
