//! Bounds on the scores of attention.

use crate::UNFUSED;
use reflux_ir::op::{Attention, Concat, Op, ScoreBound, Slice, axis_index};
use reflux_ir::pass::{
    Answer, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property, Rule, RuleInfo,
    apply_rules, try_rule,
};
use reflux_ir::{Graph, Program, Rate, ValueId};
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
        let (mut queries, mut keys) = (Vec::new(), Vec::new());
        norm_weights(graph, operands[0], &mut queries)?;
        norm_weights(graph, operands[1], &mut keys)?;
        let bound = ScoreBound { queries: queries.len(), scale, codes: None };
        let name = node.name.suffixed("_bound");
        let bound = patch.add(bound, &[queries, keys].concat(), &name, node.path.clone())?;
        let op = Attention { scale, causal, bounded: true };
        Ok(patch.replace(root, op, &[&operands[..], &[bound]].concat())?)
    },
};

/// The weights of the norms that the rows of `x` come from, each once; ops on the way leave the length of a row's pairs as it is.
fn norm_weights(graph: &Graph, x: ValueId, weights: &mut Vec<ValueId>) -> Result<(), Mismatch> {
    let (op, operands) = (&graph[x].op, graph.operands(x));
    let shape = |id: ValueId| &graph[id].fact.shape;
    let is_last = |axis: i64| axis_index(axis, shape(x).len()) + 1 == shape(x).len();
    match op {
        Op::RmsNorm(norm) if norm.eps.0 >= 0.0 && graph[operands[1]].fact.rate == Rate::Weights => {
            if !weights.contains(&operands[1]) {
                weights.push(operands[1]);
            }
            return Ok(());
        }
        Op::RmsNorm(_) => return Err(Mismatch::at(x, "the norm's weight is not one of the checkpoint")),
        Op::Rope(_) if !matches!(graph[operands[1]].op, Op::RopeTable(_)) => {
            return Err(Mismatch::at(
                operands[1],
                "what it is rotated by is not made by `rope_table` here: bound attention before `hoist`",
            ));
        }
        Op::Rope(_) | Op::Cast(_) => {}
        Op::Reshape(_) if shape(x).last() == shape(operands[0]).last() => {}
        Op::Transpose(transpose) if transpose.perm.last() == Some(&(transpose.perm.len() - 1)) => {}
        Op::Slice(Slice { axis, .. }) if !is_last(*axis) => {}
        Op::Concat(Concat { axis }) if !is_last(*axis) => {
            return operands.into_iter().try_for_each(|part| norm_weights(graph, part, weights));
        }
        _ => return Err(Mismatch::at(x, "it is not normalised by `rms_norm`")),
    }
    norm_weights(graph, operands[0], weights)
}
