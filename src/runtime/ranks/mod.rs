//! Programs on several devices: a rank for each, which is a thread that runs the same program on its shares of values.
//!
//! A rank that fails ends the run: all others stop waiting for it, and the caller gets its error.

mod collective;
mod meeting;

pub use meeting::Meeting;

use crate::backend::{Backend, Loading};
use crate::execute::{Execute, bindable};
use crate::{Profile, RunError};
use reflux_ir::{HostTensor, Name, Program, WeightSource, words};
use std::collections::{HashMap, HashSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// One of the ranks of a program, as its thread knows it.
#[derive(Clone)]
pub struct Rank {
    /// From 0.
    pub index: usize,
    pub meeting: Arc<Meeting>,
}

/// What a rank is asked to do with its executor.
type Job = Box<dyn FnOnce(&mut dyn Execute) + Send>;

/// A program on all of its ranks.
pub struct Ranks {
    program: Program,
    workers: Vec<Worker>,
    meeting: Arc<Meeting>,
    ran: Option<Name>,
    profile: Option<Profile>,
    fallbacks: Vec<String>,
}

struct Worker {
    jobs: Option<Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

/// How long a rank may take to load its weights before the others stop waiting for it, which takes minutes from a slow disk.
const LOADING: Duration = Duration::from_secs(60 * 60);

/// How long a rank may take for a step, which takes seconds.
const STEP: Duration = Duration::from_secs(10 * 60);

/// How long ranks may take to stop once one has failed.
const GRACE: Duration = Duration::from_secs(20);

impl Ranks {
    /// Loads `program` onto as many devices as it is for, from `first` on; see [`Loading`].
    pub fn load(
        backend: &'static dyn Backend,
        first: usize,
        program: Program,
        weights: &Arc<dyn WeightSource>,
        streams: bool,
    ) -> Result<Self, RunError> {
        let meeting = Arc::new(Meeting::of(program.devices().unwrap_or(1)));
        let mut ranks = Self {
            program,
            workers: Vec::new(),
            meeting: meeting.clone(),
            ran: None,
            profile: None,
            fallbacks: Vec::new(),
        };
        let (loaded, outcomes) = channel();
        for index in 0..meeting.ranks() {
            let rank = Rank { index, meeting: meeting.clone() };
            let (program, weights, loaded) = (ranks.program.clone(), weights.clone(), loaded.clone());
            let (jobs, todo) = channel();
            let work = move || {
                let streamed = streams.then(|| weights.clone());
                let rank = Some(rank);
                let loading = Loading { program, weights: &*weights, streamed, ordinal: first + index, rank };
                work(|| backend.load(loading), index, &loaded, &todo);
            };
            let thread = std::thread::Builder::new().name(format!("rank {index}")).spawn(work);
            let thread = thread.map_err(|error| RunError::rank(index, failed(error.to_string())))?;
            ranks.workers.push(Worker { jobs: Some(jobs), thread: Some(thread) });
        }
        drop(loaded);
        ranks.fallbacks = ranks.collected(&outcomes, LOADING)?;
        Ok(ranks)
    }

    /// Has every rank do `job`; what that of rank 0 gives.
    fn all<T: Send + 'static>(
        &self,
        job: impl Fn(&mut dyn Execute) -> Result<T, RunError> + Send + Sync + 'static,
    ) -> Result<T, RunError> {
        let job = Arc::new(job);
        let (done, outcomes) = channel();
        for (index, worker) in self.workers.iter().enumerate() {
            let (job, done) = (job.clone(), done.clone());
            let job: Job = Box::new(move |executor| {
                // Nobody waits any more if another rank has failed.
                let _ = done.send((index, caught(|| job(executor))));
            });
            // A rank that has ended sends nothing, which is found below.
            let _ = worker.jobs.as_ref().expect("until dropped").send(job);
        }
        drop(done);
        self.collected(&outcomes, STEP)
    }

    /// The outcome of rank 0, once all have one; if a rank fails, its error.
    fn collected<T>(
        &self,
        outcomes: &Receiver<(usize, Result<T, RunError>)>,
        patience: Duration,
    ) -> Result<T, RunError> {
        let mut first = None;
        let mut error: Option<RunError> = None;
        let mut waiting: HashSet<usize> = (0..self.workers.len()).collect();
        while !waiting.is_empty() {
            let patience = if error.is_some() { GRACE } else { patience };
            match outcomes.recv_timeout(patience) {
                Ok((rank, outcome)) => {
                    waiting.remove(&rank);
                    match outcome {
                        Ok(value) if rank == 0 => first = Some(value),
                        Ok(_) => {}
                        Err(found) => {
                            self.meeting.end();
                            // The one that failed says more than those that stopped because of it.
                            let is_first = matches!(error, None | Some(RunError::Abandoned));
                            if is_first {
                                error = Some(match found {
                                    RunError::Abandoned => found,
                                    found => RunError::rank(rank, found),
                                });
                            }
                        }
                    }
                }
                Err(ended) => {
                    self.meeting.end();
                    let late = waiting.iter().min().copied().unwrap_or_default();
                    let what = match ended {
                        RecvTimeoutError::Timeout => {
                            format!("it has not finished after {} s", patience.as_secs())
                        }
                        RecvTimeoutError::Disconnected => "it has ended".into(),
                    };
                    return Err(error.unwrap_or_else(|| RunError::rank(late, failed(what))));
                }
            }
        }
        match error {
            Some(error) => Err(error),
            None => Ok(first.expect("rank 0 has finished")),
        }
    }
}

/// The life of a rank's thread: loads, says what came of it, and does what it is asked to.
fn work(
    load: impl FnOnce() -> Result<Box<dyn Execute>, RunError>,
    rank: usize,
    loaded: &Sender<(usize, Result<Vec<String>, RunError>)>,
    jobs: &Receiver<Job>,
) {
    let mut executor = match caught(load) {
        Ok(executor) => executor,
        Err(error) => return drop(loaded.send((rank, Err(error)))),
    };
    let _ = loaded.send((rank, Ok(executor.fallbacks().to_vec())));
    while let Ok(job) = jobs.recv() {
        job(executor.as_mut());
    }
}

/// What `run` gives; a panic is an error.
fn caught<T>(run: impl FnOnce() -> Result<T, RunError>) -> Result<T, RunError> {
    catch_unwind(AssertUnwindSafe(run))
        .unwrap_or_else(|panic| Err(failed(words::of_panic(&*panic).to_owned())))
}

fn failed(message: String) -> RunError {
    RunError::Backend { line: "a step".into(), message }
}

impl Execute for Ranks {
    fn program(&self) -> &Program {
        &self.program
    }

    fn bind(&mut self, name: &str, value: &HostTensor) -> Result<(), RunError> {
        bindable(&self.program, name, value)?;
        let (name, value) = (name.to_owned(), Arc::new(value.clone()));
        self.all(move |executor| executor.bind(&name, &value))
    }

    fn reset(&mut self) {
        // If it fails, so does the next step.
        let _ = self.all(|executor| {
            executor.reset();
            Ok(())
        });
    }

    fn step(&mut self, step: usize) -> Result<HashMap<Name, HostTensor>, RunError> {
        let (results, ran, profile) = self.all(move |executor| {
            let results = executor.step(step)?;
            Ok((results, executor.ran().cloned(), executor.profile().cloned()))
        })?;
        (self.ran, self.profile) = (ran, profile);
        Ok(results)
    }

    fn ran(&self) -> Option<&Name> {
        self.ran.as_ref()
    }

    fn reload(
        &mut self,
        weights: Arc<dyn WeightSource>,
        is_changed: &dyn Fn(&str) -> bool,
    ) -> Result<(), RunError> {
        let names = self.program.weights().into_keys().filter(|name| is_changed(name));
        let changed: HashSet<String> = names.map(str::to_owned).collect();
        self.all(move |executor| executor.reload(weights.clone(), &|name| changed.contains(name)))
    }

    fn set_profiling(&mut self, on: bool) {
        let profile = self.all(move |executor| {
            executor.set_profiling(on);
            Ok(executor.profile().cloned())
        });
        self.profile = profile.ok().flatten();
    }

    /// That of rank 0.
    fn profile(&self) -> Option<&Profile> {
        self.profile.as_ref()
    }

    fn fallbacks(&self) -> &[String] {
        &self.fallbacks
    }
}

impl Drop for Ranks {
    /// Waits until the ranks have freed their memory.
    fn drop(&mut self) {
        self.workers.iter_mut().for_each(|worker| worker.jobs = None);
        if self.meeting.is_over() {
            // One of them may never end.
            return;
        }
        for thread in self.workers.iter_mut().filter_map(|worker| worker.thread.take()) {
            // What it did has been reported.
            let _ = thread.join();
        }
    }
}
