//! The modules that the ops of an optimized program come from, for the time that these take.

use reflux_ir::pass::{Ancestry, Trace};
use reflux_ir::{Machine, ModulePath, Name, Stage, ValueId};

/// Which modules the time of an op belongs to, by what it was made of: of an op that does the work of several, in proportion to the times
/// that `machine` takes for each of these.
pub struct Lineage<'t> {
    trace: &'t Trace,
    ancestry: Ancestry<'t>,
    machine: &'t Machine,
}

/// Modules, and the share of each, which add up to 1.
pub type Shares = Vec<(ModulePath, f64)>;

impl<'t> Lineage<'t> {
    pub fn of(trace: &'t Trace, machine: &'t Machine) -> Self {
        Self { trace, ancestry: Ancestry::of(trace), machine }
    }

    /// The modules of the op that makes `name` in `stage` of the program that runs.
    pub fn shares(&self, stage: &Stage, name: &Name) -> Shares {
        let mut shares = Shares::new();
        let passes = self.trace.passes.len();
        if let Some(id) = self.trace.before(passes).graph(stage).and_then(|graph| graph.find(name)) {
            self.add(passes, (stage.clone(), id), 1.0, &mut shares);
        }
        shares
    }

    /// Adds the modules of a value of the program after the first `passes` passes.
    fn add(&self, passes: usize, (stage, id): (Stage, ValueId), share: f64, shares: &mut Shares) {
        let made_of = passes.checked_sub(1).map(|pass| self.ancestry.origin(pass, &stage, id).parents);
        match made_of {
            Some(parents) if !parents.is_empty() => {
                // Where nothing takes any time, all take the same.
                let times = parents.iter().map(|parent| self.time(passes - 1, parent) as f64 + 1e-3);
                let times: Vec<f64> = times.collect();
                let sum: f64 = times.iter().sum();
                for (parent, time) in parents.into_iter().zip(times) {
                    self.add(passes - 1, parent, share * time / sum, shares);
                }
            }
            _ => {
                let graph = self.trace.before(passes).graph(&stage).expect("it was found there");
                let module = &graph[id].path;
                match shares.iter_mut().find(|(path, _)| path == module) {
                    Some((_, known)) => *known += share,
                    None => shares.push((module.clone(), share)),
                }
            }
        }
    }

    fn time(&self, passes: usize, (stage, id): &(Stage, ValueId)) -> u64 {
        let graph = self.trace.before(passes).graph(stage);
        graph.map_or(0, |graph| self.machine.of_value(graph, *id))
    }
}
