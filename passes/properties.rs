//! Properties of programs that passes require and end, by which they are ordered.

use reflux_ir::op::{Arg, Op};
use reflux_ir::pass::Property;
use reflux_ir::{Graph, ModulePath, Program, Rate, ValueId};

/// No ops are fused: `rowwise` and `gemm` ops are opaque to passes that look for patterns.
pub const UNFUSED: Property = Property {
    name: "unfused",
    says: "that no ops are fused",
    holds: |program| {
        let mut ops = program.stages().flat_map(|(_, graph)| graph.ids().map(|id| &graph[id].op));
        !ops.any(Op::is_fused)
    },
};

/// All devices have all of every value: there is one, or they are not told apart yet.
pub const UNSHARDED: Property = Property {
    name: "unsharded",
    says: "that the program is for one device",
    holds: |program| program.devices().is_none(),
};

/// Every module has its own linear. A merged product can no longer be chosen by the path of one module.
pub const SEPARATE_LINEARS: Property = Property {
    name: "separate-linears",
    says: "that linears of different modules are separate products",
    holds: |program| !any_prepared_weight(program, |op| matches!(op, Op::Concat(_))),
};

/// The modules of the two products of a branch, below that of the linear beside which it is.
pub(crate) const BRANCH_MODULES: [&str; 2] = ["lora_A", "lora_B"];

/// Linears are the model's own, and none is of an adapter beside one.
pub const BASE_LINEARS: Property = Property {
    name: "base-linears",
    says: "that all linears are the model's own",
    holds: |program| {
        let mut paths = program.stages().flat_map(|(_, graph)| graph.ids().map(|id| &graph[id].path));
        !paths.any(is_of_branch)
    },
};

/// Whether a product in the module `path` is of an adapter beside a linear.
pub(crate) fn is_of_branch(path: &ModulePath) -> bool {
    path.segments().any(|segment| BRANCH_MODULES.contains(&segment))
}

/// Weights lie row by row, as in the checkpoint.
pub const UNPACKED: Property = Property {
    name: "unpacked",
    says: "that weights have the checkpoint's layout",
    holds: |program| !any_prepared_weight(program, |op| matches!(op, Op::Transpose(_))),
};

/// Whether the weight of a product is a result of `prepare weights` made by an op for which `is` holds, or a view of such a
/// result.
fn any_prepared_weight(program: &Program, is: impl Fn(&Op) -> bool) -> bool {
    let Some(prepare) = program.prepares.get(&Rate::Weights) else { return false };
    let prepared = |name: &str| prepare.outputs().iter().find(|output| *output.label == *name);
    let made_by = |value: ValueId| {
        std::iter::successors(Some(value), |&id| prepare[id].op.is_view().then(|| prepare.operands(id)[0]))
    };
    let is_made_so = |graph: &Graph, product: ValueId| {
        let weight = weight_of(graph, product).filter(|&weight| matches!(graph[weight].op, Op::Input(_)));
        let output = weight.and_then(|weight| prepared(&graph[weight].name));
        output.is_some_and(|output| made_by(output.value).any(|id| is(&prepare[id].op)))
    };
    program.variants.values().any(|graph| graph.ids().any(|id| is_made_so(graph, id)))
}

/// The weight of the product `id`, if it is one, alone or in a `gemm`.
fn weight_of(graph: &Graph, id: ValueId) -> Option<ValueId> {
    let operands = graph.operands(id);
    match &graph[id].op {
        Op::Linear(_) | Op::MatmulCodes(_) => operands.get(1).copied(),
        Op::Gemm(gemm) => match gemm.product.terms().first()?.args.get(1)? {
            Arg::Operand(index) => operands.get(*index).copied(),
            _ => None,
        },
        _ => None,
    }
}
