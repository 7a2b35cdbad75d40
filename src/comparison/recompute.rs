//! Values that a program computes only inside of fused ops, from those that it does compute.

use super::side::Side;
use reflux_ir::op::Op;
use reflux_ir::{Declaration, Fact, Graph, Name, Patch, PatchError, Program, ValueId};
use std::collections::{BTreeSet, HashMap};

/// What the value `name` is called among the results of a tapped program.
pub fn label(name: &Name) -> Name {
    Name::from(format!("tapped.{name}"))
}

/// The program of `side` that also returns the values called `wanted`: as it computes them; else, if the fused ops that have them inside
/// were made of ops that are known, as those ops make them of values that it computes. A variant returns those that it can, so that
/// variants need not agree.
///
/// # Errors
/// If ops do not fit together: a bug.
pub fn tapped(side: &Side, wanted: &BTreeSet<Name>) -> Result<Program, PatchError> {
    let mut program = side.run().clone();
    let prepared = tap_prepared(&mut program, wanted)?;
    let Program { variants, probes, carries, .. } = &mut program;
    let carried: BTreeSet<&Name> = carries.iter().map(|carry| &carry.name).collect();
    for (variant, graph) in variants.iter_mut().filter(|(variant, _)| !probes.contains_key(*variant)) {
        let definitions = side.defined().variants.get(variant);
        let mut patch = Patch::new(graph, "tap");
        let mut known = HashMap::new();
        for name in wanted {
            let defined = || Some((definitions?, definitions?.find(name)?));
            // What an earlier step has computed is not what this one does.
            let is_own = |id: &ValueId| patch.graph().is_op(*id) || !carried.contains(name);
            let value = match (patch.graph().find(name).filter(is_own), defined(), prepared.get(name)) {
                (Some(id), ..) => Some(id),
                (None, Some((definitions, id)), _) => recompute(&mut patch, definitions, id, &mut known)?,
                (None, None, Some(declared)) => Some(patch.input(&declared.name, declared.fact.clone())?),
                (None, None, None) => None,
            };
            if let Some(value) = value.filter(|&value| is_plain(&patch.graph()[value].fact)) {
                patch.output(label(name), value);
            }
        }
        patch.apply()?;
    }
    Ok(program)
}

/// Makes the stages that run before the steps hand on those of `wanted` that they compute.
fn tap_prepared(
    program: &mut Program,
    wanted: &BTreeSet<Name>,
) -> Result<HashMap<Name, Declaration>, PatchError> {
    let mut prepared = HashMap::new();
    for graph in program.prepares.values_mut() {
        let mut patch = Patch::new(graph, "tap");
        for name in wanted {
            let graph = patch.graph();
            let computed = graph.find(name).filter(|&id| graph.is_op(id) && is_plain(&graph[id].fact));
            if let Some(id) = computed.filter(|_| !prepared.contains_key(name)) {
                let handed_on = Name::from(format!("prepared.{name}"));
                let declared = Declaration { name: handed_on.clone(), fact: graph[id].fact.clone() };
                patch.output(handed_on, id);
                prepared.insert(name.clone(), declared);
            }
        }
        patch.apply()?;
    }
    Ok(prepared)
}

/// Whether values of this type are numbers by themselves.
pub fn is_plain(fact: &Fact) -> bool {
    fact.dtype.is_float() && !fact.is_coded()
}

/// The value `id` of `definitions` in the graph of `patch`: the one of its name if there is one, else computed as it is defined. None if
/// that needs an input which the graph lacks.
fn recompute(
    patch: &mut Patch,
    definitions: &Graph,
    id: ValueId,
    known: &mut HashMap<ValueId, Option<ValueId>>,
) -> Result<Option<ValueId>, PatchError> {
    if let Some(known) = known.get(&id) {
        return Ok(*known);
    }
    let node = &definitions[id];
    let there = if definitions.is_leaf(id) { None } else { patch.graph().find(&node.name) };
    let is_it = |there: &ValueId| patch.graph()[*there].fact.same_type(&node.fact);
    let value = match (&node.op, there.filter(is_it)) {
        (_, Some(there)) => Some(there),
        (Op::Weight(weight), _) => Some(patch.weight(&weight.tensor, node.fact.clone())?),
        (Op::Input(_), _) => None,
        (op, _) => {
            let mut operands = Vec::new();
            for operand in definitions.operands(id) {
                operands.extend(recompute(patch, definitions, operand, known)?);
            }
            match operands.len() == definitions.operands(id).len() {
                true => Some(patch.add(op.clone(), &operands, &node.name, node.path.clone())?),
                false => None,
            }
        }
    };
    known.insert(id, value);
    Ok(value)
}
