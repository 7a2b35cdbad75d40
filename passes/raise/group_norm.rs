//! Group norms, which exporters write as a norm of what a reshape has made one row, and a factor and a summand for each channel.

use super::matching::{binary, either};
use reflux_ir::op::{Binary, GroupNorm, Op, Reshape};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{Graph, ValueId};

pub const GROUP_NORM: Rule = Rule {
    name: "group-norm",
    pattern: "reshape(layer_norm(reshape(x))) · w + b → group_norm(x, w, b), if w and b have a number for each channel",
    roots: &["add"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let parts = either(binary(graph, root, Binary::Add)?).into_iter().find_map(|(product, bias)| {
            let factors = either(binary(graph, product, Binary::Mul).ok()?);
            let (op, x, weight) = factors
                .into_iter()
                .find_map(|(norm, weight)| groups_of(graph, norm).map(|(op, x)| (op, x, weight)))?;
            [weight, bias].iter().all(|&id| is_of_channels(graph, id, x)).then_some((op, x, weight, bias))
        });
        let (op, x, weight, bias) = parts.ok_or_else(|| {
            Mismatch::new("it is not a norm of groups of channels, times and plus a number for each channel")
        })?;
        let (channels, name, path) =
            (graph[x].fact.shape[1], graph[root].name.clone(), graph[root].path.clone());
        let mut vector = |id: ValueId, what: &str| {
            patch.add(Reshape { shape: vec![channels].into() }, &[id], &name.suffixed(what), path.clone())
        };
        let (weight, bias) = (vector(weight, "_weight")?, vector(bias, "_bias")?);
        Ok(patch.replace(root, op, &[x, weight, bias])?)
    },
};

/// The norm that `id` is of a value `[batch, channels, …]`, and that value: a norm of the rows that a reshape has made of each group.
fn groups_of(graph: &Graph, id: ValueId) -> Option<(GroupNorm, ValueId)> {
    let reshaped = |id: ValueId| matches!(graph[id].op, Op::Reshape(_)).then(|| graph.operands(id)[0]);
    let norm = reshaped(id)?;
    let Op::LayerNorm(op) = &graph[norm].op else { return None };
    let [rows] = graph.operands(norm)[..] else { return None };
    let x = reshaped(rows)?;
    let (own, rows) = (&graph[x].fact.shape, &graph[rows].fact.shape);
    let &[batch, groups, _] = rows.first_chunk::<3>().filter(|_| rows.len() == 3)?;
    let fits = graph[id].fact.shape == *own
        && own.len() > 2
        && own[0] == batch
        && groups > 0
        && own[1].is_multiple_of(groups);
    fits.then_some((GroupNorm { groups, eps: op.eps }, x))
}

/// Whether `id` is a number for each channel of `x`, `[batch, channels, …]`, and broadcasts to it.
fn is_of_channels(graph: &Graph, id: ValueId, x: ValueId) -> bool {
    let (own, fact) = (&graph[id].fact, &graph[x].fact);
    let (channels, behind) = (fact.shape[1], fact.shape.len() - 2);
    let behind = own.shape.len().checked_sub(behind + 1).map(|first| own.shape.split_at(first));
    let is_vector = behind.is_some_and(|(before, rest)| {
        rest[0] == channels && before.iter().chain(&rest[1..]).all(|&extent| extent == 1)
    });
    own.dtype == fact.dtype && is_vector
}
