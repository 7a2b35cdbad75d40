//! From a prompt to a picture: text encoders, the denoising loop, the decoder.

mod defaults;
mod denoise;
mod image;
mod memory;
mod optimize;
mod report;
mod request;
mod text;

pub(crate) use defaults::dtype_on;
pub use defaults::{Defaults, bundled_model};
pub use image::Image;
pub use memory::Memory;
pub(crate) use memory::check_fits;
pub(crate) use optimize::lossless;
pub use report::{Event, Report, StageTime};
pub use request::Request;

use crate::Error;
use optimize::Optimized;
use reflux_ir::pass::{PassReport, Pipeline, Recipe};
use reflux_ir::{DType, HostTensor, Program, WeightSource};
use reflux_models::noise::TorchGenerator;
use reflux_models::scheduler::Schedule;
use reflux_models::weights::RandomWeights;
use reflux_models::{ModelConfig, ModelFiles, Net, Parts, Sizes};
use reflux_runtime::{Device, Execute, Profile, load, load_streaming};
use report::Clock;
use request::Resolved;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
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
    /// [`reflux_passes::LOSSLESS_CPU`] on the processor and [`reflux_passes::LOSSLESS`] on a GPU, or exactly these.
    pub passes: Recipe,
    /// Where to write the transformer's program between passes.
    pub dump_dir: Option<PathBuf>,
    /// What stays on the device.
    pub memory: Memory,
}

/// A FLUX.1 model, ready to make pictures. Networks are loaded when they are first needed, and stay as [`Memory`] says.
pub struct FluxPipeline {
    /// Where the weights are; drawn if nowhere.
    files: Option<ModelFiles>,
    config: ModelConfig,
    defaults: Defaults,
    /// None where weights are drawn, to which all prompts are alike.
    tokenizers: Option<Tokenizers>,
    device: Device,
    dtype: DType,
    passes: Pipeline,
    dump_dir: Option<PathBuf>,
    memory: Memory,
    /// Networks as the passes made them, for the sizes last asked for.
    optimized: HashMap<Net, Optimized>,
    pass_reports: Vec<PassReport>,
    loaded: HashMap<Net, (Sizes, Box<dyn Execute>)>,
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
    /// Reads configurations and tokenizers, and checks the names and shapes of all weights.
    pub fn open_with(model: impl AsRef<Path>, mut options: OpenOptions) -> Result<Self, Error> {
        let files = ModelFiles::find(model.as_ref(), std::mem::take(&mut options.parts))?;
        Self::open_files(files, options)
    }

    /// Opens the model of these files, which say for themselves what takes the place of its networks.
    pub(crate) fn open_files(files: ModelFiles, options: OpenOptions) -> Result<Self, Error> {
        let config = ModelConfig::of(&files)?;
        let defaults = Defaults::of(files.folder(), &config)?;
        let mut pipeline = Self::with_random_weights(config, defaults, options)?;
        pipeline.tokenizers = Some(Tokenizers::open(files.folder())?);
        pipeline.files = Some(files);
        Ok(pipeline)
    }

    /// A model of this configuration with weights that mean nothing, to measure what pictures take.
    pub fn with_random_weights(
        config: ModelConfig,
        defaults: Defaults,
        options: OpenOptions,
    ) -> Result<Self, Error> {
        let device = options.device.unwrap_or(Device::Cpu);
        device.probe().map_err(reflux_runtime::RunError::from)?;
        let dtype = options.dtype.unwrap_or(dtype_on(device));
        if !dtype.is_float() {
            return Err(Error::Range {
                what: "the dtype",
                range: "f32, f16 or bf16".into(),
                found: dtype.to_string(),
            });
        }
        Ok(Self {
            files: None,
            config,
            defaults,
            tokenizers: None,
            device,
            dtype,
            passes: options.passes.pipeline(&lossless(Net::Transformer, device)),
            dump_dir: options.dump_dir,
            memory: options.memory,
            optimized: HashMap::new(),
            pass_reports: Vec::new(),
            loaded: HashMap::new(),
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
        let request = request.resolve(&self.defaults, &self.config)?;
        self.check_memory(&request)?;
        self.warnings = self.files.as_ref().map(ModelFiles::unused).unwrap_or_default();
        let mut clock = Clock::new(observe);
        let latents = self.initial_latents(&request)?;
        let schedule = Schedule::new(&self.config.scheduler, request.steps, request.sizes().image_tokens())?;
        let mut images = Vec::new();
        let mut finals = Vec::new();
        let conditioning = self.encode(&request, &mut clock)?;
        for (index, latents) in latents.into_iter().enumerate() {
            let prompt = index / request.num_images;
            let latents =
                self.denoise(latents, &conditioning[prompt], &schedule, &request, index, &mut clock)?;
            images.push(self.decode(&latents, &request.prompts[prompt], index, &request, &mut clock)?);
            finals.extend(latents.to_f32());
        }
        let packed = [images.len(), request.sizes().image_tokens(), self.config.transformer.in_channels];
        let report = Report {
            model: self.model_name(),
            device: self.device,
            dtype: self.dtype,
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: self.config.is_guided().then_some(request.guidance),
            seed: request.seed,
            passes: self.pass_reports.clone(),
            stages: clock.finish(),
            warnings: std::mem::take(&mut self.warnings),
            latents: HostTensor::from_f32(packed, &finals),
        };
        Ok((images, report))
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
            let weights = self.weights(net, &sizes, &program)?;
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

    /// The weights of `net`, which is to run as `program`.
    fn weights(&mut self, net: Net, sizes: &Sizes, program: &Program) -> Result<Rc<dyn WeightSource>, Error> {
        let Some(files) = &self.files else { return Ok(Rc::new(RandomWeights::new(program, 0))) };
        let weights = files.weights(net)?;
        // The checkpoint is one of the network as it was before the passes.
        let unused = weights.check_for(&self.config.lower(net, sizes, self.dtype)?, &[])?;
        if let Some(first) = unused.first() {
            let path = files.weights_path(net);
            let path = path.display();
            self.warnings.push(format!("{path}: {} tensors are not used, `{first}` the first", unused.len()));
        }
        Ok(Rc::new(weights))
    }

    /// Packed noise, one tensor `[1, tokens, channels]` per picture: drawn as torch draws it, or given.
    fn initial_latents(&self, request: &Resolved) -> Result<Vec<HostTensor>, Error> {
        let images = request.prompts.len() * request.num_images;
        let channels = self.config.transformer.in_channels;
        let shape = [1, request.sizes().image_tokens(), channels];
        let per_image = shape[1] * channels;
        if let Some(given) = &request.init_latents {
            if given.shape != [images, shape[1], channels] {
                let expected = format!("[{images}, {}, {channels}]", shape[1]);
                let found = format!("{:?}", given.shape);
                return Err(Error::Range {
                    what: "the shape of the initial latents",
                    range: expected,
                    found,
                });
            }
            return Ok(given
                .to_f32()
                .chunks(per_image)
                .map(|part| HostTensor::from_f32(shape, part))
                .collect());
        }
        let mut generator = TorchGenerator::new(request.seed);
        let mut draw = || match self.dtype {
            // diffusers draws in the pipeline's dtype, and torch draws bf16 from coarser uniforms.
            DType::BF16 => generator.randn_bf16(per_image).into_iter().map(f32::from).collect(),
            _ => generator.randn_f32(per_image),
        };
        Ok((0..images).map(|_| denoise::pack(&draw(), &request.sizes(), channels)).collect())
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
        let mut metadata = vec![
            ("prompt", prompt.to_owned()),
            ("seed", request.seed.to_string()),
            ("image", index.to_string()),
            ("steps", request.steps.to_string()),
            ("width", request.width.to_string()),
            ("height", request.height.to_string()),
            ("model", self.model_name()),
            ("dtype", self.dtype.to_string()),
            ("Software", format!("reflux {}", crate::VERSION)),
        ];
        if self.config.is_guided() {
            metadata.push(("guidance", request.guidance.to_string()));
        }
        if let Some(negative) = request.negative() {
            metadata.push(("negative_prompt", negative.to_owned()));
            metadata.push(("true_cfg_scale", request.true_cfg_scale.to_string()));
        }
        Ok(Image::from_tensor(&pixels, metadata))
    }
}
