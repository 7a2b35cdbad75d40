//! The modules that the ops of an optimized program come from, for the time that these take.

use reflux_ir::pass::{Ancestry, Placed, Trace};
use reflux_ir::{Machine, ModulePath, Name, Stage, ValueId};
use std::collections::HashSet;

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
                let times = parents.iter().map(|parent| self.time(passes, parent, &parents) as f64 + 1e-3);
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

    /// The time of the op `parent` before the last of `passes` passes, with that of the ops which only it needed and which the pass has
    /// taken in, other `parents` aside.
    fn time(&self, passes: usize, parent: &Placed, parents: &[Placed]) -> u64 {
        let (before, after) = (self.trace.before(passes - 1), self.trace.before(passes));
        let (stage, id) = parent;
        let Some(graph) = before.graph(stage) else { return 0 };
        let is_kept = |id: ValueId| {
            // What has become a view of something else is no longer computed by itself.
            let (name, op) = (&graph[id].name, &graph[id].op);
            after.stages().any(|(_, graph)| graph.find(name).is_some_and(|id| graph[id].op == *op))
        };
        let (mut time, mut open, mut seen) = (0_u64, vec![*id], HashSet::from([*id]));
        while let Some(id) = open.pop() {
            time = time.saturating_add(self.machine.of_value(graph, id));
            let is_taken_in = |operand: &ValueId| {
                graph.is_op(*operand) && !parents.contains(&(stage.clone(), *operand)) && !is_kept(*operand)
            };
            let operands = graph.operands(id).into_iter().filter(is_taken_in);
            open.extend(operands.filter(|operand| seen.insert(*operand)));
        }
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::registry;
    use reflux_ir::pass::{Driver, Pipeline};
    use reflux_ir::text::parse;

    /// Two linears of one value become one product, whose time is theirs by the columns that each has; what stands behind it, fused into
    /// it or not, has its own.
    #[test]
    fn the_time_of_a_merged_product_is_that_of_its_linears() {
        let program = parse(
            "program p {
               input %x : bf16[1,4096,1024] latent
               variant full (%x) -> (%y, %z) {
                 %a = linear %x, @.weight bf16[3072,1024] : bf16[1,4096,3072] in block.0.a
                 %y = silu %a : bf16[1,4096,3072] in block.0.act
                 %z = linear %x, @.weight bf16[1024,1024] : bf16[1,4096,1024] in block.0.b
                 return %y, %z
               }
               schedule full
             }",
        )
        .unwrap();
        let mut trace = Trace::of(program.clone());
        let pipeline = Pipeline::parse("merge-linear,fuse,dce", &registry()).unwrap();
        let (program, _) =
            Driver { trace: Some(&mut trace), ..Driver::default() }.run(program, &pipeline).unwrap();
        let lineage = Lineage::of(&trace, Machine::named("h100").unwrap());
        let stage = Stage::Variant("full".into());
        let graph = &program.variants["full"];
        let product = graph.ids().find(|&id| graph[id].op.name() == "gemm").expect("they are one product");
        let shares = lineage.shares(&stage, &graph[product].name);
        let share =
            |module: &str| shares.iter().find(|(path, _)| **path == *module).map_or(0.0, |(_, share)| *share);
        assert!((shares.iter().map(|(_, share)| share).sum::<f64>() - 1.0).abs() < 1e-9);
        let ratio = share("block.0.a") / share("block.0.b");
        assert!((2.0..4.0).contains(&ratio), "{shares:?}\n{program}");
    }
}
