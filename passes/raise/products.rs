//! Linears and attention that exporters have taken apart.

use super::matching::{binary, scaled};
use reflux_ir::op::{Attention, Binary, Linear, Op, Real, Transpose};
use reflux_ir::pass::{Mismatch, Rule};
use reflux_ir::{Graph, ValueId};

pub const LINEAR: Rule = Rule {
    name: "linear",
    pattern: "matmul(x, transpose(w)) → linear(x, w), if w is a matrix",
    roots: &["matmul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let [x, turned] = [graph.operands(root)[0], graph.operands(root)[1]];
        match &graph[turned].op {
            Op::Transpose(transpose) if transpose.perm == [1, 0] => {
                let weight = graph.operands(turned)[0];
                Ok(patch.replace(root, Linear {}, &[x, weight])?)
            }
            _ => Err(Mismatch::at(turned, "the right operand is not a transposed matrix").into()),
        }
    },
};

pub const BIAS: Rule = Rule {
    name: "bias-of-linear",
    pattern: "linear(x, w) + b → linear(x, w, b), if b is a vector and nothing else reads the product",
    roots: &["add"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let [a, b] = binary(graph, root, Binary::Add)?;
        let is_bias = |bias: ValueId, product: ValueId| {
            let out = graph[product].fact.shape.last().copied();
            graph[bias].fact.shape.len() == 1 && graph[bias].fact.shape.last().copied() == out
        };
        let fits = |product: ValueId, bias: ValueId| {
            matches!(graph[product].op, Op::Linear(_))
                && graph.operands(product).len() == 2
                && graph.users(product).count() == 1
                && graph.outputs().iter().all(|output| output.value != product)
                && is_bias(bias, product)
        };
        let (product, bias) = match () {
            () if fits(a, b) => (a, b),
            () if fits(b, a) => (b, a),
            () => {
                return Err(
                    Mismatch::new("it is not a linear without bias, and a vector of its results").into()
                );
            }
        };
        let operands = [&graph.operands(product)[..], &[bias]].concat();
        Ok(patch.replace(root, Linear {}, &operands)?)
    },
};

pub const ATTENTION: Rule = Rule {
    name: "attention",
    pattern: "matmul(softmax(matmul(q, kᵀ) · scale + bias), v) → attention(q, k, v, bias), per head",
    roots: &["matmul"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let Parts { q, keys, v, bias, scale } = Parts::of(graph, root)?;
        let (name, path) = (graph[root].name.clone(), graph[root].path.clone());
        let mut moved = |x: ValueId, perm: [usize; 4], what: &str| {
            patch.add(Transpose { perm: perm.to_vec() }, &[x], &name.suffixed(what), path.clone())
        };
        // From [batch, heads, tokens, dim], and of the keys [batch, heads, dim, tokens], to [batch, tokens, heads, dim].
        let mut operands =
            vec![moved(q, HEADS, "_q")?, moved(keys, [0, 3, 1, 2], "_k")?, moved(v, HEADS, "_v")?];
        operands.extend(bias);
        let op = Attention { scale: Real(scale), causal: false, bounded: false };
        let heads = patch.add(op, &operands, &name.suffixed("_heads"), path)?;
        Ok(patch.replace(root, Transpose { perm: HEADS.to_vec() }, &[heads])?)
    },
};

/// Swaps tokens and heads.
const HEADS: [usize; 4] = [0, 2, 1, 3];

/// Attention, whose operands are `[batch, heads, tokens, dim]`, but `keys`, which are `[batch, heads, dim, tokens]`.
struct Parts {
    q: ValueId,
    keys: ValueId,
    v: ValueId,
    bias: Option<ValueId>,
    scale: f64,
}

impl Parts {
    fn of(graph: &Graph, root: ValueId) -> Result<Self, Mismatch> {
        let [weights, v] = [graph.operands(root)[0], graph.operands(root)[1]];
        let Op::Softmax(_) = graph[weights].op else {
            return Err(Mismatch::at(weights, "the left operand is not a softmax"));
        };
        let mut scores = graph.operands(weights)[0];
        let mut bias = None;
        if let Ok([a, b]) = binary(graph, scores, Binary::Add) {
            let is_product = |id: ValueId| matches!(graph[scaled(graph, id).0].op, Op::Matmul(_));
            let (product, added) = if is_product(a) { (a, b) } else { (b, a) };
            (scores, bias) = (product, Some(added));
        }
        let (product, outer) = scaled(graph, scores);
        let Op::Matmul(_) = graph[product].op else {
            return Err(Mismatch::at(product, "what the softmax is of is not a product of queries and keys"));
        };
        let [(q, left), (keys, right)] = [0, 1].map(|index| scaled(graph, graph.operands(product)[index]));
        let shape = |id: ValueId| &graph[id].fact.shape[..];
        let (&[batch, heads, _, dim], &[_, _, _, tokens]) = (shape(q), shape(keys)) else {
            return Err(Mismatch::at(product, "queries and keys have not four axes"));
        };
        if *shape(keys) != [batch, heads, dim, tokens] || *shape(v) != [batch, heads, tokens, dim] {
            return Err(Mismatch::at(v, "queries, keys and values are not of the same heads"));
        }
        let fits = |bias: ValueId| {
            let (own, scores) = (&graph[bias].fact, &graph[product].fact);
            own.dtype == scores.dtype && own.shape.broadcast(&scores.shape).as_ref() == Some(&scores.shape)
        };
        match bias.filter(|&bias| !fits(bias)) {
            Some(bias) => Err(Mismatch::at(bias, "what is added does not broadcast to the scores")),
            None => Ok(Self { q, keys, v, bias, scale: left * right * outer }),
        }
    }
}
