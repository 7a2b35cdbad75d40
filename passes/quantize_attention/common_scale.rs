//! One scale for most keys: queries and keys in units in which a key's numbers seldom exceed one.

use super::selection::RULE;
use crate::norms::norms;
use reflux_ir::op::{Binary, Constant, Op, Reduce};
use reflux_ir::{Declaration, Graph, Node, Patch, PatchError, Program, Stage, ValueId};

/// Of normally distributed numbers, one in two million is farther from zero than so many deviations.
const DEVIATIONS: f64 = 5.0;

/// The norms that the queries and keys of an attention come from.
pub struct Norms {
    queries: Vec<ValueId>,
    keys: Vec<ValueId>,
}

impl Norms {
    /// Of the attention `id`, if all its queries and keys come from norms that nothing else reads, those of keys by weights of the checkpoint.
    pub fn of(graph: &Graph, id: ValueId) -> Option<Self> {
        let (mut queries, mut keys) = (Vec::new(), Vec::new());
        norms(graph, graph.operands(id)[0], |_| true, &mut queries).ok()?;
        norms(graph, graph.operands(id)[1], |_| true, &mut keys).ok()?;
        let is_leaf = |&norm: &ValueId| matches!(graph[graph.operands(norm)[1]].op, Op::Weight(_));
        let is_apart = queries.iter().all(|&norm| leads_only_to(graph, norm, (id, 0)))
            && keys.iter().all(|&norm| leads_only_to(graph, norm, (id, 1)));
        (keys.iter().all(is_leaf) && is_apart).then_some(Self { queries, keys })
    }

    /// Divides the keys of the attention `id` by their unit, and multiplies its queries with it, where they are normalised.
    pub fn rescale(&self, program: &mut Program, stage: &Stage, id: ValueId) -> Result<(), PatchError> {
        let graph = program.graph(stage).expect("it has the attention");
        let attention = graph[id].clone();
        let weights = self.keys.iter().map(|&norm| graph[graph.operands(norm)[1]].clone()).collect();
        let unit = unit(program, &attention, weights)?;
        let graph = program.graph_mut(stage).expect("it has the attention");
        let mut patch = Patch::new(graph, RULE.name);
        let unit = patch.input(&unit.name, unit.fact)?;
        for (norms, op, suffix) in
            [(&self.queries, Binary::Mul, "_times"), (&self.keys, Binary::Div, "_over")]
        {
            for &norm in norms {
                let (name, path) =
                    (patch.graph()[norm].name.suffixed(suffix), patch.graph()[norm].path.clone());
                let scaled = patch.add(op, &[norm, unit], &name, path)?;
                patch.shunt(norm, scaled);
            }
        }
        patch.apply()
    }
}

/// Whether `norm` is read, through ops that [`norms`] goes through, by this operand of `attention` and by nothing else.
fn leads_only_to(graph: &Graph, norm: ValueId, (attention, operand): (ValueId, usize)) -> bool {
    let mut open = vec![norm];
    while let Some(id) = open.pop() {
        if graph.is_result(id) {
            return false;
        }
        for user in graph.users(id) {
            let mut others = graph.operands(user).into_iter().enumerate().filter(|&(_, read)| read == id);
            let is_on_the_way = match &graph[user].op {
                Op::Concat(_) | Op::Cast(_) | Op::Reshape(_) | Op::Transpose(_) | Op::Slice(_) => true,
                Op::Rope(_) => others.all(|(at, _)| at == 0),
                _ => user == attention && others.all(|(at, _)| at == operand),
            };
            if !is_on_the_way {
                return false;
            }
            if user != attention {
                open.push(user);
            }
        }
    }
    true
}

/// What the largest of the norms' `weights` makes of [`DEVIATIONS`], or of the root of the number of features, which nothing normalised
/// exceeds: a number that is computed once.
fn unit(program: &mut Program, attention: &Node, weights: Vec<Node>) -> Result<Declaration, PatchError> {
    let dim = attention.fact.shape.columns() as f64;
    let deviations = DEVIATIONS.min(dim.sqrt());
    let name = attention.name.suffixed("_k_unit");
    program.prepare_once(RULE.name, &name, [attention.name.clone()], |stage, name| {
        let mut parts = Vec::new();
        for weight in &weights {
            let dtype = weight.fact.dtype;
            let tensor = stage.weight(&weight.name, weight.fact.clone())?;
            let mut add =
                |op: Op, operands: &[ValueId]| stage.find_or_add(op, operands, name, attention.path.clone());
            let minus_one = add(Constant::of(-1.0, dtype).into(), &[])?;
            let negative = add(Binary::Mul.into(), &[tensor, minus_one])?;
            let size = add(Binary::Max.into(), &[tensor, negative])?;
            parts.push(add(Reduce::Amax.into(), &[size])?);
        }
        let dtype = weights[0].fact.dtype;
        let mut add =
            |op: Op, operands: &[ValueId]| stage.find_or_add(op, operands, name, attention.path.clone());
        let mut largest = parts[0];
        for &part in &parts[1..] {
            largest = add(Binary::Max.into(), &[largest, part])?;
        }
        // Where all weights are zero, so are keys.
        let [deviations, least] = [deviations as f32, 1e-3].map(|number| Constant::of(number, dtype));
        let (deviations, least) = (add(deviations.into(), &[])?, add(least.into(), &[])?);
        let product = add(Binary::Mul.into(), &[largest, deviations])?;
        add(Binary::Max.into(), &[product, least])
    })
}
