//! The page of one or several evaluations, and its table and plots as files.

mod album;
mod check;
mod front;
mod graph;
mod headline;
mod join;
mod page;
mod plots;
mod record;
mod run;
mod table;
mod units;

use crate::Error;
use page::Page;
use run::Run;
use std::path::Path;

/// Pictures on a page unless told otherwise.
pub(crate) const USUAL_PICTURES: usize = album::USUAL;

/// Evaluations that were read. Those that can be compared are one.
#[derive(Debug)]
pub struct Report {
    runs: Vec<Run>,
}

/// A plot as files.
#[derive(Debug)]
pub struct PlotFiles {
    /// Of the files, without extension.
    pub name: String,
    pub svg: String,
    pub png: Vec<u8>,
}

impl Report {
    /// Of the evaluations in `folders`. Rows of those with the same model, device, sizes and prompts, whose bases draw the same
    /// pictures, are shown together.
    ///
    /// # Errors
    /// [`Error::Evaluation`] for a folder that has none, or a damaged one.
    pub fn read<P: AsRef<Path>>(folders: &[P]) -> Result<Self, Error> {
        let runs: Result<Vec<Run>, Error> = folders.iter().map(|folder| Run::read(folder.as_ref())).collect();
        Ok(Self { runs: join::joined(runs?) })
    }

    /// What is wrong with the evaluations, in sentences.
    pub fn warnings(&self) -> impl Iterator<Item = &str> {
        self.runs.iter().flat_map(|run| &run.warnings).map(String::as_str)
    }

    /// What each run has found, in a sentence or two.
    pub fn headlines(&self) -> Vec<String> {
        self.runs.iter().map(|run| headline::Headline::of(run).to_string()).collect()
    }

    /// The page, as one HTML file with `pictures` pictures at most, and what is missing on it.
    pub fn page(&self, pictures: usize) -> (String, Vec<String>) {
        let Page { html, warnings } = Page::of(&self.runs, pictures);
        (html, warnings)
    }

    /// The tables in Markdown.
    pub fn markdown(&self) -> String {
        table::markdown(&self.runs)
    }

    /// The rows of all runs as CSV with a line of names, in UTF-8.
    pub fn csv(&self) -> String {
        record::csv(&self.runs)
    }

    /// The rows of all runs as JSON.
    pub fn json(&self) -> String {
        record::json(&self.runs)
    }

    /// All plots. Their names begin with the number of the run if there are several.
    pub fn plots(&self) -> Vec<PlotFiles> {
        let mut files = Vec::new();
        for (at, run) in self.runs.iter().enumerate() {
            for plots::Plot { name, drawing } in plots::plots(run) {
                let name = if self.runs.len() > 1 { format!("{}-{name}", at + 1) } else { name.to_owned() };
                files.push(PlotFiles { name, svg: drawing.svg(), png: drawing.png() });
            }
        }
        files
    }
}
