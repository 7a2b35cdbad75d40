//! Runs candidates on some pictures: of each, only the steps from the first that differs from a candidate that has run.

use super::candidate::Candidate;
use super::goal::Objective;
use super::journal::Known;
use super::predictor::Predictor;
use crate::Error;
use crate::distances::{psnr, relative_l2, rms};
use crate::pipeline::Image;
use crate::pipeline::denoise::{Stepped, prepare, run_step};
use crate::pipeline::diffusion::{Begun, DiffusionPipeline};
use crate::pipeline::report::Record;
use crate::pipeline::resolved::Resolved;
use crate::statistics::median;
use reflux_ir::HostTensor;
use reflux_models::scheduler::Schedule;
use reflux_passes::Steer;
use reflux_runtime::Execute;
use std::sync::Arc;

/// A picture that candidates are compared on.
pub struct Subject {
    pub request: Resolved,
    pub begun: Begun,
}

/// The steps of one picture under a candidate.
#[derive(Clone, Default)]
struct Trail {
    /// Before each step, and after the last; packed latents.
    latents: Vec<Arc<[f32]>>,
    /// Where the stream starts and ends in each step that computes.
    streams: Vec<Option<Arc<[HostTensor; 2]>>>,
}

impl Trail {
    fn last(&self) -> &[f32] {
        self.latents.last().expect("it begins with the noise")
    }

    /// Its steps before `step`.
    fn until(&self, step: usize) -> Self {
        Self { latents: self.latents[..=step].to_vec(), streams: self.streams[..step].to_vec() }
    }
}

/// The pipeline, with a network whose steps are told what to do, and what has run on it.
pub struct Rehearsal<'p> {
    pub pipeline: &'p mut DiffusionPipeline,
    pub subjects: Vec<Subject>,
    pub schedule: Schedule,
    pub predictors: &'p [Predictor],
    /// Where every step computes.
    uncached: Vec<Trail>,
    /// What these end in.
    pictures: Vec<Image>,
    /// The candidate whose neighbours are to be judged.
    adopted: Option<(Candidate, Vec<Trail>)>,
    /// Another that is to be that, but has not run: an earlier search has judged it.
    pending: Option<Candidate>,
    /// The last one that ran.
    latest: Option<(Candidate, Vec<Trail>)>,
    /// Steps that were run, and those that were taken from earlier candidates.
    pub ran: usize,
    pub saved: usize,
}

impl<'p> Rehearsal<'p> {
    /// Runs the subjects with every step computed.
    ///
    /// # Errors
    /// If a step cannot run.
    pub fn new(
        pipeline: &'p mut DiffusionPipeline,
        subjects: Vec<Subject>,
        schedule: Schedule,
        predictors: &'p [Predictor],
        record: &mut Record,
    ) -> Result<Self, Error> {
        let mut rehearsal = Self {
            pipeline,
            subjects,
            schedule,
            predictors,
            uncached: Vec::new(),
            pictures: Vec::new(),
            adopted: None,
            pending: None,
            latest: None,
            ran: 0,
            saved: 0,
        };
        let all = Candidate::even(rehearsal.steps(), rehearsal.steps());
        for index in 0..rehearsal.subjects.len() {
            let trail = rehearsal.trail(&all, index, record)?;
            let picture = rehearsal.picture(index, &trail, record)?;
            rehearsal.uncached.push(trail);
            rehearsal.pictures.push(picture);
        }
        Ok(rehearsal)
    }

    /// The number of steps of a picture.
    pub fn steps(&self) -> usize {
        self.schedule.timesteps.len()
    }

    /// The mean error of `candidate` over pictures, by `objective`: of final latents the relative L2 distance from those where every step
    /// computes, of pixels the root mean square difference. Pictures are not run any more once those before them make it more than
    /// `limit`; then it is as much as these make of it.
    ///
    /// # Errors
    /// If a network cannot run.
    pub fn error(
        &mut self,
        candidate: &Candidate,
        objective: Objective,
        limit: f64,
        record: &mut Record,
    ) -> Result<Known, Error> {
        self.catch_up(record)?;
        let count = self.subjects.len();
        let mut trails = Vec::with_capacity(count);
        let mut sum = 0.0;
        for index in 0..count {
            let trail = self.trail(candidate, index, record)?;
            let error = match objective {
                Objective::Latents => relative_l2(trail.last(), self.uncached[index].last()),
                Objective::Pictures => {
                    rms(self.picture(index, &trail, record)?.pixels(), self.pictures[index].pixels())
                }
            };
            // What is not a number is no schedule to go on from.
            sum += if error.is_finite() { error } else { f64::MAX / count as f64 };
            trails.push(trail);
            let is_whole = index + 1 == count;
            if is_whole || sum > limit * count as f64 {
                if is_whole {
                    self.latest = Some((candidate.clone(), trails));
                }
                return Ok(Known { error: sum / count as f64, is_whole });
            }
        }
        unreachable!("there is a picture to tune on")
    }

    /// Has the candidates to come run from where they differ from `candidate`.
    pub fn adopt(&mut self, candidate: &Candidate) {
        match self.latest.take_if(|(latest, _)| latest == candidate) {
            Some(latest) => (self.adopted, self.pending) = (Some(latest), None),
            None => self.pending = Some(candidate.clone()),
        }
    }

    /// The median over pictures of the peak signal-to-noise ratio of `candidate`, in dB, against those where every step computes.
    ///
    /// # Errors
    /// If a network cannot run.
    pub fn psnr(&mut self, candidate: &Candidate, record: &mut Record) -> Result<f64, Error> {
        self.catch_up(record)?;
        let mut all = Vec::with_capacity(self.subjects.len());
        for index in 0..self.subjects.len() {
            let trail = self.trail(candidate, index, record)?;
            all.push(psnr(self.picture(index, &trail, record)?.pixels(), self.pictures[index].pixels()));
        }
        Ok(median(all))
    }

    /// The picture that the `index`th trail ends in.
    fn picture(&mut self, index: usize, trail: &Trail, record: &mut Record) -> Result<Image, Error> {
        let Subject { request, begun } = &self.subjects[index];
        let latents = HostTensor::from_f32(begun.latents.shape.clone(), trail.last());
        self.pipeline.decode(&latents, 0, request, record)
    }

    /// Runs the candidate whose neighbours are judged, if an earlier search has judged it.
    fn catch_up(&mut self, record: &mut Record) -> Result<(), Error> {
        let Some(pending) = self.pending.take() else { return Ok(()) };
        let trails = (0..self.subjects.len()).map(|index| self.trail(&pending, index, record));
        let trails = trails.collect::<Result<_, _>>()?;
        self.adopted = Some((pending, trails));
        Ok(())
    }

    /// Runs `candidate` on the `index`th picture, from where it differs from what has run.
    fn trail(&mut self, candidate: &Candidate, index: usize, record: &mut Record) -> Result<Trail, Error> {
        let subject = &self.subjects[index];
        let (from, mut trail) = match &self.adopted {
            Some((known, trails)) => {
                let from = candidate.first_difference(known);
                (from, trails[index].until(from))
            }
            None => {
                let noise = subject.begun.latents.to_f32().into();
                (0, Trail { latents: vec![noise], streams: Vec::new() })
            }
        };
        let plans = self.plans(candidate);
        (self.ran, self.saved) = (self.ran + plans.len() - from, self.saved + from);
        if from == plans.len() {
            return Ok(trail);
        }
        let networks = self.pipeline.networks();
        let denoiser =
            prepare(networks, &subject.begun.conditioning, &self.schedule, &subject.request, record)?;
        record.enter("tune");
        for (step, plan) in plans.iter().enumerate().skip(from) {
            trail.step(denoiser, step, plan.as_ref(), subject, &self.schedule)?;
        }
        Ok(trail)
    }

    /// What each step of `candidate` does.
    fn plans(&self, candidate: &Candidate) -> Vec<Option<Forecast>> {
        let predictor = &self.predictors[candidate.predictor];
        let is_relative = predictor.is_relative();
        let forecast = |weights: Vec<f32>| Forecast { weights, is_relative };
        match candidate.computes.iter().all(|computes| *computes) {
            true => vec![None; candidate.computes.len()],
            false => predictor
                .weights(&candidate.mask())
                .into_iter()
                .map(|weights| weights.map(forecast))
                .collect(),
        }
    }
}

/// What a step takes for the end of the stream.
#[derive(Clone)]
struct Forecast {
    /// Of the last computed values, newest first.
    weights: Vec<f32>,
    /// Whether these are what was added to the start of the stream.
    is_relative: bool,
}

impl Trail {
    /// Runs `step`, which computes unless it has a forecast.
    fn step(
        &mut self,
        denoiser: &mut dyn Execute,
        step: usize,
        forecast: Option<&Forecast>,
        subject: &Subject,
        schedule: &Schedule,
    ) -> Result<(), Error> {
        denoiser.bind(Steer::REUSES, &HostTensor::from_i32([], &[i32::from(forecast.is_some())]))?;
        if let Some(forecast) = forecast {
            let relative = if forecast.is_relative { 1.0 } else { 0.0 };
            denoiser.bind(Steer::RELATIVE, &HostTensor::from_f32([], &[relative]))?;
            denoiser.bind(Steer::REUSED, &forecast.of(self.streams.iter().rev().flatten()))?;
        }
        let shape = &subject.begun.latents.shape;
        let mut samples = [self.last().to_vec()];
        let Stepped { velocities, mut results } =
            run_step(denoiser, step, shape, &samples, &subject.request)?;
        let [sample] = &mut samples;
        schedule.step(step, sample, &velocities[0]);
        self.latents.push(sample.as_slice().into());
        let mut end = |name| results.remove(name).expect("`steer` returns both ends");
        let stream = [end(Steer::START), end(Steer::END)];
        self.streams.push(forecast.is_none().then(|| Arc::new(stream)));
        Ok(())
    }
}

impl Forecast {
    /// `Σ weight · value` over `streams`, newest first, in f32, as the pass `cache` computes it.
    fn of<'s>(&self, streams: impl Iterator<Item = &'s Arc<[HostTensor; 2]>>) -> HostTensor {
        let mut sum: Option<(Vec<usize>, Vec<f32>)> = None;
        for (&weight, stream) in self.weights.iter().zip(streams) {
            let [start, end] = &**stream;
            let mut values = end.to_f32();
            if self.is_relative {
                values.iter_mut().zip(start.to_f32()).for_each(|(value, start)| *value -= start);
            }
            match &mut sum {
                None => {
                    values.iter_mut().for_each(|value| *value *= weight);
                    sum = Some((end.shape.clone(), values));
                }
                Some((_, sum)) => sum.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value),
            }
        }
        let (shape, values) = sum.expect("the first step computes");
        HostTensor::from_f32(shape, &values)
    }
}
