//! What is wrong with a configuration.

use reflux_ir::pass::did_you_mean;

/// A configuration of Pruna's that cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrunaError {
    #[error("unknown key `{key}`{}; neither Reflux nor Pruna has it", did_you_mean(.nearest))]
    Key { key: String, nearest: Option<String> },
    #[error("`{key}`: Pruna has no algorithm `{name}`{}", did_you_mean(.nearest))]
    Algorithm { key: String, name: String, nearest: Option<String> },
    #[error("`{key}`: {why}")]
    Value { key: String, why: String },
    #[error("`{key}` is given, but `{algorithm}` is not on; add `{algorithm} = true`")]
    Off { key: String, algorithm: &'static str },
    #[error("`{algorithm}` has no counterpart in Reflux: {why}")]
    Lacking { algorithm: &'static str, why: &'static str },
}

impl PrunaError {
    pub(super) fn value(key: impl Into<String>, why: impl Into<String>) -> Self {
        Self::Value { key: key.into(), why: why.into() }
    }
}
