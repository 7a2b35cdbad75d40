//! The interface of every backend.

use crate::DeviceError;
use crate::RunError;
use crate::execute::Execute;
use crate::ranks::Rank;
use reflux_ir::{DType, Graph, Program, WeightSource};
use serde::Serialize;
use std::panic::RefUnwindSafe;
use std::sync::Arc;

/// A kind of device that programs run on, and the code that runs them there.
pub(crate) trait Backend: Sync + RefUnwindSafe {
    fn facts(&self) -> &'static BackendFacts;

    /// Checks that the device with this number can be used, without starting to use it.
    fn probe(&self, ordinal: usize) -> Result<DeviceInfo, DeviceError>;

    /// How many of its devices there are.
    fn count(&self) -> usize {
        1
    }

    /// What links its devices; `None` if there are fewer than two.
    ///
    /// # Errors
    /// If they cannot exchange values; says what to install.
    fn link(&self) -> Option<Result<LinkInfo, DeviceError>> {
        None
    }

    /// Loads a verified program onto the device, which must be present.
    fn load(&self, loading: Loading) -> Result<Box<dyn Execute>, RunError>;

    /// The memory that could be allocated now, if known.
    fn free_memory(&self, ordinal: usize) -> Option<FreeMemory>;

    /// Frees device memory that is kept for later allocations.
    fn release_unused(&self, ordinal: usize) {
        let _ = ordinal;
    }

    /// Starts to measure the device's memory.
    fn meter(&self, ordinal: usize) -> Box<dyn Meter>;

    /// The memory that running `graph`, a variant, takes, if the backend plans it as a whole. `None` if it does not, or if the
    /// graph alone is larger than the device.
    fn planned_memory(&self, graph: &Graph) -> Option<PlannedMemory> {
        let _ = graph;
        None
    }
}

/// The constant properties of a backend.
#[derive(Debug)]
pub(crate) struct BackendFacts {
    /// The name that users give its device: `cuda`.
    pub name: &'static str,
    /// Other names that users may give.
    pub aliases: &'static [&'static str],
    /// The crate that it uses.
    pub library: &'static str,
    /// The default dtype for computation.
    pub dtype: DType,
    /// Whether its products read weights in panels, as the pass `pack` lays them out.
    pub reads_panels: bool,
    /// Whether passes pay off for networks that run once per picture.
    pub optimizes_once: bool,
    /// Whether the memory of a step is planned before it runs and kept between steps. If not, estimates are lower bounds.
    pub plans_memory: bool,
    /// Whether weights are in the memory of this process.
    pub is_host: bool,
    /// Whether exact passes keep every bit on this device.
    pub keeps_bits: bool,
    /// The names of the cost tables for its devices; see [`reflux_ir::Machine::NAMES`].
    pub machines: &'static [&'static str],
    /// The forms and dtypes in which its kernels are checked.
    pub proofs: &'static [(Form, DType)],
    /// How far results in f32 may be from those of the processor, as relative L2 distances: its products may round their factors.
    pub f32_tolerance: f64,
    /// What the results of programs with codes are compared with.
    pub oracle_of_codes: Oracle,
}

/// The form in which a case runs to check kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// After the default passes.
    Fused,
    /// As written, without passes.
    Written,
}

/// The program that the processor runs, op by op, as the reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oracle {
    /// The program before passes.
    AsWritten,
    /// The program that runs on the device, so that its formulas round in the same places.
    AsRun,
}

/// A program to load.
pub(crate) struct Loading<'a> {
    pub program: Program,
    pub weights: &'a dyn WeightSource,
    /// The source from which prepare stages read their weights while they run, if these do not stay on the device.
    pub streamed: Option<Arc<dyn WeightSource>>,
    /// Which of the backend's devices, from 0.
    pub ordinal: usize,
    /// Which of its devices the program is loaded onto, if it is for several.
    pub rank: Option<Rank>,
}

/// Measures how much memory is used.
pub(crate) trait Meter {
    /// The peak use in bytes, if known; see [`MemoryMeter::peak`](crate::MemoryMeter::peak).
    fn taken(&self) -> Option<u64>;
}

/// The memory of a graph that is planned as a whole, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlannedMemory {
    /// For values inside the graph. Graphs share it, since they run one after the other.
    pub inside: u64,
    /// For its results.
    pub results: u64,
    /// Whether there are kernels for all its ops.
    pub is_complete: bool,
}

/// Memory that could be allocated now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreeMemory {
    pub bytes: u64,
    /// The limit of this process that applies, if it is not the device that limits it.
    pub limit: Option<&'static str>,
}

/// What `reflux doctor` shows about the link between devices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LinkInfo {
    /// The library by which they exchange values, with its version.
    pub library: String,
    /// Pairs of devices, by their numbers, whose memory the first cannot reach: what they exchange takes a detour through the host.
    pub unreached: Vec<(usize, usize)>,
}

/// What `reflux doctor` shows about a device.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceInfo {
    /// The name that users give it.
    pub device: &'static str,
    /// Its own name.
    pub name: String,
    /// Memory in bytes.
    pub memory: u64,
    /// Compute capability of a GPU.
    pub compute_capability: Option<(u32, u32)>,
    /// Multiprocessors of a GPU.
    pub processors: Option<u32>,
    /// CUDA version that the driver supports, as 1000 · major + 10 · minor.
    pub driver_version: Option<i32>,
}
