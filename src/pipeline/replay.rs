//! Repeated denoising of one picture, each time with another transformer program.

use super::denoise::{Batch, denoise, fixed_inputs};
use super::diffusion::DiffusionPipeline;
use super::initial::InitialLatents;
use super::networks::Networks;
use super::noise::Draws;
use super::pictures::Pictures;
use super::report::{Event, Record};
use super::request::Request;
use super::resolved::Resolved;
use super::text::Conditioning;
use crate::Error;
use reflux_ir::pass::Pipeline;
use reflux_ir::{HostTensor, Program, WeightSource};
use reflux_models::scheduler::Schedule;
use std::sync::Arc;

/// A picture to be drawn by several programs, with the same noise, prompt and schedule.
pub(crate) struct Replay {
    networks: Networks,
    request: Resolved,
    schedule: Schedule,
    /// What is drawn from, encoded.
    pictures: Pictures,
    /// The noise of the request.
    pub noise: HostTensor,
    conditioning: Conditioning,
}

impl Replay {
    /// The first picture of `request`. Its prompt and the pictures that it is drawn from are encoded here. The LoRAs that `passes` name, which are to run on the
    /// programs, are those of the pictures.
    pub fn new(pipeline: DiffusionPipeline, request: &Request, passes: &mut Pipeline) -> Result<Self, Error> {
        let request = request.resolve(pipeline.defaults(), pipeline.config())?;
        let (mut networks, prompts) = pipeline.into_parts();
        let schedule = request.schedule(networks.config());
        networks.run_at(schedule.as_ref().ok());
        networks.settle_loras(passes)?;
        let mut nothing = |_: Event| {};
        let mut record = Record::new(&mut nothing);
        if request.needs_encoder() {
            networks.open_encoder(&mut record)?;
        }
        networks.check_memory(|net| request.needed(net))?;
        let schedule = schedule?;
        let mut draws = Draws::new(request.seed, networks.config(), networks.dtype());
        let pictures = Pictures::encode(&request, &mut networks, &mut draws, &mut record)?;
        let noise = InitialLatents::of(&request, networks.config(), draws)?.next();
        let encoded = prompts.encode(0, &mut networks, &request, &mut record)?;
        let mut conditioning = encoded.of(0).expect("there is a prompt").clone();
        conditioning.extend(pictures.inputs(request.sizes_of(networks.family().denoiser()).batch));
        Ok(Self { networks, request, schedule, pictures, noise, conditioning })
    }

    /// The transformer's program before any passes.
    pub fn program(&self) -> Result<Program, Error> {
        let net = self.networks.family().denoiser();
        self.networks.lower(net, &self.request.sizes_of(net))
    }

    /// The time of each step.
    pub fn timesteps(&self) -> &[f32] {
        &self.schedule.timesteps
    }

    /// Reads the LoRAs that `passes` name, which are to run on the transformer.
    pub fn settle_loras(&mut self, passes: &mut Pipeline) -> Result<(), Error> {
        self.networks.settle_loras(passes)
    }

    /// The weights of the transformer, which is to run as `program`.
    pub fn weights(&self, program: &Program) -> Arc<dyn WeightSource> {
        self.networks.weights_of(self.networks.family().denoiser(), program)
    }

    /// The transformer's inputs that are the same at every step.
    pub fn fixed_inputs(&self) -> Vec<(String, HostTensor)> {
        let Self { networks, request, schedule, conditioning, .. } = self;
        let sizes = request.sizes_of(networks.family().denoiser());
        let fixed = fixed_inputs(networks, conditioning, schedule, request, &sizes).into_iter();
        let strengths = networks.strengths().into_iter().map(|(name, value)| (name.to_string(), value));
        fixed.map(|(name, value)| (name.to_owned(), value.into_owned())).chain(strengths).collect()
    }

    /// The noise levels of the steps.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// The latents that the first step reads.
    pub fn start(&self) -> HostTensor {
        self.pictures.start(self.noise.clone(), &self.schedule).latents
    }

    /// The latents after the last step, with `program` as the transformer, starting from `noise`.
    pub fn latents(&mut self, program: &Program, noise: HostTensor) -> Result<HostTensor, Error> {
        let Self { networks, request, schedule, pictures, conditioning, .. } = self;
        let net = networks.family().denoiser();
        networks.replace(net, request.sizes_of(net), program.clone());
        let mut nothing = |_: Event| {};
        let starts = vec![pictures.start(noise, schedule)];
        let batch = Batch { first: 0, starts, conditioning: conditioning.clone() };
        let mut all = denoise(networks, batch, schedule, request, &mut Record::new(&mut nothing))?;
        Ok(all.remove(0))
    }
}
