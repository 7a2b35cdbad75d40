//! What patches did to a graph, one by one, for whoever wants to see a pass at work.

use crate::{Graph, Name, Program, Stage, ValueId};
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One patch that was applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The rule that it was applied for.
    pub rule: &'static str,
    /// What is replaced or gone, in program order.
    pub before: Vec<EditedValue>,
    /// What is new.
    pub after: Vec<EditedValue>,
}

/// A value that an edit removed or added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EditedValue {
    pub name: Name,
    /// As [`Graph::line`] prints it.
    pub line: String,
}

/// The edits of one graph. A graph that is cloned has those of the original too, by which the two are known to be the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct EditLog {
    clock: Arc<AtomicU64>,
    /// Each with its place among the edits of all logs of the clock.
    edits: Vec<(u64, Edit)>,
}

impl EditLog {
    /// An empty log, whose edits are counted with those of others that have this `clock`.
    pub fn new(clock: Arc<AtomicU64>) -> Self {
        Self { clock, edits: Vec::new() }
    }

    pub fn push(&mut self, rule: &'static str, before: Vec<EditedValue>, after: Vec<EditedValue>) {
        if before != after {
            let at = self.clock.fetch_add(1, Ordering::Relaxed);
            self.edits.push((at, Edit { rule, before, after }));
        }
    }
}

/// Values of a graph that is about to be patched, which may be gone afterwards.
pub(crate) struct Endangered {
    /// Those that are replaced, gone or not.
    replaced: HashSet<ValueId>,
    values: Vec<(ValueId, EditedValue)>,
}

impl Endangered {
    /// The values `replaced`, and what only they are made of.
    pub fn by_replacing(graph: &Graph, replaced: impl IntoIterator<Item = ValueId>) -> Self {
        let replaced: HashSet<ValueId> = replaced.into_iter().collect();
        let mut doomed = replaced.clone();
        let mut open: Vec<ValueId> = replaced.iter().copied().collect();
        while let Some(id) = open.pop() {
            for operand in graph.operands(id) {
                let is_doomed =
                    !graph.is_result(operand) && graph.users(operand).all(|user| doomed.contains(&user));
                if is_doomed && doomed.insert(operand) {
                    open.push(operand);
                }
            }
        }
        Self { values: described(graph, doomed.into_iter()), replaced }
    }

    /// Every value.
    pub fn all(graph: &Graph, replaced: impl IntoIterator<Item = ValueId>) -> Self {
        Self { values: described(graph, graph.ids()), replaced: replaced.into_iter().collect() }
    }

    /// Those that were replaced or are gone.
    pub fn lost(self, graph: &Graph) -> Vec<EditedValue> {
        let Self { replaced, values } = self;
        let is_lost = |(id, _): &(ValueId, EditedValue)| replaced.contains(id) || graph.get(*id).is_none();
        values.into_iter().filter(is_lost).map(|(_, value)| value).collect()
    }
}

/// Those of `ids` that are no weights or constants, which print where they are read: in the order in which they came to be.
fn described(graph: &Graph, ids: impl Iterator<Item = ValueId>) -> Vec<(ValueId, EditedValue)> {
    let mut ids: Vec<ValueId> = ids.filter(|&id| !graph.is_leaf(id)).collect();
    ids.sort_by_key(|&id| (graph[id].order, id));
    ids.into_iter().map(|id| (id, EditedValue::of(graph, id))).collect()
}

/// The values `ids` of `graph`, as an edit tells of them.
pub(crate) fn told(graph: &Graph, ids: impl Iterator<Item = ValueId>) -> Vec<EditedValue> {
    described(graph, ids).into_iter().map(|(_, value)| value).collect()
}

impl EditedValue {
    fn of(graph: &Graph, id: ValueId) -> Self {
        Self { name: graph[id].name.clone(), line: graph.line(id) }
    }
}

impl Program {
    /// Notes from now on what patches do to the graphs that there are.
    pub(crate) fn log_edits(&mut self) {
        let clock = Arc::default();
        self.stages_mut().for_each(|(_, graph)| graph.log = Some(EditLog::new(Arc::clone(&clock))));
    }

    /// What patches have done since then, in order, each with the stage that it was done in; ends the noting. An edit of a graph
    /// that was copied afterwards is told of the first stage that has it.
    pub(crate) fn take_edits(&mut self) -> Vec<(Stage, Edit)> {
        let mut edits: BTreeMap<u64, (Stage, Edit)> = BTreeMap::new();
        for (stage, graph) in self.stages_mut() {
            for (at, edit) in graph.log.take().map(|log| log.edits).unwrap_or_default() {
                edits.entry(at).or_insert_with(|| (stage.clone(), edit));
            }
        }
        edits.into_values().collect()
    }
}
