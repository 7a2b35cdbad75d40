//! `reflux ir --export onnx`

use crate::Error;
use crate::cli::console::say;
use crate::cli::memory::gigabytes;
use crate::pipeline::LoraFiles;
use reflux_ir::pass::{Pipeline, counted};
use reflux_ir::{Fact, Name, Program, WeightData, WeightError, WeightSource};
use reflux_models::onnx::export::{ExportOptions, Exported, Part, export as write};
use reflux_runtime::{RunError, read_weight};
use std::path::Path;
use std::sync::Arc;

/// Writes the variant `variant` of `program`, or its only one, as the ONNX model at `out`; with its `weights`, if it has some.
///
/// # Errors
/// If there is no file to write to, if an op has no equal in ONNX, or if weights cannot be read.
pub fn export(
    program: &Program,
    weights: impl FnOnce() -> Result<Option<Arc<dyn WeightSource>>, Error>,
    variant: Option<&str>,
    out: Option<&Path>,
) -> Result<(), Error> {
    let Some(out) = out.filter(|out| out.as_os_str() != "-") else {
        return Err(Error::Usage("--export onnx writes a file: add --out model.onnx".into()));
    };
    let weights = weights()?.map(AsRead);
    let options = ExportOptions { part: Part::Step(variant.map(Name::from)), ..ExportOptions::default() };
    let source = weights.as_ref().map(|weights| weights as &dyn WeightSource);
    let exported =
        write(program, &options, source, out).map_err(|error| Error::OnnxExport(Box::new(error)))?;
    say(described(&exported));
    if weights.is_none() {
        say("note: there are no weights to export; they are inputs of the model");
    }
    Ok(())
}

/// Refuses passes that apply LoRAs, whose tensors are in no file that is exported.
pub fn refuse_loras(pipeline: &Pipeline) -> Result<(), Error> {
    match pipeline.passes().any(|pass| pass.name() == LoraFiles::NAME) {
        true => {
            let message = "LoRAs are not exported; `reflux compile` merges them, and --export onnx takes the folder that it writes";
            Err(Error::Usage(message.into()))
        }
        false => Ok(()),
    }
}

fn described(exported: &Exported) -> String {
    let files: Vec<String> = exported.files.iter().map(|file| file.display().to_string()).collect();
    let weights = match exported.weight_bytes {
        0 => String::new(),
        bytes => format!(", {} of weights", gigabytes(bytes)),
    };
    format!(
        "{}: {}, {}{weights}; reads {}, gives {}",
        files.join(" and "),
        counted(exported.nodes, "node"),
        counted(exported.functions, "function"),
        listed(&exported.inputs),
        listed(&exported.outputs)
    )
}

/// The first of `names`, and how many more there are.
fn listed(names: &[String]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let rest = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{rest}", names[..names.len() - more].join(", "))
}

/// Inputs and results that are named.
const LISTED: usize = 12;

/// Weights just as the program reads them: cast, or quantized.
struct AsRead(Arc<dyn WeightSource>);

impl WeightSource for AsRead {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        let unreadable =
            |error: RunError| WeightError::Unreadable { name: name.to_owned(), why: error.to_string() };
        read_weight(&*self.0, name, fact).map_err(unreadable)
    }
}
