//! One variant into those that compute and those that reuse.

use super::RULE;
use super::predictor::Prediction;
use reflux_ir::op::Binary;
use reflux_ir::pass::PassError;
use reflux_ir::{Declaration, Fact, Graph, Name, Patch, Program, Rate, ValueId};

/// What is carried for one site: the names of its earlier values, newest first.
struct CarriedSite {
    site: ValueId,
    /// What the value is carried relative to, if it is.
    relative_to: Option<ValueId>,
    names: Vec<Name>,
    fact: Fact,
}

/// Splits `variant`, which runs at `steps`, into one that computes and one for each prediction that differs; gives back the
/// names of those, with what they predict. `predictions` has one for each of the steps that reuses.
///
/// The variant keeps its name where it computes. It carries every site on; where predictions take several values, the
/// variant of the first step, which has no earlier value, carries its own as all of them.
pub fn split(
    program: &mut Program,
    variant: &Name,
    sites: &[(ValueId, Option<ValueId>)],
    steps: &[usize],
    predictions: &[Option<Prediction>],
) -> Result<Vec<(Name, Prediction)>, PassError> {
    let history = predictions.iter().flatten().map(Prediction::history).max().unwrap_or(1);
    let carried = declare(program, variant, sites, history);
    let whole = program.variants[variant].clone();
    let first = free_variant(program, "first");
    let mut reuses: Vec<(Name, Prediction)> = Vec::new();
    for (count, (&step, prediction)) in steps.iter().zip(predictions).enumerate() {
        program.schedule[step] = match prediction {
            None if count == 0 && history > 1 => first.clone(),
            None => variant.clone(),
            Some(prediction) => match reuses.iter().find(|(_, known)| known == prediction) {
                Some((name, _)) => name.clone(),
                None => {
                    let name = free_variant(program, "reuse");
                    program.variants.insert(name.clone(), reusing(whole.clone(), &carried, prediction)?);
                    reuses.push((name.clone(), prediction.clone()));
                    name
                }
            },
        };
    }
    if history > 1 {
        program.variants.insert(first.clone(), computing(whole.clone(), &carried, true)?);
    }
    *program.variants.get_mut(variant).expect("it is split") = computing(whole, &carried, false)?;
    let scheduled = program.schedule.clone();
    program.retain_variants(|name| scheduled.contains(name));
    // In the order in which they first run.
    program.variants.sort_by_cached_key(|name, _| scheduled.iter().position(|step| step == name));
    Ok(reuses)
}

/// Declares what is carried, values of one stem next to each other.
fn declare(
    program: &mut Program,
    variant: &Name,
    sites: &[(ValueId, Option<ValueId>)],
    history: usize,
) -> Vec<CarriedSite> {
    let graph = &program.variants[variant];
    let name = |site: ValueId, is_change: bool, age: usize| match history {
        1 if is_change => program.free_name(&graph[site].name.suffixed("_change")),
        // The steps that reuse read what was the value under its own name.
        1 => graph[site].name.first_free(|name| {
            !program.is_shared(name) && graph.find(name).is_none_or(|known| known == site)
        }),
        // The step that computes a value reads the earlier ones too, so these need names of their own.
        _ => {
            let suffix = match age {
                0 => "_last".to_owned(),
                1 => "_before".to_owned(),
                _ => format!("_before_{age}"),
            };
            program.free_name(&graph[site].name.suffixed(suffix))
        }
    };
    let mut carried: Vec<CarriedSite> = sites
        .iter()
        .map(|&(site, relative_to)| CarriedSite {
            site,
            relative_to,
            names: (0..history).map(|age| name(site, relative_to.is_some(), age)).collect(),
            fact: Fact { rate: Rate::Latent, ..graph[site].fact.clone() },
        })
        .collect();
    carried.sort_by_cached_key(|carried| sort_key(&carried.names[0]));
    let mut declarations: Vec<_> = carried
        .iter()
        .flat_map(|carried| {
            carried.names.iter().map(|name| Declaration { name: name.clone(), fact: carried.fact.clone() })
        })
        .collect();
    declarations.sort_by_cached_key(|declared| sort_key(&declared.name));
    program.carries.extend(declarations);
    carried
}

/// Blocks of one stem in their order.
fn sort_key(name: &Name) -> (String, usize) {
    name.split_index().map_or_else(|| (name.to_string(), 0), |(stem, index)| (stem.to_owned(), index))
}

/// Adds what each carried name is given to the outputs, sorted like the declarations.
fn carry(patch: &mut Patch, mut outputs: Vec<(Name, ValueId)>) {
    outputs.sort_by_cached_key(|(name, _)| sort_key(name));
    outputs.into_iter().for_each(|(name, value)| patch.output(name, value));
}

/// The graph, carrying each site on as its newest value, and the one it had before as the next.
fn computing(mut graph: Graph, carried: &[CarriedSite], is_first: bool) -> Result<Graph, PassError> {
    let mut patch = Patch::new(&mut graph, RULE.name);
    let mut outputs = Vec::new();
    for CarriedSite { site, relative_to, names, fact } in carried {
        let now = match relative_to {
            Some(start) => {
                let (name, path) = (graph_name(&patch, *site), patch.graph()[*site].path.clone());
                patch.add(Binary::Sub, &[*site, *start], &name.suffixed("_change"), path)?
            }
            None => *site,
        };
        outputs.push((names[0].clone(), now));
        for pair in names.windows(2) {
            let earlier = if is_first { now } else { patch.input(&pair[0], fact.clone())? };
            outputs.push((pair[1].clone(), earlier));
        }
    }
    carry(&mut patch, outputs);
    patch.apply()?;
    Ok(graph)
}

/// The graph with each site predicted; where a prediction counts as a value of its step, it is carried on.
fn reusing(mut graph: Graph, carried: &[CarriedSite], prediction: &Prediction) -> Result<Graph, PassError> {
    // Sorted like the declarations too, so that they print as ranges; one called like its site takes its place below.
    let taken = prediction.history();
    let read =
        carried.iter().flat_map(|carried| carried.names[..taken].iter().map(|name| (name, &carried.fact)));
    let mut read: Vec<_> = read.filter(|(name, _)| graph.find(name).is_none()).collect();
    read.sort_by_cached_key(|(name, _)| sort_key(name));
    let mut patch = Patch::new(&mut graph, RULE.name);
    patch.place_early();
    for (name, fact) in read {
        patch.input(name, fact.clone())?;
    }
    patch.apply()?;
    let mut outputs = Vec::new();
    for CarriedSite { site, relative_to, names, fact } in carried {
        let mut patch = Patch::new(&mut graph, RULE.name);
        let history = names[..taken]
            .iter()
            .map(|name| patch.input(name, fact.clone()))
            .collect::<Result<Vec<_>, _>>()?;
        let predicted = prediction.predict(&mut patch, *site, &history)?;
        let replaced = match relative_to {
            Some(start) => {
                let (name, path) = (graph_name(&patch, *site), patch.graph()[*site].path.clone());
                patch.add(Binary::Add, &[*start, predicted], &name, path)?
            }
            None => predicted,
        };
        patch.shunt(*site, replaced);
        patch.apply()?;
        if prediction.is_carried() {
            let values = std::iter::once(predicted).chain(history);
            outputs.extend(names.iter().cloned().zip(values));
        }
    }
    let mut patch = Patch::new(&mut graph, RULE.name);
    carry(&mut patch, outputs);
    patch.remove_unread_inputs();
    patch.apply()?;
    Ok(graph)
}

fn graph_name(patch: &Patch, value: ValueId) -> Name {
    patch.graph()[value].name.clone()
}

fn free_variant(program: &Program, name: &str) -> Name {
    Name::from(name).first_free(|name| !program.variants.contains_key(name))
}
