//! Where values come from: the values of the program before a pass that those after it are, or are made of.

use super::Run;
use super::state::{Change, State};
use reflux_ir::export::Listing;
use reflux_ir::pass::Exactness;
use reflux_ir::{Graph, Machine, Name, Program, Provenance, Stage};
use std::collections::{HashMap, HashSet};

/// The states so far, of which only the last is needed to tell of the next.
pub struct History<'p> {
    machine: Option<&'static Machine>,
    last: Option<Known<'p>>,
}

/// What is known of a state.
struct Known<'p> {
    program: &'p Program,
    /// The values by name, in the order of their stages: each with its stage, and its place in the listing.
    places: HashMap<Name, Vec<(Stage, usize)>>,
    texts: Vec<(Stage, String)>,
    exactness: Vec<Exactness>,
}

impl<'p> History<'p> {
    pub fn start(machine: Option<&'static Machine>) -> Self {
        Self { machine, last: None }
    }

    /// The next state, which `run` has made of the last one.
    pub fn next(&mut self, program: &'p Program, run: Option<&Run>) -> State {
        let mut state = State::of(Listing::of(program, self.machine));
        let stages: Vec<(Stage, &Graph)> = program.stages().collect();
        let mut places: HashMap<Name, Vec<(Stage, usize)>> = HashMap::new();
        for (at, value) in state.values.iter().enumerate() {
            let (stage, graph) = &stages[value.listed.stage];
            for &id in &value.listed.ids {
                places.entry(graph[id].name.clone()).or_default().push((stage.clone(), at));
            }
        }
        if let (Some(last), Some(run)) = (&self.last, run) {
            let made_of = MadeOf { last, edits: edited(run), run };
            for value in &mut state.values {
                let (stage, graph) = &stages[value.listed.stage];
                let node = &graph[value.listed.ids[0]];
                let text = (stage, &value.listed.text);
                let traced = made_of.trace(&node.name, node.provenance.as_ref(), text);
                value.exactness =
                    traced.from.iter().map(|&at| last.exactness[at]).fold(value.exactness, Ord::max);
                if traced.change != Change::Same {
                    value.exactness = value.exactness.max(run.report.exactness);
                }
                (value.from, value.change, value.rule) =
                    (Some(traced.from), Some(traced.change), traced.rule);
            }
        }
        self.last = Some(Known {
            program,
            texts: state
                .values
                .iter()
                .map(|value| (stages[value.listed.stage].0.clone(), value.listed.text.clone()))
                .collect(),
            exactness: state.values.iter().map(|value| value.exactness).collect(),
            places,
        });
        state
    }
}

/// What each value that the edits of `run` made was made of.
fn edited(run: &Run) -> HashMap<Name, Vec<Name>> {
    let mut made: HashMap<Name, Vec<Name>> = HashMap::new();
    for names in run.edits.iter().flat_map(|edit| &edit.names) {
        for after in &names.after {
            made.entry(after.clone()).or_default().extend(names.before.iter().cloned());
        }
    }
    made
}

/// A value's past.
struct Traced {
    from: Vec<usize>,
    change: Change,
    rule: Option<&'static str>,
}

/// What the values of a state are made of.
struct MadeOf<'a, 'p> {
    last: &'a Known<'p>,
    edits: HashMap<Name, Vec<Name>>,
    run: &'a Run<'a>,
}

impl MadeOf<'_, '_> {
    fn trace(&self, name: &Name, provenance: Option<&Provenance>, text: (&Stage, &String)) -> Traced {
        let own = self.place(name, text.0);
        let before = own.and_then(|at| self.provenance(name, &self.last.texts[at].0));
        // Provenance that was there before tells of earlier passes.
        let new = provenance.filter(|found| before.as_ref() != Some(*found));
        let mut from: Vec<usize> = own.into_iter().collect();
        if let Some(new) = new {
            new.from.iter().for_each(|name| self.add(name, text.0, &mut from, &mut HashSet::new()));
        }
        if from.is_empty() {
            self.add(name, text.0, &mut from, &mut HashSet::new());
        }
        let change = match own.map(|at| &self.last.texts[at]) {
            None => Change::Made,
            Some((_, line)) if line != text.1 => Change::Changed,
            Some((stage, _)) if stage != text.0 => Change::Moved,
            Some(_) => Change::Same,
        };
        let rule = new.map(|new| new.rule).filter(|rule| *rule != self.run.report.name);
        Traced { from, change, rule }
    }

    /// The value called `name` before: in the same stage if that had it, else where it was computed first.
    fn place(&self, name: &Name, stage: &Stage) -> Option<usize> {
        let known = self.last.places.get(name)?;
        known.iter().find(|(there, _)| there == stage).or(known.first()).map(|(_, at)| *at)
    }

    /// What was known then of where the value of that stage comes from.
    fn provenance(&self, name: &Name, stage: &Stage) -> Option<Provenance> {
        let graph = self.last.program.graph(stage)?;
        graph[graph.find(name)?].provenance.clone()
    }

    /// Adds the value called `name` before, or where there was none, what the pass made it of in several steps.
    fn add(&self, name: &Name, stage: &Stage, from: &mut Vec<usize>, seen: &mut HashSet<Name>) {
        if let Some(at) = self.place(name, stage) {
            if !from.contains(&at) {
                from.push(at);
            }
        } else if seen.insert(name.clone()) {
            let made_of = self.edits.get(name).map(Vec::as_slice).unwrap_or_default();
            made_of.iter().for_each(|name| self.add(name, stage, from, seen));
        }
    }
}
