//! The verifier: a program that breaks each invariant of its list, and what is said about it.
//!
//! What only the crate itself can break (cycles, ports, facts) is tested in `src/ir/verify.rs`.

use reflux_ir::op::{Binary, Quantize, Real, Unary};
use reflux_ir::text::parse;
use reflux_ir::{
    DType, DType::F32, Declaration, Fact, Granularity, Graph, GraphBuilder, ModulePath, Name, Patch, Program,
};
use reflux_ir::{Rate, Scales, Stage, verify};
use std::fmt::Write;

const FINE: &str = "
program fine {
  input %x : f32[2] latent
  input %p : f32[2] prompt
  carry %h : f32[2] latent
  prepare prompt (%p) -> (%q) {
    %q = silu %p : f32[2] in prepared
    return %q
  }
  variant full (%x, %q) -> (%y, %h) {
    %y = add %x, %q : f32[2] in net.0
    return %y, %y
  }
  variant reuse (%h) -> (%y) {
    %y = gelu %h : f32[2] in net.1
    return %y
  }
  schedule full reuse*2
}";

type Break = fn(&mut Program);

fn variant<'p>(program: &'p mut Program, name: &str) -> &'p mut Graph {
    program.variants.get_mut(name).unwrap()
}

/// Edits `graph`, whatever comes of it.
fn edit(graph: &mut Graph, edit: impl FnOnce(&mut Patch)) {
    let mut patch = Patch::new(graph, "test");
    edit(&mut patch);
    patch.apply().unwrap();
}

/// Adds `silu` of the value `of`, called `name`, to `graph`.
fn silu(graph: &mut Graph, of: &str, name: &str, path: &str) {
    let operand = graph.find(of).unwrap();
    edit(graph, |patch| {
        patch.add(Unary::Silu, &[operand], &name.into(), ModulePath::from(path)).unwrap();
    });
}

/// Adds `add %x, @tensor` to the variant `full`.
fn add_weight(program: &mut Program, tensor: &str, fact: Fact) {
    let graph = variant(program, "full");
    let x = graph.find("x").unwrap();
    edit(graph, |patch| {
        let weight = patch.weight(tensor, fact).unwrap();
        patch.add(Binary::Add, &[x, weight], &"sum".into(), ModulePath::root()).unwrap();
    });
}

/// Adds a weight, which nothing reads, to the variant `full`.
fn add_unread(program: &mut Program, fact: Fact) {
    edit(variant(program, "full"), |patch| {
        patch.weight("w", fact).unwrap();
    });
}

fn quantize() -> Quantize {
    Quantize { dtype: DType::I8, scales: "row.f32".parse().unwrap(), quant_min: None, eps: Real(1e-5) }
}

fn quantized(name: &str) -> Declaration {
    let fact = Fact::new(DType::I8, [2]).scaled(quantize().scales).at(Rate::Latent);
    Declaration { name: name.into(), fact }
}

fn latent(name: &str) -> Declaration {
    Declaration { name: name.into(), fact: Fact::new(F32, [2]).at(Rate::Latent) }
}

#[test]
fn a_fine_program_is_fine() {
    verify(&parse(FINE).unwrap()).unwrap();
}

/// What goes from stage to stage, and from step to step, may be quantized.
#[test]
fn codes_may_be_prepared_and_carried() {
    let text = "
program codes {
  input %x : f32[2] latent
  input %p : f32[2] prompt
  carry %h : i8.row.f32[2] latent
  prepare prompt (%p) -> (%q) {
    %q = quantize %p {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2]
    return %q
  }
  variant full (%x, %q) -> (%y, %h) {
    %h = quantize %x {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2]
    %y = dequantize %q {dtype=f32} : f32[2]
    return %y, %h
  }
  variant reuse (%h) -> (%y) {
    %y = dequantize %h {dtype=f32} : f32[2]
    return %y
  }
  schedule full reuse
}";
    verify(&parse(text).unwrap()).unwrap();
}

#[test]
fn each_invariant_is_checked() {
    let cases: [(&str, Break); 40] = [
        ("3. a weight that changes", |p| add_weight(p, "w", Fact::new(F32, [2]).at(Rate::Prompt))),
        ("4. a value name with a space", |p| silu(variant(p, "full"), "x", "a b", "")),
        ("4. a value name with an empty segment", |p| silu(variant(p, "full"), "x", "a..b", "")),
        ("4. no name at all", |p| silu(variant(p, "full"), "x", "", "")),
        ("4. a module path with a hole", |p| silu(variant(p, "full"), "x", "a", "blocks.{i}")),
        ("4. a relative module path", |p| silu(variant(p, "full"), "x", "a", ".0")),
        ("4. a module path that is too deep", |p| {
            silu(variant(p, "full"), "x", "a", &vec!["m"; 65].join("."));
        }),
        ("4. a tensor name with a slash", |p| add_weight(p, "net/w", Fact::new(F32, [2]))),
        ("4. a relative tensor name", |p| add_weight(p, ".w", Fact::new(F32, [2]))),
        ("4. a program name with a space", |p| p.name = Name::from("not fine")),
        ("4. a variant name with a brace", |p| {
            let graph = p.variants.swap_remove("full").unwrap();
            p.variants.insert("full{".into(), graph);
            p.schedule[0] = "full{".into();
        }),
        ("4. a declared name with a space", |p| p.inputs.push(latent("a b"))),
        ("4. a label with a percent sign", |p| {
            let q = p.prepares[&Rate::Prompt].find("q").unwrap();
            edit(p.prepares.get_mut(&Rate::Prompt).unwrap(), |patch| patch.output("%q", q));
        }),
        ("5. two outputs of one name", |p| {
            let q = p.prepares[&Rate::Prompt].find("p").unwrap();
            edit(p.prepares.get_mut(&Rate::Prompt).unwrap(), |patch| patch.output("r", q));
            edit(p.prepares.get_mut(&Rate::Prompt).unwrap(), |patch| patch.output("r", q));
        }),
        ("6. a value that is faster than its stage", |p| {
            let graph = p.prepares.remove(&Rate::Prompt).unwrap();
            p.prepares.insert(Rate::Weights, graph);
        }),
        ("6. a stage that cannot be prepared", |p| {
            let graph = p.prepares.remove(&Rate::Prompt).unwrap();
            p.prepares.insert(Rate::Latent, graph);
        }),
        ("7. a weight of codes without scales", |p| add_unread(p, Fact::new(DType::U4, [2, 2]))),
        ("7. a weight of numbers with scales", |p| {
            add_unread(p, Fact::new(F32, [2, 2]).scaled("row.f32".parse().unwrap()));
        }),
        ("7. a weight whose scales are codes", |p| {
            let scales = Scales { per: Granularity::Row, dtype: DType::F8E4M3 };
            add_unread(p, Fact::new(DType::I8, [2, 2]).scaled(scales));
        }),
        ("7. an input that is quantized", |p| p.inputs.push(quantized("q8"))),
        ("7. an input of codes", |p| {
            let fact = Fact::new(DType::F8E4M3, [2]).at(Rate::Latent);
            p.inputs.push(Declaration { name: "q8".into(), fact });
        }),
        ("7. a result that is quantized", |p| {
            for name in ["full", "reuse"] {
                let graph = variant(p, name);
                let y = graph.find("y").unwrap();
                edit(graph, |patch| {
                    let codes = patch.add(quantize(), &[y], &"codes".into(), ModulePath::root()).unwrap();
                    patch.output("codes", codes);
                });
            }
        }),
        ("8. a weight without elements", |p| add_unread(p, Fact::new(F32, [0, 2]))),
        ("8. an input without elements", |p| {
            p.inputs.push(Declaration { name: "none".into(), fact: Fact::new(F32, [2, 0]) });
        }),
        ("8. a weight that no machine can address", |p| add_unread(p, Fact::new(F32, [usize::MAX, 2]))),
        ("10. an input that is declared twice", |p| p.inputs.push(latent("x"))),
        ("10. an input that is carried", |p| p.carries.push(latent("x"))),
        ("10. a prepared value that is declared", |p| p.inputs.push(latent("q"))),
        ("10. a prepared value that an earlier stage prepares", |p| {
            let graph = p.prepares[&Rate::Prompt].clone();
            p.prepares.insert(Rate::Schedule, graph);
        }),
        ("10. a carried value that does not change", |p| p.carries[0].fact.rate = Rate::Weights),
        ("11. an input that nothing provides", |p| p.inputs.retain(|input| &*input.name != "x")),
        ("11. an input of another type", |p| p.inputs[0].fact.shape = [3].into()),
        ("11. an input of another rate", |p| p.inputs[0].fact.rate = Rate::Schedule),
        ("11. an input that is prepared later", |p| {
            let mut graph = GraphBuilder::new();
            graph.input("q", Fact::new(F32, [2]).at(Rate::Prompt)).unwrap();
            p.prepares.insert(Rate::Weights, graph.finish());
        }),
        ("12. variants with other results", |p| {
            let graph = variant(p, "reuse");
            let h = graph.find("h").unwrap();
            edit(graph, |patch| patch.output("z", h));
        }),
        ("12. a carried value of another type", |p| p.carries[0].fact.dtype = DType::F16),
        ("13. an empty schedule", |p| p.schedule.clear()),
        ("13. a schedule of what is no variant", |p| {
            p.schedule.extend(["h", "fill", "fill"].map(Name::from))
        }),
        ("14. a carried value that is read first", |p| p.schedule.rotate_left(1)),
        ("15. a tensor of two shapes", |p| {
            edit(variant(p, "full"), |patch| {
                patch.weight("w", Fact::new(F32, [2, 4])).unwrap();
            });
            edit(variant(p, "reuse"), |patch| {
                patch.weight("w", Fact::new(DType::BF16, [4, 2])).unwrap();
            });
        }),
    ];
    let mut report = String::new();
    for (case, edit) in cases {
        let mut program = parse(FINE).unwrap();
        edit(&mut program);
        writeln!(report, "# {case}\n{}\n", verify(&program).expect_err(case)).unwrap();
    }
    snapshot!("verify__invariants", report);
}

/// One error does not hide another, wherever they are.
#[test]
fn all_errors_are_reported() {
    let mut program = parse(FINE).unwrap();
    silu(variant(&mut program, "full"), "x", "a b", "net");
    silu(variant(&mut program, "full"), "x", "a-b", "net");
    silu(program.prepares.get_mut(&Rate::Prompt).unwrap(), "p", "%p", "prepared");
    let h = variant(&mut program, "reuse").find("h").unwrap();
    edit(variant(&mut program, "reuse"), |patch| patch.output("y", h));
    program.inputs.push(latent("h"));
    // A variant that is none and a carried value that is read too early, of one name.
    program.schedule = ["h", "reuse"].map(Name::from).into();
    let error = verify(&program).unwrap_err();
    assert_eq!(error.violations.len(), 8, "{error}");
    let stages = error.violations.iter().filter_map(|violation| violation.stage.clone());
    let [prepare, full, reuse] =
        [Stage::Prepare(Rate::Prompt), Stage::Variant("full".into()), Stage::Variant("reuse".into())];
    assert_eq!(
        stages.collect::<Vec<_>>(),
        [prepare, full.clone(), full, reuse.clone(), reuse.clone(), reuse]
    );
    snapshot!("verify__several", error);
}

/// Invariants 17 and 18: what is on several devices, and what is the same on all of them.
#[test]
fn what_differs_from_device_to_device() {
    let text = |body: &str| {
        format!(
            "program p {{
               input %x : f32[4,2] latent
               carry %kept : f32[2,2] latent
               variant main (%x) -> (%y, %kept) {{
                 {body}
               }}
               variant again (%kept) -> (%y) {{
                 %y = all_gather %kept {{devices=2, axis=0}} : f32[4,2]
                 return %y
               }}
               schedule main again
             }}"
        )
    };
    let own = "%own = shard %x {devices=2, axis=0} : f32[2,2]";
    let whole = "%y = all_gather %own {devices=2, axis=0} : f32[4,2]";
    assert_eq!(verify(&parse(&text(&format!("{own}\n{whole}\nreturn %y, %own"))).unwrap()), Ok(()));
    let cases = [
        (
            "a result that differs",
            format!("{own}\n%y = concat %own, %own {{axis=0}} : f32[4,2]\nreturn %y, %own"),
        ),
        (
            "a share of a share",
            format!("{own}\n%half = shard %own {{devices=2, axis=0}} : f32[1,2]\n{whole}\nreturn %y, %own"),
        ),
        (
            "other devices",
            format!(
                "{own}\n%few = shard %x {{devices=4, axis=0}} : f32[1,2]
                 %y = all_gather %few {{devices=4, axis=0}} : f32[4,2]\nreturn %y, %own"
            ),
        ),
    ];
    let errors = cases.map(|(case, body)| {
        format!("# {case}\n{}\n", verify(&parse(&text(&body)).unwrap()).expect_err(case))
    });
    snapshot!("verify__devices", errors.join("\n"));
}
