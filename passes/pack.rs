//! Layout of weights in the order in which the processor's products read them.

use crate::UNPACKED;
use reflux_ir::op::{Arg, Body, Gemm, Op, Reshape, Term, Transpose};
use reflux_ir::pass::{
    Answer, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property, RuleInfo, counted,
};
use reflux_ir::{DType, Declaration, Fact, Graph, Name, Patch, PatchError, Program, Rate, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const RULE: RuleInfo = RuleInfo {
    name: "pack",
    pattern: "linear(x, W) → linear(x, panels of W), alone or in a gemm, for f32 weights",
};

/// Rows of a weight to a panel: those of two vectors of AVX2, or of one of AVX-512.
const WIDTH: usize = 16;

/// Lays out the weights of f32 products in panels of 16 neighbouring rows, `[out / 16, in, 16]`, once, in `prepare weights`.
/// The processor's products then read them contiguously, without horizontal sums. (BLAS packs at every call; tract's
/// `OptMatMulPack` and oneDNN's reorders correspond to this pass.)
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pack {}

impl Pass for Pack {
    fn name(&self) -> &'static str {
        "pack"
    }

    /// The kernel of panels sums in another order.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn ends(&self) -> &'static [Property] {
        &[UNPACKED]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let mut packed = 0;
        let variants: Vec<Name> = program.variants.keys().cloned().collect();
        for variant in &variants {
            for product in program.variants[variant].order() {
                let graph = &program.variants[variant];
                if !is_product(&graph[product].op) {
                    continue;
                }
                let found = weight(graph, product);
                let Ok((weight, origin)) =
                    found.and_then(|weight| Ok((weight, Origin::of(program, graph, weight)?)))
                else {
                    cx.reject(RULE.name);
                    continue;
                };
                let line = |program: &Program| program.variants[variant].line(product);
                let pack = |program: &mut Program| {
                    let panels = panels(program, origin, variant, product)?;
                    read(&mut program.variants[variant], product, weight, &panels)
                };
                packed += usize::from(cx.apply_site(RULE.name, program, line, pack)? == Changed::Yes);
            }
        }
        if packed > 0 {
            cx.report.note(format!("{} packed", counted(packed, "product")));
        }
        Ok((packed > 0).into())
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let origin = || Origin::of(place.program, place.graph, weight(place.graph, place.value)?);
        (rule == RULE.name).then(|| origin().map(|_| None))
    }
}

/// Whether it is a product, by itself or with an epilogue.
fn is_product(op: &Op) -> bool {
    matches!(op, Op::Linear(_) | Op::Gemm(_))
}

/// The weight of the product whose result is `id`, if it can be packed.
fn weight(graph: &Graph, id: ValueId) -> Result<ValueId, Mismatch> {
    let operands = graph.operands(id);
    let (weight, reads) = match &graph[id].op {
        Op::Linear(_) => (operands[1], operands.iter().filter(|&&operand| operand == operands[1]).count()),
        Op::Gemm(gemm) => match gemm.product.terms() {
            [Term { op: Op::Linear(_), args }] => match args[1] {
                Arg::Operand(index) => (operands[index], reads_of(gemm, index)),
                _ => return Err(Mismatch::new("its weight is computed inside the gemm")),
            },
            _ => return Err(Mismatch::new("it multiplies codes, whose kernel reads rows")),
        },
        _ => return Err(Mismatch::other_kind("the rule starts from `linear`, alone or in a `gemm`")),
    };
    if reads > 1 {
        return Err(Mismatch::at(weight, "it also reads its weight as another operand"));
    }
    let fact = &graph[weight].fact;
    let reason = match fact.shape[..] {
        [_, _, _] => "its weight is already in panels",
        [out, _] if out % WIDTH != 0 => "the rows of its weight do not fill panels of 16",
        _ if fact.dtype != DType::F32 => "its weight is not f32",
        _ if !matches!(graph[weight].op, Op::Weight(_) | Op::Input(_)) || fact.rate != Rate::Weights => {
            "its weight is not known before the step"
        }
        _ => return Ok(weight),
    };
    Err(Mismatch::at(weight, reason))
}

/// How often the formulas of `gemm` read operand `index`.
fn reads_of(gemm: &Gemm, index: usize) -> usize {
    let reads = |body: &Body| {
        let args = body
            .terms()
            .iter()
            .flat_map(|term| &term.args)
            .chain([&body.result()])
            .copied()
            .collect::<Vec<_>>();
        args.into_iter().filter(|&arg| arg == Arg::Operand(index)).count()
    };
    reads(&gemm.product) + gemm.segments.iter().map(|segment| reads(&segment.body)).sum::<usize>()
}

/// Where a weight comes from.
enum Origin {
    Tensor(Name, Fact),
    /// A result of `prepare weights`.
    Prepared(ValueId),
}

impl Origin {
    fn of(program: &Program, graph: &Graph, weight: ValueId) -> Result<Self, Mismatch> {
        let node = &graph[weight];
        if matches!(node.op, Op::Weight(_)) {
            return Ok(Self::Tensor(node.name.clone(), node.fact.clone()));
        }
        let mut outputs = program.prepares.get(&Rate::Weights).into_iter().flat_map(Graph::outputs);
        let output = outputs.find(|output| output.label == node.name);
        let prepared = output.map(|output| Self::Prepared(output.value));
        prepared.ok_or_else(|| Mismatch::at(weight, "its weight is given to the program, and not prepared"))
    }
}

/// The panels of the weight of `product` as a prepared value, made once for all variants.
fn panels(
    program: &mut Program,
    origin: Origin,
    variant: &Name,
    product: ValueId,
) -> Result<Declaration, PatchError> {
    let node = &program.variants[variant][product];
    let (name, path, from) = (node.name.suffixed("_panels"), node.path.clone(), node.name.clone());
    program.prepare_once(RULE.name, &name, [from], |stage, name| {
        let rows = match origin {
            Origin::Tensor(tensor, fact) => stage.weight(&tensor, fact)?,
            Origin::Prepared(value) => value,
        };
        let [out, features] = stage.graph()[rows].fact.shape[..] else {
            unreachable!("a weight is a matrix")
        };
        let split = Reshape { shape: vec![out / WIDTH, WIDTH, features].into() };
        let split = stage.find_or_add(split, &[rows], &name.suffixed("_rows"), path.clone())?;
        stage.find_or_add(Transpose { perm: vec![0, 2, 1] }, &[split], name, path)
    })
}

/// Lets `product` read its weight as the input `panels`.
fn read(
    graph: &mut Graph,
    product: ValueId,
    weight: ValueId,
    panels: &Declaration,
) -> Result<(), PatchError> {
    let op = graph[product].op.clone();
    let operands = graph.operands(product);
    let mut patch = Patch::new(graph, RULE.name);
    let panels = patch.input(&panels.name, panels.fact.clone())?;
    let operands: Vec<_> =
        operands.into_iter().map(|operand| if operand == weight { panels } else { operand }).collect();
    patch.replace(product, op, &operands)?;
    patch.apply()
}
