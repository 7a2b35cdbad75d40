//! Exports a program as an ONNX model: `export_onnx PROGRAM.ir MODEL.onnx [--weights DIR | --saved DIR | --random SEED] [--variant NAME] [--inline]`.
//!
//! `tests/tools/onnx_export.py` runs what it writes in onnxruntime.

use reflux_ir::{Name, WeightSource, text};
use reflux_models::onnx::export::{ExportOptions, Part, export};
use reflux_models::weights::{RandomWeights, SavedWeights, Weights};
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let mut paths: Vec<PathBuf> = Vec::new();
    let mut options = ExportOptions::default();
    let mut weights: Option<Box<dyn WeightSource>> = None;
    let mut seed = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(format!("{argument} needs a value"));
        match argument.as_str() {
            "--weights" => weights = Some(Box::new(Weights::open(value()?)?)),
            "--saved" => weights = Some(Box::new(saved(Path::new(&value()?))?)),
            "--random" => seed = Some(value()?.parse()?),
            "--variant" => options.part = Part::Step(Some(Name::from(value()?))),
            "--inline" => options.functions = false,
            _ => paths.push(argument.into()),
        }
    }
    let [program, model] = &paths[..] else { return Err("a program and a model are needed".into()) };
    let program = text::parse(&std::fs::read_to_string(program)?)?;
    if let Some(seed) = seed {
        weights = Some(Box::new(RandomWeights::new(&program, seed)));
    }
    let exported = export(&program, &options, weights.as_deref(), model)?;
    println!("{exported:#?}");
    Ok(())
}

/// The weights of a compiled model's network.
fn saved(folder: &Path) -> Result<SavedWeights, Box<dyn Error>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        files.push(entry?.path());
    }
    files.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    files.sort_unstable();
    Ok(SavedWeights::open(folder, &files)?)
}
