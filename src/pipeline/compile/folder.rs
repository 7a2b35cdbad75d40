//! The folder of a compiled model: written beside where it will be, and renamed once it is whole.

use super::programs::Made;
use super::report::{CompileReport, by_type};
use super::types::types;
use crate::digest::{Digesting, of_bytes};
use crate::pipeline::compiled::{
    CompiledError, CopiedEntry, FOLDER, FORMAT, MANIFEST, Manifest, WeightsEntry,
};
use crate::pipeline::networks::Networks;
use crate::{Error, VERSION};
use reflux_ir::Fact;
use reflux_ir::files::NewFolder;
use reflux_models::weights::{Shard, shards};
use reflux_models::{ModelConfig, ModelFile, ModelFiles, Parts};
use reflux_runtime::{RunError, read_weight};
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The most bytes of tensors in a file: hubs and file systems with 32 bits take as many.
const SHARD: u64 = 4_000_000_000 - 100_000_000;

/// A compiled model that is written for the first time.
pub struct NewModel<'a> {
    /// What it is made from.
    pub files: &'a ModelFiles,
    pub networks: &'a Networks,
    /// Without its files.
    pub manifest: Manifest,
    pub programs: &'a [Made],
}

/// What the manifest of a model made from these networks says, but for its files.
///
/// # Errors
/// If a LoRA cannot be read, or the device is gone.
pub fn manifest(networks: &Networks, model: String) -> Result<Manifest, Error> {
    let (device, denoiser) = (networks.device(), networks.family().denoiser());
    let info = device.probe().map_err(RunError::from)?;
    let weights = networks.own_weights(denoiser);
    let coded = |name: &str| Some((name.to_owned(), weights?.coded(name)?.to_string()));
    let stored = weights.iter().flat_map(|weights| weights.names()).filter_map(coded).collect();
    Ok(Manifest {
        format: FORMAT,
        reflux: VERSION.to_owned(),
        family: networks.family().name.to_owned(),
        model,
        source: source(networks)?,
        dtype: networks.dtype(),
        device: device.name().to_owned(),
        machine: device.machine(&info).machine.name.to_owned(),
        passes: networks.passes().to_string(),
        programs: Vec::new(),
        weights: Vec::new(),
        copied: Vec::new(),
        stored,
        sha256: String::new(),
    })
}

/// The digest of samples of the denoiser's weights, and of all LoRAs.
fn source(networks: &Networks) -> Result<String, Error> {
    let mut digest = Digesting::to(io::sink());
    let mut add = |bytes: &[u8]| digest.write_all(bytes).expect("a sink takes everything");
    let weights = networks.own_weights(networks.family().denoiser());
    for (name, samples) in weights.iter().flat_map(|weights| weights.samples()) {
        add(name.as_bytes());
        samples.into_iter().for_each(&mut add);
    }
    for path in networks.loras().paths() {
        add(&std::fs::read(path).map_err(|error| Error::Read { path: path.to_owned(), error })?);
    }
    Ok(digest.finish().1)
}

impl NewModel<'_> {
    /// Writes it to the folder `out`; `observe` is told what begins.
    ///
    /// # Errors
    /// If something cannot be read or written; then nothing is there.
    pub fn write(
        mut self,
        out: &Path,
        denoiser_only: bool,
        observe: &mut dyn FnMut(&str),
    ) -> Result<CompileReport, Error> {
        let denoiser = self.networks.family().denoiser();
        let types = types(self.programs, self.networks, denoiser)?;
        let weights = types.iter().map(|(name, fact)| (name.clone(), fact.clone()));
        let no_file = |(name, fact)| CompiledError::NoFile { name, fact };
        let shards = shards(weights, SHARD).map_err(no_file)?;

        let failed = |error| Error::Write { path: out.to_owned(), error };
        let folder = NewFolder::at(out).map_err(failed)?;
        let copied = self.files.all_files(|net| net != denoiser && !denoiser_only)?;
        for ModelFile { from, to } in copied {
            observe(&format!("copying {}", to.display()));
            let entry = copy(&from, &folder, &to).map_err(|error| match error {
                CopyError::Read(error) => Error::Read { path: from, error },
                CopyError::Write(error) => Error::Write { path: out.join(to), error },
            })?;
            self.manifest.copied.push(entry);
        }
        self.refuse_other_configuration(folder.path())?;

        let own = folder.path().join(FOLDER);
        std::fs::create_dir(&own).map_err(failed)?;
        for (index, shard) in shards.iter().enumerate() {
            let name = format!("{}-{:05}-of-{:05}.safetensors", denoiser.name, index + 1, shards.len());
            observe(&format!("writing {name}"));
            let shown = out.join(FOLDER).join(&name);
            self.manifest.weights.push(self.write_shard(shard, &own.join(&name), &shown, name)?);
        }
        for made in self.programs {
            let entry = made.entry();
            let path = own.join(&entry.file);
            write_text(&path, &made.text)
                .map_err(|error| Error::Write { path: out.join(FOLDER).join(&entry.file), error })?;
            self.manifest.programs.push(entry);
        }
        write_text(&own.join(MANIFEST), &self.manifest.text()).map_err(failed)?;
        folder.finish().map_err(failed)?;
        Ok(CompileReport {
            programs: self.programs.iter().map(|made| made.report(true)).collect(),
            weights: by_type(types.iter().map(|(name, fact)| (name.as_str(), fact))),
            copied_bytes: self.manifest.copied.iter().map(|entry| entry.bytes).sum(),
            ..CompileReport::of(out, &self.manifest)
        })
    }

    /// Refuses to go on if the configurations that are copied to `folder` are not those of the weights, which may have been given
    /// separately.
    fn refuse_other_configuration(&self, folder: &Path) -> Result<(), Error> {
        let config = self.networks.config();
        let copy = ModelConfig::of(&ModelFiles::find(folder, Parts::default())?)?;
        let (net, smallest) = (config.family().denoiser(), config.family().geometry.smallest());
        let [own, copied] = [config, &copy].map(|config| config.lower(net, &smallest, self.networks.dtype()));
        match own? == copied? {
            true => Ok(()),
            false => Err(CompiledError::Configuration { folder: self.files.folder().to_owned() }.into()),
        }
    }

    /// Writes `shard` to `path`, which is going to be `shown`, the file `name` of its folder.
    fn write_shard(
        &self,
        shard: &Shard,
        path: &Path,
        shown: &Path,
        name: String,
    ) -> Result<WeightsEntry, Error> {
        let denoiser = self.networks.family().denoiser();
        let source = self.networks.weights_of(denoiser, &self.programs[0].program);
        let failed = |error| Error::Write { path: shown.to_owned(), error };
        let file = File::create_new(path).map_err(failed)?;
        let mut out = Digesting::to(BufWriter::with_capacity(1 << 20, file));
        let read = |name: &str, fact: &Fact| read_weight(&*source, name, fact).map_err(WriteError::Weight);
        let written = shard.write(&mut out, read);
        written.map_err(|error| match error {
            WriteError::Weight(error) => error.into(),
            WriteError::File(error) => failed(error),
        })?;
        let (out, sha256) = out.finish();
        let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
        file.sync_all().map_err(failed)?;
        let bytes = file.metadata().map_err(failed)?.len();
        let header = shard.header();
        let (header_bytes, header_sha256) = (header.len() as u64, of_bytes(&header));
        Ok(WeightsEntry { file: name, bytes, sha256, header_bytes, header_sha256 })
    }
}

/// Why a file of weights could not be written.
enum WriteError {
    Weight(RunError),
    File(io::Error),
}

impl From<io::Error> for WriteError {
    fn from(error: io::Error) -> Self {
        Self::File(error)
    }
}

/// Which side of a copy failed.
enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies a file, and whatever a link leads to as one, to `to` in `folder`; returns what the manifest says of it.
fn copy(from: &Path, folder: &NewFolder, to: &Path) -> Result<CopiedEntry, CopyError> {
    let name = |name: &OsStr| {
        let no_text = || io::Error::other("its name is not UTF-8, and cannot be listed; rename it");
        name.to_str().map(str::to_owned).ok_or_else(no_text).map_err(CopyError::Read)
    };
    let file = to.iter().map(name).collect::<Result<Vec<_>, _>>()?.join("/");
    let mut source = File::open(from).map_err(CopyError::Read)?;
    let mut target = Digesting::to(folder.create(to).map_err(CopyError::Write)?);
    let bytes = io::copy(&mut source, &mut target).map_err(CopyError::Write)?;
    let (target, sha256) = target.finish();
    target.sync_all().map_err(CopyError::Write)?;
    Ok(CopiedEntry { file, bytes, sha256 })
}

fn write_text(path: &Path, text: &str) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}
