//! What values were made of, pass by pass.

use super::Trace;
use crate::{Graph, Name, Program, Stage, ValueId};
use std::collections::{HashMap, HashSet};

/// The history of all values of a trace.
pub struct Ancestry<'t> {
    trace: &'t Trace,
    /// For each pass, what the values that its patches made were made of, by name.
    made: Vec<HashMap<&'t Name, Vec<&'t Name>>>,
}

/// A value of a stage.
pub type Placed = (Stage, ValueId);

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The value of its name before the pass, if there was one.
    pub own: Option<Placed>,
    /// The values before the pass that it is or was made of.
    pub parents: Vec<Placed>,
    /// The rule that made it in this pass, if one did.
    pub rule: Option<&'static str>,
}

impl<'t> Ancestry<'t> {
    pub fn of(trace: &'t Trace) -> Self {
        let made = trace.passes.iter().map(|traced| {
            let mut made: HashMap<&Name, Vec<&Name>> = HashMap::new();
            for (_, edit) in &traced.edits {
                for value in &edit.after {
                    made.entry(&value.name).or_default().extend(edit.before.iter().map(|value| &value.name));
                }
            }
            made
        });
        Self { made: made.collect(), trace }
    }

    /// Where the value `id` of `stage` comes from, as the program is after pass `pass`, counted from 0.
    pub fn origin(&self, pass: usize, stage: &Stage, id: ValueId) -> Origin {
        let (before, after) = (self.trace.before(pass), self.trace.before(pass + 1));
        let Some(graph) = after.graph(stage) else {
            return Origin { own: None, parents: Vec::new(), rule: None };
        };
        let node = &graph[id];
        let wanted = Wanted { stage, is_op: graph.is_op(id) };
        let own = wanted.find(before, &node.name);
        let known = own.as_ref().and_then(|(stage, id)| before.graph(stage)?[*id].provenance.clone());
        // Provenance that was there before tells of earlier passes.
        let new = node.provenance.as_ref().filter(|found| known.as_ref() != Some(*found));
        let mut parents = Vec::new();
        let mut seen = HashSet::new();
        for name in new.iter().flat_map(|new| &new.from) {
            self.add(pass, &wanted, name, &mut parents, &mut seen);
        }
        if parents.is_empty() {
            self.add(pass, &wanted, &node.name, &mut parents, &mut seen);
        }
        Origin { own, parents, rule: new.map(|new| new.rule) }
    }

    /// Adds the value called `name` before the pass, or where there was none, what the pass made it of in several steps.
    fn add<'n>(
        &'n self,
        pass: usize,
        wanted: &Wanted,
        name: &'n Name,
        parents: &mut Vec<Placed>,
        seen: &mut HashSet<&'n Name>,
    ) {
        if !seen.insert(name) {
            return;
        }
        match wanted.find(self.trace.before(pass), name) {
            Some(found) if parents.contains(&found) => {}
            Some(found) => parents.push(found),
            None => {
                let made_of = self.made[pass].get(name).map(Vec::as_slice).unwrap_or_default();
                made_of.iter().for_each(|name| self.add(pass, wanted, name, parents, seen));
            }
        }
    }
}

/// Which value of a name is meant, where stages hand it on.
struct Wanted<'a> {
    stage: &'a Stage,
    is_op: bool,
}

impl Wanted<'_> {
    /// The value called `name`: for an op the one that is computed, if there is one, and that of the same stage if both have it.
    fn find(&self, program: &Program, name: &Name) -> Option<Placed> {
        let placed = |stage: &Stage, graph: &Graph, wants_op: bool| {
            let id = graph.find(name).filter(|&id| !wants_op || graph.is_op(id))?;
            Some((stage.clone(), id))
        };
        let find = |wants_op: bool| {
            let here = program.graph(self.stage).and_then(|graph| placed(self.stage, graph, wants_op));
            let mut stages = program.stages();
            here.or_else(|| stages.find_map(|(stage, graph)| placed(&stage, graph, wants_op)))
        };
        if self.is_op { find(true).or_else(|| find(false)) } else { find(false) }
    }
}
