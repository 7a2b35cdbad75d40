//! When a graph's values are made, read and freed.

use reflux_ir::op::{Constant, Op};
use reflux_ir::{Cost, Fact, Graph, ModulePath, Name, ValueId};
use std::collections::{HashMap, HashSet};

/// Where a value is kept while its graph runs.
pub type Slot = usize;

/// One op, ready to run.
pub struct Instruction {
    pub op: Op,
    /// Of the operands.
    pub inputs: Vec<Fact>,
    /// Of the result.
    pub fact: Fact,
    /// Where the operands are, and whether this is the last time that each is read.
    pub operands: Vec<(Slot, bool)>,
    pub result: Slot,
    pub name: Name,
    pub path: ModulePath,
    pub cost: Cost,
}

/// A graph in execution order, with the last read of every value.
pub struct Liveness {
    pub inputs: Vec<(Name, Slot)>,
    pub weights: Vec<(String, Fact, Slot)>,
    pub constants: Vec<(Constant, Slot)>,
    pub instructions: Vec<Instruction>,
    pub outputs: Vec<(Name, Fact, Slot)>,
    pub slots: usize,
    /// Most bytes of results and inputs alive at once; weights that are kept not counted.
    pub peak_bytes: u64,
}

impl Liveness {
    /// Plans a verified graph; its weights are kept from run to run.
    pub fn new(graph: &Graph) -> Self {
        Self::keeping(graph, true)
    }

    /// Plans a verified graph that runs once: its weights are treated like other values.
    pub fn consuming_weights(graph: &Graph) -> Self {
        Self::keeping(graph, false)
    }

    fn keeping(graph: &Graph, weights: bool) -> Self {
        let order = graph.order();
        let slots: HashMap<ValueId, Slot> = order.iter().enumerate().map(|(slot, &id)| (id, slot)).collect();
        let mut plan = Self {
            inputs: Vec::new(),
            weights: Vec::new(),
            constants: Vec::new(),
            instructions: Vec::new(),
            outputs: Vec::new(),
            slots: order.len(),
            peak_bytes: 0,
        };
        for &id in &order {
            let (node, slot) = (&graph[id], slots[&id]);
            match &node.op {
                Op::Input(_) => plan.inputs.push((node.name.clone(), slot)),
                Op::Weight(weight) => plan.weights.push((weight.tensor.clone(), node.fact.clone(), slot)),
                Op::Constant(constant) => plan.constants.push((constant.clone(), slot)),
                op => plan.instructions.push(Instruction {
                    op: op.clone(),
                    inputs: graph.operand_facts(id).into_iter().cloned().collect(),
                    fact: node.fact.clone(),
                    operands: graph.operands(id).iter().map(|operand| (slots[operand], false)).collect(),
                    result: slot,
                    name: node.name.clone(),
                    path: node.path.clone(),
                    cost: graph.cost(id),
                }),
            }
        }
        for output in graph.outputs() {
            let fact = graph[output.value].fact.clone();
            plan.outputs.push((output.label.clone(), fact, slots[&output.value]));
        }
        plan.mark_last_reads(weights);
        plan.measure(graph, &order, weights);
        plan
    }

    /// Walks backwards: the first read met of a slot is its last. Outputs and leaves outlive the graph; weights do if
    /// `weights` says so.
    fn mark_last_reads(&mut self, weights: bool) {
        let mut kept = vec![false; self.slots];
        let outputs = self.outputs.iter().map(|(_, _, slot)| *slot);
        let leaves = self.weights.iter().filter(|_| weights).map(|(_, _, slot)| *slot);
        for slot in outputs.chain(leaves).chain(self.constants.iter().map(|(_, slot)| *slot)) {
            kept[slot] = true;
        }
        for instruction in self.instructions.iter_mut().rev() {
            // Of an operand given twice, only the second may be taken.
            for (slot, last) in instruction.operands.iter_mut().rev() {
                *last = !std::mem::replace(&mut kept[*slot], true);
            }
        }
    }

    fn measure(&mut self, graph: &Graph, order: &[ValueId], weights: bool) {
        let bytes: Vec<u64> = order.iter().map(|&id| graph[id].fact.bytes()).collect();
        let mut alive: u64 = self.inputs.iter().map(|(_, slot)| bytes[*slot]).fold(0, u64::saturating_add);
        self.peak_bytes = alive;
        // Weights that are not kept are there from the first time that they are read.
        let mut unread: HashSet<Slot> =
            self.weights.iter().filter(|_| !weights).map(|(_, _, slot)| *slot).collect();
        for instruction in &self.instructions {
            let loaded = instruction.operands.iter().filter(|(slot, _)| unread.remove(slot));
            alive = loaded.fold(alive, |alive, (slot, _)| alive.saturating_add(bytes[*slot]));
            let scratch = scratch_bytes(&instruction.op, graph, order[instruction.result]);
            alive = alive.saturating_add(bytes[instruction.result]);
            self.peak_bytes = self.peak_bytes.max(alive.saturating_add(scratch));
            for (slot, _) in instruction.operands.iter().filter(|(_, last)| *last) {
                alive = alive.saturating_sub(bytes[*slot]);
            }
        }
    }
}

/// What an op allocates besides its result: attention its f32 scores, one batch of heads at a time.
pub fn scratch_bytes(op: &Op, graph: &Graph, id: ValueId) -> u64 {
    match op {
        Op::Attention(_) => {
            let facts = graph.operand_facts(id);
            let (queries, keys) = (facts[0].shape[1] as u64, facts[1].shape[1] as u64);
            queries.saturating_mul(keys).saturating_mul(4)
        }
        _ => 0,
    }
}
