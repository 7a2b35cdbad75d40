//! Compiling: a model's denoiser as the passes leave it, with its weights as they are read, saved beside the other networks.

mod folder;
mod programs;
mod report;
mod types;

pub use report::{CompileReport, CompiledProgram, WeightsOfType};

use super::compiled::{Compiled, CompiledError, FOLDER, MANIFEST, Manifest};
use super::diffusion::DiffusionPipeline;
use super::networks::Networks;
use super::options::OpenOptions;
use crate::Error;
use programs::{Made, made};
use reflux_ir::files::write_in_folder;
use reflux_models::{ModelFiles, Parts, Sizes};
use std::path::Path;

/// How to compile a model.
#[derive(Clone, Debug, Default)]
pub struct CompileOptions {
    /// As a pipeline of it is opened: device, dtype and passes.
    pub open: OpenOptions,
    /// The pictures to compile for, each with its own program. Steps run at the usual noise levels.
    pub sizes: Vec<Sizes>,
    /// Leave out the weights of the other networks, which are then given whenever the model is opened.
    pub denoiser_only: bool,
}

/// Saves the model of `files`, optimized for `options`, in the new folder `out`, or adds sizes to `out` if that is the same model
/// compiled with the same passes. `observe` is told what begins.
///
/// # Errors
/// If passes fail, `out` is anything else, or it cannot be written; then nothing is there, or what was there.
pub fn compile(
    files: &ModelFiles,
    options: CompileOptions,
    out: &Path,
    observe: &mut dyn FnMut(&str),
) -> Result<CompileReport, Error> {
    if files.is_file() {
        let (path, option) = (files.folder().to_owned(), files.family().denoiser().option());
        return Err(CompiledError::OneFile { path, option }.into());
    }
    let there = match out.symlink_metadata() {
        Ok(_) => Some(opened(out)?.ok_or_else(|| CompiledError::Exists { path: out.to_owned() })?),
        Err(_) => None,
    };
    if there.is_some() {
        refuse_denoiser_only(out, options.denoiser_only)?;
    }
    let pipeline = DiffusionPipeline::open_files(files.clone(), options.open)?;
    let model = pipeline.name().to_owned();
    let (mut networks, _) = pipeline.into_parts();
    refuse_other_loras(&networks)?;
    let manifest = folder::manifest(&networks, model)?;
    if let Some(there) = &there {
        refuse_other(there, out, &manifest)?;
    }
    observe("optimizing");
    let programs = made(&mut networks, &options.sizes)?;
    match there {
        Some(there) => added(&there, &programs),
        None => {
            let new = folder::NewModel { files, networks: &networks, manifest, programs: &programs };
            new.write(out, options.denoiser_only, observe)
        }
    }
}

/// Adds programs for more sizes to the compiled model of `files`. Their weights are those that it has; nothing is quantized.
///
/// # Errors
/// If it is no compiled model, passes fail, or a program reads weights that it does not have; then nothing is changed.
pub fn add_sizes(files: &ModelFiles, options: CompileOptions) -> Result<CompileReport, Error> {
    let compiled = compiled_in(files)?;
    refuse_denoiser_only(files.folder(), options.denoiser_only)?;
    let (mut networks, _) = DiffusionPipeline::open_files(files.clone(), options.open)?.into_parts();
    added(&compiled, &made(&mut networks, &options.sizes)?)
}

/// Reads every byte of the compiled model in `files` and compares it with what was written.
///
/// # Errors
/// If it is no compiled model, or with the first file that has changed.
pub fn verify_compiled(files: &ModelFiles) -> Result<(), Error> {
    compiled_in(files)?.verify()
}

/// The compiled model that `files` are.
fn compiled_in(files: &ModelFiles) -> Result<Compiled, Error> {
    let not = || CompiledError::NotCompiled { folder: files.folder().to_owned() };
    Ok(Compiled::open(files)?.ok_or_else(not)?)
}

/// The compiled model in the folder `out`, if it is one.
fn opened(out: &Path) -> Result<Option<Compiled>, Error> {
    if out.join(FOLDER).symlink_metadata().is_err() {
        return Ok(None);
    }
    Compiled::open(&ModelFiles::find(out, Parts::default())?)
}

/// Refuses to leave out what was copied when `folder` was made.
fn refuse_denoiser_only(folder: &Path, denoiser_only: bool) -> Result<(), CompiledError> {
    let why = "its other networks are as they were when it was made: leave out --denoiser-only";
    match denoiser_only {
        true => Err(CompiledError::Unneeded { folder: folder.to_owned(), why }),
        false => Ok(()),
    }
}

/// Refuses LoRAs that cannot be saved.
fn refuse_other_loras(networks: &Networks) -> Result<(), CompiledError> {
    let (family, loras) = (networks.family(), networks.loras());
    let denoiser = family.denoiser();
    if loras.is_beside() {
        return Err(CompiledError::Branches);
    }
    match family.nets.iter().find(|net| **net != denoiser && loras.is_merged_into(net)) {
        Some(net) => {
            let (network, denoiser) = (net.name, denoiser.name);
            Err(CompiledError::OtherNetworks { network, denoiser })
        }
        None => Ok(()),
    }
}

/// Refuses to add programs of `wanted` to `there`, if they are not of the same model and passes.
fn refuse_other(there: &Compiled, out: &Path, wanted: &Manifest) -> Result<(), CompiledError> {
    let own = there.manifest();
    /// What is compared, and how it is said.
    type Aspect = (fn(&Manifest) -> String, &'static str);
    let aspects: [Aspect; 6] = [
        (|manifest| manifest.family.clone(), "of the family"),
        (|manifest| manifest.passes.clone(), "with the passes"),
        (|manifest| manifest.dtype.to_string(), "in"),
        (|manifest| manifest.device.clone(), "for the device"),
        (|manifest| manifest.machine.clone(), "for"),
        (|manifest| format!("{}, with weights {:.12}…", manifest.model, manifest.source), "of"),
    ];
    for (aspect, how) in aspects {
        let [own, asked] = [own, wanted].map(aspect);
        if own != asked {
            let [own, asked] = [own, asked].map(|text| format!("{how} {text}"));
            return Err(CompiledError::Other { path: out.to_owned(), own, asked });
        }
    }
    Ok(())
}

/// Adds `programs` to a compiled model.
fn added(compiled: &Compiled, programs: &[Made]) -> Result<CompileReport, Error> {
    let folder = compiled.folder().join(FOLDER);
    let failed = |error| Error::Write { path: folder.clone(), error };
    let mut manifest = compiled.manifest().clone();
    let mut new = Vec::new();
    for made in programs {
        compiled.weights().check(&made.program)?;
        if compiled.program(&made.sizes, Some(&made.timesteps))?.is_some() {
            new.push(false);
            continue;
        }
        let entry = made.entry();
        write_in_folder(&folder, &entry.file, &made.text).map_err(failed)?;
        manifest.programs.retain(|there| there.sizes != entry.sizes);
        manifest.programs.push(entry);
        new.push(true);
    }
    // Last: until then they belong to no model.
    if new.contains(&true) {
        manifest.reflux = crate::VERSION.to_owned();
        write_in_folder(&folder, MANIFEST, &manifest.text()).map_err(failed)?;
    }
    let programs = programs.iter().zip(new).map(|(made, is_new)| made.report(is_new)).collect();
    Ok(CompileReport {
        programs,
        weights: report::by_type(compiled.weights().types()),
        ..CompileReport::of(compiled.folder(), &manifest)
    })
}
