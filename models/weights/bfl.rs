//! Transformers in Black Forest Labs' layout, under diffusers' names.
//!
//! Their checkpoints fuse the projections of a token (`qkv`, `linear1`) where diffusers has one
//! tensor each. Fusion is by rows, so that every part is a stretch of the mapped file.

use super::{Stored, Weights, WeightsError};
use std::iter::once;
use std::ops::Range;

/// What other tools prepend to the names when they store a transformer with other networks.
const PREFIX: &str = "model.diffusion_model.";

/// Modules in the BFL layout, each with the diffusers modules that its rows belong to in turn.
type Modules = &'static [(&'static str, &'static [&'static str])];

const OUTER: Modules = &[
    ("img_in", &["x_embedder"]),
    ("txt_in", &["context_embedder"]),
    ("time_in.in_layer", &["time_text_embed.timestep_embedder.linear_1"]),
    ("time_in.out_layer", &["time_text_embed.timestep_embedder.linear_2"]),
    ("vector_in.in_layer", &["time_text_embed.text_embedder.linear_1"]),
    ("vector_in.out_layer", &["time_text_embed.text_embedder.linear_2"]),
    ("guidance_in.in_layer", &["time_text_embed.guidance_embedder.linear_1"]),
    ("guidance_in.out_layer", &["time_text_embed.guidance_embedder.linear_2"]),
    ("final_layer.adaLN_modulation.1", &[NORM_OUT]),
    ("final_layer.linear", &["proj_out"]),
];

/// BFL computes shift and scale of the last norm in this order, diffusers scale and shift.
const NORM_OUT: &str = "norm_out.linear";

const DOUBLE_BLOCK: Modules = &[
    ("img_mod.lin", &["norm1.linear"]),
    ("img_attn.qkv", &["attn.to_q", "attn.to_k", "attn.to_v"]),
    ("img_attn.norm.query_norm", &["attn.norm_q"]),
    ("img_attn.norm.key_norm", &["attn.norm_k"]),
    ("img_attn.proj", &["attn.to_out.0"]),
    ("img_mlp.0", &["ff.net.0.proj"]),
    ("img_mlp.2", &["ff.net.2"]),
    ("txt_mod.lin", &["norm1_context.linear"]),
    ("txt_attn.qkv", &["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"]),
    ("txt_attn.norm.query_norm", &["attn.norm_added_q"]),
    ("txt_attn.norm.key_norm", &["attn.norm_added_k"]),
    ("txt_attn.proj", &["attn.to_add_out"]),
    ("txt_mlp.0", &["ff_context.net.0.proj"]),
    ("txt_mlp.2", &["ff_context.net.2"]),
];

const SINGLE_BLOCK: Modules = &[
    ("modulation.lin", &["norm.linear"]),
    ("linear1", &["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"]),
    ("linear2", &["proj_out"]),
    ("norm.query_norm", &["attn.norm_q"]),
    ("norm.key_norm", &["attn.norm_k"]),
];

/// Whether tensors of these names are a transformer in the BFL layout.
pub(super) fn is_bfl<'a>(mut names: impl Iterator<Item = &'a str>) -> bool {
    names.any(|name| name.strip_prefix(PREFIX).unwrap_or(name).starts_with("double_blocks.0."))
}

impl Weights {
    /// The same weights with those of a BFL transformer under diffusers' names. Tensors that are
    /// no part of one keep their names.
    pub(super) fn with_diffusers_names(mut self) -> Result<Self, WeightsError> {
        let tensors = std::mem::take(&mut self.tensors);
        for (name, stored) in &tensors {
            let Some(target) = Target::of(name) else {
                self.insert(name.clone(), stored.clone())?;
                continue;
            };
            let weight =
                name.rsplit_once('.').and_then(|(module, _)| tensors.get(&format!("{module}.weight")));
            let parts = target.split(stored, weight).ok_or_else(|| WeightsError::Fused {
                path: self.path_of(stored).to_owned(),
                tensor: name.clone(),
                shape: stored.shape.clone(),
                into: target.modules,
            })?;
            for (module, part) in target.modules.iter().zip(parts) {
                self.insert(format!("{}{module}.{}", target.block, target.parameter), part)?;
            }
        }
        Ok(self)
    }
}

/// Where the rows of a BFL tensor belong.
struct Target {
    /// The diffusers name of its block with a dot, or nothing outside of the blocks.
    block: String,
    modules: &'static [&'static str],
    parameter: &'static str,
}

impl Target {
    /// The target of the tensor of this BFL name; `None` for any other name.
    fn of(name: &str) -> Option<Self> {
        let name = name.strip_prefix(PREFIX).unwrap_or(name);
        let (path, parameter) = name.rsplit_once('.')?;
        let parameter = match parameter {
            "weight" => "weight",
            "bias" => "bias",
            "scale" if path.ends_with("_norm") => "weight",
            _ => return None,
        };
        let ((block, module), table) = match path.split_once('.') {
            Some(("double_blocks", rest)) => (in_block("transformer_blocks", rest)?, DOUBLE_BLOCK),
            Some(("single_blocks", rest)) => (in_block("single_transformer_blocks", rest)?, SINGLE_BLOCK),
            _ => ((String::new(), path), OUTER),
        };
        let (_, modules) = table.iter().find(|(bfl, _)| *bfl == module)?;
        Some(Self { block, modules, parameter })
    }

    /// The tensor of each module, of the BFL tensor `stored`, whose module has the weight matrix
    /// `weight`; `None` if the shapes do not allow it.
    fn split(&self, stored: &Stored, weight: Option<&Stored>) -> Option<Vec<Stored>> {
        match self.modules {
            [NORM_OUT] => Some(vec![stored.with_halves_swapped()?]),
            [_] => Some(vec![stored.clone()]),
            // Queries, keys and values are as wide as the layer's input; the rest is the last part's.
            [first @ .., _last] => stored.split_rows(*weight?.shape.get(1)?, first.len()),
            [] => None,
        }
    }
}

/// The diffusers name of a block, with a dot, and the module in it, of a BFL path without `*_blocks.`
fn in_block<'a>(blocks: &str, path: &'a str) -> Option<(String, &'a str)> {
    let (index, module) = path.split_once('.')?;
    Some((format!("{blocks}.{index}."), module))
}

impl Stored {
    /// `count` parts of `width` rows each and one of the rest.
    fn split_rows(&self, width: usize, count: usize) -> Option<Vec<Self>> {
        let rows = *self.shape.first()?;
        let rest = width.checked_mul(count).filter(|&rest| rest <= rows)?;
        let even = (0..count).map(|i| i * width..(i + 1) * width);
        Some(even.chain(once(rest..rows)).map(|part| self.rows(part)).collect())
    }

    /// The second half of the rows, then the first.
    fn with_halves_swapped(&self) -> Option<Self> {
        let rows = self.shape.first().copied().filter(|rows| rows.is_multiple_of(2))?;
        let [second, first] = [rows / 2..rows, 0..rows / 2].map(|half| self.rows(half));
        Some(Self { parts: [second.parts, first.parts].concat(), ..self.clone() })
    }

    /// Some rows of a tensor that is in one piece and has at least one dimension.
    fn rows(&self, rows: Range<usize>) -> Self {
        let whole = &self.parts[0];
        let row_bytes = whole.len().checked_div(self.shape[0]).unwrap_or(0);
        let part = whole.start + rows.start * row_bytes..whole.start + rows.end * row_bytes;
        let shape = [&[rows.len()], &self.shape[1..]].concat();
        Self { shape, parts: vec![part], ..self.clone() }
    }
}
