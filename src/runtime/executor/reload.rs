//! Other weights for a program that is loaded.

use super::{Executor, LoadedStage, Place, prepare_weights};
use crate::backend::{BurnBackend, Loader};
use crate::value::Value;
use crate::weight::{Over, load_weight, made, whole};
use crate::{Profile, RunError};
use rayon::prelude::*;
use reflux_ir::op::{Op, axis_index};
use reflux_ir::{Fact, Graph, Name, Patch, Rate, Stage, ValueId, WeightData, WeightRows, WeightSource};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::Instant;

/// Puts the weights whose names `is_changed` accepts, as `weights` has them, in the place of those that `executor` has: in the same
/// memory where the backend can, so that nothing is allocated, and whoever knows where they are need not learn anything new.
pub fn reload<B: BurnBackend>(
    executor: &mut Executor<B>,
    weights: Arc<dyn WeightSource>,
    is_changed: &dyn Fn(&str) -> bool,
) -> Result<(), RunError> {
    let start = Instant::now();
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
    let mut loader = B::loader(&executor.device, executor.rank.as_ref())?;
    tracing::trace!("reload: ready after {:?}", start.elapsed());
    reload_prepared(executor, &*weights, is_changed, loader.as_mut())?;
    tracing::trace!("reload: prepared values after {:?}", start.elapsed());
    reload_leaves(executor, &*weights, is_changed, loader.as_mut())?;
    loader.finish()?;
    tracing::trace!("reload: weights after {:?}", start.elapsed());
    drop(loader);
    tracing::trace!("reload: done after {:?}", start.elapsed());
    if executor.streamed.is_some() {
        executor.streamed = Some(weights);
    }
    Ok(())
}

/// A weight, or several one below the other, and what it becomes.
struct Again<'s, B: BurnBackend> {
    name: String,
    rows: WeightRows<'s>,
    fact: Fact,
    /// What it is written over.
    before: Option<Value<B>>,
}

/// Bytes of weights that are made at the same time, while the ones before are uploaded.
const BATCH: u64 = 1 << 24;

/// Loads `all`, in order. Many are made at the same time, since each is so small that one has not enough work for all threads; and
/// they are made while those before them are uploaded, for which one thread waits.
fn load_all<B: BurnBackend>(
    all: &[Again<'_, B>],
    loader: &mut dyn Loader<B>,
    device: &B::Device,
) -> Result<Vec<Value<B>>, RunError> {
    let wanted: Vec<_> = all.iter().map(|Again { rows, fact, .. }| (rows, fact)).collect();
    let make_all = move |ready: SyncSender<Vec<WeightData>>| {
        let mut bytes = 0;
        let same_batch = |(_, before): &(_, &Fact), _: &_| {
            let batch = bytes / BATCH;
            bytes += before.bytes();
            batch == bytes / BATCH
        };
        for batch in wanted.chunk_by(same_batch) {
            let data = batch.par_iter().map(|(rows, fact)| made(rows, fact)).collect();
            // Nobody waits for it once an upload has failed.
            if ready.send(data).is_err() {
                return;
            }
        }
    };
    std::thread::scope(|scope| {
        let (ready, batches) = sync_channel(1);
        scope.spawn(move || make_all(ready));
        let upload = |(again, data): (&Again<'_, B>, WeightData)| {
            let Again { name, fact, before, .. } = again;
            whole(name, data, fact, &mut Over::new(loader, before.as_ref()), device)
        };
        all.iter().zip(batches.into_iter().flatten()).map(upload).collect()
    })
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
    let outputs: Vec<_> = prepare.outputs().iter().filter(|output| reads.contains(&output.value)).collect();
    if outputs.is_empty() {
        return Ok(());
    }
    let (mut weights, mut labels, mut others) = (Vec::new(), Vec::new(), HashSet::new());
    for output in outputs {
        let Some(rows) = stacked(prepare, output.value, source)? else {
            others.insert(output.label.clone());
            continue;
        };
        let known = executor.values.get(&output.label).and_then(|kept| kept.on_device_now());
        let (name, fact) = (output.label.to_string(), prepare[output.value].fact.clone());
        weights.push(Again { name, rows, fact, before: known.cloned() });
        labels.push(output.label.clone());
    }
    let values = load_all(&weights, loader, &executor.device)?;
    let made = match others.is_empty() {
        true => Vec::new(),
        false => {
            let mut profile = Profile::default();
            prepare_weights(
                &making(prepare, &others),
                source,
                loader,
                Place { device: &executor.device, rank: executor.rank.as_ref() },
                &mut profile,
            )?
        }
    };
    labels.into_iter().zip(values).for_each(|(name, value)| executor.keep_placed(name, value));
    made.into_iter().for_each(|(name, _, value)| executor.keep(name, value, false));
    executor.stale.extend(executor.stages.iter().filter_map(LoadedStage::rate));
    Ok(())
}

/// Loads such weights of the stages anew.
fn reload_leaves<B: BurnBackend>(
    executor: &mut Executor<B>,
    source: &dyn WeightSource,
    is_changed: &dyn Fn(&str) -> bool,
    loader: &mut dyn Loader<B>,
) -> Result<(), RunError> {
    let Executor { program, device, stages, streamed, .. } = executor;
    let mut outdated = Vec::new();
    let mut known: HashMap<(String, Fact), Value<B>> = HashMap::new();
    for LoadedStage { stage, liveness, leaves, runner } in stages {
        let own = liveness.weights.iter().filter(|(tensor, ..)| is_changed(tensor));
        // What is read while its stage runs is read from the new source then.
        if let (Some(_), Stage::Prepare(rate)) = (&*streamed, &*stage) {
            outdated.extend(own.map(|_| *rate));
            continue;
        }
        // Slots are numbered in program order.
        let order = match &*stage {
            Stage::Variant(name) => program.variants[name].order(),
            Stage::Prepare(rate) => program.prepares[rate].order(),
        };
        let (mut weights, mut changed) = (Vec::new(), Vec::new());
        for (tensor, fact, slot) in own.clone() {
            if known.contains_key(&(tensor.clone(), fact.clone())) {
                continue;
            }
            let before = match &*runner {
                Some(runner) => runner.weight(order[*slot]),
                None => leaves.iter().find(|(leaf, _)| leaf == slot).map(|(_, value)| value),
            };
            match source.rows(tensor, fact)? {
                Some(rows) => {
                    let (name, fact) = (tensor.clone(), fact.clone());
                    weights.push(Again { name, rows, fact, before: before.cloned() });
                }
                None => {
                    let value = load_weight(source, tensor, fact, &mut Over::new(loader, before), device)?;
                    known.insert((tensor.clone(), fact.clone()), B::kept(value));
                }
            }
        }
        let values = load_all(&weights, loader, device)?.into_iter().map(B::kept);
        known.extend(weights.into_iter().map(|again| (again.name, again.fact)).zip(values));
        for (tensor, fact, slot) in own {
            changed.push((*slot, known[&(tensor.clone(), fact.clone())].clone()));
        }
        if changed.is_empty() {
            continue;
        }
        outdated.extend(if let Stage::Prepare(rate) = stage { Some(*rate) } else { None });
        match runner {
            Some(runner) => {
                runner.replace(changed.into_iter().map(|(slot, value)| (order[slot], value)).collect())?;
            }
            None => {
                leaves.retain(|(slot, _)| changed.iter().all(|(new, _)| new != slot));
                leaves.extend(changed);
            }
        }
    }
    // What they make is read by those after them.
    outdated.into_iter().for_each(|rate| executor.outdate(rate));
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
