//! Moving values from the step into prepare stages.

use super::batch::aligned;
use super::plan::{How, Plan};
use indexmap::IndexMap;
use reflux_ir::op::{Concat, Reshape, Select, Slice};
use reflux_ir::pass::PassError;
use reflux_ir::{Fact, Graph, ModulePath, Name, Op, Patch, Program, Rate, ValueId};
use std::collections::HashMap;

const RULE: &str = "hoist";

/// Values that the step reads as one prepared tensor.
struct Group {
    /// What the prepared tensor is called.
    name: Name,
    /// In order of their place along the last axis.
    members: Vec<ValueId>,
    is_batched: bool,
    rate: Rate,
}

/// Moves what `plan` says from `variant` into prepare stages.
pub fn hoist(program: &mut Program, variant: &Name, plan: &Plan) -> Result<(), PassError> {
    let groups = groups(program, variant, plan);
    let mut mover = Mover { program, variant, steps: plan.steps, moved: HashMap::new() };
    for (id, how, rate) in &plan.leaving {
        mover.compute(*id, how, *rate)?;
    }
    let mut patches = Vec::new();
    for group in groups {
        let fact = mover.prepare(&group)?;
        patches.push((group, fact));
    }
    let graph = &mut program.variants[variant];
    read_prepared(graph, plan, &patches)?;
    graph.drop_unread_inputs();
    Ok(())
}

/// The frontier by stem: values `mod.0`, `mod.1`, … of one type form a group, others are by themselves.
fn groups(program: &Program, variant: &Name, plan: &Plan) -> Vec<Group> {
    let graph = &program.variants[variant];
    let how: HashMap<ValueId, (&How, Rate)> =
        plan.leaving.iter().map(|(id, how, rate)| (*id, (how, *rate))).collect();
    let mut by_stem: IndexMap<(String, Fact, Rate, bool), Vec<ValueId>> = IndexMap::new();
    for &id in &plan.frontier {
        let (node, (how, rate)) = (&graph[id], how[&id]);
        let is_batched = matches!(how, How::Batched(_));
        // Scalars have no axis to stand side by side along, and codes cannot be continued along the last.
        let can_be_joined = !node.fact.shape.is_empty() && !node.fact.is_quantized();
        let stem = node.name.split_index().filter(|_| can_be_joined);
        let stem = stem.map_or_else(|| node.name.to_string(), |(stem, _)| stem.to_owned());
        by_stem.entry((stem, node.fact.clone(), rate, is_batched)).or_default().push(id);
    }
    let shared = program.shared_names();
    let mut taken: Vec<Name> = Vec::new();
    by_stem
        .into_iter()
        .map(|((stem, _, rate, is_batched), members)| {
            // A value that is prepared as it is keeps its name; the step's own values keep theirs.
            let (name, own) = match &members[..] {
                [one] if !is_batched => (graph[*one].name.clone(), Some(*one)),
                _ => (Name::from(format!("{stem}_{}", if is_batched { "steps" } else { "all" })), None),
            };
            let is_free = |name: &Name| {
                let is_own = own.is_some() && graph.find(name) == own && !shared.contains(name);
                !taken.contains(name) && (is_own || program.free_name(name) == *name)
            };
            let name = name.first_free(is_free);
            taken.push(name.clone());
            Group { name, members, is_batched, rate }
        })
        .collect()
}

/// Builds the prepare stages.
struct Mover<'p> {
    program: &'p mut Program,
    variant: &'p Name,
    steps: usize,
    /// Where each value of the step that has left is computed now.
    moved: HashMap<ValueId, (Rate, ValueId)>,
}

impl Mover<'_> {
    /// Computes `id` in the stage of `rate`.
    fn compute(&mut self, id: ValueId, how: &How, rate: Rate) -> Result<(), PassError> {
        let step_graph = &self.program.variants[self.variant];
        let (node, operands) = (step_graph[id].clone(), step_graph.operands(id));
        let value = match how {
            // The selected row of all steps is the table.
            How::Batched(None) => self.operand(operands[0], rate)?,
            How::AsIs => {
                let operands = operands.into_iter().map(|operand| self.operand(operand, rate));
                let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
                self.add(rate, node.op, &operands, &node.name, &node.path)?
            }
            How::Batched(Some(op)) => {
                let mut batched = Vec::with_capacity(operands.len());
                for operand in operands {
                    let fact = self.program.variants[self.variant][operand].fact.clone();
                    let value = self.operand(operand, rate)?;
                    let is_batched = fact.rate == Rate::Latent;
                    let shape = aligned(op, &fact, &node.fact, self.steps).filter(|_| is_batched);
                    batched.push(match shape {
                        None => value,
                        Some(shape) => {
                            let op = Reshape { shape: shape.into() }.into();
                            self.add(rate, op, &[value], &node.name.suffixed("_aligned"), &node.path)?
                        }
                    });
                }
                self.add(rate, op.clone(), &batched, &node.name, &node.path)?
            }
        };
        self.moved.insert(id, (rate, value));
        Ok(())
    }

    fn stage(&mut self, rate: Rate) -> &mut Graph {
        self.program.prepares.entry(rate).or_default()
    }

    fn add(
        &mut self,
        rate: Rate,
        op: Op,
        operands: &[ValueId],
        name: &Name,
        path: &ModulePath,
    ) -> Result<ValueId, PassError> {
        let graph = self.stage(rate);
        let name = name.first_free(|name| graph.find(name).is_none());
        Ok(graph.add(op, operands, name, path.clone())?)
    }

    /// The operand `id` of the step as a value of the stage of `rate`.
    fn operand(&mut self, id: ValueId, rate: Rate) -> Result<ValueId, PassError> {
        let node = self.program.variants[self.variant][id].clone();
        match (&node.op, self.moved.get(&id).copied()) {
            (_, Some((stage, value))) if stage == rate => Ok(value),
            (_, Some((stage, value))) => self.across(stage, value, rate),
            (Op::Weight(weight), None) => Ok(self.stage(rate).weight(weight.tensor.clone(), node.fact)?),
            (Op::Constant(constant), None) => Ok(self.stage(rate).constant(constant.clone())?),
            (_, None) => {
                // The step may read what that very stage has prepared.
                let prepared = self.stage(rate).outputs().iter().find(|output| output.label == node.name);
                prepared
                    .map(|output| output.value)
                    .map_or_else(|| self.input(rate, &node.name, node.fact), Ok)
            }
        }
    }

    /// The input `name` of the stage of `rate`.
    fn input(&mut self, rate: Rate, name: &Name, fact: Fact) -> Result<ValueId, PassError> {
        let graph = self.stage(rate);
        Ok(graph.find_input(name).map_or_else(|| graph.input(name.clone(), fact), Ok)?)
    }

    /// A value of an earlier stage in that of `rate`.
    fn across(&mut self, stage: Rate, value: ValueId, rate: Rate) -> Result<ValueId, PassError> {
        let graph = &self.program.prepares[&stage];
        let (name, fact) = (graph[value].name.clone(), graph[value].fact.clone());
        if matches!(graph[value].op, Op::Input(_)) {
            return self.input(rate, &name, fact);
        }
        // The stage that reads it may have a value of its own that is called so.
        let is_own = |name: &Name| {
            let reader = self.program.prepares.get(&rate);
            reader.is_some_and(|graph| graph.find(name).is_some() && graph.find_input(name).is_none())
        };
        let mut labels = graph.outputs().iter().filter(|output| output.value == value);
        let label = match labels.find(|output| !is_own(&output.label)) {
            Some(output) => output.label.clone(),
            None => {
                let shared = self.program.shared_names();
                let label = name.first_free(|name| !shared.contains(name) && !is_own(name));
                self.stage(stage).output(label.clone(), value);
                label
            }
        };
        self.input(rate, &label, fact)
    }

    /// Makes `group` one output of its stage and gives back its fact.
    fn prepare(&mut self, group: &Group) -> Result<Fact, PassError> {
        let parts: Vec<_> = group.members.iter().map(|member| self.moved[member].1).collect();
        let value = match parts[..] {
            [one] => one,
            _ => {
                self.add(group.rate, Concat { axis: -1 }.into(), &parts, &group.name, &ModulePath::root())?
            }
        };
        let graph = self.stage(group.rate);
        // It may be an output already, under its own name, for a later stage.
        if !graph.outputs().iter().any(|output| output.label == group.name && output.value == value) {
            graph.output(group.name.clone(), value);
        }
        Ok(graph[value].fact.clone())
    }
}

/// Makes the step read what is prepared: `select(prepared, step)`, and its part of that.
fn read_prepared(graph: &mut Graph, plan: &Plan, groups: &[(Group, Fact)]) -> Result<(), PassError> {
    let mut patch = Patch::new(graph, RULE);
    for (group, fact) in groups {
        let input = patch.input(&group.name, fact.clone())?;
        let whole = match (group.is_batched, plan.step) {
            (true, Some(step)) => {
                let node = &patch.graph()[group.members[0]];
                let name = match &group.members[..] {
                    [_] => node.name.clone(),
                    _ => Name::from(format!(
                        "{}_now",
                        node.name.split_index().map_or(&*node.name, |(stem, _)| stem)
                    )),
                };
                patch.add(Select {}, &[input, step], &name, ModulePath::root())?
            }
            _ => input,
        };
        if let [member] = group.members[..] {
            patch.shunt(member, whole);
            continue;
        }
        let mut start = 0;
        for &member in &group.members {
            let node = &patch.graph()[member];
            let (name, path) = (node.name.clone(), node.path.clone());
            let end = start + node.fact.shape.last().expect("grouped values have an axis");
            let part = patch.add(Slice { axis: -1, start, end }, &[whole], &name, path)?;
            patch.shunt(member, part);
            start = end;
        }
    }
    Ok(patch.apply()?)
}
