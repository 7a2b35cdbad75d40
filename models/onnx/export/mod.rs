//! Programs as ONNX files.
//!
//! | file | what it does |
//! |---|---|
//! | `stages` | chooses the graphs of a program that a model has, and their values that are needed |
//! | `assembly` | puts these graphs together, value by value |
//! | `write` | writes each op in ONNX's ops, as a `body` over its operands |
//! | `functions` | keeps the bodies that are functions of the model |
//! | `leaves` | weights, laid out as nodes read them |
//! | `message`, `proto` | a model as plain values, and as messages of protobuf |
//! | `data` | the files |
//!
//! An op that ONNX has is a node of it. What is a formula of several is one node too: a call of a function of the model, whose nodes
//! are ONNX's own. So a graph reads like the program that it was, and whoever reads ONNX runs it.

mod assembly;
mod body;
mod data;
mod error;
mod functions;
mod leaves;
mod message;
mod names;
mod proto;
mod stages;
mod write;

pub use error::{ExportError, RefusedValue};

use reflux_ir::{Name, Program, Stage, WeightSource, verify};
use std::path::{Path, PathBuf};

/// The version of ONNX's operators that models use.
const OPSET: i64 = 21;

/// The domain of the functions of models.
const DOMAIN: &str = "reflux";

/// What to export, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExportOptions {
    pub part: Part,
    /// Whether ops that are several of ONNX's become functions of the model; if not, these nodes are in the graph itself, for tools
    /// that know no functions.
    pub functions: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { part: Part::Step(None), functions: true }
    }
}

/// The part of a program that becomes a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A whole step: a variant, after the prepare stages that it needs. What these hand on is inside of the model, whose inputs are
    /// the program's. Without a name it is the only variant.
    ///
    /// Such a model runs at every step what a program prepares once.
    Step(Option<Name>),
    /// One graph alone: its inputs are what it reads, such as what an earlier stage hands on, and its results are what it gives.
    Stage(Stage),
}

/// What has been written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exported {
    /// The names of what the model has to be given. Without weights these are among them.
    pub inputs: Vec<String>,
    /// The names of its results. What a program carries from step to step is an input `NAME` and a result `NAME.next`.
    pub outputs: Vec<String>,
    /// How many nodes the graph has.
    pub nodes: usize,
    /// How many functions the model has.
    pub functions: usize,
    /// How many of the nodes are calls of functions.
    pub calls: usize,
    /// The size of the file of weights.
    pub weight_bytes: u64,
    /// The model, and if weights are beside it, their file.
    pub files: Vec<PathBuf>,
}

/// Writes a part of `program` as the ONNX model at `path`, with its weights in the file `path` + `.data` beside it. Both files are
/// complete, or neither has changed.
///
/// Values, inputs and results keep their names and their types: f32, f16, bf16 and i32, and for quantized values i8 or f8e4m3, with
/// their scales, which are f32, as a second tensor called `NAME.scale`. A value's name is that of its node too, whose metadata has the
/// module. A weight that a product reads is stored as `[in, out]`.
///
/// `weights` are read one at a time. Quantized weights have to come as codes: see [`WeightSource::weight`]. Without weights they are
/// inputs of the model, and nothing is written beside it, so that `path` may also be a pipe.
///
/// # Errors
/// If the program is not valid or has no such part, with the first value that ONNX has no ops for, if a weight is missing or of another
/// type, or if the files cannot be written.
pub fn export(
    program: &Program,
    options: &ExportOptions,
    weights: Option<&dyn WeightSource>,
    path: &Path,
) -> Result<Exported, ExportError> {
    let (assembly::Assembled { parts, leaves }, stage) = assembled(program, options)?;
    data::save(parts, &leaves, weights, &stage, path)
}

/// The bytes of the model that [`export`] writes without weights.
///
/// # Errors
/// If the program is not valid or has no such part, or with the first value that ONNX has no ops for.
pub fn to_bytes(program: &Program, options: &ExportOptions) -> Result<Vec<u8>, ExportError> {
    let (assembly::Assembled { parts, leaves }, stage) = assembled(program, options)?;
    data::without_weights(parts, &leaves, &stage)
}

/// The graph of the model, and the stage that gives its results.
fn assembled(
    program: &Program,
    options: &ExportOptions,
) -> Result<(assembly::Assembled, String), ExportError> {
    verify(program)?;
    let chosen = stages::chosen(program, options)?;
    let assembled = assembly::assemble(program, &chosen, options.functions)?;
    let stage = chosen.last().map_or_else(String::new, |last| last.stage.to_string());
    Ok((assembled, stage))
}
