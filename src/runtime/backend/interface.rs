//! The interface of every backend.

use crate::DeviceError;
use crate::RunError;
use crate::execute::Execute;
use reflux_ir::{DType, Graph, Program, WeightSource};
use serde::Serialize;
use std::panic::RefUnwindSafe;
use std::rc::Rc;

/// A kind of device that programs run on, and the code that runs them there.
pub(crate) trait Backend: Sync + RefUnwindSafe {
    fn facts(&self) -> &'static BackendFacts;

    /// Checks that the device can be used, without starting to use it.
    fn probe(&self) -> Result<DeviceInfo, DeviceError>;

    /// Loads a verified program onto the device, which is there.
    fn load(&self, loading: Loading) -> Result<Box<dyn Execute>, RunError>;

    /// The memory that could be had now, where that is known.
    fn free_memory(&self) -> Option<FreeMemory>;

    /// Gives back the device memory that is kept for what may come.
    fn release_unused(&self) {}

    /// Starts to watch the device's memory.
    fn meter(&self) -> Box<dyn Meter>;

    /// The memory that running `graph`, a variant, takes, if the backend plans it as a whole. `None` if it does not, or if the
    /// graph alone is larger than the device.
    fn planned_memory(&self, graph: &Graph) -> Option<PlannedMemory> {
        let _ = graph;
        None
    }
}

/// What is always true of a backend.
#[derive(Debug)]
pub(crate) struct BackendFacts {
    /// As users name its device: `cuda`.
    pub name: &'static str,
    /// What else they may call it.
    pub aliases: &'static [&'static str],
    /// The crate that it is built on.
    pub library: &'static str,
    /// The default dtype for computation.
    pub dtype: DType,
    /// Whether its products read weights in panels, as the pass `pack` lays them out.
    pub reads_panels: bool,
    /// Whether passes pay off for networks that run once per picture.
    pub optimizes_once: bool,
    /// Whether the memory of a step is planned before it runs and kept between steps. If not, estimates are lower bounds.
    pub plans_memory: bool,
    /// Whether weights stay in the memory of this process.
    pub is_host: bool,
    /// Whether exact passes keep every bit on this device.
    pub keeps_bits: bool,
    /// The tables of machines that are of its devices, by name; see [`reflux_ir::Machine::NAMES`].
    pub machines: &'static [&'static str],
    /// The forms and dtypes in which its kernels are checked.
    pub proofs: &'static [(Form, DType)],
    /// What results that have codes in them are compared with.
    pub oracle_of_codes: Oracle,
}

/// In which form a case runs to prove kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the default passes leave it.
    Fused,
    /// As it is written.
    Written,
}

/// Which program the processor runs, op by op, to say what another one means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// The program before passes.
    AsWritten,
    /// The one that runs on the device, whose formulas round where they do there.
    AsRun,
}

/// A program to load.
pub(crate) struct Loading<'a> {
    pub program: Program,
    pub weights: &'a dyn WeightSource,
    /// Where prepare stages read their weights while they run, if these are not to stay on the device.
    pub streamed: Option<Rc<dyn WeightSource>>,
}

/// Looks at how much memory is taken.
pub(crate) trait Meter {
    /// In bytes, where that can be known; see [`MemoryMeter::peak`](crate::MemoryMeter::peak).
    fn taken(&self) -> Option<u64>;
}

/// What a graph that is planned as a whole takes, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMemory {
    /// Inside of it, which graphs share: they run one after the other.
    pub inside: u64,
    /// Where its results are made.
    pub results: u64,
}

/// Memory that could be had now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    pub bytes: u64,
    /// What keeps this process from taking more than that, if not the device.
    pub limit: Option<&'static str>,
}

/// What `reflux doctor` says of a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// As users name it.
    pub device: &'static str,
    /// What it calls itself.
    pub name: String,
    /// In bytes.
    pub memory: u64,
    /// Compute capability of a GPU.
    pub compute_capability: Option<(u32, u32)>,
    /// Multiprocessors of a GPU.
    pub processors: Option<u32>,
    /// CUDA version that the driver supports, as 1000 · major + 10 · minor.
    pub driver_version: Option<i32>,
}
