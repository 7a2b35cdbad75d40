//! `reflux bench`

mod args;
mod image;
mod network;
mod report;
mod session;
mod spread;
mod subject;

use crate::cli::console::{print, say};
use crate::cli::heap::KeptHeap;
use crate::cli::memory::announce_peak;
use crate::cli::slowest::Slowest;
use crate::pipeline::{Memory, check_fits, smaller};
use crate::{Error, VERSION};
pub use args::Args;
use network::Network;
use reflux_ir::{Program, Stage, WeightSource};
use reflux_runtime::{Device, MemoryMeter, Profile, RunError, load_shared};
use report::{BenchReport, BenchSizes, ProfileReport, VariantReport};
use session::Session;
use std::sync::Arc;
use std::time::Instant;
use subject::{SEED, Subject};

pub fn bench(args: &Args) -> Result<(), Error> {
    let start = Instant::now();
    if args.image {
        return image::bench(args, Subject::of(&args.subject)?);
    }
    let device = args.device.with(args.devices)?;
    let info = device.probe().map_err(RunError::from)?;
    let Network { name, program, passes, weights, dtype, sizes, warnings } = Network::of(args, device)?;
    if program.has_choices() {
        return Err(Error::Usage(
            "what a step with a probe runs depends on the numbers, so that steps cannot be measured by themselves; add --image to \
             measure whole pictures"
                .into(),
        ));
    }
    let optimize_seconds = start.elapsed().as_secs_f64();

    let planned_bytes = Memory::Resident.of(&program, device);
    check_fits(&program.name, planned_bytes, device, &smaller(dtype))?;
    announce_peak(planned_bytes, device);
    let steps = program.schedule.len();
    let mut meter = MemoryMeter::start(device);
    meter.begin();
    let (mut session, load_seconds) = loaded(device, program, weights.clone())?;
    let first_step = session.step(0)?;
    let cold_start_seconds = start.elapsed().as_secs_f64();
    meter.look();

    // The floor is that of this very device.
    let machine = Some(device.machine(&info)).filter(|found| found.is_own).map(|found| found.machine);
    let mut variants = Vec::new();
    for (variant, step) in session.variants() {
        let times = session.measure(step, args.warmup, args.runs)?;
        meter.look();
        variants.push(VariantReport::new(session.program(), &variant, &times, machine));
    }
    let profile = if args.profile { Some(profile_report(&session.profile()?)) } else { None };
    meter.look();

    let report = BenchReport {
        version: VERSION,
        model: name,
        random_weights: args.subject.distribution(),
        dtype,
        device: info,
        passes: passes.to_string(),
        sizes: sizes.map(BenchSizes::from),
        steps,
        warmup: args.warmup,
        runs: args.runs,
        planned_bytes,
        peak_bytes: meter.peak(),
        optimize_seconds,
        load_seconds,
        first_step_ms: first_step.as_secs_f64() * 1e3,
        cold_start_seconds,
        denoise_seconds: variants.iter().map(VariantReport::seconds).sum(),
        machine: machine.map(|machine| machine.name),
        denoise_floor_seconds: variants.iter().map(VariantReport::floor_seconds).sum(),
        variants,
        fallbacks: session.fallbacks().to_vec(),
        warnings,
        profile,
    };
    print(&if args.json { report.json() } else { report.to_string() })
}

/// Loads `program` onto `device` with random inputs; also returns the time in seconds.
fn loaded(device: Device, program: Program, weights: Arc<dyn WeightSource>) -> Result<(Session, f64), Error> {
    let start = Instant::now();
    let heap = KeptHeap::on(device);
    let executor = load_shared(device, program, weights)?;
    drop(heap);
    let seconds = start.elapsed().as_secs_f64();
    for note in executor.fallbacks() {
        say(format_args!("note: {note}"));
    }
    Ok((Session::new(executor, SEED)?, seconds))
}

fn profile_report(profile: &Profile) -> ProfileReport {
    let steps = profile.only(|stage| matches!(stage, Stage::Variant(_)));
    ProfileReport { by_op: steps.by_op(), slowest: Slowest::of(profile) }
}
