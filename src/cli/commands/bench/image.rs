//! `reflux bench --image`: whole pictures, from the prompt to the pixels.

use super::args::Args;
use super::report::of_weights;
use super::spread::Spread;
use super::subject::SEED;
use super::subject::Subject;
use crate::cli::console::print;
use crate::cli::given_pictures::blank;
use crate::cli::heap::KeptHeap;
use crate::cli::memory::{announce_peak, gigabytes};
use crate::cli::passes::or_none;
use crate::pipeline::{DiffusionPipeline, Event, OpenOptions, Report, Request, StageTime};
use crate::{Error, VERSION};
use reflux_ir::pass::counted;
use reflux_models::weights::Distribution;
use reflux_runtime::{DeviceInfo, MemoryMeter, RunError};
use serde::Serialize;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// What `--json` prints.
#[derive(Serialize)]
struct Measured {
    version: &'static str,
    model: String,
    /// How weights are distributed, if they are drawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    random_weights: Option<Distribution>,
    device: DeviceInfo,
    passes: String,
    width: usize,
    height: usize,
    steps: usize,
    /// The planned peak of device memory, from shapes; on the processor a lower bound.
    planned_bytes: u64,
    /// The measured peak, if it is known.
    peak_bytes: Option<u64>,
    /// The first picture, including loading and compilation.
    cold_seconds: f64,
    cold_stages: Vec<StageTime>,
    /// A later picture, with everything loaded.
    median_ms: f64,
    p95_ms: f64,
    /// Medians, in order.
    stages: Vec<StageTime>,
    warnings: Vec<String>,
}

/// Makes a first picture, and then those that are measured.
pub fn bench(args: &Args, subject: Subject) -> Result<(), Error> {
    let device = args.device.with(args.devices)?;
    let info = device.probe().map_err(RunError::from)?;
    let options = OpenOptions {
        device: Some(device),
        dtype: Some(subject.dtype(&args.sizes, device)),
        passes: args.passes.recipe()?.unwrap_or_default(),
        memory: args.memory.into(),
        ..OpenOptions::default()
    };
    let sizes = subject.model.sizes(&args.sizes)?;
    let condition = subject.model.config().condition();
    let mut pipeline = subject.pipeline(options)?;
    let _heap = KeptHeap::on(device);
    let request = Request {
        prompts: vec!["a red apple on a blue background".into()],
        steps: Some(sizes.steps),
        width: Some(sizes.width),
        height: Some(sizes.height),
        max_sequence_length: Some(sizes.text_tokens),
        seed: SEED,
        unwatched: true,
        ..blank(
            condition,
            [sizes.width, sizes.height],
            sizes.reference.map(|[height, width]| [width, height]),
        )
    };
    let planned_bytes = pipeline.planned_peak(&request)?;
    announce_peak(planned_bytes, device);
    let mut meter = MemoryMeter::start(device);
    // Asking for the memory takes a third of a millisecond, which would count at every stage of those that are measured.
    let (cold, first) = picture(&mut pipeline, &request, &mut |_| meter.look())?;
    for _ in 1..args.warmup {
        picture(&mut pipeline, &request, &mut |_| ())?;
    }
    let runs = (0..args.runs).map(|_| picture(&mut pipeline, &request, &mut |_| ()));
    let (times, reports): (Vec<Duration>, Vec<Report>) =
        runs.collect::<Result<Vec<_>, _>>()?.into_iter().unzip();
    meter.look();
    let Spread { median, p95 } = Spread::of(&times);
    let measured = Measured {
        version: VERSION,
        model: subject.name,
        random_weights: args.subject.distribution(),
        device: info,
        passes: pipeline.passes().to_string(),
        width: sizes.width,
        height: sizes.height,
        steps: sizes.steps,
        planned_bytes,
        peak_bytes: meter.peak(),
        cold_seconds: cold.as_secs_f64(),
        cold_stages: first.stages,
        median_ms: median,
        p95_ms: p95,
        stages: StageTime::medians(reports.iter().map(|report| &report.stages[..])),
        warnings: first.warnings,
    };
    print(&if args.json { json(&measured) } else { text(&measured) })
}

/// Makes a picture, and calls `enter` with each of its stages.
fn picture(
    pipeline: &mut DiffusionPipeline,
    request: &Request,
    enter: &mut dyn FnMut(&str),
) -> Result<(Duration, Report), Error> {
    let start = Instant::now();
    let mut observe = |event: Event| {
        if let Event::Stage(stage) = event {
            enter(stage);
        }
    };
    let (_, report) = pipeline.generate_with(request, &mut observe)?;
    Ok((start.elapsed(), report))
}

fn json(measured: &Measured) -> String {
    format!("{}\n", serde_json::to_string_pretty(measured).expect("measurements are plain data"))
}

fn text(measured: &Measured) -> String {
    let Measured { model, device, width, height, steps, passes, .. } = measured;
    let stages = |stages: &[StageTime]| {
        let each = stages.iter().map(|time| format!("{} {:.3} s", time.stage, time.seconds));
        each.collect::<Vec<_>>().join(", ")
    };
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{model}: pictures of {width}×{height}, {} on {}{}",
        counted(*steps, "step"),
        device.name,
        of_weights(measured.random_weights)
    );
    let _ = writeln!(text, "passes  {}", or_none(passes));
    let peak = measured.peak_bytes.map_or_else(|| "unknown".to_owned(), gigabytes);
    let _ = writeln!(text, "memory  {} planned, {peak} at most", gigabytes(measured.planned_bytes));
    let _ = writeln!(text, "first   {:.2} s: {}", measured.cold_seconds, stages(&measured.cold_stages));
    let _ = writeln!(
        text,
        "next    {:.3} s (p95 {:.3}): {}",
        measured.median_ms / 1e3,
        measured.p95_ms / 1e3,
        stages(&measured.stages)
    );
    measured.warnings.iter().for_each(|warning| text += &format!("note: {warning}\n"));
    text
}
