//! Random well-typed graphs, with names and blocks that are hard to roll.

use reflux_ir::op::{Attention, Binary, Concat, Constant, LayerNorm, Linear, Real, Slice, Transpose, Unary};
use reflux_ir::{DType, Fact, Graph, GraphBuilder, ModulePath, Name, Op, Program, Rate, ValueId};

/// Numbers that decide everything about a graph; when they run out, the rest is zeros.
pub struct Choices(pub std::vec::IntoIter<u16>);

impl Choices {
    /// A number below `count`.
    pub fn below(&mut self, count: usize) -> usize {
        self.0.next().map_or(0, usize::from) % count
    }

    pub fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }
}

const SIDE: usize = 4;

/// A program of one variant over square values, of up to `size` ops and blocks.
pub fn random_program(choices: &mut Choices, size: usize) -> Program {
    let mut graph = GraphBuilder::new();
    let square = Fact::new(DType::F32, [SIDE, SIDE]);
    let mut values = Vec::new();
    for (name, rate) in
        [("x", Rate::Latent), ("a.prev", Rate::Prompt), ("m.0", Rate::Schedule), ("m.1", Rate::Weights)]
    {
        values.push(graph.input(name, square.clone().at(rate)).unwrap());
    }
    for _ in 0..1 + choices.below(size) {
        if choices.below(2) == 0 {
            block(&mut graph, &mut values, choices);
        } else if choices.below(6) == 0 {
            gather(&mut graph, &mut values, choices);
        } else {
            let name = fresh_name(&graph, choices);
            let reads = [choices.pick(&values), choices.pick(&values)];
            values.push(op(
                &mut graph,
                choices.below(usize::MAX),
                0,
                &reads,
                name,
                path(choices.below(5), 0),
            ));
        }
    }
    for label in ["y", "a.prev", "z"].iter().take(1 + choices.below(3)) {
        graph.output(*label, choices.pick(&values));
    }
    Program::of_graph("random", "main", 2, graph.finish())
}

/// Neighbours one after the other, whose names may count up.
fn gather(graph: &mut GraphBuilder, values: &mut Vec<ValueId>, choices: &mut Choices) {
    let start = choices.below(values.len());
    let count = (1 + choices.below(6)).min(values.len() - start);
    let (long, short) = (fresh_name(graph, choices), Slice { axis: 0, start: 0, end: SIDE });
    let all = graph.add(Concat { axis: 0 }, &values[start..start + count], long, path(0, 0)).unwrap();
    let name = fresh_name(graph, choices);
    values.push(graph.add(short, &[all], name, path(0, 0)).unwrap());
}

/// Names that a rolled block could confuse with its own.
fn fresh_name(graph: &Graph, choices: &mut Choices) -> Name {
    let stem = choices.pick(&["a", "b", "a.prev", "b.0", "x", "prev", "0", "i"]);
    let index = choices.below(6);
    let names = std::iter::once(stem.to_owned()).chain((index..).map(|index| format!("{stem}.{index}")));
    let skip = choices.below(3);
    Name::from(names.skip(skip).find(|name| graph.find(name).is_none()).unwrap())
}

fn path(kind: usize, round: usize) -> ModulePath {
    ModulePath::from(match kind {
        0 => String::new(),
        1 => "net".into(),
        2 => format!("net.{round}.attn"),
        3 => format!("{round}"),
        _ => format!("net.{}.ff.{}", 2 * round + 1, 7 - round),
    })
}

/// An op of the `kind`-th sort; `round` is what varies from round to round.
fn op(
    graph: &mut GraphBuilder,
    kind: usize,
    round: usize,
    reads: &[ValueId; 2],
    name: Name,
    path: ModulePath,
) -> ValueId {
    let [a, b] = *reads;
    let number = |value: f64| Constant { value: Real(value), dtype: DType::F32 };
    let square = Fact::new(DType::F32, [SIDE, SIDE]);
    let (op, operands): (Op, Vec<ValueId>) = match kind % 10 {
        0 => (Unary::Silu.into(), vec![a]),
        1 => (Binary::Add.into(), vec![a, b]),
        2 => (Binary::Sub.into(), vec![graph.constant(number([1.0, -0.0, 0.0][kind / 10 % 3])).unwrap(), a]),
        3 => (LayerNorm { eps: Real([1e-6, 1.0, -0.0][kind / 10 % 3]) }.into(), vec![a]),
        4 => (Transpose { perm: vec![1, 0] }.into(), vec![a]),
        5 => {
            // In the op's module, below another one, at the root, called like the module, without an index.
            let tensors = [
                path.join("weight").to_string(),
                format!("other.{}.weight", 3 * round + 1),
                format!("{round}.weight"),
                path.to_string(),
                "shared".into(),
            ];
            let tensor = tensors[kind / 10 % 5].clone();
            let tensor = if tensor.is_empty() { "root".into() } else { tensor };
            (Linear {}.into(), vec![a, graph.weight(tensor, square).unwrap()])
        }
        6 => {
            let long = format!("{name}_long");
            let both = graph.add(Concat { axis: 0 }, &[a, b], &long, path.clone()).unwrap();
            (Slice { axis: 0, start: round % SIDE, end: round % SIDE + SIDE }.into(), vec![both])
        }
        7 => (Unary::Gelu.into(), vec![a]),
        8 => (Binary::Mul.into(), vec![a, graph.constant(number(round as f64)).unwrap()]),
        _ => (Binary::Div.into(), vec![b, a]),
    };
    graph.add(op, &operands, name, path).unwrap()
}

/// What an op of a block reads: a value from outside, one of this round, of the one before, of two before.
#[derive(Clone, Copy)]
enum Read {
    Outer(ValueId),
    Indexed,
    Local(usize, usize),
}

/// A block of a few ops, repeated; sometimes with one round that differs.
fn block(graph: &mut GraphBuilder, values: &mut Vec<ValueId>, choices: &mut Choices) {
    let (rounds, start, ops) = (2 + choices.below(4), choices.below(3), 1 + choices.below(3));
    let stems = ["a", "b", "a.prev", "c.1", "x"];
    let first = choices.below(stems.len());
    let taken = |index: usize| {
        (start..start + rounds).any(|round| {
            let name = format!("{}.{round}", stems[(first + index) % stems.len()]);
            graph.find(&name).is_some() || graph.find(&format!("{name}_long")).is_some()
        })
    };
    if (0..ops).any(taken) {
        return;
    }
    let mut read = |op: usize| match choices.below(5) {
        0 => Read::Outer(choices.pick(values)),
        1 => Read::Indexed,
        2 if op > 0 => Read::Local(choices.below(op), 0),
        back => Read::Local(choices.below(ops), 1 + back % 2),
    };
    let body: Vec<[Read; 2]> = (0..ops).map(|op| [read(op), read(op)]).collect();
    let kinds: Vec<(usize, usize)> =
        (0..ops).map(|_| (choices.below(usize::MAX), choices.below(5))).collect();
    let odd = choices.below(3 * rounds * ops);
    let outer = [choices.pick(values), choices.pick(values)];
    let mut made: Vec<Vec<ValueId>> = Vec::new();
    for round in 0..rounds {
        made.push(Vec::new());
        for op_index in 0..ops {
            let operand = |read: Read| match read {
                Read::Outer(value) => value,
                Read::Indexed => graph.find(&format!("m.{}", round % 2)).unwrap(),
                Read::Local(op, back) => match round.checked_sub(back) {
                    Some(round) => made[round][op],
                    None => outer[op % 2],
                },
            };
            let reads = body[op_index].map(operand);
            let (mut kind, in_path) = kinds[op_index];
            kind += usize::from(round * ops + op_index == odd);
            let index = start + round;
            let name = Name::from(format!("{}.{index}", stems[(first + op_index) % stems.len()]));
            let value = op(graph, kind, index, &reads, name, path(in_path, index));
            made[round].push(value);
            values.push(value);
        }
    }
}

/// A replacement of some value by ops over others: one that fits or one that does not.
pub fn random_patch(graph: &mut Graph, choices: &mut Choices) -> Result<(), reflux_ir::PatchError> {
    let values: Vec<_> =
        graph.order().into_iter().filter(|&id| graph.find(&graph[id].name) == Some(id)).collect();
    let [old, a, b] = [choices.pick(&values), choices.pick(&values), choices.pick(&values)];
    let (name, path) = (graph[old].name.clone(), graph[old].path.clone());
    let mut patch = reflux_ir::Patch::new(graph, "random");
    let number = Constant { value: Real(choices.below(3) as f64), dtype: DType::F32 };
    let number = patch.add(number, &[], &name, path.clone())?;
    let first = patch.add(Binary::Mul, &[a, number], &name, path.clone())?;
    let second: Op = match choices.below(8) {
        0 => Attention { scale: Real(1.0), causal: false, bounded: false }.into(),
        1 => Concat { axis: 1 }.into(),
        _ => Binary::Add.into(),
    };
    let new = patch.add(second, &[first, b], &name, path)?;
    patch.shunt(old, new);
    if choices.below(4) == 0 {
        patch.shunt(a, first);
    }
    patch.apply()
}
