//! Adapters of low rank: merged into weights, or beside the products of these.

use crate::properties::{BASE_LINEARS, BRANCH_MODULES, SEPARATE_LINEARS, UNFUSED, UNPACKED};
use crate::tensor_of;
use reflux_ir::op::{Binary, Cast, Linear, MatmulCodes, Op, Rescale, Weight};
use reflux_ir::pass::{Changed, Exactness, Pass, PassContext, PassError, Property, RuleInfo, counted};
use reflux_ir::{DType, Declaration, Fact, Graph, ModulePath, Name, Patch, PatchError, Program, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::{HashMap, HashSet};

const MERGE: RuleInfo =
    RuleInfo { name: "lora-merge", pattern: "W → W + Σ strength · Δ, where it is read" };

const BRANCH: RuleInfo = RuleInfo {
    name: "lora-branch",
    pattern: "linear(x, W, b) → linear(x, W, b) + linear(linear(x, A) · strength, B)",
};

/// Where adapters are applied.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LoraMode {
    /// In the weights, when they are read: costs nothing in a step.
    #[default]
    Merge,
    /// Beside the product, where they are of low rank: strengths are inputs of the program, and the weight may be codes of any
    /// kind. What is not of low rank is merged.
    Branch,
}

/// What adapters are to a program, which knows them by the names of weights.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Adapters {
    /// Weights that are read with changes: what they are called, and what they are called with these.
    pub merged: Vec<(String, String)>,
    pub branches: Vec<Branch>,
}

/// A product of low rank beside that of a linear.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Branch {
    /// The weight of the linear.
    pub weight: String,
    /// The weights `A` `[rank, in]` and `B` `[out, rank]`. Branches of one input may share `A`.
    pub down: String,
    pub up: String,
    pub rank: usize,
    /// The input of the program that says how much of it there is: `f32[]`, or `f32[rank]`, a number for each row of `A`, where
    /// it is that of several adapters. It may change with every picture.
    pub strength: Declaration,
}

/// Applies adapters: see [`LoraMode`]. Which there are it is told by those who read files.
#[derive(Clone, Debug)]
pub struct Lora {
    /// The options that it is written with.
    options: Map<String, Value>,
    mode: LoraMode,
    adapters: Adapters,
}

impl LoraMode {
    /// What a program must be like for it.
    pub fn requires(self) -> &'static [Property] {
        match self {
            Self::Merge => &[],
            Self::Branch => &[UNFUSED, SEPARATE_LINEARS, UNPACKED],
        }
    }

    /// What is no longer so after it: no pass takes the products of a branch for linears of the model.
    pub fn ends(self) -> &'static [Property] {
        match self {
            Self::Merge => &[],
            Self::Branch => &[BASE_LINEARS],
        }
    }
}

impl Lora {
    /// The pass for these adapters, written as `options`.
    pub fn new(options: Map<String, Value>, mode: LoraMode, adapters: Adapters) -> Self {
        Self { options, mode, adapters }
    }

    /// The same pass, written as `options`.
    pub fn written(&self, options: Map<String, Value>) -> Self {
        Self { options, ..self.clone() }
    }

    /// Renames the leaves of merged weights.
    fn merge(&self, program: &mut Program, cx: &mut PassContext) -> Result<usize, PassError> {
        let names: HashMap<&str, &str> =
            self.adapters.merged.iter().map(|(name, merged)| (name.as_str(), merged.as_str())).collect();
        let mut applied = 0;
        for (_, graph) in program.stages_mut() {
            for id in graph.ids().collect::<Vec<_>>() {
                let Op::Weight(Weight { tensor }) = &graph[id].op else { continue };
                let Some(&merged) = names.get(tensor.as_str()) else { continue };
                let rename = |graph: &mut Graph| {
                    let fact = graph[id].fact.clone();
                    let mut patch = Patch::new(graph, MERGE.name);
                    let new = patch.weight(merged, fact)?;
                    patch.shunt(id, new);
                    patch.apply()
                };
                let changed = cx.apply_site(MERGE.name, graph, |graph| graph.line(id), rename)?;
                applied += usize::from(changed == Changed::Yes);
            }
        }
        Ok(applied)
    }

    /// Puts branches beside products.
    fn branch(&self, program: &mut Program, cx: &mut PassContext) -> Result<usize, PassError> {
        let mut by_weight: HashMap<&str, Vec<&Branch>> = HashMap::new();
        for branch in &self.adapters.branches {
            by_weight.entry(&branch.weight).or_default().push(branch);
        }
        // What an earlier pass has merged into has another name.
        let merged = self.adapters.merged.iter();
        let base: HashMap<&str, &str> =
            merged.map(|(name, merged)| (merged.as_str(), name.as_str())).collect();
        let mut found: HashSet<String> = HashSet::new();
        let mut strengths: Vec<Declaration> = Vec::new();
        for (_, graph) in program.stages_mut() {
            let there: HashSet<String> = graph.weights().map(|(name, _)| name.to_owned()).collect();
            found.extend(there.iter().cloned());
            for product in graph.order() {
                let Some(weight) = weight_of(graph, product) else { continue };
                let weight = base.get(weight).copied().unwrap_or(weight);
                let branches = by_weight.get(weight).into_iter().flatten().copied();
                let branches: Vec<&Branch> = branches.filter(|branch| !there.contains(&branch.up)).collect();
                if branches.is_empty() {
                    continue;
                }
                found.extend(branches.iter().map(|branch| branch.up.clone()));
                let x = input_of(graph, product).ok_or_else(|| {
                    let (line, mode) = (graph.line(product), "mode=merge");
                    PassError::Refused(format!("what `{line}` multiplies is not in its stage; use {mode}"))
                })?;
                let beside = |graph: &mut Graph| beside(graph, product, x, &branches);
                if cx.apply_site(BRANCH.name, graph, |graph| graph.line(product), beside)? == Changed::Yes {
                    strengths.extend(branches.iter().map(|branch| branch.strength.clone()));
                }
            }
        }
        if let Some(lost) = self.adapters.branches.iter().find(|branch| !found.contains(&branch.up)) {
            let Branch { weight, .. } = lost;
            let why = format!("no product reads `{weight}`, which the LoRA changes; use mode=merge");
            return Err(PassError::Refused(why));
        }
        let applied = strengths.len();
        strengths.sort_by(|a, b| a.name.cmp(&b.name));
        strengths.dedup();
        strengths.retain(|strength| program.inputs.iter().all(|input| input.name != strength.name));
        program.inputs.extend(strengths);
        Ok(applied)
    }
}

/// The tensor that the linear, or the product of codes, with the result `id` reads as its weight.
fn weight_of(graph: &Graph, id: ValueId) -> Option<&str> {
    let operands = graph.operands(id);
    let weight = match &graph[id].op {
        Op::Linear(_) => operands[1],
        Op::Rescale(_) => graph.operands(operands[0])[1],
        _ => return None,
    };
    tensor_of(graph, weight).map(|(_, tensor)| tensor)
}

/// What the product with the result `id` multiplies.
#[derive(Clone, Copy)]
enum Read {
    Numbers(ValueId),
    /// Codes, by this product of them with those of the weight.
    Codes(ValueId, MatmulCodes),
}

/// What the product with the result `id` reads, if that is in its stage.
fn input_of(graph: &Graph, id: ValueId) -> Option<Read> {
    let first = graph.operands(id)[0];
    match graph[first].op {
        Op::MatmulCodes(matmul) if matches!(graph[id].op, Op::Rescale(_)) => {
            let x = graph.operands(first)[0];
            let is_coded = graph[x].fact.is_quantized();
            Some(if is_coded { Read::Codes(x, matmul) } else { Read::Numbers(x) })
        }
        _ if graph[first].fact.is_quantized() => None,
        _ => Some(Read::Numbers(first)),
    }
}

/// `x · Aᵀ`, of type `dtype`: of codes of x if those are what the linear reads, so that nobody has to write x twice. `A` has
/// codes like those of `weight` then.
fn down(
    patch: &mut Patch,
    (x, weight): (Read, ValueId),
    branch: &Branch,
    dtype: DType,
    (name, path): (&Name, ModulePath),
) -> Result<ValueId, PatchError> {
    let features = |x: ValueId, patch: &Patch| patch.graph()[x].fact.shape.last().copied().unwrap_or(0);
    match x {
        Read::Numbers(x) => {
            let a = patch.weight(&branch.down, Fact::new(dtype, [branch.rank, features(x, patch)]))?;
            patch.find_or_add(Linear {}, &[x, a], name, path)
        }
        Read::Codes(x, matmul) => {
            let shape = [branch.rank, features(x, patch)].into();
            let fact = Fact { shape, ..patch.graph()[weight].fact.clone() };
            let a = patch.weight(&branch.down, fact)?;
            let sums = patch.find_or_add(matmul, &[x, a], &name.suffixed("_acc"), path.clone())?;
            patch.find_or_add(Rescale { dtype }, &[sums, x, a], name, path)
        }
    }
}

/// Adds `branches`, which read `x`, to `product`.
fn beside(graph: &mut Graph, product: ValueId, x: Read, branches: &[&Branch]) -> Result<(), PatchError> {
    let (node, operands) = (graph[product].clone(), graph.operands(product));
    let weight = match x {
        Read::Numbers(_) => operands[1],
        Read::Codes(..) => graph.operands(operands[0])[1],
    };
    let (out, dtype) = (node.fact.shape.last().copied().unwrap_or(0), node.fact.dtype);
    let mut patch = Patch::new(graph, BRANCH.name);
    let mut sum = patch.add(node.op.clone(), &operands, &node.name.suffixed("_base"), node.path.clone())?;
    for branch in branches {
        let [down_path, up_path] = BRANCH_MODULES.map(|module| node.path.join(module));
        let name = |suffix: &str| node.name.suffixed(suffix);
        let inner = down(&mut patch, (x, weight), branch, dtype, (&name("_lora_a"), down_path.clone()))?;
        let Declaration { name: called, fact } = &branch.strength;
        let mut strength = patch.input(called, fact.clone())?;
        if dtype != DType::F32 {
            let name = called.suffixed(format_args!("_{dtype}"));
            strength = patch.find_or_add(Cast { dtype }, &[strength], &name, ModulePath::root())?;
        }
        let scaled = patch.find_or_add(Binary::Mul, &[inner, strength], &name("_lora_h"), down_path)?;
        let up = patch.weight(&branch.up, Fact::new(dtype, [out, branch.rank]))?;
        let change = patch.add(Linear {}, &[scaled, up], &name("_lora"), up_path)?;
        sum = patch.add(Binary::Add, &[sum, change], &node.name, node.path.clone())?;
    }
    patch.shunt(product, sum);
    patch.apply()
}

impl Pass for Lora {
    fn name(&self) -> &'static str {
        "lora"
    }

    fn options(&self) -> Map<String, Value> {
        self.options.clone()
    }

    /// It is asked for so as to have other results.
    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        self.mode.requires()
    }

    fn ends(&self) -> &'static [Property] {
        self.mode.ends()
    }

    fn rules(&self) -> Vec<RuleInfo> {
        vec![MERGE, BRANCH]
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        // Branches find their products by the names that weights have before others are merged into them.
        let branched = self.branch(program, cx)?;
        let merged = self.merge(program, cx)?;
        if merged > 0 {
            cx.report.note(format!("merged into {}", counted(merged, "weight")));
        }
        if branched > 0 {
            cx.report.note(format!("{} of low rank beside linears", counted(branched, "product")));
        }
        Ok((merged + branched > 0).into())
    }
}
