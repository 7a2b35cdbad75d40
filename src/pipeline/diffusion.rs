//! The data flow: prompt, conditioning, latents, picture.

use super::compiled::Compiled;
use super::denoise::{Batch, denoise};
use super::image::Image;
use super::initial::InitialLatents;
use super::metadata::Maker;
use super::networks::Networks;
use super::noise::Draws;
use super::options::OpenOptions;
use super::pictures::Pictures;
use super::prompt;
use super::report::{Event, Picture, Record, Report};
use super::request::Request;
use super::resolved::Resolved;
use super::text::{Conditioning, Encoded, Prompts, together};
use super::tiles::Tiles;
use crate::Error;
use reflux_ir::pass::{PassReport, Pipeline};
use reflux_ir::{DType, HostTensor, Program};
use reflux_models::{Defaults, ModelConfig, ModelFiles, Net, Sizes, names};
use reflux_runtime::{Device, MemoryMeter, Profile};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// A model, ready to make pictures.
pub struct DiffusionPipeline {
    networks: Networks,
    prompts: Prompts,
    /// Defaults for requests.
    defaults: Defaults,
    /// The name of the model in pictures' metadata.
    name: String,
    device_name: String,
    /// Warnings that apply to every picture.
    notes: Vec<String>,
    meter: MemoryMeter,
}

/// What the steps of a picture begin with.
pub(super) struct Begun {
    /// The denoiser's inputs that the text encoders make.
    pub conditioning: Conditioning,
    /// Noise, packed `[1, tokens, channels]`.
    pub latents: HostTensor,
}

impl DiffusionPipeline {
    /// Opens a model, to run on the processor in f32: a folder in diffusers layout, or a model in the Hub's local cache.
    ///
    /// # Errors
    /// As [`DiffusionPipeline::open_with`].
    pub fn open(model: impl AsRef<Path>) -> Result<Self, Error> {
        Self::open_with(model, OpenOptions::default())
    }

    /// Opens a model: a folder in diffusers layout, or the id of a model in the Hub's local cache ([`ModelFiles::find`]).
    ///
    /// Reads configurations and tokenizers, and checks names, shapes and types of all weights, so that faults show before any
    /// network runs.
    ///
    /// # Errors
    /// If the model is invalid, or cannot run with these `options`.
    pub fn open_with(model: impl AsRef<Path>, mut options: OpenOptions) -> Result<Self, Error> {
        let files = ModelFiles::find(model.as_ref(), std::mem::take(&mut options.parts))?;
        Self::open_files(files, options)
    }

    /// Opens the model of these files, including replacements of its networks.
    ///
    /// # Errors
    /// As [`DiffusionPipeline::open_with`].
    pub fn open_files(files: ModelFiles, options: OpenOptions) -> Result<Self, Error> {
        let config = ModelConfig::of(&files)?;
        let defaults = Defaults::of(files.folder(), &*config)?;
        let notes = [files.unused(), config.warnings.clone()].concat();
        let compiled = Compiled::open(&files)?.map(Arc::new);
        let mut pipeline = Self::unopened(config, compiled, defaults, options)?;
        pipeline.notes.extend(notes);
        pipeline.prompts = Prompts::open(&files, pipeline.config())?;
        pipeline.networks.open_weights(&files, &mut pipeline.notes)?;
        pipeline.name = files.name().unwrap_or(pipeline.name);
        Ok(pipeline)
    }

    /// A model of this configuration with random weights, to measure time and memory.
    ///
    /// # Errors
    /// If it cannot run with these `options`.
    pub fn with_random_weights(
        config: ModelConfig,
        defaults: Defaults,
        options: OpenOptions,
    ) -> Result<Self, Error> {
        Self::unopened(config, None, defaults, options)
    }

    /// A model of this configuration, of whose weights none but what is `compiled` are there yet.
    fn unopened(
        config: ModelConfig,
        compiled: Option<Arc<Compiled>>,
        defaults: Defaults,
        options: OpenOptions,
    ) -> Result<Self, Error> {
        let device = options.device.unwrap_or(Device::host());
        let info = device.probe().map_err(reflux_runtime::RunError::from)?;
        let mut notes = Vec::new();
        let prompts = Prompts::unread(&config);
        let networks = Networks::unopened(config, compiled, options, device, &info, &mut notes)?;
        Ok(Self {
            prompts,
            defaults: networks.defaults(defaults),
            name: networks.family().name.to_owned(),
            device_name: info.name,
            notes,
            meter: MemoryMeter::start(device),
            networks,
        })
    }

    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        self.networks.config()
    }

    /// The name of the model, as pictures' metadata has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Defaults for requests.
    pub fn defaults(&self) -> &Defaults {
        &self.defaults
    }

    /// Where the networks run.
    pub fn device(&self) -> Device {
        self.networks.device()
    }

    /// The passes that run on the transformer before it is loaded.
    pub fn passes(&self) -> &Pipeline {
        self.networks.passes()
    }

    /// The dtype in which the networks compute.
    pub fn dtype(&self) -> DType {
        self.networks.dtype()
    }

    /// Sets the strength of a LoRA for the pictures from here on: of the first that the passes name, if `index` is 0.
    /// Nothing is planned anew, and where the LoRA is beside the products, nothing is loaded anew; merged, it is merged again
    /// into the weights.
    ///
    /// # Errors
    /// If there is no such LoRA, or the strength is not finite.
    pub fn set_lora_strength(&mut self, index: usize, strength: f32) -> Result<(), Error> {
        self.networks.set_lora_strength(index, strength)
    }

    /// Puts the LoRA of `file` in the place of one that the passes name, for the pictures from here on, with the same strength.
    /// Nothing is planned or compiled anew, and where the LoRA is beside the products, only its own weights are read; merged, it
    /// is merged again.
    ///
    /// # Errors
    /// If there is no such LoRA, or the file is not one of the same modules and ranks.
    pub fn replace_lora(&mut self, index: usize, file: &Path) -> Result<(), Error> {
        self.networks.replace_lora(index, file)
    }

    /// The program that draws the pictures of `request`, after the passes.
    ///
    /// # Errors
    /// If the request, or the passes on it, fail.
    pub fn program(&mut self, request: &Request) -> Result<&Program, Error> {
        let request = request.resolve(&self.defaults, self.config())?;
        self.networks.run_at(request.schedule(self.networks.config()).as_ref().ok());
        let net = self.networks.family().denoiser();
        self.networks.program(net, &request.sizes_of(net))
    }

    /// The bytes of all weights of that program, in the types in which it reads them, or in which the model stores them where that
    /// takes fewer: what they take on the disk once compiled.
    ///
    /// # Errors
    /// As [`DiffusionPipeline::program`].
    pub fn weight_bytes(&mut self, request: &Request) -> Result<u64, Error> {
        self.program(request)?;
        let sizes = self.sizes(request)?;
        self.networks.weight_bytes(self.networks.family().denoiser(), &sizes)
    }

    /// The lossy passes with which the model was compiled, as pipeline text, if it was with any.
    ///
    /// # Errors
    /// If this version does not know one.
    pub fn compiled_lossy_passes(&self) -> Result<Option<String>, Error> {
        self.networks.compiled_lossy_passes()
    }

    /// The passes that made the program of the last request, as pipeline text, now or when it was compiled.
    pub fn passes_run(&self) -> String {
        self.networks.passes_run()
    }

    /// What these passes did; nothing where the program was compiled.
    pub fn pass_reports(&self) -> &[PassReport] {
        self.networks.pass_reports()
    }

    /// The name of the device.
    pub fn device_name(&self) -> &str {
        &self.device_name
    }

    /// Starts measuring every op of the networks loaded from here on; see [`DiffusionPipeline::profiles`].
    pub fn set_profiling(&mut self, on: bool) {
        self.networks.set_profiling(on);
    }

    /// The profiles, by network.
    pub fn profiles(&self) -> Vec<(&'static Net, &Profile)> {
        self.networks.profiles()
    }

    /// The peak of device memory, in bytes, for the pictures of `request` if no network is loaded yet. On the processor it is a
    /// lower bound.
    ///
    /// # Errors
    /// If the request, or the passes on a network of its size, fail.
    pub fn planned_peak(&mut self, request: &Request) -> Result<u64, Error> {
        let request = request.resolve(&self.defaults, self.config())?;
        self.networks.run_at(request.schedule(self.networks.config()).as_ref().ok());
        self.networks.peak(|net| request.needed(net))
    }

    /// What decides how each picture of `request` looks, as its metadata will say it: prompt, seed, sizes, model, passes, device.
    /// Nothing is loaded.
    ///
    /// # Errors
    /// If the request is none for this model.
    pub fn settings(&self, request: &Request) -> Result<Vec<BTreeMap<String, String>>, Error> {
        let request = request.resolve(&self.defaults, self.config())?;
        let maker = self.maker(None);
        let of = |index: usize| maker.settings(&request.prompts[request.prompt_of(index)], index, &request);
        Ok(request.pictures().map(of).collect())
    }

    /// The sizes for which the denoiser is loaded to draw `request`.
    ///
    /// # Errors
    /// If the request is none for this model.
    pub fn sizes(&self, request: &Request) -> Result<Sizes, Error> {
        let request = request.resolve(&self.defaults, self.config())?;
        Ok(request.sizes_of(self.networks.family().denoiser()))
    }

    /// What the metadata of pictures has in common.
    fn maker(&self, peak_bytes: Option<u64>) -> Maker<'_> {
        let (networks, model) = (&self.networks, self.name.clone());
        Maker { networks, model, device_name: &self.device_name, peak_bytes }
    }

    /// What the steps of `request`, for one picture that is drawn from noise alone, begin with.
    ///
    /// # Errors
    /// If the networks do not fit into memory, or the prompt cannot be encoded.
    pub(super) fn begin(&mut self, request: &Resolved, record: &mut Record) -> Result<Begun, Error> {
        self.networks.check_memory(|net| request.needed(net))?;
        let draws = Draws::new(request.seed, self.networks.config(), self.networks.dtype());
        let latents = InitialLatents::of(request, self.networks.config(), draws)?.next();
        let encoded = self.prompts.encode(0, &mut self.networks, request, record)?;
        let conditioning = encoded.of(0).expect("it has just been encoded").clone();
        Ok(Begun { conditioning, latents })
    }

    /// The networks.
    pub(super) fn networks(&mut self) -> &mut Networks {
        &mut self.networks
    }

    /// The networks, and the text encoders with their tokenizers.
    pub(super) fn into_parts(self) -> (Networks, Prompts) {
        (self.networks, self.prompts)
    }

    /// Makes the pictures of `request`, [unwatched](Request::unwatched): `num_images` per prompt, prompt by prompt.
    pub fn generate(&mut self, request: &Request) -> Result<Vec<Image>, Error> {
        let request = Request { unwatched: true, ..request.clone() };
        self.generate_with(&request, &mut |_| {}).map(|(images, _)| images)
    }

    /// Makes the pictures of `request`, reporting every stage and step to `observe`.
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

    /// Makes the pictures of `request`, reporting every stage and step to `observe`, and passes each to `take` before the next is
    /// begun. The report's latents are empty: each picture has its own.
    ///
    /// # Errors
    /// If a picture cannot be made, or if `take` fails.
    pub fn generate_each(
        &mut self,
        request: &Request,
        observe: &mut dyn FnMut(Event),
        take: &mut dyn FnMut(Picture) -> Result<(), Error>,
    ) -> Result<Report, Error> {
        let mut record = Record::new(observe);
        record.warnings = [self.notes.clone(), request.warnings(self.config())].concat();
        let request = request.resolve(&self.defaults, self.config())?;
        record.warnings.extend(request.stretched());
        // Sizes that the scheduler refuses are refused after memory is checked.
        let schedule = request.schedule(self.networks.config());
        self.networks.run_at(schedule.as_ref().ok());
        self.networks.check_given(&request.sizes_of(self.networks.family().denoiser()))?;
        if request.needs_encoder() {
            self.networks.open_encoder(&mut record)?;
        }
        self.networks.check_memory(|net| request.needed(net))?;
        self.meter.begin();
        let schedule = schedule?;
        let mut draws = Draws::new(request.seed, self.networks.config(), self.networks.dtype());
        let pictures = Pictures::encode(&request, &mut self.networks, &mut draws, &mut record)?;
        let noise = InitialLatents::of(&request, self.networks.config(), draws)?;
        let count = request.pictures().len();
        // On the processor, there is no time in which nothing else runs.
        let mut noise = if self.device().is_host() { noise.one_by_one(count) } else { noise.ahead(count) };
        record.warnings.extend(request.prompts.iter().filter_map(|prompt| prompt::warning(prompt)));
        let given: Conditioning = pictures.inputs(request.denoiser_batch()).collect();
        let geometry = self.networks.family().geometry;
        if let Some(side) = request.vae_tiling.filter(|_| Tiles::of(&request, geometry).is_none()) {
            record.warn(format!("the picture fits into one tile of {side} pixels: VAE tiling has no effect"));
        }
        if let Some(warning) = self.decided_together(&request)? {
            record.warn(warning);
        }
        let mut encoded = Encoded::default();
        let (mut left, at_once) = (request.pictures(), request.at_once());
        while !left.is_empty() {
            let first = left.start;
            let group = first..left.end.min(first + at_once);
            left.start = group.end;
            let (mut starts, mut conditioning) = (Vec::new(), Vec::new());
            for index in group {
                let (prompt, networks) = (request.prompt_of(index), &mut self.networks);
                if encoded.of(prompt).is_none() {
                    // The last ones go first, so that the two are never in memory together.
                    drop(std::mem::take(&mut encoded));
                    encoded = self.prompts.encode(prompt, networks, &request, &mut record)?;
                    self.meter.look();
                }
                conditioning.push(encoded.of(prompt).expect("it has just been encoded").clone());
                starts.push(pictures.start(noise.next().expect("there are as many as pictures"), &schedule));
            }
            let mut conditioning = together(&conditioning, at_once);
            conditioning.extend(given.iter().cloned());
            let batch = Batch { first, starts, conditioning };
            let all = denoise(&mut self.networks, batch, &schedule, &request, &mut record)?;
            self.meter.look();
            for (index, latents) in (first..).zip(all) {
                let image = self.decode(&latents, index, &request, &mut record)?;
                record.leave();
                take(Picture { index, image, latents })?;
            }
        }
        Ok(self.report(&request, record))
    }

    /// What to say of a network that decides for all pictures of a batch at once, as it does for one.
    fn decided_together(&mut self, request: &Resolved) -> Result<Option<String>, Error> {
        let net = self.networks.family().denoiser();
        if request.at_once() == 1 || self.networks.program(net, &request.sizes_of(net))?.probes.is_empty() {
            return Ok(None);
        }
        Ok(Some(format!(
            "the passes have steps decide for all {} pictures of a batch together, so pictures differ from those that are made one by one; leave \
             out --batch, or name the steps that compute",
            request.at_once()
        )))
    }

    /// The picture of packed latents.
    pub(super) fn decode(
        &mut self,
        latents: &HostTensor,
        index: usize,
        request: &Resolved,
        record: &mut Record,
    ) -> Result<Image, Error> {
        let (net, geometry) = (self.networks.family().decoder(), self.networks.family().geometry);
        let decoder = self.networks.get(net, request.sizes_of(net), record)?;
        record.enter("decode");
        let mut pixels = |latents: &HostTensor| -> Result<HostTensor, Error> {
            decoder.bind(names::LATENTS, latents)?;
            Ok(decoder.step(0)?.remove(names::IMAGE).expect("the decoder's result"))
        };
        let pixels = match Tiles::of(request, geometry) {
            None => pixels(latents)?,
            Some(tiles) => {
                let decoded = tiles.places().map(|place| pixels(&tiles.cut(latents, place)));
                tiles.blend(&decoded.collect::<Result<Vec<_>, _>>()?)
            }
        };
        self.networks.check_finite(net, &format!("for picture {index}"), &pixels)?;
        self.meter.look();
        let maker = self.maker(self.meter.peak());
        let prompt = &request.prompts[request.prompt_of(index)];
        Ok(Image::from_tensor(&pixels, maker.metadata(prompt, index, request)))
    }

    /// The report, without latents.
    fn report(&self, request: &Resolved, record: Record) -> Report {
        let passes = self.networks.pass_reports();
        let of_passes: Vec<_> = passes.iter().flat_map(|pass| pass.warnings.iter().cloned()).collect();
        let (stages, mut warnings) = record.finish();
        warnings.extend(self.networks.other_sizes().map(str::to_owned));
        Report {
            model: self.name.clone(),
            device: self.device(),
            device_name: self.device_name.clone(),
            dtype: self.dtype(),
            width: request.width,
            height: request.height,
            steps: request.steps,
            guidance: self.config().is_guided().then_some(request.guidance),
            seed: request.seed,
            passes: passes.to_vec(),
            stages,
            peak_bytes: self.meter.peak(),
            warnings: [of_passes, warnings].concat(),
            latents: HostTensor::from_f32([0, 0, 0], &[]),
        }
    }
}
