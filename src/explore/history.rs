//! Where values come from: the values of the program before a pass that those after it are, or are made of.

use super::Run;
use super::state::{Change, ExploredValue, State};
use reflux_ir::export::Listing;
use reflux_ir::pass::{Ancestry, Exactness, Origin, Trace};
use reflux_ir::{Graph, Machine, Name, Program, Stage, ValueId};
use std::collections::HashMap;

/// The states so far, of which only the last is needed to tell of the next.
pub struct History<'t> {
    ancestry: Ancestry<'t>,
    machine: Option<&'static Machine>,
    last: Option<Known<'t>>,
}

/// What is known of a state.
struct Known<'t> {
    program: &'t Program,
    /// The place in the listing of each value.
    places: HashMap<(Stage, Name), usize>,
    exactness: Vec<Exactness>,
}

impl<'t> History<'t> {
    pub fn start(trace: &'t Trace, machine: Option<&'static Machine>) -> Self {
        Self { ancestry: Ancestry::of(trace), machine, last: None }
    }

    /// The next state, which `run` has made of the last one.
    pub fn next(&mut self, program: &'t Program, run: Option<&Run>) -> State {
        let mut state = State::of(Listing::of(program, self.machine));
        let stages: Vec<(Stage, &Graph)> = program.stages().collect();
        if let (Some(last), Some(run)) = (&self.last, run) {
            for value in &mut state.values {
                let (stage, graph) = &stages[value.listed.stage];
                self.trace(value, (stage, graph), last, run);
            }
        }
        let mut places = HashMap::new();
        for (at, value) in state.values.iter().enumerate() {
            let (stage, graph) = &stages[value.listed.stage];
            let names = value.listed.ids.iter().map(|&id| (stage.clone(), graph[id].name.clone()));
            places.extend(names.map(|name| (name, at)));
        }
        let exactness = state.values.iter().map(|value| value.exactness).collect();
        self.last = Some(Known { program, places, exactness });
        state
    }

    /// Says of `value` where its rounds come from.
    fn trace(&self, value: &mut ExploredValue, (stage, graph): (&Stage, &Graph), last: &Known, run: &Run) {
        let origins: Vec<(ValueId, Origin)> =
            value.listed.ids.iter().map(|&id| (id, self.ancestry.origin(run.index, stage, id))).collect();
        let mut from = Vec::new();
        let mut change = Change::Same;
        for (id, origin) in &origins {
            change = change.max(last.change(stage, graph, *id, origin));
            let places = origin.parents.iter().filter_map(|(stage, id)| last.place(stage, *id));
            places.for_each(|place| {
                if !from.contains(&place) {
                    from.push(place)
                }
            });
        }
        let inherited = from.iter().map(|&at| last.exactness[at]).max().unwrap_or(Exactness::Exact);
        let own = if change == Change::Same { Exactness::Exact } else { run.report.exactness };
        value.exactness = inherited.max(own);
        value.rule = origins[0].1.rule.filter(|rule| *rule != run.report.name);
        (value.from, value.change) = (Some(from), Some(change));
    }
}

impl Known<'_> {
    fn place(&self, stage: &Stage, id: ValueId) -> Option<usize> {
        let graph = self.program.graph(stage)?;
        self.places.get(&(stage.clone(), graph[id].name.clone())).copied()
    }

    /// What was done to the value `id`, which comes from `origin`.
    fn change(&self, stage: &Stage, graph: &Graph, id: ValueId, origin: &Origin) -> Change {
        let Some((there, before)) = &origin.own else { return Change::Made };
        let line = self.program.graph(there).map(|graph| graph.line(*before));
        match () {
            () if line.as_ref() != Some(&graph.line(id)) => Change::Changed,
            () if there != stage => Change::Moved,
            () => Change::Same,
        }
    }
}
