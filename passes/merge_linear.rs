//! Merging of linears that read the same value.

mod branches;
mod products;

use crate::{SEPARATE_LINEARS, UNFUSED, UNPACKED};
use branches::{Part, add_branches};
use products::{LinearProduct, products, why};
use reflux_ir::op::{Concat, Linear, Rescale};
use reflux_ir::pass::{Answer, Changed, Exactness, Pass, PassContext, PassError, Place, Property, RuleInfo};
use reflux_ir::{Declaration, Fact, Graph, ModulePath, Name, Patch, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

const RULE: RuleInfo = RuleInfo {
    name: "merge-linear",
    pattern: "linear(x, V), linear(x, W) → slices of linear(x, concat(V, W)), within a block",
};

/// Merges linears of one block that read the same value into one product with all their columns: queries, keys and values,
/// and in FLUX's single blocks the MLP's first linear too. (diffusers' `fuse_qkv_projections` does this but keeps the separate
/// weights as well.)
///
/// The weights are concatenated once, in `prepare weights`; the single results are slices. Branches of adapters are put together
/// too, and added to all columns at once. Quantized products are merged if
/// each row of a weight has its own scale; the codes stay the same.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MergeLinear {}

impl Pass for MergeLinear {
    fn name(&self) -> &'static str {
        "merge-linear"
    }

    /// A wider product may sum in another order.
    fn exactness(&self) -> Exactness {
        Exactness::Reassociating
    }

    fn requires(&self) -> &'static [Property] {
        &[UNFUSED, UNPACKED]
    }

    fn ends(&self) -> &'static [Property] {
        &[SEPARATE_LINEARS]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        let (mut before, mut after) = (0, 0);
        let variants: Vec<Name> = program.variants.keys().cloned().collect();
        for variant in &variants {
            let graph = &program.variants[variant];
            let (mut groups, alone) = products(graph);
            cx.report.count_all(RULE.name, alone, 0);
            groups.retain(|group| cx.admit(RULE.name, || names(graph, group)));
            before += groups.iter().map(Vec::len).sum::<usize>();
            after += groups.len();
            cx.timed(RULE.name, |_| merge_all(program, variant, &groups))?;
        }
        if after > 0 {
            cx.report.note(format!("{before} linears became {after}"));
        }
        Ok((after > 0).into())
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![RULE]
    }

    fn why(&self, place: &Place, rule: &str) -> Option<Answer> {
        (rule == RULE.name).then(|| why(place.graph, place.value).map(|()| None))
    }
}

/// The results of the products.
fn names(graph: &Graph, group: &[LinearProduct]) -> String {
    group.iter().map(|product| format!("%{}", graph[product.result].name)).collect::<Vec<_>>().join(", ")
}

/// The weights and biases of one group, as the variant reads them.
struct GroupWeights {
    weight: ValueId,
    bias: Option<ValueId>,
}

/// Replaces the products of each group by one.
fn merge_all(program: &mut Program, variant: &Name, groups: &[Vec<LinearProduct>]) -> Result<(), PassError> {
    let prepared = prepare(program, variant, groups)?;
    let mut replaced = HashMap::new();
    for (group, prepared) in groups.iter().zip(&prepared) {
        merge(&mut program.variants[variant], group, prepared, &mut replaced)?;
    }
    Ok(())
}

/// Puts the weights of each group together, and the biases, and makes both inputs of the variant: weights first, so that
/// those of a stack of blocks stand next to each other in its signature.
fn prepare(
    program: &mut Program,
    variant: &Name,
    groups: &[Vec<LinearProduct>],
) -> Result<Vec<GroupWeights>, PassError> {
    let mut weights = Vec::with_capacity(groups.len());
    for group in groups {
        weights.push(together(program, variant, group, "_weights", |product| Some(product.weight))?);
    }
    let mut biases = Vec::with_capacity(groups.len());
    for group in groups {
        biases.push(together(program, variant, group, "_biases", |product| product.bias)?);
    }
    let mut patch = Patch::new(&mut program.variants[variant], RULE.name);
    let mut input = |prepared: Option<Declaration>| {
        prepared.map(|Declaration { name, fact }| patch.input(&name, fact)).transpose()
    };
    let weights = weights.into_iter().map(&mut input).collect::<Result<Vec<_>, _>>()?;
    let biases = biases.into_iter().map(&mut input).collect::<Result<Vec<_>, _>>()?;
    patch.apply()?;
    let prepared = |(weight, bias): (Option<ValueId>, _)| GroupWeights {
        weight: weight.expect("all have weights"),
        bias,
    };
    Ok(weights.into_iter().zip(biases).map(prepared).collect())
}

/// Replaces the products of `group`, which read one value, by one product and its slices. `replaced` says what became of the
/// results of groups before it, which that value may be, and learns what becomes of these.
fn merge(
    graph: &mut Graph,
    group: &[LinearProduct],
    prepared: &GroupWeights,
    replaced: &mut HashMap<ValueId, ValueId>,
) -> Result<(), PassError> {
    let first = &group[0];
    let input = *replaced.get(&first.input).unwrap_or(&first.input);
    let (name, path) = (graph[input].name.suffixed("_linears"), block(graph, group));
    let GroupWeights { weight, bias } = *prepared;
    let dtype = graph[first.result].fact.dtype;
    let mut patch = Patch::new(graph, RULE.name);
    let whole = match first.codes {
        None => {
            let operands: Vec<_> = [input, weight].into_iter().chain(bias).collect();
            patch.add(Linear {}, &operands, &name, path)?
        }
        Some(matmul) => {
            let acc = patch.add(matmul, &[input, weight], &name.suffixed("_acc"), path.clone())?;
            let x = patch.graph()[input].fact.is_quantized().then_some(input);
            let operands: Vec<_> = std::iter::once(acc).chain(x).chain([weight]).chain(bias).collect();
            patch.add(Rescale { dtype }, &operands, &name, path)?
        }
    };
    let mut start = 0;
    let part = |product: &LinearProduct| {
        let value = product.result;
        let end = start + patch.graph()[value].fact.shape.last().expect("a linear has columns");
        Part { start: std::mem::replace(&mut start, end), end, value }
    };
    let parts: Vec<Part> = group.iter().map(part).collect();
    for (old, part) in add_branches(&mut patch, whole, &parts)? {
        patch.shunt(old, part);
        replaced.insert(old, part);
    }
    Ok(patch.apply()?)
}

/// The innermost module that all products of `group` are in.
fn block(graph: &Graph, group: &[LinearProduct]) -> ModulePath {
    let paths = group.iter().map(|product| graph[product.result].path.clone());
    paths.reduce(|a, b| a.common(&b)).expect("a group has products")
}

/// A tensor of each product of `group`, one below the other, as a prepared value, made once for all variants; nothing if the
/// products have no such tensor.
fn together(
    program: &mut Program,
    variant: &Name,
    group: &[LinearProduct],
    suffix: &str,
    tensor: impl Fn(&LinearProduct) -> Option<ValueId>,
) -> Result<Option<Declaration>, PassError> {
    let graph = &program.variants[variant];
    let Some(leaves) = group.iter().map(tensor).collect::<Option<Vec<_>>>() else { return Ok(None) };
    let tensors: Vec<(Name, Fact)> =
        leaves.iter().map(|&leaf| (graph[leaf].name.clone(), graph[leaf].fact.clone())).collect();
    let (name, path) = (graph[group[0].input].name.suffixed(suffix), block(graph, group));
    let from: Vec<Name> = group.iter().map(|product| graph[product.result].name.clone()).collect();
    let prepared = program.prepare_once(RULE.name, &name, from, |stage, name| {
        let parts = tensors.into_iter().map(|(tensor, fact)| stage.weight(&tensor, fact));
        let parts = parts.collect::<Result<Vec<_>, _>>()?;
        stage.find_or_add(Concat { axis: 0 }, &parts, name, path)
    })?;
    Ok(Some(prepared))
}
