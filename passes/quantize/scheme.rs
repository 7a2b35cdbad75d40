//! Quantization schemes: what a linear is replaced by.

use crate::tensor_of;
use reflux_ir::op::{Dequantize, Linear, MatmulCodes, Op, Quantize, Rescale};
use reflux_ir::pass::RuleInfo;
use reflux_ir::{DType, Fact, Granularity, Graph, Node, Patch, PatchError, Scales, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

pub const QUANTIZE: RuleInfo =
    RuleInfo { name: "quantize", pattern: "linear(x, W, b) → a quantized product, in the chosen modules" };

/// The least scale of an i8 activation under torchao's rule; of any other value it is [`Quantize::least_scale`].
const EPS_V1: f64 = 1e-5;

/// A scheme, by its name in torchao's integrations: `dq` quantizes activations and weights, `wo` weights only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Scheme {
    /// Activations and weights in i8: a scale per token and per output channel.
    #[default]
    Int8dq,
    /// Weights in i8, a scale per output channel, which is applied to the product.
    Int8wo,
    /// Activations and weights in f8e4m3: one scale per tensor.
    Fp8dq,
    /// Activations and weights in f8e4m3: a scale per token and per output channel.
    Fp8dqrow,
    /// Weights in f8e4m3, a scale per output channel, dequantized before the product.
    Fp8wo,
    /// Weights in 4 bits, a scale and a zero point per group of 128, dequantized before the product.
    Int4wo,
}

/// How the scales of i8 values are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum QuantizationRule {
    /// torchao 0.12 to 0.16, as in Pruna: scales in the dtype of the values; max/127 for activations, at least 1e-5; max/127.5
    /// for weights.
    #[default]
    TorchaoV1,
    /// Scales in f32, max/127.5 for both (torchao since 0.17).
    F32,
}

impl Scheme {
    /// The type of a weight, given what it is now.
    pub fn weight(self, rule: QuantizationRule, weight: &Fact) -> Fact {
        let of =
            |dtype, per, scale| Fact::new(dtype, weight.shape.clone()).scaled(Scales { per, dtype: scale });
        match self {
            Self::Int8dq | Self::Int8wo => of(DType::I8, Granularity::Row, rule.scale(weight.dtype)),
            Self::Fp8dq => of(DType::F8E4M3, Granularity::Tensor, DType::F32),
            Self::Fp8dqrow | Self::Fp8wo => of(DType::F8E4M3, Granularity::Row, DType::F32),
            Self::Int4wo => of(DType::U4, Granularity::Group(128), weight.dtype),
        }
    }

    /// How an activation is quantized, if it is.
    fn activation(self, rule: QuantizationRule, x: &Fact) -> Option<Quantize> {
        let f8 = |per| Quantize {
            dtype: DType::F8E4M3,
            scales: Scales { per, dtype: DType::F32 },
            quant_min: None,
            eps: Quantize::least_scale(DType::F8E4M3).into(),
        };
        match self {
            Self::Int8dq => {
                let (least, eps) = match rule {
                    QuantizationRule::TorchaoV1 => (-127, EPS_V1),
                    QuantizationRule::F32 => (-128, Quantize::least_scale(DType::I8)),
                };
                let scales = Scales { per: Granularity::Row, dtype: rule.scale(x.dtype) };
                Some(Quantize { dtype: DType::I8, scales, quant_min: Some(least), eps: eps.into() })
            }
            Self::Fp8dq => Some(f8(Granularity::Tensor)),
            Self::Fp8dqrow => Some(f8(Granularity::Row)),
            Self::Int8wo | Self::Fp8wo | Self::Int4wo => None,
        }
    }

    /// Whether the scheme would make of the weight `weight` of a linear, as the type `becomes`, what it is already.
    pub fn is_made(self, graph: &Graph, weight: ValueId, becomes: &Fact) -> bool {
        let is_dequantized = matches!(graph[weight].op, Op::Dequantize(_));
        let is_of_type = || graph[graph.operands(weight)[0]].fact.same_type(becomes);
        matches!(self, Self::Fp8wo | Self::Int4wo) && is_dequantized && is_of_type()
    }

    /// Replaces the op `linear` of `graph`.
    pub fn rewrite(
        self,
        rule: QuantizationRule,
        graph: &mut Graph,
        linear: ValueId,
    ) -> Result<(), PatchError> {
        let (node, operands) = (graph[linear].clone(), graph.operands(linear));
        let ([x, weight], bias) = ([operands[0], operands[1]], &operands[2..]);
        let (_, tensor) = stored_tensor_of(graph, weight).expect("it was selected");
        let tensor = tensor.to_owned();
        let fact = self.weight(rule, &graph[weight].fact);
        let quantize = self.activation(rule, &graph[x].fact);
        let mut patch = Patch::new(graph, QUANTIZE.name);
        let weight = patch.weight(&tensor, fact)?;
        let mut build = LinearPatch { patch: &mut patch, node: &node };
        let result = match (self, quantize) {
            (Self::Fp8wo | Self::Int4wo, _) => {
                let dense = build.add("_weight", Dequantize { dtype: node.fact.dtype }, &[weight])?;
                build.add("", Linear {}, &[&[x, dense], bias].concat())?
            }
            (_, None) => {
                let product = build.add("_acc", MatmulCodes::MatmulW8, &[x, weight])?;
                build.add("", Rescale { dtype: node.fact.dtype }, &[&[product, weight], bias].concat())?
            }
            (_, Some(op)) => {
                let matmul = match op.dtype {
                    DType::I8 => MatmulCodes::MatmulI8,
                    DType::F8E4M3 => MatmulCodes::MatmulF8,
                    other @ (DType::F32
                    | DType::F16
                    | DType::BF16
                    | DType::I32
                    | DType::U4
                    | DType::Block(_)) => {
                        unreachable!("no scheme multiplies activations in {other}")
                    }
                };
                let codes = build.quantize(op, x)?;
                let product = build.add("_acc", matmul, &[codes, weight])?;
                build.add(
                    "",
                    Rescale { dtype: node.fact.dtype },
                    &[&[product, codes, weight], bias].concat(),
                )?
            }
        };
        patch.shunt(linear, result);
        patch.apply()
    }
}

/// The leaf and the name of the tensor of the checkpoint that `weight` is, or that it is dequantized from, where the checkpoint
/// stores codes and not this pass has chosen them.
pub(super) fn stored_tensor_of(graph: &Graph, weight: ValueId) -> Option<(ValueId, &str)> {
    let is_by_this_rule = |node: &Node| node.provenance.as_ref().is_some_and(|by| by.rule == QUANTIZE.name);
    let is_chosen = matches!(graph[weight].op, Op::Dequantize(_)) && is_by_this_rule(&graph[weight]);
    tensor_of(graph, weight).filter(|_| !is_chosen)
}

/// Adds what a linear becomes, under its name and path.
struct LinearPatch<'p, 'g> {
    patch: &'p mut Patch<'g>,
    node: &'p Node,
}

impl LinearPatch<'_, '_> {
    fn add(&mut self, suffix: &str, op: impl Into<Op>, operands: &[ValueId]) -> Result<ValueId, PatchError> {
        self.patch.add(op, operands, &self.node.name.suffixed(suffix), self.node.path.clone())
    }

    /// The codes of `x`, which belong to `x` and not to the first linear that reads them.
    fn quantize(&mut self, op: Quantize, x: ValueId) -> Result<ValueId, PatchError> {
        let input = &self.patch.graph()[x];
        let (name, path) = (input.name.suffixed("_q"), input.path.clone());
        self.patch.find_or_add(op, &[x], &name, path)
    }
}

impl QuantizationRule {
    /// Whether it need not be written.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// The dtype of the scales of values in `dtype`.
    fn scale(self, dtype: DType) -> DType {
        match self {
            // torchao keeps f16's in f32: their range is too small.
            Self::TorchaoV1 if dtype != DType::F16 => dtype,
            Self::TorchaoV1 | Self::F32 => DType::F32,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Int8dq => "int8dq",
            Self::Int8wo => "int8wo",
            Self::Fp8dq => "fp8dq",
            Self::Fp8dqrow => "fp8dqrow",
            Self::Fp8wo => "fp8wo",
            Self::Int4wo => "int4wo",
        })
    }
}
