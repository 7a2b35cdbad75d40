//! Which graphs of a program a model has, and which of their values.

use super::error::ExportError;
use super::{ExportOptions, Part};
use reflux_ir::op::Op;
use reflux_ir::{Graph, Name, Output, Program, Stage, ValueId};
use std::collections::HashSet;

/// A graph of the program that is a part of a model.
pub struct Chosen<'p> {
    pub stage: Stage,
    pub graph: &'p Graph,
    /// Its values that are needed, operands before users.
    pub values: Vec<ValueId>,
    /// Its results that later graphs or the model's user read.
    pub outputs: Vec<&'p Output>,
}

/// The graphs that `options` name, in the order in which they run. The last one gives the results of the model.
///
/// # Errors
/// If the program has no such graph, or several.
pub fn chosen<'p>(program: &'p Program, options: &ExportOptions) -> Result<Vec<Chosen<'p>>, ExportError> {
    let no_stage = |wanted: String| ExportError::NoStage {
        wanted,
        stages: program.stages().map(|(stage, _)| stage.to_string()).collect(),
    };
    let stages: Vec<(Stage, &Graph)> = match &options.part {
        Part::Step(name) => {
            let name = match name {
                Some(name) => name.clone(),
                None => only_variant(program)?,
            };
            let stage = Stage::Variant(name);
            let graph = program.graph(&stage).ok_or_else(|| no_stage(stage.to_string()))?;
            let prepares = program.prepares.iter().map(|(&rate, graph)| (Stage::Prepare(rate), graph));
            prepares.chain([(stage, graph)]).collect()
        }
        Part::Stage(stage) => {
            let graph = program.graph(stage).ok_or_else(|| no_stage(stage.to_string()))?;
            vec![(stage.clone(), graph)]
        }
    };
    let last = stages.len() - 1;
    let mut read: HashSet<Name> = HashSet::new();
    let mut chosen = Vec::with_capacity(stages.len());
    for (index, (stage, graph)) in stages.into_iter().enumerate().rev() {
        let outputs: Vec<&Output> =
            graph.outputs().iter().filter(|output| index == last || read.contains(&output.label)).collect();
        let values = needed(graph, outputs.iter().map(|output| output.value));
        let inputs = values.iter().filter(|&&id| matches!(graph[id].op, Op::Input(_)));
        read.extend(inputs.map(|&id| graph[id].name.clone()));
        if index == last || !outputs.is_empty() {
            chosen.push(Chosen { stage, graph, values, outputs });
        }
    }
    chosen.reverse();
    Ok(chosen)
}

/// The one variant of a program, probes aside.
fn only_variant(program: &Program) -> Result<Name, ExportError> {
    let mut variants = program.giving_results().map(|(name, _)| name);
    match (variants.next(), variants.next()) {
        (Some(only), None) => Ok(only.clone()),
        _ => Err(ExportError::Ambiguous { variants: program.variants.keys().cloned().collect() }),
    }
}

/// The operands of `id` that a model reads: a bound of scores is for kernels that look for no maximum.
pub fn operands(graph: &Graph, id: ValueId) -> Vec<ValueId> {
    let mut operands = graph.operands(id);
    if let Op::Attention(op) = &graph[id].op
        && op.bound(&operands).is_some()
    {
        operands.pop();
    }
    operands
}

/// The values that `results` depend on, and these.
fn needed(graph: &Graph, results: impl Iterator<Item = ValueId>) -> Vec<ValueId> {
    let mut open: Vec<ValueId> = results.collect();
    let mut needed: HashSet<ValueId> = HashSet::new();
    while let Some(id) = open.pop() {
        if needed.insert(id) {
            open.extend(operands(graph, id));
        }
    }
    graph.order().into_iter().filter(|id| needed.contains(id)).collect()
}
