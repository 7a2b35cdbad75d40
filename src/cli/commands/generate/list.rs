//! Pictures of a list of prompts, `--prompts FILE`: one request after the other, or on several devices from one queue.

use super::manifest::{Manifest, Settings};
use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::jobs::Job;
use crate::cli::out_names::{Named, is_template};
use crate::cli::pictures::Pictures;
use crate::cli::progress::Progress;
use crate::json_lines::line;
use crate::pipeline::{DiffusionPipeline, Image, Picture, Request};
use reflux_models::Sizes;
use reflux_runtime::Device;
use std::cell::RefCell;
use std::collections::{BTreeSet, VecDeque};
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, PoisonError};
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
    pub fn draw(self, pipeline: &mut DiffusionPipeline) -> Result<(), Error> {
        let (mut drawing, todo) = self.begun(pipeline)?;
        for Todo { request, first } in todo {
            let drawing = RefCell::new(&mut drawing);
            let drawn = pipeline.generate_each(
                &request,
                &mut |event| drawing.borrow_mut().progress.observe(event),
                &mut |picture| drawing.borrow_mut().take(first + picture.index, &picture.image),
            );
            let drawing = drawing.into_inner();
            let report = drawn.map_err(|error| drawing.unfinished(error))?;
            drawing.warn(report.warnings);
        }
        drawing.finish();
        Ok(())
    }

    /// Draws as [`Checked::draw`], on several devices: `open` opens a pipeline on each, and each takes the next line when it is
    /// done with one. `pipeline` says what the lines are, and draws nothing.
    ///
    /// # Errors
    /// The first; pictures that are done stay, those that are begun too.
    pub fn draw_on(
        self,
        devices: &[Device],
        pipeline: DiffusionPipeline,
        open: &(dyn Fn(Device) -> Result<DiffusionPipeline, Error> + Sync),
    ) -> Result<(), Error> {
        let (mut drawing, todo) = self.begun(&pipeline)?;
        drop(pipeline);
        let todo = Mutex::new(VecDeque::from(todo));
        let next = || todo.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        std::thread::scope(|scope| {
            let (results, drawn) = channel();
            for &device in &devices[..devices.len().min(drawing.wanted)] {
                let results = results.clone();
                scope.spawn(move || {
                    if let Err(error) = work(device, open, &next, &results) {
                        // Nobody listens any more if another device has failed.
                        let _ = results.send(Drawn::Failed(error));
                    }
                });
            }
            drop(results);
            for result in drawn {
                let outcome = match result {
                    Drawn::Picture(index, image) => drawing.take(index, &image),
                    Drawn::Warnings(warnings) => {
                        drawing.warn(warnings);
                        Ok(())
                    }
                    Drawn::Failed(error) => Err(error),
                };
                if let Err(error) = outcome {
                    // The others stop after what they have begun.
                    todo.lock().unwrap_or_else(PoisonError::into_inner).clear();
                    return Err(drawing.unfinished(error));
                }
            }
            drawing.finish();
            Ok(())
        })
    }

    /// What is not there yet, in the order in which it is drawn, and what becomes of it.
    fn begun(self, pipeline: &DiffusionPipeline) -> Result<(Drawing, Vec<Todo>), Error> {
        let planned = self.planned(pipeline)?;
        let Self { list, pictures, manifest, .. } = self;
        let names: Vec<PathBuf> = pictures.names().map(Path::to_owned).collect();
        let manifest = Manifest::open(&manifest, list.resume)?;
        let all = planned.iter().flat_map(|planned| (planned.first..).zip(&planned.settings));
        if let Some(difference) =
            all.into_iter().find_map(|(index, own)| manifest.difference(&names[index], own))
        {
            return Err(Error::Usage(format!(
                "--resume: {difference}; ask for the same, or name another --out and --manifest"
            )));
        }
        let mut todo = Vec::new();
        let mut wanted = 0;
        for planned in &planned {
            let all = (planned.first..).zip(&planned.settings);
            let missing =
                all.filter(|(index, own)| !manifest.has(&names[*index], own)).map(|(index, _)| index);
            let missing: Vec<usize> = missing.collect();
            wanted += missing.len();
            let requests = planned.requests_for(&missing).into_iter();
            todo.extend(requests.map(|request| Todo { request, first: planned.first }));
        }
        let total = names.len();
        if list.resume {
            let there = total - wanted;
            say(format_args!("{there} of {total} pictures are there as {} says", manifest.path().display()));
        }
        let mut settings: Vec<_> = (0..total).map(|_| None).collect();
        for Planned { first, settings: own, .. } in planned {
            own.into_iter().enumerate().for_each(|(index, own)| settings[first + index] = Some(own));
        }
        let drawing = Drawing {
            pictures,
            manifest,
            settings: settings.into_iter().flatten().collect(),
            json: list.json,
            progress: Progress::new(),
            warned: BTreeSet::new(),
            start: Instant::now(),
            wanted,
            done: 0,
        };
        Ok((drawing, todo))
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

/// A request, and the number of the first picture of its line.
struct Todo {
    request: Request,
    first: usize,
}

/// What becomes of pictures that are drawn.
struct Drawing {
    pictures: Pictures,
    manifest: Manifest,
    /// Of all pictures.
    settings: Vec<Settings>,
    json: bool,
    progress: Progress,
    /// What has been said.
    warned: BTreeSet<String>,
    start: Instant,
    wanted: usize,
    done: usize,
}

impl Drawing {
    /// Writes the picture with this number, notes it, and says so.
    fn take(&mut self, index: usize, image: &Image) -> Result<(), Error> {
        let file = self.pictures.write_at(index, image)?;
        let entry = self.manifest.add(&file, &self.settings[index])?;
        let said = if self.json { line(&entry) } else { format!("{}\n", file.display()) };
        self.progress.suspend(|| print(&said))?;
        self.done += 1;
        Ok(())
    }

    /// Says what has not been said yet.
    fn warn(&mut self, warnings: Vec<String>) {
        for warning in warnings {
            if self.warned.insert(warning.clone()) {
                self.progress.suspend(|| say(format_args!("warning: {warning}")));
            }
        }
    }

    fn unfinished(&self, error: Error) -> Error {
        match self.done {
            0 => error,
            done => Error::Unfinished { done, error: Box::new(error) },
        }
    }

    fn finish(&self) {
        self.progress.finish();
        let (wanted, total, seconds) = (self.wanted, self.settings.len(), self.start.elapsed().as_secs_f64());
        let each =
            if wanted == 0 { String::new() } else { format!(", {:.2} s each", seconds / wanted as f64) };
        say(format_args!("{wanted} of {total} pictures drawn in {seconds:.2} s{each}"));
    }
}

/// What comes of the work of a device.
enum Drawn {
    Picture(usize, Image),
    Warnings(Vec<String>),
    Failed(Error),
}

/// Draws on `device` what is `next`, until nothing is, or nobody takes it any more.
fn work(
    device: Device,
    open: &(dyn Fn(Device) -> Result<DiffusionPipeline, Error> + Sync),
    next: &(dyn Fn() -> Option<Todo> + Sync),
    results: &Sender<Drawn>,
) -> Result<(), Error> {
    let mut pipeline = open(device)?;
    while let Some(Todo { request, first }) = next() {
        let mut give = |picture: Picture| {
            // If nobody takes it, the run has ended, and there is nothing next.
            let _ = results.send(Drawn::Picture(first + picture.index, picture.image));
            Ok(())
        };
        let report = pipeline.generate_each(&request, &mut |_| (), &mut give)?;
        let _ = results.send(Drawn::Warnings(report.warnings));
    }
    Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::{OpenOptions, bundled_model};

    fn open(device: Device) -> Result<DiffusionPipeline, Error> {
        let options = OpenOptions { device: Some(device), ..OpenOptions::default() };
        DiffusionPipeline::open_with(bundled_model()?, options)
    }

    /// Draws three prompts on as many devices, all of them the processor.
    fn drawn(folder: &Path, devices: usize) -> Vec<image::RgbImage> {
        let (file, out) = (folder.join("list.txt"), folder.join(format!("{devices}")).join("{index}.png"));
        std::fs::create_dir(out.parent().unwrap()).unwrap();
        std::fs::write(&file, "a red apple\na blue car\na green leaf\n").unwrap();
        let list = List { file: &file, out: &out, manifest: None, resume: false, json: false, read: &[] };
        let common = Request { steps: Some(1), ..Request::default() };
        let checked = Checked::read(&list, &common).unwrap();
        match devices {
            1 => checked.draw(&mut open(Device::host()).unwrap()).unwrap(),
            _ => {
                checked.draw_on(&vec![Device::host(); devices], open(Device::host()).unwrap(), &open).unwrap()
            }
        }
        let lines = std::fs::read_to_string(out.with_file_name("manifest.jsonl")).unwrap();
        assert_eq!(lines.lines().count(), 3);
        let picture = |index| image::open(out.with_file_name(format!("{index}.png"))).unwrap().to_rgb8();
        (0..3).map(picture).collect()
    }

    #[test]
    fn pictures_are_the_same_whichever_device_draws_them() {
        let folder = tempfile::tempdir().unwrap();
        let alone = drawn(folder.path(), 1);
        assert!(alone == drawn(folder.path(), 2));
        // More devices than pictures.
        assert!(alone == drawn(folder.path(), 5));
    }

    #[test]
    fn a_device_that_fails_ends_the_list() {
        let folder = tempfile::tempdir().unwrap();
        let (file, out) = (folder.path().join("list.txt"), folder.path().join("{index}.png"));
        std::fs::write(&file, "a red apple\n".repeat(20)).unwrap();
        let list = List { file: &file, out: &out, manifest: None, resume: false, json: false, read: &[] };
        let checked = Checked::read(&list, &Request { steps: Some(1), ..Request::default() }).unwrap();
        let fails = |_| Err(Error::Usage("no device".into()));
        let error = checked.draw_on(&[Device::host(); 2], open(Device::host()).unwrap(), &fails).unwrap_err();
        assert_eq!(error.to_string(), "no device");
    }
}
