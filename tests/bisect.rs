//! Bisecting: which pass, and which application of which rule, breaks a check.

use crate::common::passes::{NET, program, sketch};
use reflux_ir::op::Binary;
use reflux_ir::pass::{
    About, BisectError, Changed, Culprit, Exactness, Judged, Pass, PassContext, PassError, PassInfo,
    Pipeline, Probe, Registry, Rule, RuleError, apply_rules, bisect,
};
use reflux_ir::{Op, Patch, Program, ValueId};
use reflux_passes::Canonicalize;
use reflux_passes::fuse::{Classes, Fuse, FuseRule, Match, RULES, SpineOp, Tree};
use std::convert::Infallible;

const INPUTS: [&str; 2] = ["%x : f32[1,32,64] latent", "%gain : f32[1,1,64] latent"];

const LINES: &str = "
    %a = mul %x, %gain : f32[1,32,64] in block.0
    %b = add %a, %gain : f32[1,32,64] in block.0
    %c = add %b, %x : f32[1,32,64] in block.0
    %d = sub %c, %a : f32[1,32,64] in block.0
    return %d";

/// `add(x, y) → sub(x, y)`, which is wrong.
const ADD_TO_SUB: Rule = Rule {
    name: "add-to-sub",
    pattern: "add(x, y) → sub(x, y)",
    roots: &["add"],
    rewrite: |patch: &mut Patch, root: ValueId| -> Result<(), RuleError> {
        let graph = patch.graph();
        let (node, operands) = (graph[root].clone(), graph.operands(root));
        let new = patch.add(Binary::Sub, &operands, &node.name, node.path)?;
        patch.shunt(root, new);
        Ok(())
    },
};

#[derive(Clone, Copy, Debug)]
struct Wrong;

impl Pass for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        apply_rules(&mut program.variants[0], &[ADD_TO_SUB], cx)
    }
}

/// `linear(x, W) → x`, which is wrong, and cheap.
const NO_LINEAR: FuseRule = FuseRule {
    name: "no-linear",
    pattern: "linear(x, W) → x",
    spine: &[SpineOp { name: "linear", is: |op| matches!(op, Op::Linear(_)) }],
    rewrite: |_: &Classes, found: &Match| Ok(vec![Tree::Class(found.levels[0].operands[0])]),
};

static WITH_WRONG: [FuseRule; RULES.len() + 1] = {
    let mut rules = [NO_LINEAR; RULES.len() + 1];
    let mut at = 0;
    while at < RULES.len() {
        rules[at] = RULES[at];
        at += 1;
    }
    rules
};

fn registry() -> Registry {
    reflux_passes::registry()
        .with(PassInfo {
            name: "wrong",
            summary: "changes what it must not",
            positional: None,
            example: "wrong",
            about: About::of::<Canonicalize>,
            build: |_| Ok(Box::new(Wrong)),
        })
        .with(PassInfo {
            name: "fuse-wrong",
            summary: "fuses by a rule that is no equality",
            positional: None,
            example: "fuse-wrong",
            about: About::of::<Fuse>,
            build: |_| Ok(Box::new(Fuse { rules: &WITH_WRONG, ..Fuse::default() })),
        })
}

/// Bisects `passes`; a program holds if `holds` says so.
fn find(
    before: &Program,
    passes: &str,
    holds: impl Fn(&Program) -> bool,
) -> Result<Culprit, BisectError<Infallible>> {
    let pipeline = Pipeline::parse(passes, &registry()).unwrap();
    bisect(before, &pipeline, None, Judged::Lossless, &mut |probe| Ok(holds(probe.program)))
}

fn subtractions(program: &Program) -> usize {
    program.variants["main"].op_counts().get("sub").copied().unwrap_or(0)
}

#[test]
fn the_pass_and_the_application_are_found() {
    let before = program(&sketch(&INPUTS, LINES));
    // The second application is one too many.
    let culprit = find(&before, "canonicalize,wrong,dce", |program| subtractions(program) < 3).unwrap();
    assert_eq!((culprit.number, culprit.pass.as_str()), (2, "wrong"));
    let application = culprit.application.unwrap();
    assert_eq!((application.rule.as_str(), application.number, application.of), ("add-to-sub", 2, 2));
    assert!(application.place.starts_with("%c = add %b, %x"), "{}", application.place);
    assert_eq!([subtractions(&culprit.before), subtractions(&culprit.after)], [2, 3]);
}

/// A check may draw a picture, which is for nothing if a later pass is refused.
#[test]
fn a_pass_that_fails_does_so_before_any_check() {
    let before = program(&sketch(&INPUTS, LINES));
    let found = find(&before, "canonicalize,shard(2)", |_| panic!("something is checked"));
    let Err(BisectError::Driver(error)) = found else { panic!("{found:?}") };
    assert!(error.to_string().contains("no attention to divide"), "{error}");
}

/// Among the equalities of an e-graph the wrong one is found, not the ones that build on it.
#[test]
fn the_wrong_equality_is_found() {
    let lines = "
        %l = linear %x, @.weight f32[64,64] : f32[1,32,64] in block.0
        %n = layer_norm %l {eps=1e-6} : f32[1,32,64] in block.0
        %m = linear %n, @.out f32[64,64] : f32[1,32,64] in block.0
        %r = add %m, %x : f32[1,32,64] in block.0
        return %r";
    let before = program(&sketch(&INPUTS, lines));
    let products = |program: &Program| {
        let counts = program.variants["main"].op_counts();
        ["linear", "gemm"].iter().filter_map(|op| counts.get(op)).sum::<usize>()
    };
    let culprit = find(&before, "canonicalize,fuse-wrong", |program| products(program) > 0).unwrap();
    assert_eq!(culprit.number, 2);
    let application = culprit.application.unwrap();
    assert_eq!((application.rule.as_str(), application.number, application.of), ("no-linear", 2, 2));
    assert!(application.place.starts_with("linear("), "{}", application.place);
    assert_eq!([products(&culprit.before), products(&culprit.after)], [1, 0]);
}

/// Passes that rewrite in ways of their own hold back single applications too: which linear breaks the picture, which value
/// that is prepared, reused or dropped.
#[test]
fn every_pass_is_searched_down_to_an_application() {
    type IsMade = fn(&Program) -> bool;
    let unread = "
        %used = silu %x : f32[1,32,64]
        %left = exp %used : f32[1,32,64]
        %over = tanh %left : f32[1,32,64]
        return %used";
    let (net, unread) = (program(NET), program(&sketch(&INPUTS, unread)));
    let linear = |program: &Program, tensor: &str| {
        let graph = program.variants.get("main").expect("it computes");
        graph.weights().find(|(name, _)| *name == tensor).map(|(_, fact)| fact.clone())
    };
    const BACK: &str = "layers.1.back.weight";
    let is_whole = move |program: &Program| linear(program, BACK).is_some_and(|fact| !fact.is_quantized());
    let is_hinted: IsMade = |program| {
        program.variants["main"]
            .find("hint")
            .is_some_and(|id| matches!(program.variants["main"][id].op, Op::Linear(_)))
    };
    let is_fresh: IsMade = |program| !program.carries.iter().any(|carry| &*carry.name == "back.1");
    let is_left: IsMade = |program| program.variants["main"].find("left").is_some();
    type Case<'a> = (&'a Program, &'a str, &'a str, &'a dyn Fn(&Program) -> bool, &'a str);
    let cases: [Case; 5] = [
        (&net, "quantize(int8dq)", "quantize", &is_whole, "%back.1 = linear"),
        (&net, "hoist", "hoist", &is_hinted, "%hint = linear"),
        (&net, "hoist,cache(fora-paper,steps=111010)", "cache", &is_fresh, "%back.1 = linear"),
        (&net, "pack", "pack", &is_whole, "%back.1 = linear"),
        (&unread, "dce", "unread-op", &is_left, "%left = exp"),
    ];
    for (before, passes, rule, holds, place) in cases {
        let pipeline = Pipeline::parse(passes, &registry()).unwrap();
        let check = &mut |probe: Probe| Ok::<_, Infallible>(holds(probe.program));
        let culprit = bisect(before, &pipeline, None, Judged::All, check).unwrap();
        let application = culprit.application.unwrap_or_else(|| panic!("{passes}: no application"));
        assert_eq!(application.rule, rule);
        assert!(application.place.starts_with(place), "{passes}: {}", application.place);
        assert!(holds(&culprit.before) && !holds(&culprit.after), "{passes}");
        // No application is made where none is allowed, so that each can be the first.
        assert!((1..=application.of).contains(&application.number), "{passes}");
    }
}

/// A lossy pass is what later passes are compared with, unless it is to be judged itself.
#[test]
fn lossy_passes_are_judged_only_where_asked() {
    let lines = "
        %l = linear %x, @.weight f32[64,64] : f32[1,32,64] in block.0
        %a = mul %l, %gain : f32[1,32,64] in block.0
        %b = add %a, %gain : f32[1,32,64] in block.0
        return %b";
    let before = program(&sketch(&INPUTS, lines));
    let codes = |program: &Program| program.variants["main"].op_counts().contains_key("matmul_i8");
    let find = |passes: &str, judged: Judged| {
        let pipeline = Pipeline::parse(passes, &registry()).unwrap();
        let mut seen = Vec::new();
        let culprit = bisect(&before, &pipeline, None, judged, &mut |probe| {
            seen.push((probe.passes, probe.promise));
            let same = codes(probe.program) == codes(probe.reference)
                && subtractions(probe.program) == subtractions(probe.reference);
            Ok::<_, Infallible>(same)
        });
        (culprit, seen)
    };
    let (culprit, seen) = find("canonicalize,quantize(int8dq),merge-linear,wrong", Judged::Lossless);
    let culprit = culprit.unwrap();
    assert_eq!((culprit.number, culprit.pass.as_str()), (4, "wrong"));
    // Before the lossy pass and after it, each by itself; what is exact before what reassociates stays exact.
    assert_eq!(seen[..2], [(0, Exactness::Exact), (1, Exactness::Exact)]);
    assert_eq!(seen[2], (4, Exactness::Reassociating));
    let (culprit, _) = find("canonicalize,quantize(int8dq),wrong", Judged::All);
    assert_eq!(culprit.unwrap().pass, "quantize(int8dq)");
    for passes in ["quantize(int8dq)", "quantize(int8dq),canonicalize", ""] {
        assert!(matches!(find(passes, Judged::Lossless).0, Err(BisectError::AllPass)), "{passes}");
    }
}

#[test]
fn what_cannot_be_bisected() {
    let before = program(&sketch(&INPUTS, LINES));
    assert!(matches!(find(&before, "canonicalize", |_| true), Err(BisectError::AllPass)));
    assert!(matches!(find(&before, "canonicalize", |_| false), Err(BisectError::GivenFails)));
    let order = find(&before, "cache(fora),hoist", |program| program.variants.len() == 1);
    assert!(matches!(order, Err(BisectError::Driver(_))));
}
