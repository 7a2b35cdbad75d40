//! Steps between which an input stays on the device: it follows from the result of each (Euler's method).

use super::{Executor, LoadedStage};
use crate::backend::{BurnBackend, GraphRunner, Kept, Mark};
use crate::execute::bindable;
use crate::{Integral, RunError};
use reflux_ir::{Declaration, HostTensor, Name, Stage};
use std::collections::HashMap;

/// What makes the input of the next step, on the engine of the steps.
pub struct Update<B: BurnBackend> {
    input: Declaration,
    slope: Name,
    runner: Box<dyn GraphRunner<B>>,
}

/// See [`Execute::integrate`](crate::Execute::integrate).
pub fn integrate<B: BurnBackend>(
    executor: &mut Executor<B>,
    integral: &Integral,
    observe: &mut dyn FnMut(usize),
) -> Result<Option<HostTensor>, RunError> {
    let Some(Update { input, slope, runner }) = update(executor, integral)? else { return Ok(None) };
    executor.give(&input, integral.start);
    let mut values = HashMap::new();
    executor.version += 1;
    values.insert(Name::from(Integral::SAMPLE), Kept::given(integral.start.clone(), executor.version));
    let mut last: Option<Mark> = None;
    for (step, change) in integral.changes.iter().enumerate() {
        let variant = executor.begin(step)?;
        executor.version += 1;
        values.insert(
            Name::from(Integral::CHANGE),
            Kept::given(HostTensor::from_f32([], &[*change]), executor.version),
        );
        for (name, _, value) in executor.run(&Stage::Variant(variant.clone()))? {
            if name == slope {
                values.insert(Name::from(Integral::SLOPE), Kept::on_device(value, executor.version, true));
            } else {
                executor.keep(name, value, true);
            }
        }
        executor.ran = Some(variant);
        for (name, _, value) in runner.run(&values, None)? {
            if *name == *Integral::SAMPLE {
                values.insert(name, Kept::on_device(value, executor.version, true));
            } else {
                executor.keep(input.name.clone(), value, true);
            }
        }
        // A step is enqueued while the one before it runs, and no more, so that whoever observes knows where the device is.
        if let Some(last) = last.replace(runner.mark()?) {
            last()?;
            observe(step - 1);
        }
    }
    let sample = runner.fetch(0)?;
    if let Some(last) = integral.changes.len().checked_sub(1) {
        observe(last);
    }
    executor.update = Some(Update { input, slope, runner });
    Ok(Some(sample))
}

/// What makes the next input, if all steps run as a whole on one engine and return nothing but the slope.
fn update<B: BurnBackend>(
    executor: &mut Executor<B>,
    integral: &Integral,
) -> Result<Option<Update<B>>, RunError> {
    let input = bindable(&executor.program, integral.input, integral.start)?.clone();
    let program = &executor.program;
    if executor.rank.is_some() || executor.profile.is_some() || program.has_choices() {
        return Ok(None);
    }
    if let Some(known) =
        executor.update.take_if(|known| known.input == input && *known.slope == *integral.slope)
    {
        return Ok(Some(known));
    }
    let mut runner = None;
    for LoadedStage { stage, runner: own, .. } in &executor.stages {
        let Stage::Variant(name) = stage else { continue };
        let results =
            program.variants[name].outputs().iter().filter(|output| !program.is_carried(&output.label));
        let mut slopes = results.map(|output| (&*output.label, &program.variants[name][output.value].fact));
        let (Some((label, slope)), None, Some(own)) = (slopes.next(), slopes.next(), own) else {
            return Ok(None);
        };
        if *label != *integral.slope || slope.shape != input.fact.shape {
            return Ok(None);
        }
        let Ok(graph) = Integral::update(&input.fact, slope) else { return Ok(None) };
        runner = match runner {
            None => own.beside(&graph)?,
            known => known,
        };
    }
    Ok(runner.map(|runner| Update { input, slope: integral.slope.into(), runner }))
}
