//! A pure dataflow graph in SSA form.

use crate::edits::EditLog;
use crate::op::{Constant, InferError, Input, Op, OpKind, Weight};
use crate::{Cost, Fact, ModulePath, Name};
use petgraph::Direction::{Incoming, Outgoing};
use petgraph::stable_graph::{NodeIndex, StableDiGraph};
use petgraph::visit::EdgeRef;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, HashSet};
use std::fmt;

/// A value of one graph: the result of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ValueId(pub(crate) NodeIndex);

/// The origin of a node that a rewrite made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provenance {
    /// The rule that made the node.
    pub rule: &'static str,
    /// The values that the rule replaced.
    pub from: Vec<Name>,
}

/// An op and the fact of its result.
#[derive(Clone, Debug)]
pub struct Node {
    pub op: Op,
    pub fact: Fact,
    pub name: Name,
    pub path: ModulePath,
    pub provenance: Option<Provenance>,
    /// The node's place in program order, and when it was added; nodes of one rewrite share the place of those that
    /// they replace.
    pub(crate) order: (u64, u64),
}

/// A labelled result of a graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    pub label: Name,
    pub value: ValueId,
}

/// Why a node cannot be added.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    #[error("`{op}`{}: {source}", module(.path))]
    Infer { op: String, path: ModulePath, source: InferError },
    #[error("the value `%{0}` is defined twice")]
    DuplicateName(Name),
    #[error("weight `@{tensor}` is used both as {first} and as {second}, but a tensor has one shape")]
    WeightShape { tensor: String, first: Fact, second: Fact },
}

fn module(path: &ModulePath) -> String {
    if path.is_empty() { String::new() } else { format!(" in {path}") }
}

/// A pure dataflow graph: nodes in SSA form, inputs, labelled outputs.
///
/// A [`GraphBuilder`](crate::GraphBuilder) makes one, and a [`Patch`](crate::Patch) edits it: nothing else can.
///
/// Edges run from operand to user and carry the operand's position. Weights and constants are nodes too, one per
/// distinct tensor or number.
#[derive(Clone, Debug, Default)]
pub struct Graph {
    pub(crate) dag: StableDiGraph<Node, usize>,
    inputs: Vec<ValueId>,
    pub(crate) outputs: Vec<Output>,
    pub(crate) by_name: HashMap<Name, ValueId>,
    /// Weights and constants by op, once per type: a tensor may be read both quantized and unquantized.
    leaves: HashMap<Op, Vec<ValueId>>,
    next_order: u64,
    /// What patches do to it, if someone wants to know.
    pub(crate) log: Option<EditLog>,
}

impl Graph {
    /// Adds an input of the given fact.
    pub(crate) fn input(&mut self, name: impl Into<Name>, fact: Fact) -> Result<ValueId, GraphError> {
        let id = self.insert(Input {}.into(), fact, name.into(), ModulePath::root(), &[])?;
        self.inputs.push(id);
        Ok(id)
    }

    /// The weight `tensor`, added on first use. It may be read as several element types, but has one shape.
    pub(crate) fn weight(&mut self, tensor: impl Into<String>, fact: Fact) -> Result<ValueId, GraphError> {
        let tensor = tensor.into();
        let op = Op::from(Weight { tensor: tensor.clone() });
        let known = self.leaves.get(&op).map(Vec::as_slice).unwrap_or_default();
        if let Some(&id) = known.iter().find(|&&id| self[id].fact.same_type(&fact)) {
            return Ok(id);
        }
        if let Some(&id) = known.iter().find(|&&id| self[id].fact.shape != fact.shape) {
            return Err(GraphError::WeightShape { first: self[id].fact.clone(), second: fact, tensor });
        }
        Ok(self.leaf(op, fact, tensor))
    }

    /// The scalar `constant`, added on first use.
    pub(crate) fn constant(&mut self, constant: Constant) -> Result<ValueId, GraphError> {
        let op = Op::from(constant.clone());
        if let Some([id]) = self.leaves.get(&op).map(Vec::as_slice) {
            return Ok(*id);
        }
        let text = format!("{:?}", constant.value.0);
        let fact = op.infer(&[]).map_err(|source| GraphError::Infer {
            op: text.clone(),
            path: ModulePath::root(),
            source,
        })?;
        Ok(self.leaf(op, fact, text))
    }

    /// Adds `op` over `operands`, inferring its fact. An existing constant is reused, whatever the name. A fused
    /// op is normalized: each operand once, and constants in its formula.
    pub(crate) fn add(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        name: impl Into<Name>,
        path: ModulePath,
    ) -> Result<ValueId, GraphError> {
        let (op, name) = (op.into(), name.into());
        if let Op::Constant(constant) = op {
            return self.constant(constant);
        }
        let (op, operands) = self.normal_form(op, operands.to_vec());
        let facts: Vec<_> = operands.iter().map(|&id| &self[id].fact).collect();
        match op.infer(&facts) {
            Ok(fact) => self.insert(op, fact, name, path, &operands),
            Err(source) => {
                let operands: Vec<_> =
                    operands.iter().map(|&id| format!("{}: {}", self.operand(id), self[id].fact)).collect();
                Err(GraphError::Infer { op: format!("{} {}", op.name(), operands.join(", ")), path, source })
            }
        }
    }

    /// Makes `value` an output called `label`.
    pub(crate) fn output(&mut self, label: impl Into<Name>, value: ValueId) {
        self.outputs.push(Output { label: label.into(), value });
    }

    /// Drops the outputs whose label `keep` rejects, and the ops that only they depend on.
    pub(crate) fn retain_outputs(&mut self, keep: impl Fn(&Name) -> bool) {
        let dropped: Vec<_> =
            self.outputs.iter().filter(|output| !keep(&output.label)).map(|output| output.value).collect();
        self.outputs.retain(|output| keep(&output.label));
        dropped.into_iter().for_each(|id| self.remove_dead(id));
    }

    /// Drops the inputs that nothing reads.
    pub(crate) fn drop_unread_inputs(&mut self) {
        let unread: Vec<_> = self.inputs.iter().copied().filter(|&id| !self.is_read(id)).collect();
        unread.into_iter().for_each(|id| self.remove(id));
    }

    fn insert(
        &mut self,
        op: Op,
        fact: Fact,
        name: Name,
        path: ModulePath,
        operands: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        if self.by_name.contains_key(&name) {
            return Err(GraphError::DuplicateName(name));
        }
        let id = self.push(op, fact, name.clone(), path);
        self.by_name.insert(name, id);
        self.connect(id, operands);
        Ok(id)
    }

    fn leaf(&mut self, op: Op, fact: Fact, name: String) -> ValueId {
        let id = self.push(op.clone(), fact, name.into(), ModulePath::root());
        self.leaves.entry(op).or_default().push(id);
        id
    }

    fn push(&mut self, op: Op, fact: Fact, name: Name, path: ModulePath) -> ValueId {
        let order = (self.next_order, self.next_order);
        self.next_order += 1;
        ValueId(self.dag.add_node(Node { op, fact, name, path, provenance: None, order }))
    }

    pub(crate) fn connect(&mut self, id: ValueId, operands: &[ValueId]) {
        for (port, operand) in operands.iter().enumerate() {
            self.dag.add_edge(operand.0, id.0, port);
        }
    }

    /// Removes a removed node from the indices.
    pub(crate) fn forget(&mut self, node: &Node, id: ValueId) {
        if self.by_name.get(&node.name) == Some(&id) {
            self.by_name.remove(&node.name);
        }
        match node.op.kind() {
            OpKind::Input => self.inputs.retain(|&input| input != id),
            OpKind::Leaf => {
                if let Some(known) = self.leaves.get_mut(&node.op) {
                    known.retain(|&leaf| leaf != id);
                }
            }
            _ => {}
        }
    }

    /// Number of nodes, leaves included.
    pub fn len(&self) -> usize {
        self.dag.node_count()
    }

    /// Whether the graph has no nodes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The inputs in order of declaration.
    pub fn inputs(&self) -> &[ValueId] {
        &self.inputs
    }

    /// The input called `name`, if the graph has one.
    pub fn find_input(&self, name: &str) -> Option<ValueId> {
        self.inputs.iter().copied().find(|&id| *self[id].name == *name)
    }

    /// The labelled outputs in order.
    pub fn outputs(&self) -> &[Output] {
        &self.outputs
    }

    /// Every value, in no particular order.
    pub fn ids(&self) -> impl Iterator<Item = ValueId> + '_ {
        self.dag.node_indices().map(ValueId)
    }

    /// The node of `id`, if it still exists.
    pub fn get(&self, id: ValueId) -> Option<&Node> {
        self.dag.node_weight(id.0)
    }

    /// Whether `id` is a weight or a constant.
    pub fn is_leaf(&self, id: ValueId) -> bool {
        self[id].op.kind() == OpKind::Leaf
    }

    /// Whether `id` is computed: all values but inputs, weights and constants.
    pub fn is_op(&self, id: ValueId) -> bool {
        self[id].op.kind().is_computed()
    }

    /// Number of ops: of all values but inputs, weights and constants.
    pub fn op_count(&self) -> usize {
        self.ids().filter(|&id| self.is_op(id)).count()
    }

    /// The value called `name`; weights and constants are not found this way.
    pub fn find(&self, name: &str) -> Option<ValueId> {
        self.by_name.get(name).copied()
    }

    /// The operands of `id` in order.
    pub fn operands(&self, id: ValueId) -> Vec<ValueId> {
        let mut operands: Vec<_> = self
            .dag
            .edges_directed(id.0, Incoming)
            .map(|edge| (*edge.weight(), ValueId(edge.source())))
            .collect();
        operands.sort_unstable();
        operands.into_iter().map(|(_, operand)| operand).collect()
    }

    /// The facts of the operands of `id` in order.
    pub fn operand_facts(&self, id: ValueId) -> Vec<&Fact> {
        self.operands(id).into_iter().map(|operand| &self[operand].fact).collect()
    }

    /// The ops that read `id`, each once per operand that is `id`.
    pub fn users(&self, id: ValueId) -> impl Iterator<Item = ValueId> + '_ {
        self.dag.edges_directed(id.0, Outgoing).map(|edge| ValueId(edge.target()))
    }

    /// All values, operands before users, otherwise in program order. Values on a cycle are left out.
    pub fn order(&self) -> Vec<ValueId> {
        // A weight or constant is placed where it is first read, and delays nothing.
        let place = |index: NodeIndex| match self.dag[index].op.kind() {
            OpKind::Leaf => self.first_read(ValueId(index)).unwrap_or(self.dag[index].order),
            // So does an input, at the front.
            OpKind::Input => (0, self.dag[index].order.1),
            _ => self.dag[index].order,
        };
        let mut waiting: HashMap<NodeIndex, usize> = HashMap::with_capacity(self.len());
        let mut ready = BinaryHeap::new();
        for index in self.dag.node_indices() {
            match self.dag.edges_directed(index, Incoming).count() {
                0 => ready.push(Reverse((place(index), index))),
                operands => drop(waiting.insert(index, operands)),
            }
        }
        let mut order = Vec::with_capacity(self.len());
        while let Some(Reverse((_, index))) = ready.pop() {
            order.push(ValueId(index));
            for user in self.dag.edges_directed(index, Outgoing).map(|edge| edge.target()) {
                let left = waiting.get_mut(&user).expect("a user has operands");
                *left -= 1;
                if *left == 0 {
                    ready.push(Reverse((place(user), user)));
                }
            }
        }
        order
    }

    fn first_read(&self, id: ValueId) -> Option<(u64, u64)> {
        self.users(id).map(|user| self[user].order).min()
    }

    /// Names and facts of the weights, in order of first use.
    pub fn weights(&self) -> impl Iterator<Item = (&str, &Fact)> {
        self.order().into_iter().filter_map(|id| match &self[id].op {
            Op::Weight(weight) => Some((weight.tensor.as_str(), &self[id].fact)),
            _ => None,
        })
    }

    /// Whether `id` is a weight or constant that nothing reads.
    pub(crate) fn is_idle(&self, id: ValueId) -> bool {
        self.is_leaf(id) && !self.is_read(id)
    }

    /// Whether `id` is `of` or depends on it.
    pub fn depends_on(&self, id: ValueId, of: ValueId) -> bool {
        self.reaches(of, id)
    }

    /// Drops every op from which no output is reached.
    pub(crate) fn remove_unread(&mut self) {
        for id in self.order().into_iter().rev() {
            if self.get(id).is_some() {
                self.remove_dead(id);
            }
        }
    }

    /// The ops from which no output is reached, users before what they read.
    pub fn unread(&self) -> Vec<ValueId> {
        let results: HashSet<ValueId> = self.outputs.iter().map(|output| output.value).collect();
        let mut unread = HashSet::new();
        let order = self.order().into_iter().rev().filter(|&id| self.is_op(id));
        let is_unread = |id: &ValueId| {
            let is_unread = !results.contains(id) && self.users(*id).all(|user| unread.contains(&user));
            if is_unread {
                unread.insert(*id);
            }
            is_unread
        };
        order.filter(is_unread).collect()
    }

    /// Whether an op or an output reads `id`.
    pub fn is_read(&self, id: ValueId) -> bool {
        self.users(id).next().is_some() || self.is_result(id)
    }

    /// Whether an output is `id`.
    pub fn is_result(&self, id: ValueId) -> bool {
        self.outputs.iter().any(|output| output.value == id)
    }

    /// The cost of `id` when run alone.
    pub fn cost(&self, id: ValueId) -> Cost {
        self[id].op.cost(&self.operand_facts(id), &self[id].fact)
    }

    /// The cost of all ops, each run alone.
    pub fn total_cost(&self) -> Cost {
        self.dag.node_indices().map(|index| self.cost(ValueId(index))).sum()
    }

    /// How the value is written as an operand: `%name`, `@tensor`, or a number and its dtype.
    pub fn operand(&self, id: ValueId) -> impl fmt::Display + '_ {
        fmt::from_fn(move |f| {
            let node = &self[id];
            match node.op {
                Op::Weight(_) => write!(f, "@{}", node.name),
                Op::Constant(_) => write!(f, "{} {}", node.name, node.fact.dtype),
                _ => write!(f, "%{}", node.name),
            }
        })
    }
}

impl std::ops::Index<ValueId> for Graph {
    type Output = Node;

    fn index(&self, id: ValueId) -> &Node {
        &self.dag[id.0]
    }
}

/// Graphs are equal if they print the same: same inputs, same outputs, and the same ops over values of the same
/// names. Program order, provenance, and weights and constants that nothing reads do not count.
impl PartialEq for Graph {
    fn eq(&self, other: &Self) -> bool {
        // A tensor may be read as several types.
        let written = |graph: &Self, id: ValueId| match graph[id].op {
            Op::Weight(_) => format!("{} {}", graph.operand(id), graph[id].fact),
            _ => graph.operand(id).to_string(),
        };
        let labels = |graph: &Self| -> Vec<_> {
            graph.outputs.iter().map(|out| (out.label.clone(), written(graph, out.value))).collect()
        };
        let inputs =
            |graph: &Self| -> Vec<_> { graph.inputs.iter().map(|&id| graph[id].name.clone()).collect() };
        let lines = |graph: &Self| -> HashMap<String, _> {
            let line = |id: ValueId| {
                let node = &graph[id];
                let operands: Vec<_> =
                    graph.operands(id).into_iter().map(|operand| written(graph, operand)).collect();
                (written(graph, id), (node.op.clone(), operands, node.fact.clone(), node.path.clone()))
            };
            graph.dag.node_indices().map(ValueId).filter(|&id| !graph.is_idle(id)).map(line).collect()
        };
        labels(self) == labels(other) && inputs(self) == inputs(other) && lines(self) == lines(other)
    }
}
