//! A way to run the model, loaded, and the pictures that it draws.

use super::journal::Timing;
use super::steps::StepWork;
use crate::Error;
use crate::pipeline::{DiffusionPipeline, Event, OpenOptions, Picture, Report, Request, StageTime};
use reflux_ir::pass::Recipe;
use reflux_models::ModelFiles;
use reflux_runtime::Device;
use std::time::Instant;

/// A pipeline that is measured.
pub struct Session {
    pub pipeline: DiffusionPipeline,
    work: StepWork,
    /// Since when it is opened, and for how long in which stage, until its first picture.
    opening: Option<(Instant, Vec<StageTime>)>,
}

/// A picture with all that was seen of it.
pub struct Outcome {
    pub picture: Picture,
    /// The packed latents after each step, one after the other.
    pub trajectory: Vec<f32>,
    /// How many steps have computed the whole network.
    pub computed_steps: usize,
    pub timing: Timing,
    pub report: Report,
}

impl Session {
    /// Opens the model with these passes, to draw pictures of the sizes of `request`.
    ///
    /// # Errors
    /// If it cannot be opened, or passes fail.
    pub fn open(
        files: &ModelFiles,
        options: &OpenOptions,
        passes: &Recipe,
        request: &Request,
    ) -> Result<Self, Error> {
        let start = Instant::now();
        let options = OpenOptions { passes: passes.clone(), ..options.clone() };
        forget_peak(&options);
        let mut pipeline = DiffusionPipeline::open_files(files.clone(), options)?;
        let opened = start.elapsed().as_secs_f64();
        let work = StepWork::of(pipeline.program(request)?);
        let optimized = start.elapsed().as_secs_f64() - opened;
        let stages = [("open", opened), ("optimize", optimized)];
        let stages = stages.map(|(stage, seconds)| StageTime { stage: stage.to_owned(), seconds });
        Ok(Self { pipeline, work, opening: Some((start, stages.to_vec())) })
    }

    /// Draws the only picture of `request`; `stepped` is told of each step.
    ///
    /// # Errors
    /// If it cannot be drawn.
    pub fn draw(&mut self, request: &Request, stepped: &mut dyn FnMut()) -> Result<Outcome, Error> {
        let is_cold = self.opening.is_some();
        let (start, mut stages) = self.opening.take().unwrap_or_else(|| (Instant::now(), Vec::new()));
        let (mut trajectory, mut computed_steps, mut drawn) = (Vec::new(), 0, None);
        let mut watch = |event: Event| match event {
            Event::Step { latents, .. } => {
                trajectory.extend_from_slice(latents.expect("the request is watched"));
                stepped();
            }
            Event::Results { step, variant, .. } => {
                computed_steps += usize::from(self.work.is_whole(step, variant));
            }
            Event::Stage(_) | Event::Preview { .. } => {}
        };
        let request = Request { unwatched: false, ..request.clone() };
        let report = self.pipeline.generate_each(&request, &mut watch, &mut |picture| {
            drawn = Some(picture);
            Ok(())
        })?;
        let seconds = start.elapsed().as_secs_f64();
        stages.extend(report.stages.iter().cloned());
        let picture = drawn.expect("a request of one picture gives one");
        let timing = Timing { seconds, stages, is_cold };
        Ok(Outcome { picture, trajectory, computed_steps, timing, report })
    }
}

/// On the processor the peak is that of this process: what an earlier pipeline took would count for all later ones.
fn forget_peak(options: &OpenOptions) {
    if options.device.is_none_or(Device::is_host) {
        // Linux begins to count anew from what is taken now. Elsewhere the peak is not known at all.
        let _ = std::fs::write("/proc/self/clear_refs", "5");
    }
}
