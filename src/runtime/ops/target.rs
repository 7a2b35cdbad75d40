//! What differs between the backends that programs run on.

use super::matrix;
use super::quantized::{self, Factor};
use crate::RunError;
use crate::value::Value;
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn_cuda::Cuda;
use reflux_ir::op::Op;
use reflux_ir::{Fact, Graph, Name, ValueId};
use std::collections::HashMap;
use std::time::Duration;

/// A burn backend that programs run on. The defaults are compositions of burn's own ops and hold everywhere; a backend
/// overrides what it has better means for.
pub trait Target: Backend {
    /// A way to run all of `graph`, whose weights are `weights`, faster than op by op.
    fn runner(
        graph: &Graph,
        weights: HashMap<ValueId, Value<Self>>,
        device: &Self::Device,
    ) -> Result<Box<dyn GraphRunner<Self>>, Unplanned> {
        let _ = (graph, weights, device);
        Err(Unplanned::OpByOp)
    }

    /// `value` as it is best kept for being read at every step.
    fn kept(value: Value<Self>) -> Value<Self> {
        value
    }

    /// Runs `op` over operands of the types `inputs` by other means than burn's ops; its result is of type `fact`. The
    /// operands back, if there are none for it or for them.
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

/// A result of a graph.
pub type Made<B> = (Name, Fact, Value<B>);

/// Is told of each op, by its value's name, how long it took.
pub type Observer<'o> = &'o mut dyn FnMut(&str, Duration);

/// A graph that runs as a whole.
pub trait GraphRunner<B: Backend> {
    /// Runs the graph over its inputs by name. With `observe`, waits for each op and tells how long it took.
    fn run(
        &self,
        inputs: &HashMap<Name, Value<B>>,
        observe: Option<Observer>,
    ) -> Result<Vec<Made<B>>, RunError>;
}

/// Why a graph runs op by op.
pub enum Unplanned {
    /// The backend has nothing else.
    OpByOp,
    /// It has, but not for this graph: which op, and what it lacks.
    Unsupported(String),
    /// It has, and it does not work.
    Failed(RunError),
}

impl From<RunError> for Unplanned {
    fn from(error: RunError) -> Self {
        Self::Failed(error)
    }
}

impl Target for Cuda {
    /// In one piece, as kernels of our own read it.
    fn kept(value: Value<Self>) -> Value<Self> {
        crate::cuda::in_one_piece(value)
    }

    fn runner(
        graph: &Graph,
        weights: HashMap<ValueId, Value<Self>>,
        device: &Self::Device,
    ) -> Result<Box<dyn GraphRunner<Self>>, Unplanned> {
        crate::cuda::runner(graph, weights, device)
    }
}
