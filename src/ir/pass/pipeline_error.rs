//! Errors in pipelines.

use super::nearest::did_you_mean;
use super::property::Property;
use crate::Advice;

/// Text that is not a pipeline.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PipelineError {
    #[error("pipeline: {message}\n  {text}\n  {:>1$}", "^", at + 1)]
    Syntax { message: String, text: String, at: usize },
    #[error("there is no pass `{name}`{}; the passes are {known}", did_you_mean(.nearest))]
    Unknown { name: String, nearest: Option<&'static str>, known: String },
    #[error("pass `{pass}`: {message}")]
    Options { pass: &'static str, message: String },
}

/// Passes that cannot run in the order given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{pass}` requires {property}, but {because}; {}", Advice::after(.fix, ", or ", .advice))]
pub struct OrderError {
    pub pass: String,
    pub property: Property,
    pub because: String,
    pub fix: String,
    /// The passes that could run instead, if any.
    pub advice: Vec<Advice>,
}
