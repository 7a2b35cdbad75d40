//! Bounds on the scores of attention.

use crate::UNFUSED;
use crate::norms::norms;
use indexmap::IndexSet;
use reflux_ir::op::{Attention, Op, ScoreBound};
use reflux_ir::pass::{
    Answer, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property, Rule, RuleInfo,
    apply_rules, try_rule,
};
use reflux_ir::{Graph, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const RULES: &[Rule] = &[BOUND];

/// Gives attention a bound on its scores, where queries and keys are normalised by `rms_norm` and rotated by `rope`, as in FLUX.
///
/// ```text
/// %bound = score_bound @norm_q, @norm_k {queries=1, scale=0.088} : f32[]
/// %heads = attention %q, %k, %v, %bound {scale=0.088, bounded=true} : bf16[…]
/// ```
///
/// The bound is a number of the norms' weights, computed once: 11.9 times the largest product of two of them, for heads of 128. With one
/// of up to 69, which a kernel asks when it runs, exponentials of scores stay within f32's range, so that a softmax needs no largest score
/// of each row: a tenth of the time on Hopper. With a larger one, and elsewhere, nothing changes. In IR text, `bounded=true` is a promise,
/// which is not checked.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BoundAttention {}

impl Pass for BoundAttention {
    fn name(&self) -> &'static str {
        "bound-attention"
    }

    /// Weights of a softmax that count from another base are rounded in another place.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn requires(&self) -> &'static [Property] {
        &[UNFUSED]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let mut changed = Changed::No;
        for (_, graph) in program.stages_mut() {
            if apply_rules(graph, RULES, cx)? == Changed::Yes {
                changed = Changed::Yes;
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

const BOUND: Rule = Rule {
    name: "bound-of-norms",
    pattern: "attention(q, k, v) → attention(q, k, v, score_bound(…)), if q and k are rms_norms, rotated or not",
    roots: &["attention"],
    rewrite: |patch, root| {
        let graph = patch.graph();
        let (node, operands) = (graph[root].clone(), graph.operands(root));
        let Op::Attention(Attention { scale, causal, bounded }) = node.op else {
            return Err(Mismatch::new("it is not attention").into());
        };
        match &operands[..] {
            _ if bounded => return Err(Mismatch::new("its scores have a bound already").into()),
            [_, _, _] if !causal => {}
            _ => return Err(Mismatch::new("a mask or a bias moves its scores").into()),
        }
        let (queries, keys) = (norm_weights(graph, operands[0])?, norm_weights(graph, operands[1])?);
        let bound = ScoreBound { queries: queries.len(), scale, codes: None };
        let name = node.name.suffixed("_bound");
        let bound = patch.add(bound, &[queries, keys].concat(), &name, node.path.clone())?;
        let op = Attention { scale, causal, bounded: true };
        Ok(patch.replace(root, op, &[&operands[..], &[bound]].concat())?)
    },
};

/// The weights of the norms that the rows of `x` come from, each once.
fn norm_weights(graph: &Graph, x: ValueId) -> Result<Vec<ValueId>, Mismatch> {
    let mut found = Vec::new();
    norms(graph, x, |table| matches!(table, Op::RopeTable(_)), &mut found)?;
    let weights: IndexSet<ValueId> = found.into_iter().map(|norm| graph.operands(norm)[1]).collect();
    Ok(weights.into_iter().collect())
}
