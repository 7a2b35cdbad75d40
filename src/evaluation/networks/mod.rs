//! Metrics that are networks: ONNX files, which go through the same passes as everything else.
//!
//! | file | what it does |
//! |---|---|
//! | `metric` | the metrics, and what each reads |
//! | `inputs` | tells what a file's inputs are |
//! | `network` | opens a file, and has it judge pictures |
//! | `picture` | pictures as networks read them |
//! | `text` | prompts as networks read them |

mod inputs;
mod metric;
mod network;
mod picture;
mod text;

pub use metric::{NetworkMetric, Subject};
pub use network::MetricNetwork;
