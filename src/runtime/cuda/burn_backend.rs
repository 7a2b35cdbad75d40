//! The engine over burn's memory.

use super::burn_memory::{address, address_of, empty, in_one_piece, lost, persistent, settled, upload_flat};
use super::room::Room;
use super::{Addresses, Engine, Gpu, plan};
use crate::RunError;
use crate::ops::{GraphRunner, Kept, Made, Observer, Unplanned, relative_buckets};
use crate::value::{Value, burn_dtype};
use burn::tensor::ops::{FloatTensor, FloatTensorOps};
use burn_cuda::{Cuda, CudaDevice};
use reflux_ir::op::Op;
use reflux_ir::{Graph, HostTensor, Name, ValueId};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;

/// A graph on the engine, its weights on burn's device.
struct OnBurn {
    engine: Engine,
    graph: Graph,
    /// Alive as long as the engine reads them.
    _weights: HashMap<ValueId, Value<Cuda>>,
    /// Those of the weights, which stay where they are, and of the scales of their codes.
    addresses: HashMap<(ValueId, bool), u64>,
    /// Where inputs are.
    inputs: RefCell<HashMap<(ValueId, bool), Placed>>,
    /// Where results are made by turns: what carries one over to the next step is done with it when its turn comes again.
    results: RefCell<VecDeque<Results>>,
    device: CudaDevice,
}

/// Plans `graph` for an engine in `room`; `weights` are its weights.
pub fn runner(
    graph: &Graph,
    weights: HashMap<ValueId, Value<Cuda>>,
    device: &CudaDevice,
    room: Rc<Room>,
) -> Result<Box<dyn GraphRunner<Cuda>>, Unplanned> {
    let gpu = Gpu::probe().ok_or_else(|| Unplanned::Unsupported("the GPU is gone".into()))?;
    if gpu.capability < (8, 0) {
        return Err(Unplanned::Unsupported("the GPU is older than sm_80".into()));
    }
    let plan = plan(graph, gpu).map_err(|why| Unplanned::Unsupported(why.to_string()))?;
    let mut weights = weights;
    for id in &plan.channels_last {
        let weight = weights.remove(id).expect("it is a weight of the graph").float(device);
        let channels_last = |weight| in_one_piece(Value::Float(<Cuda>::float_permute(weight, &[0, 2, 3, 1])));
        weights.insert(*id, persistent(device, weight, channels_last));
    }
    let engine = Engine::new(plan, gpu, room)?;
    for id in graph.ids() {
        if let Op::RelativeBuckets(op) = &graph[id].op {
            weights.insert(id, upload_flat(relative_buckets(op), device));
        }
    }
    let held = weights.iter().filter(|(id, _)| !matches!(graph[**id].op, Op::Constant(_)));
    let addresses = held.flat_map(|(&id, value)| {
        let parts = if matches!(value, Value::Quantized(_)) { &[false, true][..] } else { &[false] };
        parts.iter().map(move |&scales| Ok(((id, scales), address_of(value, scales)?)))
    });
    let addresses = addresses.collect::<Result<_, _>>().map_err(Unplanned::Failed)?;
    Ok(Box::new(OnBurn {
        engine,
        graph: graph.clone(),
        _weights: weights,
        addresses,
        inputs: RefCell::default(),
        results: RefCell::default(),
        device: device.clone(),
    }))
}

/// Where an input was when it was last read.
struct Placed {
    /// Of the value.
    version: u64,
    address: u64,
    /// The engine's own copy, which is always in the same place, if that is where it is read.
    copy: Option<FloatTensor<Cuda>>,
}

/// What has to be done for inputs to be where they are read.
#[derive(Default)]
struct Changes<'a> {
    /// Whether some are there, or may be written over, only once burn is done.
    waits: bool,
    /// Bytes that are to be at an address.
    uploads: Vec<(&'a [u8], u64)>,
    /// From one address to another, so many bytes.
    copies: Vec<(u64, u64, usize)>,
}

/// Inputs of no more bytes are copied to where the engine has its own: it records steps by the addresses of all that they read,
/// and burn has such inputs somewhere else at every step.
const COPIED: usize = 1 << 20;

/// Places of a graph's results, and their addresses.
type Results = Vec<(Value<Cuda>, u64)>;

struct Places<'a> {
    weights: &'a HashMap<(ValueId, bool), u64>,
    inputs: &'a HashMap<(ValueId, bool), Placed>,
    outputs: &'a Results,
}

impl Addresses for Places<'_> {
    fn given(&self, value: ValueId, scales: bool) -> Result<u64, RunError> {
        let weight = self.weights.get(&(value, scales)).copied();
        let input = || self.inputs.get(&(value, scales)).map(|placed| placed.address);
        weight.or_else(input).ok_or_else(|| lost("a value"))
    }

    fn output(&self, index: usize) -> Result<u64, RunError> {
        Ok(self.outputs[index].1)
    }
}

impl OnBurn {
    /// Sees to it that it is known where `kept` is, the graph's input `id`: adds to `changes` what makes that true.
    fn place<'k>(
        &self,
        id: ValueId,
        kept: &'k Kept<Cuda>,
        changes: &mut Changes<'k>,
    ) -> Result<(), RunError> {
        let mut inputs = self.inputs.borrow_mut();
        let fact = &self.graph[id].fact;
        let bytes = fact.bytes() as usize;
        for scales in [false, true] {
            if scales && !fact.is_quantized() {
                continue;
            }
            let placed = inputs.get(&(id, scales));
            if placed.is_some_and(|placed| placed.version == kept.version) {
                continue;
            }
            if let (Some(host), Some(Placed { copy: Some(_), address, .. })) = (&kept.host, placed) {
                changes.uploads.push((&host.bytes, *address));
                let placed = inputs.get_mut(&(id, scales)).expect("just found");
                placed.version = kept.version;
                continue;
            }
            let from = address_of(kept.value(&self.device), scales)?;
            changes.waits |= !kept.is_made;
            let placed = match inputs.remove(&(id, scales)) {
                _ if fact.is_quantized() || bytes > COPIED => {
                    Placed { version: kept.version, address: from, copy: None }
                }
                Some(placed) => Placed { version: kept.version, ..placed },
                None => {
                    changes.waits = true;
                    let copy = empty(&fact.shape, burn_dtype(fact.dtype), &self.device);
                    Placed { version: kept.version, address: address(&copy)?, copy: Some(copy) }
                }
            };
            if placed.copy.is_some() {
                changes.copies.push((from, placed.address, bytes));
            }
            inputs.insert((id, scales), placed);
        }
        Ok(())
    }

    /// Has the device do what `changes` ask for, before what is run next.
    fn make(&self, changes: &Changes) -> Result<(), RunError> {
        if changes.waits {
            settled(&self.device, "before a step")?;
        }
        self.engine.upload(&changes.uploads)?;
        changes.copies.iter().try_for_each(|&(from, to, bytes)| self.engine.copy(from, to, bytes))
    }

    /// New places for the results.
    fn room(&self) -> Result<Results, RunError> {
        let empty = |value: ValueId| {
            let fact = &self.graph[value].fact;
            let dtype = burn_dtype(fact.dtype);
            let tensor = empty(&fact.shape, dtype, &self.device);
            let address = address(&tensor)?;
            Ok((if dtype.is_float() { Value::Float(tensor) } else { Value::Int(tensor) }, address))
        };
        self.graph.outputs().iter().map(|output| empty(output.value)).collect()
    }
}

impl GraphRunner<Cuda> for OnBurn {
    fn run(
        &self,
        inputs: &HashMap<Name, Kept<Cuda>>,
        observe: Option<Observer>,
    ) -> Result<Vec<Made<Cuda>>, RunError> {
        let mut results = self.results.borrow_mut();
        let mut changes = Changes::default();
        let outputs = match results.pop_front() {
            Some(outputs) if results.len() == 1 => outputs,
            only => {
                results.extend(only);
                changes.waits = true;
                self.room()?
            }
        };
        for &id in self.graph.inputs() {
            let name = &self.graph[id].name;
            let kept = inputs.get(name).ok_or_else(|| RunError::MissingInput(name.clone()))?;
            self.place(id, kept, &mut changes)?;
        }
        self.make(&changes)?;
        let inputs = self.inputs.borrow();
        self.engine.run(&Places { weights: &self.addresses, inputs: &inputs, outputs: &outputs }, observe)?;
        let made = self.graph.outputs().iter().zip(&outputs).map(|(output, (value, _))| {
            (output.label.clone(), self.graph[output.value].fact.clone(), value.clone())
        });
        let made = made.collect();
        results.push_back(outputs);
        Ok(made)
    }

    fn wait(&self) -> Result<(), RunError> {
        self.engine.wait()
    }

    fn fetch(&self, index: usize) -> Result<HostTensor, RunError> {
        let results = self.results.borrow();
        let (_, address) = results.back().ok_or_else(|| lost("a result"))?[index];
        let fact = &self.graph[self.graph.outputs()[index].value].fact;
        let bytes = self.engine.download(address, fact.bytes() as usize)?;
        Ok(HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes))
    }
}
