//! The operations, one file each: what the op computes, its attributes, its inference, its cost.
//!
//! To add an op: write its file with an [`Operator`] impl, add it to the `operators!` list below, and give the burn executor
//! an arm for it. Text, parsing, verification and exports follow from the impl; `docs/adding-an-op.md` describes the rest,
//! and what follows from the op's [kind](OpKind).

mod all_gather;
mod all_to_all;
mod argmax;
mod attention;
mod binary;
mod body;
mod cast;
mod concat;
mod constant;
mod conv2d;
mod dequantize;
mod embedding;
mod family;
mod gemm;
mod group_norm;
mod input;
mod kind;
mod layer_norm;
mod linear;
mod matmul;
mod matmul_codes;
mod mean;
mod operator;
mod parts;
mod pool2d;
mod position_ids;
mod quantize;
mod real;
mod reduce;
mod relative_buckets;
mod rescale;
mod reshape;
mod rms_norm;
mod rope;
mod rope_table;
mod rowwise;
mod score_bound;
mod select;
mod shard;
mod slice;
mod softmax;
mod timestep_embedding;
mod transpose;
mod unary;
mod upsample;
mod weight;
mod where_op;

pub use all_gather::AllGather;
pub use all_to_all::{AllToAll, Divided};
pub use argmax::Argmax;
pub use attention::Attention;
pub use binary::Binary;
pub use body::{Arg, Body, BodyBuilder, Term};
pub use cast::Cast;
pub use concat::Concat;
pub use constant::Constant;
pub use conv2d::Conv2d;
pub use dequantize::Dequantize;
pub use embedding::Embedding;
pub use gemm::{Gemm, Segment};
pub use group_norm::GroupNorm;
pub use input::Input;
pub use kind::OpKind;
pub use layer_norm::LayerNorm;
pub use linear::Linear;
pub use matmul::Matmul;
pub use matmul_codes::MatmulCodes;
pub use mean::Mean;
pub use operator::{InferError, Operator, axis_index};
pub use parts::{Parts, Piece};
pub use pool2d::{AvgPool2d, MaxPool2d};
pub use position_ids::PositionIds;
pub use quantize::Quantize;
pub use real::Real;
pub use reduce::Reduce;
pub use relative_buckets::RelativeBuckets;
pub use rescale::Rescale;
pub use reshape::Reshape;
pub use rms_norm::RmsNorm;
pub use rope::Rope;
pub use rope_table::RopeTable;
pub use rowwise::Rowwise;
pub use score_bound::ScoreBound;
pub use select::Select;
pub use shard::Shard;
pub use slice::Slice;
pub use softmax::Softmax;
pub use timestep_embedding::TimestepEmbedding;
pub use transpose::Transpose;
pub use unary::Unary;
pub use upsample::Upsample;
pub use weight::Weight;
pub use where_op::Where;

use crate::{Cost, Fact, Rate, attribute};
use operator::{axis_of, ensure, float, one_dtype, per_element, rows_stay};
use serde_json::{Map, Value};
use std::fmt;
use std::ops::RangeInclusive;

macro_rules! operators {
    ($($op:ident),+ $(,)?) => {
        /// An operation with its attributes.
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Op {
            $($op($op),)+
        }

        impl Op {
            /// Every mnemonic of the text format.
            pub fn names() -> impl Iterator<Item = &'static str> {
                Self::kinds().map(|(name, _)| name)
            }

            /// Every mnemonic of the text format, with the kind of its op.
            pub fn kinds() -> impl Iterator<Item = (&'static str, OpKind)> {
                [$(($op::NAMES, $op::KIND)),+].into_iter().flat_map(|(names, kind)| {
                    names.iter().map(move |name| (*name, kind))
                })
            }

            /// The kind of the op called `name`, if there is one.
            pub fn kind_of(name: &str) -> Option<OpKind> {
                Self::kinds().find(|(known, _)| *known == name).map(|(_, kind)| kind)
            }

            /// The kind of the op.
            pub fn kind(&self) -> OpKind {
                match self { $(Self::$op(_) => $op::KIND,)+ }
            }

            /// The mnemonic in IR text.
            pub fn name(&self) -> &'static str {
                match self { $(Self::$op(op) => op.name(),)+ }
            }

            /// How many inputs it takes.
            pub fn arity(&self) -> RangeInclusive<usize> {
                match self { $(Self::$op(op) => op.arity(),)+ }
            }

            /// The attributes as printed in braces, in declaration order.
            pub fn attributes(&self) -> Map<String, Value> {
                match self { $(Self::$op(op) => op.attributes(),)+ }
            }

            /// Whether each row of the result depends on only one row of each operand.
            pub fn works_by_rows(&self) -> bool {
                match self { $(Self::$op(op) => op.works_by_rows(),)+ }
            }

            /// What a fused op computes, with its operands as `operand` writes them; `None` for other ops.
            pub fn formula(&self, operand: &dyn Fn(usize) -> String) -> Option<String> {
                match self { $(Self::$op(op) => op.formula(operand),)+ }
            }

            /// The op called `name` with these attributes; `None` if there is no such op.
            pub fn from_text(name: &str, attributes: Map<String, Value>) -> Option<Result<Self, serde_json::Error>> {
                $(if $op::NAMES.contains(&name) {
                    return Some($op::from_text(name, attributes).map(Self::$op));
                })+
                None
            }

            fn infer_type(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
                match self { $(Self::$op(op) => op.infer(inputs),)+ }
            }

            fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
                match self { $(Self::$op(op) => op.flops(inputs, output),)+ }
            }

            fn bytes(&self, inputs: &[&Fact], output: &Fact) -> u64 {
                match self { $(Self::$op(op) => op.bytes(inputs, output),)+ }
            }

            /// Bytes that a device sends to others.
            pub fn sent(&self, inputs: &[&Fact]) -> u64 {
                match self { $(Self::$op(op) => op.sent(inputs),)+ }
            }

            fn takes_quantized(&self) -> bool {
                match self { $(Self::$op(op) => op.takes_quantized(),)+ }
            }
        }

        $(impl From<$op> for Op {
            fn from(op: $op) -> Self {
                Self::$op(op)
            }
        })+
    };
}

operators! {
    // without operands
    Input, Weight, Constant, PositionIds, RelativeBuckets,
    // element by element
    Unary, Binary, Cast, Where,
    // contractions
    Linear, Matmul, Attention, ScoreBound, Conv2d,
    // quantized values
    Quantize, Dequantize, MatmulCodes, Rescale,
    // normalisation
    LayerNorm, RmsNorm, GroupNorm, Softmax, Mean, Reduce, MaxPool2d, AvgPool2d,
    // positions and look-ups
    TimestepEmbedding, RopeTable, Rope, Embedding, Argmax, Select,
    // unchanged data under another shape, or moved
    Reshape, Transpose, Concat, Slice, Upsample,
    // parts of a value on several devices
    Shard, AllToAll, AllGather,
    // fused: formulas over the ops above
    Rowwise, Gemm,
}

impl Op {
    /// The fact of the result: its type follows from the op, its rate is the fastest of the inputs' and the op's own.
    pub fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let arity = self.arity();
        if !arity.contains(&inputs.len()) {
            let (least, most) = (*arity.start(), *arity.end());
            let takes = match most {
                usize::MAX => format!("{least} or more inputs"),
                _ if least == most => format!("{least} input{}", if least == 1 { "" } else { "s" }),
                _ => format!("{least} to {most} inputs"),
            };
            return Err(InferError(format!("`{}` takes {takes}, not {}", self.name(), inputs.len())));
        }
        if let Some(input) = inputs.iter().find(|input| input.is_coded() && !self.takes_quantized()) {
            return Err(InferError(format!("`{}` does not take quantized values like {input}", self.name())));
        }
        let fact = self.infer_type(inputs)?;
        if let Some(fault) = fact.fault() {
            return Err(InferError(fault));
        }
        let rate = inputs.iter().map(|input| input.rate).fold(fact.rate, Rate::max);
        Ok(fact.at(rate))
    }

    /// Floating-point operations, and bytes read and written when the op runs by itself. Views and leaves are free.
    pub fn cost(&self, inputs: &[&Fact], output: &Fact) -> Cost {
        if self.kind().is_free() {
            return Cost::default();
        }
        Cost { flops: self.flops(inputs, output), bytes: self.bytes(inputs, output) }
    }
}

impl Op {
    /// Whether the op is a formula over other ops.
    pub fn is_fused(&self) -> bool {
        self.kind() == OpKind::Fused
    }

    /// On how many devices parts of the value are, if the op says so.
    pub fn devices(&self) -> Option<usize> {
        match self {
            Self::Shard(Shard { devices, .. })
            | Self::AllToAll(AllToAll { devices, .. })
            | Self::AllGather(AllGather { devices, .. }) => Some(*devices),
            _ => None,
        }
    }

    /// Whether the result is the first input's data under another shape.
    pub fn is_view(&self) -> bool {
        self.kind() == OpKind::View
    }

    /// Whether any part of a row of the result can be computed without the rest of the row. True of constants too.
    pub fn works_by_elements(&self) -> bool {
        self.kind() == OpKind::Elementwise || matches!(self, Self::Constant(_))
    }

    /// The op with its operands, as a term: `mul(x, y)`, `layer_norm(x, eps=1e-6)`, `rowwise[x * y]`.
    pub fn term(&self, operands: &[String]) -> String {
        if let Some(formula) = self.formula(&|index| operands[index].clone()) {
            return format!("{}[{formula}]", self.name());
        }
        let attributes = self.written_attributes();
        let parts: Vec<String> = operands.iter().cloned().chain(attributes).collect();
        format!("{}({})", self.name(), parts.join(", "))
    }

    /// The attributes as the text writes them: `key=value`.
    pub(crate) fn written_attributes(&self) -> impl Iterator<Item = String> {
        let written = |(key, value): (String, Value)| Some(format!("{key}={}", attribute::written(&value)?));
        self.attributes().into_iter().filter_map(written)
    }
}

/// The op without its operands: `mul`, `layer_norm{eps=1e-6}`, `rowwise[%0 * %1]`.
impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())?;
        if let Some(formula) = self.formula(&|index| format!("%{index}")) {
            return write!(f, "[{formula}]");
        }
        let attributes: Vec<_> = self.written_attributes().collect();
        if attributes.is_empty() { Ok(()) } else { write!(f, "{{{}}}", attributes.join(", ")) }
    }
}
