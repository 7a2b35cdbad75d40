//! From a prompt to a picture: text encoders, the denoising loop, the decoder.

mod defaults;
mod denoise;
mod finite;
mod given;
mod image;
mod initial;
mod memory;
mod metadata;
mod optimize;
mod prompt;
mod replay;
mod report;
mod request;
mod text;
mod weights;

pub use defaults::{Defaults, bundled_model};
pub use image::{Image, ImageFormat};
pub use memory::Memory;
pub(crate) use memory::check_fits;
pub(crate) use optimize::{lossless, settle};
pub(crate) use replay::Replay;
pub use report::{Event, Picture, Report, StageTime};
pub use request::Request;
pub(crate) use weights::open_weights;

use crate::Error;
use initial::InitialLatents;
use optimize::Optimized;
use reflux_ir::pass::{PassReport, Pipeline, Recipe};
use reflux_ir::{DType, HostTensor, Program, WeightSource};
use reflux_models::scheduler::Schedule;
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{ModelConfig, ModelFiles, Net, Parts, Sizes};
use reflux_runtime::{Device, Execute, MemoryMeter, Profile, load, load_streaming};
use report::Clock;
use request::Resolved;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use text::Tokenizers;

/// How to open a pipeline.
#[derive(Clone, Debug, Default)]
pub struct OpenOptions {
    /// Where to run; the processor if not given.
    pub device: Option<Device>,
    /// In what to compute: f32 on the processor and bf16 on a GPU if not given.
    pub dtype: Option<DType>,
    /// Networks whose weights are not those of the model's folder.
    pub parts: Parts,
    /// What to run on the transformer before it is loaded: passes that are wanted beside the default ones, which are
    /// [`reflux_passes::LOSSLESS_PACKED`] on the processor and [`reflux_passes::LOSSLESS`] on a GPU, or exactly these.
    pub passes: Recipe,
    /// The transformer's program, instead of what the configuration is lowered to: it runs as it is, but for exactly the
    /// passes of `passes`. What requests leave open and what is computed in is as it has them.
    pub program: Option<Arc<Program>>,
    /// Where to write the transformer's program between passes.
    pub dump_dir: Option<PathBuf>,
    /// What stays on the device.
    pub memory: Memory,
}

/// A FLUX.1 model, ready to make pictures. Networks are loaded when they are first needed, and stay as [`Memory`] says.
pub struct FluxPipeline {
    /// Where the model is, if it has weights.
    files: Option<ModelFiles>,
    /// Of every network, if the model has any; drawn otherwise. Mapped only, until a network is loaded.
    weights: HashMap<Net, Rc<Weights>>,
    /// What is to be said of every picture.
    notes: Vec<String>,
    config: ModelConfig,
    defaults: Defaults,
    /// None where weights are drawn, to which all prompts are alike.
    tokenizers: Option<Tokenizers>,
    device: Device,
    device_name: String,
    dtype: DType,
    passes: Pipeline,
    /// Of the networks that run once a picture.
    passes_once: Pipeline,
    program: Option<Arc<Program>>,
    dump_dir: Option<PathBuf>,
    memory: Memory,
    /// Networks as the passes made them, for the sizes last asked for.
    optimized: HashMap<Net, Optimized>,
    pass_reports: Vec<PassReport>,
    loaded: HashMap<Net, (Sizes, Box<dyn Execute>)>,
    meter: MemoryMeter,
    profiling: bool,
    warnings: Vec<String>,
}

impl FluxPipeline {
    /// Opens a model, to run on the processor in f32: a folder in diffusers layout, or a model in the Hub's local cache.
    pub fn open(model: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(model, OpenOptions::default())
    }

    /// Opens a model: a folder in diffusers layout, or the id of a model in the Hub's local cache ([`ModelFiles::find`]).
    ///
    /// Reads configurations and tokenizers, and checks names, shapes and types of all weights, so that nothing is wrong with
    /// a network when the ones before it have run.
    pub fn open_with(model: impl AsRef<Path>, mut options: OpenOptions) -> Result<Self, Error> {
        let files = ModelFiles::find(model.as_ref(), std::mem::take(&mut options.parts))?;
        Self::open_files(files, options)
    }

    /// Opens the model of these files, which say for themselves what takes the place of its networks.
    pub(crate) fn open_files(files: ModelFiles, options: OpenOptions) -> Result<Self, Error> {
        let config = ModelConfig::of(&files)?;
        let defaults = Defaults::of(files.folder(), &config)?;
        let mut pipeline = Self::with_random_weights(config, defaults, options)?;
        pipeline.tokenizers = Some(Tokenizers::open(files.folder(), &pipeline.config)?);
        pipeline.notes.extend([files.unused(), pipeline.config.warnings.clone()].concat());
        for net in Net::ALL {
            let weights = open_weights(&files, &pipeline.config, net, &mut pipeline.notes)?;
            pipeline.weights.insert(net, Rc::new(weights));
        }
        pipeline.files = Some(files);
        Ok(pipeline)
    }

    /// A model of this configuration with weights that mean nothing, to measure what pictures take.
    pub fn with_random_weights(
        config: ModelConfig,
        defaults: Defaults,
        options: OpenOptions,
    ) -> Result<Self, Error> {
        let device = options.device.unwrap_or(Device::host());
        let info = device.probe().map_err(reflux_runtime::RunError::from)?;
        let given = options.program.as_deref();
        let own = given.and_then(given::dtype_of);
        if let (Some(own), Some(asked)) = (own, options.dtype)
            && own != asked
        {
            return Err(Error::Range {
                what: "the dtype",
                range: format!("{own}, as the program has it"),
                found: asked.to_string(),
            });
        }
        let dtype = options.dtype.or(own).unwrap_or(device.dtype());
        let defaults = given.map_or(defaults.clone(), |program| given::defaults_of(program, &defaults));
        if !dtype.is_float() {
            return Err(Error::Range {
                what: "the dtype",
                range: "f32, f16 or bf16".into(),
                found: dtype.to_string(),
            });
        }
        let mut passes = match given {
            Some(_) => options.passes.only().pipeline(&Pipeline::new()),
            None => options.passes.pipeline(&lossless(Net::Transformer, Some(device))),
        };
        // Those of the other networks are the same for all of them.
        let mut passes_once = lossless(Net::Vae, Some(device));
        let said = [&mut passes, &mut passes_once].map(|pipeline| settle(pipeline, device, &info));
        Ok(Self {
            files: None,
            weights: HashMap::new(),
            notes: said.into_iter().flatten().take(1).collect(),
            config,
            defaults,
            tokenizers: None,
            device,
            device_name: info.name,
            dtype,
            passes,
            passes_once,
            program: options.program.clone(),
            dump_dir: options.dump_dir,
            memory: options.memory,
            optimized: HashMap::new(),
            pass_reports: Vec::new(),
            loaded: HashMap::new(),
            meter: MemoryMeter::start(device),
            profiling: false,
            warnings: Vec::new(),
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// What a request that does not say otherwise gets.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Where the networks run.
    pub fn device(&self) -> Device {
        self.device
    }

    /// What runs on the transformer before it is loaded.
    pub fn passes(&self) -> &Pipeline {
        &self.passes
    }

    /// In what the networks compute.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// Starts measuring every op of the networks loaded from here on; see [`FluxPipeline::profiles`].
    pub fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        for (_, executor) in self.loaded.values_mut() {
            executor.set_profiling(on);
        }
    }

    /// What was measured, by network.
    pub fn profiles(&self) -> Vec<(Net, &Profile)> {
        let profile = |net| Some((net, self.loaded.get(&net)?.1.profile()?));
        Net::ALL.into_iter().filter_map(profile).collect()
    }

    /// Makes the pictures of `request`: `num_images` per prompt, prompt by prompt.
    pub fn generate(&mut self, request: &Request) -> Result<Vec<Image>, Error> {
        self.generate_with(request, &mut |_| {}).map(|(images, _)| images)
    }

    /// Makes the pictures of `request`, telling `observe` of every stage and step.
    pub fn generate_with(
        &mut self,
        request: &Request,
        observe: &mut dyn FnMut(Event),
    ) -> Result<(Vec<Image>, Report), Error> {
        let (mut images, mut latents, mut shape) = (Vec::new(), Vec::new(), [0; 3]);
        let mut report = self.generate_each(request, observe, &mut |picture| {
            latents.extend(picture.latents.to_f32());
            images.push(picture.image);
            shape = [images.len(), picture.latents.shape[1], picture.latents.shape[2]];
            Ok(())
        })?;
        report.latents = HostTensor::from_f32(shape, &latents);
        Ok((images, report))
    }

    /// Makes the pictures of `request`, telling `observe` of every stage and step, and hands each to `take` before the next is
    /// begun. The report's latents are empty: each picture has its own.
    ///
    /// # Errors
    /// What keeps a picture from being made, and what `take` fails with.
    pub fn generate_each(
        &mut self,
        request: &Request,
        observe: &mut dyn FnMut(Event),
        take: &mut dyn FnMut(Picture) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        self.warnings = self.notes.clone();
        self.warnings.extend(request.warnings(&self.config));
        let request = request.resolve(&self.defaults, &self.config)?;
        self.check_given(&request)?;
        self.check_memory(&request)?;
        let mut clock = Clock::new(observe);
        let mut noise = self.initial_latents(&request)?;
        let schedule = Schedule::new(&self.config.scheduler, request.steps, request.sizes().image_tokens())?;
        let instructions = request.prompts.iter().filter_map(|prompt| prompt::instruction(prompt));
        self.warnings.extend(instructions.map(|part| {
            let part: String = part.chars().take(60).collect();
            format!("{part:?} is read as words: weights in prompts, and tags that load something, are not followed")
        }));
        let conditioning = self.encode(&request, &mut clock)?;
        self.meter.look();
        for index in request.pictures() {
            let prompt = request.prompt_of(index);
            let latents =
                self.denoise(noise.next(), &conditioning[prompt], &schedule, &request, index, &mut clock)?;
            self.meter.look();
            let image = self.decode(&latents, &request.prompts[prompt], index, &request, &mut clock)?;
            clock.leave();
            take(Picture { index, image, latents })?;
        }
        let warnings: Vec<_> =
            self.pass_reports.iter().flat_map(|pass| pass.warnings.iter().cloned()).collect();
        Ok(Report {
            model: self.model_name(),
            device: self.device,
            device_name: self.device_name.clone(),
            dtype: self.dtype,
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: self.config.is_guided().then_some(request.guidance),
            seed: request.seed,
            passes: self.pass_reports.clone(),
            stages: clock.finish(),
            peak_bytes: self.meter.peak(),
            warnings: [warnings, std::mem::take(&mut self.warnings)].concat(),
            latents: HostTensor::from_f32([0, 0, 0], &[]),
        })
    }

    /// The model's name, by which pictures say what made them.
    fn model_name(&self) -> String {
        self.files.as_ref().and_then(ModelFiles::name).unwrap_or_else(|| "FLUX.1".into())
    }

    /// The network for these sizes, loaded if it is not.
    fn network(&mut self, net: Net, sizes: Sizes, clock: &mut Clock) -> Result<&mut dyn Execute, Error> {
        if self.loaded.get(&net).is_none_or(|(loaded, _)| *loaded != sizes) {
            // The old one goes first, so that the two are never in memory together.
            self.loaded.remove(&net);
            if self.memory == Memory::Low {
                self.loaded.retain(|other, _| other.is_of_text() == net.is_of_text());
                self.device.release_unused();
            }
            clock.enter(match net {
                Net::Clip => "load text_encoder",
                Net::T5 => "load text_encoder_2",
                Net::Transformer => "load transformer",
                Net::Vae => "load vae",
            });
            let program = self.optimized(net, &sizes)?.program.clone();
            let weights = self.weights_of(net, &program);
            let mut executor = match self.memory {
                Memory::Resident => load(self.device, program, &*weights)?,
                Memory::Low => load_streaming(self.device, program, weights)?,
            };
            executor.set_profiling(self.profiling);
            self.warnings.extend(executor.fallbacks().iter().cloned());
            self.loaded.insert(net, (sizes, executor));
        }
        Ok(self.loaded.get_mut(&net).expect("just loaded").1.as_mut())
    }

    /// Refuses a program that is given and reads weights that are not there, or does not fit `request`, before anything runs.
    fn check_given(&mut self, request: &Resolved) -> Result<(), Error> {
        let Some(given) = self.program.clone() else { return Ok(()) };
        self.optimized(Net::Transformer, &request.sizes_of(Net::Transformer))?;
        if let Some(weights) = self.weights.get(&Net::Transformer) {
            weights.check_for(&given, &[])?;
        }
        Ok(())
    }

    /// The weights of `net`, which is to run as `program`.
    fn weights_of(&self, net: Net, program: &Program) -> Rc<dyn WeightSource> {
        match self.weights.get(&net) {
            Some(weights) => Rc::clone(weights) as Rc<dyn WeightSource>,
            None => Rc::new(RandomWeights::new(program, 0)),
        }
    }

    /// What to start from: given, or noise as torch draws it.
    fn initial_latents(&self, request: &Resolved) -> Result<InitialLatents, Error> {
        let channels = self.config.transformer.in_channels;
        match &request.init_latents {
            Some(given) => InitialLatents::given(given, request, channels),
            None => {
                let first = request.pictures().start;
                Ok(InitialLatents::drawn(request.seed, self.dtype, request.sizes(), channels, first))
            }
        }
    }

    fn decode(
        &mut self,
        latents: &HostTensor,
        prompt: &str,
        index: usize,
        request: &Resolved,
        clock: &mut Clock,
    ) -> Result<Image, Error> {
        let vae = self.network(Net::Vae, request.sizes_of(Net::Vae), clock)?;
        clock.enter("decode");
        vae.bind("latents", latents)?;
        let pixels = vae.step(0)?.remove("image").expect("the decoder's result");
        self.check_finite(Net::Vae, &format!("for picture {index}"), &pixels)?;
        self.meter.look();
        Ok(Image::from_tensor(&pixels, self.metadata(prompt, index, request)))
    }
}
