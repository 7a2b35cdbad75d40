//! Other weights for a program that is loaded.

use super::{Executor, LoadedStage, prepare_weights};
use crate::backend::{BurnBackend, Loader};
use crate::value::Value;
use crate::weight::{Over, load_rows, load_weight};
use crate::{Profile, RunError};
use reflux_ir::op::{Op, axis_index};
use reflux_ir::{Fact, Graph, Name, Patch, Rate, Stage, ValueId, WeightRows, WeightSource};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// Puts the weights whose names `is_changed` accepts, as `weights` has them, in the place of those that `executor` has: in the same
/// memory where the backend can, so that nothing is allocated, and whoever knows where they are need not learn anything new.
pub fn reload<B: BurnBackend>(
    executor: &mut Executor<B>,
    weights: Rc<dyn WeightSource>,
    is_changed: &dyn Fn(&str) -> bool,
) -> Result<(), RunError> {
    // What ran last may still read the old ones.
    executor
        .stages
        .iter()
        .filter_map(|loaded| loaded.runner.as_ref())
        .try_for_each(|runner| runner.wait())?;
    let failed = |error: burn::tensor::backend::ExecutionError| RunError::Backend {
        line: "before other weights".to_owned(),
        message: error.to_string(),
    };
    B::sync(&executor.device).map_err(failed)?;
    let mut loader = B::loader(&executor.device)?;
    reload_prepared(executor, &*weights, is_changed, loader.as_mut())?;
    reload_leaves(executor, &*weights, is_changed, loader.as_mut())?;
    loader.finish()?;
    if executor.streamed.is_some() {
        executor.streamed = Some(weights);
    }
    Ok(())
}

/// Makes the prepared values anew that depend on such weights.
fn reload_prepared<B: BurnBackend>(
    executor: &mut Executor<B>,
    source: &dyn WeightSource,
    is_changed: &dyn Fn(&str) -> bool,
    loader: &mut dyn Loader<B>,
) -> Result<(), RunError> {
    let prepare = executor.program.prepares.get(&Rate::Weights).filter(|graph| graph.inputs().is_empty());
    let Some(prepare) = prepare else { return Ok(()) };
    let reads = reading(prepare, is_changed);
    let outputs = prepare.outputs().iter().filter(|output| reads.contains(&output.value));
    let mut again: HashSet<Name> = HashSet::new();
    let mut stacked_values: Vec<(Name, Value<B>)> = Vec::new();
    for output in outputs {
        let known = executor.values.get(&output.label).and_then(|kept| kept.on_device_now());
        let mut over = Over::new(loader, known);
        match stacked(prepare, output.value, source)? {
            Some(rows) => {
                let fact = &prepare[output.value].fact;
                match load_rows(&rows, fact, &mut over, &executor.device) {
                    Some(value) => stacked_values.push((output.label.clone(), value?)),
                    None => drop(again.insert(output.label.clone())),
                }
            }
            None => drop(again.insert(output.label.clone())),
        }
    }
    if again.is_empty() && stacked_values.is_empty() {
        return Ok(());
    }
    if !again.is_empty() {
        let part = making(prepare, &again);
        let mut profile = Profile::default();
        let made = prepare_weights(&part, source, loader, &executor.device, &mut profile)?;
        made.into_iter().for_each(|(name, _, value)| executor.keep(name, value, false));
    }
    stacked_values.into_iter().for_each(|(name, value)| executor.keep_placed(name, value));
    executor.stale.extend(executor.stages.iter().filter_map(|loaded| match loaded.stage {
        Stage::Prepare(rate) => Some(rate),
        Stage::Variant(_) => None,
    }));
    Ok(())
}

/// Loads such weights of the stages anew.
fn reload_leaves<B: BurnBackend>(
    executor: &mut Executor<B>,
    source: &dyn WeightSource,
    is_changed: &dyn Fn(&str) -> bool,
    loader: &mut dyn Loader<B>,
) -> Result<(), RunError> {
    let mut known: HashMap<(String, Fact), Value<B>> = HashMap::new();
    for LoadedStage { stage, liveness, leaves, runner } in &mut executor.stages {
        let own = liveness.weights.iter().filter(|(tensor, ..)| is_changed(tensor));
        // What is read while its stage runs is read from the new source then.
        if let (Some(_), Stage::Prepare(rate)) = (&executor.streamed, &*stage) {
            executor.stale.extend(own.map(|_| *rate));
            continue;
        }
        // Slots are numbered in program order.
        let order = match &*stage {
            Stage::Variant(name) => executor.program.variants[name].order(),
            Stage::Prepare(_) => Vec::new(),
        };
        let mut changed = Vec::new();
        for (tensor, fact, slot) in own {
            let key = (tensor.clone(), fact.clone());
            let value = match (known.get(&key), &*runner) {
                (Some(value), _) => value.clone(),
                (None, runner) => {
                    let before = match runner {
                        Some(runner) => runner.weight(order[*slot]),
                        None => leaves.iter().find(|(leaf, _)| leaf == slot).map(|(_, value)| value),
                    };
                    let mut over = Over::new(loader, before);
                    B::kept(load_weight(source, tensor, fact, &mut over, &executor.device)?)
                }
            };
            known.insert(key, value.clone());
            changed.push((*slot, value));
        }
        if changed.is_empty() {
            continue;
        }
        match runner {
            Some(runner) => {
                runner.replace(changed.into_iter().map(|(slot, value)| (order[slot], value)).collect())?;
            }
            None => {
                leaves.retain(|(slot, _)| changed.iter().all(|(new, _)| new != slot));
                leaves.extend(changed);
                executor.stale.extend(if let Stage::Prepare(rate) = stage { Some(*rate) } else { None });
            }
        }
    }
    Ok(())
}

/// The values of `graph` that depend on weights with names that `is_changed` accepts.
fn reading(graph: &Graph, is_changed: &dyn Fn(&str) -> bool) -> HashSet<ValueId> {
    let mut reads: HashSet<ValueId> = HashSet::new();
    for id in graph.order() {
        let is_read = match &graph[id].op {
            Op::Weight(weight) => is_changed(&weight.tensor),
            _ => graph.operands(id).iter().any(|operand| reads.contains(operand)),
        };
        reads.extend(is_read.then_some(id));
    }
    reads
}

/// The part of `graph` that makes `outputs`.
fn making(graph: &Graph, outputs: &HashSet<Name>) -> Graph {
    let mut part = graph.clone();
    let mut patch = Patch::new(&mut part, "reload");
    patch.retain_outputs(|label| outputs.contains(label));
    patch.remove_unread();
    patch.apply().expect("what leads to no output can be dropped");
    part
}

/// The rows of `value`, if it is nothing but weights one below the other, of which `source` has rows.
fn stacked<'s>(
    graph: &Graph,
    value: ValueId,
    source: &'s dyn WeightSource,
) -> Result<Option<WeightRows<'s>>, RunError> {
    let parts = match &graph[value].op {
        Op::Concat(concat) if axis_index(concat.axis, graph[value].fact.shape.len()) == 0 => {
            graph.operands(value)
        }
        Op::Weight(_) => vec![value],
        _ => return Ok(None),
    };
    let mut rows = Vec::with_capacity(parts.len());
    for part in parts {
        let Op::Weight(weight) = &graph[part].op else { return Ok(None) };
        let Some(part) = source.rows(&weight.tensor, &graph[part].fact)? else { return Ok(None) };
        rows.push(part);
    }
    Ok(WeightRows::stacked(rows))
}
