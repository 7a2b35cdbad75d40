//! One picture's denoising loop, again and again, with another program of the transformer each time.

use super::FluxPipeline;
use super::optimize::Optimized;
use super::report::Clock;
use super::request::{Request, Resolved};
use super::text::Conditioning;
use crate::Error;
use reflux_ir::{HostTensor, Program};
use reflux_models::Net;
use reflux_models::scheduler::Schedule;

/// A picture to be drawn by several programs: from the same noise, for the same prompt, by the scheduler's steps.
pub(crate) struct Replay {
    pipeline: FluxPipeline,
    request: Resolved,
    schedule: Schedule,
    /// What pictures are drawn from, if they are drawn as asked for.
    pub noise: HostTensor,
    conditioning: Conditioning,
}

impl Replay {
    /// The first picture of `request`. Its prompt is encoded here.
    pub fn new(mut pipeline: FluxPipeline, request: &Request) -> Result<Self, Error> {
        let request = request.resolve(&pipeline.defaults, &pipeline.config)?;
        pipeline.check_memory(&request)?;
        let tokens = request.sizes().image_tokens();
        let schedule = Schedule::new(&pipeline.config.scheduler, request.steps, tokens)?;
        let noise = pipeline.initial_latents(&request)?.next();
        let mut nothing = |_| {};
        let conditioning = pipeline.encode(&request, &mut Clock::new(&mut nothing))?.swap_remove(0);
        Ok(Self { pipeline, request, schedule, noise, conditioning })
    }

    /// The transformer as it is lowered.
    pub fn program(&self) -> Result<Program, Error> {
        let sizes = self.request.sizes_of(Net::Transformer);
        Ok(self.pipeline.config.lower(Net::Transformer, &sizes, self.pipeline.dtype)?)
    }

    /// The time of each step.
    pub fn timesteps(&self) -> &[f32] {
        &self.schedule.timesteps
    }

    /// The latents after the last step, where the transformer is `program` and the picture is drawn from `noise`.
    pub fn latents(&mut self, program: &Program, noise: HostTensor) -> Result<HostTensor, Error> {
        let Self { pipeline, request, schedule, conditioning, .. } = self;
        let sizes = request.sizes_of(Net::Transformer);
        let (needed, working) = pipeline.memory.with_working(program, pipeline.device);
        let optimized = Optimized { sizes, program: program.clone(), needed, working };
        pipeline.optimized.insert(Net::Transformer, optimized);
        pipeline.loaded.remove(&Net::Transformer);
        let mut nothing = |_| {};
        let mut clock = Clock::new(&mut nothing);
        pipeline.denoise(noise, conditioning, schedule, request, 0, &mut clock)
    }
}
