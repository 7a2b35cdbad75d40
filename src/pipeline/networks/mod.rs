//! The networks of a model: opened, optimized, loaded and evicted. The data flow between them is not known here.

mod estimate;
mod finite;
mod given;
mod optimize;
mod weights;

pub(crate) use weights::open_weights;

use super::compiled::Compiled;
use super::defaults::{lossless, settle};
use super::lora::FittedLoras;
use super::memory::Memory;
use super::options::OpenOptions;
use super::report::Record;
use crate::Error;
use estimate::is_before_steps;
use reflux_ir::pass::{PassReport, Pipeline};
use reflux_ir::{DType, Fact, HostTensor, Name, Program, WeightSource};
use reflux_models::lora::base_of;
use reflux_models::scheduler::Schedule;
use reflux_models::weights::{Distribution, Weights};
use reflux_models::{Defaults, Family, ModelConfig, ModelFiles, Net, Role, Sizes};
use reflux_runtime::{Device, DeviceInfo, Execute, Profile, load_shared, load_streaming};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// The networks of a model on a device. They are loaded when they are first needed, and stay as [`Memory`] says.
pub(super) struct Networks {
    config: ModelConfig,
    /// Where the weights are, or `None` for random ones.
    files: Option<ModelFiles>,
    /// The denoiser's programs and weights, if the model is compiled.
    compiled: Option<Arc<Compiled>>,
    /// The weights of every other network; of the encoder only if it is needed. Only mapped until a network is loaded.
    weights: HashMap<&'static Net, Arc<Weights>>,
    device: Device,
    dtype: DType,
    passes: Pipeline,
    /// The passes for networks that run once per picture.
    passes_once: Pipeline,
    /// The LoRAs that the passes name.
    loras: FittedLoras,
    /// A program that replaces the denoiser's own.
    program: Option<Arc<Program>>,
    dump_dir: Option<PathBuf>,
    memory: Memory,
    /// How weights are distributed that no file has.
    random: Distribution,
    /// The time of each step, if it is known.
    timesteps: Option<Vec<f32>>,
    /// Networks after the passes, for the sizes last requested.
    optimized: HashMap<&'static Net, Optimized>,
    /// The report of the passes on the denoiser; none if its program was compiled.
    pass_reports: Vec<PassReport>,
    /// What to say of the sizes last requested, if the model is compiled for others.
    other_sizes: Option<String>,
    loaded: HashMap<&'static Net, (Sizes, Box<dyn Execute>)>,
    profiling: bool,
}

/// A network's program after the passes.
struct Optimized {
    sizes: Sizes,
    program: Program,
    /// Its peak of device memory, in bytes; on the processor a lower bound.
    needed: u64,
    /// How much of that it needs only while it runs.
    working: u64,
}

impl Networks {
    /// The networks of a model on `device`, which is that of `info`, with random weights until files are opened; of one that is
    /// `compiled`, its denoiser's are what was saved. Adds to `warnings`.
    ///
    /// # Errors
    /// If they cannot compute in the requested dtype, or if what is compiled cannot run with these options.
    pub fn unopened(
        config: ModelConfig,
        compiled: Option<Arc<Compiled>>,
        options: OpenOptions,
        device: Device,
        info: &DeviceInfo,
        warnings: &mut Vec<String>,
    ) -> Result<Self, Error> {
        let given = options.program.as_deref();
        let own = given.and_then(|program| given::dtype_of(program, &config));
        if let (Some(own), Some(asked)) = (own, options.dtype)
            && own != asked
        {
            return Err(Error::Range {
                what: "the dtype",
                range: format!("{own}, as in the program"),
                found: asked.to_string(),
            });
        }
        if let Some(compiled) = &compiled {
            compiled.check(&options, device)?;
            warnings.extend(compiled.other_machine(device.machine(info).machine));
        }
        let own = own.or(compiled.as_ref().map(|compiled| compiled.dtype()));
        let dtype = options.dtype.or(own).unwrap_or(device.dtype());
        if !dtype.is_float() {
            return Err(Error::Range {
                what: "the dtype",
                range: "f32, f16 or bf16".into(),
                found: dtype.to_string(),
            });
        }
        let defaults = lossless(Role::Denoiser, Some(device));
        let mut passes = match (given, &compiled) {
            (Some(_), _) => options.passes.only().pipeline(&defaults),
            (None, Some(compiled)) => compiled.passes()?,
            (None, None) => options.passes.pipeline(&defaults),
        };
        let loras = match &compiled {
            // They are in its weights.
            Some(_) => FittedLoras::default(),
            None => FittedLoras::settle(&mut passes, &*config, config.family().denoiser())?,
        };
        warnings.extend(loras.warnings.iter().cloned());
        // They are the same for all the other networks.
        let mut passes_once = lossless(Role::Decoder, Some(device));
        let said = [&mut passes, &mut passes_once].map(|pipeline| settle(pipeline, device, info));
        warnings.extend(said.into_iter().flatten().take(1));
        Ok(Self {
            config,
            files: None,
            compiled,
            weights: HashMap::new(),
            device,
            dtype,
            passes,
            passes_once,
            loras,
            program: options.program,
            dump_dir: options.dump_dir,
            memory: options.memory,
            random: options.random,
            timesteps: None,
            optimized: HashMap::new(),
            pass_reports: Vec::new(),
            other_sizes: None,
            loaded: HashMap::new(),
            profiling: false,
        })
    }

    /// Opens the weights of all networks, reading only headers. Adds to `warnings`.
    ///
    /// # Errors
    /// As [`open_weights`].
    pub fn open_weights(&mut self, files: &ModelFiles, warnings: &mut Vec<String>) -> Result<(), Error> {
        let is_compiled = |net: &Net| self.compiled_of(net).is_some();
        let nets: Vec<_> = self.family().nets.iter().copied().filter(|net| !is_compiled(net)).collect();
        for net in nets {
            let weights = open_weights(files, &self.config, net, warnings)?;
            self.weights.insert(net, Arc::new(weights));
        }
        self.files = Some(files.clone());
        Ok(())
    }

    /// Opens the encoder's weights, if they are not open yet.
    ///
    /// # Errors
    /// As [`open_weights`].
    pub fn open_encoder(&mut self, record: &mut Record) -> Result<(), Error> {
        let Some((net, files)) = self.family().encoder.zip(self.files.as_ref()) else { return Ok(()) };
        if !self.weights.contains_key(net) {
            let mut warnings = Vec::new();
            let weights = open_weights(files, &self.config, net, &mut warnings)?;
            self.weights.insert(net, Arc::new(weights));
            warnings.into_iter().for_each(|warning| record.warn(warning));
        }
        Ok(())
    }

    /// Says at which noise levels the steps run, on which passes may depend; `None` if there are none.
    pub fn run_at(&mut self, schedule: Option<&Schedule>) {
        let timesteps = schedule.map(|schedule| schedule.timesteps.clone());
        if self.timesteps != timesteps {
            self.timesteps = timesteps;
            let denoiser = self.family().denoiser();
            self.optimized.remove(denoiser);
            self.loaded.remove(denoiser);
        }
    }

    /// The defaults of requests: those of the program that is given, or of those that are compiled, or else `defaults`.
    pub fn defaults(&self, defaults: Defaults) -> Defaults {
        match (&self.program, &self.compiled) {
            (Some(program), _) => given::defaults_of(program, &self.config, defaults),
            (None, Some(compiled)) => compiled.defaults(defaults),
            (None, None) => defaults,
        }
    }

    /// What is compiled, if it is that of `net`.
    fn compiled_of(&self, net: &Net) -> Option<&Arc<Compiled>> {
        self.compiled.as_ref().filter(|_| net == self.family().denoiser())
    }

    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    pub fn family(&self) -> &'static Family {
        self.config.family()
    }

    pub fn device(&self) -> Device {
        self.device
    }

    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The weights of `net` as its files have them; `None` if they are compiled or random.
    pub fn own_weights(&self, net: &Net) -> Option<&Arc<Weights>> {
        self.weights.get(net)
    }

    /// The LoRAs that the passes name.
    pub fn loras(&self) -> &FittedLoras {
        &self.loras
    }

    /// The inputs of the denoiser that are strengths of LoRAs, if its program has them, and their values.
    pub fn strengths(&self) -> Vec<(Name, HostTensor)> {
        self.loras.strengths()
    }

    /// Applies the LoRAs that `passes` name, which run on the denoiser, instead of its own.
    pub fn settle_loras(&mut self, passes: &mut Pipeline) -> Result<(), Error> {
        self.loras = FittedLoras::settle(passes, &*self.config, self.family().denoiser())?;
        Ok(())
    }

    /// Sets the strength of the LoRA `index`, in the order of the passes that name them. Networks into whose weights it is
    /// merged are loaded anew; beside products it is an input.
    ///
    /// # Errors
    /// [`Error::Range`], if there is no such LoRA, or the strength is not finite.
    pub fn set_lora_strength(&mut self, index: usize, strength: f32) -> Result<(), Error> {
        self.check_lora(index)?;
        if !strength.is_finite() {
            let (what, range) = ("the strength of a LoRA", "finite".into());
            return Err(Error::Range { what, range, found: strength.to_string() });
        }
        for net in self.loras.set_strength(index, strength, &*self.config) {
            self.loaded.remove(net);
        }
        self.loras.rename_in(&mut self.passes);
        Ok(())
    }

    /// Reads `file` in the place of the LoRA `index`. Networks into whose weights it is merged are loaded anew; beside products,
    /// its weights are read into the program that is loaded.
    ///
    /// # Errors
    /// If there is no such LoRA, or the file is not one of the same modules and ranks.
    pub fn replace_lora(&mut self, index: usize, file: &Path) -> Result<(), Error> {
        self.check_lora(index)?;
        let start = Instant::now();
        let before = self.loras.clone();
        let (merged, beside) = self.loras.replace(index, file, &*self.config)?;
        tracing::trace!("{}: fitted after {:?}", file.display(), start.elapsed());
        for net in merged {
            self.loaded.remove(net);
        }
        let denoiser = self.family().denoiser();
        if let Some((_, executor)) = self.loaded.get(denoiser) {
            let weights = self.weights_of(denoiser, executor.program());
            let (_, executor) = self.loaded.get_mut(denoiser).expect("just found");
            if let Err(error) = executor.reload(weights, &|name| beside.contains(name)) {
                // Some weights may be those of the new file.
                self.loaded.remove(denoiser);
                self.loras = before;
                return Err(error.into());
            }
        }
        self.loras.rename_in(&mut self.passes);
        tracing::trace!("{}: loaded after {:?}", file.display(), start.elapsed());
        Ok(())
    }

    fn check_lora(&self, index: usize) -> Result<(), Error> {
        if index < self.loras.len() {
            return Ok(());
        }
        let range = format!("less than {}, the number of LoRAs", self.loras.len());
        Err(Error::Range { what: "the index of a LoRA", range, found: index.to_string() })
    }

    /// The passes that run on the denoiser before it is loaded.
    pub fn passes(&self) -> &Pipeline {
        &self.passes
    }

    /// The report of the passes on the denoiser; none if its program was compiled.
    pub fn pass_reports(&self) -> &[PassReport] {
        &self.pass_reports
    }

    /// The lossy passes with which the denoiser was compiled, as pipeline text, if it was with any.
    pub fn compiled_lossy_passes(&self) -> Result<Option<String>, Error> {
        self.compiled.as_ref().map_or(Ok(None), |compiled| compiled.lossy_passes())
    }

    /// The passes that made the denoiser's program, now or when it was compiled, as pipeline text.
    pub fn passes_run(&self) -> String {
        let now: Vec<_> = self.pass_reports.iter().map(|pass| pass.pass.as_str()).collect();
        match (&now[..], &self.compiled, &self.program) {
            ([], Some(_), None) => self.passes.to_string(),
            _ => now.join(","),
        }
    }

    /// What to say of the sizes last requested, if the model is compiled for others.
    pub fn other_sizes(&self) -> Option<&str> {
        self.other_sizes.as_deref()
    }

    /// Starts or stops measuring every op.
    pub fn set_profiling(&mut self, on: bool) {
        self.profiling = on;
        for (_, executor) in self.loaded.values_mut() {
            executor.set_profiling(on);
        }
    }

    /// The profiles, by network.
    pub fn profiles(&self) -> Vec<(&'static Net, &Profile)> {
        let profile = |net: &'static Net| Some((net, self.loaded.get(net)?.1.profile()?));
        self.family().all_nets().filter_map(profile).collect()
    }

    /// The network for these sizes, loaded if it is not.
    ///
    /// # Errors
    /// If passes fail on it, or it cannot be loaded.
    pub fn get(
        &mut self,
        net: &'static Net,
        sizes: Sizes,
        record: &mut Record,
    ) -> Result<&mut dyn Execute, Error> {
        if self.loaded.get(net).is_none_or(|(loaded, _)| *loaded != sizes) {
            self.evict(net);
            record.enter(format!("load {}", net.folder));
            let start = Instant::now();
            let program = self.optimized(net, &sizes)?.program.clone();
            tracing::debug!("{}: optimized after {:?}", net.folder, start.elapsed());
            let weights = self.weights_of(net, &program);
            let device = self.device.running(&program)?;
            let mut executor = match self.memory {
                Memory::Resident => load_shared(device, program, weights)?,
                Memory::Low => load_streaming(device, program, weights)?,
            };
            tracing::debug!("{}: loaded after {:?}", net.folder, start.elapsed());
            executor.set_profiling(self.profiling);
            record.warnings.extend(executor.fallbacks().iter().cloned());
            self.loaded.insert(net, (sizes, executor));
        }
        Ok(self.loaded.get_mut(net).expect("just loaded").1.as_mut())
    }

    /// Frees memory for loading `net`.
    fn evict(&mut self, net: &'static Net) {
        // The old one goes first, so that the two are never in memory together.
        self.loaded.remove(net);
        if self.memory == Memory::Low {
            self.loaded.retain(|other, _| is_before_steps(other) == is_before_steps(net));
            self.device.release_unused();
        }
    }

    /// The weights of `net`, which is to run as `program`.
    pub fn weights_of(&self, net: &'static Net, program: &Program) -> Arc<dyn WeightSource> {
        if let Some(compiled) = self.compiled_of(net) {
            return compiled.weights();
        }
        match self.weights.get(net) {
            Some(weights) => self.loras.weights(net, Arc::clone(weights) as Arc<dyn WeightSource>),
            None => self.loras.random_weights(net, program, self.random, 0),
        }
    }

    /// Refuses a given program that reads missing weights or does not match `sizes`, before anything runs.
    pub fn check_given(&mut self, sizes: &Sizes) -> Result<(), Error> {
        let Some(given) = self.program.clone() else { return Ok(()) };
        let denoiser = self.family().denoiser();
        self.optimized(denoiser, sizes)?;
        if let Some(compiled) = &self.compiled {
            return Ok(compiled.weights().check(&given)?);
        }
        let Some(weights) = self.weights.get(denoiser) else { return Ok(()) };
        let read = given.weights();
        let made = read.keys().find(|name| base_of(name) != Some(**name));
        if let Some(name) = made.filter(|_| self.loras.len() == 0) {
            let reason = format!("it reads `{name}`, which LoRAs make; give these with --lora");
            return Err(Error::Program { name: given.name.to_string(), reasons: vec![reason] });
        }
        let tensor = |(name, fact): (&str, &Fact)| Some((base_of(name)?.to_owned(), fact.shape.to_vec()));
        let expected: Vec<_> = read.into_iter().filter_map(tensor).collect();
        weights.check(&expected, &[])?;
        Ok(())
    }
}
