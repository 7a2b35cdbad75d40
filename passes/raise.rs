//! Puts together what exporters have taken apart.

mod activations;
mod group_norm;
mod matching;
mod norms;
mod products;
mod views;

use reflux_ir::Program;
use reflux_ir::pass::{
    Answer, Changed, Exactness, Pass, PassContext, PassError, Place, Rule, RuleInfo, apply_rules, try_rule,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All rules. Each makes the graph smaller, and what it makes is what other passes and kernels know.
pub static RULES: &[Rule] = &[
    views::TRANSPOSE_OF_MERGED,
    activations::SILU,
    activations::GELU,
    activations::GELU_TANH,
    norms::RMS_NORM,
    norms::LAYER_NORM,
    norms::AFFINE,
    group_norm::GROUP_NORM,
    products::LINEAR,
    products::BIAS,
    products::ATTENTION,
];

/// Makes one op of several that compute the same: activations, norms, linears and attention, of graphs that come from ONNX files.
///
/// Results differ in rounding: the ops compute in f32 inside and round once. So this is not part of `canonicalize`, which is exact.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Raise {}

impl Pass for Raise {
    fn name(&self) -> &'static str {
        "raise"
    }

    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let mut changed = Changed::No;
        for (_, graph) in program.stages_mut() {
            while apply_rules(graph, RULES, cx)? == Changed::Yes {
                changed = Changed::Yes;
            }
            // What the ops were made of is read by nobody.
            if changed == Changed::Yes {
                crate::remove_unread(graph, "raise")?;
            }
        }
        Ok(changed)
    }

    fn rules(&self) -> Vec<RuleInfo> {
        RULES.iter().map(Rule::info).collect()
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        try_rule(RULES, rule, place)
    }
}
