//! A program on its way through the passes, as data for a page and for other tools: `docs/explore.md` describes it.

mod edits;
mod history;
mod kernels;
mod measured;
mod modules;
mod page;
mod state;
mod whys;

pub use measured::{Measured, MeasuredValue};
pub use modules::QuantizedModule;
pub use state::State;

use crate::comparison::Comparison;
use crate::files::OutputFile;
use crate::{Error, VERSION};
use edits::RolledEdit;
use history::History;
use reflux_ir::pass::{
    Alternatives, Exactness, Explanation, Pass, PassError, PassReport, Pipeline, PipelineReport, Trace,
};
use reflux_ir::{DiffRow, Machine, Program, ProgramDiff};
use serde::Serialize;
use std::path::Path;
use whys::Asked;

/// All that the page shows.
#[derive(Serialize)]
pub struct Exploration {
    format: &'static str,
    version: u32,
    /// The version of Reflux.
    reflux: &'static str,
    title: String,
    /// What times are estimated for.
    machine: Option<&'static str>,
    /// The program: before all passes, and after each that changed it.
    states: Vec<State>,
    passes: Vec<ExploredPass>,
    quantized: Vec<QuantizedModule>,
    /// The generated source texts of kernels, which values refer to by number.
    kernels: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    measured: Option<Measured>,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Comparison>,
    /// How many values have measured times.
    #[serde(skip)]
    pub timed: usize,
}

/// What a pass did.
#[derive(Serialize)]
struct ExploredPass {
    pass: String,
    name: &'static str,
    exactness: Exactness,
    /// The states before and after; the same one if nothing changed.
    before: usize,
    after: usize,
    seconds: f64,
    rules: Vec<ExploredRule>,
    notes: Vec<String>,
    warnings: Vec<String>,
    edits: Vec<RolledEdit>,
    regions: Vec<Region>,
    proofs: Vec<Explanation>,
}

#[derive(Serialize)]
struct ExploredRule {
    name: &'static str,
    /// Empty where a pass counts what is no rule.
    pattern: &'static str,
    tries: usize,
    hits: usize,
    seconds: f64,
}

/// [`Alternatives`], with the names of the page's data.
#[derive(Serialize)]
struct Region {
    stage: String,
    uses: usize,
    ops: [usize; 2],
    ns: u64,
    greedy_ns: u64,
    tree_ns: u64,
    rounds: usize,
    saturated: bool,
    classes: usize,
    terms: usize,
    eclasses: Vec<EClass>,
}

#[derive(Serialize)]
struct EClass {
    id: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
    #[serde(rename = "type")]
    fact: String,
    terms: Vec<Term>,
}

#[derive(Serialize)]
struct Term {
    text: String,
    ns: u64,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    chosen: bool,
}

/// What there is to explore.
pub struct Explored<'a> {
    /// What the program is, for people.
    pub title: String,
    pub pipeline: &'a Pipeline,
    pub trace: &'a Trace,
    pub report: &'a PipelineReport,
    /// What times are estimated for.
    pub machine: Option<&'static Machine>,
    /// Times that were measured of the program after all passes.
    pub measured: Option<Measured>,
    /// What a comparison of the program with another has found.
    pub compared: Option<Comparison>,
}

impl Exploration {
    /// # Errors
    /// Where a pass cannot say what it has chosen among: a bug of the pass.
    pub fn of(explored: Explored) -> Result<Self, Error> {
        let Explored { title, pipeline, trace, report, machine, measured, compared } = explored;
        let all: Vec<&dyn Pass> = pipeline.passes().take(trace.passes.len()).collect();
        let runs: Vec<Run> = runs(&all, report);
        let states: Vec<&Program> = programs(&runs, trace);
        let mut explored: Vec<State> = Vec::with_capacity(states.len());
        let mut history = History::start(trace, machine);
        for (at, program) in states.iter().enumerate() {
            let made_by = runs.iter().find(|run| run.after == at && run.before != at);
            let is_last = at + 1 == states.len();
            let asked = runs.iter().enumerate().filter(|(_, run)| run.before == at || is_last);
            let asked: Vec<Asked> = asked.map(|(index, run)| Asked { index, pass: run.pass }).collect();
            let mut state = history.next(program, made_by);
            state.difference = at.checked_sub(1).map(|before| difference(states[before], program));
            whys::ask(&mut state, program, &asked);
            explored.push(state);
        }
        let last = explored.last_mut().expect("there is the input at least");
        let kernels = kernels::add(last, states[states.len() - 1], machine);
        let timed = measured.as_ref().map_or(0, |measured| measured.add_to(last));
        let quantized = modules::of(&runs, &states);
        let passes: Result<Vec<ExploredPass>, PassError> =
            runs.iter().map(|run| run.explored(trace)).collect();
        Ok(Self {
            format: "reflux-explore",
            version: 1,
            reflux: VERSION,
            title,
            machine: machine.map(|machine| machine.name),
            states: explored,
            // It has run without that bug.
            passes: passes
                .map_err(|error| Error::Usage(format!("a pass cannot say what it did: {error}")))?,
            quantized,
            kernels,
            measured: measured.filter(|_| timed > 0),
            timed,
            compared: compared.map(Comparison::of_kinds),
        })
    }

    /// The data, as one line of JSON.
    pub fn json(&self) -> String {
        serde_json::to_string(self).expect("it is plain data")
    }

    /// The page: one HTML file that asks nothing of a network.
    pub fn page(&self) -> String {
        page::of(self)
    }
}

/// The page in a folder of dumps, which shows what the files there have.
const DUMPS_PAGE: &str = "index.html";

/// Writes the page of a pipeline into the folder of its dumps, with times of the machine that the report has estimates for, if it has any.
///
/// # Errors
/// [`Error::Write`], and as [`Exploration::of`].
pub fn write_beside_dumps(
    folder: &Path,
    pipeline: &Pipeline,
    trace: &Trace,
    report: &PipelineReport,
) -> Result<(), Error> {
    let estimate = report.passes.iter().find_map(|pass| pass.estimate);
    let machine = estimate.and_then(|estimate| Machine::named(estimate.machine));
    let title = trace.input.name.to_string();
    let explored = Explored { title, pipeline, trace, report, machine, measured: None, compared: None };
    let page = Exploration::of(explored)?.page();
    OutputFile::at(&folder.join(DUMPS_PAGE))?.write_text(&page)
}

/// One pass of the pipeline, and the states between which it stands.
struct Run<'a> {
    pass: &'a dyn Pass,
    report: &'a PassReport,
    /// Its place in the pipeline.
    index: usize,
    before: usize,
    after: usize,
}

fn runs<'a>(passes: &[&'a dyn Pass], report: &'a PipelineReport) -> Vec<Run<'a>> {
    let mut state = 0;
    let run = |(index, (&pass, report)): (usize, (&&'a dyn Pass, &'a PassReport))| {
        let before = state;
        state += usize::from(report.changed);
        Run { pass, report, index, before, after: state }
    };
    passes.iter().zip(&report.passes).enumerate().map(run).collect()
}

/// The program in each state.
fn programs<'a>(runs: &[Run], trace: &'a Trace) -> Vec<&'a Program> {
    let changed = runs.iter().filter(|run| run.report.changed);
    std::iter::once(&trace.input).chain(changed.map(|run| &trace.passes[run.index].program)).collect()
}

impl Run<'_> {
    fn explored(&self, trace: &Trace) -> Result<ExploredPass, PassError> {
        let before = trace.before(self.index);
        let known = self.pass.rules();
        let rule = |(name, stats): (&&'static str, &reflux_ir::pass::RuleStats)| ExploredRule {
            name,
            pattern: known.iter().find(|rule| rule.name == *name).map_or("", |rule| rule.pattern),
            tries: stats.tries,
            hits: stats.hits,
            seconds: stats.seconds,
        };
        Ok(ExploredPass {
            pass: self.report.pass.clone(),
            name: self.report.name,
            exactness: self.report.exactness,
            before: self.before,
            after: self.after,
            seconds: self.report.seconds,
            rules: self.report.rules.iter().map(rule).collect(),
            notes: self.report.notes.clone(),
            warnings: self.report.warnings.clone(),
            edits: edits::rolled(&trace.passes[self.index].edits),
            regions: self.pass.alternatives(before)?.into_iter().map(Region::from).collect(),
            proofs: self.pass.explain(before)?,
        })
    }
}

impl From<Alternatives> for Region {
    fn from(found: Alternatives) -> Self {
        let eclass = |class: reflux_ir::pass::EqualTerms| EClass {
            id: class.id,
            value: class.value.map(|value| value.to_string()),
            fact: class.fact.to_string(),
            terms: class
                .terms
                .into_iter()
                .map(|term| Term { text: term.text, ns: term.nanoseconds, chosen: term.is_chosen })
                .collect(),
        };
        Self {
            stage: found.stage.to_string(),
            uses: found.uses,
            ops: found.ops,
            ns: found.nanoseconds,
            greedy_ns: found.greedy,
            tree_ns: found.tree,
            rounds: found.rounds,
            saturated: found.is_saturated,
            classes: found.size[0],
            terms: found.size[1],
            eclasses: found.classes.into_iter().map(eclass).collect(),
        }
    }
}

/// A row of the difference of two states: its sign, the lines of the one and of the other, and a note.
#[derive(Serialize)]
struct DifferenceRow(
    &'static str,
    Option<usize>,
    Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")] Option<String>,
);

fn difference(before: &Program, after: &Program) -> Vec<DifferenceRow> {
    let rows = ProgramDiff::new(["", ""], [before, after]).rows();
    let row = |row: DiffRow| match row {
        DiffRow::Same(a, b) => DifferenceRow("=", Some(a), Some(b), None),
        DiffRow::Changed(a, b) => DifferenceRow("~", Some(a), Some(b), None),
        DiffRow::Removed(a) => DifferenceRow("-", Some(a), None, None),
        DiffRow::Added(b) => DifferenceRow("+", None, Some(b), None),
        DiffRow::Left(a, went) => DifferenceRow(">", Some(a), None, Some(format!("moved to {went}"))),
        DiffRow::Came(a, b, was) => DifferenceRow("<", Some(a), Some(b), Some(format!("moved from {was}"))),
    };
    rows.into_iter().map(row).collect()
}
