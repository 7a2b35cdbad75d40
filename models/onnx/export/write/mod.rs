//! Reflux's ops in ONNX's, a file for each group.
//!
//! What is a formula of several ops computes in f32 and rounds once, as the op's definition in `src/ir/op` says.

mod arithmetic;
mod codes;
mod contraction;
mod entries;
mod formula;
mod layout;
mod norm;
mod position;

use super::body::{Body, Value};
use super::error::{Refusal, refuse};
use super::message::{Attribute, Named};
use reflux_ir::{Fact, Op};

/// Writes `op` over `operands`; its result is of type `fact`.
///
/// # Errors
/// If ONNX has no ops for it.
pub fn write(body: &mut Body, op: &Op, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    match op {
        Op::Input(_) | Op::Weight(_) | Op::Constant(_) | Op::PositionIds(_) | Op::RelativeBuckets(_) => {
            refuse!("it is not computed")
        }
        Op::Shard(_) | Op::AllToAll(_) | Op::AllGather(_) => {
            refuse!("ONNX has no several devices: export the program without `shard`")
        }
        Op::Unary(function) => arithmetic::unary(body, *function, operands, fact),
        Op::Binary(op) => arithmetic::binary(body, *op, operands, fact),
        Op::Cast(_) => arithmetic::cast(body, operands, fact),
        Op::Where(_) => arithmetic::choose(body, operands, fact),
        Op::Linear(_) => contraction::linear(body, operands, fact),
        Op::Matmul(_) => contraction::matmul(body, operands, fact),
        Op::Attention(op) => contraction::attention(body, op, operands, fact),
        Op::ScoreBound(op) => contraction::score_bound(body, op, operands, fact),
        Op::Conv2d(op) => contraction::conv2d(body, op, operands, fact),
        Op::Quantize(op) => codes::quantize(body, op, operands, fact),
        Op::Dequantize(_) => codes::dequantize(body, operands, fact),
        Op::MatmulCodes(op) => codes::matmul(body, *op, operands, fact),
        Op::Rescale(_) => codes::rescale(body, operands, fact),
        Op::LayerNorm(op) => norm::layer_norm(body, op, operands, fact),
        Op::RmsNorm(op) => norm::rms_norm(body, op, operands, fact),
        Op::GroupNorm(op) => norm::group_norm(body, op, operands, fact),
        Op::Softmax(_) => norm::softmax(body, operands, fact),
        Op::Mean(_) => norm::mean(body, operands, fact),
        Op::Reduce(op) => norm::reduce(body, *op, operands, fact),
        Op::MaxPool2d(op) => norm::max_pool(body, op, operands, fact),
        Op::AvgPool2d(op) => norm::avg_pool(body, op, operands, fact),
        Op::TimestepEmbedding(op) => position::timestep_embedding(body, op, operands, fact),
        Op::RopeTable(op) => position::rope_table(body, op, operands, fact),
        Op::Rope(_) => position::rope(body, operands, fact),
        Op::Embedding(_) => entries::embedding(body, operands, fact),
        Op::Argmax(_) => entries::argmax(body, operands, fact),
        Op::Select(_) => entries::select(body, operands, fact),
        Op::Reshape(_) => layout::reshape(body, operands, fact),
        Op::Transpose(op) => layout::transpose(body, op, operands, fact),
        Op::Concat(op) => layout::concat(body, op, operands, fact),
        Op::Slice(op) => layout::slice(body, op, operands, fact),
        Op::Upsample(op) => layout::upsample(body, op, operands, fact),
        Op::Rowwise(op) => formula::rowwise(body, op, operands, fact),
        Op::Gemm(op) => formula::gemm(body, op, operands, fact),
    }
}

/// What functions call the operands of `op`.
pub fn labels(op: &Op) -> &'static [&'static str] {
    match op {
        Op::Linear(_) | Op::Conv2d(_) | Op::LayerNorm(_) | Op::GroupNorm(_) => &["x", "weight", "bias"],
        Op::RmsNorm(_) | Op::MatmulCodes(_) => &["x", "weight"],
        Op::Attention(_) => &["q", "k", "v", "bias"],
        Op::Rope(_) => &["x", "table"],
        Op::Embedding(_) => &["ids", "table"],
        Op::Select(_) => &["x", "index"],
        Op::Where(_) => &["condition", "a", "b"],
        Op::Binary(_) | Op::Matmul(_) => &["a", "b"],
        Op::TimestepEmbedding(_) => &["t"],
        Op::RopeTable(_) => &["ids"],
        Op::Unary(_)
        | Op::Cast(_)
        | Op::Quantize(_)
        | Op::Dequantize(_)
        | Op::Softmax(_)
        | Op::Mean(_)
        | Op::Reduce(_)
        | Op::MaxPool2d(_)
        | Op::AvgPool2d(_)
        | Op::Argmax(_)
        | Op::Reshape(_)
        | Op::Transpose(_)
        | Op::Slice(_)
        | Op::Upsample(_)
        | Op::Shard(_)
        | Op::AllToAll(_)
        | Op::AllGather(_) => &["x"],
        // Operands of others have no roles, or more of them than names.
        Op::Input(_)
        | Op::Weight(_)
        | Op::Constant(_)
        | Op::PositionIds(_)
        | Op::RelativeBuckets(_)
        | Op::ScoreBound(_)
        | Op::Rescale(_)
        | Op::Concat(_)
        | Op::Rowwise(_)
        | Op::Gemm(_) => &[],
    }
}

fn int(name: &'static str, number: i64) -> Named {
    (name, Attribute::Int(number))
}

fn ints(name: &'static str, numbers: &[usize]) -> Named {
    (name, Attribute::Ints(numbers.iter().map(|&number| number as i64).collect()))
}

fn float(name: &'static str, number: f64) -> Named {
    (name, Attribute::Float(number as f32))
}
