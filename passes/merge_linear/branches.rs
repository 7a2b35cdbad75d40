//! Products that are added to the results of merged ones: branches of adapters.
//!
//! They are added to all columns at once, so that `fuse` has one sum to make part of the merged product, and not one for each of
//! its slices.

use crate::properties::is_of_branch;
use reflux_ir::op::{Binary, Concat, Op, Slice};
use reflux_ir::{Graph, Patch, PatchError, ValueId};

/// Columns of a merged product, and the value that they are.
#[derive(Clone, Copy)]
pub struct Part {
    pub start: usize,
    pub end: usize,
    pub value: ValueId,
}

/// What is added to a value.
struct Addition {
    sum: ValueId,
    change: ValueId,
}

/// The branch, a linear without bias, that is added to `value`, if nothing else reads either.
fn addition(graph: &Graph, value: ValueId) -> Option<Addition> {
    let only_user = |value: ValueId| {
        let mut users = graph.users(value);
        users.next().filter(|_| users.next().is_none() && !graph.is_result(value))
    };
    let sum = only_user(value).filter(|&user| matches!(graph[user].op, Op::Binary(Binary::Add)))?;
    let change = graph.operands(sum).into_iter().find(|&operand| operand != value)?;
    let is_product = matches!(graph[change].op, Op::Linear(_))
        && graph.operands(change).len() == 2
        && is_of_branch(&graph[change].path);
    let is_alike = graph[change].fact.same_type(&graph[value].fact) && only_user(change) == Some(sum);
    (is_product && is_alike).then_some(Addition { sum, change })
}

/// Adds to `whole`, columns of a product that `parts` divide in order, what the graph adds to each of these. Returns the slices
/// of the sums, each with the value that it replaces.
pub fn add_branches(
    patch: &mut Patch,
    whole: ValueId,
    parts: &[Part],
) -> Result<Vec<(ValueId, ValueId)>, PatchError> {
    let added = |part: &Part| addition(patch.graph(), part.value);
    let added: Vec<Option<Addition>> = parts.iter().map(added).collect();
    let mut slices = Vec::new();
    let mut rest: Vec<(&Part, &Option<Addition>)> = parts.iter().zip(&added).collect();
    while let Some(has_branch) = rest.first().map(|(_, added)| added.is_some()) {
        let length = rest.iter().take_while(|(_, added)| added.is_some() == has_branch).count();
        let run: Vec<_> = rest.drain(..length).collect();
        if !has_branch {
            for (part, _) in run {
                slices.push((part.value, slice(patch, whole, part, part.value)?));
            }
            continue;
        }
        let run: Vec<(&Part, &Addition)> =
            run.into_iter().filter_map(|(part, added)| Some((part, added.as_ref()?))).collect();
        slices.extend(with_branches(patch, whole, &run)?);
    }
    Ok(slices)
}

/// As [`add_branches`], for neighbouring columns to each of which something is added.
fn with_branches(
    patch: &mut Patch,
    whole: ValueId,
    run: &[(&Part, &Addition)],
) -> Result<Vec<(ValueId, ValueId)>, PatchError> {
    let (first, last) = (run[0].0, run[run.len() - 1].0);
    let node = patch.graph()[run[0].1.sum].clone();
    let span = Part { start: first.start, end: last.end, value: first.value };
    let columns = patch.graph()[whole].fact.shape.last().copied();
    let base = match columns == Some(span.end - span.start) {
        true => whole,
        false => slice(patch, whole, &span, first.value)?,
    };
    let changes: Vec<ValueId> = run.iter().map(|(_, added)| added.change).collect();
    let change = match changes[..] {
        [only] => only,
        _ => patch.add(Concat { axis: -1 }, &changes, &node.name.suffixed("_branches"), node.path.clone())?,
    };
    let sum = patch.add(Binary::Add, &[base, change], &node.name.suffixed("_sums"), node.path)?;
    let within = |(part, added): &(&Part, &Addition)| Part {
        start: part.start - span.start,
        end: part.end - span.start,
        value: added.sum,
    };
    add_branches(patch, sum, &run.iter().map(within).collect::<Vec<_>>())
}

/// The columns of `part` of `whole`, called like `old`.
fn slice(patch: &mut Patch, whole: ValueId, part: &Part, old: ValueId) -> Result<ValueId, PatchError> {
    let node = patch.graph()[old].clone();
    patch.add(Slice { axis: -1, start: part.start, end: part.end }, &[whole], &node.name, node.path)
}
