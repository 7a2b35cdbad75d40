//! Division of a graph into regions, and outlines, which decide which regions share a plan.

use fixedbitset::FixedBitSet;
use indexmap::{IndexMap, IndexSet};
use reflux_ir::op::{Constant, Op};
use reflux_ir::{Fact, Graph, ModulePath, Name, Rate, ValueId};
use std::collections::HashMap;

/// A part of a graph that is fused on its own: the ops of one block of a repeated stack, or the ops outside all blocks.
pub struct Region {
    pub outline: Outline,
    /// The values from outside, as the outline numbers them.
    pub leaves: Vec<ValueId>,
    /// The ops, as the outline numbers them.
    pub values: Vec<ValueId>,
    pub names: Names,
}

/// What the values of a region are called before any region is fused.
pub struct Names {
    pub leaves: Vec<Name>,
    /// The leaves as they are written where they are read, no two alike: `%x`, `@w`, or `@w i8.row.f32[8,8]` of a tensor
    /// that is read as several types.
    pub written: Vec<Name>,
    pub ops: Vec<(Name, ModulePath)>,
    /// The module that all ops are in.
    pub block: ModulePath,
}

/// The computation of a region without the names of values. Regions with the same outline are fused in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Outline {
    pub leaves: Vec<Leaf>,
    /// In program order.
    pub ops: Vec<OutlinedOp>,
    /// Which ops are read outside the region.
    pub outputs: Vec<usize>,
}

/// A value from outside.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Leaf {
    pub fact: Fact,
    /// The ops of the outline that it is made of, by way of others: those cannot be made of it.
    pub made_of: Vec<usize>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OutlinedOp {
    pub op: Op,
    pub operands: Vec<OutlineOperand>,
    pub fact: Fact,
}

/// What an op of an outline reads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OutlineOperand {
    Leaf(usize),
    Constant(Constant),
    Op(usize),
}

/// The regions of a graph, in program order of their first ops.
///
/// A block is what shares a module path up to its first number: `transformer_blocks.3`; one of very many ops is cut in
/// pieces. Views of values from outside count as outside: where in a tensor a block's part lies is nothing that its plan
/// depends on.
pub fn regions(graph: &Graph) -> Vec<Region> {
    // More than blocks of networks have; those of FLUX.1 have 75 at most.
    const MOST_OPS: usize = 100;
    let order = graph.order();
    let mut blocks: IndexMap<String, IndexSet<ValueId>> = IndexMap::new();
    for &id in &order {
        if graph.is_op(id) {
            blocks.entry(block_of(&graph[id].path)).or_default().insert(id);
        }
    }
    let place: HashMap<ValueId, usize> = order.iter().enumerate().map(|(at, &id)| (id, at)).collect();
    let pieces = blocks.into_values().flat_map(|block| {
        let block: Vec<ValueId> = block.into_iter().collect();
        block.chunks(MOST_OPS).map(|piece| piece.iter().copied().collect()).collect::<Vec<_>>()
    });
    pieces.filter_map(|piece| region(graph, piece, &order, &place)).collect()
}

/// `blocks.3` of `blocks.3.attn.to_q`; nothing if no segment is a number.
fn block_of(path: &ModulePath) -> String {
    let segments: Vec<&str> = path.segments().collect();
    let number = segments.iter().position(|segment| segment.bytes().all(|byte| byte.is_ascii_digit()));
    number.map(|at| segments[..=at].join(".")).unwrap_or_default()
}

/// What a plan may know of a fact: whether it is a weight's, but not when else it changes.
fn known(fact: &Fact) -> Fact {
    let rate = if fact.rate == Rate::Weights { Rate::Weights } else { Rate::Latent };
    fact.clone().at(rate)
}

fn region(
    graph: &Graph,
    block: IndexSet<ValueId>,
    order: &[ValueId],
    place: &HashMap<ValueId, usize>,
) -> Option<Region> {
    let mut values: IndexSet<ValueId> = IndexSet::new();
    for &id in &block {
        let is_outside = |operand: &ValueId| !values.contains(operand);
        let is_view_of_outside = graph[id].op.is_view() && graph.operands(id).iter().all(is_outside);
        if !is_view_of_outside {
            values.insert(id);
        }
    }
    let mut leaves: IndexSet<ValueId> = IndexSet::new();
    let mut ops = Vec::with_capacity(values.len());
    for &id in &values {
        let source = |operand: ValueId| match (&graph[operand].op, values.get_index_of(&operand)) {
            (Op::Constant(constant), _) => OutlineOperand::Constant(constant.clone()),
            (_, Some(index)) => OutlineOperand::Op(index),
            _ => OutlineOperand::Leaf(leaves.insert_full(operand).0),
        };
        let operands = graph.operands(id).into_iter().map(source).collect();
        ops.push(OutlinedOp { op: graph[id].op.clone(), operands, fact: known(&graph[id].fact) });
    }
    let is_read_outside = |id: ValueId| {
        graph.users(id).any(|user| !values.contains(&user))
            || graph.outputs().iter().any(|output| output.value == id)
    };
    let outputs =
        values.iter().enumerate().filter(|(_, id)| is_read_outside(**id)).map(|(at, _)| at).collect();
    let made_of = made_of(graph, &values, &leaves, order, place);
    let known_leaves = leaves.iter().zip(made_of);
    let known_leaves =
        known_leaves.map(|(&id, made_of)| Leaf { fact: known(&graph[id].fact), made_of }).collect();
    let outline = Outline { leaves: known_leaves, ops, outputs };
    let mut written: IndexMap<String, Vec<ValueId>> = IndexMap::new();
    leaves.iter().for_each(|&id| written.entry(graph.operand(id).to_string()).or_default().push(id));
    let written = |&id: &ValueId| {
        let operand = graph.operand(id).to_string();
        let is_alone = written[&operand].len() == 1;
        Name::from(if is_alone { operand } else { format!("{operand} {}", graph[id].fact) })
    };
    let paths = values.iter().map(|&id| graph[id].path.clone());
    let names = Names {
        leaves: leaves.iter().map(|&id| graph[id].name.clone()).collect(),
        written: leaves.iter().map(written).collect(),
        ops: values.iter().map(|&id| (graph[id].name.clone(), graph[id].path.clone())).collect(),
        block: paths.reduce(|a, b| a.common(&b)).unwrap_or_else(ModulePath::root),
    };
    (!values.is_empty()).then(|| Region {
        outline,
        leaves: leaves.into_iter().collect(),
        values: values.into_iter().collect(),
        names,
    })
}

/// For each leaf, the values of the region, by their numbers, that it is made of.
fn made_of(
    graph: &Graph,
    values: &IndexSet<ValueId>,
    leaves: &IndexSet<ValueId>,
    order: &[ValueId],
    place: &HashMap<ValueId, usize>,
) -> Vec<Vec<usize>> {
    let first = values.first().map_or(0, |id| place[id]);
    let last = leaves.iter().map(|id| place[id]).max().unwrap_or(0);
    // Only what comes behind the region's first value can be made of any.
    let mut behind: HashMap<ValueId, FixedBitSet> = HashMap::new();
    for &id in order.get(first..=last).unwrap_or_default() {
        let mut made_of = FixedBitSet::with_capacity(values.len());
        for operand in graph.operands(id) {
            if let Some(index) = values.get_index_of(&operand) {
                made_of.insert(index);
            } else if let Some(known) = behind.get(&operand) {
                made_of.union_with(known);
            }
        }
        if !values.contains(&id) && !made_of.is_clear() {
            behind.insert(id, made_of);
        }
    }
    let found = |id: &ValueId| behind.get(id).map(|made_of| made_of.ones().collect()).unwrap_or_default();
    leaves.iter().map(found).collect()
}
