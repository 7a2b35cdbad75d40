//! Errors of ONNX files.

use super::OPSETS;
use reflux_ir::pass::counted;
use std::fmt;
use std::path::PathBuf;

/// Why an ONNX file gives no program.
#[derive(Debug, thiserror::Error)]
pub enum OnnxError {
    #[error("cannot read {}: {error}", path.display())]
    Unreadable { path: PathBuf, error: std::io::Error },
    #[error(
        "{} is damaged or no ONNX model: {why}; whatever is called .onnx is read as one",
        path.display()
    )]
    Damaged { path: PathBuf, why: String },
    #[error(
        "{} is for version {opset} of ONNX's operators; {} to {} are read, to which onnx.version_converter converts it",
        path.display(), OPSETS.start(), OPSETS.end()
    )]
    Opset { path: PathBuf, opset: i64 },
    #[error("{} cannot be used: {why}", path.display())]
    Invalid { path: PathBuf, why: String },
    #[error(
        "{} has inputs of unknown size: {}; say it with --dim NAME=EXTENT for each name",
        path.display(), inputs.join(", ")
    )]
    Dims { path: PathBuf, inputs: Vec<String> },
    #[error("--dim {name}: no input of {} has such an axis{}", path.display(), listed(names))]
    UnknownDim { path: PathBuf, name: String, names: Vec<String> },
    #[error("--rate {name}: {} has no such input; it has: {}", path.display(), names.join(", "))]
    UnknownInput { path: PathBuf, name: String, names: Vec<String> },
    #[error("{} has nodes that cannot be lowered:\n{}", path.display(), Refused(nodes))]
    Nodes { path: PathBuf, nodes: Vec<RefusedNode> },
}

fn listed(names: &[String]) -> String {
    match names {
        [] => "; all extents are fixed".to_owned(),
        names => format!("; these have: {}", names.join(", ")),
    }
}

/// A node that cannot be lowered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedNode {
    pub op: String,
    pub name: String,
    /// The module that it is in; empty for the whole network.
    pub module: String,
    pub why: String,
}

/// The most nodes that a message lists.
const MOST_LISTED: usize = 20;

/// Refused nodes as lines, those that are refused for the same reason as one.
struct Refused<'n>(&'n [RefusedNode]);

impl fmt::Display for Refused<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut kinds: Vec<(&RefusedNode, usize)> = Vec::new();
        for node in self.0 {
            match kinds.iter_mut().find(|(first, _)| (&first.op, &first.why) == (&node.op, &node.why)) {
                Some((_, count)) => *count += 1,
                None => kinds.push((node, 1)),
            }
        }
        for (index, (node, count)) in kinds.iter().take(MOST_LISTED).enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}  {} `{}`", node.op, node.name)?;
            if !node.module.is_empty() {
                write!(f, " in {}", node.module)?;
            }
            if *count > 1 {
                write!(f, " and {} more", count - 1)?;
            }
            write!(f, ": {}", node.why)?;
        }
        match kinds.len().saturating_sub(MOST_LISTED) {
            0 => Ok(()),
            more => write!(f, "\n  and {}", counted(more, "other reason")),
        }
    }
}

/// Why a node cannot be lowered, as a sentence without an end.
#[derive(Debug)]
pub struct Refusal(pub String);

impl<E: std::error::Error> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// `refuse!("message", …)`: returns the refusal of a node.
macro_rules! refuse {
    ($($message:tt)+) => {
        return Err($crate::onnx::error::Refusal(format!($($message)+)))
    };
}
pub(super) use refuse;
