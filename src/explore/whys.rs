//! What rules say of values: where they apply, and why they do not where one would expect it.

use super::state::{State, Verdict};
use rayon::prelude::*;
use reflux_ir::Program;
use reflux_ir::pass::{Answer, Mismatch, Pass, Place, RuleInfo};

/// A pass to ask, and its place in the pipeline.
pub struct Asked<'a> {
    pub index: usize,
    pub pass: &'a dyn Pass,
}

/// The most values of a state that rules are asked about: there are programs with a variant for every step, and each question takes some
/// milliseconds.
const MOST_VALUES: usize = 600;

/// Adds to the values of `state`, which is of `program`, what the rules of `passes` say of their first rounds. Of passes that are called
/// the same, the last is asked.
pub fn ask(state: &mut State, program: &Program, passes: &[Asked]) {
    let is_last =
        |asked: &&Asked| !passes.iter().any(|other| is_same(other, asked) && other.index > asked.index);
    let passes: Vec<&Asked> = passes.iter().filter(is_last).collect();
    for (number, (stage, graph)) in program.stages().enumerate() {
        let of_stage = state.values.iter_mut().take(MOST_VALUES).filter(|value| value.listed.stage == number);
        let mut values: Vec<_> = of_stage.collect();
        let place = |id| Place { program, stage: &stage, graph, value: id };
        let places: Vec<Place> = values.iter().map(|value| place(value.listed.ids[0])).collect();
        let answers: Vec<_> = passes.par_iter().map(|asked| asked.pass.near(&places)).collect();
        for (asked, answers) in passes.iter().zip(answers) {
            for ((value, place), answers) in values.iter_mut().zip(&places).zip(answers) {
                let verdict = |(rule, answer)| verdict(asked.index, rule, answer, place);
                value.why.extend(answers.into_iter().map(verdict));
            }
        }
    }
}

fn is_same(a: &Asked, b: &Asked) -> bool {
    a.pass.name() == b.pass.name()
}

fn verdict(pass: usize, rule: RuleInfo, answer: Answer, place: &Place) -> Verdict {
    match answer {
        Ok(note) => Verdict(pass, rule.name, true, note.unwrap_or_default(), None),
        Err(Mismatch { reason, node, .. }) => {
            // Nodes that the rule added before it gave up are not there.
            let node = node.filter(|&node| node != place.value && place.graph.get(node).is_some());
            Verdict(pass, rule.name, false, reason.into_owned(), node.map(|node| place.graph.line(node)))
        }
    }
}
