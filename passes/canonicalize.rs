//! Brings equal computations into one form.

mod constants;
mod cse;
mod elementwise;
mod views;

use reflux_ir::Program;
use reflux_ir::pass::{
    Answer, Changed, Exactness, Pass, PassContext, PassError, Place, Rule, RuleInfo, apply_rules, try_rule,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All rules. Each is directional: it makes the graph smaller, or puts operands into a fixed order.
pub static RULES: &[Rule] = &[
    views::SLICE_OF_SLICE,
    views::SLICE_OF_CONCAT,
    views::SLICE_OF_ALL,
    views::RESHAPE_OF_RESHAPE,
    views::RESHAPE_TO_SAME,
    views::TRANSPOSE_OF_TRANSPOSE,
    views::TRANSPOSE_TO_SAME,
    views::CONCAT_OF_ONE,
    elementwise::CAST_TO_SAME,
    elementwise::CAST_THERE_AND_BACK,
    elementwise::CONSTANT_ON_THE_RIGHT,
    elementwise::UNIT,
    constants::FOLD,
];

/// Applies its rules until none fits, and then computes equal values once. Results stay the same bit for bit.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Canonicalize {}

impl Pass for Canonicalize {
    fn name(&self) -> &'static str {
        "canonicalize"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let mut changed = Changed::No;
        for (_, graph) in program.stages_mut() {
            // Sharing can bring together what a rule waits for, and the other way round.
            while apply_rules(graph, RULES, cx)? == Changed::Yes || cse::share(graph, cx)? == Changed::Yes {
                changed = Changed::Yes;
            }
        }
        Ok(changed)
    }

    fn rules(&self) -> Vec<RuleInfo> {
        RULES.iter().map(Rule::info).chain([cse::RULE]).collect()
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        if rule == cse::RULE.name {
            Some(cse::why(place.graph, place.value).map(|()| None))
        } else {
            try_rule(RULES, rule, place)
        }
    }
}
