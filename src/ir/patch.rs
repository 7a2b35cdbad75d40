//! The one way to edit a graph: a small replacement graph, type-checked before it goes in.

use crate::graph::{GraphError, Node, Provenance};
use crate::{Fact, Graph, ModulePath, Name, Op, Rate, ValueId};
use petgraph::visit::EdgeRef;
use std::collections::{HashMap, HashSet, VecDeque};

/// A replacement for some values of a graph, built beside it and applied at once.
///
/// Nodes are added to the patch over *taps* (values of the graph) and over each other; *shunts* then say which value
/// of the graph each of them replaces. Nothing changes until [`Patch::apply`], which leaves no value unread that the
/// replacement made dead; a patch that is dropped instead leaves no trace.
pub struct Patch<'g> {
    graph: &'g mut Graph,
    rule: &'static str,
    added: Vec<Added>,
    shunts: Vec<(ValueId, ValueId)>,
    /// Whether the new values stand right behind what they read, and not where the old ones stood.
    early: bool,
}

/// A new value.
struct Added {
    id: ValueId,
    /// What it is to be called.
    name: Name,
    /// The values that it stands for; `None`: all that the patch replaces.
    from: Option<Vec<Name>>,
}

/// Why a patch was refused. The graph is as it was.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("rule `{rule}`: {source}")]
    Graph { rule: &'static str, source: GraphError },
    #[error("rule `{rule}` would replace `%{old}`, {}, by `%{new}`, {}", old_fact.described(), new_fact.described())]
    Type { rule: &'static str, old: Name, old_fact: Box<Fact>, new: Name, new_fact: Box<Fact> },
    #[error("rule `{rule}` would make `%{value}` depend on itself")]
    Cycle { rule: &'static str, value: Name },
}

impl<'g> Patch<'g> {
    /// An empty patch on behalf of `rule`.
    pub fn new(graph: &'g mut Graph, rule: &'static str) -> Self {
        Self { graph, rule, added: Vec::new(), shunts: Vec::new(), early: false }
    }

    /// The graph being patched.
    pub fn graph(&self) -> &Graph {
        self.graph
    }

    /// Adds `op` over values of the graph or of the patch. A name that stays taken gets the first free `name_2`,
    /// `name_3`, …; that of a value which the patch replaces is free once it has.
    pub fn add(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        name: &Name,
        path: ModulePath,
    ) -> Result<ValueId, PatchError> {
        self.add_op(op.into(), operands, name, path, None)
    }

    /// Like [`Patch::add`], for an op that stands for `from` and not for all that the patch replaces.
    pub fn add_from(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        name: &Name,
        path: ModulePath,
        from: Vec<Name>,
    ) -> Result<ValueId, PatchError> {
        self.add_op(op.into(), operands, name, path, Some(from))
    }

    fn add_op(
        &mut self,
        op: Op,
        operands: &[ValueId],
        name: &Name,
        path: ModulePath,
        from: Option<Vec<Name>>,
    ) -> Result<ValueId, PatchError> {
        let (free, before) = (self.free_name(name), self.graph.len());
        let added = self.graph.add(op, operands, free, path);
        let id = added.map_err(|source| PatchError::Graph { rule: self.rule, source })?;
        // A constant may have been there already.
        if self.graph.len() > before {
            self.added.push(Added { id, name: name.clone(), from });
        }
        Ok(id)
    }

    /// Puts `op` over `operands` in the place of `root`, under its name and in its module.
    pub fn replace(
        &mut self,
        root: ValueId,
        op: impl Into<Op>,
        operands: &[ValueId],
    ) -> Result<(), PatchError> {
        let node = &self.graph[root];
        let (name, path) = (node.name.clone(), node.path.clone());
        let new = self.add(op, operands, &name, path)?;
        self.shunt(root, new);
        Ok(())
    }

    /// Adds an input of the graph, which is to be declared by the program, or gives the one that is there.
    pub fn input(&mut self, name: &Name, fact: Fact) -> Result<ValueId, PatchError> {
        if let Some(id) = self.graph.find_input(name) {
            return Ok(id);
        }
        let added = self.graph.input(self.free_name(name), fact);
        let id = added.map_err(|source| PatchError::Graph { rule: self.rule, source })?;
        self.added.push(Added { id, name: name.clone(), from: None });
        Ok(id)
    }

    /// The weight `tensor` as `fact`, added if it is not there.
    pub fn weight(&mut self, tensor: &str, fact: Fact) -> Result<ValueId, PatchError> {
        let before = self.graph.len();
        let added = self.graph.weight(tensor, fact);
        let id = added.map_err(|source| PatchError::Graph { rule: self.rule, source })?;
        if self.graph.len() > before {
            let name = self.graph[id].name.clone();
            self.added.push(Added { id, name, from: None });
        }
        Ok(id)
    }

    fn free_name(&self, name: &Name) -> Name {
        name.first_free(|name| self.graph.find(name).is_none())
    }

    /// Puts the new values right behind what they read instead of where the old ones stand.
    pub fn place_early(&mut self) {
        self.early = true;
    }

    /// Says that `new` takes the place of `old` wherever that is read.
    pub fn shunt(&mut self, old: ValueId, new: ValueId) {
        self.shunts.push((old, new));
    }

    /// Checks types and cycles, then redirects every reader and removes what became dead.
    ///
    /// The new nodes take the old value's place in program order, and keep in their provenance what they replace.
    pub fn apply(mut self) -> Result<(), PatchError> {
        self.check()?;
        let (added, shunts) = (std::mem::take(&mut self.added), std::mem::take(&mut self.shunts));
        let from: Vec<Name> = shunts.iter().map(|&(old, _)| self.graph[old].name.clone()).collect();
        let place = match self.early {
            false => shunts.iter().map(|&(old, _)| self.graph[old].order.0).min(),
            true => {
                let read = added.iter().flat_map(|added| self.graph.operands(added.id));
                // What reads nothing stands in front of everything.
                read.filter(|&id| !self.graph.is_leaf(id)).map(|id| self.graph[id].order.0).max().or(Some(0))
            }
        };
        for added in &added {
            let node = &mut self.graph.dag[added.id.0];
            let from = added.from.as_ref().unwrap_or(&from).clone();
            node.provenance = Some(Provenance { rule: self.rule, from });
            node.order.0 = place.unwrap_or(node.order.0);
        }
        // Of one value alone, what leads from it to its replacement is new; of several, one may lead to that of another.
        let added_ids: HashSet<ValueId> = added.iter().map(|added| added.id).collect();
        for &(old, new) in &shunts {
            let between = (shunts.len() == 1).then(|| self.graph.made_of(new, &added_ids));
            self.graph.redirect(old, new, between.as_ref());
        }
        for (old, _) in shunts {
            self.graph.remove_dead(old);
        }
        for Added { id, name, .. } in added {
            self.graph.rename(id, name);
        }
        Ok(())
    }

    fn check(&self) -> Result<(), PatchError> {
        let added: HashSet<ValueId> = self.added.iter().map(|added| added.id).collect();
        for &(old, new) in &self.shunts {
            let (old_node, new_node) = (&self.graph[old], &self.graph[new]);
            if !old_node.fact.same_type(&new_node.fact) || new_node.fact.rate > old_node.fact.rate {
                return Err(PatchError::Type {
                    rule: self.rule,
                    old: old_node.name.clone(),
                    old_fact: Box::new(old_node.fact.clone()),
                    new: new_node.name.clone(),
                    new_fact: Box::new(new_node.fact.clone()),
                });
            }
            if self.is_made_of_the_same(old, new, &added) {
                continue;
            }
            let reads_itself = |user: ValueId| !added.contains(&user) && self.graph.reaches(user, new);
            if self.graph.users(old).any(reads_itself) {
                return Err(PatchError::Cycle { rule: self.rule, value: old_node.name.clone() });
            }
        }
        Ok(())
    }

    /// Whether all that `new` reads of the graph is seen to be what `old` is made of, so that no reader of `old` can be
    /// among it. Looks at the neighbourhood alone: local rewrites would else cost as much as the graph is long.
    fn is_made_of_the_same(&self, old: ValueId, new: ValueId, added: &HashSet<ValueId>) -> bool {
        const NEIGHBOURHOOD: usize = 64;
        let made_of = self.graph.made_of(new, added);
        let operands = made_of.iter().flat_map(|&id| self.graph.operands(id));
        let mut read: HashSet<ValueId> = operands.chain([new]).filter(|id| !added.contains(id)).collect();
        let (mut seen, mut open) = (HashSet::new(), VecDeque::from([old]));
        while let Some(id) = open.pop_front() {
            read.remove(&id);
            if read.is_empty() {
                return true;
            }
            if seen.len() < NEIGHBOURHOOD && seen.insert(id) {
                open.extend(self.graph.operands(id));
            }
        }
        read.is_empty()
    }
}

impl Drop for Patch<'_> {
    fn drop(&mut self) {
        for Added { id, .. } in self.added.drain(..).rev() {
            self.graph.remove(id);
        }
    }
}

impl Graph {
    /// Those of `among` that `id` is made of by way of each other, itself included.
    fn made_of(&self, id: ValueId, among: &HashSet<ValueId>) -> HashSet<ValueId> {
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
    fn redirect(&mut self, old: ValueId, new: ValueId, between: Option<&HashSet<ValueId>>) {
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
        self.update_rates(new);
    }

    /// Brings a fused op, whose operands have changed, into its one form.
    fn normalize(&mut self, id: ValueId) {
        let operands = self.operands(id);
        if matches!(self[id].op, Op::Rowwise(_) | Op::Gemm(_)) && !self.is_normal(&operands) {
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
    fn rename(&mut self, id: ValueId, name: Name) {
        let taken = self.by_name.contains_key(&name);
        let is_leaf = |node: &Node| matches!(node.op, Op::Weight(_) | Op::Constant(_));
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
