//! Programs that read weights as the codes in which a checkpoint stores them.

use super::Weights;
use reflux_ir::op::{Dequantize, Op, Weight};
use reflux_ir::{Fact, Graph, Patch, PatchError, Program, ValueId};

/// The name of the rewrite in provenance.
const RULE: &str = "as-stored";

impl Weights {
    /// [`read_as_stored`] for how these files store their matrices.
    pub fn read_as_stored(&self, program: &mut Program) {
        read_as_stored(program, &|name| self.coded(name));
    }
}

/// Makes `program`, as it was lowered, read each matrix of a linear as the codes of type `coded`, where it is stored so:
///
/// ```text
/// linear(x, @W bf16[out,in])  →  %y_weight = dequantize @W q4_k[out,in] {dtype=bf16}; linear(x, %y_weight)
/// ```
///
/// so that it needs the memory of the codes, which passes see and may replace. What is stored as numbers stays as it is, and
/// what something else reads too.
pub fn read_as_stored(program: &mut Program, coded: &dyn Fn(&str) -> Option<Fact>) {
    for (_, graph) in program.stages_mut() {
        let order = graph.order();
        for weight in order.iter().flat_map(|&id| matrix(graph, id)).collect::<Vec<_>>() {
            dequantize(graph, weight, coded).expect("a matrix and its codes have one shape");
        }
    }
}

/// Replaces the weight `weight` of linears by its codes, dequantized, if it is stored as codes.
fn dequantize(
    graph: &mut Graph,
    weight: ValueId,
    coded: &dyn Fn(&str) -> Option<Fact>,
) -> Result<(), PatchError> {
    let Op::Weight(Weight { tensor }) = graph[weight].op.clone() else { return Ok(()) };
    let dense = graph[weight].fact.clone();
    let coded = coded(&tensor).filter(|coded| coded.shape == dense.shape);
    let users: Vec<ValueId> = graph.users(weight).collect();
    let is_matrix = |&user: &ValueId| matrix(graph, user) == Some(weight);
    let (Some(coded), true) = (coded, users.iter().all(is_matrix)) else { return Ok(()) };
    let Some(&linear) = users.first() else { return Ok(()) };
    let (name, path) = (graph[linear].name.suffixed("_weight"), graph[linear].path.clone());
    let mut patch = Patch::new(graph, RULE);
    let codes = patch.weight(&tensor, coded)?;
    let numbers = patch.add(Dequantize { dtype: dense.dtype }, &[codes], &name, path)?;
    patch.shunt(weight, numbers);
    patch.apply()
}

/// The weight of the linear `id`, if it is one.
fn matrix(graph: &Graph, id: ValueId) -> Option<ValueId> {
    matches!(graph[id].op, Op::Linear(_)).then(|| graph.operands(id)[1])
}
