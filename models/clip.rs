//! The CLIP text encoder (transformers, `models/clip/modeling_clip.py`).

use crate::architecture::{Architecture, Setting, ShapeOf, Untold, count, extent};
use crate::error::ModelError;
use crate::names;
use crate::settings::{Component, EXTENTS, Fixed, LAYERS, Settings, epsilon, within};
use reflux_ir::op::{Argmax, Attention, Binary, Embedding, LayerNorm, Real, Select, Unary};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};
use serde::Deserialize;

/// CLIP; only its text encoder is used.
pub static CLIP: Architecture = Architecture {
    title: "a CLIP text encoder",
    class: "CLIPTextModel",
    model_type: Some("clip_text_model"),
    prefixes: &[
        "",
        "text_encoders.clip_l.transformer.",
        "text_encoder.",
        "clip_l.transformer.",
        "clip_l.",
        "cond_stage_model.transformer.",
        "model.",
    ],
    settings: Some(settings_of),
};

/// `config.json` of a CLIP text encoder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct ClipConfig {
    pub vocab_size: usize,
    pub hidden_size: usize,
    pub intermediate_size: usize,
    pub num_hidden_layers: usize,
    pub num_attention_heads: usize,
    pub max_position_embeddings: usize,
    pub hidden_act: Activation,
    pub layer_norm_eps: f64,
    pub eos_token_id: i64,
}

/// The MLP's activation, in transformers' names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Activation {
    QuickGelu,
    Gelu,
    #[serde(alias = "gelu_pytorch_tanh")]
    GeluNew,
}

impl From<Activation> for Unary {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::QuickGelu => Unary::QuickGelu,
            Activation::Gelu => Unary::Gelu,
            Activation::GeluNew => Unary::GeluTanh,
        }
    }
}

/// CLIP configs from before transformers 4.30 say 2 whatever the end-of-text token is; the pooled token is then
/// the one of the highest id.
const LEGACY_EOS: i64 = 2;

impl Component for ClipConfig {
    const SETTINGS: Settings = Settings {
        fixed: &[("model_type", Fixed::Name(&["clip_text_model"]))],
        without_effect: None,
        fix: "give the CLIP text encoder of FLUX.1",
    };

    fn check(&self) -> Result<(), String> {
        within("num_hidden_layers", self.num_hidden_layers, LAYERS)?;
        for (setting, extent) in [
            ("vocab_size", self.vocab_size),
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_attention_heads", self.num_attention_heads),
            ("max_position_embeddings", self.max_position_embeddings),
        ] {
            within(setting, extent, EXTENTS)?;
        }
        if !self.hidden_size.is_multiple_of(self.num_attention_heads) {
            let (size, heads) = (self.hidden_size, self.num_attention_heads);
            return Err(format!(
                "`hidden_size`, {size}, must be a multiple of `num_attention_heads`, {heads}"
            ));
        }
        // An id that no token has would be found nowhere in a prompt.
        let is_token = usize::try_from(self.eos_token_id).is_ok_and(|id| id < self.vocab_size);
        if self.eos_token_id != LEGACY_EOS && !is_token {
            let (id, tokens) = (self.eos_token_id, self.vocab_size);
            return Err(format!("`eos_token_id`, {id}, must be a token: `vocab_size` is {tokens}"));
        }
        epsilon("layer_norm_eps", self.layer_norm_eps)
    }

    /// Of OpenAI's CLIP, whose heads have 64 channels and whose MLPs have the quick GELU.
    fn of_shapes(shape: ShapeOf) -> Result<Self, Untold> {
        const HEAD: usize = 64;
        let extent = |name: &str, axis: usize| extent(shape, name, axis);
        const TOKENS: &str = "text_model.embeddings.token_embedding.weight";
        const LAYERS: &str = "text_model.encoder.layers";
        let hidden_size = extent(TOKENS, 1)?;
        if !hidden_size.is_multiple_of(HEAD) {
            return Err(Untold::Tensor(TOKENS.into()));
        }
        Ok(Self {
            vocab_size: extent(TOKENS, 0)?,
            hidden_size,
            intermediate_size: extent(&format!("{LAYERS}.0.mlp.fc1.weight"), 0)?,
            num_hidden_layers: count(shape, |index| format!("{LAYERS}.{index}.mlp.fc1.weight")),
            num_attention_heads: hidden_size / HEAD,
            max_position_embeddings: extent("text_model.embeddings.position_embedding.weight", 0)?,
            hidden_act: Activation::QuickGelu,
            layer_norm_eps: 1e-5,
            eos_token_id: LEGACY_EOS,
        })
    }
}

/// The settings that tell encoders apart.
fn settings_of(shape: ShapeOf) -> Vec<Setting> {
    let Ok(config) = ClipConfig::of_shapes(shape) else { return Vec::new() };
    vec![
        ("vocab_size", config.vocab_size.to_string()),
        ("hidden_size", config.hidden_size.to_string()),
        ("intermediate_size", config.intermediate_size.to_string()),
        ("num_hidden_layers", config.num_hidden_layers.to_string()),
    ]
}

impl ClipConfig {
    /// The encoder as a program of one variant `encode`.
    ///
    /// Input: `ids` `i32[batch, tokens]`. Result: `pooled` `[batch, hidden]`, the final state of the end-of-text token.
    pub fn lower(&self, batch: usize, dtype: DType) -> Result<Program, ModelError> {
        self.check().map_err(|why| ModelError::Unsupported { part: "CLIP text encoder", why })?;
        let mut graph = GraphBuilder::new();
        self.build(&mut Scope::new(&mut graph, dtype), batch)?;
        Ok(Program::of_graph("clip_text_encoder", "encode", 1, graph.finish()))
    }

    fn build(&self, s: &mut Scope, batch: usize) -> Result<(), GraphError> {
        let tokens = self.max_position_embeddings;
        let ids = s.input(names::IDS, DType::I32, [batch, tokens], Rate::Prompt)?;
        let mut model = s.module("text_model");
        let mut embeddings = model.module("embeddings");
        let table = embeddings.weight("token_embedding.weight", [self.vocab_size, self.hidden_size])?;
        let words = embeddings.add("token_embedding", Embedding {}, &[ids, table])?;
        let positions = embeddings.weight("position_embedding.weight", [tokens, self.hidden_size])?;
        let mut x = embeddings.binary("embedded", Binary::Add, words, positions)?;
        let mut encoder = model.module("encoder");
        for index in 0..self.num_hidden_layers {
            x = self.layer(&mut encoder.block("layers", index), x)?;
        }
        let x = self.norm(&mut model, "last", "final_layer_norm", x)?;
        let end = self.end_of_text(&mut model, ids)?;
        let pooled = model.add("pooled", Select {}, &[x, end])?;
        s.output("pooled", pooled);
        Ok(())
    }

    /// Where the end-of-text token is, `i32[batch]`.
    fn end_of_text(&self, s: &mut Scope, ids: ValueId) -> Result<ValueId, GraphError> {
        let key = match self.eos_token_id {
            LEGACY_EOS => ids,
            eos => s.scalar("is_end", Binary::Equal, ids, eos as f64)?,
        };
        s.add("end", Argmax {}, &[key])
    }

    fn layer(&self, s: &mut Scope, x: ValueId) -> Result<ValueId, GraphError> {
        let n = self.norm(s, "n1", "layer_norm1", x)?;
        let mut attention = s.module("self_attn");
        let shape = attention.fact(x).shape.to_vec();
        let head_dim = self.hidden_size / self.num_attention_heads;
        let mut heads = [n; 3];
        for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
            let module = format!("{name}_proj");
            let flat = attention.linear(&module, &module, n, self.hidden_size, true)?;
            let split = [shape[0], shape[1], self.num_attention_heads, head_dim];
            heads[part] = attention.reshape(name, flat, split)?;
        }
        let op = Attention { scale: Real::from((head_dim as f64).powf(-0.5)), causal: true, bounded: false };
        let a = attention.add("attn_heads", op, &heads)?;
        let a = attention.reshape("attn", a, shape)?;
        let a = attention.linear("attn_out", "out_proj", a, self.hidden_size, true)?;
        let x = s.binary("mid", Binary::Add, x, a)?;

        let n = self.norm(s, "n2", "layer_norm2", x)?;
        let mut mlp = s.module("mlp");
        let h = mlp.linear("fc1", "fc1", n, self.intermediate_size, true)?;
        let h = mlp.module("activation_fn").unary("act", self.hidden_act.into(), h)?;
        let h = mlp.linear("fc2", "fc2", h, self.hidden_size, true)?;
        s.binary("x", Binary::Add, x, h)
    }

    fn norm(&self, s: &mut Scope, name: &str, module: &str, x: ValueId) -> Result<ValueId, GraphError> {
        s.norm(name, module, LayerNorm { eps: Real::from(self.layer_norm_eps) }, x, 2, &["weight", "bias"])
    }
}
