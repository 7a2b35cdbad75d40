//! Steps between which an input stays on the device: it follows from the result of each (Euler's method).

use super::{Executor, LoadedStage};
use crate::backend::{BurnBackend, GraphRunner, Kept, Mark};
use crate::execute::bindable;
use crate::value::Value;
use crate::{Integral, RunError};
use reflux_ir::{DType, Declaration, HostTensor, Name, Rate, Stage};
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
    let Some(update) = update(executor, integral)? else { return Ok(None) };
    let steps = executor.program.schedule.len();
    if integral.changes.len() > steps {
        return Err(RunError::NoSuchStep { step: steps, steps });
    }
    let sample = advance(executor, &update, integral, observe);
    executor.update = Some(update);
    sample.map(Some)
}

/// What makes the next input, if all steps run as a whole on one engine and return nothing but the slope, and nothing that is prepared
/// depends on what changes between them.
fn update<B: BurnBackend>(
    executor: &mut Executor<B>,
    integral: &Integral,
) -> Result<Option<Update<B>>, RunError> {
    let program = &executor.program;
    let input = bindable(program, integral.input, integral.start)?.clone();
    let is_latent = |input: &Declaration| input.fact.rate == Rate::Latent;
    let stays = is_latent(&input) && program.step_input().is_none_or(is_latent);
    if !stays || executor.rank.is_some() || executor.profile.is_some() || program.has_choices() {
        return Ok(None);
    }
    if let Some(known) =
        executor.update.take_if(|known| known.input == input && *known.slope == *integral.slope)
    {
        return Ok(Some(known));
    }
    let mut first = None;
    for LoadedStage { stage, runner, .. } in &executor.stages {
        let Stage::Variant(name) = stage else { continue };
        let graph = &program.variants[name];
        let mut results = graph.outputs().iter().filter(|output| !program.is_carried(&output.label));
        let (Some(result), None, Some(runner)) = (results.next(), results.next(), runner) else {
            return Ok(None);
        };
        let slope = &graph[result.value].fact;
        let are_alike = slope.shape == input.fact.shape && slope.dtype.is_float() && !slope.is_coded();
        if *result.label != *integral.slope || !are_alike {
            return Ok(None);
        }
        first.get_or_insert((runner, slope));
    }
    let Some((runner, slope)) = first else { return Ok(None) };
    let graph = Integral::update(&input.fact, slope).expect("both are numbers of one shape");
    Ok(runner.beside(&graph)?.map(|runner| Update { input, slope: integral.slope.into(), runner }))
}

/// Steps that have been enqueued. However this ends, it waits for them, before anything is freed that they read or write.
struct UnderWay<'u, B: BurnBackend> {
    runner: &'u dyn GraphRunner<B>,
    /// The last whole one, and what has been replaced by it.
    last: Option<(Mark, Vec<Value<B>>)>,
    /// What has been replaced since: steps may still read it.
    replaced: Vec<Value<B>>,
}

impl<B: BurnBackend> UnderWay<'_, B> {
    /// `kept` is about to be replaced.
    fn replace(&mut self, kept: Option<&Kept<B>>) {
        self.replaced.extend(kept.and_then(Kept::on_device_now).cloned());
    }

    /// Puts `kept` among `values`.
    fn put(&mut self, values: &mut HashMap<Name, Kept<B>>, name: &str, kept: Kept<B>) {
        self.replace(values.get(name));
        values.insert(name.into(), kept);
    }
}

impl<B: BurnBackend> Drop for UnderWay<'_, B> {
    fn drop(&mut self) {
        // An error has been told, or will be by what needs the device next.
        let _ = self.runner.wait();
    }
}

/// Runs a step for each change.
fn advance<B: BurnBackend>(
    executor: &mut Executor<B>,
    Update { input, slope, runner }: &Update<B>,
    integral: &Integral,
    observe: &mut dyn FnMut(usize),
) -> Result<HostTensor, RunError> {
    let start = integral.start.cast(DType::F32);
    let Some(last_step) = integral.changes.len().checked_sub(1) else { return Ok(start) };
    let step_input = executor.program.step_input().map(|input| input.name.clone());
    executor.give(input, &start);
    let mut values =
        HashMap::from([(Name::from(Integral::SAMPLE), Kept::given(start, executor.next_version()))]);
    let mut under_way = UnderWay { runner: &**runner, last: None, replaced: Vec::new() };
    for (step, change) in integral.changes.iter().enumerate() {
        under_way.replace(step_input.as_ref().and_then(|name| executor.values.get(name)));
        let variant = executor.begin(step)?;
        let change = Kept::given(HostTensor::from_f32([], &[*change]), executor.next_version());
        under_way.put(&mut values, Integral::CHANGE, change);
        for (name, _, value) in executor.run(&Stage::Variant(variant.clone()))? {
            if name == *slope {
                let slope = Kept::on_device(value, executor.next_version(), true);
                under_way.put(&mut values, Integral::SLOPE, slope);
            } else {
                under_way.replace(executor.values.get(&name));
                executor.keep(name, value, true);
            }
        }
        executor.ran = Some(variant);
        for (name, _, value) in runner.run(&values, None)? {
            if *name == *Integral::SAMPLE {
                let sample = Kept::on_device(value, executor.next_version(), true);
                under_way.put(&mut values, Integral::SAMPLE, sample);
            } else {
                under_way.replace(executor.values.get(&input.name));
                executor.keep(input.name.clone(), value, true);
            }
        }
        // A step is enqueued while the one before it runs, and no more, so that whoever observes knows where the device is.
        let replaced = std::mem::take(&mut under_way.replaced);
        if let Some((mark, _replaced)) = under_way.last.replace((runner.mark()?, replaced)) {
            mark()?;
            observe(step - 1);
        }
    }
    let sample = runner.fetch(0)?;
    observe(last_step);
    Ok(sample)
}

#[cfg(test)]
mod tests;
