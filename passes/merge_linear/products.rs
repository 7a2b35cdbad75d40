//! Products of a value and a weight, in whatever form.

use crate::FEW_ROWS;
use crate::properties::is_of_branch;
use indexmap::IndexMap;
use reflux_ir::op::{MatmulCodes, Op};
use reflux_ir::pass::Mismatch;
use reflux_ir::{DType, Granularity, Graph, Scales, ValueId};

/// `x · Wᵀ + b`, or the same of codes.
pub struct LinearProduct {
    /// What the product reads: `x`, or its codes.
    pub input: ValueId,
    /// Of codes: the op of the product, which a rescale follows.
    pub codes: Option<MatmulCodes>,
    pub weight: ValueId,
    pub bias: Option<ValueId>,
    /// The linear, or the rescale.
    pub result: ValueId,
}

/// What products must have in common.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    input: ValueId,
    codes: Option<MatmulCodes>,
    dtype: DType,
    scales: Option<Scales>,
    /// The extents of a weight behind the first, along which weights are put together.
    behind: Vec<usize>,
    has_bias: bool,
    result: DType,
    /// Whether it is of an adapter. What it makes is added to what the others make, which are computed after it.
    is_branch: bool,
}

/// The products that can be one, group by group in program order, and how many others there are.
pub fn products(graph: &Graph) -> (Vec<Vec<LinearProduct>>, usize) {
    let mut alone = 0;
    let mut groups = by_input(graph);
    // Those of one stack next to each other.
    groups.sort_by_cached_key(|group| {
        let name = &graph[group[0].input].name;
        name.split_index().map(|(stem, index)| (stem.to_owned(), index))
    });
    groups.retain(|group| {
        let keep = group.len() > 1 && is_one_block(graph, group);
        alone += if keep { 0 } else { group.len() };
        keep
    });
    (groups, alone)
}

/// Products of one input that are of the same kind.
fn by_input(graph: &Graph) -> Vec<Vec<LinearProduct>> {
    let mut by_input: IndexMap<Key, Vec<LinearProduct>> = IndexMap::new();
    for product in graph.order().into_iter().filter_map(|id| product(graph, id).ok()) {
        let weight = &graph[product.weight].fact;
        let key = Key {
            input: product.input,
            codes: product.codes,
            dtype: weight.dtype,
            scales: weight.scales,
            behind: weight.shape[1..].to_vec(),
            has_bias: product.bias.is_some(),
            result: graph[product.result].fact.dtype,
            is_branch: is_of_branch(&graph[product.result].path),
        };
        by_input.entry(key).or_default().push(product);
    }
    by_input.into_values().collect()
}

/// Whether the products are of one block: what many blocks make of one value, like modulations, stays apart.
fn is_one_block(graph: &Graph, group: &[LinearProduct]) -> bool {
    let paths = group.iter().map(|product| graph[product.result].path.clone());
    paths.reduce(|a, b| a.common(&b)).is_some_and(|shared| !shared.is_empty())
}

/// Whether the product whose result is `value` can be one with others, and what is in its way if it cannot.
pub fn why(graph: &Graph, value: ValueId) -> Result<(), Mismatch> {
    let own = product(graph, value)?;
    let groups = by_input(graph);
    let is_own = |group: &&Vec<LinearProduct>| group.iter().any(|product| product.result == value);
    let group = groups.iter().find(is_own).expect("a product is in a group");
    if group.len() > 1 {
        let other = group.iter().map(|product| product.result).find(|&result| result != value);
        let other = other.expect("there are several");
        let apart = "the other product of its input is in another block, and only products of the same block are merged";
        return if is_one_block(graph, group) { Ok(()) } else { Err(Mismatch::at(other, apart)) };
    }
    let of_input = groups.iter().flatten().filter(|product| product.input == own.input);
    match of_input.map(|product| product.result).find(|&result| result != value) {
        Some(other) => {
            let kind = "the other product of its input differs in its bias, in the type, scales or layout of its weight, in the type of its result, or in being an adapter's";
            Err(Mismatch::at(other, kind))
        }
        None => Err(Mismatch::at(own.input, "no other product reads its input")),
    }
}

/// The product whose result is `id`.
fn product(graph: &Graph, id: ValueId) -> Result<LinearProduct, Mismatch> {
    let operands = graph.operands(id);
    let product = match &graph[id].op {
        Op::Linear(_) => LinearProduct {
            input: operands[0],
            codes: None,
            weight: operands[1],
            bias: operands.get(2).copied(),
            result: id,
        },
        Op::Rescale(_) => {
            let Op::MatmulCodes(matmul) = graph[operands[0]].op else {
                return Err(Mismatch::at(operands[0], "the rescaled value is not a product of codes"));
            };
            if graph.is_result(operands[0]) || graph.users(operands[0]).count() > 1 {
                return Err(Mismatch::at(
                    operands[0],
                    "something else reads the product before it is rescaled",
                ));
            }
            let [input, weight] = [graph.operands(operands[0])[0], graph.operands(operands[0])[1]];
            let codes = [input, weight].into_iter().filter(|&id| graph[id].fact.is_quantized());
            let codes: Vec<ValueId> = codes.collect();
            // Scales of other codes than those that were multiplied, even if they are equal, are not what this makes of them.
            let Some(bias) = operands[1..].strip_prefix(&codes[..]).filter(|rest| rest.len() < 2) else {
                let why = "it is rescaled by the scales of other values than those multiplied";
                return Err(Mismatch::at(operands[0], why));
            };
            LinearProduct { input, codes: Some(matmul), weight, bias: bias.first().copied(), result: id }
        }
        _ => {
            return Err(Mismatch::other_kind(
                "the rule starts from `linear`, or from the `rescale` of a product of codes",
            ));
        }
    };
    let x = &graph[product.input].fact;
    let rows = x.shape.rows();
    if rows <= FEW_ROWS {
        let reason = "its input has too few rows: reading the weights takes all the time, merged or not";
        return Err(Mismatch::at(product.input, reason));
    }
    let is_leaf = |id: &ValueId| matches!(graph[*id].op, Op::Weight(_));
    if let Some(made) = [product.weight].into_iter().chain(product.bias).find(|id| !is_leaf(id)) {
        return Err(Mismatch::at(made, "its weight or bias is not a tensor of the checkpoint"));
    }
    if graph[product.weight].fact.scales.is_some_and(|scales| scales.per != Granularity::Row) {
        return Err(Mismatch::at(product.weight, "the rows of its weight do not each have a scale"));
    }
    Ok(product)
}
