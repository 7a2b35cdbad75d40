//! Which values can leave the step, and which of them the step still reads.

use super::batch::batched;
use crate::FEW_ROWS;
use reflux_ir::op::{Op, OpKind};
use reflux_ir::pass::{Answer, Mismatch, counted};
use reflux_ir::{DType, Graph, Name, Program, Rate, Stage, ValueId};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How a value can be computed outside the step.
#[derive(Clone, Debug)]
pub enum How {
    /// As it is, in the stage of its rate.
    AsIs,
    /// For all steps at once, by this op; `None` stands for `select(table, step)`, which is the table itself.
    Batched(Option<Op>),
}

/// What leaves the step.
pub struct CodeMotion {
    /// Every value that leaves, how, and in which stage it is computed then, in program order.
    pub leaving: Vec<(ValueId, How, Rate)>,
    /// Those of them that the step reads, in program order.
    pub frontier: Vec<ValueId>,
    /// The input that numbers the steps, if values are batched.
    pub step: Option<ValueId>,
    /// How many rows batched values have.
    pub steps: usize,
    /// Why the others stay.
    stays: HashMap<ValueId, Stays>,
}

/// Why a value stays in the step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stays {
    /// It is made of this value, which is known only in the step.
    MadeOf(ValueId),
    /// It is selected from a table that is not known before the loop, or has no row for each step.
    Selected,
    /// Each step's part has many rows.
    Rows(usize),
    /// Its op cannot compute all steps at once.
    Alone,
    /// Views cost nothing.
    View,
    /// Selecting a row of a prepared table is all it does.
    Row,
    /// Its result is larger than what it reads.
    Grows,
    /// The step reads codes, no row of which can be selected.
    Codes,
    /// The step reads an operand of it in any case.
    Cheap,
}

impl CodeMotion {
    pub fn new(program: &Program, variant: &Name) -> Self {
        let graph = &program.variants[variant];
        let (step, steps) = step_table(graph).unzip();
        let steps = steps.unwrap_or(0);
        let mut motion =
            Self { leaving: Vec::new(), frontier: Vec::new(), step, steps, stays: HashMap::new() };
        let mut known: BTreeMap<ValueId, (How, Rate)> = BTreeMap::new();
        let provided = provided(program);
        let order = graph.order();
        for &id in &order {
            if !graph.is_op(id) {
                continue;
            }
            match motion.how(graph, id, &known) {
                Ok(how) => {
                    let operands = graph.operands(id).into_iter();
                    let rates = operands.filter_map(|operand| {
                        let from = provided.get(&graph[operand].name).copied().unwrap_or(Rate::Weights);
                        rate_outside(graph, operand, &known).map(|rate| rate.max(from))
                    });
                    let rate = rates.max().unwrap_or(Rate::Weights).max(own_rate(graph, id));
                    known.insert(id, (how, rate));
                }
                Err(stays) => drop(motion.stays.insert(id, stays)),
            }
        }
        keep_cheap(graph, &order, &mut known, &mut motion.stays);
        move_to_readers(graph, &order, &mut known);
        let is_read = |id: &ValueId| known.contains_key(id) && is_read_by_step(graph, *id, &known);
        motion.frontier = order.iter().copied().filter(is_read).collect();
        motion.leaving = order
            .iter()
            .filter_map(|id| known.remove_entry(id))
            .map(|(id, (how, rate))| (id, how, rate))
            .collect();
        motion
    }

    /// Leaves in the step those values of the frontier that are not to leave, and what was to leave for their sake.
    pub fn retain(&mut self, graph: &Graph, is_to_leave: impl FnMut(&ValueId) -> bool) {
        self.frontier.retain(is_to_leave);
        let (mut needed, mut open) = (HashSet::new(), self.frontier.clone());
        while let Some(id) = open.pop() {
            if needed.insert(id) {
                open.extend(graph.operands(id));
            }
        }
        self.leaving.retain(|(id, ..)| needed.contains(id));
    }

    /// How many ops stay in the step.
    pub fn staying(&self) -> usize {
        self.stays.len()
    }

    /// How `id` can be computed outside the step, given what of its operands can.
    fn how(&self, graph: &Graph, id: ValueId, known: &BTreeMap<ValueId, (How, Rate)>) -> Result<How, Stays> {
        let node = &graph[id];
        if node.fact.rate < Rate::Latent {
            return Ok(How::AsIs);
        }
        let operands = graph.operands(id);
        if matches!(node.op, Op::Select(_)) && Some(operands[1]) == self.step {
            let table_rows = graph[operands[0]].fact.shape[0];
            let is_table = graph[operands[0]].fact.rate < Rate::Latent && table_rows == self.steps;
            return is_table.then_some(How::Batched(None)).ok_or(Stays::Selected);
        }
        let is_batched = |operand: ValueId| matches!(known.get(&operand), Some((How::Batched(_), _)));
        let is_available =
            |operand: &ValueId| graph[*operand].fact.rate < Rate::Latent || is_batched(*operand);
        if let Some(&operand) = operands.iter().find(|operand| !is_available(operand)) {
            // Of what stays for the latents, these are what is to be seen.
            let cause = self.stays.get(&operand).copied();
            return Err(cause
                .filter(|cause| matches!(cause, Stays::MadeOf(_)))
                .unwrap_or(Stays::MadeOf(operand)));
        }
        let rows = node.fact.shape.rows();
        if rows > FEW_ROWS {
            return Err(Stays::Rows(rows));
        }
        let op = operands.iter().any(|&operand| is_batched(operand));
        let op = op.then(|| batched(graph, id, is_batched, self.steps)).flatten();
        op.map(|op| How::Batched(Some(op))).ok_or(Stays::Alone)
    }

    /// What becomes of the value `id` of the step, or why it stays there.
    pub fn why(&self, graph: &Graph, id: ValueId) -> Answer {
        if let Some((_, how, rate)) = self.leaving.iter().find(|(leaving, ..)| *leaving == id) {
            let stage = Stage::Prepare(*rate);
            return Ok(Some(match how {
                How::AsIs => format!("it is known before the steps, and is computed in `{stage}`"),
                How::Batched(_) => {
                    format!(
                        "it depends only on the number of the step, and is computed at once for {} in `{stage}`",
                        counted(self.steps, "step")
                    )
                }
            }));
        }
        Err(match (&graph[id].op, self.stays.get(&id)) {
            (Op::Input(_), _) => Mismatch::other_kind("it is an input, not computed"),
            (_, None) => Mismatch::other_kind("it is not an op"),
            (_, Some(Stays::MadeOf(of))) if *of == id => Mismatch::new("it changes in every step"),
            (_, Some(Stays::MadeOf(of))) => Mismatch::at(
                *of,
                format!("it depends on {}, which is known only in the step", graph.operand(*of)),
            ),
            (_, Some(Stays::Selected)) => {
                Mismatch::new("it is selected from a table that does not have one row per step")
            }
            (_, Some(Stays::Rows(rows))) => Mismatch::new(format!(
                "it has {rows} rows in every step; with more than {FEW_ROWS}, computing all steps at once gains nothing"
            )),
            (op, Some(Stays::Alone)) => {
                Mismatch::new(format!("`{}` cannot compute all steps at once here", op.name()))
            }
            (_, Some(Stays::View)) => Mismatch::new("it is a view, which costs nothing in the step"),
            (_, Some(Stays::Row)) => Mismatch::new("it only selects the step's row"),
            (_, Some(Stays::Codes)) => {
                Mismatch::new("the step reads its codes, of which no row can be selected")
            }
            (_, Some(Stays::Grows)) => Mismatch::new("its result is larger than its operands"),
            (_, Some(Stays::Cheap)) => Mismatch::new(
                "it is elementwise and its operand is read by the step anyway; hoisting it would only add a value to keep",
            ),
        })
    }
}

/// The scalar input that selects rows of tables known before the loop, and how many rows these have.
fn step_table(graph: &Graph) -> Option<(ValueId, usize)> {
    graph.order().into_iter().find_map(|id| {
        let Op::Select(_) = graph[id].op else { return None };
        let [table, index] = [graph.operands(id)[0], graph.operands(id)[1]];
        let is_step = matches!(graph[index].op, Op::Input(_))
            && graph[index].fact.dtype == DType::I32
            && graph[index].fact.shape.is_empty()
            && graph[index].fact.rate == Rate::Latent;
        (is_step && graph[table].fact.rate < Rate::Latent).then(|| (index, graph[table].fact.shape[0]))
    })
}

/// In which stage each prepared value is made: however seldom it changes, what is made of it cannot come earlier.
fn provided(program: &Program) -> HashMap<Name, Rate> {
    let stages = program.prepares.iter();
    let outputs = stages.flat_map(|(rate, graph)| graph.outputs().iter().map(move |output| (output, *rate)));
    outputs.map(|(output, rate)| (output.label.clone(), rate)).collect()
}

/// How often an operand changes once it is outside the step; `None` for the step's number, which is all steps then.
fn rate_outside(graph: &Graph, id: ValueId, known: &BTreeMap<ValueId, (How, Rate)>) -> Option<Rate> {
    let rate = known.get(&id).map_or(graph[id].fact.rate, |(_, rate)| *rate);
    (rate < Rate::Latent).then_some(rate)
}

fn own_rate(graph: &Graph, id: ValueId) -> Rate {
    let rate = graph[id].fact.rate;
    if rate < Rate::Latent { rate } else { Rate::Weights }
}

/// Leaves in the step what costs nothing there: views, and selected rows, of what leaves; what grows by leaving; and
/// element-wise work on what the step reads in any case, which would be one more value to prepare and keep. Codes of all
/// steps that the step would read stay too, as no row of them can be selected.
fn keep_cheap(
    graph: &Graph,
    order: &[ValueId],
    known: &mut BTreeMap<ValueId, (How, Rate)>,
    stays: &mut HashMap<ValueId, Stays>,
) {
    loop {
        let before = known.len();
        for &id in order.iter().rev() {
            let Some((how, _)) = known.get(&id) else { continue };
            let is_needed_outside = graph.users(id).any(|user| known.contains_key(&user));
            if matches!(how, How::Batched(_))
                && graph[id].fact.is_quantized()
                && is_read_by_step(graph, id, known)
            {
                keep_with_users(graph, id, known, stays);
                continue;
            }
            let why = match &graph[id].op {
                _ if matches!(how, How::Batched(None)) => Some(Stays::Row),
                op if op.is_view() => Some(Stays::View),
                Op::Dequantize(_) => Some(Stays::Grows),
                op if is_cheap(op) && reads_what_stays_read(graph, id, known) => Some(Stays::Cheap),
                _ => None,
            };
            if let Some(why) = why.filter(|_| !is_needed_outside) {
                known.remove(&id);
                stays.insert(id, why);
            }
        }
        if known.len() == before {
            return;
        }
    }
}

/// Computes numbers of codes where they are first read: from an earlier stage on they would be kept, in more memory than the
/// codes.
fn move_to_readers(graph: &Graph, order: &[ValueId], known: &mut BTreeMap<ValueId, (How, Rate)>) {
    for &id in order.iter().rev().filter(|&&id| matches!(graph[id].op, Op::Dequantize(_))) {
        let readers = graph.users(id).filter_map(|user| known.get(&user)).map(|(_, rate)| *rate);
        let (Some(first), false) = (readers.min(), is_read_by_step(graph, id, known)) else { continue };
        if let Some((_, rate)) = known.get_mut(&id) {
            *rate = first.max(*rate);
        }
    }
}

/// Whether the step, or what is outside it, reads `id`.
fn is_read_by_step(graph: &Graph, id: ValueId, known: &BTreeMap<ValueId, (How, Rate)>) -> bool {
    graph.is_result(id) || graph.users(id).any(|user| !known.contains_key(&user))
}

/// Leaves `id` in the step, and what would be made of it for all steps.
fn keep_with_users(
    graph: &Graph,
    id: ValueId,
    known: &mut BTreeMap<ValueId, (How, Rate)>,
    stays: &mut HashMap<ValueId, Stays>,
) {
    let (codes, mut open) = (id, vec![id]);
    while let Some(id) = open.pop() {
        if known.remove(&id).is_some() {
            stays.insert(id, if id == codes { Stays::Codes } else { Stays::MadeOf(codes) });
            open.extend(graph.users(id));
        }
    }
}

/// Whether the op costs little more than reading what it reads.
fn is_cheap(op: &Op) -> bool {
    matches!(op.kind(), OpKind::Elementwise | OpKind::RowReduction)
}

/// Whether an operand of `id`, or what it is a view of, is read by the step besides.
fn reads_what_stays_read(graph: &Graph, id: ValueId, known: &BTreeMap<ValueId, (How, Rate)>) -> bool {
    graph.operands(id).into_iter().filter(|&operand| !graph.is_leaf(operand)).any(|operand| {
        let (mut reader, mut seen) = (id, operand);
        loop {
            let is_other = |user: ValueId| user != reader && !known.contains_key(&user);
            if !known.contains_key(&seen) || graph.users(seen).any(is_other) {
                return true;
            }
            if !graph[seen].op.is_view() {
                return false;
            }
            (reader, seen) = (seen, graph.operands(seen)[0]);
        }
    })
}
