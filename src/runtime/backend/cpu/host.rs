//! This machine's processor.

use super::limits;
use crate::DeviceError;
use crate::RunError;
use crate::backend::{Backend, BackendFacts, DeviceInfo, Form, FreeMemory, Loading, Meter, Oracle};
use crate::execute::Execute;
use crate::executor::Executor;
use burn_flex::Flex;
use reflux_ir::DType;

/// The processor.
pub struct Host;

static FACTS: BackendFacts = BackendFacts {
    name: "cpu",
    aliases: &[],
    library: "burn-flex",
    dtype: DType::F32,
    reads_panels: true,
    // These networks do not run for long.
    optimizes_once: false,
    plans_memory: false,
    is_host: true,
    keeps_bits: true,
    machines: &["cpu"],
    proofs: &[(Form::Fused, DType::F32), (Form::Fused, DType::BF16)],
    // Sums in another order.
    f32_tolerance: 1e-5,
    oracle_of_codes: Oracle::AsWritten,
};

impl Backend for Host {
    fn facts(&self) -> &'static BackendFacts {
        &FACTS
    }

    fn probe(&self, _ordinal: usize) -> Result<DeviceInfo, DeviceError> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        system.refresh_cpu_list(sysinfo::CpuRefreshKind::nothing());
        let brand = system.cpus().first().map_or("unknown", |cpu| cpu.brand().trim());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(DeviceInfo {
            device: FACTS.name,
            name: format!("{brand}, {}", reflux_ir::pass::counted(threads, "thread")),
            memory: system.total_memory(),
            compute_capability: None,
            processors: None,
            driver_version: None,
        })
    }

    fn load(&self, loading: Loading) -> Result<Box<dyn Execute>, RunError> {
        Ok(Box::new(Executor::<Flex>::new(loading)?))
    }

    /// The memory that the machine and the limits of this process leave.
    fn free_memory(&self, _ordinal: usize) -> Option<FreeMemory> {
        let mut system = sysinfo::System::new();
        system.refresh_memory();
        let available = Some(system.available_memory()).filter(|&bytes| bytes > 0);
        let machine = available.map(|bytes| FreeMemory { bytes, limit: None });
        machine.into_iter().chain(limits::room()).min_by_key(|free| free.bytes)
    }

    fn meter(&self, _ordinal: usize) -> Box<dyn Meter> {
        Box::new(Process)
    }
}

/// The memory of this process, which Linux tracks.
struct Process;

impl Meter for Process {
    /// The peak resident set, `VmHWM`.
    fn taken(&self) -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(kibibytes * 1024)
    }
}
