//! Moving values from the step into prepare stages.

use super::batch::aligned;
use super::motion::{CodeMotion, How};
use indexmap::IndexMap;
use reflux_ir::op::{Concat, Reshape, Select, Slice};
use reflux_ir::pass::{PassError, RuleInfo};
use reflux_ir::{Fact, Graph, ModulePath, Name, Op, Patch, Program, Rate, ValueId};
use std::collections::{BTreeSet, HashMap};

pub(super) const RULE: RuleInfo = RuleInfo {
    name: "hoist",
    pattern: "a value in the step that does not depend on the latents → a prepared value",
};

/// Values that the step reads as one prepared tensor.
struct PreparedGroup {
    /// What the prepared tensor is called.
    name: Name,
    /// In order of their place along the last axis.
    members: Vec<ValueId>,
    is_batched: bool,
    rate: Rate,
}

/// Moves what `motion` says from `variant` into prepare stages.
pub fn hoist(program: &mut Program, variant: &Name, motion: &CodeMotion) -> Result<(), PassError> {
    let groups = groups(program, variant, motion);
    let mut mover = Mover { program, variant, steps: motion.steps, moved: HashMap::new() };
    // Values of a stage are made of those of earlier ones.
    let rates: BTreeSet<Rate> = motion.leaving.iter().map(|(.., rate)| *rate).collect();
    for rate in rates {
        mover.fill(rate, motion)?;
    }
    let mut prepared = Vec::new();
    for group in groups {
        let fact = mover.prepare(&group)?;
        prepared.push((group, fact));
    }
    read_prepared(&mut program.variants[variant], motion, &prepared)
}

/// The frontier by stem: values `mod.0`, `mod.1`, … of one type form a group, others are single.
fn groups(program: &Program, variant: &Name, motion: &CodeMotion) -> Vec<PreparedGroup> {
    let graph = &program.variants[variant];
    let how: HashMap<ValueId, (&How, Rate)> =
        motion.leaving.iter().map(|(id, how, rate)| (*id, (how, *rate))).collect();
    let mut by_stem: IndexMap<(String, Fact, Rate, bool), Vec<ValueId>> = IndexMap::new();
    for &id in &motion.frontier {
        let (node, (how, rate)) = (&graph[id], how[&id]);
        let is_batched = matches!(how, How::Batched(_));
        // Scalars have no axis to stand side by side along, and codes cannot be continued along the last.
        let can_be_joined = !node.fact.shape.is_empty() && !node.fact.is_quantized();
        let stem = node.name.split_index().filter(|_| can_be_joined);
        let stem = stem.map_or_else(|| node.name.to_string(), |(stem, _)| stem.to_owned());
        by_stem.entry((stem, node.fact.clone(), rate, is_batched)).or_default().push(id);
    }
    let mut taken: Vec<Name> = Vec::new();
    by_stem
        .into_iter()
        .map(|((stem, _, rate, is_batched), members)| {
            // A value that is prepared unchanged keeps its name; the step's own values keep theirs.
            let (name, own) = match &members[..] {
                [one] if !is_batched => (graph[*one].name.clone(), Some(*one)),
                _ => (Name::from(format!("{stem}_{}", if is_batched { "steps" } else { "all" })), None),
            };
            let is_free = |name: &Name| {
                let is_own = own.is_some() && graph.find(name) == own && !program.is_shared(name);
                !taken.contains(name) && (is_own || program.free_name(name) == *name)
            };
            let name = name.first_free(is_free);
            taken.push(name.clone());
            PreparedGroup { name, members, is_batched, rate }
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
    /// Computes what leaves for the stage of `rate`.
    fn fill(&mut self, rate: Rate, motion: &CodeMotion) -> Result<(), PassError> {
        let mut graph = self.program.prepares.remove(&rate).unwrap_or_default();
        let mut patch = Patch::new(&mut graph, RULE.name);
        for (id, how, _) in motion.leaving.iter().filter(|(.., of)| *of == rate) {
            let value = self.compute(&mut patch, *id, how, rate)?;
            self.moved.insert(*id, (rate, value));
        }
        patch.apply()?;
        self.program.prepares.insert(rate, graph);
        Ok(())
    }

    /// Computes `id` in the stage of `rate`, which is being filled.
    fn compute(
        &mut self,
        stage: &mut Patch,
        id: ValueId,
        how: &How,
        rate: Rate,
    ) -> Result<ValueId, PassError> {
        let step_graph = &self.program.variants[self.variant];
        let (node, operands) = (step_graph[id].clone(), step_graph.operands(id));
        let add = |stage: &mut Patch, op: Op, operands: &[ValueId], name: &Name| {
            stage.add_from(op, operands, name, node.path.clone(), vec![node.name.clone()])
        };
        Ok(match how {
            // The selected row of all steps is the table.
            How::Batched(None) => self.operand(stage, operands[0], rate)?,
            How::AsIs => {
                let operands = operands.into_iter().map(|operand| self.operand(stage, operand, rate));
                let operands: Vec<_> = operands.collect::<Result<_, _>>()?;
                add(stage, node.op.clone(), &operands, &node.name)?
            }
            How::Batched(Some(op)) => {
                let mut batched = Vec::with_capacity(operands.len());
                for operand in operands {
                    let fact = self.program.variants[self.variant][operand].fact.clone();
                    let value = self.operand(stage, operand, rate)?;
                    let is_batched = fact.rate == Rate::Latent;
                    let shape = aligned(op, &fact, &node.fact, self.steps).filter(|_| is_batched);
                    batched.push(match shape {
                        None => value,
                        Some(shape) => {
                            let op = Reshape { shape: shape.into() }.into();
                            add(stage, op, &[value], &node.name.suffixed("_aligned"))?
                        }
                    });
                }
                add(stage, op.clone(), &batched, &node.name)?
            }
        })
    }

    /// The operand `id` of the step as a value of the stage of `rate`.
    fn operand(&mut self, stage: &mut Patch, id: ValueId, rate: Rate) -> Result<ValueId, PassError> {
        let node = &self.program.variants[self.variant][id];
        match (&node.op, self.moved.get(&id).copied()) {
            (_, Some((from, value))) if from == rate => Ok(value),
            (_, Some((from, value))) => self.across(stage, from, value),
            (Op::Weight(weight), None) => Ok(stage.weight(&weight.tensor, node.fact.clone())?),
            (Op::Constant(constant), None) => {
                Ok(stage.add(constant.clone(), &[], &node.name, ModulePath::root())?)
            }
            (_, None) => {
                // The step may read what that very stage has prepared.
                let mut outputs = stage.graph().outputs().iter();
                let prepared = outputs.find(|output| output.label == node.name).map(|output| output.value);
                Ok(prepared.map_or_else(|| stage.input(&node.name, node.fact.clone()), Ok)?)
            }
        }
    }

    /// A value of the earlier stage `from` in the stage that is being filled.
    fn across(&mut self, stage: &mut Patch, from: Rate, value: ValueId) -> Result<ValueId, PassError> {
        let graph = &self.program.prepares[&from];
        let (name, fact) = (graph[value].name.clone(), graph[value].fact.clone());
        if matches!(graph[value].op, Op::Input(_)) {
            return Ok(stage.input(&name, fact)?);
        }
        // The stage that reads it may itself have a value or an output with that name.
        let is_own = |name: &Name| {
            let reader = stage.graph();
            reader.find(name).is_some() && reader.find_input(name).is_none()
        };
        let is_given = |name: &Name| stage.graph().outputs().iter().any(|output| output.label == *name);
        let mut labels = graph.outputs().iter().filter(|output| output.value == value);
        let label = match labels.find(|output| !is_own(&output.label)) {
            Some(output) => output.label.clone(),
            None => {
                let is_free = |name: &Name| !self.program.is_shared(name) && !is_own(name) && !is_given(name);
                let label = name.first_free(is_free);
                let mut patch = self.stage(from);
                patch.output(label.clone(), value);
                patch.apply()?;
                label
            }
        };
        Ok(stage.input(&label, fact)?)
    }

    /// The stage of `rate`, which is there, to be edited.
    fn stage(&mut self, rate: Rate) -> Patch<'_> {
        Patch::new(self.program.prepares.get_mut(&rate).expect("it has been filled"), RULE.name)
    }

    /// Makes `group` one output of its stage and gives back its fact.
    fn prepare(&mut self, group: &PreparedGroup) -> Result<Fact, PassError> {
        let step = &self.program.variants[self.variant];
        let from: Vec<Name> = group.members.iter().map(|&member| step[member].name.clone()).collect();
        let parts: Vec<_> = group.members.iter().map(|member| self.moved[member].1).collect();
        let mut patch = self.stage(group.rate);
        let value = match parts[..] {
            [one] => one,
            _ => patch.add_from(Concat { axis: -1 }, &parts, &group.name, ModulePath::root(), from)?,
        };
        // It may be an output already, under its own name, for a later stage.
        let mut outputs = patch.graph().outputs().iter();
        if !outputs.any(|output| output.label == group.name && output.value == value) {
            patch.output(group.name.clone(), value);
        }
        let fact = patch.graph()[value].fact.clone();
        patch.apply()?;
        Ok(fact)
    }
}

/// Makes the step read what is prepared: `select(prepared, step)`, and its part of that.
fn read_prepared(
    graph: &mut Graph,
    motion: &CodeMotion,
    groups: &[(PreparedGroup, Fact)],
) -> Result<(), PassError> {
    let mut patch = Patch::new(graph, RULE.name);
    for (group, fact) in groups {
        let input = patch.input(&group.name, fact.clone())?;
        let whole = match (group.is_batched, motion.step) {
            (true, Some(step)) => {
                let node = &patch.graph()[group.members[0]];
                let name = match &group.members[..] {
                    [_] => node.name.clone(),
                    _ => Name::from(format!("{}_now", node.name.stem())),
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
    patch.remove_unread_inputs();
    Ok(patch.apply()?)
}
