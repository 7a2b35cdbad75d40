//! Programs that are ready to run.

use crate::{Integral, Profile, RunError};
use reflux_ir::{Declaration, Fact, HostTensor, Name, Program, WeightSource};
use std::collections::HashMap;
use std::sync::Arc;

/// A loaded program.
pub trait Execute {
    /// The program that runs.
    fn program(&self) -> &Program;

    /// Binds a value to an input, cast to the input's dtype, until another is bound. The number of the step is bound by
    /// [`Execute::step`].
    ///
    /// # Errors
    /// If the program has no such input, or one of another type; and for the step's number.
    fn bind(&mut self, name: &str, value: &HostTensor) -> Result<(), RunError>;

    /// Clears carried values: call it before the first step of an image.
    fn reset(&mut self);

    /// Runs the variant that the schedule has for `step`, from 0, and returns the program's results. Prepare stages run first if
    /// an input that they may depend on has changed. Binds the number of the step if the program reads it: see
    /// [`Program::step_input`]. A probe runs first, and then the variant that it chooses.
    ///
    /// # Errors
    /// If there is no such step, an input is missing, a probe chooses something else than its choices, or the backend fails.
    fn step(&mut self, step: usize) -> Result<HashMap<Name, HostTensor>, RunError>;

    /// Runs a step for each of the integral's changes, from the first on, and between them keeps the input that follows from the results
    /// of steps where it is computed, so that no step waits for the host. Calls `observe` with the number of each step when it is done.
    /// Carried values are those that there are: see [`Execute::reset`]. Afterwards the input has to be bound again.
    ///
    /// Returns, in f32, what [`Integral::start`] has become; `None`, with nothing done, if the host has to take part: on the processor, on
    /// several devices, where a probe chooses, where ops are measured, and where steps return more than the slope.
    ///
    /// # Errors
    /// As [`Execute::bind`] and [`Execute::step`]. Some steps may have run then.
    fn integrate(
        &mut self,
        integral: &Integral,
        observe: &mut dyn FnMut(usize),
    ) -> Result<Option<HostTensor>, RunError> {
        let _ = (integral, observe);
        Ok(None)
    }

    /// The variant that the last step ran: that of the schedule, or the one that its probe chose.
    fn ran(&self) -> Option<&Name>;

    /// Reads the weights whose names `is_changed` accepts again, from `weights`, in the types that they have. Nothing is planned or
    /// compiled anew; prepare stages that read them run again before the next step.
    ///
    /// # Errors
    /// If a weight cannot be read, or prepared. Some may be new then, and others not.
    fn reload(
        &mut self,
        weights: Arc<dyn WeightSource>,
        is_changed: &dyn Fn(&str) -> bool,
    ) -> Result<(), RunError>;

    /// Starts or stops measuring each op.
    fn set_profiling(&mut self, on: bool);

    /// The measurements, if profiling is on.
    fn profile(&self) -> Option<&Profile>;

    /// Notes on ops that the backend's own engine does not run, per variant: which, why, the cost, and what to do.
    fn fallbacks(&self) -> &[String];
}

/// The input `name` of `program`, if `value` can be bound to it.
///
/// # Errors
/// As [`Execute::bind`].
pub(crate) fn bindable<'p>(
    program: &'p Program,
    name: &str,
    value: &HostTensor,
) -> Result<&'p Declaration, RunError> {
    let Some(input) = program.inputs.iter().find(|input| *input.name == *name) else {
        let inputs = program.inputs.iter().map(|input| input.name.clone()).collect();
        return Err(RunError::UnknownInput { name: name.to_owned(), inputs });
    };
    if program.step_input() == Some(input) {
        return Err(RunError::StepBound(input.name.clone()));
    }
    let found = Fact::new(value.dtype, value.shape.clone());
    if found.shape != input.fact.shape || found.dtype.is_float() != input.fact.dtype.is_float() {
        let (name, expected) = (input.name.clone(), input.fact.clone());
        return Err(RunError::InputType { name, expected, found });
    }
    Ok(input)
}
