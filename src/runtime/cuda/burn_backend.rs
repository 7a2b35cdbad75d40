//! The engine over burn's memory.

use super::{Addresses, Engine, Gpu, failed, plan};
use crate::RunError;
use crate::coded::{Coded, Codes};
use crate::ops::{GraphRunner, Made, Observer, Unplanned};
use crate::value::{Value, burn_shape, float_dtype, int_dtype};
use burn::tensor::backend::Backend;
use burn::tensor::ops::{FloatTensor, FloatTensorOps, IntTensorOps};
use burn::tensor::{Shape, TensorMetadata};
use burn_cuda::{Cuda, CudaDevice};
use reflux_ir::op::Op;
use reflux_ir::{Graph, Name, ValueId};
use std::collections::HashMap;

/// A graph on the engine, its weights on burn's device.
struct OnBurn {
    engine: Engine,
    graph: Graph,
    /// Alive as long as the engine reads them.
    _weights: HashMap<ValueId, Value<Cuda>>,
    /// Those of the weights, which stay where they are, and of the scales of their codes.
    addresses: HashMap<(ValueId, bool), u64>,
    device: CudaDevice,
}

/// Plans `graph` for the engine; `weights` are its weights.
pub fn runner(
    graph: &Graph,
    weights: HashMap<ValueId, Value<Cuda>>,
    device: &CudaDevice,
) -> Result<Box<dyn GraphRunner<Cuda>>, Unplanned> {
    // Networks that no pass has fused are meant to run op by op.
    let is_fused = graph.ids().any(|id| matches!(graph[id].op, Op::Gemm(_) | Op::Rowwise(_)));
    if !is_fused {
        return Err(Unplanned::OpByOp);
    }
    let info = crate::Device::Cuda.probe().map_err(|error| Unplanned::Failed(error.into()))?;
    let gpu = Gpu {
        capability: info.compute_capability.unwrap_or((8, 0)),
        processors: info.processors.unwrap_or(1),
    };
    if gpu.capability < (8, 0) {
        return Err(Unplanned::Unsupported("the GPU is older than sm_80".into()));
    }
    let plan = plan(graph, gpu).map_err(|why| Unplanned::Unsupported(why.to_string()))?;
    let engine = Engine::new(plan, gpu)?;
    let held = weights.iter().filter(|(id, _)| matches!(graph[**id].op, Op::Weight(_)));
    let addresses = held.flat_map(|(&id, value)| {
        let parts = if matches!(value, Value::Quantized(_)) { &[false, true][..] } else { &[false] };
        parts.iter().map(move |&scales| Ok(((id, scales), address(value, scales)?)))
    });
    let addresses = addresses.collect::<Result<_, _>>().map_err(Unplanned::Failed)?;
    Ok(Box::new(OnBurn {
        engine,
        graph: graph.clone(),
        _weights: weights,
        addresses,
        device: device.clone(),
    }))
}

/// `value` without gaps between its rows, which burn leaves where that suits its own kernels.
pub fn in_one_piece(value: Value<Cuda>) -> Value<Cuda> {
    let float = |x| packed(x, <Cuda>::float_reshape);
    let int = |x| packed(x, <Cuda>::int_reshape);
    match value {
        Value::Float(x) => Value::Float(float(x)),
        Value::Int(x) => Value::Int(int(x)),
        Value::Quantized(coded) => Value::Quantized(Coded {
            codes: match coded.codes {
                Codes::Int(codes) => Codes::Int(int(codes)),
                Codes::Float(codes) => Codes::Float(float(codes)),
            },
            scales: float(coded.scales),
            zeros: coded.zeros.map(float),
        }),
        scalar @ Value::Scalar(..) => scalar,
    }
}

/// `x` without gaps, by way of a single axis, which has none. burn's tensors on a GPU are of one type, whatever they hold.
fn packed(
    x: FloatTensor<Cuda>,
    reshape: fn(FloatTensor<Cuda>, Shape) -> FloatTensor<Cuda>,
) -> FloatTensor<Cuda> {
    if x.is_contiguous() {
        return x;
    }
    let shape = x.shape();
    reshape(reshape(x, flat(&shape)), shape)
}

fn flat(shape: &Shape) -> Shape {
    Shape::new([shape.num_elements()])
}

/// The device address of a value, or of the scales of its codes. It holds as long as the value does.
fn address(value: &Value<Cuda>, scales: bool) -> Result<u64, RunError> {
    let tensor = match value {
        Value::Float(tensor) | Value::Int(tensor) => tensor,
        Value::Quantized(coded) if scales => &coded.scales,
        Value::Quantized(coded) => match &coded.codes {
            Codes::Int(codes) => codes,
            Codes::Float(_) => return Err(lost("codes that are held as numbers")),
        },
        Value::Scalar(..) => return Err(lost("a number")),
    };
    if !tensor.is_contiguous() {
        return Err(lost("a tensor in several pieces"));
    }
    let resource = tensor.client.get_resource(tensor.handle.clone());
    Ok(resource.map_err(|error| failed("the address of a tensor", error))?.resource().ptr)
}

fn lost(what: &str) -> RunError {
    RunError::Backend { line: "the CUDA engine".into(), message: format!("{what} has no address") }
}

struct Places<'a> {
    weights: &'a HashMap<(ValueId, bool), u64>,
    inputs: HashMap<ValueId, &'a Value<Cuda>>,
    outputs: &'a [Value<Cuda>],
}

impl Addresses for Places<'_> {
    fn given(&self, value: ValueId, scales: bool) -> Result<u64, RunError> {
        match self.weights.get(&(value, scales)) {
            Some(&address) => Ok(address),
            None => address(self.inputs.get(&value).ok_or_else(|| lost("a value"))?, scales),
        }
    }

    fn output(&self, index: usize) -> Result<u64, RunError> {
        address(&self.outputs[index], false)
    }
}

impl GraphRunner<Cuda> for OnBurn {
    fn run(
        &self,
        inputs: &HashMap<Name, Value<Cuda>>,
        observe: Option<Observer>,
    ) -> Result<Vec<Made<Cuda>>, RunError> {
        let given = self.graph.inputs().iter().map(|&id| {
            let name = &self.graph[id].name;
            Ok((id, inputs.get(name).ok_or_else(|| RunError::MissingInput(name.clone()))?))
        });
        let inputs = given.collect::<Result<_, RunError>>()?;
        // Of one axis, for burn leaves gaps between rows.
        let empty = |value: ValueId| {
            let fact = &self.graph[value].fact;
            let shape = burn_shape(&fact.shape);
            if fact.dtype.is_float() {
                let x = <Cuda>::float_empty(flat(&shape), &self.device, float_dtype(fact.dtype));
                Value::Float(<Cuda>::float_reshape(x, shape))
            } else {
                let x = <Cuda>::int_empty(flat(&shape), &self.device, int_dtype(fact.dtype));
                Value::Int(<Cuda>::int_reshape(x, shape))
            }
        };
        let outputs: Vec<Value<Cuda>> =
            self.graph.outputs().iter().map(|output| empty(output.value)).collect();
        // What burn has still to do, the engine reads.
        <Cuda as Backend>::sync(&self.device).map_err(|error| RunError::Backend {
            line: "before a step".into(),
            message: error.to_string(),
        })?;
        self.engine.run(&Places { weights: &self.addresses, inputs, outputs: &outputs }, observe)?;
        let made = self.graph.outputs().iter().zip(outputs);
        Ok(made
            .map(|(output, value)| (output.label.clone(), self.graph[output.value].fact.clone(), value))
            .collect())
    }
}
