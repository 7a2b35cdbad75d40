//! Which result a value ends up in.

use super::Dce;
use reflux_ir::pass::{Answer, Driver, Mismatch, Pipeline, Place};
use reflux_ir::{Graph, Name, Program, Stage, ValueId};
use std::collections::{HashMap, VecDeque};

/// Values to name on the way from one to a result.
const NAMED: usize = 4;

/// Whether `dce` removes the value at `place`, or else how a result depends on it.
pub fn why(dce: &Dce, place: &Place) -> Answer {
    let mut pipeline = Pipeline::new();
    pipeline.push(*dce);
    // Run the pass itself: whether a value goes depends on others, across stages.
    let (after, _) = Driver::default()
        .run(place.program.clone(), &pipeline)
        .map_err(|error| Mismatch::new(error.to_string()))?;
    let name = &place.graph[place.value].name;
    let Some(graph) = after.graph(place.stage) else {
        return Ok(Some(format!("nothing in `{}` is needed", place.stage)));
    };
    let Some(kept) = graph.find(name) else {
        return Ok(Some("no result depends on it".to_owned()));
    };
    let Some((way, label)) = way_to_output(graph, kept) else {
        return Err(Mismatch::new("it is part of the signature"));
    };
    let readers = graph.users(kept).collect::<std::collections::BTreeSet<_>>().len();
    let also = match readers {
        0 | 1 => String::new(),
        several => format!("; {several} ops read it"),
    };
    Err(Mismatch::new(format!("{}{also}", read(&after, place.stage, name, &way, &label))))
}

/// The shortest way from `id` to an output, as the values on it, and the output's label.
fn way_to_output(graph: &Graph, id: ValueId) -> Option<(Vec<Name>, Name)> {
    let mut from: HashMap<ValueId, Option<ValueId>> = HashMap::from([(id, None)]);
    let mut open = VecDeque::from([id]);
    while let Some(at) = open.pop_front() {
        if let Some(output) = graph.outputs().iter().find(|output| output.value == at) {
            let mut way = Vec::new();
            let mut back = at;
            while let Some(before) = from[&back] {
                way.push(graph[back].name.clone());
                back = before;
            }
            way.reverse();
            return Some((way, output.label.clone()));
        }
        let mut users: Vec<ValueId> = graph.users(at).collect();
        users.sort_unstable();
        for user in users {
            from.entry(user).or_insert_with(|| {
                open.push_back(user);
                Some(at)
            });
        }
    }
    None
}

/// `%a, %b and, in the end, %c read it, which is the result `velocity``.
fn read(program: &Program, stage: &Stage, name: &Name, way: &[Name], label: &Name) -> String {
    let is = match stage {
        Stage::Variant(_) if program.is_carried(label) => format!("carried to later steps as `{label}`"),
        Stage::Variant(_) if stage.probe_of(program).is_some() => "what the probe chooses".to_owned(),
        Stage::Variant(_) => format!("the result `{label}`"),
        Stage::Prepare(_) => {
            let reads = |graph: &Graph| graph.inputs().iter().any(|&id| graph[id].name == *label);
            let readers: Vec<_> = program
                .stages()
                .filter(|(_, graph)| reads(graph))
                .map(|(stage, _)| format!("`{stage}`"))
                .collect();
            format!("prepared as `{label}` for {}", readers.join(", "))
        }
    };
    let values: Vec<String> = way.iter().map(|name| format!("%{name}")).collect();
    match &values[..] {
        [] => format!("%{name} is {is}"),
        [only] => format!("{only} reads it, which is {is}"),
        few if few.len() <= NAMED => format!("it is read on the way {}, which is {is}", few.join(" → ")),
        many => {
            let (first, last) = (many[..NAMED - 1].join(" → "), &many[many.len() - 1]);
            format!("it is read on the way {first} → … → {last}, which is {is}")
        }
    }
}
