//! Division of a network among devices.

mod along;
mod rules;
mod seed;
mod wiring;

use crate::{UNFUSED, UNSHARDED};
use indexmap::IndexMap;
use reflux_ir::op::{Op, OpKind, Parts};
use reflux_ir::pass::{
    Answer, Changed, Exactness, Pass, PassContext, PassError, Place, Property, Rule, RuleInfo, apply_rules,
    counted, options_of, try_rule,
};
use reflux_ir::{Graph, Program};
use rules::RULES;
use schemars::JsonSchema;
use seed::{ATTENTION, divide_attention, is_whole_attention};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Divides the step among several devices, which run the same program, each on its share of the tokens.
///
/// Attention alone needs all tokens. So each device computes it for some of the heads: queries, keys and values are exchanged
/// before, and the result after it (`method=ulysses`, after DeepSpeed-Ulysses, arXiv 2309.14509).
///
/// ```text
/// %q_rope = rope %q, %rope_share                                             : bf16[1,1152,24,128]
/// %q_heads = all_to_all %q_rope {devices=4, split=2, concat=1, concat_parts=[512, 4096]}   : bf16[1,4608,6,128]
/// %heads = attention %q_heads, %k_heads, %v_heads {scale=0.088}              : bf16[1,4608,6,128]
/// %attn = all_to_all %heads {devices=4, split=1, concat=2, split_parts=[512, 4096]}        : bf16[1,1152,24,128]
/// ```
///
/// From there, rules spread what devices have through the graph: an op of which a reader takes a share, or which reads what was
/// gathered, is divided along the axis along which its numbers are independent. What cannot be divided is computed by all
/// devices, from what they gather, which the report names. Extents that are no multiples are filled up with zeros.
///
/// Prepared and carried values become shares as well. All devices have all weights: this saves time, not memory for weights.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Shard {
    /// How many devices there are.
    pub devices: usize,
    /// How attention is divided.
    #[serde(default)]
    pub method: Method,
    /// Accept that there is no attention to divide.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub allow_nothing: bool,
}

/// How attention is divided.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// By heads, between tokens: queries, keys, values and the result are exchanged.
    #[default]
    Ulysses,
}

impl Pass for Shard {
    fn name(&self) -> &'static str {
        "shard"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    /// The same products with other numbers of rows, which may be summed in another order.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn requires(&self) -> &'static [Property] {
        &[UNFUSED, UNSHARDED]
    }

    fn ends(&self) -> &'static [Property] {
        &[UNSHARDED]
    }

    fn rules(&self) -> Vec<RuleInfo> {
        let local = RULES.iter().map(Rule::info);
        [ATTENTION].into_iter().chain(local).chain([wiring::PREPARE, wiring::CARRY]).collect()
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        match rule {
            name if name == ATTENTION.name => Some(is_whole_attention(place.graph, place.value)),
            name if name == wiring::CARRY.name => Some(wiring::why_carry(place)),
            name if name == wiring::PREPARE.name => Some(wiring::why_prepare(place)),
            name => try_rule(RULES, name, place),
        }
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let Self { devices, allow_nothing, .. } = *self;
        let most = Parts::MOST_DEVICES;
        if !(2..=most).contains(&devices) {
            return Err(PassError::Refused(format!(
                "shard divides among 2 to {most} devices, not {devices}"
            )));
        }
        let mut divided = 0;
        for name in program.variants.keys().cloned().collect::<Vec<_>>() {
            let graph = &mut program.variants[&name];
            for id in graph.order() {
                if graph.get(id).is_none() || is_whole_attention(graph, id).is_err() {
                    continue;
                }
                divided += 1;
                let divide = |graph: &mut Graph| divide_attention(graph, id, devices);
                cx.apply_site(ATTENTION.name, graph, |graph| graph.line(id), divide)?;
            }
            apply_rules(graph, RULES, cx)?;
            // What it carries shows the next variant which parts the tokens have.
            wiring::carry_shares(program, cx)?;
        }
        if divided == 0 {
            return match allow_nothing {
                true => Ok(Changed::No),
                false => Err(PassError::Nothing("the steps have no attention to divide".into())),
            };
        }
        loop {
            let mut changed = wiring::prepare_shares(program, cx)? == Changed::Yes;
            for (_, graph) in program.stages_mut() {
                changed |= apply_rules(graph, RULES, cx)? == Changed::Yes;
            }
            changed |= wiring::carry_shares(program, cx)? == Changed::Yes;
            if !changed {
                break;
            }
        }
        cx.report.note(format!("{} divided among {devices} devices", counted(divided, "attention op")));
        warn_of_wholes(program, cx);
        Ok(Changed::Yes)
    }
}

/// Warns of ops that all devices compute as a whole, from what they gather: by kind of op and reason, with an example.
fn warn_of_wholes(program: &Program, cx: &mut PassContext) {
    let mut wholes: IndexMap<(&str, String), Vec<String>> = IndexMap::new();
    for (stage, graph) in program.stages() {
        for id in graph.order() {
            let reads_gathered =
                graph.operands(id).iter().any(|&operand| rules::gathered(graph, operand).is_some());
            // Results go to the host as a whole.
            if reads_gathered
                && let Some(Err(why)) =
                    try_rule(RULES, rules::DIVIDE, &Place { program, stage: &stage, graph, value: id })
            {
                wholes
                    .entry((graph[id].op.name(), why.reason.into_owned()))
                    .or_default()
                    .push(graph.operand(id).to_string());
            }
        }
    }
    for ((op, why), values) in wholes {
        let (count, example) = (counted(values.len(), "value"), &values[0]);
        let said = format!("all devices compute {count} as a whole, such as {example}, `{op}`: {why}");
        // What reads codes is a product, which takes as long as on one device.
        match Op::kind_of(op) {
            Some(OpKind::Contraction | OpKind::Codes) => cx.report.warn(said),
            _ => cx.report.note(said),
        }
    }
}
