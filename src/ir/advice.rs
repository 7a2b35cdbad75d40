//! What errors advise.

use crate::{DType, words};
use std::fmt;

/// What a user may do about an error, in terms of the library. The command line drops what the command at hand has no option
/// for, and adds the options for the rest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Advice {
    /// To use the device of this name.
    Device(&'static str),
    /// To compute in one of these types.
    Dtype(&'static [DType]),
    /// To keep only what steps need on the device.
    LowMemory,
    SmallerPicture,
    /// To run a smaller program, where the size of a picture is not known.
    SmallerProgram,
    /// To compare fewer modules of two programs.
    FewerModules,
    /// To quantize weights by this pass, given as pipeline text.
    Quantize(&'static str),
    /// To run exactly these passes, given as pipeline text.
    Passes(String),
    /// To say which model.
    Model,
}

impl Advice {
    /// All of `advice` in a phrase: `make the picture smaller, compute in bf16 or keep less in memory`.
    pub fn either(advice: &[Self]) -> String {
        words::either(&advice.iter().map(Self::to_string).collect::<Vec<_>>())
    }

    /// `message`, and after `separator` what to do about it, if that is known.
    pub fn after(message: impl fmt::Display, separator: &str, advice: &[Self]) -> String {
        match advice {
            [] => message.to_string(),
            advice => format!("{message}{separator}{}", Self::either(advice)),
        }
    }
}

impl fmt::Display for Advice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Device(name) => write!(f, "use the device {name}"),
            Self::Dtype(dtypes) => {
                let names: Vec<String> = dtypes.iter().map(DType::to_string).collect();
                write!(f, "compute in {}", words::either(&names))
            }
            Self::LowMemory => f.write_str("keep less in memory"),
            Self::SmallerPicture => f.write_str("make the picture smaller"),
            Self::FewerModules => f.write_str("compare fewer modules"),
            Self::SmallerProgram => f.write_str("run a program of smaller tensors"),
            Self::Quantize(pass) => write!(f, "quantize the weights, for example by the pass `{pass}`"),
            Self::Passes(passes) => write!(f, "run only the passes {passes}"),
            Self::Model => f.write_str("give the folder of a model"),
        }
    }
}
