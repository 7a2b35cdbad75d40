//! Export of graphs to drawing tools.

mod dot;
mod fold;
mod listing;
mod model_explorer;
mod node_data;

pub use dot::{DotOptions, dot};
pub use listing::{ListedLine, ListedTime, ListedValue, Listing};
pub use model_explorer::model_explorer;
pub use node_data::{diff_data, node_data};
