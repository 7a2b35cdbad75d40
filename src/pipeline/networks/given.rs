//! A transformer program given by the user instead of lowered, for example one edited by hand.

use crate::Error;
use reflux_ir::{DType, Declaration, Fact, Op, Program};
use reflux_models::{Defaults, Geometry, ModelConfig, Sizes};
use std::collections::BTreeMap;

/// The dtype in which the program computes: that of its prompt input.
pub(super) fn dtype_of(program: &Program, model: &ModelConfig) -> Option<DType> {
    let prompt = prompt_of(program, model)?;
    prompt.fact.dtype.is_float().then_some(prompt.fact.dtype)
}

/// The defaults of requests for pictures that `program` can draw: its own steps and sizes.
pub(super) fn defaults_of(program: &Program, model: &ModelConfig, mut defaults: Defaults) -> Defaults {
    defaults.steps = program.schedule.len();
    if let Some([_, tokens, _]) = prompt_of(program, model).map(|input| &input.fact.shape[..]) {
        defaults.max_sequence_length = *tokens;
    }
    if let Some((rows, columns)) = grid_of(program) {
        let pixels = |tokens: usize| tokens.saturating_mul(model.family().geometry.pixels_per_token());
        (defaults.height, defaults.width) = (pixels(rows), pixels(columns));
    }
    defaults
}

/// The input for the result of a text encoder with a variable number of tokens.
fn prompt_of<'p>(program: &'p Program, model: &ModelConfig) -> Option<&'p Declaration> {
    let encoder = model.text_encoders().into_iter().find(|encoder| encoder.tokens.is_none())?;
    program.inputs.iter().find(|input| *input.name == *encoder.input)
}

/// Rows and columns of the tokens whose positions the program computes.
fn grid_of(program: &Program) -> Option<(usize, usize)> {
    let mut ops = program.stages().flat_map(|(_, graph)| graph.ids().map(|id| &graph[id].op));
    ops.find_map(|op| match op {
        // A reference is at another time.
        Op::PositionIds(ids) if ids.time == 0 => Some((ids.rows, ids.columns)),
        _ => None,
    })
}

/// Checks that `program` can replace `lowered`, the model's own program for `sizes`: that its inputs are available, its
/// results are the required ones, and it has the same number of steps.
///
/// # Errors
/// [`Error::Program`], with every disagreement.
pub(super) fn check(
    program: &Program,
    lowered: &Program,
    sizes: &Sizes,
    geometry: &Geometry,
) -> Result<(), Error> {
    let mut reasons = Vec::new();
    if program.schedule.len() != lowered.schedule.len() {
        reasons.push(format!(
            "its schedule has {}, not the requested {}",
            reflux_ir::pass::counted(program.schedule.len(), "step"),
            lowered.schedule.len()
        ));
    }
    inputs(program, lowered, &mut reasons);
    results(program, lowered, &mut reasons);
    let (rows, columns) = geometry.grid(sizes);
    if let Some(found) = grid_of(program).filter(|found| *found != (rows, columns)) {
        reasons.push(format!(
            "its `position_ids` are for {} × {} tokens, but a picture of {} × {} pixels has {rows} × {columns} (rows × columns)",
            found.0, found.1, sizes.width, sizes.height
        ));
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Error::Program { name: program.name.to_string(), reasons })
}

fn written(declared: &Declaration) -> String {
    format!("input %{} : {} {}", declared.name, declared.fact, declared.fact.rate)
}

fn inputs(program: &Program, lowered: &Program, reasons: &mut Vec<String>) {
    for own in &program.inputs {
        match lowered.inputs.iter().find(|known| known.name == own.name) {
            None => {
                let known: Vec<_> = lowered.inputs.iter().map(|known| format!("%{}", known.name)).collect();
                reasons.push(format!(
                    "it reads `%{}`, which this model does not provide; it provides {}",
                    own.name,
                    known.join(", ")
                ));
            }
            Some(known) if !known.fact.same_type(&own.fact) => {
                reasons.push(format!("it declares `{}`, but is given `{}`", written(own), written(known)));
            }
            Some(_) => {}
        }
    }
    let is_declared = |known: &&Declaration| program.inputs.iter().any(|own| own.name == known.name);
    for known in lowered.inputs.iter().filter(|known| !is_declared(known)) {
        reasons.push(format!("it must declare `{}`, even if it does not read it", written(known)));
    }
}

/// Every step must return the results of the model's own steps; others are ignored.
fn results(program: &Program, lowered: &Program, reasons: &mut Vec<String>) {
    let facts = |program: &Program| -> BTreeMap<String, BTreeMap<String, Fact>> {
        let of = |graph: &reflux_ir::Graph| {
            let outputs = graph.outputs().iter();
            outputs.map(|out| (out.label.to_string(), graph[out.value].fact.clone())).collect()
        };
        program.giving_results().map(|(name, graph)| (name.to_string(), of(graph))).collect()
    };
    let wanted: BTreeMap<String, Fact> = facts(lowered).into_values().flatten().collect();
    for (variant, given) in facts(program) {
        for (label, fact) in &wanted {
            match given.get(label) {
                None => reasons.push(format!("its variant `{variant}` does not return `%{label}`, {fact}")),
                Some(found) if !found.same_type(fact) => {
                    reasons
                        .push(format!("its variant `{variant}` returns `%{label}` as {found}, not {fact}"));
                }
                Some(_) => {}
            }
        }
    }
}
