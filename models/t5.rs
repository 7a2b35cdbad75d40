//! The T5 v1.1 encoder (transformers, `models/t5/modeling_t5.py`).

use crate::architecture::{Architecture, Setting, ShapeOf, Untold, count, extent};
use crate::error::ModelError;
use crate::names;
use crate::settings::{Component, EXTENTS, Fixed, LAYERS, Settings, epsilon, within};
use reflux_ir::op::{Attention, Binary, Embedding, Real, RelativeBuckets, RmsNorm, Unary};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};
use serde::Deserialize;

/// T5; only its encoder is used.
pub static T5: Architecture = Architecture {
    title: "a T5 text encoder",
    class: "T5EncoderModel",
    model_type: Some("t5"),
    prefixes: &[
        "",
        "text_encoders.t5xxl.transformer.",
        "text_encoder_2.",
        "t5xxl.transformer.",
        "t5xxl.",
        "model.",
    ],
    settings: Some(settings_of),
};

/// `config.json` of a T5 text encoder.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct T5Config {
    pub vocab_size: usize,
    pub d_model: usize,
    pub d_kv: usize,
    pub d_ff: usize,
    pub num_layers: usize,
    pub num_heads: usize,
    pub relative_attention_num_buckets: usize,
    #[serde(default = "max_distance")]
    pub relative_attention_max_distance: usize,
    pub layer_norm_epsilon: f64,
    /// The kind of feed-forward network; `gated-gelu`, T5 v1.1's, is computed.
    pub feed_forward_proj: String,
}

fn max_distance() -> usize {
    128
}

impl Component for T5Config {
    const SETTINGS: Settings = Settings {
        fixed: &[
            ("model_type", Fixed::Name(&["t5"])),
            // transformers derives these from `feed_forward_proj`, unless they are given.
            ("dense_act_fn", Fixed::Name(&["gelu_new"])),
            ("is_gated_act", Fixed::On),
            ("is_decoder", Fixed::Off),
        ],
        without_effect: None,
        fix: "give the T5 v1.1 encoder of FLUX.1",
    };

    fn check(&self) -> Result<(), String> {
        if self.feed_forward_proj != "gated-gelu" {
            let found = &self.feed_forward_proj;
            return Err(format!(
                "`feed_forward_proj` = \"{found}\" is not supported, only `gated-gelu` is; {}",
                Self::SETTINGS.fix
            ));
        }
        within("num_layers", self.num_layers, LAYERS)?;
        for (setting, extent) in [
            ("vocab_size", self.vocab_size),
            ("d_model", self.d_model),
            ("d_kv", self.d_kv),
            ("d_ff", self.d_ff),
            ("num_heads", self.num_heads),
            ("relative_attention_max_distance", self.relative_attention_max_distance),
        ] {
            within(setting, extent, EXTENTS)?;
        }
        within("num_heads · d_kv", self.num_heads * self.d_kv, EXTENTS)?;
        // Half of the buckets are for each direction, and half of these for distances one by one.
        let buckets = self.relative_attention_num_buckets;
        within(
            "relative_attention_num_buckets",
            buckets,
            4..=2 * self.relative_attention_max_distance.max(2),
        )?;
        epsilon("layer_norm_epsilon", self.layer_norm_epsilon)
    }

    /// Of T5 v1.1, all of whose sizes have these settings in common.
    fn of_shapes(shape: ShapeOf) -> Result<Self, Untold> {
        const ATTENTION: &str = "encoder.block.0.layer.0.SelfAttention";
        let extent = |name: &str, axis: usize| extent(shape, name, axis);
        let bias = format!("{ATTENTION}.relative_attention_bias.weight");
        let query = format!("{ATTENTION}.q.weight");
        let (inner, num_heads) = (extent(&query, 0)?, extent(&bias, 1)?);
        if !inner.is_multiple_of(num_heads) {
            return Err(Untold::Tensor(query));
        }
        Ok(Self {
            vocab_size: extent("shared.weight", 0)?,
            d_model: extent("shared.weight", 1)?,
            d_kv: inner / num_heads,
            d_ff: extent("encoder.block.0.layer.1.DenseReluDense.wi_0.weight", 0)?,
            num_layers: count(shape, |index| format!("encoder.block.{index}.layer.0.SelfAttention.q.weight")),
            num_heads,
            relative_attention_num_buckets: extent(&bias, 0)?,
            relative_attention_max_distance: max_distance(),
            layer_norm_epsilon: 1e-6,
            feed_forward_proj: "gated-gelu".into(),
        })
    }
}

/// The settings that tell encoders apart.
fn settings_of(shape: ShapeOf) -> Vec<Setting> {
    let Ok(config) = T5Config::of_shapes(shape) else { return Vec::new() };
    vec![
        ("vocab_size", config.vocab_size.to_string()),
        ("d_model", config.d_model.to_string()),
        ("d_ff", config.d_ff.to_string()),
        ("num_layers", config.num_layers.to_string()),
        ("num_heads", config.num_heads.to_string()),
    ]
}

impl T5Config {
    /// The encoder as a program of one variant `encode`.
    ///
    /// Input: `ids` `i32[batch, tokens]`. Result: `prompt` `[batch, tokens, d_model]`, the last hidden state. There is no
    /// attention mask: FLUX.1, for which this is, attends to padding.
    pub fn lower(&self, batch: usize, tokens: usize, dtype: DType) -> Result<Program, ModelError> {
        self.check().map_err(|why| ModelError::Unsupported { part: "T5 text encoder", why })?;
        let mut graph = GraphBuilder::new();
        self.build(&mut Scope::new(&mut graph, dtype), batch, tokens)?;
        Ok(Program::of_graph("t5_encoder", "encode", 1, graph.finish()))
    }

    fn build(&self, s: &mut Scope, batch: usize, tokens: usize) -> Result<(), GraphError> {
        let ids = s.input(names::IDS, DType::I32, [batch, tokens], Rate::Prompt)?;
        let mut shared = s.module("shared");
        let table = shared.weight("weight", [self.vocab_size, self.d_model])?;
        let mut x = shared.add("embedded", Embedding {}, &[ids, table])?;
        let mut encoder = s.module("encoder");
        let bias = self.position_bias(&mut encoder, tokens)?;
        for index in 0..self.num_layers {
            x = self.block(&mut encoder.block("block", index), x, bias)?;
        }
        let prompt = self.norm(&mut encoder, "prompt", "final_layer_norm", x)?;
        s.output("prompt", prompt);
        Ok(())
    }

    /// Layer 0's relative attention bias, which all layers add: `[1, heads, tokens, tokens]`.
    fn position_bias(&self, s: &mut Scope, tokens: usize) -> Result<ValueId, GraphError> {
        let mut s = s.module("block.0.layer.0.SelfAttention.relative_attention_bias");
        let buckets = RelativeBuckets {
            length: tokens,
            buckets: self.relative_attention_num_buckets,
            max_distance: self.relative_attention_max_distance,
        };
        let buckets = s.add("buckets", buckets, &[])?;
        let table = s.weight("weight", [self.relative_attention_num_buckets, self.num_heads])?;
        let bias = s.add("bias_per_pair", Embedding {}, &[buckets, table])?;
        let bias = s.transpose("bias_per_head", bias, &[2, 0, 1])?;
        s.reshape("position_bias", bias, [1, self.num_heads, tokens, tokens])
    }

    fn block(&self, s: &mut Scope, x: ValueId, bias: ValueId) -> Result<ValueId, GraphError> {
        let mut layer = s.module("layer.0");
        let n = self.norm(&mut layer, "n1", "layer_norm", x)?;
        let mut attention = layer.module("SelfAttention");
        let fact = attention.fact(x);
        let (batch, tokens) = (fact.shape[0], fact.shape[1]);
        let inner = self.num_heads * self.d_kv;
        let mut heads = [n; 3];
        for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
            let flat = attention.linear(&format!("{name}_proj"), name, n, inner, false)?;
            heads[part] = attention.reshape(name, flat, [batch, tokens, self.num_heads, self.d_kv])?;
        }
        let [q, k, v] = heads;
        // T5 does not scale its logits.
        let op = Attention { scale: Real::from(1.0), causal: false, bounded: false };
        let a = attention.add("attn_heads", op, &[q, k, v, bias])?;
        let a = attention.reshape("attn", a, [batch, tokens, inner])?;
        let a = attention.linear("attn_out", "o", a, self.d_model, false)?;
        let x = layer.binary("mid", Binary::Add, x, a)?;

        let mut layer = s.module("layer.1");
        let n = self.norm(&mut layer, "n2", "layer_norm", x)?;
        let mut ff = layer.module("DenseReluDense");
        let gate = ff.linear("wi_0", "wi_0", n, self.d_ff, false)?;
        let gate = ff.module("act").unary("gate", Unary::GeluTanh, gate)?;
        let up = ff.linear("wi_1", "wi_1", n, self.d_ff, false)?;
        let h = ff.binary("gated", Binary::Mul, gate, up)?;
        let h = ff.linear("wo", "wo", h, self.d_model, false)?;
        layer.binary("x", Binary::Add, x, h)
    }

    fn norm(&self, s: &mut Scope, name: &str, module: &str, x: ValueId) -> Result<ValueId, GraphError> {
        s.norm(name, module, RmsNorm { eps: Real::from(self.layer_norm_epsilon) }, x, 2, &["weight"])
    }
}
