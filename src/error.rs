use crate::pipeline::CompiledError;
use reflux_ir::pass::{ConfigError, DriverError, PipelineError, WhyError, counted};
use reflux_ir::text::ParseError;
use reflux_ir::words;
use reflux_ir::{Advice, DType};
use reflux_models::ModelError;
use reflux_models::onnx::OnnxError;
use reflux_models::onnx::export::ExportError;
use reflux_models::scheduler::SchedulerError;
use reflux_models::tokenizer::TokenizerError;
use reflux_models::weights::WeightsError;
use reflux_passes::pruna::PrunaError;
use reflux_runtime::{Device, FreeMemory, RunError};
use std::path::PathBuf;

/// All errors of Reflux.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Onnx(Box<OnnxError>),
    #[error(transparent)]
    OnnxExport(Box<ExportError>),
    #[error(transparent)]
    Weights(#[from] WeightsError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Scheduler(#[from] SchedulerError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Passes(#[from] Box<DriverError>),
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
    #[error(transparent)]
    Why(#[from] WhyError),
    #[error(transparent)]
    Compiled(Box<CompiledError>),
    #[error("{}: {error}", path.display())]
    Config { path: PathBuf, error: ConfigError },
    #[error("{}: {error}", path.display())]
    Pruna { path: PathBuf, error: PrunaError },
    #[error("{}: {error}", path.display())]
    Parse { path: PathBuf, error: ParseError },
    #[error("{what} must be a multiple of {unit} pixels, not {pixels}; {}", nearest_sizes(*.pixels, *.unit))]
    Size { what: &'static str, pixels: usize, unit: usize },
    #[error("{what} must be {range}, not {found}")]
    Range { what: &'static str, range: String, found: String },
    #[error(
        "this needs at least {} of memory ({network}), and {device} has {} free{}",
        size(*.needed), size(.free.bytes), Advice::after(under(.free.limit), "; ", .advice)
    )]
    Memory { network: String, needed: u64, free: FreeMemory, device: Device, advice: Vec<Advice> },
    #[error("{network} gave NaN or infinity {when}, computing in {dtype}; {}", Advice::after(.cause, "; ", .advice))]
    NotFinite { network: &'static str, when: String, dtype: DType, cause: String, advice: Vec<Advice> },
    #[error("{}: {why}", path.display())]
    Tensors { path: PathBuf, why: String },
    #[error("{} cannot be used as a picture: {why}", path.display())]
    Image { path: PathBuf, why: String },
    #[error("{} cannot be used as an evaluation: {why}", path.display())]
    Evaluation { path: PathBuf, why: String },
    #[error("{} cannot be used for {metric}: {why}", path.display())]
    Metric { metric: &'static str, path: PathBuf, why: String },
    #[error("cannot read {}: {}", path.display(), words::of_io(.error))]
    Read { path: PathBuf, error: std::io::Error },
    #[error("cannot write {}: {}", path.display(), words::of_io(.error))]
    Write { path: PathBuf, error: std::io::Error },
    #[error("{error}; {} before it {} written", counted(*.done, "picture"), if *.done == 1 { "is" } else { "are" })]
    Unfinished { done: usize, error: Box<Error> },
    #[error("config `{name}`: {error}")]
    Row { name: String, error: Box<Error> },
    #[error("cannot write to standard output: {}", words::of_io(.0))]
    Stdout(std::io::Error),
    #[error("{}", Advice::after(format_args!("the bundled model was not found (looked for models/emoji in {})", list(.roots)), "; ", .advice))]
    NoBundledModel { roots: Vec<PathBuf>, advice: Vec<Advice> },
    #[error("the program `{name}` does not match the request:{}", lines(.reasons))]
    Program { name: String, reasons: Vec<String> },
    #[error(
        "{failed} of {cases} kernel cases gave wrong results on {device} or did not run; please report them, with seed {seed}"
    )]
    Kernels { failed: usize, cases: usize, device: Device, seed: u64 },
    #[error("{0}")]
    Usage(String),
}

impl From<DriverError> for Error {
    fn from(error: DriverError) -> Self {
        Self::Passes(Box::new(error))
    }
}

impl From<CompiledError> for Error {
    fn from(error: CompiledError) -> Self {
        Self::Compiled(Box::new(error))
    }
}

impl Error {
    /// What it advises, if its advice may have an option on the command line.
    pub(crate) fn advice_mut(&mut self) -> Option<&mut Vec<Advice>> {
        match self {
            Self::Memory { advice, .. }
            | Self::NotFinite { advice, .. }
            | Self::NoBundledModel { advice, .. } => Some(advice),
            Self::Run(RunError::Device(error)) => Some(&mut error.instead),
            Self::Weights(WeightsError::Foreign { foreign, .. })
            | Self::Model(ModelError::Weights(WeightsError::Foreign { foreign, .. })) => {
                Some(&mut foreign.then)
            }
            Self::Passes(error) => match &mut **error {
                DriverError::Order(error) => Some(&mut error.advice),
                _ => None,
            },
            Self::Unfinished { error, .. } | Self::Row { error, .. } => error.advice_mut(),
            _ => None,
        }
    }
}

/// Each on a separate line.
fn lines(reasons: &[String]) -> String {
    reasons.iter().map(|reason| format!("\n  {reason}")).collect()
}

/// The message with the sizes nearest to `pixels` that are multiples of `unit`.
pub(crate) fn nearest_sizes(pixels: usize, unit: usize) -> String {
    let below = pixels / unit * unit;
    match below.checked_add(unit) {
        _ if below == 0 => format!("the smallest is {unit}"),
        Some(above) => format!("{below} and {above} are the nearest"),
        None => format!("{below} is the nearest"),
    }
}

/// What limits memory, if not the device.
fn under(limit: Option<&str>) -> String {
    limit.map(|limit| format!(" under {limit}, which you may be able to raise")).unwrap_or_default()
}

fn size(bytes: u64) -> String {
    match bytes {
        // The count saturates.
        1_000_000_000_000_000.. => "a million GB".into(),
        1_000_000_000.. => format!("{:.1} GB", bytes as f64 / 1e9),
        _ => format!("{} MB", bytes.div_ceil(1_000_000)),
    }
}

fn list(paths: &[PathBuf]) -> String {
    paths.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}
