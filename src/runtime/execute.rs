//! Programs that are ready to run.

use crate::{Profile, RunError};
use reflux_ir::{HostTensor, Name, Program};
use std::collections::HashMap;

/// A loaded program.
pub trait Execute {
    /// The program that runs.
    fn program(&self) -> &Program;

    /// Gives an input its value, cast to the input's dtype; it stays until it is given another. The step's number is no input to
    /// bind: [`Execute::step`] gives it.
    ///
    /// # Errors
    /// If the program has no such input, or one of another type; and for the step's number.
    fn bind(&mut self, name: &str, value: &HostTensor) -> Result<(), RunError>;

    /// Forgets what was carried over: call it before the first step of an image.
    fn reset(&mut self);

    /// Runs the variant that the schedule has for `step`, from 0, and returns the program's results. Prepare stages run first
    /// where an input that they may depend on has changed. A program that reads which step it is has that from here: see
    /// [`Program::step_input`]. Where the schedule has a probe, that runs first, and then the variant that it chooses.
    ///
    /// # Errors
    /// If there is no such step, an input is missing, a probe chooses none of its choices, or the backend fails.
    fn step(&mut self, step: usize) -> Result<HashMap<Name, HostTensor>, RunError>;

    /// Starts or stops measuring each op.
    fn set_profiling(&mut self, on: bool);

    /// What has been measured, if profiling is on.
    fn profile(&self) -> Option<&Profile>;

    /// What the backend's own engine does not run, variant by variant: which ops, why, what that costs and what to do about it.
    fn fallbacks(&self) -> &[String];
}
