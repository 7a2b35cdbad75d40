//! The one way to edit a graph: a small replacement graph, type-checked before it goes in.

mod rewire;

use crate::edits::{Endangered, told};
use crate::graph::{GraphError, Output, Provenance};
use crate::{Fact, Graph, ModulePath, Name, Op, ValueId};
use std::collections::{HashSet, VecDeque};

/// A replacement for some values of a graph, built beside it and applied at once.
///
/// Nodes are added to the patch over *taps* (values of the graph) and over each other; *shunts* then say which value
/// of the graph each of them replaces. Outputs can be added and dropped, and unread values removed. Nothing changes until
/// [`Patch::apply`], which also removes the values that the replacement made dead; a patch that is dropped changes nothing.
pub struct Patch<'g> {
    graph: &'g mut Graph,
    rule: &'static str,
    added: Vec<Added>,
    shunts: Vec<(ValueId, ValueId)>,
    /// Whether the new values are placed right after their operands, and not in the place of the old ones.
    early: bool,
    /// The values that new ones derive from, if the patch replaces nothing.
    from: Vec<Name>,
    outputs: Vec<Output>,
    dropped_outputs: HashSet<Name>,
    removed: Vec<ValueId>,
    removes_unread: bool,
    removes_unread_inputs: bool,
}

/// A new value.
struct Added {
    id: ValueId,
    /// Its name.
    name: Name,
    /// The values that it derives from; `None`: those of the patch as a whole.
    from: Option<Vec<Name>>,
}

/// Why a patch was refused. The graph is unchanged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    #[error("rule `{rule}`: {source}")]
    Graph { rule: &'static str, source: GraphError },
    #[error("rule `{rule}` would replace `%{old}`, {}, by `%{new}`, {}", old_fact.described(), new_fact.described())]
    Type { rule: &'static str, old: Name, old_fact: Box<Fact>, new: Name, new_fact: Box<Fact> },
    #[error("rule `{rule}` would make `%{value}` depend on itself")]
    Cycle { rule: &'static str, value: Name },
    #[error("rule `{rule}` reads the input `%{name}` as {fact}, which is {} there", found.described())]
    Input { rule: &'static str, name: Name, fact: Box<Fact>, found: Box<Fact> },
    #[error("rule `{rule}` would remove `%{value}`, which is still read")]
    Read { rule: &'static str, value: Name },
}

impl<'g> Patch<'g> {
    /// An empty patch on behalf of `rule`.
    pub fn new(graph: &'g mut Graph, rule: &'static str) -> Self {
        Self {
            graph,
            rule,
            added: Vec::new(),
            shunts: Vec::new(),
            early: false,
            from: Vec::new(),
            outputs: Vec::new(),
            dropped_outputs: HashSet::new(),
            removed: Vec::new(),
            removes_unread: false,
            removes_unread_inputs: false,
        }
    }

    /// Sets the values that new ones derive from, for a patch that replaces nothing in this graph: values of another graph.
    pub fn on_behalf_of(&mut self, from: impl IntoIterator<Item = Name>) {
        self.from = from.into_iter().collect();
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

    /// Like [`Patch::add`], for an op that derives from `from` and not from everything that the patch replaces.
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

    /// `op` over `operands`: an existing value, or else a new one as by [`Patch::add`].
    pub fn find_or_add(
        &mut self,
        op: impl Into<Op>,
        operands: &[ValueId],
        name: &Name,
        path: ModulePath,
    ) -> Result<ValueId, PatchError> {
        let op = op.into();
        let is_it = |id: &ValueId| self.graph[*id].op == op && self.graph.operands(*id) == operands;
        let known = operands.first().and_then(|&operand| self.graph.users(operand).find(is_it));
        known.map_or_else(|| self.add_op(op, operands, name, path, None), Ok)
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

    /// Replaces `root` by `op` over `operands`, under its name and in its module.
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

    /// Adds an input of the graph, which the program has to declare, or returns the existing one.
    ///
    /// # Errors
    /// If the existing one has another type.
    pub fn input(&mut self, name: &Name, fact: Fact) -> Result<ValueId, PatchError> {
        if let Some(id) = self.graph.find_input(name) {
            let found = &self.graph[id].fact;
            if found.same_type(&fact) {
                return Ok(id);
            }
            let (name, found) = (name.clone(), Box::new(found.clone()));
            return Err(PatchError::Input { rule: self.rule, name, fact: Box::new(fact), found });
        }
        let added = self.graph.input(self.free_name(name), fact);
        let id = added.map_err(|source| PatchError::Graph { rule: self.rule, source })?;
        self.added.push(Added { id, name: name.clone(), from: None });
        Ok(id)
    }

    /// The weight `tensor` as `fact`, added if it does not exist.
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

    /// Makes `value` an output called `label`.
    pub fn output(&mut self, label: impl Into<Name>, value: ValueId) {
        self.outputs.push(Output { label: label.into(), value });
    }

    /// Drops the output called `label`, if there is one, and removes the ops that only it depends on.
    pub fn drop_output(&mut self, label: impl Into<Name>) {
        self.dropped_outputs.insert(label.into());
    }

    /// [Drops](Self::drop_output) the outputs of the graph whose label `keep` rejects.
    pub fn retain_outputs(&mut self, mut keep: impl FnMut(&Name) -> bool) {
        let labels = self.graph.outputs().iter().map(|output| &output.label);
        self.dropped_outputs.extend(labels.filter(|label| !keep(label)).cloned());
    }

    /// Removes `value`, an op or an input, which may be read only by values that are removed too.
    pub fn remove(&mut self, value: ValueId) {
        self.removed.push(value);
    }

    /// Removes, after all other changes, every op that no output depends on.
    pub fn remove_unread(&mut self) {
        self.removes_unread = true;
    }

    /// Removes, after all other changes, the inputs that nothing reads.
    pub fn remove_unread_inputs(&mut self) {
        self.removes_unread_inputs = true;
    }

    /// Places the new values right after their operands instead of where the old ones are.
    pub fn place_early(&mut self) {
        self.early = true;
    }

    /// Declares that `new` replaces `old` wherever that is read.
    pub fn shunt(&mut self, old: ValueId, new: ValueId) {
        self.shunts.push((old, new));
    }

    /// Checks types and cycles, then redirects every reader and removes what became dead.
    ///
    /// The new nodes take the old value's place in program order, and keep in their provenance what they replace.
    ///
    /// # Errors
    /// For a bug of the rule: a replacement of another type, one that depends on itself, or the removal of a value that is read.
    /// The graph is then unchanged.
    pub fn apply(mut self) -> Result<(), PatchError> {
        self.check()?;
        let endangered = self.graph.log.is_some().then(|| self.endangered());
        let (added, shunts) = (std::mem::take(&mut self.added), std::mem::take(&mut self.shunts));
        self.place(&added, &shunts);
        self.graph.outputs.append(&mut self.outputs);
        // Of one value alone, what leads from it to its replacement is new; of several, one may lead to that of another.
        let added_ids: HashSet<ValueId> = added.iter().map(|added| added.id).collect();
        for &(old, new) in &shunts {
            let between = (shunts.len() == 1).then(|| self.graph.made_of(new, &added_ids));
            self.graph.redirect(old, new, between.as_ref());
        }
        if !self.dropped_outputs.is_empty() {
            let dropped = std::mem::take(&mut self.dropped_outputs);
            self.graph.retain_outputs(|label| !dropped.contains(label));
        }
        shunts.iter().for_each(|&(old, _)| self.graph.remove_dead(old));
        // What these read stays, unread as it may be: each removal is asked for.
        std::mem::take(&mut self.removed).into_iter().for_each(|id| self.graph.remove_alone(id));
        for Added { id, name, .. } in added {
            self.graph.rename(id, name);
        }
        if self.removes_unread {
            self.graph.remove_unread();
        }
        if self.removes_unread_inputs {
            self.graph.drop_unread_inputs();
        }
        if let Some(endangered) = endangered {
            self.log(endangered, &added_ids);
        }
        Ok(())
    }

    /// The values that may be gone when the patch is applied.
    fn endangered(&self) -> Endangered {
        let replaced = self.shunts.iter().map(|&(old, _)| old);
        let is_local = self.dropped_outputs.is_empty() && !self.removes_unread && !self.removes_unread_inputs;
        match is_local {
            true => Endangered::by_replacing(self.graph, replaced.chain(self.removed.iter().copied())),
            false => Endangered::all(self.graph, replaced),
        }
    }

    /// Notes what the patch has done.
    fn log(&mut self, endangered: Endangered, added: &HashSet<ValueId>) {
        let before = endangered.lost(self.graph);
        let after = told(self.graph, added.iter().copied().filter(|id| self.graph.get(*id).is_some()));
        if let Some(log) = &mut self.graph.log {
            log.push(self.rule, before, after);
        }
    }

    /// Gives the new values their place in program order, and their provenance.
    fn place(&mut self, added: &[Added], shunts: &[(ValueId, ValueId)]) {
        let replaced: Vec<Name> = shunts.iter().map(|&(old, _)| self.graph[old].name.clone()).collect();
        let from = if replaced.is_empty() { &self.from } else { &replaced };
        let place = match self.early {
            false => shunts.iter().map(|&(old, _)| self.graph[old].order.0).min(),
            true => {
                let read = added.iter().flat_map(|added| self.graph.operands(added.id));
                // What reads nothing stands in front of everything.
                read.filter(|&id| !self.graph.is_leaf(id)).map(|id| self.graph[id].order.0).max().or(Some(0))
            }
        };
        for added in added {
            let node = &mut self.graph.dag[added.id.0];
            let from = added.from.as_ref().unwrap_or(from).clone();
            node.provenance = Some(Provenance { rule: self.rule, from });
            node.order.0 = place.unwrap_or(node.order.0);
        }
    }

    fn check(&self) -> Result<(), PatchError> {
        self.check_shunts()?;
        if self.removed.is_empty() { Ok(()) } else { self.check_removed() }
    }

    fn check_removed(&self) -> Result<(), PatchError> {
        let is_kept = |output: &&Output| !self.dropped_outputs.contains(&output.label);
        let results = self.graph.outputs().iter().filter(is_kept).chain(&self.outputs);
        let read: HashSet<ValueId> = results.map(|output| output.value).collect();
        let removed: HashSet<ValueId> = self.removed.iter().copied().collect();
        let is_read =
            |id: &&ValueId| read.contains(*id) || self.graph.users(**id).any(|user| !removed.contains(&user));
        match self.removed.iter().find(is_read) {
            None => Ok(()),
            Some(&id) => Err(PatchError::Read { rule: self.rule, value: self.graph[id].name.clone() }),
        }
    }

    fn check_shunts(&self) -> Result<(), PatchError> {
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
