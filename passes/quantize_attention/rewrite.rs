//! What attention becomes.

use super::QuantizeAttention;
use super::bounds::widened;
use super::common_scale::Norms;
use super::selection::RULE;
use reflux_ir::op::{Attention, Binary, Cast, Mean, Op, Quantize, Reshape, Transpose};
use reflux_ir::{DType, Name, Patch, PatchError, Program, Stage, ValueId};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;

/// What queries and keys are quantized to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AttentionScheme {
    /// i8: off by at most a part in 254 of the largest number of a row.
    #[default]
    Int8,
    /// The same as int8.
    Sage8,
    /// f8e4m3: off by at most a part in 16 of each number. About four times int8's error, and faster: keys have one scale.
    Fp8,
}

impl AttentionScheme {
    /// The dtype of the codes.
    pub fn dtype(self) -> DType {
        match self {
            Self::Int8 | Self::Sage8 => DType::I8,
            Self::Fp8 => DType::F8E4M3,
        }
    }

    /// The least scale of a row. Where numbers have an exponent of their own, a common scale costs nothing as long as the largest code,
    /// here 28, is not exceeded and the smallest are far from it; then kernels need not multiply by those of keys.
    fn least_scale(self) -> f64 {
        match self {
            Self::Int8 | Self::Sage8 => Quantize::least_scale(DType::I8),
            Self::Fp8 => 1.0 / 16.0,
        }
    }
}

impl QuantizeAttention {
    /// Replaces the attention `root` of `stage`. `known` are the inputs of the graph that are bounds which can be widened where they are made.
    pub(super) fn rewrite(
        &self,
        program: &mut Program,
        stage: &Stage,
        root: ValueId,
        known: &HashSet<Name>,
    ) -> Result<(), PatchError> {
        let graph = program.graph(stage).expect("it has the attention");
        let norms = Norms::of(graph, root).filter(|_| self.common_scale && self.scheme.dtype() == DType::I8);
        let least = match &norms {
            Some(norms) => {
                norms.rescale(program, stage, root)?;
                // The greatest code is one unit.
                1.0 / DType::I8.greatest()
            }
            None => self.scheme.least_scale(),
        };
        let graph = program.graph_mut(stage).expect("it has the attention");
        let (node, mut operands) = (graph[root].clone(), graph.operands(root));
        let Op::Attention(mut op) = node.op else { unreachable!("it was selected") };
        let mut patch = Patch::new(graph, RULE.name);
        if op.bounded {
            let bound = operands[3];
            match &patch.graph()[bound].op {
                Op::ScoreBound(of) => {
                    let (of, name) = (widened(of, self), patch.graph()[bound].name.clone());
                    let weights = patch.graph().operands(bound);
                    let path = patch.graph()[bound].path.clone();
                    operands[3] = patch.find_or_add(of, &weights, &name, path)?;
                }
                Op::Input(_) if known.contains(&patch.graph()[bound].name) => {}
                _ => {
                    op.bounded = false;
                    operands.pop();
                }
            }
        }
        if self.smooth_k {
            operands[1] = without_mean(&mut patch, operands[1])?;
        }
        for (index, eps) in [(0, self.scheme.least_scale()), (1, least)] {
            operands[index] = self.codes(&mut patch, operands[index], eps)?;
        }
        patch.replace(root, op, &operands)?;
        patch.apply()
    }

    /// The codes of `x`, which belong to `x` and not to the attention that reads them.
    fn codes(&self, patch: &mut Patch, x: ValueId, eps: f64) -> Result<ValueId, PatchError> {
        let dtype = self.scheme.dtype();
        let quant_min = (dtype == DType::I8).then_some(-127);
        let op = Quantize { dtype, scales: Attention::SCALES, quant_min, eps: eps.into() };
        let (name, path) = (patch.graph()[x].name.suffixed("_q"), patch.graph()[x].path.clone());
        patch.find_or_add(op, &[x], &name, path)
    }
}

/// `k` `[batch, tokens, heads, dim]`, less its mean over the tokens.
fn without_mean(patch: &mut Patch, k: ValueId) -> Result<ValueId, PatchError> {
    let node = patch.graph()[k].clone();
    let shape = &node.fact.shape;
    let mut add = |op: Op, operands: &[ValueId], suffix: &str| {
        patch.find_or_add(op, operands, &node.name.suffixed(suffix), node.path.clone())
    };
    let turned = add(Transpose { perm: vec![0, 2, 3, 1] }.into(), &[k], "_by_dim")?;
    let mean = add(Mean {}.into(), &[turned], "_mean")?;
    let as_keys = Reshape { shape: [shape[0], 1, shape[2], shape[3]].into() };
    let mut mean = add(as_keys.into(), &[mean], "_mean_key")?;
    if node.fact.dtype != DType::F32 {
        mean = add(Cast { dtype: node.fact.dtype }.into(), &[mean], "_mean_cast")?;
    }
    add(Binary::Sub.into(), &[k, mean], "_smooth")
}
