//! A loaded program whose steps are run in any order, to see how long they take.

use crate::cli::steps::random_inputs;
use reflux_ir::{HostTensor, Name, Program, Rate};
use reflux_runtime::{Execute, Profile, RunError};
use std::collections::HashSet;
use std::time::{Duration, Instant};

pub struct Session {
    executor: Box<dyn Execute>,
    /// The inputs that are bound once per picture.
    conditioning: Vec<(String, HostTensor)>,
    /// The inputs that are bound at every step.
    latents: Vec<(String, HostTensor)>,
}

impl Session {
    /// Binds inputs drawn from `seed` to the program of `executor`.
    pub fn new(executor: Box<dyn Execute>, seed: u64) -> Result<Self, RunError> {
        let inputs = random_inputs(executor.program(), &[], seed);
        let is_latent = |name: &str| {
            let mut declared = executor.program().inputs.iter();
            declared.any(|input| *input.name == *name && input.fact.rate == Rate::Latent)
        };
        let (latents, conditioning) = inputs.into_iter().partition(|(name, _)| is_latent(name));
        let mut session = Self { executor, conditioning, latents };
        session.condition()?;
        Ok(session)
    }

    pub fn program(&self) -> &Program {
        self.executor.program()
    }

    /// Notes on ops that run on slower kernels, and why.
    pub fn fallbacks(&self) -> &[String] {
        self.executor.fallbacks()
    }

    /// Every variant of the schedule with its first step, ordered by that step. In this order, everything that a variant reuses
    /// has been computed by an earlier one.
    pub fn variants(&self) -> Vec<(Name, usize)> {
        let mut seen = HashSet::new();
        let schedule = self.program().schedule.iter().enumerate();
        schedule.filter(|(_, name)| seen.insert(*name)).map(|(step, name)| (name.clone(), step)).collect()
    }

    /// Runs a step as in denoising, from new latents to the velocity on the host, and returns its time.
    pub fn step(&mut self, step: usize) -> Result<Duration, RunError> {
        let start = Instant::now();
        for (name, value) in &self.latents {
            self.executor.bind(name, value)?;
        }
        self.executor.step(step)?;
        Ok(start.elapsed())
    }

    /// The times of `runs` runs of a step, after `warmup` unmeasured ones.
    pub fn measure(&mut self, step: usize, warmup: usize, runs: usize) -> Result<Vec<Duration>, RunError> {
        for _ in 0..warmup {
            self.step(step)?;
        }
        (0..runs).map(|_| self.step(step)).collect()
    }

    /// Runs the whole schedule, as for a new picture, and measures every op.
    pub fn profile(&mut self) -> Result<Profile, RunError> {
        self.executor.set_profiling(true);
        self.executor.reset();
        self.condition()?;
        for step in 0..self.program().schedule.len() {
            self.step(step)?;
        }
        let profile = self.executor.profile().cloned().unwrap_or_default();
        self.executor.set_profiling(false);
        Ok(profile)
    }

    fn condition(&mut self) -> Result<(), RunError> {
        for (name, value) in &self.conditioning {
            self.executor.bind(name, value)?;
        }
        Ok(())
    }
}
