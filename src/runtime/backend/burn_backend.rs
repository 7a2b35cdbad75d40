//! The interface between the executor and a burn backend: everything in which backends differ.

use crate::RunError;
use crate::ops::matrix;
use crate::ops::quantized::{self, Factor};
use crate::ranks::Rank;
use crate::value::Value;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{DType, Shape, TensorData};
use reflux_ir::op::Op;
use reflux_ir::{Fact, Graph, HostTensor, Name, ValueId};
use std::cell::OnceCell;
use std::collections::HashMap;
use std::time::Duration;

/// A burn backend that programs run on. The defaults are compositions of burn's own ops and work everywhere; a backend
/// overrides those that it can do better.
pub trait BurnBackend: Backend {
    /// Whether weights are stored with as many bits as their codes have: see [`Coded`](crate::coded::Coded).
    const PACKS: bool = false;

    /// The device with this number.
    fn device(ordinal: usize) -> Self::Device {
        let _ = ordinal;
        Self::Device::default()
    }

    /// The loader that uploads weights to the device, which is that of `rank` if the program is for several.
    ///
    /// # Errors
    /// If the device has no memory left for the loader's buffers.
    fn loader(device: &Self::Device, rank: Option<&Rank>) -> Result<Box<dyn Loader<Self>>, RunError> {
        let _ = rank;
        Ok(Box::new(Plain { device: device.clone() }))
    }

    /// Uploads an input to the device.
    fn upload(tensor: HostTensor, device: &Self::Device) -> Value<Self> {
        Value::upload(tensor, device)
    }

    /// `value` in the form that is fastest to read at every step.
    fn kept(value: Value<Self>) -> Value<Self> {
        value
    }

    /// [`BurnBackend::kept`] for a value that a prepare stage computed, whose other values are freed.
    fn prepared(value: Value<Self>) -> Value<Self> {
        Self::kept(value)
    }

    /// Runs `op` over operands of the types `inputs` without burn's ops; its result is of type `fact`. Returns the operands
    /// if the backend has no implementation for them.
    fn by_itself(
        op: &Op,
        inputs: &[Fact],
        fact: &Fact,
        operands: Vec<Value<Self>>,
    ) -> Result<Value<Self>, Vec<Value<Self>>> {
        let _ = (op, inputs, fact);
        Err(operands)
    }

    /// See [`reflux_ir::op::Linear`].
    fn project(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        matrix::linear::<Self>(x, weight, bias)
    }

    /// `x · Wᵀ` of i8 codes with `W` `[out, in]`, exactly, in i32.
    fn matmul_i8(x: IntTensor<Self>, weight: IntTensor<Self>) -> IntTensor<Self> {
        quantized::matmul_i8::<Self>(x, weight)
    }

    /// The values, in f32, of f8e4m3 codes given by their bits.
    fn decode_f8(codes: IntTensor<Self>, device: &Self::Device) -> FloatTensor<Self> {
        quantized::decode_f8::<Self>(codes, device)
    }

    /// `acc · x · weight + bias` in the type `fact`: see [`reflux_ir::op::Rescale`].
    fn rescale(
        acc: Value<Self>,
        x: Option<Factor<Self>>,
        weight: Factor<Self>,
        bias: Option<FloatTensor<Self>>,
        fact: &Fact,
        device: &Self::Device,
    ) -> FloatTensor<Self> {
        quantized::rescale_rows::<Self>(acc, x, weight, bias, fact, device)
    }
}

/// What becomes of a graph some of whose ops the backend itself has no kernel for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// burn computes them, and the backend what is between.
    OnBurn,
    /// It runs op by op, as a whole.
    OpByOp,
}

/// Uploads weights one after the other to a device, and then loads graphs. Dropping it frees the memory that only loading
/// needs.
///
/// What it has loaded may still be on its way: nothing may read it until [`finish`](Self::finish) returns, or the loader is dropped.
pub trait Loader<B: BurnBackend> {
    /// Uploads a tensor to the device.
    fn upload(&mut self, data: TensorData) -> Result<Value<B>, RunError>;

    /// A tensor on the device whose bytes `write` makes: piece by piece, each from a row on and as many rows of `row_bytes` as
    /// there is room for.
    fn place(
        &mut self,
        shape: Shape,
        dtype: DType,
        row_bytes: usize,
        write: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<Value<B>, RunError> {
        let _ = row_bytes;
        let mut bytes = vec![0; shape.num_elements() * dtype.size()];
        write(0, &mut bytes);
        self.upload(TensorData::from_bytes_vec(bytes, shape, dtype))
    }

    /// Uploads a tensor to the memory of `place`, which an earlier loader has placed; returns whether that could be done.
    fn write_over(&mut self, place: &Value<B>, data: &TensorData) -> Result<bool, RunError> {
        let _ = (place, data);
        Ok(false)
    }

    /// Waits until everything is where it was uploaded to.
    fn finish(&mut self) -> Result<(), RunError> {
        Ok(())
    }

    /// A way to run all of `graph`, whose weights are `weights`, faster than op by op.
    fn runner(
        &mut self,
        graph: &Graph,
        weights: HashMap<ValueId, Value<B>>,
        others: Others,
    ) -> Result<Box<dyn GraphRunner<B>>, Unplanned> {
        let _ = (graph, weights, others);
        Err(Unplanned::OpByOp)
    }
}

/// The loader that uses burn's own upload.
struct Plain<B: BurnBackend> {
    device: B::Device,
}

impl<B: BurnBackend> Loader<B> for Plain<B> {
    fn upload(&mut self, data: TensorData) -> Result<Value<B>, RunError> {
        Ok(Value::of(data, &self.device))
    }
}

/// A value that stages read by its name.
pub struct Kept<B: BurnBackend> {
    /// The value as given, if it is an input.
    pub host: Option<HostTensor>,
    /// The value on the device, once it has been requested.
    device: OnceCell<Value<B>>,
    /// A number that is different for every value ever kept.
    pub version: u64,
    /// Whether it was computed by a graph that ran as a whole; the backend then has nothing left to do for it.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the processor runs no graph as a whole"))]
    pub is_made: bool,
}

impl<B: BurnBackend> Kept<B> {
    /// An input, which is uploaded by its first reader.
    pub fn given(host: HostTensor, version: u64) -> Self {
        Self { host: Some(host), device: OnceCell::new(), version, is_made: false }
    }

    /// Replaces the input if `input` has the same type; returns whether it has.
    pub fn give(&mut self, input: &HostTensor, version: u64) -> bool {
        let Some(host) = &mut self.host else { return false };
        let is_alike = (host.dtype, &host.shape) == (input.dtype, &input.shape);
        if is_alike {
            host.bytes.copy_from_slice(&input.bytes);
            self.device = OnceCell::new();
            self.version = version;
        }
        is_alike
    }

    /// A value that a stage computed; `is_made` says whether the stage ran as a whole.
    pub fn on_device(value: Value<B>, version: u64, is_made: bool) -> Self {
        let value = if is_made { value } else { B::prepared(value) };
        Self { is_made, ..Self::placed(value, version) }
    }

    /// A value that a loader has placed.
    pub fn placed(value: Value<B>, version: u64) -> Self {
        Self { host: None, device: OnceCell::from(value), version, is_made: false }
    }

    /// The value, if it is on the device.
    pub fn on_device_now(&self) -> Option<&Value<B>> {
        self.device.get()
    }

    pub fn value(&self, device: &B::Device) -> &Value<B> {
        self.device.get_or_init(|| B::upload(self.host.clone().expect("it is somewhere"), device))
    }
}

/// A result of a graph.
pub type GraphResult<B> = (Name, Fact, Value<B>);

/// Called after each op with the name of its value and the time that it took.
pub type Observer<'o> = &'o mut dyn FnMut(&str, Duration);

/// Waits until what was enqueued before it was made is done.
pub type Mark = Box<dyn FnOnce() -> Result<(), RunError>>;

/// A graph that runs as a whole.
pub trait GraphRunner<B: BurnBackend> {
    /// Runs the graph over its inputs, given by name. Anything but another runner must wait before it reads the results. With
    /// `observe`, waits for each op and reports its time.
    fn run(
        &self,
        inputs: &HashMap<Name, Kept<B>>,
        observe: Option<Observer>,
    ) -> Result<Vec<GraphResult<B>>, RunError>;

    /// The value of a weight, if it is one of the graph.
    fn weight(&self, id: ValueId) -> Option<&Value<B>>;

    /// Takes other values of the same types for some weights.
    fn replace(&mut self, weights: HashMap<ValueId, Value<B>>) -> Result<(), RunError>;

    /// Waits until everything enqueued is done.
    fn wait(&self) -> Result<(), RunError>;

    /// What is enqueued up to here.
    fn mark(&self) -> Result<Mark, RunError>;

    /// A runner for a graph without weights, which is enqueued behind this one and reads its results where they are; `None` if there is
    /// none for it.
    fn beside(&self, graph: &Graph) -> Result<Option<Box<dyn GraphRunner<B>>>, RunError>;

    /// A note on ops of the graph that it cannot run itself and on their cost, if there are any.
    fn fallback(&self) -> Option<String>;

    /// Waits for the result with this index and copies it to the host.
    fn fetch(&self, index: usize) -> Result<HostTensor, RunError>;
}

/// Why a graph runs op by op.
pub enum Unplanned {
    /// The backend always runs op by op.
    OpByOp,
    /// The backend cannot run this graph as a whole: which op prevents it, and why.
    #[cfg_attr(not(feature = "cuda"), expect(dead_code, reason = "the processor runs no graph as a whole"))]
    Unsupported(String),
    /// Loading the graph as a whole failed.
    Failed(RunError),
}

impl From<RunError> for Unplanned {
    fn from(error: RunError) -> Self {
        Self::Failed(error)
    }
}
