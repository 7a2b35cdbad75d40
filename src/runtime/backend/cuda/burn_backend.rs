//! Overrides of burn-cuda operations where Reflux has faster ones.

use super::blocks::dequantized;
use super::burn_memory::{in_one_piece, upload_flat};
use super::transfer::{Uploader, compact, concat};
use crate::RunError;
use crate::backend::{BurnBackend, Loader};
use crate::ranks::Rank;
use crate::value::Value;
use burn_cuda::{Cuda, CudaDevice};
use reflux_ir::op::Op;
use reflux_ir::{Fact, HostTensor, Rate};

impl BurnBackend for Cuda {
    const PACKS: bool = true;

    fn device(ordinal: usize) -> CudaDevice {
        CudaDevice::new(ordinal)
    }

    /// Contiguous, as the engine's kernels read it.
    fn kept(value: Value<Self>) -> Value<Self> {
        in_one_piece(value)
    }

    fn prepared(value: Value<Self>) -> Value<Self> {
        compact(value)
    }

    /// Uploaded contiguously, which is faster than making the value contiguous later.
    fn upload(tensor: HostTensor, device: &Self::Device) -> Value<Self> {
        upload_flat(tensor, device)
    }

    fn loader(device: &Self::Device, rank: Option<&Rank>) -> Result<Box<dyn Loader<Self>>, RunError> {
        Ok(Box::new(Uploader::new(device, rank)?))
    }

    /// Concatenates weights into the memory where they stay, and decodes blocks.
    fn by_itself(
        op: &Op,
        inputs: &[Fact],
        fact: &Fact,
        operands: Vec<Value<Self>>,
    ) -> Result<Value<Self>, Vec<Value<Self>>> {
        match op {
            Op::Concat(op) if fact.rate == Rate::Weights => concat(op, fact, operands),
            Op::Dequantize(_) => match (&operands[..], inputs[0].dtype.block()) {
                ([Value::Int(blocks)], Some(format)) => dequantized(blocks, format, fact).map_err(|error| {
                    tracing::debug!("blocks are decoded on the host: {error}");
                    operands
                }),
                _ => Err(operands),
            },
            _ => Err(operands),
        }
    }
}
