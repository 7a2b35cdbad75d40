//! Hashes of programs, to tell whether a pass changed one, and one from another.

use crate::{Graph, Program, ValueId};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

pub(crate) fn hash_of(value: &impl Hash) -> u64 {
    // With fixed keys, so that a program hashes the same in every run.
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

impl Graph {
    /// Equal for equal graphs: depends on the text, but not on the order of independent lines.
    pub fn structural_hash(&self) -> u64 {
        let key = |id: ValueId| (self.is_leaf(id), &self[id].name, self[id].fact.dtype, self[id].fact.scales);
        let line = |id: ValueId| {
            let (node, operands) = (&self[id], self.operands(id));
            let operands: Vec<_> = operands.into_iter().map(key).collect();
            hash_of(&(key(id), &node.op, &node.fact, &node.path, operands))
        };
        let ids = self.ids().filter(|&id| !self.is_idle(id));
        let lines = ids.map(line).fold(0u64, u64::wrapping_add);
        let inputs: Vec<_> = self.inputs().iter().map(|&id| &self[id].name).collect();
        let outputs: Vec<_> =
            self.outputs().iter().map(|output| (&output.label, key(output.value))).collect();
        hash_of(&(lines, inputs, outputs))
    }
}

impl Program {
    /// Equal for programs that are equal.
    pub fn structural_hash(&self) -> u64 {
        let declarations = |list: &[crate::Declaration]| -> Vec<u64> {
            list.iter().map(|declared| hash_of(&(&declared.name, &declared.fact))).collect()
        };
        let prepares: Vec<_> =
            self.prepares.iter().map(|(rate, graph)| (*rate, graph.structural_hash())).collect();
        // Programs are equal whatever the order of their variants.
        let variants: BTreeMap<_, _> =
            self.variants.iter().map(|(name, graph)| (name, graph.structural_hash())).collect();
        hash_of(&(
            &self.name,
            declarations(&self.inputs),
            declarations(&self.carries),
            prepares,
            variants,
            self.probes.iter().collect::<BTreeMap<_, _>>(),
            &self.schedule,
        ))
    }
}
