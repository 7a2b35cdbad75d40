//! Which values a cache reuses, found by the shape of the graph and not by names.

use reflux_ir::op::{Binary, Op, OpKind};
use reflux_ir::{Graph, Rate, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// Where blocks close their residual: all `x + f(x)`. Of those, the last of all blocks are what the rest of the step is
/// made of; nothing else of the blocks has to be carried.
pub fn residual_sums(graph: &Graph) -> Vec<ValueId> {
    residuals(graph).into_iter().map(|residual| residual.sum).collect()
}

/// Those of `sites` from which a result is reached without passing another, in program order. What is behind others is not
/// computed any more where they are reused, nor is what no result is made of.
pub fn last(graph: &Graph, sites: &[ValueId]) -> Vec<ValueId> {
    let sites: HashSet<ValueId> = sites.iter().copied().collect();
    let mut seen = HashSet::new();
    let mut open: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
    while let Some(id) = open.pop() {
        if seen.insert(id) && !sites.contains(&id) {
            open.extend(graph.operands(id));
        }
    }
    graph.order().into_iter().filter(|id| sites.contains(id) && seen.contains(id)).collect()
}

/// Where streams of residuals end, those that can be followed back to where they start: the last sum of each, or the part of it
/// that alone is read.
pub fn stream_ends(graph: &Graph) -> Vec<ValueId> {
    let end = |sum: ValueId| {
        let mut users = graph.users(sum);
        match (users.next(), users.next()) {
            (Some(only), None) if matches!(graph[only].op, Op::Slice(_)) => only,
            _ => sum,
        }
    };
    let ends: Vec<_> = last(graph, &residual_sums(graph)).into_iter().map(end).collect();
    ends.into_iter().filter(|&end| stream_start(graph, end).is_some()).collect()
}

/// Where streams of several blocks end.
pub fn streams_of_several_blocks(graph: &Graph) -> Vec<ValueId> {
    let mut ends = stream_ends(graph);
    ends.retain(|&end| first_block_end(graph, end).is_some());
    ends
}

/// What the blocks that make `end` add to.
pub fn stream_start(graph: &Graph, end: ValueId) -> Option<ValueId> {
    stream_to(graph, end).map(|stream| stream.start)
}

/// Where the first block of the stream that ends at `end` closes its last residual: the sums of a block are in one module.
pub fn first_block_end(graph: &Graph, end: ValueId) -> Option<ValueId> {
    let Stream { sums, .. } = stream_to(graph, end)?;
    let block = &graph[*sums.first()?].path;
    let is_in_first = |sum: &&ValueId| !block.is_empty() && graph[**sum].path == *block;
    let last = sums.iter().take_while(is_in_first).last().or(sums.first())?;
    (*last != end && sums.last() != Some(last) && graph[*last].fact.same_type(&graph[end].fact))
        .then_some(*last)
}

/// What the first product of the stream that ends at `end` reads of it: the stream's start as the first block has normalised and
/// modulated it, in numbers, before these are quantized.
pub fn first_input(graph: &Graph, end: ValueId) -> Option<ValueId> {
    let first = *stream_to(graph, end)?.sums.first()?;
    let Residual { stream, update, .. } =
        residuals(graph).into_iter().find(|residual| residual.sum == first)?;
    let made_of = Between::of(graph).made_of(update, stream);
    let is_product = |id: &ValueId| made_of.contains(id) && graph[*id].op.kind() == OpKind::Contraction;
    let product = graph.order().into_iter().find(is_product)?;
    let is_of_stream = |operand: &ValueId| *operand == stream || made_of.contains(operand);
    let operand = graph.operands(product).into_iter().find(is_of_stream)?;
    std::iter::successors(Some(operand), |&id| graph.operands(id).first().copied())
        .take_while(is_of_stream)
        .find(|&id| graph[id].fact.dtype.is_float() && !graph[id].fact.is_quantized())
}

/// A chain of residuals.
struct Stream {
    start: ValueId,
    /// First block first.
    sums: Vec<ValueId>,
}

/// The stream that ends at `end`: back through the sums, and to that one of several streams in one tensor, such as those of the
/// text and of the picture, of which `end` is.
fn stream_to(graph: &Graph, end: ValueId) -> Option<Stream> {
    let streams: HashMap<_, _> = residuals(graph).into_iter().map(|sum| (sum.sum, sum.stream)).collect();
    let from_front = |axis: i64| axis.rem_euclid(graph[end].fact.shape.len() as i64);
    let (mut value, mut part, mut sums) = (end, None, Vec::new());
    loop {
        value = match (&graph[value].op, part.clone()) {
            _ if streams.contains_key(&value) => {
                sums.push(value);
                streams[&value]
            }
            (Op::Slice(slice), None) => {
                part = Some((from_front(slice.axis), slice.start..slice.end));
                graph.operands(value)[0]
            }
            (Op::Concat(concat), Some((axis, range))) if from_front(concat.axis) == axis => {
                let mut at = 0;
                let is_it = |&piece: &ValueId| {
                    let start = at;
                    at += graph[piece].fact.shape[axis as usize];
                    range == (start..at)
                };
                part = None;
                graph.operands(value).into_iter().find(is_it)?
            }
            (_, Some(_)) => return None,
            (Op::Concat(_), None) if graph.operands(value).iter().any(|of| streams.contains_key(of)) => {
                return None;
            }
            (_, None) => break,
        };
    }
    sums.reverse();
    let is_stream = value != end && graph[value].fact.same_type(&graph[end].fact);
    is_stream.then_some(Stream { start: value, sums })
}

/// What every block adds to its residual: of `x + gate · u`, `u` where the gate is made without `x`, and of `x + u` all of
/// `u`.
pub fn residual_updates(graph: &Graph) -> Vec<ValueId> {
    let between = Between::of(graph);
    let update = |Residual { stream, update, .. }: Residual| match graph[update].op {
        Op::Binary(Binary::Mul) => {
            let is_gated =
                |&factor: &ValueId| factor == stream || between.made_of(factor, stream).contains(&factor);
            let factors: Vec<_> = graph.operands(update).into_iter().filter(is_gated).collect();
            if let [only] = factors[..] { only } else { update }
        }
        _ => update,
    };
    residuals(graph).into_iter().map(update).collect()
}

/// The results of attention modules: what is made of an attention and weights alone, its output projection if it has
/// one, at the last point before something else comes in. Numbers, that is: codes and integers cannot be predicted.
pub fn attention_results(graph: &Graph) -> Vec<ValueId> {
    let mut module: HashSet<ValueId> = HashSet::new();
    for id in graph.order() {
        let operands = graph.operands(id);
        let mut made_of = operands.iter().filter(|&&operand| !graph.is_leaf(operand)).peekable();
        let is_pure = made_of.peek().is_some() && made_of.all(|operand| module.contains(operand));
        if matches!(graph[id].op, Op::Attention(_)) || is_pure {
            module.insert(id);
        }
    }
    loop {
        let is_read_outside =
            |id: &ValueId| graph.is_result(*id) || graph.users(*id).any(|user| !module.contains(&user));
        let results: Vec<_> = module.iter().copied().filter(is_read_outside).collect();
        let is_number = |id: &ValueId| graph[*id].fact.dtype.is_float();
        if results.iter().all(is_number) {
            return results;
        }
        module.retain(|id| is_number(id) || !results.contains(id));
    }
}

/// What results are made of where `sites` are given.
pub fn needed_besides(graph: &Graph, sites: &[ValueId]) -> HashSet<ValueId> {
    let sites: HashSet<ValueId> = sites.iter().copied().collect();
    let mut needed = HashSet::new();
    let mut open: Vec<ValueId> = graph.outputs().iter().map(|output| output.value).collect();
    while let Some(id) = open.pop() {
        if !sites.contains(&id) && needed.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    needed
}

/// A sum `x + f(x)`.
struct Residual {
    sum: ValueId,
    stream: ValueId,
    update: ValueId,
}

/// Every sum of a value and something that a product makes of it, which changes from step to step, in program order.
fn residuals(graph: &Graph) -> Vec<Residual> {
    let between = Between::of(graph);
    let residual = |sum: ValueId| {
        let node = &graph[sum];
        if node.op != Op::from(Binary::Add) || node.fact.rate < Rate::Latent {
            return None;
        }
        let [a, b] = [graph.operands(sum)[0], graph.operands(sum)[1]];
        let is_stream =
            |x, update| x != update && graph[x].fact.same_type(&node.fact) && between.has_product(update, x);
        match (is_stream(a, b), is_stream(b, a)) {
            (true, _) => Some(Residual { sum, stream: a, update: b }),
            (_, true) => Some(Residual { sum, stream: b, update: a }),
            _ => None,
        }
    };
    graph.order().into_iter().filter_map(residual).collect()
}

/// What lies between two values of a graph. Only that is looked at: a graph has many residuals, and is much longer than any.
struct Between<'g> {
    graph: &'g Graph,
    place: HashMap<ValueId, usize>,
}

impl<'g> Between<'g> {
    fn of(graph: &'g Graph) -> Self {
        let place = graph.order().into_iter().enumerate().map(|(at, id)| (id, at)).collect();
        Self { graph, place }
    }

    /// What `end` is made of, itself included, that is made of `start`, which is left out.
    fn made_of(&self, end: ValueId, start: ValueId) -> HashSet<ValueId> {
        let first = self.place[&start];
        let (mut open, mut seen) = (vec![end], BTreeMap::new());
        while let Some(id) = open.pop() {
            let place = self.place[&id];
            if place > first && seen.insert(place, id).is_none() {
                open.extend(self.graph.operands(id));
            }
        }
        let mut found = HashSet::from([start]);
        for id in seen.into_values() {
            if self.graph.operands(id).iter().any(|operand| found.contains(operand)) {
                found.insert(id);
            }
        }
        found.remove(&start);
        found
    }

    /// Whether a product (or attention, or convolution) of `stream` is on the way to `update`. Element-wise work alone, as
    /// in `n + n · scale`, makes no block.
    fn has_product(&self, update: ValueId, stream: ValueId) -> bool {
        self.made_of(update, stream).into_iter().any(|id| self.graph[id].op.kind() == OpKind::Contraction)
    }
}
