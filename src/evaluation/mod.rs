//! Evidence: what an optimization costs in quality, and what it gains, measured over a set of prompts.
//!
//! `reflux eval` makes an [`Evaluation`], and `reflux report` a page of one or several.

mod report;
mod summary;

pub(crate) use report::USUAL_PICTURES;
pub use report::{PlotFiles, Report};
pub use summary::{Adherence, Evaluation, PassSummary, PictureResult, Prompt, Quality, Row, RowKind, Spread};
