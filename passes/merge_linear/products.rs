//! Products of a value and a weight, in whatever form.

use indexmap::IndexMap;
use reflux_ir::op::{MatmulCodes, Op};
use reflux_ir::{DType, Granularity, Graph, Scales, ValueId};

/// Products of so few rows are bound by reading their weights, together or apart.
const FEW_ROWS: usize = 16;

/// `x · Wᵀ + b`, or the same of codes.
pub struct Product {
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
type Key = (ValueId, Option<MatmulCodes>, DType, Option<Scales>, bool);

/// The products that can be one, group by group in program order, and how many others there are.
pub fn products(graph: &Graph) -> (Vec<Vec<Product>>, usize) {
    let mut by_input: IndexMap<Key, Vec<Product>> = IndexMap::new();
    let mut alone = 0;
    for id in graph.order() {
        if let Some(product) = product(graph, id) {
            let weight = &graph[product.weight].fact;
            let key = (product.input, product.codes, weight.dtype, weight.scales, product.bias.is_some());
            by_input.entry(key).or_default().push(product);
        }
    }
    let mut groups: Vec<Vec<Product>> = by_input.into_values().collect();
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

/// Whether the products are of one block: what many blocks make of one value, like modulations, stays apart.
fn is_one_block(graph: &Graph, group: &[Product]) -> bool {
    let paths = group.iter().map(|product| graph[product.result].path.clone());
    paths.reduce(|a, b| a.common(&b)).is_some_and(|shared| !shared.is_empty())
}

/// The product whose result is `id`.
fn product(graph: &Graph, id: ValueId) -> Option<Product> {
    let operands = graph.operands(id);
    let product = match &graph[id].op {
        Op::Linear(_) => Product {
            input: operands[0],
            codes: None,
            weight: operands[1],
            bias: operands.get(2).copied(),
            result: id,
        },
        Op::Rescale(_) => {
            let Op::MatmulCodes(matmul) = graph[operands[0]].op else { return None };
            let [input, weight] = [graph.operands(operands[0])[0], graph.operands(operands[0])[1]];
            let bias = operands[1..].iter().copied().find(|&operand| operand != input && operand != weight);
            // The product is read by nothing else.
            (graph.users(operands[0]).count() == 1).then_some(())?;
            Product { input, codes: Some(matmul), weight, bias, result: id }
        }
        _ => return None,
    };
    let x = &graph[product.input].fact;
    let rows = x.shape.elements() / x.shape.last().copied().unwrap_or(1).max(1);
    let is_leaf = |id: ValueId| matches!(graph[id].op, Op::Weight(_));
    let per_row = graph[product.weight].fact.scales.is_none_or(|scales| scales.per == Granularity::Row);
    let fits = rows > FEW_ROWS && is_leaf(product.weight) && product.bias.is_none_or(is_leaf) && per_row;
    fits.then_some(product)
}
