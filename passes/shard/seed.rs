//! Attention by heads: where the division of a network starts.

use super::along::Divided;
use super::rules::{gathered, share_of};
use reflux_ir::op::{AllGather, Concat, Op, Parts, axis_index};
use reflux_ir::pass::{Answer, Mismatch, RuleInfo};
use reflux_ir::{Graph, Patch, PatchError, ValueId};

pub const ATTENTION: RuleInfo = RuleInfo {
    name: "divide-attention",
    pattern: "attention(q, k, v) → attention of heads that are divided among devices, between tokens that are",
};

/// The axes of queries, keys and values, and of the result.
const TOKENS: usize = 1;
const HEADS: usize = 2;

/// Whether `id` is attention that is not divided yet.
pub fn is_whole_attention(graph: &Graph, id: ValueId) -> Answer {
    match graph[id].op {
        Op::Attention(_) if has_share_of_heads(graph, id) => {
            Err(Mismatch::new("its heads are divided already"))
        }
        Op::Attention(_) => Ok(None),
        _ => Err(Mismatch::other_kind("it is not attention")),
    }
}

/// Whether the heads that attention reads are a share.
fn has_share_of_heads(graph: &Graph, attention: ValueId) -> bool {
    let made = |id: ValueId| &graph[id].op;
    matches!(made(graph.operands(attention)[0]), Op::AllToAll(_) | Op::Shard(_))
}

/// Writes around the attention `id` that its operands and its result are divided by tokens, and its result by heads as well: the
/// rules do the rest.
pub fn divide_attention(graph: &mut Graph, id: ValueId, devices: usize) -> Result<(), PatchError> {
    let mut patch = Patch::new(graph, ATTENTION.name);
    let node = patch.graph()[id].clone();
    let mut operands = patch.graph().operands(id);
    let queries = operands[0];
    let tokens = |graph: &Graph, value| (TOKENS, parts_along(graph, value, devices));
    let by_rows = tokens(patch.graph(), queries);
    for operand in &mut operands[..3] {
        let divided = tokens(patch.graph(), *operand);
        *operand = divided_and_whole(&mut patch, *operand, &divided)?;
    }
    let heads = Parts { devices, extents: vec![node.fact.shape[HEADS]] };
    let attention = patch.add(node.op.clone(), &operands, &node.name, node.path.clone())?;
    let by_heads = divided_and_whole(&mut patch, attention, &(HEADS, heads))?;
    let whole = divided_and_whole(&mut patch, by_heads, &by_rows)?;
    patch.shunt(id, whole);
    patch.apply()
}

/// `value`, put together from the shares that devices have of it.
fn divided_and_whole(patch: &mut Patch, value: ValueId, divided: &Divided) -> Result<ValueId, PatchError> {
    let share = share_of(patch, value, divided)?;
    let node = &patch.graph()[value];
    let (name, path) = (node.name.suffixed("_whole"), node.path.clone());
    patch.find_or_add(AllGather::of(divided.0, &divided.1), &[share], &name, path)
}

/// The parts of which the tokens of `value` consist: what is concatenated on the way to it.
fn parts_along(graph: &Graph, value: ValueId, devices: usize) -> Parts {
    let (mut at, mut axis) = (value, TOKENS);
    let extents = loop {
        let (fact, operands) = (&graph[at].fact, graph.operands(at));
        if let Some((_, (along, parts))) = gathered(graph, at)
            && along == axis
        {
            break parts.extents;
        }
        match &graph[at].op {
            Op::Concat(Concat { axis: own }) if axis_index(*own, fact.shape.len()) == axis => {
                break operands.iter().map(|&operand| graph[operand].fact.shape[axis]).collect();
            }
            op => {
                let one = Parts { devices, extents: vec![fact.shape[axis]] };
                let share = super::along::share(op, &graph.operand_facts(at), fact, &(axis, one));
                let mut operands =
                    operands.into_iter().zip(share.map_or_else(|_| Vec::new(), |share| share.operands));
                let next = operands.find_map(|(operand, divided)| Some((operand, divided?.0)));
                match next {
                    Some(next) => (at, axis) = next,
                    None => break vec![fact.shape[axis]],
                }
            }
        }
    };
    Parts { devices, extents }
}
