//! Errors of exports.

use reflux_ir::{Name, VerifyError, WeightError};
use std::fmt;
use std::path::PathBuf;

/// Why a program is not exported.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    #[error("the program cannot be exported: {0}")]
    Invalid(#[from] VerifyError),
    #[error("the program has several variants, and a model is one of them; name one: {}", Listed(variants))]
    Ambiguous { variants: Vec<Name> },
    #[error("the program has no {wanted}; it has: {}", Listed(stages))]
    NoStage { wanted: String, stages: Vec<String> },
    #[error("`%{}`{} cannot be exported: {}", .0.value, of(&.0.op, &.0.module), .0.why)]
    Op(Box<RefusedValue>),
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error("weight `{tensor}` is {found} in its file, but the program reads {expected}: {}", .advice)]
    WeightType { tensor: String, found: String, expected: String, advice: &'static str },
    #[error(
        "{} has weights, which are in a file beside it; only a regular file can have one, and only under a name in UTF-8",
        path.display()
    )]
    NoFile { path: PathBuf },
    #[error("a model of {bytes} bytes without its weights cannot be written: protobuf has at most 2 GB")]
    TooLarge { bytes: u64 },
    #[error("cannot write {}: {error}", path.display())]
    Unwritable { path: PathBuf, error: std::io::Error },
}

/// A value that ONNX has no ops for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedValue {
    /// What it is called, without its `%`.
    pub value: String,
    /// The mnemonic of its op.
    pub op: String,
    /// The module that it is in; empty for the whole network.
    pub module: String,
    /// The reason, and what to do.
    pub why: String,
}

/// Why an op cannot be written, and what to do: a sentence without an end.
#[derive(Debug)]
pub struct Refusal(pub String);

/// `refuse!("message", …)`: returns the refusal of a value.
macro_rules! refuse {
    ($($message:tt)+) => {
        return Err($crate::onnx::export::error::Refusal(format!($($message)+)))
    };
}
pub(super) use refuse;

fn of(op: &str, module: &str) -> String {
    match module {
        "" => format!(", `{op}`,"),
        module => format!(", `{op}` in {module},"),
    }
}

struct Listed<'l, T>(&'l [T]);

impl<T: fmt::Display> fmt::Display for Listed<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
