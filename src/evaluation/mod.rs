//! Evidence: what an optimization costs in quality, and what it gains, measured over a set of prompts.
//!
//! `reflux eval` makes an [`Evaluation`], and `reflux report` a page of one or several.

mod compare;
mod emoji;
mod journal;
mod metrics;
mod networks;
mod plan;
mod plausible;
mod prepare;
mod progress;
mod prompts;
mod report;
mod rows;
mod run;
mod scores;
mod session;
mod steps;
mod summary;

pub use networks::NetworkMetric;
pub use plan::BASE;
pub use prepare::EvaluationOptions;
pub use progress::Progressed;
pub use prompts::PromptSet;
pub(crate) use report::USUAL_PICTURES;
pub use report::{PlotFiles, Report};
pub use run::evaluate;
pub use summary::{Adherence, Evaluation, PassSummary, PictureResult, Prompt, Quality, Row, RowKind, Spread};
