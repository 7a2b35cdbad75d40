//! NVIDIA GPUs.

use super::driver::{self, FreeMeter};
use super::plan::{ForeignOp, LaunchPlan, plan};
use super::room::WORKSPACE;
use super::{Gpu, nccl, transfer};
use crate::DeviceError;
use crate::RunError;
use crate::backend::{
    Backend, BackendFacts, DeviceInfo, Form, FreeMemory, LinkInfo, Loading, Meter, Oracle, PlannedMemory,
};
use crate::execute::Execute;
use crate::liveness::{Liveness, scratch_bytes};
use burn_cuda::CudaDevice;
use reflux_ir::{DType, Graph};

/// NVIDIA GPUs.
pub struct Nvidia;

static FACTS: BackendFacts = BackendFacts {
    name: driver::NAME,
    aliases: &["gpu"],
    library: "burn-cuda",
    dtype: DType::BF16,
    reads_panels: false,
    optimizes_once: true,
    plans_memory: true,
    is_host: false,
    keeps_bits: false,
    machines: &["h100", "l40s"],
    proofs: &[
        (Form::Fused, DType::BF16),
        (Form::Written, DType::BF16),
        (Form::Fused, DType::F32),
        (Form::Written, DType::F32),
    ],
    // burn multiplies f32 as TF32, which has 10 bits behind the point.
    f32_tolerance: 1e-3,
    oracle_of_codes: Oracle::AsRun,
};

impl Backend for Nvidia {
    fn facts(&self) -> &'static BackendFacts {
        &FACTS
    }

    fn probe(&self, ordinal: usize) -> Result<DeviceInfo, DeviceError> {
        driver::probe(ordinal)
    }

    fn count(&self) -> usize {
        driver::count()
    }

    fn link(&self) -> Option<Result<LinkInfo, DeviceError>> {
        let unreached = driver::unreached();
        (self.count() > 1).then(|| {
            nccl::version().map(|version| LinkInfo { library: format!("NCCL {version}"), unreached })
        })
    }

    #[cfg(not(test))]
    fn load(&self, loading: Loading) -> Result<Box<dyn Execute>, RunError> {
        Ok(Box::new(crate::executor::Executor::<burn_cuda::Cuda>::new(loading)?))
    }

    /// The tests inside this crate run nothing on a GPU. Without burn's kernels they are built in a fraction of the time.
    #[cfg(test)]
    fn load(&self, _: Loading) -> Result<Box<dyn Execute>, RunError> {
        unimplemented!("tests that run programs on a GPU are outside of this crate")
    }

    fn free_memory(&self, ordinal: usize) -> Option<FreeMemory> {
        let free = self.probe(ordinal).ok().and_then(|_| driver::free_bytes(ordinal));
        free.map(|bytes| FreeMemory { bytes, limit: None })
    }

    fn release_unused(&self, ordinal: usize) {
        transfer::release_unused(&CudaDevice::new(ordinal));
    }

    fn meter(&self, ordinal: usize) -> Box<dyn Meter> {
        Box::new(FreeMeter::start(self.probe(ordinal).is_ok().then_some(ordinal)))
    }

    fn planned_memory(&self, graph: &Graph) -> Option<PlannedMemory> {
        let info = self.probe(0).ok()?;
        // A graph that is larger than the device is not planned: its sizes may be absurd.
        if Liveness::new(graph).peak_bytes > info.memory {
            return None;
        }
        let plan = plan(graph, Gpu::of(&info));
        let results = graph.outputs().iter().map(|output| graph[output.value].fact.bytes());
        Some(PlannedMemory {
            inside: plan.arena as u64 + WORKSPACE as u64 + crossing(graph, &plan),
            // The results of each graph alternate between two buffers.
            results: 2 * results.sum::<u64>(),
            is_complete: plan.foreign().next().is_none(),
        })
    }
}

/// The most bytes that burn takes for one of the ops that the engine leaves to it: copies of its operands, and its result.
fn crossing(graph: &Graph, plan: &LaunchPlan) -> u64 {
    let taken = |op: &ForeignOp| {
        let operands = graph.operands(op.value).into_iter().zip(&op.operands);
        let copied = operands.filter(|(_, edge)| edge.is_some()).map(|(id, _)| graph[id].fact.bytes());
        let made = [graph[op.value].fact.bytes(), scratch_bytes(&graph[op.value].op, graph, op.value)];
        copied.chain(made).fold(0, u64::saturating_add)
    };
    plan.foreign().map(taken).max().unwrap_or(0)
}
