//! The engine: compiles a plan's kernels, launches them, and records them as one CUDA graph.

use super::autotune::{self, Autotuner};
use super::cublaslt::{CublasLt, Ready};
use super::launch::Launcher;
use super::matmul::MatmulLaunch;
use super::plan::{ForeignOp, Launch, LaunchPlan, Owner, Piece};
use super::room::Room;
use super::source::Kernel;
use super::{Compiler, Gpu, failed};
use crate::RunError;
use crate::backend::Observer;
use cudarc::driver::sys::{
    CUevent_flags, CUfunction_attribute, CUgraphInstantiate_flags, CUstreamCaptureMode,
};
use cudarc::driver::{CudaContext, CudaFunction, CudaGraph, DriverError, result};
use reflux_ir::{Name, ValueId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;

/// A plan ready to run on the first device.
pub struct Engine {
    plan: LaunchPlan,
    room: Rc<Room>,
    blas: CublasLt,
    /// One for each of the plan's launches.
    prepared: Vec<Prepared>,
    choices: Autotuner,
    /// Whether the fastest kernel of each launch is known.
    is_chosen: Cell<bool>,
    /// Whether everything was launched once. The first exchanges connect devices, which cannot be recorded.
    is_connected: Cell<bool>,
    /// The launches between foreign ops, and before and after them.
    regions: Vec<Range<usize>>,
    /// The recorded launches of each region, by the addresses of the plan's buffers; the most recently used are last.
    recorded: RefCell<Vec<(Bases, Vec<CudaGraph>)>>,
}

/// How many recordings are kept: inputs, carried values and results alternate between a few addresses, each by itself.
const RECORDINGS: usize = 16;

enum Prepared {
    /// One for each of the launch's kernels, and the index of the one that is launched.
    Kernels(Vec<Launcher>, Cell<usize>),
    Matmul(Ready),
    /// What needs nothing to be prepared.
    Ready,
    /// Computed outside of the engine.
    Foreign,
}

/// The addresses that a plan's buffers may have.
///
/// # Safety
/// Each is that of device memory of at least as many bytes as the buffer has, which stays allocated and is not accessed otherwise until
/// the engine has been waited for.
pub unsafe trait Addresses {
    /// The address of an input or weight, or of its scales or zero points, for the buffer with this index.
    fn given(&self, buffer: usize, value: ValueId, piece: Piece) -> Result<u64, RunError>;
    /// The address of the graph's result with this index.
    fn output(&self, index: usize) -> Result<u64, RunError>;
    /// Computes an op that the engine has no kernel for, reading and writing the buffers at `bases`. The engine has done
    /// everything before it, and is idle meanwhile.
    fn compute(&self, op: &ForeignOp, bases: &[u64]) -> Result<(), RunError>;
}

/// The address of each buffer of a plan, all of which [`Addresses`] guarantees.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Bases(Vec<u64>);

/// Why there is no engine for a plan.
pub enum Refused {
    /// cuBLASLt cannot compute the product with this name, and why.
    Product(Name, String),
    Failed(RunError),
}

impl From<RunError> for Refused {
    fn from(error: RunError) -> Self {
        Self::Failed(error)
    }
}

impl Engine {
    /// Compiles the kernels of `plan`, in parallel.
    ///
    /// # Errors
    /// Also if cuBLASLt has no way to compute a product of the plan.
    pub fn new(mut plan: LaunchPlan, gpu: Gpu, room: Rc<Room>) -> Result<Self, Refused> {
        let choices =
            Autotuner::of(room.context.name().map_err(|error| failed("the name of the device", error))?);
        choices.recall(&mut plan);
        let blas = CublasLt::new(room.clone()).map_err(|error| failed("cuBLASLt", error))?;
        // Products first: if one is refused, nothing has been compiled in vain.
        let products = plan.launches.iter().filter_map(|launch| match launch {
            Launch::Matmul { value, matmul } => Some((value, matmul)),
            _ => None,
        });
        let products = products.map(|(value, matmul)| {
            let why = |error| Refused::Product(value.clone(), format!("cuBLASLt refuses it: {error:?}"));
            blas.prepare(matmul).map_err(why)
        });
        let mut products = products.collect::<Result<Vec<_>, _>>()?.into_iter();
        let start = std::time::Instant::now();
        let functions = compile_all(&plan, &room.context, &Compiler::new(gpu.capability))?;
        tracing::debug!("{} kernels ready after {:?}", functions.len(), start.elapsed());
        let launcher = |kernel: &Kernel| Launcher {
            function: functions[&kernel.text].clone(),
            starts_early: gpu.capability >= (9, 0),
        };
        let prepared = plan.launches.iter().map(|launch| match launch {
            Launch::Kernel { kernels, .. } => {
                Prepared::Kernels(kernels.iter().map(launcher).collect(), Cell::new(0))
            }
            Launch::Matmul { .. } => Prepared::Matmul(products.next().expect("there is one for each")),
            Launch::Exchange { .. } | Launch::Zero { .. } => Prepared::Ready,
            Launch::Foreign(_) => Prepared::Foreign,
        });
        let prepared = prepared.collect();
        room.need(plan.arena);
        let is_chosen = Cell::new(false);
        let regions = regions(&plan.launches);
        let is_connected =
            Cell::new(!plan.launches.iter().any(|launch| matches!(launch, Launch::Exchange { .. })));
        let recorded = RefCell::default();
        Ok(Self { plan, room, blas, prepared, choices, is_chosen, is_connected, regions, recorded })
    }

    /// The plan that it runs.
    pub fn plan(&self) -> &LaunchPlan {
        &self.plan
    }

    /// The memory that it works in.
    pub fn room(&self) -> &Rc<Room> {
        &self.room
    }

    /// Copies host memory to addresses on the device, before anything that is run later.
    ///
    /// # Safety
    /// Each address must be that of device memory of as many bytes, which stays allocated until the engine has been waited for.
    pub unsafe fn upload(&self, parts: &[(&[u8], u64)]) -> Result<(), RunError> {
        // SAFETY: as the caller vouches.
        let uploaded = unsafe { self.room.upload(parts) };
        uploaded.map_err(|error| failed("the upload of inputs", error))
    }

    /// Waits for the last run, and copies this many bytes at an address that it wrote to the host.
    ///
    /// # Safety
    /// At the address is device memory of as many bytes.
    pub unsafe fn download(&self, from: u64, bytes: usize) -> Result<Vec<u8>, RunError> {
        // SAFETY: as the caller vouches.
        let downloaded = unsafe { self.room.download(from, bytes) };
        downloaded.map_err(|error| failed("a step and its result", error))
    }

    /// Copies `bytes` bytes of device memory, before anything that is run later.
    ///
    /// # Safety
    /// At both addresses is device memory of as many bytes, which stays until the engine has been waited for.
    pub unsafe fn copy(&self, from: u64, to: u64, bytes: usize) -> Result<(), RunError> {
        self.room.context.bind_to_thread().map_err(|error| failed("the CUDA context", error))?;
        // SAFETY: as the caller vouches.
        let copied = unsafe { result::memcpy_dtod_async(to, from, bytes, self.room.stream.cu_stream()) };
        copied.map_err(|error| failed("a copy of an input", error))
    }

    /// Enqueues the plan over memory at `addresses`. With `observe`, waits after each launch and reports its time.
    pub fn run(&self, addresses: &dyn Addresses, observe: Option<Observer>) -> Result<(), RunError> {
        self.room.context.bind_to_thread().map_err(|error| failed("the CUDA context", error))?;
        let arena = self.room.arena()?;
        let bases = self.plan.buffers.iter().enumerate().map(|(index, buffer)| match buffer.place {
            Owner::Arena(start) => Ok(arena + start as u64),
            Owner::Given { value, piece } => addresses.given(index, value, piece),
            Owner::Output(index) => addresses.output(index),
            Owner::Signals => Ok(self.room.signals()),
        });
        let bases = Bases(bases.collect::<Result<_, _>>()?);
        if !self.is_chosen.get() {
            self.choose(&bases)?;
            self.is_chosen.set(true);
        }
        if !self.is_connected.replace(true) {
            self.observed(addresses, &bases, &mut |_, _| ())?;
        }
        match observe {
            Some(observe) => self.observed(addresses, &bases, observe),
            None => self.replay(addresses, bases),
        }
    }

    /// Waits until everything enqueued is done.
    pub fn wait(&self) -> Result<(), RunError> {
        self.room.stream.synchronize().map_err(|error| failed("the step on the GPU", error))
    }

    /// Finds the fastest of several kernels by launching them on the plan's buffers. This happens before the plan runs, which
    /// then overwrites everything that they wrote.
    fn choose(&self, bases: &Bases) -> Result<(), RunError> {
        let mut known: HashMap<&str, usize> = HashMap::new();
        for (launch, prepared) in self.plan.launches.iter().zip(&self.prepared) {
            let (Launch::Kernel { value, kernels }, Prepared::Kernels(launchers, chosen)) =
                (launch, prepared)
            else {
                continue;
            };
            if kernels.len() < 2 {
                continue;
            }
            let fastest = match known.get(&*kernels[0].text) {
                Some(&fastest) => fastest,
                None => {
                    let times = self
                        .times(kernels, launchers, bases)
                        .map_err(|error| failed(&format!("%{value}"), error))?;
                    let fastest = autotune::fastest(&times);
                    tracing::debug!("%{value}: kernel {fastest} of those that take {times:?} ms");
                    self.choices.keep(kernels, fastest);
                    known.insert(&kernels[0].text, fastest);
                    fastest
                }
            };
            chosen.set(fastest);
        }
        Ok(())
    }

    /// The shortest time of a launch of each kernel, in ms. Measurements are interleaved, since the device's clock changes.
    fn times(
        &self,
        kernels: &[Kernel],
        launchers: &[Launcher],
        bases: &Bases,
    ) -> Result<Vec<f32>, DriverError> {
        const ROUNDS: usize = 3;
        let mut least = vec![f32::INFINITY; kernels.len()];
        for _ in 0..ROUNDS {
            for ((least, kernel), launcher) in least.iter_mut().zip(kernels).zip(launchers) {
                *least = least.min(self.milliseconds(kernel, launcher, bases)?);
            }
        }
        Ok(least)
    }

    /// The time of a launch, after the kernel has run once.
    fn milliseconds(&self, kernel: &Kernel, launcher: &Launcher, bases: &Bases) -> Result<f32, DriverError> {
        const LAUNCHES: usize = 2;
        let now = || self.room.stream.record_event(Some(CUevent_flags::CU_EVENT_DEFAULT));
        self.launch_kernel(kernel, launcher, bases)?;
        let start = now()?;
        for _ in 0..LAUNCHES {
            self.launch_kernel(kernel, launcher, bases)?;
        }
        Ok(start.elapsed_ms(&now()?)? / LAUNCHES as f32)
    }

    fn launch_kernel(&self, kernel: &Kernel, launcher: &Launcher, bases: &Bases) -> Result<(), DriverError> {
        let maps = kernel.maps.iter().map(|map| map.encode(map.pointer.address(&bases.0)));
        let maps = maps.collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<u64> = kernel.pointers.iter().map(|pointer| pointer.address(&bases.0)).collect();
        // SAFETY: launchers are prepared in the order of the kernels, and bases are made by `run` alone, of addresses that
        // `Addresses` vouches for.
        unsafe { launcher.launch(kernel, &maps, &pointers, &self.room.stream) }
    }

    /// Enqueues each region as one graph, which is recorded when these addresses are first used, and computes the foreign
    /// ops in between.
    fn replay(&self, addresses: &dyn Addresses, bases: Bases) -> Result<(), RunError> {
        let mut recorded = self.recorded.borrow_mut();
        let known = recorded.iter().position(|(known, _)| *known == bases);
        let (bases, graphs) = match known {
            Some(index) => recorded.remove(index),
            None => {
                let graphs = self.regions.iter().map(|region| self.record(&bases, region.clone()));
                let graphs = graphs.collect::<Result<_, _>>()?;
                (bases, graphs)
            }
        };
        if recorded.len() == RECORDINGS {
            // It may be under way.
            self.wait()?;
            recorded.remove(0);
        }
        let outcome = self.play(addresses, &bases, &graphs);
        recorded.push((bases, graphs));
        outcome
    }

    /// Launches the recorded regions, and computes the foreign ops in between.
    fn play(&self, addresses: &dyn Addresses, bases: &Bases, graphs: &[CudaGraph]) -> Result<(), RunError> {
        let mut done = 0;
        for (region, graph) in self.regions.iter().zip(graphs) {
            self.compute(addresses, bases, done..region.start)?;
            graph.launch().map_err(|error| failed("a recorded step", error))?;
            done = region.end;
        }
        self.compute(addresses, bases, done..self.plan.launches.len())
    }

    /// Computes the launches of `range`, which are foreign.
    fn compute(&self, addresses: &dyn Addresses, bases: &Bases, range: Range<usize>) -> Result<(), RunError> {
        for launch in &self.plan.launches[range] {
            let Launch::Foreign(foreign) = launch else { unreachable!("regions have all others") };
            self.wait()?;
            addresses.compute(foreign, &bases.0)?;
        }
        Ok(())
    }

    fn record(&self, bases: &Bases, region: Range<usize>) -> Result<CudaGraph, RunError> {
        let what = "the recording of a step";
        let mode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        self.room.stream.begin_capture(mode).map_err(|error| failed(what, error))?;
        let launched = region.clone().try_for_each(|launch| self.launch(bases, launch));
        let graph = self.room.stream.end_capture(CUgraphInstantiate_flags(0));
        launched?;
        let graph = graph.map_err(|error| failed(what, error))?;
        graph.ok_or_else(|| failed(what, "it is empty"))
    }

    /// Runs one launch after the other, waiting for each.
    fn observed(&self, addresses: &dyn Addresses, bases: &Bases, observe: Observer) -> Result<(), RunError> {
        for (index, launch) in self.plan.launches.iter().enumerate() {
            let start = std::time::Instant::now();
            let value = launch.value();
            match launch {
                Launch::Foreign(_) => self.compute(addresses, bases, index..index + 1)?,
                _ => self.launch(bases, index)?,
            }
            self.room.stream.synchronize().map_err(|error| failed(&format!("%{value}"), error))?;
            observe(value, start.elapsed());
        }
        Ok(())
    }

    /// Enqueues the launch with this index.
    fn launch(&self, bases: &Bases, index: usize) -> Result<(), RunError> {
        let launch = &self.plan.launches[index];
        let value = launch.value();
        match (launch, &self.prepared[index]) {
            (Launch::Kernel { kernels, .. }, Prepared::Kernels(launchers, chosen)) => {
                let chosen = chosen.get();
                let launched = self.launch_kernel(&kernels[chosen], &launchers[chosen], bases);
                launched.map_err(|error| failed(&format!("%{value}"), error))
            }
            (Launch::Matmul { matmul, .. }, Prepared::Matmul(ready)) => {
                let MatmulLaunch { x, weight, y, bias, .. } = matmul;
                let places = [x, weight, y].map(|pointer| pointer.address(&bases.0));
                let bias = bias.map(|bias| bias.address(&bases.0));
                // SAFETY: products are prepared in the order of the launches; `Addresses` vouches for the bases, as for kernels.
                let outcome = unsafe { self.blas.run(ready, places, bias, self.room.stream.cu_stream()) };
                outcome.map_err(|error| failed(&format!("%{value}"), error))
            }
            (Launch::Exchange { exchange, .. }, _) => {
                let link =
                    self.room.link.as_ref().expect("a program for several devices is loaded with a link");
                // SAFETY: transfers are within buffers of the plan, as the kernels' are.
                unsafe { link.exchange(exchange, &bases.0, &self.room.stream) }
            }
            (Launch::Zero { at, bytes, .. }, _) => {
                // SAFETY: within a buffer of the plan.
                let zeroed = unsafe {
                    result::memset_d8_async(at.address(&bases.0), 0, *bytes, self.room.stream.cu_stream())
                };
                zeroed.map_err(|error| failed(&format!("%{value}"), error))
            }
            _ => unreachable!("prepared in the order of the launches"),
        }
    }
}

impl Drop for Engine {
    /// Recordings go first: a link waits for all that its exchanges are recorded in.
    fn drop(&mut self) {
        self.recorded.get_mut().clear();
    }
}

/// The maximal ranges of launches that are not foreign.
fn regions(launches: &[Launch]) -> Vec<Range<usize>> {
    let is_foreign = |launch: &Launch| matches!(launch, Launch::Foreign(_));
    let mut start = 0;
    let runs = launches.split(is_foreign).map(|run| {
        let region = start..start + run.len();
        start = region.end + 1;
        region
    });
    runs.filter(|region| !region.is_empty()).collect()
}

/// Compiles all kernels; their functions by text.
fn compile_all(
    plan: &LaunchPlan,
    context: &Arc<CudaContext>,
    compiler: &Compiler,
) -> Result<HashMap<String, CudaFunction>, RunError> {
    use rayon::prelude::*;
    let mut kernels: HashMap<&str, &Kernel> = HashMap::new();
    for launch in &plan.launches {
        if let Launch::Kernel { kernels: choices, .. } = launch {
            kernels.extend(choices.iter().map(|kernel| (&*kernel.text, kernel)));
        }
    }
    let kernels: Vec<&Kernel> = kernels.into_values().collect();
    let compiled: Vec<_> =
        kernels.par_iter().map(|kernel| compiler.compile(&kernel.name, &kernel.text)).collect();
    let mut functions = HashMap::with_capacity(kernels.len());
    for (kernel, cubin) in kernels.into_iter().zip(compiled) {
        let cubin = cubin.map_err(|error| failed(&kernel.name, error))?;
        let module = context.load_module(cudarc::nvrtc::Ptx::from_binary(cubin));
        let function = module.and_then(|module| module.load_function(&kernel.name));
        let function = function.map_err(|error| failed(&kernel.name, error))?;
        if kernel.shared > 48 << 10 {
            let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let outcome = function.set_attribute(attribute, kernel.shared as i32);
            outcome.map_err(|error| failed(&kernel.name, error))?;
        }
        functions.insert(kernel.text.clone(), function);
    }
    Ok(functions)
}
