//! The plots of a run, each as an SVG and a PNG of the same marks.

mod axis;
mod bars;
mod drawing;
mod memory;
mod quality;
mod render;
mod stages;

use super::run::Run;
pub use drawing::Drawing;

/// A plot and where it goes.
#[derive(Debug)]
pub struct Plot {
    /// Of its files, without extension.
    pub name: &'static str,
    pub drawing: Drawing,
}

/// All plots that can be made of `run`: what has no numbers is left out.
pub fn plots(run: &Run) -> Vec<Plot> {
    let rows = &run.evaluation.rows;
    let all = [
        ("quality", quality::quality(rows)),
        ("stages", stages::later(rows)),
        ("warm-up", stages::warm_up(rows)),
        ("memory", memory::memory(rows)),
    ];
    all.into_iter().filter_map(|(name, drawing)| Some(Plot { name, drawing: drawing? })).collect()
}
