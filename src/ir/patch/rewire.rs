//! The changes to the graph when a patch is applied.

use crate::graph::Node;
use crate::op::OpKind;
use crate::{Graph, Name, Op, Rate, ValueId};
use petgraph::visit::EdgeRef;
use std::collections::{HashMap, HashSet};

impl Graph {
    /// Those of `among` that `id` is made of by way of each other, itself included.
    pub(super) fn made_of(&self, id: ValueId, among: &HashSet<ValueId>) -> HashSet<ValueId> {
        let (mut found, mut open) = (HashSet::new(), vec![id]);
        while let Some(id) = open.pop() {
            if among.contains(&id) && found.insert(id) {
                open.extend(self.operands(id));
            }
        }
        found
    }

    /// Makes every reader of `old`, outputs included, read `new`, but for `new` and what it is made of: `between`, if that
    /// is known.
    pub(super) fn redirect(&mut self, old: ValueId, new: ValueId, between: Option<&HashSet<ValueId>>) {
        let readers: Vec<_> = {
            let mut edges = self.dag.neighbors_directed(old.0, petgraph::Outgoing).detach();
            std::iter::from_fn(|| edges.next(&self.dag)).collect()
        };
        for (edge, user) in readers {
            let is_part_of_new = match between {
                Some(between) => between.contains(&ValueId(user)),
                None => self.reaches(ValueId(user), new),
            };
            if !is_part_of_new {
                let port = self.dag.remove_edge(edge).expect("just listed");
                self.dag.add_edge(new.0, user, port);
                self.normalize(ValueId(user));
            }
        }
        for output in &mut self.outputs {
            if output.value == old {
                output.value = new;
            }
        }
        // A value may have very many readers, each of very many values; most replacements change no rate.
        if self[new].fact.rate != self[old].fact.rate {
            self.update_rates(new);
        }
    }

    /// Brings a fused op, whose operands have changed, into its one form.
    fn normalize(&mut self, id: ValueId) {
        if !self[id].op.is_fused() {
            return;
        }
        let operands = self.operands(id);
        if !self.is_normal(&operands) {
            let (op, operands) = self.normal_form(self[id].op.clone(), operands);
            self.dag[id.0].op = op;
            let edges: Vec<_> =
                self.dag.edges_directed(id.0, petgraph::Incoming).map(|edge| edge.id()).collect();
            for edge in edges {
                self.dag.remove_edge(edge);
            }
            self.connect(id, &operands);
        }
    }

    /// Gives the inputs that `rates` names their rates, and what depends on them.
    pub(crate) fn set_input_rates(&mut self, rates: &HashMap<Name, Rate>) {
        for id in self.inputs().to_vec() {
            let rate = rates.get(&self[id].name).copied().filter(|&rate| rate != self[id].fact.rate);
            if let Some(rate) = rate {
                self.dag[id.0].fact.rate = rate;
                self.update_rates(id);
            }
        }
    }

    /// Infers again what depends on `id`, whose rate may have become slower.
    fn update_rates(&mut self, id: ValueId) {
        let mut stale: Vec<_> = self.users(id).collect();
        while let Some(id) = stale.pop() {
            let rate = self.operand_facts(id).into_iter().map(|fact| fact.rate).max();
            if let Some(rate) = rate.filter(|&rate| rate != self[id].fact.rate) {
                self.dag[id.0].fact.rate = rate;
                stale.extend(self.users(id));
            }
        }
    }

    /// Calls `id` by `name`, if it is there and the name is free. Leaves are called by what they are.
    pub(super) fn rename(&mut self, id: ValueId, name: Name) {
        let taken = self.by_name.contains_key(&name);
        let is_leaf = |node: &Node| node.op.kind() == OpKind::Leaf;
        let node = self.dag.node_weight_mut(id.0).filter(|node| !is_leaf(node));
        if let Some(node) = node.filter(|_| !taken) {
            self.by_name.remove(&std::mem::replace(&mut node.name, name.clone()));
            self.by_name.insert(name, id);
        }
    }

    /// Whether `to` depends on `from`, or is it.
    pub(crate) fn reaches(&self, from: ValueId, to: ValueId) -> bool {
        petgraph::algo::has_path_connecting(&self.dag, from.0, to.0, None)
    }

    /// Removes `id` if nothing reads it, and then its operands likewise. Inputs stay: they are the signature.
    pub(crate) fn remove_dead(&mut self, id: ValueId) {
        let mut candidates = vec![id];
        while let Some(id) = candidates.pop() {
            let is_input = |node: &Node| matches!(node.op, Op::Input(_));
            if !self.dag.node_weight(id.0).is_none_or(is_input) && !self.is_read(id) {
                candidates.extend(self.operands(id));
                self.remove(id);
            }
        }
    }

    /// Removes `id`, if it is there, and of what it reads the weights and constants that nothing else does.
    pub(super) fn remove_alone(&mut self, id: ValueId) {
        let operands = self.operands(id);
        self.remove(id);
        for operand in operands {
            if self.get(operand).is_some() && self.is_idle(operand) {
                self.remove(operand);
            }
        }
    }

    pub(crate) fn remove(&mut self, id: ValueId) {
        if let Some(node) = self.dag.remove_node(id.0) {
            self.forget(&node, id);
        }
    }

    /// How often each op occurs, for reports and tests.
    pub fn op_counts(&self) -> HashMap<&'static str, usize> {
        let mut counts = HashMap::new();
        for node in self.dag.node_weights() {
            *counts.entry(node.op.name()).or_default() += 1;
        }
        counts
    }
}
