//! Quantization of linears.

mod preset;
mod scheme;
mod selection;

pub use preset::Preset;
pub use scheme::{QuantizationRule, Scheme};

use crate::{BASE_LINEARS, SEPARATE_LINEARS, UNFUSED, UNPACKED, UNSHARDED};
use reflux_ir::pass::{
    Answer, Built, Changed, Exactness, Globs, Mismatch, Pass, PassContext, PassError, Place, Property,
    RuleInfo, options_of,
};
use reflux_ir::{Graph, Program};
use schemars::JsonSchema;
pub use scheme::QUANTIZE;
use selection::{ModuleOutcomes, Selection};
use serde::de::Error as _;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Replaces linears with quantized products, according to `scheme`. With int8dq, `linear(x, W, b)` becomes
///
/// ```text
/// %x_q = quantize %x {dtype=i8, scales=row.bf16, quant_min=-127, eps=1e-5} : i8.row.bf16[…]
/// %y_acc = matmul_i8 %x_q, @W i8.row.bf16[out,in] : i32[…,out]
/// %y = rescale %y_acc, %x_q, @W, @b {dtype=bf16} : bf16[…,out]
/// ```
///
/// so that fused and unfused programs compute with the same integers. An input that several linears read is quantized once.
/// Weights are quantized when they are loaded.
///
/// Quantizes the linears that match `include` (all if empty) and neither `exclude` nor `skip`. `exclude` is one of the
/// presets of torchao's integration in Pruna. `include` and `skip` are lists of patterns of module paths, in which `*`
/// matches anything; a pattern that matches a module matches everything in it.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// What is quantized, and to which type.
    #[serde(default)]
    pub scheme: Scheme,
    /// How scales are computed.
    #[serde(default, skip_serializing_if = "QuantizationRule::is_default")]
    #[schemars(!skip_serializing_if)]
    pub rule: QuantizationRule,
    /// A preset of modules to leave unquantized.
    #[serde(default, skip_serializing_if = "Preset::is_none")]
    #[schemars(!skip_serializing_if)]
    pub exclude: Preset,
    /// Patterns of module paths: only modules that match one are quantized. Without any, all are.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "reflux_ir::pass::one_or_several"
    )]
    #[schemars(!skip_serializing_if)]
    pub include: Vec<String>,
    /// Patterns of module paths to leave unquantized.
    #[serde(
        default,
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "reflux_ir::pass::one_or_several"
    )]
    #[schemars(!skip_serializing_if)]
    pub skip: Vec<String>,
    /// Leave linears whose input has at most this many rows: a product of few rows is bound by reading its weights, so
    /// quantizing its input only adds work. Hoisted modulations have one row per step.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(!skip_serializing_if)]
    pub keep_rows: usize,
    /// Accept that no linear is left to quantize, or that a pattern matches none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    #[schemars(!skip_serializing_if)]
    pub allow_nothing: bool,
}

fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl Quantize {
    /// The pass with these options, refused if a pattern is none.
    pub(crate) fn build(options: Map<String, Value>) -> Built {
        let quantize: Self = serde_json::from_value(Value::Object(options))?;
        quantize.globs().map_err(serde_json::Error::custom)?;
        Ok(Box::new(quantize))
    }

    /// The options, ready to be asked.
    fn selection(&self) -> Result<Selection<'_>, PassError> {
        let [include, skip] = self.globs()?;
        Ok(Selection { pass: self, include, skip })
    }

    /// The patterns of `include` and of `skip`.
    fn globs(&self) -> Result<[Globs; 2], PassError> {
        Ok([Globs::new(&self.include)?, Globs::new(&self.skip)?])
    }
}

impl Pass for Quantize {
    fn name(&self) -> &'static str {
        "quantize"
    }

    fn options(&self) -> Map<String, Value> {
        options_of(self)
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        &[UNFUSED, SEPARATE_LINEARS, UNPACKED, BASE_LINEARS, UNSHARDED]
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![QUANTIZE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        let selection = || self.selection().map_err(|error| Mismatch::new(error.to_string()));
        (rule == QUANTIZE.name).then(|| selection()?.why(place.graph, place.value))
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let selection = self.selection()?;
        let mut summary = ModuleOutcomes::default();
        let linears: Vec<_> =
            program.stages().map(|(_, graph)| selection.linears(graph, &mut summary)).collect();
        if !self.allow_nothing {
            summary.check(self)?;
        }
        let mut changed = Changed::No;
        for ((_, graph), linears) in program.stages_mut().zip(linears) {
            for (linear, is_chosen) in linears {
                if !is_chosen {
                    cx.reject(QUANTIZE.name);
                    continue;
                }
                let quantize = |graph: &mut Graph| self.scheme.rewrite(self.rule, graph, linear);
                if cx.apply_site(QUANTIZE.name, graph, |graph| graph.line(linear), quantize)? == Changed::Yes
                {
                    changed = Changed::Yes;
                }
            }
        }
        summary.report(cx.report);
        Ok(changed)
    }
}
