//! The reference implementation of each op on a burn backend, one arm per op. Every other way to run it must agree with this.

mod attention;
mod data;
pub mod elementwise;
pub mod fused;
pub mod matrix;
mod norm;
mod position;
pub mod quantized;

use crate::RunError;
use crate::backend::BurnBackend;
use crate::liveness::Instruction;
use crate::value::{Value, float_dtype};
use burn::tensor::Shape;
use burn::tensor::ops::FloatTensor;
use reflux_ir::op::{Op, axis_index};
use reflux_ir::{DType, Fact};

/// Runs one instruction over its operands.
///
/// Results are rounded to the fact's dtype. Norms, softmax and rotations compute in f32 internally.
pub fn execute<B: BurnBackend>(
    instruction: &Instruction,
    operands: Vec<Value<B>>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    execute_op(&instruction.op, &instruction.inputs, &instruction.fact, operands, device)
}

/// Runs `op` over operands of the types `inputs`; its result is of type `fact`.
pub fn execute_op<B: BurnBackend>(
    op: &Op,
    inputs: &[Fact],
    fact: &Fact,
    operands: Vec<Value<B>>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    B::by_itself(op, inputs, fact, operands)
        .or_else(|operands| composed_op(op, inputs, fact, operands, device))
}

/// The reference: runs `op` with burn's ops, or the backend's faster replacements of single ones.
pub fn composed_op<B: BurnBackend>(
    op: &Op,
    inputs: &[Fact],
    fact: &Fact,
    operands: Vec<Value<B>>,
    device: &B::Device,
) -> Result<Value<B>, RunError> {
    let takes_numbers = op.is_fused() || matches!(op, Op::Binary(_));
    let mut operands = operands
        .into_iter()
        .map(|x| if takes_numbers { x } else { x.into_tensor(device) })
        .collect::<Vec<_>>()
        .into_iter();
    let mut next = || operands.next().expect("arity is verified");
    Ok(Value::Float(match op {
        Op::Input(_) | Op::Weight(_) | Op::Constant(_) => unreachable!("leaves are not executed"),
        Op::Shard(_) | Op::AllToAll(_) | Op::AllGather(_) => {
            unreachable!("the executor runs what devices do together")
        }
        Op::Rowwise(op) => return fused::rowwise(op, operands.collect(), inputs, device),
        Op::Gemm(op) => fused::gemm(op, operands.collect(), inputs, fact, device)?,
        Op::PositionIds(op) => return Ok(Value::upload(op.ids(), device)),
        Op::RelativeBuckets(op) => return Ok(Value::upload(op.ids(), device)),
        Op::RopeTable(op) => {
            let ids = next().download(&inputs[0], "rope_table")?;
            return Ok(Value::upload(op.table(&ids), device));
        }
        Op::TimestepEmbedding(op) => {
            position::timestep_embedding::<B>(op, next().float(device), &fact.shape, device)
        }
        Op::Rope(_) => position::rope::<B>(next().float(device), next().float(device)),
        Op::Unary(op) => elementwise::unary::<B>(*op, next().float(device)),
        Op::Binary(op) => return Ok(elementwise::binary(*op, next(), next(), device)),
        Op::Cast(op) => return Ok(elementwise::cast(next(), op.dtype, device)),
        Op::Where(_) => {
            let (condition, a, b) = (next().float(device), next(), next());
            return Ok(elementwise::choose(condition, a, b, fact, device));
        }
        Op::Linear(_) => {
            let (x, weight) = (next().float(device), next().float(device));
            B::project(x, weight, operands.next().map(|bias| bias.float(device)))
        }
        Op::Matmul(_) => matrix::matmul::<B>(next().float(device), next().float(device)),
        Op::Conv2d(op) => {
            let (x, weight) = (next().float(device), next().float(device));
            matrix::conv2d::<B>(op, x, weight, operands.next().map(|bias| bias.float(device)))
        }
        Op::Attention(op) => {
            let q = attention::Factor::of(next(), &inputs[0], device);
            let k = attention::Factor::of(next(), &inputs[1], device);
            let v = next().float(device);
            // A softmax by the largest score has no use for a bound.
            let bias = operands.next().filter(|_| !op.bounded);
            attention::composed::<B>(op, q, k, v, bias.map(|bias| bias.float(device)))
        }
        Op::ScoreBound(op) => return attention::score_bound(op, operands.collect(), inputs, device),
        Op::Quantize(op) => {
            let coded = quantized::quantize::<B>(op, next().float(device), &inputs[0], device)?;
            return Ok(Value::Quantized(coded));
        }
        Op::Dequantize(op) if inputs[0].dtype.is_block() => {
            quantized::decode_blocks::<B>(next().int(device), &inputs[0], op.dtype, device)?
        }
        Op::Dequantize(op) => quantized::dequantize::<B>(next().coded(), &inputs[0], op.dtype, device),
        Op::MatmulCodes(op) => return Ok(quantized::matmul(*op, next(), next().coded(), device)),
        Op::Rescale(_) => {
            let acc = next();
            return Ok(Value::Float(quantized::rescale(acc, operands.collect(), inputs, fact, device)));
        }
        Op::LayerNorm(op) => {
            let x = next().float(device);
            let affine = operands.next().zip(operands.next());
            norm::layer_norm::<B>(
                op,
                x,
                affine.map(|(weight, bias)| (weight.float(device), bias.float(device))),
            )
        }
        Op::RmsNorm(op) => norm::rms_norm::<B>(op, next().float(device), next().float(device)),
        Op::GroupNorm(op) => {
            norm::group_norm::<B>(op, next().float(device), next().float(device), next().float(device))
        }
        Op::Softmax(_) => norm::softmax::<B>(next().float(device)),
        Op::Reduce(op) => norm::reduce::<B>(*op, next().float(device), fact),
        Op::MaxPool2d(op) => data::max_pool2d::<B>(op, next().float(device)),
        Op::AvgPool2d(op) => data::avg_pool2d::<B>(op, next().float(device)),
        Op::Mean(_) => norm::mean::<B>(next().float(device), fact),
        Op::Embedding(_) => {
            let ids = next();
            data::check_entries(&ids, &inputs[0], "embedding", &inputs[1], 0)?;
            data::embedding::<B>(ids.int(device), next().float(device), fact)
        }
        Op::Argmax(_) => return data::argmax(next(), &inputs[0], device),
        Op::Select(_) => {
            let (x, index) = (next(), next());
            data::check_entries(&index, &inputs[1], "select", &inputs[0], inputs[1].shape.len())?;
            return data::select(x, index, &inputs[1], fact, device);
        }
        Op::Reshape(op) => return Ok(data::reshape(next(), &op.shape)),
        Op::Transpose(op) => return Ok(data::transpose(next(), &op.perm)),
        Op::Slice(op) => return Ok(data::slice(next(), op)),
        Op::Upsample(op) => data::upsample::<B>(next().float(device), op.factor),
        Op::Concat(op) => {
            let axis = axis_index(op.axis, fact.shape.len());
            let parts = std::iter::once(next()).chain(operands).collect();
            return Ok(if fact.is_quantized() {
                Value::Quantized(quantized::concat(parts, inputs, axis))
            } else {
                data::concat(parts, axis)
            });
        }
    }))
}

/// The shape of a float tensor as plain extents.
fn extents<B: BurnBackend>(tensor: &FloatTensor<B>) -> Vec<usize> {
    use burn::tensor::TensorMetadata;
    tensor.shape().to_vec()
}

/// Runs `body` on `x` in f32 and rounds the result back to the dtype of `x`.
fn in_f32<B: BurnBackend>(
    x: FloatTensor<B>,
    body: impl FnOnce(FloatTensor<B>) -> FloatTensor<B>,
) -> FloatTensor<B> {
    use burn::tensor::TensorMetadata;
    let dtype = x.dtype();
    if dtype == burn::tensor::DType::F32 {
        return body(x);
    }
    B::float_cast(body(B::float_cast(x, float_dtype(DType::F32))), dtype.into())
}

/// `x` with leading axes of extent 1 up to `rank`.
fn with_rank<B: BurnBackend>(x: FloatTensor<B>, rank: usize) -> FloatTensor<B> {
    let mut shape = extents::<B>(&x);
    if shape.len() == rank {
        return x;
    }
    shape.splice(0..0, std::iter::repeat_n(1, rank - shape.len()));
    B::float_reshape(x, Shape::from(shape))
}
