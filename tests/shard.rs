//! The shard pass: what each device has of a step, and what devices exchange. `tests/ranks.rs` runs it.

use crate::common::passes::{
    NET, flux_dev_after, only, pipeline, program, refusal, run, sketch, story, story_at, try_run_at,
};
use reflux_ir::op::{Op, OpKind};
use reflux_ir::pass::{Allowance, Driver, Question, Verdict, why};
use reflux_ir::{Graph, Machine, Program};
use std::fmt::Write;

const INPUTS: [&str; 4] = [
    "%x : f32[1,6,16] latent",
    "%text : f32[1,2,16] prompt",
    "%scale : f32[1,1,16] schedule",
    "%mask : f32[8,8] prompt",
];

/// Heads of the tokens of two streams.
const HEADS: &str = "%rows = layer_norm %x {eps=1e-6} : f32[1,6,16]
     %moved = mul %rows, %scale : f32[1,6,16]
     %both = concat %text, %moved {axis=1} : f32[1,8,16]
     %proj = linear %both, @qkv f32[16,16] : f32[1,8,16] in block.to_q
     %heads = reshape %proj {shape=[1, 8, 4, 4]} : f32[1,8,4,4]
     %ids = position_ids {text=2, rows=2, columns=3} : f32[8,3]
     %table = rope_table %ids {axes=[0, 2, 2], theta=10000.0} : f32[2,8,2]
     %q = rope %heads, %table : f32[1,8,4,4]";

/// Ends with the rows of `%x`.
const REST: &str = "%flat = reshape %a {shape=[1, 8, 16]} : f32[1,8,16]
     %own = slice %flat {axis=1, start=2, end=8} : f32[1,6,16]
     %sum = add %x, %own : f32[1,6,16]
     return %sum";

fn joint(attention: &str) -> String {
    sketch(&INPUTS, &format!("{HEADS}\n%a = attention {attention} : f32[1,8,4,4] in block.attn\n{REST}"))
}

#[test]
fn tokens_are_divided_and_heads_around_attention() {
    snapshot!("shard__joint", story(&joint("%q, %q, %heads {scale=0.5}"), "shard(2)"));
    // A mask is of all tokens; its heads, if it had any, would be divided.
    snapshot!("shard__mask", story(&joint("%q, %q, %heads, %mask {scale=0.5}"), "shard(2)"));
    // Three devices have no equal shares of tokens, and four heads.
    snapshot!("shard__uneven", story(&joint("%q, %q, %heads {scale=0.5}"), "shard(3)"));
}

#[test]
fn what_is_prepared_and_carried_becomes_a_share() {
    snapshot!("shard__net", story(NET, "hoist,shard(2)"));
    let times: Vec<f32> = (0..6).map(|step| 1000.0 - 100.0 * step as f32).collect();
    snapshot!("shard__cached", story_at(NET, "cache(fora,interval=2),shard(2)", Some(&times)));
}

/// Where the rule says that it applies, with the stage.
fn applies(program: &Program, rule: &str) -> Vec<String> {
    let mut places = Vec::new();
    for (stage, graph) in program.stages() {
        for id in graph.ids().filter(|&id| !matches!(graph[id].op, Op::Weight(_) | Op::Constant(_))) {
            let (value, stage) = (&graph[id].name, stage.to_string());
            let question = Question { rule, value, stage: Some(&stage) };
            let answer = why(&reflux_passes::registry(), &pipeline(""), program, question).unwrap();
            if let [(_, Verdict::Applies(_))] = answer.verdicts[..] {
                places.push(format!("%{value} in {stage}"));
            }
        }
    }
    places
}

/// Held back, the rules that hand on shares say where they would apply; once they have, that they do not, and why.
#[test]
fn rules_between_stages_say_why() {
    let (cached, passes) = (run(&program(NET), "hoist,cache(fora,steps=110110)").0, pipeline("shard(2)"));
    let held = |rule: &str| {
        let allowance = Allowance::of(rule, 0);
        let mut driver = Driver { allowance, stop_after: Some(1), ..Driver::default() };
        driver.run(cached.clone(), &passes).unwrap().0
    };
    let (divided, report) = run(&cached, "shard(2)");
    let hits = |rule: &str| only(&report).rules[rule].hits;
    let carry = held("carry-share");
    // What is carried is asked for by the op that makes it, or as what a step reads.
    assert_eq!(applies(&carry, "carry-share"), ["%s_whole.1 in variant main", "%s.1 in variant reuse"]);
    assert_eq!((hits("carry-share"), applies(&divided, "carry-share").len()), (1, 0));
    let prepare = held("prepare-share");
    assert_eq!(applies(&prepare, "prepare-share").len(), 1);
    assert_eq!((hits("prepare-share"), applies(&divided, "prepare-share").len()), (1, 0));
    let mut text = String::new();
    for (program, rule, value, stage) in [
        (&carry, "carry-share", "%s.1", "reuse"),
        (&cached, "carry-share", "%s.1", "main"),
        (&divided, "carry-share", "%s_2.1", "reuse"),
        (&divided, "carry-share", "%x", "main"),
        (&prepare, "prepare-share", "%hint_part", "main"),
        (&prepare, "prepare-share", "%hint", "main"),
        (&divided, "prepare-share", "%words_part", "prompt"),
        (&divided, "prepare-share", "%x_part", "main"),
    ] {
        let question = Question { rule, value, stage: Some(stage) };
        let answer = why(&reflux_passes::registry(), &pipeline(""), program, question);
        let answer = answer.map_or_else(|error| error.to_string(), |answer| answer.to_string());
        writeln!(text, "# {rule} {value} in {stage}\n{answer}").unwrap();
    }
    snapshot!("shard__whys", text);
}

#[test]
fn what_cannot_be_divided_is_computed_by_all() {
    let body = format!(
        "{HEADS}
         %a = attention %q, %q, %heads {{scale=0.5}} : f32[1,8,4,4] in block.attn
         %flat = reshape %a {{shape=[8, 16]}} : f32[8,16]
         %turned = transpose %flat {{perm=[1, 0]}} : f32[16,8]
         %least = softmax %turned : f32[16,8]
         %y = linear %least, @last f32[4,8] : f32[16,4]
         return %y"
    );
    snapshot!("shard__whole", story(&sketch(&INPUTS, &body), "shard(2)"));
}

#[test]
fn what_is_refused() {
    let text = joint("%q, %q, %heads {scale=0.5}");
    let plain = program(&sketch(&INPUTS, "%y = silu %x : f32[1,6,16]\nreturn %y"));
    let divided = run(&program(&text), "shard(2)").0;
    let refusals = [
        ("no attention", refusal(&plain, "shard(2)")),
        ("one device", refusal(&program(&text), "shard(1)")),
        ("more devices than there are", refusal(&program(&text), "shard(65)")),
        ("divided already", refusal(&divided, "shard(2)")),
        ("divided, then quantized", refusal(&divided, "quantize(int8dq)")),
    ];
    let refusals: Vec<_> = refusals.iter().map(|(case, why)| format!("# {case}\n{why}\n")).collect();
    snapshot!("shard__refused", refusals.join("\n"));
    // Asked for so, it changes nothing.
    assert!(!only(&run(&plain, "shard(2,allow_nothing=true)").1).changed);
}

/// Whatever the order in which passes are asked for, a step is divided after what looks for modules.
#[test]
fn other_passes_come_first() {
    let (asked, wanted) = (
        "shard(4),cache(fora,interval=3),quantize(int8dq)",
        "cache(fora,interval=3),quantize(int8dq),shard(4)",
    );
    let registry = reflux_passes::registry();
    let default = reflux_ir::pass::Pipeline::parse(reflux_passes::LOSSLESS, &registry).unwrap();
    let pipeline =
        |text| reflux_ir::pass::Recipe::parse(text, &registry).unwrap().pipeline(&default).to_string();
    let place = |text: &str, pass: &str| text.find(pass).unwrap_or_else(|| panic!("{pass} in {text}"));
    for text in [pipeline(asked), pipeline(wanted)] {
        for other in ["hoist", "cache(", "quantize("] {
            assert!(place(&text, other) < place(&text, "shard("), "{text}");
        }
        assert!(place(&text, "shard(") < place(&text, "merge-linear"), "{text}");
    }
}

/// FLUX.1-dev on four devices: each op that multiplies is divided, and takes a quarter of the time.
#[test]
fn flux_is_divided_whole() {
    const PASSES: &str = "canonicalize,bound-attention,hoist,canonicalize";
    let (whole, _) = flux_dev_after(PASSES);
    let (divided, report) = flux_dev_after(&format!("{PASSES},shard(4)"));
    assert!(report.warnings().next().is_none(), "{report}");
    let graph = |program: &reflux_ir::Program| program.variants["full"].clone();
    let (whole, divided) = (graph(&whole), graph(&divided));
    let exact = whole.total_cost().flops as f64 / 4.0;
    let own = divided.total_cost().flops as f64;
    // Modulations are not divided: they are of all tokens.
    assert!((own / exact - 1.0).abs() < 1e-3, "{own} of {exact}");
    let count = |graph: &Graph, is: fn(&Op) -> bool| graph.ids().filter(|&id| is(&graph[id].op)).count();
    assert_eq!(count(&divided, |op| matches!(op, Op::AllToAll(_))), 57 * 4);
    // The result alone is gathered.
    assert_eq!(count(&divided, |op| matches!(op, Op::AllGather(_))), 1);
    // Exchanges take time where a link is known.
    let time = |machine: &str| Machine::named(machine).unwrap().of_graph(&divided);
    let exchanges = divided.ids().filter(|&id| divided[id].op.kind() == OpKind::Collective);
    let link: u64 = exchanges.map(|id| Machine::named("h100").unwrap().of_value(&divided, id)).sum();
    assert!(link > 57 * 4 * 28_000 && time("h100") > link, "{link}");
    assert!(try_run_at(&crate::common::passes::flux_dev(256, 2), "shard(4),fuse", None).is_ok());
}
