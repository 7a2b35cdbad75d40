//! Progress and reports of a run.

use super::Image;
use crate::statistics::median;
use reflux_ir::pass::PassReport;
use reflux_ir::{DType, HostTensor, Name};
use reflux_runtime::Device;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::time::Instant;

/// An event of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Event<'a> {
    /// A stage began.
    Stage(&'a str),
    /// A denoising step of a picture is done; both counted from 0. These are the packed latents after it, row by row of tokens; `None`
    /// if they stay on the device ([`Request::unwatched`](super::Request::unwatched)).
    Step { image: usize, images: usize, step: usize, steps: usize, latents: Option<&'a [f32]> },
    /// What the transformer has given in a step of a picture, both counted from 0: the velocity, and what else its program
    /// returns; where several pictures go through it together, of all of these, and `image` is the first. It has run this variant, which a
    /// probe may have chosen.
    Results { image: usize, step: usize, variant: &'a Name, results: &'a HashMap<Name, HostTensor> },
    /// What a picture is going to be, small, after a step, as far as that can be told; both counted from 0.
    Preview { image: usize, step: usize, steps: usize, picture: &'a Image },
}

/// A picture that is done.
#[derive(Clone, Debug)]
pub struct Picture {
    /// Its place among the pictures of the request, from 0.
    pub index: usize,
    pub image: Image,
    /// Its final latents, packed `f32[1, tokens, channels]`.
    pub latents: HostTensor,
}

/// Time spent in one stage, over all pictures.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StageTime {
    pub stage: String,
    pub seconds: f64,
}

impl StageTime {
    /// The median time of each stage over several runs, in the order in which the first run has them.
    pub(crate) fn medians<'r>(runs: impl Iterator<Item = &'r [Self]> + Clone) -> Vec<Self> {
        let first = runs.clone().next().unwrap_or_default();
        let of = |stage: &str, run: &[Self]| {
            run.iter().filter(|time| time.stage == stage).map(|time| time.seconds).sum()
        };
        let typical = |Self { stage, .. }: &Self| Self {
            stage: stage.clone(),
            seconds: median(runs.clone().map(|run| of(stage, run))),
        };
        first.iter().map(typical).collect()
    }
}

/// What a run did, and how long it took.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub model: String,
    pub device: Device,
    /// The name of the device.
    pub device_name: String,
    pub dtype: DType,
    pub width: usize,
    pub height: usize,
    pub steps: usize,
    pub guidance: Option<f32>,
    pub seed: u64,
    /// The report of the passes on the transformer.
    pub passes: Vec<PassReport>,
    /// In order of first use.
    pub stages: Vec<StageTime>,
    /// The peak of device memory since the pipeline was opened, in bytes, if that is known; see
    /// [`MemoryMeter::peak`](reflux_runtime::MemoryMeter::peak).
    pub peak_bytes: Option<u64>,
    pub warnings: Vec<String>,
    /// The pictures' final latents, packed `f32[pictures, tokens, channels]`.
    #[serde(skip)]
    pub latents: HostTensor,
}

/// The record of a run in progress. Attributes time to stages and passes events on.
pub(super) struct Record<'o> {
    observe: &'o mut dyn FnMut(Event),
    stages: Vec<StageTime>,
    current: Option<(String, Instant)>,
    pub warnings: Vec<String>,
}

impl<'o> Record<'o> {
    pub fn new(observe: &'o mut dyn FnMut(Event)) -> Self {
        Self { observe, stages: Vec::new(), current: None, warnings: Vec::new() }
    }

    /// Ends the current stage and begins `stage`.
    pub fn enter(&mut self, stage: impl Into<String>) {
        self.leave();
        let stage = stage.into();
        (self.observe)(Event::Stage(&stage));
        self.current = Some((stage, Instant::now()));
    }

    pub fn step(&mut self, image: usize, images: usize, step: usize, steps: usize, latents: Option<&[f32]>) {
        (self.observe)(Event::Step { image, images, step, steps, latents });
    }

    pub fn results(
        &mut self,
        image: usize,
        step: usize,
        variant: &Name,
        results: &HashMap<Name, HostTensor>,
    ) {
        (self.observe)(Event::Results { image, step, variant, results });
    }

    pub fn preview(&mut self, image: usize, step: usize, steps: usize, picture: &Image) {
        (self.observe)(Event::Preview { image, step, steps, picture });
    }

    /// Warns once.
    pub fn warn(&mut self, warning: String) {
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// The time of every stage, and the warnings.
    pub fn finish(mut self) -> (Vec<StageTime>, Vec<String>) {
        self.leave();
        (self.stages, self.warnings)
    }

    /// Ends the current stage.
    pub fn leave(&mut self) {
        let Some((stage, start)) = self.current.take() else { return };
        let seconds = start.elapsed().as_secs_f64();
        match self.stages.iter_mut().find(|time| time.stage == stage) {
            Some(time) => time.seconds += seconds,
            None => self.stages.push(StageTime { stage, seconds }),
        }
    }
}
