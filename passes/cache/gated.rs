//! One variant into a probe, which runs a step up to where it can be decided whether it computes, and what runs after that.

use super::RULE;
use super::gate::{Gate, Gauge};
use reflux_ir::op::{Binary, Constant};
use reflux_ir::pass::PassError;
use reflux_ir::{DType, Declaration, Fact, Graph, ModulePath, Name, Patch, Program, Rate, ValueId};
use std::collections::HashSet;

/// What is reused, and what is measured to decide that.
pub struct Reused {
    /// Where the stream ends.
    pub end: ValueId,
    /// What that is reused relative to.
    pub start: ValueId,
    pub gauge: Gauge,
}

/// The names of the variants that a step runs.
pub struct Gated {
    pub gate: Name,
    pub full: Name,
    pub reuse: Name,
}

/// What the variants share.
struct Shared {
    /// What the probe has made that others read, and its name there.
    passed: Vec<(ValueId, Name)>,
    /// What is measured, as the probe makes it and as an earlier step has made it.
    gauge: [Name; 2],
    /// By how much the end of the stream exceeds its start.
    change: Name,
    /// The sum of changes, if the rule has one.
    sum: Option<Name>,
}

/// Splits `variant`, which runs at `steps`, at least two: the first computes everything, and the last too if the rule wants that;
/// the others run a probe, which computes what is measured and what the end is reused relative to, and then either the rest, under
/// the variant's own name, or what is left where the end is given.
pub fn split(
    program: &mut Program,
    variant: &Name,
    steps: &[usize],
    reused: &Reused,
    gate: Gate,
) -> Result<Gated, PassError> {
    let whole = program.variants[variant].clone();
    let free = |name: &str| Name::from(name).first_free(|name| !program.variants.contains_key(name));
    let (first, last) = (free("first"), free("last"));
    let names = Gated { gate: free("gate"), full: variant.clone(), reuse: free("reuse") };
    let shared = declare(program, &whole, reused, gate);
    let stages = [
        (&first, computing_first(whole.clone(), reused, &shared)?),
        (&names.gate, deciding(whole.clone(), reused, gate, &shared)?),
        (&names.full, going_on(whole.clone(), reused, gate, &shared)?),
        (&names.reuse, reusing(whole.clone(), reused, &shared)?),
        (&last, whole),
    ];
    for (count, &step) in steps.iter().enumerate() {
        program.schedule[step] = match count {
            0 => first.clone(),
            _ if gate.computes_last() && count + 1 == steps.len() => last.clone(),
            _ => names.gate.clone(),
        };
    }
    for (name, graph) in stages {
        program.variants.insert(name.clone(), graph);
    }
    if !gate.computes_last() {
        program.retain_variants(|name| *name != last);
    }
    program.probes.insert(names.gate.clone(), gate.choices(&names.full, &names.reuse));
    // In the order in which they can first run.
    let order = [&first, &names.gate, &names.full, &names.reuse, &last];
    let place = |name: &Name| order.iter().position(|known| *known == name);
    program.variants.sort_by_cached_key(|name, _| place(name).map_or((0, 0), |at| (1, at)));
    Ok(names)
}

/// Declares what is carried.
fn declare(program: &mut Program, whole: &Graph, reused: &Reused, gate: Gate) -> Shared {
    let mut passed = Vec::new();
    for value in boundary(whole, reused) {
        // It is read under the name that it has where it is made.
        let is_free =
            |name: &Name| !program.is_shared(name) && whole.find(name).is_none_or(|known| known == value);
        let name = whole[value].name.first_free(is_free);
        carry(program, &name, &whole[value].fact);
        passed.push((value, name));
    }
    let Gauge { value, relative_to } = reused.gauge;
    let (fact, measured) = (&whole[value].fact, &whole[value].name);
    let now = match relative_to {
        Some(_) => program.free_name(&measured.suffixed("_added")),
        None => measured.clone(),
    };
    // Where every step is compared with the one before, the probe itself carries on what it has measured.
    if !gate.follows_every_step() {
        carry(program, &now, fact);
    }
    let last = program.free_name(&now.suffixed("_last"));
    carry(program, &last, fact);
    let end = &whole[reused.end];
    let change = program.free_name(&end.name.suffixed("_change"));
    carry(program, &change, &end.fact);
    let sum = gate.follows_every_step().then(|| program.free_name(&"change_kept".into()));
    if let Some(sum) = &sum {
        carry(program, sum, &Fact::new(DType::F32, []));
    }
    Shared { passed, gauge: [now, last], change, sum }
}

fn carry(program: &mut Program, name: &Name, fact: &Fact) {
    let fact = Fact { rate: Rate::Latent, ..fact.clone() };
    program.carries.push(Declaration { name: name.clone(), fact });
}

/// What the probe makes of the latents, and what is read after it: by what computes, or by what reuses.
fn boundary(whole: &Graph, reused: &Reused) -> Vec<ValueId> {
    let Gauge { value, relative_to } = reused.gauge;
    let made = made_of(whole, [value, reused.start].into_iter().chain(relative_to), &HashSet::new());
    let results = || whole.outputs().iter().map(|output| output.value);
    let rest = made_of(whole, results(), &made);
    let read = rest.iter().filter(|id| !made.contains(*id)).flat_map(|&id| whole.operands(id));
    let read: HashSet<ValueId> = read.chain(results()).chain([reused.start]).collect();
    // Weights, inputs, and what no step changes are the same for all.
    let is_passed = |id: &ValueId| {
        read.contains(id) && made.contains(id) && whole.is_op(*id) && whole[*id].fact.rate == Rate::Latent
    };
    whole.order().into_iter().filter(is_passed).collect()
}

/// `roots` and what they are made of, up to `given`, which is left out.
fn made_of(
    graph: &Graph,
    roots: impl IntoIterator<Item = ValueId>,
    given: &HashSet<ValueId>,
) -> HashSet<ValueId> {
    let mut found = HashSet::new();
    let mut open: Vec<ValueId> = roots.into_iter().collect();
    while let Some(id) = open.pop() {
        if !given.contains(&id) && found.insert(id) {
            open.extend(graph.operands(id));
        }
    }
    found
}

/// What is measured, in a graph that computes it.
fn measured(patch: &mut Patch, gauge: Gauge, name: &Name) -> Result<ValueId, PassError> {
    match gauge.relative_to {
        None => Ok(gauge.value),
        Some(start) => {
            let path = patch.graph()[gauge.value].path.clone();
            Ok(patch.add(Binary::Sub, &[gauge.value, start], name, path)?)
        }
    }
}

/// By how much `end` exceeds `start`.
fn change(patch: &mut Patch, end: ValueId, start: ValueId, name: &Name) -> Result<(), PassError> {
    let path = patch.graph()[end].path.clone();
    let change = patch.add(Binary::Sub, &[end, start], name, path)?;
    patch.output(name.clone(), change);
    Ok(())
}

/// The first step: all of it, keeping what later ones compare with and reuse.
fn computing_first(mut graph: Graph, reused: &Reused, shared: &Shared) -> Result<Graph, PassError> {
    let mut patch = Patch::new(&mut graph, RULE.name);
    patch.on_behalf_of([patch.graph()[reused.end].name.clone()]);
    let [now, last] = &shared.gauge;
    let measured = measured(&mut patch, reused.gauge, now)?;
    patch.output(last.clone(), measured);
    change(&mut patch, reused.end, reused.start, &shared.change)?;
    if let Some(sum) = &shared.sum {
        let zero = patch.add(Constant::of(0.0, DType::F32), &[], &"zero".into(), ModulePath::root())?;
        patch.output(sum.clone(), zero);
    }
    patch.apply()?;
    Ok(graph)
}

/// The probe.
fn deciding(mut graph: Graph, reused: &Reused, gate: Gate, shared: &Shared) -> Result<Graph, PassError> {
    let fact = graph[reused.gauge.value].fact.clone();
    let mut patch = Patch::new(&mut graph, RULE.name);
    patch.on_behalf_of([patch.graph()[reused.gauge.value].name.clone()]);
    let [now, last] = &shared.gauge;
    let measured = measured(&mut patch, reused.gauge, now)?;
    let known = patch.input(last, Fact { rate: Rate::Latent, ..fact })?;
    let decision = gate.decide(&mut patch, [measured, known], |patch| {
        let name = shared.sum.as_ref().expect("it is declared for rules that have one");
        Ok(patch.input(name, Fact { rate: Rate::Latent, ..Fact::new(DType::F32, []) })?)
    })?;
    patch.retain_outputs(|_| false);
    patch.output(Program::CHOICE, decision.choice);
    for (value, name) in &shared.passed {
        patch.output(name.clone(), *value);
    }
    patch.output(if gate.follows_every_step() { last.clone() } else { now.clone() }, measured);
    if let (Some(name), Some(sum)) = (&shared.sum, decision.sum) {
        patch.output(name.clone(), sum);
    }
    patch.remove_unread();
    patch.remove_unread_inputs();
    patch.apply()?;
    Ok(graph)
}

/// What runs after the probe where a step computes.
fn going_on(mut graph: Graph, reused: &Reused, gate: Gate, shared: &Shared) -> Result<Graph, PassError> {
    let fact = Fact { rate: Rate::Latent, ..graph[reused.gauge.value].fact.clone() };
    let mut patch = Patch::new(&mut graph, RULE.name);
    change(&mut patch, reused.end, reused.start, &shared.change)?;
    if !gate.follows_every_step() {
        let [now, last] = &shared.gauge;
        let measured = patch.input(now, fact)?;
        patch.output(last.clone(), measured);
    }
    take(&mut patch, shared)?;
    patch.apply()?;
    Ok(graph)
}

/// What runs after it where a step reuses.
fn reusing(mut graph: Graph, reused: &Reused, shared: &Shared) -> Result<Graph, PassError> {
    let Reused { end, start, .. } = *reused;
    let (name, path, fact) = (graph[end].name.clone(), graph[end].path.clone(), graph[end].fact.clone());
    let mut patch = Patch::new(&mut graph, RULE.name);
    let change = patch.input(&shared.change, Fact { rate: Rate::Latent, ..fact })?;
    let predicted = patch.add(Binary::Add, &[start, change], &name, path)?;
    patch.shunt(end, predicted);
    patch.remove_unread();
    patch.apply()?;
    let mut patch = Patch::new(&mut graph, RULE.name);
    take(&mut patch, shared)?;
    patch.apply()?;
    Ok(graph)
}

/// Takes from the probe what it has made.
fn take(patch: &mut Patch, shared: &Shared) -> Result<(), PassError> {
    // What a graph has left of it, before anything new takes the place of what it has not.
    let is_left = |(value, _): &&(ValueId, Name)| patch.graph().get(*value).is_some();
    let left: Vec<_> = shared.passed.iter().filter(is_left).collect();
    for (value, name) in left {
        let fact = Fact { rate: Rate::Latent, ..patch.graph()[*value].fact.clone() };
        let given = patch.input(name, fact)?;
        patch.shunt(*value, given);
    }
    patch.remove_unread();
    patch.remove_unread_inputs();
    Ok(())
}
