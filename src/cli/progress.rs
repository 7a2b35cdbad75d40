//! A progress bar on standard error, if that is a terminal.

use crate::pipeline::Event;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        // indicatif hides the bar if standard error is not a terminal.
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr());
        bar.set_style(ProgressStyle::with_template("{msg}").expect("a valid template"));
        Self { bar }
    }

    pub fn observe(&mut self, event: Event) {
        match event {
            Event::Stage(stage) => self.bar.set_message(stage.to_owned()),
            Event::Step { images, steps, .. } => {
                if self.bar.length() == Some(0) {
                    self.expect(images * steps);
                }
                self.bar.inc(1);
            }
            Event::Results { .. } | Event::Preview { .. } => {}
        }
    }

    /// Has so many more steps to come.
    pub fn expect(&mut self, steps: usize) {
        if self.bar.length() == Some(0) {
            let template = "{msg} {wide_bar} {pos}/{len} steps, {elapsed} so far, {eta} left";
            self.bar.set_style(ProgressStyle::with_template(template).expect("a valid template"));
        }
        self.bar.set_length(self.bar.position() + steps as u64);
    }

    /// Says what is being done.
    pub fn say(&self, what: String) {
        self.bar.set_message(what);
    }

    /// A step is done.
    pub fn step(&self) {
        self.bar.inc(1);
    }

    /// Does what writes on the screen without the bar in its way.
    pub fn suspend<R>(&self, write: impl FnOnce() -> R) -> R {
        self.bar.suspend(write)
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
