//! What passes and rules say of themselves: what they do, and why not here.

use crate::common::passes::{NET, flux_dev, flux_dev_after, pipeline, program, run, sketch, without_lists};
use reflux_ir::op::Unary;
use reflux_ir::pass::{Pipeline, Question, Verdict, Why, WhyError, why};
use reflux_ir::{ModulePath, Patch, Program};
use reflux_passes::registry;
use std::fmt::Write;

fn ask(program: &Program, rule: &str, value: &str) -> Result<Why, WhyError> {
    ask_of(program, rule, value, None)
}

fn ask_of(program: &Program, rule: &str, value: &str, stage: Option<&str>) -> Result<Why, WhyError> {
    why(&registry(), &Pipeline::new(), program, Question { rule, value, stage })
}

/// What is answered for each rule and value.
fn answers(program: &Program, questions: &[(&str, &str)]) -> String {
    let answer =
        |(rule, value): &(&str, &str)| format!("# {rule} {value}\n{}\n", ask(program, rule, value).unwrap());
    questions.iter().map(answer).collect()
}

/// The documentation of every pass, as `reflux passes explain` has it: a snapshot each, called like the pass.
#[test]
fn passes_explain_themselves() {
    let registry = registry();
    for pass in registry.iter() {
        // Links are for browsers.
        assert!(!(pass.about)().doc.contains("]("), "{}", pass.name);
        let name = format!("{}__explained", pass.name.replace('-', "_"));
        snapshot!(name, registry.explain(pass).to_string());
    }
}

/// Every example is one pass, which runs on FLUX; every option is documented; every rule that a report counts is listed.
#[test]
fn what_is_said_holds() {
    let registry = registry();
    for pass in registry.iter() {
        let example = pipeline(pass.example);
        let names: Vec<_> = example.passes().map(|pass| pass.name()).collect();
        assert_eq!(names, [pass.name]);
        for option in (pass.about)().options {
            assert!(!option.doc.is_empty(), "{}: {}", pass.name, option.name);
            let undocumented = option.values.iter().find(|value| value.doc.is_empty());
            assert_eq!(undocumented, None, "{}: {}", pass.name, option.name);
        }
        let (_, report) = run(&flux_dev(64, 6), pass.example);
        let rules: Vec<_> = example.passes().flat_map(|pass| pass.rules()).map(|rule| rule.name).collect();
        let counted: Vec<_> = report.passes[0].rules.keys().collect();
        assert!(counted.iter().all(|rule| rules.contains(rule)), "{}: {counted:?}", pass.name);
    }
}

const INPUTS: &[&str] = &["%x : f32[32,64] latent", "%few : f32[2,64] latent", "%v : f32[64,64] latent"];

/// Values at which rules apply, or nearly.
const LINES: &str = "
    %all = slice %x {axis=1, start=0, end=64} : f32[32,64]
    %part = slice %x {axis=0, start=0, end=8} : f32[8,64]
    %other = slice %part {axis=1, start=0, end=8} : f32[8,8]
    %same = slice %part {axis=0, start=1, end=2} : f32[1,64]
    %both = concat %x, %x {axis=0} : f32[64,64]
    %across = slice %both {axis=0, start=16, end=48} : f32[32,64]
    %up = cast %x {dtype=bf16} : bf16[32,64]
    %down = cast %up {dtype=f32} : f32[32,64]
    %sum = add %x, 1.0 : f32[32,64]
    %twin = add %x, 1.0 : f32[32,64]
    %half = mul %x, 0.5 : f32[32,64]
    %q = linear %x, @.weight f32[64,64] : f32[32,64] in block.q
    %k = linear %x, @.weight f32[64,64] : f32[32,64] in block.k
    %bias = linear %x, @.weight f32[64,64], @.bias f32[64] : f32[32,64] in block.bias
    %made = linear %x, %v : f32[32,64] in block.made
    %alone = linear %sum, @.weight f32[64,64] : f32[32,64] in block.alone
    %a = linear %half, @.weight f32[64,64] : f32[32,64] in a
    %b = linear %half, @.weight f32[64,64] : f32[32,64] in b
    %thin = linear %few, @.weight f32[64,64] : f32[2,64] in block.thin
    %codes = quantize %x {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[32,64]
    %acc = matmul_i8 %codes, @.weight i8.row.f32[64,64] : i32[32,64] in block.codes
    %num = rescale %acc, %codes, @.weight i8.row.f32[64,64] {dtype=f32} : f32[32,64] in block.codes
    return %all, %other, %same, %across, %down, %twin, %sum, %q, %k, %bias, %made, %alone, %a, %b, %thin, %num
";

#[test]
fn rules_say_why() {
    let program = program(&sketch(INPUTS, LINES));
    let questions = [
        ("slice-of-all", "all"),
        ("slice-of-all", "%part"),
        ("slice-of-slice", "%part"),
        ("slice-of-slice", "%other"),
        ("slice-of-slice", "%same"),
        ("slice-of-slice", "%sum"),
        ("slice-of-slice", "%x"),
        ("slice-of-concat", "%across"),
        ("cast-there-and-back", "%down"),
        ("constant-on-the-right", "%sum"),
        ("unit", "%half"),
        ("cse", "%twin"),
        ("cse", "%half"),
        ("cse", "%all"),
        ("cse", "%b"),
        ("cse", "%codes"),
        ("cse", "%x"),
        ("merge-linear", "%q"),
        ("merge-linear", "%k"),
        ("merge-linear", "%bias"),
        ("merge-linear", "%made"),
        ("merge-linear", "%alone"),
        ("merge-linear", "%a"),
        ("merge-linear", "%thin"),
        ("merge-linear", "%acc"),
        ("pack", "%q"),
        ("pack", "%made"),
        ("pack", "%num"),
        ("pack", "%sum"),
        ("merge-linear", "%num"),
        ("merge-linear", "%sum"),
    ];
    let text = answers(&program, &questions);
    snapshot!("explain__why", text);
}

/// Rules of an e-graph say where they come nearest: at a value, or at a term that other rules say is equal to it.
#[test]
fn equalities_say_why() {
    let (program, _) = flux_dev_after("canonicalize,hoist,canonicalize,merge-linear");
    let questions = [
        ("op-to-rowwise", "n_norm.0"),
        ("op-to-rowwise", "n_linears.0"),
        ("linear-to-gemm", "proj.0"),
        ("gemm-absorbs-rowwise", "h.0"),
        ("gemm-absorbs-rowwise", "mlp_act.0"),
        ("gemm-absorbs-rowwise", "img_n2.0"),
        ("segment-absorbs-rowwise", "mlp_act.0"),
        ("segment-absorbs-rowwise", "s_q_rope.0"),
        ("rope-of-concat", "s_q_rope.0"),
        ("rope-of-concat", "q_rope.0"),
        ("rescale-to-gemm", "proj.0"),
        ("rowwise-absorbs-rowwise", "velocity"),
        ("op-to-rowwise", "img_shift1.0"),
    ];
    let text = answers(&program, &questions);
    snapshot!("explain__equalities", text);
}

fn ask_with(program: &Program, passes: &str, rule: &str, value: &str) -> String {
    let question = Question { rule, value, stage: None };
    why(&registry(), &pipeline(passes), program, question).unwrap().to_string()
}

/// Passes that look at the program as a whole answer for each value and module: what they do to it, or what keeps them.
#[test]
fn passes_say_why() {
    let net = program(NET);
    let (quantized, _) = run(&net, "quantize(int8dq)");
    let (fused, _) = run(&net, "fuse");
    let (hoisted, _) = run(&net, "hoist");
    let mut unread = net.clone();
    let end = unread.variants["main"].find("end").unwrap();
    let graph = unread.variants.get_mut("main").unwrap();
    let mut patch = Patch::new(graph, "test");
    patch.add(Unary::Silu, &[end], &"unread".into(), ModulePath::root()).unwrap();
    patch.apply().unwrap();
    let (cached, _) = run(&net, "hoist,cache(fora,steps=110110)");
    let selective =
        "quantize(int8dq,exclude=norm+embedding,include=[layers.*,x_embedder],skip=[*.back,layers.1.lin])";
    let embedded = "quantize(exclude=embedding)";
    let questions: &[(&Program, &str, &str, &str)] = &[
        (&net, "quantize(int8dq)", "quantize", "layers.0.lin"),
        (&net, selective, "quantize", "layers.1.lin"),
        (&net, selective, "quantize", "%back.0"),
        (&net, selective, "quantize", "head"),
        (&net, embedded, "quantize", "%attn.0"),
        (&net, "quantize(keep_rows=2)", "quantize", "layers.1.mod"),
        (&quantized, "quantize(int8dq)", "quantize", "%lin.0"),
        (&fused, "quantize(int8dq)", "quantize", "%out"),
        (&net, "", "quantize", "%x"),
        (&net, "", "hoist", "hint"),
        (&net, "", "hoist", "%mod.0"),
        (&net, "", "hoist", "%t"),
        (&net, "", "hoist", "%shift.0"),
        (&net, "", "hoist", "%norm.0"),
        (&net, "", "hoist", "%start"),
        (&net, "", "hoist", "%words"),
        (&hoisted, "", "hoist", "hint"),
        (&cached, "", "hoist", "%norm.0"),
        (&net, "cache(fora)", "cache", "%s.1"),
        (&net, "cache(fora)", "cache", "%s.0"),
        (&net, "cache(fora)", "cache", "%end"),
        (&net, "cache(fora)", "cache", "%wave"),
        (&net, "cache(pab)", "cache", "%back.0"),
        (&net, "cache(pab)", "cache", "%attn.0"),
        (&net, "cache(pab)", "cache", "%s.1"),
        (&net, "cache(fora-paper)", "cache", "%back.1"),
        (&hoisted, "", "cache", "hint"),
        (&net, "", "dce", "%attn.0"),
        (&net, "", "dce", "%out"),
        (&net, "", "dce", "%words"),
        (&unread, "", "dce", "%unread"),
        (&hoisted, "", "dce", "%hint"),
        (&cached, "", "unread-op", "%s.1"),
        (&net, "", "canonicalize", "%end"),
    ];
    let mut text = String::new();
    for (program, passes, rule, value) in questions {
        let given = if passes.is_empty() { String::new() } else { format!(" with {passes}") };
        writeln!(text, "# {rule} {value}{given}\n{}", ask_with(program, passes, rule, value)).unwrap();
    }
    snapshot!("explain__whys", text);
}

/// Of carried values it is said which part is carried, or why all of it.
#[test]
fn carried_values_say_why() {
    let (cached, _) = run(&program(NET), "hoist,cache(fora,steps=110110)");
    let (narrowed, _) = run(&cached, "dce");
    let ask = |program: &Program, rule: &str, value: &str| {
        let question = Question { rule, value, stage: Some("reuse") };
        why(&registry(), &pipeline("dce"), program, question).unwrap().to_string()
    };
    assert!(ask(&cached, "narrow-carry", "%s.1").contains("every reader takes 8..32 of axis 1 alone"));
    let carried = format!("%{}", narrowed.carries[0].name);
    let wide = ask(&narrowed, "narrow-carry", &carried);
    assert!(wide.contains("does not apply") && wide.contains("reads all of it"), "{wide}");
    assert!(ask(&narrowed, "unread-carry", &carried).contains("does not apply"));
}

/// What passes say of a value is what they do to it.
#[test]
fn passes_do_what_they_say() {
    let flux = flux_dev(64, 6);
    let applies = |program: &Program, passes: &str, rule: &str, value: &str| {
        let question = Question { rule, value, stage: Some("full") };
        let answer = why(&registry(), &pipeline(passes), program, question).unwrap();
        matches!(answer.verdicts[..], [(_, Verdict::Applies(_))])
    };
    for passes in
        ["quantize(int8dq,exclude=norm+embedding)", "hoist", "cache(fora-paper)", "cache(pab,steps=110110)"]
    {
        let pass = passes.split('(').next().unwrap();
        let (after, _) = run(&flux, passes);
        let before = &flux.variants["full"];
        let is_op = |id: &_| before.is_op(*id);
        // Of blocks that are alike, one will do.
        let is_first = |id: &_| before[*id].name.split_index().is_none_or(|(_, index)| index == 0);
        for id in before.ids().filter(is_op).filter(is_first) {
            let (name, op) = (&before[id].name, &before[id].op);
            let now = after.variants["full"].find(name);
            let did = match pass {
                "quantize" => now.is_some_and(|now| after.variants["full"][now].op != *op),
                // What is prepared is gone from the step, or handed in to it.
                "hoist" => now.is_none_or(|now| after.variants["full"][now].op != *op),
                _ => after.is_carried(name),
            };
            assert_eq!(applies(&flux, passes, pass, name), did, "{passes}: %{name}");
        }
    }
}

#[test]
fn questions_that_make_no_sense() {
    let net = program(NET);
    let (cached, _) = run(&net, "cache(fora)");
    let mut text = String::new();
    for (program, rule, value, stage) in [
        (&net, "slice-of-slize", "end", None),
        (&net, "vectorize", "end", None),
        (&net, "narrow-carry", "end", None),
        (&net, "tap", "end", None),
        (&net, "quantise", "end", None),
        (&net, "quantize", "layers.0", None),
        (&net, "quantize", "layers.0.lim", None),
        (&net, "cse", "emd", None),
        (&net, "cse", "nothing-like-it", None),
        (&net, "cse", "%mod", None),
        (&net, "cse", "%end", Some("full")),
        (&net, "cse", "%", None),
        (&cached, "cse", "%end", None),
        (&cached, "cse", "%hint", Some("reuse")),
    ] {
        let error = ask_of(program, rule, value, stage).unwrap_err();
        writeln!(text, "# {rule} {value} {}\n{error}\n", stage.unwrap_or_default()).unwrap();
    }
    snapshot!("explain__questions", without_lists(&text));
    for stage in ["reuse", "variant reuse"] {
        assert_eq!(ask_of(&cached, "cse", "%end", Some(stage)).unwrap().stage.to_string(), "variant reuse");
    }
}

/// What rules say of themselves is what they do.
#[test]
fn answers_are_true() {
    // merge-linear replaces the values that it says it does.
    let before = flux_dev_after("canonicalize,hoist,canonicalize").0;
    let (after, _) = run(&before, "merge-linear");
    let (before_graph, after_graph) = (&before.variants["full"], &after.variants["full"]);
    for id in before_graph.ids().filter(|&id| !before_graph.is_leaf(id)) {
        let name = &before_graph[id].name;
        let answer = ask_of(&before, "merge-linear", name, Some("full")).unwrap();
        let applies = answer.obstacle().is_none();
        let became = &after_graph[after_graph.find(name).unwrap()].op;
        assert_eq!(applies, became.name() != before_graph[id].op.name(), "{name}");
    }
    // Where no rule of canonicalize applies any more, none says that it does.
    let rules = pipeline("canonicalize").passes().flat_map(|pass| pass.rules()).collect::<Vec<_>>();
    let hits = |program: &Program| {
        let graph = &program.variants["main"];
        let values: Vec<_> = graph.ids().filter(|&id| !graph.is_leaf(id)).collect();
        let applies = |rule: &str, value: &str| ask(program, rule, value).unwrap().obstacle().is_none();
        let asked = values.iter().flat_map(|&id| rules.iter().map(move |rule| (rule.name, &graph[id].name)));
        asked.filter(|(rule, value)| applies(rule, value)).map(|(rule, _)| rule).collect::<Vec<_>>()
    };
    let sketched = program(&sketch(INPUTS, LINES));
    assert_eq!(hits(&sketched), ["slice-of-all", "slice-of-slice", "cse", "cse"]);
    assert_eq!(hits(&run(&sketched, "canonicalize").0), Vec::<&str>::new());
}
