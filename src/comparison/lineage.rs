//! The modules that the ops of an optimized program come from, for the time that these take.

use super::side::Side;
use reflux_ir::{Graph, Machine, ModulePath, Name, Program, Stage, ValueId};

/// Which modules the time of an op belongs to, by what it was made of: of an op that does the work of several, in proportion to the times
/// that `machine` takes for each of these.
pub struct Lineage<'p> {
    states: &'p [&'p Program],
    machine: &'p Machine,
}

/// Modules, and the share of each, which add up to 1.
pub type Shares = Vec<(ModulePath, f64)>;

impl<'p> Lineage<'p> {
    pub fn of(side: &'p Side<'p>, machine: &'p Machine) -> Self {
        Self { states: side.states(), machine }
    }

    /// The modules of the op that makes `name` in `stage` of the program that runs.
    pub fn shares(&self, stage: &Stage, name: &Name) -> Shares {
        let mut shares = Shares::new();
        let last = self.states.len() - 1;
        if let Some(id) = self.states[last].graph(stage).and_then(|graph| graph.find(name)) {
            self.add((last, stage.clone(), id), 1.0, &mut shares);
        }
        shares
    }

    fn add(&self, (state, stage, id): (usize, Stage, ValueId), share: f64, shares: &mut Shares) {
        let graph = self.states[state].graph(&stage).expect("it was found there");
        let node = &graph[id];
        let made_of = state.checked_sub(1).map(|before| self.made_of(before, &stage, graph, id));
        match made_of {
            Some(found) if !found.is_empty() => {
                // Where nothing takes any time, all take the same.
                let times = found.iter().map(|(stage, id)| self.time(state - 1, stage, *id) as f64 + 1e-3);
                let times: Vec<f64> = times.collect();
                let sum: f64 = times.iter().sum();
                for ((stage, id), time) in found.into_iter().zip(times) {
                    self.add((state - 1, stage, id), share * time / sum, shares);
                }
            }
            _ => match shares.iter_mut().find(|(path, _)| *path == node.path) {
                Some((_, known)) => *known += share,
                None => shares.push((node.path.clone(), share)),
            },
        }
    }

    fn time(&self, state: usize, stage: &Stage, id: ValueId) -> u64 {
        self.states[state].graph(stage).map_or(0, |graph| self.machine.of_value(graph, id))
    }

    /// The values of the state `before` that the value `id` of `graph`, a later one, is or was made of.
    fn made_of(&self, before: usize, stage: &Stage, graph: &Graph, id: ValueId) -> Vec<(Stage, ValueId)> {
        let node = &graph[id];
        let own = self.find(before, stage, &node.name);
        let provenance = |(stage, id): &(Stage, ValueId)| {
            self.states[before].graph(stage).and_then(|graph| graph[*id].provenance.clone())
        };
        if own.as_ref().is_some_and(|own| provenance(own) == node.provenance) {
            return own.into_iter().collect();
        }
        let from = node.provenance.iter().flat_map(|provenance| &provenance.from);
        let mut found: Vec<_> = from.filter_map(|name| self.find(before, stage, name)).collect();
        if found.is_empty() {
            found.extend(own);
        }
        found
    }

    /// The op that makes `name` in the state `before`: in `stage`, or else in another one.
    fn find(&self, before: usize, stage: &Stage, name: &Name) -> Option<(Stage, ValueId)> {
        let program = self.states[before];
        let is_op = |graph: &Graph| graph.find(name).filter(|&id| graph.is_op(id));
        let here = program.graph(stage).and_then(is_op).map(|id| (stage.clone(), id));
        here.or_else(|| program.stages().find_map(|(stage, graph)| Some((stage, is_op(graph)?))))
    }
}
