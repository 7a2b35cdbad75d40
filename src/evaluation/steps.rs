//! Which steps of a picture compute the whole network.

use reflux_ir::{Name, Program};
use std::collections::HashMap;

/// How much of the arithmetic of the dearest step a step may leave out and still count as whole. What caches add to steps, such as
/// differences that they carry on or what a probe measures, is far less; what the smallest of them leave out, the attention of one
/// block, is more.
const TOLERANCE: f64 = 1e-3;

/// The arithmetic of a program's steps.
///
/// A step counts as one that computes the whole network if the variant that it ran, with the probe that chose it, does as much
/// arithmetic as the dearest step of the program, up to a thousandth. This holds for all caches: the first step has nothing to
/// reuse, so the dearest step is whole; schedules that are known before name the variants, and probes choose them. A step for which
/// one of two caches reuses and the other computes does not count.
pub struct StepWork {
    /// Operations of the probe that each step runs first.
    probes: Vec<u64>,
    /// Operations of each variant.
    variants: HashMap<Name, u64>,
    /// Operations of the dearest step.
    whole: u64,
}

impl StepWork {
    /// Of `program`.
    pub fn of(program: &Program) -> Self {
        let flops = |name: &Name| program.variants.get(name).map_or(0, |graph| graph.total_cost().flops);
        let probe = |name: &Name| if program.is_probe(name) { flops(name) } else { 0 };
        let dearest = program.schedule.iter().map(|name| program.step_cost(name).flops).max();
        Self {
            probes: program.schedule.iter().map(probe).collect(),
            variants: program.variants.keys().map(|name| (name.clone(), flops(name))).collect(),
            whole: dearest.unwrap_or(0),
        }
    }

    /// Whether step `step`, counted from 0, which has run `variant`, computes the whole network.
    pub fn is_whole(&self, step: usize, variant: &Name) -> bool {
        let probe = self.probes.get(step).copied().unwrap_or(0);
        let own = self.variants.get(variant).copied().unwrap_or(0);
        (probe + own) as f64 >= self.whole as f64 * (1.0 - TOLERANCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{DiffusionPipeline, Event, OpenOptions, Request, bundled_model, registry};
    use reflux_ir::pass::Recipe;

    /// Which of six steps count as whole with these passes, drawn by the bundled model.
    fn whole_steps(passes: &str) -> String {
        let passes = Recipe::parse(passes, &registry()).unwrap();
        let options = OpenOptions { passes, ..OpenOptions::default() };
        let mut pipeline = DiffusionPipeline::open_with(bundled_model().unwrap(), options).unwrap();
        let request = Request::new("an owl").size(32, 32).steps(6);
        let work = StepWork::of(pipeline.program(&request).unwrap());
        let mut mask = String::new();
        let mut watch = |event: Event| {
            if let Event::Results { step, variant, .. } = event {
                mask.push(if work.is_whole(step, variant) { '1' } else { '0' });
            }
        };
        pipeline.generate_with(&request, &mut watch).unwrap();
        mask
    }

    #[test]
    fn steps_that_reuse_are_told_from_those_that_compute() {
        assert_eq!(whole_steps(""), "111111");
        assert_eq!(whole_steps("quantize(int8dq)"), "111111");
        for method in ["fora", "fora-paper", "pab", "taylorseer,order=2", "hicache", "spectrum", "magcache"] {
            assert_eq!(whole_steps(&format!("cache({method},steps=111010)")), "111010", "{method}");
        }
        // Two caches: the second among the four steps that the first computes.
        assert_eq!(whole_steps("cache(fora,steps=111010),cache(pab,steps=1101)"), "110010");
    }

    /// The first and the last step compute, and the others as the threshold is.
    #[test]
    fn what_probes_choose_is_counted() {
        for method in ["fbcache", "teacache"] {
            assert_eq!(whole_steps(&format!("cache({method},threshold=0)")), "111111", "{method}");
            let mask = whole_steps(&format!("cache({method},threshold=10)"));
            assert!(mask.starts_with("1000"), "{method}: {mask}");
        }
    }
}
