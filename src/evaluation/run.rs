//! Running an evaluation: the base over all prompts, then each of the others, one loaded at a time.

use super::compare::{compare, keep_latents};
use super::emoji::Emoji;
use super::journal::{Drawn, Earlier, Entry, Journal, RowFacts};
use super::networks::MetricNetwork;
use super::plan::{BASE, Plan};
use super::prepare::{EvaluationOptions, Prepared, Way, prepared, request_of};
use super::progress::Progressed;
use super::rows::{row, steps_in_the_time_of, warm_timings};
use super::scores::{judge, refuse_others};
use super::session::{Outcome, Session};
use super::summary::{Evaluation, PassSummary, PictureResult, Row, RowKind};
use crate::Error;
use crate::digest::of_bytes;
use crate::files::OutputFile;
use crate::pipeline::ImageFormat;
use reflux_ir::files::NewFolder;
use reflux_ir::pass::{PassReport, Recipe};
use std::collections::BTreeMap;
use std::path::Path;

/// The file of what was found.
const EVALUATION: &str = "evaluation.json";

/// Evaluates, or goes on with it.
///
/// Each picture is written, and noted in the journal, before the next is begun; so a run that ends early, however it does, can go on.
///
/// # Errors
/// [`Error::Usage`] if there are no prompts, or the folder is not one to write to or to go on with; [`Error::Row`] of a config, most
/// of them before any picture is drawn; [`Error::Unfinished`] if pictures were drawn before.
pub fn evaluate(
    options: &EvaluationOptions,
    observe: &mut dyn FnMut(Progressed),
) -> Result<Evaluation, Error> {
    if options.prompts.prompts.is_empty() {
        return Err(Error::Usage("there are no prompts to evaluate with".into()));
    }
    let earlier = Earlier::read(&options.folder, options.resume)?;
    refuse_unwritable(&options.folder)?;
    let Prepared { plan, ways, networks, compiled_with } = prepared(options, &earlier)?;
    earlier.check(&options.folder, &plan)?;
    let journal = Journal::begin(&options.folder, &plan, earlier)?;
    refuse_others(&networks, &journal)?;
    let mut run = Run { options, journal, networks, compiled_with, emoji: None, drawn: 0 };
    match run.all(&plan, ways, observe) {
        Err(error) if run.drawn > 0 => Err(Error::Unfinished { done: run.drawn, error: Box::new(error) }),
        outcome => outcome,
    }
}

/// Refuses a folder in which the result could not be written, before hours are spent on it.
fn refuse_unwritable(folder: &Path) -> Result<(), Error> {
    match folder.symlink_metadata() {
        Ok(_) => OutputFile::at(&folder.join(EVALUATION)).map(drop),
        // Gone again at once.
        Err(_) => {
            NewFolder::at(folder).map(drop).map_err(|error| Error::Write { path: folder.to_owned(), error })
        }
    }
}

/// An evaluation that goes on.
struct Run<'o> {
    options: &'o EvaluationOptions,
    journal: Journal,
    networks: Vec<MetricNetwork>,
    /// The lossy passes that even the base has.
    compiled_with: Option<String>,
    /// What pictures of the bundled model are compared with, once one is.
    emoji: Option<Emoji>,
    /// How many pictures this run has drawn.
    drawn: usize,
}

impl Run<'_> {
    fn all(
        &mut self,
        plan: &Plan,
        mut ways: Vec<Way>,
        observe: &mut dyn FnMut(Progressed),
    ) -> Result<Evaluation, Error> {
        let pictures = plan.prompts.len();
        let fewer = |steps: usize| Way {
            name: format!("{BASE}-{steps}"),
            kind: RowKind::FewerSteps,
            passes: Recipe::default(),
            steps,
        };
        let chooses = plan.fewer_steps.is_none() && self.journal.fewer_steps().is_none();
        let known = plan.fewer_steps.as_deref().or(self.journal.fewer_steps()).unwrap_or_default();
        ways.extend(known.iter().map(|steps| fewer(*steps)));
        self.measure(&ways, observe)?;
        if chooses {
            let rows = self.rows(&ways, pictures);
            let steps = rows[1..].iter().filter_map(|config| steps_in_the_time_of(config, &rows[0]));
            let mut chosen: Vec<usize> = steps.collect();
            chosen.sort_unstable_by(|a, b| b.cmp(a));
            chosen.dedup();
            self.journal.add(Entry::FewerSteps(chosen.clone()))?;
            let more: Vec<Way> = chosen.into_iter().map(fewer).collect();
            self.measure(&more, observe)?;
            ways.extend(more);
        }
        judge(&mut self.networks, &mut self.journal, &ways, &plan.prompts, observe)?;
        let mut rows = self.rows(&ways, pictures);
        if let Some(passes) = &self.compiled_with {
            // In the folder it stays the base, by which files and the journal find it.
            rows[0].name = format!("{BASE} (compiled: {passes})");
            let warning = "the model was compiled with lossy passes: what is compared with it is compared with a model that is already \
                           optimized; evaluate the model that it was compiled from to see what all of it costs";
            rows[0].warnings.insert(0, warning.to_owned());
        }
        let evaluation = Evaluation {
            version: plan.version.clone(),
            model: plan.model.clone(),
            device: plan.device.clone(),
            dtype: plan.dtype,
            width: plan.width,
            height: plan.height,
            steps: plan.steps,
            guidance: plan.guidance,
            prompts: plan.prompts.clone(),
            networks: self.journal.networks().clone(),
            rows,
        };
        let json = serde_json::to_string_pretty(&evaluation).expect("an evaluation is plain data");
        OutputFile::at(&self.journal.path(EVALUATION))?.write_text(&format!("{json}\n"))?;
        Ok(evaluation)
    }

    fn rows(&self, ways: &[Way], pictures: usize) -> Vec<Row> {
        ways.iter().map(|way| row(&self.journal, &way.name, way.kind, way.steps, pictures)).collect()
    }

    /// Draws what is missing of each row, in order.
    fn measure(&mut self, ways: &[Way], observe: &mut dyn FnMut(Progressed)) -> Result<(), Error> {
        let pictures = self.options.prompts.prompts.len();
        let missing = |way: &Way| -> Vec<usize> {
            (0..pictures).filter(|index| !self.journal.has(&way.name, *index)).collect()
        };
        let missing: Vec<Vec<usize>> = ways.iter().map(missing).collect();
        let steps = |(way, missing): (&Way, &Vec<usize>)| way.steps * missing.len();
        observe(Progressed::Left(ways.iter().zip(&missing).map(steps).sum()));
        for (way, missing) in ways.iter().zip(&missing) {
            self.row(way, missing, observe).map_err(|error| match way.kind {
                RowKind::Config => Error::Row { name: way.name.clone(), error: Box::new(error) },
                RowKind::Base | RowKind::FewerSteps => error,
            })?;
        }
        Ok(())
    }

    /// Draws those pictures of a row, and one more if none was drawn with everything loaded.
    fn row(
        &mut self,
        way: &Way,
        missing: &[usize],
        observe: &mut dyn FnMut(Progressed),
    ) -> Result<(), Error> {
        let pictures = self.options.prompts.prompts.len();
        let is_measured = |journal: &Journal| !warm_timings(journal, &way.name, pictures).is_empty();
        if missing.is_empty() && is_measured(&self.journal) {
            return Ok(());
        }
        let options = self.options;
        let request = |index: usize| request_of(options, index, Some(way.steps));
        let mut session = Session::open(&options.files, &options.open, &way.passes, &request(0))?;
        if self.journal.row(&way.name).is_none() {
            let facts = RowFacts {
                row: way.name.clone(),
                passes: session.pipeline.passes_run(),
                weight_bytes: session.pipeline.weight_bytes(&request(0))?,
                graph: session.pipeline.pass_reports().iter().map(summary).collect(),
            };
            self.journal.add(Entry::Row(facts))?;
        }
        for &index in missing {
            observe(Progressed::Picture { row: &way.name, picture: index, pictures });
            let outcome = session.draw(&request(index), &mut || observe(Progressed::Step))?;
            let drawn = self.keep(way, index, outcome)?;
            self.journal.add(Entry::Picture(Box::new(drawn)))?;
            self.drawn += 1;
        }
        while !is_measured(&self.journal) {
            let outcome = session.draw(&request(pictures - 1), &mut || {})?;
            self.journal.add(Entry::Again { row: way.name.clone(), timing: outcome.timing })?;
        }
        let device = session.pipeline.device();
        drop(session);
        device.release_unused();
        Ok(())
    }

    /// Writes a picture, and of the base its latents, and measures how near it is to the base's.
    fn keep(&mut self, way: &Way, index: usize, outcome: Outcome) -> Result<Drawn, Error> {
        let Outcome { picture, trajectory, computed_steps, timing, report } = outcome;
        let shown = self
            .options
            .prompts
            .wish(index)
            .and_then(|wish| self.emoji.get_or_insert_with(Emoji::open).judge(&picture.image, wish));
        let file = self.journal.picture_file(&way.name, index)?;
        let path = self.journal.path(&file);
        // What a run has measured differs from the next one.
        let mut bytes = Vec::new();
        let encoded = picture.image.clone().without_memory().encode(ImageFormat::Png, &mut bytes);
        encoded.map_err(|error| Error::Write { path: path.clone(), error })?;
        OutputFile::at(&path)?.write(|out| out.write_all(&bytes))?;
        let mut result = PictureResult {
            file,
            sha256: of_bytes(&bytes),
            seconds: timing.seconds,
            computed_steps,
            psnr: None,
            ssim: None,
            latent_l2: None,
            trajectory_cosine: None,
            scores: BTreeMap::new(),
        };
        let latents_sha256 = match way.kind {
            RowKind::Base => {
                Some(keep_latents(&self.journal, index, way.steps, &picture.latents, &trajectory)?)
            }
            RowKind::Config | RowKind::FewerSteps => {
                compare(&self.journal, index, way.steps, &picture.image, &trajectory, &mut result)?;
                None
            }
        };
        let is_new = |warning: &String| {
            let pictures = 0..self.options.prompts.prompts.len();
            let mut known = pictures.filter_map(|other| self.journal.picture(&way.name, other));
            !known.any(|drawn| drawn.warnings.contains(warning))
        };
        Ok(Drawn {
            row: way.name.clone(),
            index,
            result,
            latents_sha256,
            timing,
            peak_bytes: report.peak_bytes,
            shown,
            warnings: report.warnings.into_iter().filter(is_new).collect(),
        })
    }
}

fn summary(report: &PassReport) -> PassSummary {
    PassSummary {
        pass: report.pass.clone(),
        ops: [report.ops_before, report.ops_after],
        notes: report.notes.clone(),
    }
}
