//! Graphs for other tools to draw.

mod dot;
mod model_explorer;

pub use dot::dot;
pub use model_explorer::{model_explorer, node_data};
