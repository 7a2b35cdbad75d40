//! The report, as a table and as JSON.

use super::spread::Spread;
use crate::cli::by_op;
use crate::cli::memory::gigabytes;
use crate::cli::passes::or_none;
use crate::cli::slowest::Slowest;
use reflux_ir::pass::counted;
use reflux_ir::{Cost, DType, Machine, Name, Program, si};
use reflux_models::Sizes;
use reflux_models::weights::Distribution;
use reflux_runtime::{DeviceInfo, OpTime};
use serde::Serialize;
use std::fmt;
use std::time::Duration;

#[derive(Serialize)]
pub struct BenchReport {
    pub version: &'static str,
    pub model: String,
    /// How weights are distributed, if they are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub random_weights: Option<Distribution>,
    pub dtype: DType,
    pub device: DeviceInfo,
    pub passes: String,
    /// None for an ONNX file.
    #[serde(flatten)]
    pub sizes: Option<BenchSizes>,
    pub steps: usize,
    pub warmup: usize,
    pub runs: usize,
    /// The planned peak of memory, from shapes.
    pub planned_bytes: u64,
    /// The measured peak, if it is known; see [`reflux_runtime::MemoryMeter`].
    pub peak_bytes: Option<u64>,
    /// From the start of the command until the passes are done.
    pub optimize_seconds: f64,
    pub load_seconds: f64,
    /// The first step, including prepare stages.
    pub first_step_ms: f64,
    /// From the start of the command until the first step is done.
    pub cold_start_seconds: f64,
    pub variants: Vec<VariantReport>,
    /// All steps at their medians, without prepare stages.
    pub denoise_seconds: f64,
    /// The machine whose datasheet gives the floors, if there is one.
    pub machine: Option<&'static str>,
    /// All steps at their floors.
    pub denoise_floor_seconds: Option<f64>,
    pub fallbacks: Vec<String>,
    /// Warnings about the passes.
    pub warnings: Vec<String>,
    pub profile: Option<ProfileReport>,
}

/// What a model's network is lowered for.
#[derive(Serialize)]
pub struct BenchSizes {
    pub width: usize,
    pub height: usize,
    pub batch: usize,
    pub text_tokens: usize,
}

impl From<Sizes> for BenchSizes {
    fn from(Sizes { width, height, batch, text_tokens, .. }: Sizes) -> Self {
        Self { width, height, batch, text_tokens }
    }
}

#[derive(Serialize)]
pub struct VariantReport {
    variant: Name,
    /// How many steps of the schedule run it.
    steps: usize,
    median_ms: f64,
    p95_ms: f64,
    flop: u64,
    /// Bytes read and written.
    bytes: u64,
    tflops_per_second: f64,
    /// By the roofline of the machine's datasheet.
    floor_ms: Option<f64>,
    /// The floor as a percentage of the median.
    percent_of_floor: Option<f64>,
}

#[derive(Serialize)]
pub struct ProfileReport {
    /// Of steps.
    pub by_op: Vec<OpTime>,
    pub slowest: Slowest,
}

impl VariantReport {
    /// The row of `variant`, from its `times`.
    pub fn new(program: &Program, variant: &Name, times: &[Duration], machine: Option<&Machine>) -> Self {
        let graph = &program.variants[variant];
        let Spread { median, p95 } = Spread::of(times);
        let Cost { flops, bytes } = graph.total_cost();
        let floor_ms = machine.map(|machine| machine.ideal().of_graph(graph) as f64 / 1e6);
        Self {
            variant: variant.clone(),
            steps: program.steps_of(variant),
            median_ms: median,
            p95_ms: p95,
            flop: flops,
            bytes,
            tflops_per_second: flops as f64 / median / 1e9,
            floor_ms,
            percent_of_floor: floor_ms.map(|floor| 100.0 * floor / median),
        }
    }

    /// All its steps at the median.
    pub fn seconds(&self) -> f64 {
        self.steps as f64 * self.median_ms / 1e3
    }

    /// All its steps at the floor.
    pub fn floor_seconds(&self) -> Option<f64> {
        self.floor_ms.map(|floor| self.steps as f64 * floor / 1e3)
    }
}

impl BenchReport {
    /// One JSON object.
    pub fn json(&self) -> String {
        format!("{}\n", serde_json::to_string_pretty(self).expect("a report is plain data"))
    }
}

/// What the first line says of weights that are drawn.
pub fn of_weights(random: Option<Distribution>) -> &'static str {
    match random {
        None => "",
        Some(Distribution::Normal) => ", random weights",
        Some(Distribution::HeavyTailed) => ", heavy-tailed random weights",
    }
}

impl fmt::Display for BenchReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.model)?;
        if let Some(BenchSizes { width, height, batch, .. }) = self.sizes {
            write!(f, "{width}×{height}, batch {batch}, {}, ", counted(self.steps, "step"))?;
        }
        writeln!(f, "{} on {}{}", self.dtype, self.device.name, of_weights(self.random_weights))?;
        writeln!(f, "passes      {}", or_none(&self.passes))?;
        let peak = self.peak_bytes.map_or_else(|| "unknown".to_owned(), gigabytes);
        writeln!(f, "memory      {} planned, {peak} at most", gigabytes(self.planned_bytes))?;
        writeln!(
            f,
            "cold start  {:.2} s: passes after {:.2} s, loading {:.2} s, first step {:.1} ms",
            self.cold_start_seconds, self.optimize_seconds, self.load_seconds, self.first_step_ms
        )?;
        writeln!(
            f,
            "{:<16} {:>5} {:>10} {:>10} {:>8} {:>8} {:>10} {:>8}",
            "variant", "steps", "median ms", "p95 ms", "FLOP", "TFLOP/s", "floor ms", "of floor"
        )?;
        self.variants.iter().try_for_each(|variant| variant.fmt(f))?;
        if self.sizes.is_some() {
            write!(f, "denoising   {:.2} s for all steps", self.denoise_seconds)?;
            match (self.machine, self.denoise_floor_seconds) {
                (Some(machine), Some(floor)) => writeln!(f, "; floor on {machine}: {floor:.2} s")?,
                _ => writeln!(f, "; there is no cost table for this device")?,
            }
        }
        self.fallbacks.iter().try_for_each(|note| writeln!(f, "note: {note}"))?;
        self.warnings.iter().try_for_each(|warning| writeln!(f, "warning: {warning}"))?;
        let Some(ProfileReport { by_op, slowest }) = &self.profile else { return Ok(()) };
        write!(f, "\n{}\n{slowest}", by_op::table("steps", by_op))
    }
}

impl fmt::Display for VariantReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { steps, median_ms, p95_ms, tflops_per_second, .. } = self;
        let floor = self.floor_ms.map_or_else(|| "-".to_owned(), |floor| format!("{floor:.2}"));
        let percent = self.percent_of_floor.map_or_else(|| "-".to_owned(), |share| format!("{share:.1}%"));
        writeln!(
            f,
            "{:<16} {steps:>5} {median_ms:>10.2} {p95_ms:>10.2} {:>8} {tflops_per_second:>8.3} {floor:>10} \
             {percent:>8}",
            &self.variant[..],
            si(self.flop)
        )
    }
}
