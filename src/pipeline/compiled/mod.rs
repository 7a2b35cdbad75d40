//! Compiled models: the denoiser's programs as the passes left them, and its weights as these read them, beside the other
//! networks of the model. `docs/checkpoints.md` describes the format.

mod error;
mod manifest;
mod sizes;

pub use error::CompiledError;
pub(crate) use manifest::{CopiedEntry, FOLDER, FORMAT, MANIFEST, Manifest, ProgramEntry, WeightsEntry};
pub(crate) use sizes::{described, file_name};

use crate::Error;
use crate::digest::{of_bytes, of_file};
use crate::pipeline::defaults::lossless;
use crate::pipeline::lora::LoraFiles;
use crate::pipeline::options::OpenOptions;
use crate::pipeline::registry;
use reflux_ir::pass::{Driver, Exactness, Pass, Pipeline, PipelineReport, Recipe};
use reflux_ir::text::{parse, parse_type};
use reflux_ir::{DType, Fact, Machine, Program};
use reflux_models::lora::{MERGED, base_of};
use reflux_models::weights::{SavedWeights, read_as_stored};
use reflux_models::{ConfigFile, Defaults, ModelFiles, Role, Sizes};
use reflux_passes::{Adapters, Lora, LoraMode};
use reflux_runtime::Device;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A compiled model that has been found whole.
#[derive(Debug)]
pub(crate) struct Compiled {
    /// The model's folder.
    folder: PathBuf,
    manifest: Manifest,
    /// The texts of the programs, in the manifest's order.
    programs: Vec<String>,
    weights: Arc<SavedWeights>,
    /// See [`Manifest::stored`].
    stored: BTreeMap<String, Fact>,
}

impl Compiled {
    /// The compiled model in `files`; `None` if that is any other model. Reads all of its programs, and of its weights the
    /// headers: those and the lengths of the files must be the ones that were written.
    ///
    /// # Errors
    /// If it is incomplete, damaged, edited, of another format, or if weights are given for what is compiled.
    pub fn open(files: &ModelFiles) -> Result<Option<Self>, Error> {
        let (model, denoiser) = (files.folder(), files.family().denoiser());
        let folder = model.join(FOLDER);
        if files.is_file() || folder.symlink_metadata().is_err() {
            return Ok(None);
        }
        let model = model.to_owned();
        if files.is_replaced(denoiser) {
            let why =
                "its transformer cannot be replaced: leave out the option, or compile a model with that one";
            return Err(CompiledError::Unneeded { folder: model, why }.into());
        }
        let manifest = Manifest::read(&folder)?;
        let mut programs = Vec::new();
        for entry in &manifest.programs {
            let path = folder.join(&entry.file);
            std::fs::metadata(&path).map_err(|error| unreadable(&path, error))?;
            let file = ConfigFile::open(&path)?;
            let text = std::str::from_utf8(file.bytes()).ok();
            let text = text.filter(|text| of_bytes(text.as_bytes()) == entry.sha256);
            programs.push(text.ok_or(CompiledError::ChangedProgram { path })?.to_owned());
        }
        let mut paths = Vec::new();
        for entry in &manifest.weights {
            let path = folder.join(&entry.file);
            refuse_other_length(&path, entry.bytes)?;
            refuse_changed(&path, entry.header_bytes, &entry.header_sha256)?;
            paths.push(path);
        }
        let weights = Arc::new(SavedWeights::open(&folder, &paths)?);
        let stored = manifest.stored.iter().map(|(name, text)| {
            let why = || format!("`{text}` of `{name}` is no type");
            let invalid = |_| CompiledError::Manifest { path: folder.join(MANIFEST), why: why() };
            Ok((name.clone(), parse_type(text).map_err(invalid)?))
        });
        let stored = stored.collect::<Result<_, CompiledError>>()?;
        Ok(Some(Self { folder: model, manifest, programs, weights, stored }))
    }

    /// Reads all weights and all that was copied too, and compares them with what was written.
    ///
    /// # Errors
    /// [`CompiledError`], with the first file that is missing, or has another length or other contents.
    pub fn verify(&self) -> Result<(), Error> {
        let folder = self.folder.join(FOLDER);
        let weights = self.manifest.weights.iter();
        let weights = weights.map(|entry| (folder.join(&entry.file), entry.bytes, &entry.sha256));
        let copied = self.manifest.copied.iter();
        let copied = copied.map(|entry| (self.folder.join(&entry.file), entry.bytes, &entry.sha256));
        copied.chain(weights).try_for_each(|(path, bytes, sha256)| {
            refuse_other_length(&path, bytes)?;
            refuse_changed(&path, bytes, sha256)
        })
    }

    /// Refuses options that have no meaning for it, or with which it cannot run.
    ///
    /// # Errors
    /// [`CompiledError`].
    pub fn check(&self, options: &OpenOptions, device: Device) -> Result<(), Error> {
        let folder = || self.folder.clone();
        if *self.manifest.device != *device.name() {
            let own = self.manifest.device.clone();
            return Err(CompiledError::Device { folder: folder(), own, asked: device }.into());
        }
        if options.program.is_some() {
            return Ok(());
        }
        let own = self.dtype();
        if let Some(asked) = options.dtype.filter(|asked| *asked != own) {
            return Err(CompiledError::DType { folder: folder(), own, asked }.into());
        }
        if !options.passes.is_default() && !self.is_made_by(&options.passes, device) {
            let own = match &*self.manifest.passes {
                "" => "none".to_owned(),
                passes => passes.to_owned(),
            };
            return Err(CompiledError::Passes { folder: folder(), own }.into());
        }
        if options.dump_dir.is_some() {
            let why = "no pass runs of which programs could be dumped: leave out --dump-dir, and see its folder `reflux`";
            return Err(CompiledError::Unneeded { folder: folder(), why }.into());
        }
        Ok(())
    }

    /// Whether `recipe` asks for the passes that ran on its programs.
    fn is_made_by(&self, recipe: &Recipe, device: Device) -> bool {
        let mut asked = recipe.pipeline(&lossless(Role::Denoiser, Some(device)));
        if let Some(machine) = Machine::named(&self.manifest.machine) {
            asked.settle(machine);
        }
        asked.to_string() == self.manifest.passes
    }

    /// A warning, if passes decided by the times of another device than `machine`.
    pub fn other_machine(&self, machine: &Machine) -> Option<String> {
        let (folder, own) = (self.folder.display(), &self.manifest.machine);
        (*own != machine.name).then(|| {
            format!(
                "{folder} is compiled for {own}, and this is run as {}: another choice of kernels may be faster; compile it here",
                machine.name
            )
        })
    }

    /// What the manifest says.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The error for who wants to run passes on its programs.
    pub fn no_passes(&self) -> CompiledError {
        let folder = self.folder.join(FOLDER);
        let programs = self.manifest.programs.iter().map(|entry| folder.join(&entry.file)).collect();
        CompiledError::NoPasses { folder: self.folder.clone(), programs }
    }

    /// The lossy passes that ran on its programs, as pipeline text, if there are any.
    ///
    /// # Errors
    /// If this version does not know one.
    pub fn lossy_passes(&self) -> Result<Option<String>, Error> {
        let passes = self.passes()?;
        let is_lossy = |(_, pass): &(usize, &dyn Pass)| pass.exactness() == Exactness::Lossy;
        let lossy = passes.passes().enumerate().filter(is_lossy);
        let texts: Vec<String> = lossy.map(|(index, _)| passes.text_of(index)).collect();
        Ok(Some(texts.join(",")).filter(|text| !text.is_empty()))
    }

    /// Refuses a compiled model, where `what` is to measure steps as they are before lossy passes.
    ///
    /// # Errors
    /// [`CompiledError::NeedsOriginal`].
    pub fn refuse(files: &ModelFiles, what: &'static str) -> Result<(), Error> {
        let Some(compiled) = Self::open(files)? else { return Ok(()) };
        let (folder, model) = (compiled.folder, compiled.manifest.model);
        Err(CompiledError::NeedsOriginal { folder, model, what }.into())
    }

    /// The model's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The dtype in which its programs compute.
    pub fn dtype(&self) -> DType {
        self.manifest.dtype
    }

    /// The passes that ran on its programs, as they run on one of another size: what LoRAs are merged into, the weights tell.
    ///
    /// # Errors
    /// If this version does not know one.
    pub fn passes(&self) -> Result<Pipeline, Error> {
        let mut passes = Pipeline::parse(&self.manifest.passes, &registry())?;
        let merged = self.weights.types().filter_map(|(name, _)| {
            Some((base_of(name).filter(|_| name.ends_with(MERGED))?.to_owned(), name.to_owned()))
        });
        let adapters = Adapters { merged: merged.collect(), branches: Vec::new() };
        let fitted = |pass: &dyn Pass| -> Result<Option<Arc<dyn Pass>>, Infallible> {
            let is_lora = pass.name() == LoraFiles::NAME;
            let fitted = || Lora::new(pass.options(), LoraMode::Merge, adapters.clone());
            Ok(is_lora.then(|| Arc::new(fitted()) as Arc<dyn Pass>))
        };
        let Ok(_) = passes.replace(fitted);
        Ok(passes)
    }

    /// The defaults of requests for pictures that it can draw without any pass: its first sizes.
    pub fn defaults(&self, defaults: Defaults) -> Defaults {
        let mut drawn = self.manifest.programs.iter().map(|entry| Sizes::from(entry.sizes));
        match drawn.find(|sizes| sizes.batch == 1 && sizes.reference.is_none()) {
            Some(Sizes { steps, text_tokens: max_sequence_length, height, width, .. }) => {
                Defaults { steps, max_sequence_length, height, width, ..defaults }
            }
            None => defaults,
        }
    }

    /// The weights of its programs.
    pub fn weights(&self) -> Arc<SavedWeights> {
        Arc::clone(&self.weights)
    }

    /// Makes `program`, as it was lowered, read weights as the one did that was compiled.
    pub fn read_as_stored(&self, program: &mut Program) {
        read_as_stored(program, &|name| self.stored.get(name).cloned());
    }

    /// The program for these sizes, whose steps are at these times, if it is compiled.
    ///
    /// # Errors
    /// If this version cannot read it.
    pub fn program(&self, sizes: &Sizes, timesteps: Option<&[f32]>) -> Result<Option<Program>, Error> {
        let is_meant = |entry: &ProgramEntry| {
            let times = entry.timesteps.iter().map(|&time| time as f32);
            entry.sizes == (*sizes).into() && timesteps.is_none_or(|asked| times.eq(asked.iter().copied()))
        };
        let Some(index) = self.manifest.programs.iter().position(is_meant) else { return Ok(None) };
        let path = self.folder.join(FOLDER).join(&self.manifest.programs[index].file);
        let program = parse(&self.programs[index]).map_err(|error| Error::Parse { path, error })?;
        Ok(Some(program))
    }

    /// What the passes of its programs make of `lowered`, the model's program for other sizes.
    ///
    /// # Errors
    /// If a pass fails, or the weights are not saved as the program then reads them.
    pub fn optimize(&self, lowered: Program, mut driver: Driver) -> Result<(Program, PipelineReport), Error> {
        let (program, report) = driver.run(lowered, &self.passes()?)?;
        self.weights.check(&program)?;
        Ok((program, report))
    }

    /// What to say where a program of other sizes is wanted.
    pub fn other_sizes(&self, sizes: &Sizes) -> String {
        let own = self.manifest.programs.iter().map(|entry| described(&entry.sizes.into()));
        format!(
            "{} is compiled for {}, and at the usual noise levels; for {} the passes ran anew, with the weights as they are saved \
             (`reflux compile` adds sizes)",
            self.folder.display(),
            own.collect::<Vec<_>>().join("; "),
            described(sizes)
        )
    }
}

/// The error for a file that cannot be read.
fn unreadable(path: &Path, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => CompiledError::Missing { path: path.to_owned() }.into(),
        _ => Error::Read { path: path.to_owned(), error },
    }
}

/// Refuses a file that was written with another length, and what is no file: a pipe would be read for ever.
fn refuse_other_length(path: &Path, need: u64) -> Result<(), Error> {
    let there = std::fs::metadata(path).map_err(|error| unreadable(path, error))?;
    let (path, have) = (path.to_owned(), there.len());
    match there.is_file() {
        true if have == need => Ok(()),
        true => Err(CompiledError::Length { path, have, need }.into()),
        false => Err(CompiledError::Changed { path }.into()),
    }
}

/// Refuses a file whose first bytes are others than were written.
fn refuse_changed(path: &Path, bytes: u64, sha256: &str) -> Result<(), Error> {
    match of_file(path, bytes).map_err(|error| unreadable(path, error))? == sha256 {
        true => Ok(()),
        false => Err(CompiledError::Changed { path: path.to_owned() }.into()),
    }
}
