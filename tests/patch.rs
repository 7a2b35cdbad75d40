//! Patches: what they replace, what they leave alone, and what they refuse.

use reflux_ir::op::{Binary, Cast, Constant, LayerNorm, Linear, Real, Reshape, Slice, Unary};
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{
    DType, Fact, Graph, ModulePath, Name, Node, Op, Patch, PatchError, Program, ValueId, verify,
};
use std::fmt::Write;

fn program(body: &str) -> Program {
    let text = format!(
        "program p {{
           input %x : f32[2,4] latent
           input %p : f32[2,4] prompt
           variant main (%x, %p) -> (%y, %z) {{
             {body}
           }}
           schedule main
         }}"
    );
    parse(&text).unwrap_or_else(|error| panic!("{error}"))
}

/// The lines of the only variant, each with what it replaced.
fn lines(program: &Program) -> String {
    let text = program.print(&PrintOptions { provenance: true, ..PrintOptions::default() });
    let lines = text.lines().skip_while(|line| !line.starts_with("  variant")).skip(1);
    lines.take_while(|line| *line != "  }").map(|line| format!("{}\n", &line[2..])).collect()
}

/// Fails unless the program is well-formed and its print is a fixed point.
fn check(program: &Program) {
    verify(program).unwrap_or_else(|error| panic!("{error}\n{program}"));
    let parsed = parse(&program.to_string()).unwrap();
    assert_eq!(parsed, *program);
    assert_eq!(parsed.to_string(), program.to_string());
}

fn find(graph: &Graph, name: &str) -> ValueId {
    graph.find(name).unwrap_or_else(|| panic!("there is no %{name}"))
}

/// Adds an op in the module `new`.
fn add(
    patch: &mut Patch,
    name: &str,
    op: impl Into<Op>,
    operands: &[ValueId],
) -> Result<ValueId, PatchError> {
    patch.add(op, operands, &Name::from(name), ModulePath::from("new"))
}

/// Puts `op` over `operands` in the place of `old`, under its name.
fn replace(graph: &mut Graph, old: &str, op: impl Into<Op>, operands: &[&str]) -> Result<(), PatchError> {
    let taps: Vec<_> = operands.iter().map(|name| find(graph, name)).collect();
    let old_id = find(graph, old);
    let mut patch = Patch::new(graph, "test");
    let new = add(&mut patch, old, op, &taps)?;
    patch.shunt(old_id, new);
    patch.apply()
}

fn number(value: f64) -> Constant {
    Constant { value: Real(value), dtype: DType::F32 }
}

type Edit = fn(&mut Graph) -> Result<(), PatchError>;

/// Texts before and after an edit.
#[test]
fn edits() {
    let cases: [(&str, &str, Edit); 12] = [
        (
            "what only the old value read is removed, weights and numbers too; inputs stay",
            "%a = linear %p, @w f32[4,4] : f32[2,4]
             %b = mul %a, 2.0 : f32[2,4]
             %y = silu %b : f32[2,4]
             return %y, %y",
            |graph| replace(graph, "b", Unary::Gelu, &["p"]),
        ),
        (
            "what others read stays",
            "%a = linear %p, @w f32[4,4] : f32[2,4]
             %b = linear %a, @w f32[4,4] : f32[2,4]
             %y = add %b, %a : f32[2,4]
             return %y, %y",
            |graph| replace(graph, "b", Unary::Gelu, &["p"]),
        ),
        (
            "a value that is an output stays, an output that is replaced is redirected",
            "%a = silu %x : f32[2,4]
             %b = silu %a : f32[2,4]
             return %a, %b",
            |graph| replace(graph, "b", Unary::Gelu, &["x"]),
        ),
        (
            "readers and outputs that read twice are redirected twice",
            "%b = silu %x : f32[2,4]
             %y = sub %b, %b : f32[2,4]
             return %b, %b",
            |graph| replace(graph, "b", Unary::Gelu, &["x"]),
        ),
        (
            "the new value reads the old one, and everybody else reads the new one",
            "%b = silu %x : f32[2,4]
             %y = add %b, %x : f32[2,4]
             return %y, %b",
            |graph| replace(graph, "b", Unary::Gelu, &["b"]),
        ),
        (
            "the new value reads the old one through others of the patch",
            "%b = silu %x : f32[2,4]
             return %b, %b",
            |graph| {
                let b = find(graph, "b");
                let mut patch = Patch::new(graph, "test");
                let half = add(&mut patch, "half", Cast { dtype: DType::F16 }, &[b])?;
                let back = add(&mut patch, "back", Cast { dtype: DType::F32 }, &[half])?;
                let sum = add(&mut patch, "sum", Binary::Add, &[back, b])?;
                patch.shunt(b, sum);
                patch.apply()
            },
        ),
        (
            "an input is replaced for its readers",
            "%y = add %x, %p : f32[2,4]
             return %y, %x",
            |graph| replace(graph, "x", Unary::Silu, &["x"]),
        ),
        (
            "several values are replaced at once, also in terms of each other",
            "%q = linear %x, @q f32[4,4] : f32[2,4]
             %k = linear %x, @k f32[4,4] : f32[2,4]
             %sq = silu %q : f32[2,4]
             %y = add %sq, %k : f32[2,4]
             return %y, %q",
            |graph| {
                let [x, q, k, sq] = ["x", "q", "k", "sq"].map(|name| find(graph, name));
                let w = graph.operands(q)[1];
                let mut patch = Patch::new(graph, "test");
                let q2 = add(&mut patch, "q", Linear {}, &[x, w])?;
                let k2 = add(&mut patch, "k", Unary::Gelu, &[q2])?;
                let sq2 = add(&mut patch, "sq", Unary::QuickGelu, &[q])?;
                [(q, q2), (k, k2), (sq, sq2)].into_iter().for_each(|(old, new)| patch.shunt(old, new));
                patch.apply()
            },
        ),
        (
            "a value is replaced by one that is there already",
            "%a = silu %x : f32[2,4]
             %b = silu %x : f32[2,4]
             %c = gelu %b : f32[2,4]
             return %c, %b",
            |graph| {
                let (a, b) = (find(graph, "a"), find(graph, "b"));
                let mut patch = Patch::new(graph, "test");
                patch.shunt(b, a);
                patch.apply()
            },
        ),
        (
            "a slower value makes its readers slower",
            "%a = mul %x, 0.0 : f32[2,4]
             %b = silu %a : f32[2,4]
             %c = gelu %b : f32[2,4]
             %y = add %c, %x : f32[2,4]
             return %y, %c",
            |graph| replace(graph, "a", Unary::Silu, &["p"]),
        ),
        (
            "numbers are shared with those that are there",
            "%a = mul %x, 2.0 : f32[2,4]
             %b = silu %a : f32[2,4]
             return %a, %b",
            |graph| {
                let b = find(graph, "b");
                let mut patch = Patch::new(graph, "test");
                let two = add(&mut patch, "two", number(2.0), &[])?;
                let three = add(&mut patch, "three", number(3.0), &[])?;
                let product = add(&mut patch, "product", Binary::Mul, &[two, three])?;
                let sum = add(&mut patch, "b", Binary::Add, &[product, b])?;
                patch.shunt(b, sum);
                patch.apply()
            },
        ),
        (
            "a weight and a number that are first read further down hold up nothing",
            "%a = silu %x : f32[2,4]
             %b = gelu %a : f32[2,4]
             %c = mul %b, 2.0 : f32[2,4]
             %d = linear %c, @w f32[4,4] : f32[2,4]
             return %c, %d",
            |graph| {
                let [x, a, d] = ["x", "a", "d"].map(|name| find(graph, name));
                let w = graph.operands(d)[1];
                let mut patch = Patch::new(graph, "test");
                let two = add(&mut patch, "two", number(2.0), &[])?;
                let product = add(&mut patch, "product", Binary::Mul, &[x, two])?;
                let new = add(&mut patch, "a", Linear {}, &[product, w])?;
                patch.shunt(a, new);
                patch.apply()
            },
        ),
    ];
    let mut report = String::new();
    for (case, body, edit) in cases {
        let mut program = program(body);
        write!(report, "# {case}\n{}", lines(&program)).unwrap();
        edit(&mut program.variants["main"]).unwrap_or_else(|error| panic!("{case}: {error}"));
        check(&program);
        assert_eq!(program.variants["main"].inputs().len(), 2, "{case}");
        writeln!(report, "=>\n{}", lines(&program)).unwrap();
    }
    snapshot!("patch__edits", report);
}

/// A refused patch says why, and leaves the graph as it was.
#[test]
fn refusals() {
    let body = "%a = silu %p : f32[2,4]
                %b = linear %x, @w f32[4,4] : f32[2,4]
                %c = mul %b, 2.0 : f32[2,4]
                %d = gelu %c : f32[2,4]
                %y = add %a, %d : f32[2,4]
                return %y, %c";
    let cases: [(&str, Edit); 8] = [
        ("another dtype", |graph| replace(graph, "c", Cast { dtype: DType::F16 }, &["b"])),
        ("another shape", |graph| replace(graph, "c", Slice { axis: 0, start: 0, end: 1 }, &["b"])),
        ("a faster rate", |graph| replace(graph, "a", Unary::Silu, &["x"])),
        ("an op that does not fit", |graph| replace(graph, "c", Linear {}, &["b"])),
        ("a cycle", |graph| replace(graph, "b", Unary::Silu, &["d"])),
        ("a cycle through a value that is there already", |graph| {
            let (b, d) = (find(graph, "b"), find(graph, "d"));
            let mut patch = Patch::new(graph, "test");
            patch.shunt(b, d);
            patch.apply()
        }),
        ("one good replacement and one bad one", |graph| {
            let [a, b, x] = ["a", "b", "x"].map(|name| find(graph, name));
            let mut patch = Patch::new(graph, "test");
            let good = add(&mut patch, "b", Unary::Silu, &[x])?;
            let bad = add(&mut patch, "a", Unary::Silu, &[good])?;
            patch.shunt(b, good);
            patch.shunt(a, bad);
            patch.apply()
        }),
        ("an op that does not fit after some that do", |graph| {
            let (b, x) = (find(graph, "b"), find(graph, "x"));
            let mut patch = Patch::new(graph, "test");
            let three = add(&mut patch, "three", number(3.0), &[])?;
            let good = add(&mut patch, "b", Binary::Mul, &[x, three])?;
            patch.shunt(b, good);
            add(&mut patch, "bad", LayerNorm { eps: Real(1e-6) }, &[three]).map(|_| ())
        }),
    ];
    let before = program(body);
    let mut report = String::new();
    for (case, edit) in cases {
        let mut program = before.clone();
        let error = edit(&mut program.variants["main"]).expect_err(case);
        writeln!(report, "# {case}\n{error}\n").unwrap();
        unchanged(&program, &before, case);
    }
    snapshot!("patch__refusals", report);
}

fn unchanged(program: &Program, before: &Program, case: &str) {
    let (graph, old) = (&program.variants["main"], &before.variants["main"]);
    assert_eq!(graph, old, "{case}");
    assert_eq!(lines(program), lines(before), "{case}");
    // Equality does not count what nothing reads.
    assert_eq!(graph.op_counts(), old.op_counts(), "{case}");
    check(program);
}

#[test]
fn a_patch_that_is_dropped_leaves_no_trace() {
    let before = program("%y = mul %x, 2.0 : f32[2,4]\nreturn %y, %y");
    let mut program = before.clone();
    let graph = &mut program.variants["main"];
    let (x, y) = (find(graph, "x"), find(graph, "y"));
    let mut patch = Patch::new(graph, "test");
    let two = add(&mut patch, "two", number(2.0), &[]).unwrap();
    let three = add(&mut patch, "three", number(3.0), &[]).unwrap();
    let sum = add(&mut patch, "sum", Binary::Add, &[two, three]).unwrap();
    let new = add(&mut patch, "y", Binary::Mul, &[x, sum]).unwrap();
    patch.shunt(y, new);
    drop(patch);
    unchanged(&program, &before, "dropped");
}

/// Names that are taken get a number before the index of the block, until they are free.
#[test]
fn names_stay_unique() {
    let mut program = program(
        "%a.0 = silu %x : f32[2,4]
         %a_2.0 = silu %a.0 : f32[2,4]
         %b = silu %a_2.0 : f32[2,4]
         return %b, %a.0",
    );
    let graph = &mut program.variants["main"];
    for (old, expected) in [("a.0", "a_3.0"), ("b", "b_2"), ("b_2", "b_2_2"), ("a_3.0", "a_3_2.0")] {
        replace(graph, old, Unary::Gelu, &[old]).unwrap();
        assert!(graph.find(old).is_some() && graph.find(expected).is_some(), "{old}");
    }
    check(&program);
}

/// The same patch in every block leaves a program that prints as rolled as before: several new values per block, of
/// which none reads the other, weights and numbers that other blocks read, and names that are taken for a while.
#[test]
fn patched_blocks_stay_rolled() {
    let mut program = program(
        "repeat %i in 0..3 (%h.prev = %x) in blocks.{i} {
           %q = linear %h.prev, @.q f32[4,4] : f32[2,4] in .attn
           %k = linear %h.prev, @.k f32[4,4] : f32[2,4] in .attn
           %g = silu %k : f32[2,4] in .act
           %h = add %q, %g : f32[2,4]
           yield %h
         }
         %y = mul %h.2, 2.0 : f32[2,4]
         %z = linear %y, @shared f32[4,4] : f32[2,4]
         return %y, %z",
    );
    let graph = &mut program.variants["main"];
    let shared = graph.operands(find(graph, "z"))[1];
    for index in 0..3 {
        let [q, k, g] = ["q", "k", "g"].map(|stem| find(graph, &format!("{stem}.{index}")));
        let path = graph[q].path.clone();
        let h = graph.operands(q)[0];
        let mut patch = Patch::new(graph, "merge");
        let add = |patch: &mut Patch, op: Op, operands: &[ValueId], stem: &str| {
            patch.add(op, operands, &Name::from(format!("{stem}.{index}")), path.clone()).unwrap()
        };
        let base = add(&mut patch, Linear {}.into(), &[h, shared], "base");
        let two = add(&mut patch, number(2.0).into(), &[], "two");
        let gelu = add(&mut patch, Unary::Gelu.into(), &[base], "k");
        let scaled = add(&mut patch, Binary::Mul.into(), &[base, two], "q");
        let g2 = add(&mut patch, Unary::Silu.into(), &[gelu], "g");
        [(q, scaled), (k, gelu), (g, g2)].into_iter().for_each(|(old, new)| patch.shunt(old, new));
        patch.apply().unwrap();
    }
    check(&program);
    snapshot!("patch__blocks", lines(&program));
}

/// What networks are written with builds replacements too: under the path of what is replaced, as its block calls values, over
/// weights of its module.
#[test]
fn scopes_build_patches() {
    let text = "
program p {
  input %x : bf16[2,4] latent
  variant main (%x) -> (%h.1) {
    repeat %i in 0..2 (%h.prev = %x) in blocks.{i} {
      %h = silu %h.prev : bf16[2,4] in .act
      yield %h
    }
    return %h.1
  }
  schedule main
}";
    let mut program = parse(text).unwrap();
    let graph = program.variants.get_mut("main").unwrap();
    let build = |patch: &mut Patch, root: ValueId| -> Result<ValueId, PatchError> {
        let x = patch.graph().operands(root)[0];
        let mut scope = patch.scope(root);
        let wide = scope.linear("wide", "up", x, 8, true)?;
        let limited = scope.scalar("limited", Binary::Min, wide, 6.0)?;
        assert_eq!((scope.dtype(), scope.fact(limited).shape.to_vec()), (DType::BF16, vec![2, 8]));
        scope.linear("h", "down", limited, 4, false)
    };
    for name in ["h.0", "h.1"] {
        let root = find(graph, name);
        let mut patch = Patch::new(graph, "widen");
        let new = build(&mut patch, root).unwrap();
        patch.shunt(root, new);
        patch.apply().unwrap();
    }
    check(&program);
    let expected = "
    repeat %i in 0..2 (%h.prev = %x) in blocks.{i}.act {
      %wide = linear %h.prev, @.weight bf16[8,4], @.bias bf16[8] : bf16[2,8] in .up
      %limited = min %wide, 6.0 : bf16[2,8]
      %h = linear %limited, @.weight bf16[4,8] : bf16[2,4] in .down
      yield %h
    }";
    assert!(program.to_string().contains(expected), "{program}");
    // What is built wrongly is refused as of the rule, and leaves no trace.
    let before = program.clone();
    let graph = program.variants.get_mut("main").unwrap();
    let root = find(graph, "h.0");
    let mut patch = Patch::new(graph, "widen");
    let error = patch.scope(root).reshape("flat", root, [3]).unwrap_err();
    assert!(error.to_string().starts_with("rule `widen`: `reshape %h.0"), "{error}");
    drop(patch);
    assert_eq!(program, before);
}

/// A graph over inputs of other shapes is the same graph, if what carries extents is adapted.
#[test]
fn graphs_are_rebuilt_for_other_shapes() {
    let text = "
program p {
  input %x : f32[1,6,8] latent
  variant main (%x) -> (%y) {
    %h = linear %x, @.weight f32[8,8] : f32[1,6,8] in blocks.0
    %r = reshape %h {shape=[1, 6, 2, 4]} : f32[1,6,2,4]
    %y = mul %r, 0.5 : f32[1,6,2,4]
    return %y
  }
  schedule main
}";
    let program = parse(text).unwrap();
    let graph = &program.variants["main"];
    let shorter = |node: &Node| Fact::new(node.fact.dtype, [1, 3, 8]).at(node.fact.rate);
    let error = graph.rebuilt(shorter, |node, _| node.op.clone()).unwrap_err();
    assert!(error.to_string().contains("`reshape %h: f32[1,3,8]`"), "{error}");
    let adapted = graph.rebuilt(shorter, |node, facts| match &node.op {
        Op::Reshape(reshape) => {
            let mut shape = reshape.shape.to_vec();
            shape[1] = facts[0].shape[1];
            Reshape { shape: shape.into() }.into()
        }
        op => op.clone(),
    });
    let adapted = Program::of_graph("p", "main", 1, adapted.unwrap());
    let expected = parse(&text.replace("[1,6,", "[1,3,").replace("[1, 6,", "[1, 3,")).unwrap();
    assert_eq!(adapted, expected);
    assert_eq!(graph.rebuilt(|node| node.fact.clone(), |node, _| node.op.clone()).unwrap(), *graph);
}
