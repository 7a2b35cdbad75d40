//! Quantization of queries and keys.

mod bounds;
mod common_scale;
mod rewrite;
mod selection;

pub use rewrite::AttentionScheme;

use crate::{UNFUSED, UNSHARDED};
use reflux_ir::pass::{
    Answer, Built, Changed, Exactness, Mismatch, Pass, PassContext, PassError, Place, Property, RuleInfo,
    counted, options_of,
};
use reflux_ir::{Program, Stage, ValueId};
use schemars::JsonSchema;
use selection::{RULE, Selection};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Computes the scores of attention from queries and keys of 8 bits, each with a scale for each token and head. With int8,
/// `attention(q, k, v)` becomes
///
/// ```text
/// %q_q = quantize %q {dtype=i8, scales=row.f32, quant_min=-127, eps=1.1920928955078125e-7} : i8.row.f32[…]
/// %k_q = quantize %k {dtype=i8, scales=row.f32, quant_min=-127, eps=1.1920928955078125e-7} : i8.row.f32[…]
/// %heads = attention %q_q, %k_q, %v {scale=0.088} : bf16[…]
/// ```
///
/// so that fused and unfused programs compute with the same codes (SageAttention: Zhang et al., 2024). Values and the weights of the
/// softmax stay as they are: the sums of f8e4m3 products on Hopper keep 13 bits. `fuse` puts the quantization into the kernel that
/// normalises and rotates. A bound of the scores is widened by what rounding can add; one that is not made by `score_bound` is dropped.
///
/// Hopper has a kernel for heads of 128, without a mask or bias. Elsewhere codes are dequantized first, which gains nothing.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QuantizeAttention {
    /// What queries and keys are quantized to.
    #[serde(default)]
    pub scheme: AttentionScheme,
    /// Subtract from keys their mean over tokens first, which a softmax does not see: exact, but for rounding. It matters where keys are far
    /// from zero. On the bundled model it changes int8's error by +10 to -20 %, and takes a quarter to a third off fp8's; but keys are then
    /// written in bf16 and read twice more, so it is not the default.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub smooth_k: bool,
    /// With int8, one scale for all keys but those with a number of more than five times the largest weight of their norms: Hopper's kernel then
    /// need not multiply each score by a key's scale. Keys are rounded more coarsely. Where something else reads what the norms give, or keys
    /// have none, nothing changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub common_scale: bool,
    /// Patterns of module paths: only attention in modules that match one is quantized. Without any, all is.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "reflux_ir::pass::one_or_several"
    )]
    #[schemars(!skip_serializing_if)]
    pub include: Vec<String>,
    /// Patterns of module paths whose attention stays as it is.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "reflux_ir::pass::one_or_several"
    )]
    #[schemars(!skip_serializing_if)]
    pub skip: Vec<String>,
    /// Accept that there is no attention to quantize, or that a pattern matches none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub allow_nothing: bool,
}

impl QuantizeAttention {
    /// The pass with these options, refused if a pattern is none.
    pub(crate) fn build(options: Map<String, Value>) -> Built {
        let pass: Self = serde_json::from_value(Value::Object(options))?;
        if pass.common_scale && pass.scheme == AttentionScheme::Fp8 {
            return Err(serde_json::Error::custom(
                "common_scale is for int8: codes of fp8 have no need of it",
            ));
        }
        Selection::of(&pass).map_err(serde_json::Error::custom)?;
        Ok(Box::new(pass))
    }
}

impl Pass for QuantizeAttention {
    fn name(&self) -> &'static str {
        "quantize-attention"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        &[UNFUSED, UNSHARDED]
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let fits = || {
            let selection = Selection::of(self).map_err(|error| Mismatch::new(error.to_string()))?;
            selection.fits(place.graph, place.value).map(|()| None)
        };
        (rule == RULE.name).then(fits)
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let selection = Selection::of(self)?;
        if !self.allow_nothing {
            selection.check(program)?;
        }
        let known = bounds::prepared(program);
        let mut quantized = 0;
        let stages: Vec<(Stage, Vec<ValueId>)> =
            program.stages().map(|(stage, graph)| (stage, graph.order())).collect();
        for (stage, ids) in stages {
            for id in ids {
                let graph = program.graph(&stage).expect("no stage is removed");
                if selection.fits(graph, id).is_err() {
                    cx.reject(RULE.name);
                    continue;
                }
                let line = graph.line(id);
                let rewrite = |program: &mut Program| self.rewrite(program, &stage, id, &known);
                if cx.apply_site(RULE.name, program, |_| line, rewrite)? == Changed::Yes {
                    quantized += 1;
                }
            }
        }
        bounds::widen(program, self)?;
        if quantized > 0 {
            cx.report.note(format!(
                "queries and keys of {} in {}",
                counted(quantized, "attention"),
                self.scheme.dtype()
            ));
        }
        if quantized == 0 {
            cx.report.note("all attention that it is for has queries and keys of codes already");
        }
        Ok((quantized > 0).into())
    }
}
