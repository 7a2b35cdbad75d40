//! Pictures of a list of prompts, `--prompts FILE`, one request after the other.

use super::manifest::{Manifest, Settings};
use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::jobs::Job;
use crate::cli::out_names::{Named, is_template};
use crate::cli::pictures::Pictures;
use crate::cli::progress::Progress;
use crate::json_lines::line;
use crate::pipeline::{DiffusionPipeline, Request};
use reflux_models::Sizes;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is asked for of a list.
pub struct List<'a> {
    pub file: &'a Path,
    pub out: &'a Path,
    /// Where the manifest goes; beside the pictures if nobody says.
    pub manifest: Option<&'a Path>,
    pub resume: bool,
    /// Print the manifest's lines instead of names.
    pub json: bool,
    /// The files that must not be written over.
    pub read: &'a [&'a Path],
}

/// A line of the list, as it is drawn.
struct Planned {
    request: Request,
    /// The number of its first picture among all.
    first: usize,
    /// What decides how each of its pictures looks.
    settings: Vec<Settings>,
}

/// A list that has been read and checked, but for sizes, which depend on the model.
pub struct Checked<'a> {
    list: &'a List<'a>,
    jobs: Vec<Job>,
    requests: Vec<Request>,
    pictures: Pictures,
    manifest: PathBuf,
}

impl<'a> Checked<'a> {
    /// Reads the list; `common` is what all its requests have in common.
    ///
    /// # Errors
    /// If a line is none, or its pictures could not be written.
    pub fn read(list: &'a List<'a>, common: &Request) -> Result<Self, Error> {
        let jobs = Job::read(list.file)?;
        let requests: Vec<Request> = jobs.iter().map(|job| job.request(common)).collect();
        let is_alone = |request: &Request| request.num_images.unwrap_or(1) == 1;
        if common.batch.is_some_and(|batch| batch > 1) && requests.iter().all(is_alone) {
            let message = "--batch takes the pictures of a line through the transformer together, and each line has one; leave it out, or give \
                           --num-images";
            return Err(Error::Usage(message.into()));
        }
        let mut named = Vec::new();
        for (job, request) in jobs.iter().zip(&requests) {
            let (own, first) = (list.within(job, Named::of(request))?, named.len());
            named.extend(own.into_iter().map(|own| Named { index: first + own.index, ..own }));
        }
        let pictures = Pictures::named(list.out, &named)?;
        if pictures.are_streamed() {
            return Err(Error::Usage(
                "--prompts writes each picture to a file of its own; name files".into(),
            ));
        }
        pictures.refuse_inputs(list.read)?;
        let manifest = list.manifest_path()?;
        if pictures.names().any(|name| name == manifest) || list.read.contains(&&*manifest) {
            let name = manifest.display();
            return Err(Error::Usage(format!("{name} is a picture or an input; name another --manifest")));
        }
        Ok(Self { list, jobs, requests, pictures, manifest })
    }

    /// The requests, line by line.
    pub fn requests(&self) -> &[Request] {
        &self.requests
    }

    /// Draws what is not there yet; each picture is written, and noted in the manifest, before the next one is begun.
    ///
    /// # Errors
    /// The first; pictures that are done stay.
    pub fn draw(mut self, pipeline: &mut DiffusionPipeline) -> Result<(), Error> {
        let planned = self.planned(pipeline)?;
        let names: Vec<PathBuf> = self.pictures.names().map(Path::to_owned).collect();
        let mut manifest = Manifest::open(&self.manifest, self.list.resume)?;
        let (total, start) = (names.len(), Instant::now());
        let all = planned.iter().flat_map(|planned| (planned.first..).zip(&planned.settings));
        if let Some(difference) =
            all.into_iter().find_map(|(index, own)| manifest.difference(&names[index], own))
        {
            return Err(Error::Usage(format!(
                "--resume: {difference}; ask for the same, or name another --out and --manifest"
            )));
        }
        let mut todo: BTreeSet<usize> = BTreeSet::new();
        for Planned { first, settings, .. } in &planned {
            let missing = (*first..).zip(settings).filter(|(index, own)| !manifest.has(&names[*index], own));
            todo.extend(missing.map(|(index, _)| index));
        }
        if self.list.resume {
            let there = total - todo.len();
            say(format_args!("{there} of {total} pictures are there as {} says", manifest.path().display()));
        }
        let wanted = todo.len();
        let progress = RefCell::new(Progress::new());
        let mut warned: BTreeSet<String> = BTreeSet::new();
        let mut done = 0;
        for planned in &planned {
            let own = planned.first..planned.first + planned.settings.len();
            let missing: Vec<usize> = todo.range(own.clone()).copied().collect();
            for request in planned.requests_for(&missing) {
                let drawn = pipeline.generate_each(
                    &request,
                    &mut |event| progress.borrow_mut().observe(event),
                    &mut |picture| {
                        let index = planned.first + picture.index;
                        let file = self.pictures.write_at(index, &picture.image)?;
                        let entry = manifest.add(&file, &planned.settings[picture.index])?;
                        let said =
                            if self.list.json { line(&entry) } else { format!("{}\n", file.display()) };
                        progress.borrow().suspend(|| print(&said))?;
                        done += 1;
                        Ok(())
                    },
                );
                let report = drawn.map_err(|error| match done {
                    0 => error,
                    _ => Error::Unfinished { done, error: Box::new(error) },
                })?;
                for warning in report.warnings {
                    if warned.insert(warning.clone()) {
                        progress.borrow().suspend(|| say(format_args!("warning: {warning}")));
                    }
                }
            }
        }
        progress.borrow().finish();
        let seconds = start.elapsed().as_secs_f64();
        let each =
            if wanted == 0 { String::new() } else { format!(", {:.2} s each", seconds / wanted as f64) };
        say(format_args!("{wanted} of {total} pictures drawn in {seconds:.2} s{each}"));
        Ok(())
    }

    /// The lines in the order in which they are drawn: those of one size one after the other, since a network is loaded for a size.
    fn planned(&self, pipeline: &DiffusionPipeline) -> Result<Vec<Planned>, Error> {
        let mut planned = Vec::with_capacity(self.jobs.len());
        let mut first = 0;
        for (job, request) in self.jobs.iter().zip(&self.requests) {
            self.list.within(job, self.pictures.refuse_sizes(request, pipeline.defaults()))?;
            let settings = self.list.within(job, pipeline.settings(request))?;
            let sizes = self.list.within(job, pipeline.sizes(request))?;
            let own = settings.len();
            planned.push((sizes, Planned { request: request.clone(), first, settings }));
            first += own;
        }
        let all: Vec<Sizes> = planned.iter().map(|(sizes, _)| *sizes).collect();
        // In the order in which the sizes come first.
        planned.sort_by_cached_key(|(sizes, _)| all.iter().position(|known| known == sizes));
        Ok(planned.into_iter().map(|(_, planned)| planned).collect())
    }
}

impl Planned {
    /// Requests for the pictures with the numbers `missing`: all at once, or those that are missing one by one.
    fn requests_for(&self, missing: &[usize]) -> Vec<Request> {
        if missing.len() == self.settings.len() {
            return vec![self.request.clone()];
        }
        let only = |index: &usize| Request { image_index: Some(index - self.first), ..self.request.clone() };
        missing.iter().map(only).collect()
    }
}

impl List<'_> {
    /// Says of which line an error is.
    fn within<T>(&self, job: &Job, result: Result<T, Error>) -> Result<T, Error> {
        let of_line = |error: Error| {
            Error::Usage(format!("--prompts {}, line {}: {error}", self.file.display(), job.line))
        };
        result.map_err(of_line)
    }

    /// Where the manifest goes.
    fn manifest_path(&self) -> Result<PathBuf, Error> {
        const NAME: &str = "manifest.jsonl";
        if let Some(path) = self.manifest {
            return Ok(path.to_owned());
        }
        match self.out.parent() {
            Some(folder) if is_template(folder) => Err(Error::Usage(
                "pictures go to several folders; say with --manifest where the list of them goes".into(),
            )),
            Some(folder) => Ok(folder.join(NAME)),
            None => Ok(Path::new(OsStr::new(NAME)).to_owned()),
        }
    }
}
