//! Metrics that are networks: ONNX files, which go through the same passes as everything else.
//!
//! | file | what it does |
//! |---|---|
//! | `metric` | the metrics, and what each reads |
//! | `network` | opens a file, tells its inputs apart, and has it judge pictures |
//! | `picture` | pictures as networks read them |
//! | `text` | prompts as networks read them |

mod metric;
mod network;
mod picture;
mod text;

pub use metric::{NetworkMetric, Subject};
pub use network::MetricNetwork;
