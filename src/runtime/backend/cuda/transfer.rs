//! Upload of weights, and their concatenation on the device.

use super::burn_memory::{address, empty, in_one_piece, persistent, settled};
use super::failed;
use super::locked::Turns;
use super::room::Room;
use super::runner::runner;
use crate::RunError;
use crate::backend::{GraphRunner, Loader, Others, Unplanned};
use crate::coded::Coded;
use crate::ranks::Rank;
use crate::value::{Value, burn_dtype};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn::tensor::{DType, Shape, TensorData, TensorMetadata};
use burn_cuda::{Cuda, CudaDevice};
use cudarc::driver::{CudaContext, CudaStream, DriverError, result};
use rayon::prelude::*;
use reflux_ir::op::{Concat, axis_index};
use reflux_ir::{Fact, Graph, ValueId};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a chunk: one is being read by the device while the other is written.
const CHUNK: usize = 32 << 20;

/// Bytes that one thread writes at a time.
const SHARE: usize = 1 << 20;

/// Below this many bytes, burn's own upload is as fast.
const LARGE: usize = 1 << 18;

/// Uploads through page-locked memory: the device reads a chunk while CPU threads write the next one, be it of the same weight or of
/// the next.
pub struct Uploader {
    device: CudaDevice,
    stream: Arc<CudaStream>,
    /// There are none before there is anything to upload through them: to lock them takes longer than
    /// to upload a few weights.
    chunks: Turns<2>,
    /// Shared by the engines of all graphs of the program, once there is one.
    room: Option<Rc<Room>>,
    /// Which of the program's devices it is, if that is for several.
    rank: Option<Rank>,
}

impl Uploader {
    pub fn new(device: &CudaDevice, rank: Option<&Rank>) -> Result<Self, RunError> {
        let stream = CudaContext::new(device.index).and_then(|context| context.new_stream());
        let stream = stream.map_err(|error| failed("memory to upload through", error))?;
        Ok(Self { device: device.clone(), chunks: Turns::default(), stream, room: None, rank: rank.cloned() })
    }

    /// Writes `bytes` bytes to an address on the device: `write` makes rows of `row_bytes` of them, of which a chunk has one at
    /// least. The last of them may still be under way when this returns.
    ///
    /// # Safety
    /// The address must be that of device memory of at least this many bytes that nothing else uses before
    /// [`finish`](Loader::finish), or before this is dropped.
    unsafe fn write(
        &mut self,
        bytes: usize,
        row_bytes: usize,
        write: &mut dyn FnMut(usize, &mut [u8]),
        to: u64,
    ) -> Result<(), DriverError> {
        let Self { stream, chunks, .. } = self;
        stream.context().bind_to_thread()?;
        let chunk = CHUNK / row_bytes * row_bytes;
        for start in (0..bytes).step_by(chunk) {
            let part = chunk.min(bytes - start);
            let memory = chunks.take(stream.context(), CHUNK)?;
            let write = |memory: &mut [u8]| write(start / row_bytes, memory);
            // SAFETY: the caller vouches for the place.
            unsafe { memory.copy(part, write, [(part, to + start as u64)], stream) }?;
        }
        Ok(())
    }
}

impl Loader<Cuda> for Uploader {
    fn upload(&mut self, data: TensorData) -> Result<Value<Cuda>, RunError> {
        if data.bytes.len() < LARGE {
            return Ok(persistent(&self.device, data, |data| Value::of(data, &self.device)));
        }
        self.place(data.shape, data.dtype, 1, &mut |first, to| {
            let from = data.bytes[first..].par_chunks(SHARE);
            to.par_chunks_mut(SHARE).zip(from).for_each(|(to, from)| to.copy_from_slice(&from[..to.len()]));
        })
    }

    /// Written to page-locked memory, so that no copy of it is made on the way.
    fn place(
        &mut self,
        shape: Shape,
        dtype: DType,
        row_bytes: usize,
        write: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<Value<Cuda>, RunError> {
        let bytes = shape.num_elements() * dtype.size();
        if bytes < LARGE || row_bytes > CHUNK {
            let mut whole = vec![0; bytes];
            write(0, &mut whole);
            return self.upload(TensorData::from_bytes_vec(whole, shape, dtype));
        }
        let place = empty(&shape.to_vec(), dtype, &self.device);
        let to = address(&place)?;
        settled(&self.device, "loading")?;
        // SAFETY: the memory was allocated for as many bytes, and burn is done with its previous content. Who loads reads no weight before
        // `finish`, and drops none but when loading fails: then nothing is loaded into its memory before this is dropped, which waits.
        let written = unsafe { self.write(bytes, row_bytes, write, to) };
        written.map_err(|error| failed("the upload of a weight", error))?;
        Ok(if dtype.is_float() { Value::Float(place) } else { Value::Int(place) })
    }

    fn write_over(
        &mut self,
        place: &Value<Cuda>,
        TensorData { bytes, shape, dtype }: &TensorData,
    ) -> Result<bool, RunError> {
        let (Value::Float(tensor) | Value::Int(tensor)) = place else { return Ok(false) };
        if tensor.shape() != *shape || tensor.dtype() != *dtype || !tensor.is_contiguous() {
            return Ok(false);
        }
        let to = address(tensor)?;
        let copied = self.stream.context().bind_to_thread().and_then(|()| {
            // SAFETY: the tensor, which has as many bytes, is held by its owner, who has waited for all that read it and reads it
            // again only after `finish`.
            unsafe { result::memcpy_htod_sync(to, bytes) }
        });
        copied.map_err(|error| failed("the upload of a weight", error))?;
        Ok(true)
    }

    /// Copies from locked memory are under way when they return, and those from other memory may be.
    fn finish(&mut self) -> Result<(), RunError> {
        let done = self.stream.context().bind_to_thread().and_then(|()| result::ctx::synchronize());
        done.map_err(|error| failed("the upload of a weight", error))
    }

    fn runner(
        &mut self,
        graph: &Graph,
        weights: HashMap<ValueId, Value<Cuda>>,
        others: Others,
    ) -> Result<Box<dyn GraphRunner<Cuda>>, Unplanned> {
        let room = match &self.room {
            Some(room) => room.clone(),
            None => self.room.insert(Rc::new(Room::new(self.device.index, self.rank.as_ref())?)).clone(),
        };
        runner(graph, weights, &self.device, room, others)
    }
}

impl Drop for Uploader {
    fn drop(&mut self) {
        // What was loaded is there then; errors have been told, or are of no more use.
        let _ = self.stream.synchronize();
        release_unused(&self.device);
    }
}

/// Frees the device memory that burn keeps for later allocations.
pub fn release_unused(device: &CudaDevice) {
    <Cuda as Backend>::memory_cleanup(device);
}

/// Concatenates weights, copying each once to where it stays. Returns the operands if they are not contiguous in the result.
pub fn concat(op: &Concat, fact: &Fact, operands: Vec<Value<Cuda>>) -> Result<Value<Cuda>, Vec<Value<Cuda>>> {
    let axis = axis_index(op.axis, fact.shape.len());
    let is_outermost = fact.shape[..axis].iter().all(|&extent| extent == 1);
    let joined = if is_outermost { join_values(fact, &operands) } else { None };
    joined.ok_or(operands)
}

/// `value`, contiguous and in memory of exactly its size: otherwise it would keep one of burn's larger pages from being
/// freed.
pub fn compact(value: Value<Cuda>) -> Value<Cuda> {
    let alone = |x: &FloatTensor<Cuda>| join(std::iter::once(x), &x.shape().to_vec(), x.dtype());
    match in_one_piece(value) {
        Value::Float(x) => Value::Float(alone(&x).unwrap_or(x)),
        Value::Int(x) => Value::Int(alone(&x).unwrap_or(x)),
        other => other,
    }
}

fn join_values(fact: &Fact, parts: &[Value<Cuda>]) -> Option<Value<Cuda>> {
    if let Some(coded) = parts.iter().map(coded).collect::<Option<Vec<_>>>() {
        if coded.iter().any(|part| part.zeros.is_some()) {
            return None;
        }
        let codes = join(coded.iter().map(|part| &part.codes), &fact.shape, burn_dtype(fact.dtype))?;
        let rows = coded.iter().map(|part| part.scales.shape().num_elements()).sum();
        let scales = join(coded.iter().map(|part| &part.scales), &[rows, 1], DType::F32)?;
        return Some(Value::Quantized(Coded { codes, scales, zeros: None }));
    }
    let numbers = parts.iter().map(number).collect::<Option<Vec<_>>>()?;
    join(numbers.into_iter(), &fact.shape, burn_dtype(fact.dtype)).map(Value::Float)
}

fn coded(value: &Value<Cuda>) -> Option<&Coded<Cuda>> {
    if let Value::Quantized(coded) = value { Some(coded) } else { None }
}

fn number(value: &Value<Cuda>) -> Option<&FloatTensor<Cuda>> {
    if let Value::Float(tensor) = value { Some(tensor) } else { None }
}

/// Joins `parts`, each of them contiguous, into one tensor. burn's GPU tensors have the same Rust type for all dtypes.
fn join<'a>(
    parts: impl Iterator<Item = &'a FloatTensor<Cuda>> + Clone,
    shape: &[usize],
    dtype: DType,
) -> Option<FloatTensor<Cuda>> {
    let device = &parts.clone().next()?.device;
    let whole = empty(shape, dtype, device);
    settled(device, "loading").ok()?;
    let mut to = address(&whole).ok()?;
    CudaContext::new(device.index).and_then(|context| context.bind_to_thread()).ok()?;
    for part in parts {
        let bytes = part.shape().num_elements() * dtype.size();
        // SAFETY: nothing else uses either, as burn's work is done; the sizes of the parts add up to that of the whole.
        unsafe { result::memcpy_dtod_sync(to, address(part).ok()?, bytes) }.ok()?;
        to += bytes as u64;
    }
    // The copies may still be under way.
    result::ctx::synchronize().ok()?;
    Some(whole)
}
