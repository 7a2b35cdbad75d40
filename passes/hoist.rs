//! Moves what does not depend on the latents out of the step.

mod batch;
mod motion;
mod rewrite;

use crate::{UNFUSED, remove_unread};
use motion::CodeMotion;
use reflux_ir::pass::{
    Answer, Changed, Exactness, Mismatch, ONE_VARIANT, Pass, PassContext, PassError, Place, Property,
    RuleInfo, counted,
};
use reflux_ir::{Name, Program, Stage, si};
use rewrite::RULE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// Moves everything that does not depend on the evolving latents out of the step, into the prepare stage of its
/// [rate](reflux_ir::Rate):
///
/// - values that are known earlier: position tables per size, the projection of the text per prompt;
/// - values that depend only on the number of the step, through `select(table, step)`, if their ops work row by row: they are
///   computed for all steps at once, `[steps, …]`, and the step selects its row of the result. The adaLN modulations of all
///   steps thus become one product per linear.
///
/// Values with the same stem (`mod.0`, `mod.1`, …) are prepared as one tensor, side by side along the last axis.
/// Views stay in the step, where they cost nothing; so does `dequantize`, whose result is larger than its input, and which
/// otherwise moves no further than to what reads its result.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Hoist {}

impl Pass for Hoist {
    fn name(&self) -> &'static str {
        "hoist"
    }

    /// A product over the rows of all steps may sum in another order than one over a single row.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn requires(&self) -> &'static [Property] {
        &[ONE_VARIANT, UNFUSED]
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let answer = || match place.stage {
            Stage::Prepare(_) => Err(Mismatch::new(format!("it is already prepared, in `{}`", place.stage))),
            Stage::Variant(_) if place.program.variants.len() > 1 => Err(Mismatch::new(
                "hoist requires that every step runs the same graph, but the program has several variants",
            )),
            Stage::Variant(name) => CodeMotion::new(place.program, name).why(place.graph, place.value),
        };
        (rule == RULE.name).then(answer)
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let variant = program.variants.keys().next().expect("required").clone();
        let before = weights_of(program, &variant);
        // What nothing reads would be computed outside, for nothing, as often as the pass runs.
        let changed = remove_unread(&mut program.variants[&variant], RULE.name)?;
        let mut motion = CodeMotion::new(program, &variant);
        cx.report.count_all(RULE.name, motion.staying(), 0);
        let graph = &program.variants[&variant];
        motion.retain(graph, |&id| cx.admit(RULE.name, || graph.line(id)));
        if motion.frontier.is_empty() {
            return Ok(changed);
        }
        cx.timed(RULE.name, |_| rewrite::hoist(program, &variant, &motion))?;
        let after: HashSet<String> =
            weights_of(program, &variant).into_iter().map(|(name, ..)| name).collect();
        let left: Vec<_> = before.into_iter().filter(|(name, ..)| !after.contains(name)).collect();
        let parameters = left.iter().map(|(_, parameters, _)| parameters).sum();
        let bytes = left.iter().map(|(_, _, bytes)| bytes).sum();
        cx.report.note(format!("{}parameters ({}B) left the step", si(parameters), si(bytes)));
        for (stage, graph) in program.stages() {
            cx.report.note(format!(
                "{stage}: {}, {}FLOP",
                counted(graph.op_count(), "op"),
                si(graph.total_cost().flops)
            ));
        }
        Ok(Changed::Yes)
    }
}

/// Name, elements and bytes of each weight that the variant reads.
fn weights_of(program: &Program, variant: &Name) -> Vec<(String, u64, u64)> {
    let weight = |(name, fact): (&str, &reflux_ir::Fact)| {
        (name.to_owned(), fact.shape.elements() as u64, fact.bytes())
    };
    program.variants[variant].weights().map(weight).collect()
}
