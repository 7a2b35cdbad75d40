//! Graphs on the engine, over burn's memory.

use super::burn_memory::{address, address_of, empty, for_now, in_one_piece, lost, settled, upload_flat};
use super::engine::{Addresses, Engine, Refused};
use super::known::known;
use super::plan::plan_without;
use super::room::Room;
use super::{Crossing, ForeignOp, Gpu, Owner, Piece, driver, failed, fallback};
use crate::RunError;
use crate::backend::{GraphResult, GraphRunner, Kept, Mark, Observer, Others, Unplanned};
use crate::coded::Coded;
use crate::executor::{guarded, together};
use crate::liveness::{Instruction, Liveness};
use crate::ops::execute;
use crate::value::{Value, burn_dtype};
use burn::tensor::DType;
use burn::tensor::ops::FloatTensor;
use burn_cuda::{Cuda, CudaDevice};
use reflux_ir::op::Op;
use reflux_ir::{Graph, HostTensor, Name, ValueId};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::rc::Rc;

/// A graph on the engine, its weights on burn's device.
struct OnBurn {
    engine: Engine,
    graph: Graph,
    /// Weights, constants, and what is known from the ops alone, as the engine reads them.
    weights: HashMap<ValueId, Value<Cuda>>,
    /// The addresses of the weights, which do not move, by the plan's buffers; the others have none.
    addresses: Vec<Option<u64>>,
    /// The instructions of ops that the engine has no kernel for.
    instructions: HashMap<ValueId, Instruction>,
    /// The addresses of inputs.
    inputs: RefCell<HashMap<(ValueId, Piece), Placed>>,
    /// The buffers between which results alternate. When one is reused, what read it as a carried value has been enqueued before.
    results: RefCell<VecDeque<ResultAddresses>>,
    device: CudaDevice,
}

/// Plans `graph` for an engine in `room`; `weights` are its weights.
pub fn runner(
    graph: &Graph,
    mut weights: HashMap<ValueId, Value<Cuda>>,
    device: &CudaDevice,
    room: Rc<Room>,
    others: Others,
) -> Result<Box<dyn GraphRunner<Cuda>>, Unplanned> {
    let info = driver::probe(device.index).map_err(RunError::from)?;
    let gpu = Gpu { rank: room.rank(), ..Gpu::of(&info) };
    if gpu.capability < (8, 0) {
        let why = "the CUDA engine needs a GPU of sm_80 or later; with burn's kernels, as here, a step takes about 40 times as long";
        return Err(Unplanned::Unsupported(why.into()));
    }
    let engine = engine(graph, gpu, &room, others)?;
    let plan = engine.plan();
    let mut addresses = vec![None; plan.buffers.len()];
    for (buffer, place) in plan.buffers.iter().zip(&mut addresses) {
        let Owner::Given { value: id, piece } = buffer.place else { continue };
        if let Op::Input(_) = graph[id].op {
            continue;
        }
        // Values that depend on no input are kept with the weights.
        if let Some(tensor) = known(graph, id) {
            weights.insert(id, upload_flat(tensor, device));
        }
        let weight = weights.get(&id).ok_or_else(|| lost("a weight"))?;
        *place = Some(address_of(weight, piece)?);
    }
    let instructions = Liveness::new(graph).instructions.into_iter().filter_map(|instruction| {
        let id = graph.find(&instruction.name).expect("it makes a value of the graph");
        plan.foreign().any(|op| op.value == id).then_some((id, instruction))
    });
    let instructions = instructions.collect();
    Ok(Box::new(OnBurn {
        engine,
        graph: graph.clone(),
        weights,
        addresses,
        instructions,
        inputs: RefCell::default(),
        results: RefCell::default(),
        device: device.clone(),
    }))
}

/// An engine for `graph`, in which products that cuBLASLt refuses are left to burn.
fn engine(graph: &Graph, gpu: Gpu, room: &Rc<Room>, others: Others) -> Result<Engine, Unplanned> {
    let mut refused = BTreeMap::new();
    loop {
        let plan = plan_without(graph, gpu, &refused);
        // Before anything is compiled and memory for it is counted.
        if others == Others::OpByOp && plan.foreign().next().is_some() {
            return Err(Unplanned::OpByOp);
        }
        match Engine::new(plan, gpu, room.clone()) {
            Ok(engine) => return Ok(engine),
            Err(Refused::Failed(error)) => return Err(error.into()),
            Err(Refused::Product(value, why)) if refused.contains_key(&value) => {
                return Err(RunError::Backend { line: format!("%{value}"), message: why }.into());
            }
            Err(Refused::Product(value, why)) => drop(refused.insert(value, why)),
        }
    }
}

/// The address of an input when it was last read.
struct Placed {
    /// The version of the value.
    version: u64,
    address: u64,
    /// The engine's own copy, at a fixed address, if the engine reads that.
    copy: Option<FloatTensor<Cuda>>,
}

/// What must be done before inputs can be read.
#[derive(Default)]
struct Changes<'a> {
    /// Whether burn must be waited for, because it still writes or reads some of them.
    waits: bool,
    /// Bytes to be copied to an address.
    uploads: Vec<(&'a [u8], u64)>,
    /// Copies this many bytes from one address to another.
    copies: Vec<(u64, u64, usize)>,
}

/// Inputs of at most this many bytes are copied to a buffer of the engine: it records steps for fixed addresses, and burn
/// allocates such inputs elsewhere at every step.
const COPIED: usize = 1 << 20;

/// Buffers for a graph's results, and their addresses.
type ResultAddresses = Vec<(Value<Cuda>, u64)>;

struct Places<'a> {
    on: &'a OnBurn,
    kept: &'a HashMap<Name, Kept<Cuda>>,
    inputs: &'a HashMap<(ValueId, Piece), Placed>,
    outputs: &'a ResultAddresses,
}

// SAFETY: weights, inputs and results are tensors of the types that the plan has their buffers for, so of as many bytes; `on`, `kept`
// and `outputs` hold them while these places are borrowed, `OnBurn::run` hands results out or keeps them afterwards, and the executor holds
// inputs until what reads them has been waited for. burn is waited for before it gives their memory to others.
unsafe impl Addresses for Places<'_> {
    fn given(&self, buffer: usize, value: ValueId, piece: Piece) -> Result<u64, RunError> {
        let input = || self.inputs.get(&(value, piece)).map(|placed| placed.address);
        self.on.addresses[buffer].or_else(input).ok_or_else(|| lost("a value"))
    }

    fn output(&self, index: usize) -> Result<u64, RunError> {
        Ok(self.outputs[index].1)
    }

    fn compute(&self, op: &ForeignOp, bases: &[u64]) -> Result<(), RunError> {
        let OnBurn { engine, graph, device, .. } = self.on;
        let instruction = &self.on.instructions[&op.value];
        let operands = graph.operands(op.value).into_iter().zip(&op.operands);
        let operands: Vec<Value<Cuda>> = operands
            .map(|(id, edge)| match edge {
                Some(edge) => self.on.received(id, edge, bases),
                None => self.leaf(id),
            })
            .collect::<Result<_, _>>()?;
        engine.wait()?;
        let link = engine.room().link.as_ref().filter(|_| instruction.op.devices().is_some());
        let made = guarded(instruction, || match link {
            Some(link) => together(&link.rank, instruction, operands, device),
            None => execute(instruction, operands, device),
        });
        let made = in_one_piece(made?);
        settled(device, &op.name)?;
        for &piece in Piece::of(&instruction.fact) {
            let (to, bytes) = self.on.crossing(op.value, &op.result, piece, bases)?;
            let from = address_of(&made, piece)?;
            // SAFETY: both are pieces of values of one type; `made` lives until the engine has been waited for, below.
            unsafe { engine.copy(from, to, bytes) }?;
        }
        // `made` is freed when this returns.
        engine.wait()
    }
}

impl Places<'_> {
    /// An input, a weight or a constant, as burn's tensor.
    fn leaf(&self, id: ValueId) -> Result<Value<Cuda>, RunError> {
        if let Some(weight) = self.on.weights.get(&id) {
            return Ok(weight.clone());
        }
        let kept = self.kept.get(&self.on.graph[id].name).ok_or_else(|| lost("an input"))?;
        Ok(kept.value(&self.on.device).clone())
    }
}

impl OnBurn {
    /// The address of a piece of the value `id` that is copied between engine and burn, and its bytes.
    fn crossing(
        &self,
        id: ValueId,
        edge: &Crossing,
        piece: Piece,
        bases: &[u64],
    ) -> Result<(u64, usize), RunError> {
        let fact = &self.graph[id].fact;
        match (piece, edge.scales, fact.scales) {
            (Piece::Data, ..) => Ok((edge.data.address(bases), fact.dtype.host_bytes(fact.shape.elements()))),
            (Piece::Scales, Some(pointer), Some(scales)) => {
                let bytes = scales.grid(&fact.shape).iter().product::<usize>() * 4;
                Ok((pointer.address(bases), bytes))
            }
            _ => Err(lost("a zero point that is computed")),
        }
    }

    /// Copies the value `id` from the engine's memory to a tensor of burn, which is valid once the engine has been waited
    /// for.
    fn received(&self, id: ValueId, edge: &Crossing, bases: &[u64]) -> Result<Value<Cuda>, RunError> {
        let (fact, device) = (&self.graph[id].fact, &self.device);
        let dtype = burn_dtype(fact.dtype);
        let data = for_now(&fact.shape, dtype, device);
        let value = match fact.scales {
            Some(scales) => {
                let scales = for_now(&scales.grid(&fact.shape), DType::F32, device);
                Value::Quantized(Coded { codes: data, scales, zeros: None })
            }
            None if dtype.is_float() => Value::Float(data),
            None => Value::Int(data),
        };
        // burn may still read the previous content.
        settled(device, &self.graph[id].name)?;
        for &piece in Piece::of(fact) {
            let (from, bytes) = self.crossing(id, edge, piece, bases)?;
            let to = address_of(&value, piece)?;
            // SAFETY: both are pieces of values of one type, of which the caller waits for the new one.
            unsafe { self.engine.copy(from, to, bytes) }?;
        }
        Ok(value)
    }

    /// Finds or chooses the address of `kept`, the graph's input `id`, and adds to `changes` what must be done first.
    fn place<'k>(
        &self,
        id: ValueId,
        kept: &'k Kept<Cuda>,
        changes: &mut Changes<'k>,
    ) -> Result<(), RunError> {
        let mut inputs = self.inputs.borrow_mut();
        let fact = &self.graph[id].fact;
        let bytes = fact.bytes() as usize;
        for &piece in Piece::of(fact) {
            let placed = inputs.get(&(id, piece));
            if placed.is_some_and(|placed| placed.version == kept.version) {
                continue;
            }
            if let (Some(host), Some(Placed { copy: Some(_), address, .. })) = (&kept.host, placed) {
                changes.uploads.push((&host.bytes, *address));
                let placed = inputs.get_mut(&(id, piece)).expect("just found");
                placed.version = kept.version;
                continue;
            }
            let from = address_of(kept.value(&self.device), piece)?;
            changes.waits |= !kept.is_made;
            let placed = match inputs.remove(&(id, piece)) {
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
            inputs.insert((id, piece), placed);
        }
        Ok(())
    }

    /// Makes the device carry out `changes` before anything that is run later.
    fn make(&self, changes: &Changes) -> Result<(), RunError> {
        if changes.waits {
            settled(&self.device, "before a step")?;
        }
        // SAFETY: `place` has the addresses of tensors that are as large as the inputs that they are for. Copies are kept by `inputs`,
        // and the executor holds what is copied until the step has been waited for.
        unsafe {
            self.engine.upload(&changes.uploads)?;
            changes.copies.iter().try_for_each(|&(from, to, bytes)| self.engine.copy(from, to, bytes))
        }
    }

    /// New buffers for the results.
    fn room(&self) -> Result<ResultAddresses, RunError> {
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
        kept: &HashMap<Name, Kept<Cuda>>,
        observe: Option<Observer>,
    ) -> Result<Vec<GraphResult<Cuda>>, RunError> {
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
            let value = kept.get(name).ok_or_else(|| RunError::MissingInput(name.clone()))?;
            self.place(id, value, &mut changes)?;
        }
        self.make(&changes)?;
        let inputs = self.inputs.borrow();
        let places = Places { on: self, kept, inputs: &inputs, outputs: &outputs };
        self.engine.run(&places, observe)?;
        let made = self.graph.outputs().iter().zip(&outputs).map(|(output, (value, _))| {
            (output.label.clone(), self.graph[output.value].fact.clone(), value.clone())
        });
        let made = made.collect();
        results.push_back(outputs);
        Ok(made)
    }

    fn weight(&self, id: ValueId) -> Option<&Value<Cuda>> {
        self.weights.get(&id)
    }

    fn replace(&mut self, weights: HashMap<ValueId, Value<Cuda>>) -> Result<(), RunError> {
        // The last step may still read the old ones.
        self.engine.wait()?;
        for (id, weight) in weights {
            for (buffer, address) in self.engine.plan().buffers.iter().zip(&mut self.addresses) {
                match buffer.place {
                    Owner::Given { value, piece } if value == id => {
                        *address = Some(address_of(&weight, piece)?)
                    }
                    _ => {}
                }
            }
            self.weights.insert(id, weight);
        }
        settled(&self.device, "weights")
    }

    fn wait(&self) -> Result<(), RunError> {
        self.engine.wait()
    }

    fn mark(&self) -> Result<Mark, RunError> {
        let failure = |error| failed("a step", error);
        let wait = self.engine.room().mark().map_err(failure)?;
        Ok(Box::new(move || wait().map_err(failure)))
    }

    fn beside(&self, graph: &Graph) -> Result<Option<Box<dyn GraphRunner<Cuda>>>, RunError> {
        match runner(graph, HashMap::new(), &self.device, self.engine.room().clone(), Others::OpByOp) {
            Ok(runner) => Ok(Some(runner)),
            Err(Unplanned::Failed(error)) => Err(error),
            Err(Unplanned::OpByOp | Unplanned::Unsupported(_)) => Ok(None),
        }
    }

    fn fallback(&self) -> Option<String> {
        fallback(&self.graph, self.engine.plan())
    }

    fn fetch(&self, index: usize) -> Result<HostTensor, RunError> {
        let results = self.results.borrow();
        let (_, address) = results.back().ok_or_else(|| lost("a result"))?[index];
        let fact = &self.graph[self.graph.outputs()[index].value].fact;
        // SAFETY: results are made in tensors of the types of the graph's outputs, which `results` holds.
        let bytes = unsafe { self.engine.download(address, fact.bytes() as usize) }?;
        Ok(HostTensor::new(fact.dtype, fact.shape.to_vec(), bytes))
    }
}
