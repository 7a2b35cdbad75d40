//! The FLUX.1 transformer (diffusers, `models/transformers/transformer_flux.py`).

use super::settings::{GEOMETRY, TransformerConfig};
use crate::error::ModelError;
use crate::geometry::Sizes;
use crate::names;
use crate::settings::Component;
use reflux_ir::op::{
    Attention, Binary, Concat, LayerNorm, Real, RmsNorm, Rope, Select, TimestepEmbedding, Unary,
};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};

const NORM_EPS: f64 = 1e-6;
const TIMESTEP_CHANNELS: usize = 256;

/// The streams of a network: image tokens, text tokens, and what both are modulated by.
struct Streams {
    img: ValueId,
    txt: ValueId,
}

impl TransformerConfig {
    /// The transformer as a program of one variant `full`, one call per step.
    ///
    /// Inputs: `latents` `f32[batch, image tokens, out]`, `prompt` (T5's output) `[batch, text tokens, joint]`, `pooled`
    /// (CLIP's) `[batch, pooled]`, `timesteps` `f32[steps, batch]` in 0…1, `guidance` `f32[batch]` where the config embeds
    /// it, `condition` `f32[batch, image tokens, in − out]` where it reads more than latents, `reference`
    /// `f32[batch, reference tokens, out]` where the sizes have one, and `step` i32[]. The result is `velocity`, f32 of the
    /// shape of `latents`.
    pub fn lower(&self, sizes: &Sizes, dtype: DType) -> Result<Program, ModelError> {
        self.check().map_err(|why| ModelError::Unsupported { part: "transformer", why })?;
        let mut graph = GraphBuilder::new();
        self.build(&mut Scope::new(&mut graph, dtype), sizes)?;
        Ok(Program::of_graph("flux_transformer", "full", sizes.steps, graph.finish()))
    }

    fn build(&self, s: &mut Scope, sizes: &Sizes) -> Result<(), GraphError> {
        let (rows, columns) = GEOMETRY.grid(sizes);
        let (batch, dtype, dim) = (sizes.batch, s.dtype(), self.inner_dim());
        let latents = self.tokens(s, sizes)?;
        let prompt =
            s.input("prompt", dtype, [batch, sizes.text_tokens, self.joint_attention_dim], Rate::Prompt)?;
        let temb = self.conditioning(s, sizes)?;

        let latents = s.cast("latents_cast", latents, dtype)?;
        let img = s.linear("x_embedder", "x_embedder", latents, dim, true)?;
        let txt = s.linear("context_embedder", "context_embedder", prompt, dim, true)?;
        let rope = self.rope(&mut s.module("pos_embed"), sizes)?;

        let mut streams = Streams { img, txt };
        for index in 0..self.num_layers {
            streams = self.double_block(&mut s.block("transformer_blocks", index), streams, temb, rope)?;
        }
        let mut h = s.add("h", Concat { axis: 1 }, &[streams.txt, streams.img])?;
        for index in 0..self.num_single_layers {
            h = self.single_block(&mut s.block("single_transformer_blocks", index), h, temb, rope)?;
        }
        let end = sizes.text_tokens + rows * columns;
        let img = s.slice("img_out", h, 1, sizes.text_tokens..end)?;
        let velocity = self.head(s, img, temb)?;
        s.output(names::VELOCITY, velocity);
        Ok(())
    }

    /// `time_text_embed`: timestep, guidance and pooled prompt as one `[batch, 1, dim]`.
    fn conditioning(&self, s: &mut Scope, sizes: &Sizes) -> Result<ValueId, GraphError> {
        let (batch, dtype) = (sizes.batch, s.dtype());
        let pooled = s.input("pooled", dtype, [batch, self.pooled_projection_dim], Rate::Prompt)?;
        let timesteps = s.input(names::TIMESTEPS, DType::F32, [sizes.steps, batch], Rate::Schedule)?;
        let guidance = match self.guidance_embeds {
            true => Some(s.input(names::GUIDANCE, DType::F32, [batch], Rate::Schedule)?),
            false => None,
        };
        let step = s.input("step", DType::I32, [], Rate::Latent)?;
        let timestep = s.add("timestep", Select {}, &[timesteps, step])?;

        let mut s = s.module("time_text_embed");
        let mut temb = self.sinusoidal(&mut s, "timestep", timestep)?;
        if let Some(guidance) = guidance {
            let embedded = self.sinusoidal(&mut s, "guidance", guidance)?;
            temb = s.binary("time_guidance", Binary::Add, temb, embedded)?;
        }
        let text = self.embedder(&mut s, "text", pooled)?;
        let temb = s.binary("time_text", Binary::Add, temb, text)?;
        s.reshape("temb", temb, [batch, 1, self.inner_dim()])
    }

    /// A scalar per sample through sines and cosines of its thousandfold and an MLP.
    fn sinusoidal(&self, s: &mut Scope, what: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let dtype = s.dtype();
        let x = s.cast(&format!("{what}_cast"), x, dtype)?;
        let x = s.scalar(&format!("{what}_scaled"), Binary::Mul, x, 1000.0)?;
        let op = TimestepEmbedding { dim: TIMESTEP_CHANNELS, max_period: Real::from(10_000.0) };
        let x = s.module("time_proj").add(&format!("{what}_proj"), op, &[x])?;
        let x = s.cast(&format!("{what}_proj_cast"), x, dtype)?;
        self.embedder(s, what, x)
    }

    /// Linear, SiLU, Linear.
    fn embedder(&self, s: &mut Scope, what: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let mut s = s.module(&format!("{what}_embedder"));
        let x = s.linear(&format!("{what}_linear_1"), "linear_1", x, self.inner_dim(), true)?;
        let x = s.unary(&format!("{what}_act"), Unary::Silu, x)?;
        s.linear(&format!("{what}_linear_2"), "linear_2", x, self.inner_dim(), true)
    }

    fn double_block(
        &self,
        s: &mut Scope,
        x: Streams,
        temb: ValueId,
        rope: ValueId,
    ) -> Result<Streams, GraphError> {
        let img_mod = self.modulation(s, "img_", "norm1", temb, 6)?;
        let txt_mod = self.modulation(s, "txt_", "norm1_context", temb, 6)?;
        let img_n = modulate(&mut s.module("norm1"), "img_n1", x.img, img_mod[0], img_mod[1])?;
        let txt_n = modulate(&mut s.module("norm1_context"), "txt_n1", x.txt, txt_mod[0], txt_mod[1])?;

        let mut attn = s.module("attn");
        let txt =
            self.heads(&mut attn, "txt_", txt_n, ["add_q_proj", "add_k_proj", "add_v_proj"], "norm_added")?;
        let img = self.heads(&mut attn, "img_", img_n, ["to_q", "to_k", "to_v"], "norm")?;
        let mut joint = [img[0]; 3];
        for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
            joint[part] = attn.add(name, Concat { axis: 1 }, &[txt[part], img[part]])?;
        }
        let a = self.attention(&mut attn, "", joint, rope)?;
        let (text, all) = (attn.fact(x.txt).shape[1], attn.fact(a).shape[1]);
        let txt_a = attn.slice("txt_attn", a, 1, 0..text)?;
        let img_a = attn.slice("img_attn", a, 1, text..all)?;
        let img_a = attn.linear("img_attn_out", "to_out.0", img_a, self.inner_dim(), true)?;
        let txt_a = attn.linear("txt_attn_out", "to_add_out", txt_a, self.inner_dim(), true)?;

        let txt = gated_residual(s, "txt_mid", x.txt, txt_mod[2], txt_a)?;
        let txt = self.feed_forward(s, ["txt_", "txt"], "norm2_context", "ff_context", txt, &txt_mod[3..])?;
        let img = gated_residual(s, "img_mid", x.img, img_mod[2], img_a)?;
        let img = self.feed_forward(s, ["img_", "img"], "norm2", "ff", img, &img_mod[3..])?;
        Ok(Streams { img, txt })
    }

    /// `x + gate · ff(modulate(layer_norm(x)))`; `[shift, scale, gate]` modulate.
    fn feed_forward(
        &self,
        s: &mut Scope,
        [prefix, result]: [&str; 2],
        norm: &str,
        module: &str,
        x: ValueId,
        modulation: &[ValueId],
    ) -> Result<ValueId, GraphError> {
        let named = |name: &str| format!("{prefix}{name}");
        let dim = self.inner_dim();
        let n = modulate(&mut s.module(norm), &named("n2"), x, modulation[0], modulation[1])?;
        let mut ff = s.module(module);
        let h = ff.linear(&named("ff_in"), "net.0.proj", n, 4 * dim, true)?;
        let h = ff.module("net.0").unary(&named("ff_act"), Unary::GeluTanh, h)?;
        let h = ff.linear(&named("ff_out"), "net.2", h, dim, true)?;
        gated_residual(s, result, x, modulation[2], h)
    }

    fn single_block(
        &self,
        s: &mut Scope,
        x: ValueId,
        temb: ValueId,
        rope: ValueId,
    ) -> Result<ValueId, GraphError> {
        let dim = self.inner_dim();
        let modulation = self.modulation(s, "", "norm", temb, 3)?;
        let n = modulate(&mut s.module("norm"), "n", x, modulation[0], modulation[1])?;
        let mlp = s.linear("mlp", "proj_mlp", n, 4 * dim, true)?;
        let mlp = s.module("act_mlp").unary("mlp_act", Unary::GeluTanh, mlp)?;
        let mut attn = s.module("attn");
        let qkv = self.heads(&mut attn, "s_", n, ["to_q", "to_k", "to_v"], "norm")?;
        let a = self.attention(&mut attn, "s_", qkv, rope)?;
        let both = s.add("attn_mlp", Concat { axis: 2 }, &[a, mlp])?;
        let out = s.linear("proj", "proj_out", both, dim, true)?;
        gated_residual(s, "h", x, modulation[2], out)
    }

    /// The `parts` chunks of an adaLN projection of `temb`, each `[batch, 1, dim]`.
    fn modulation(
        &self,
        s: &mut Scope,
        prefix: &str,
        module: &str,
        temb: ValueId,
        parts: usize,
    ) -> Result<Vec<ValueId>, GraphError> {
        let dim = self.inner_dim();
        let mut s = s.module(module);
        let x = s.unary(&format!("{prefix}temb_act"), Unary::Silu, temb)?;
        let x = s.linear(&format!("{prefix}mod"), "linear", x, parts * dim, true)?;
        let names = match parts {
            2 => &["scale", "shift"][..],
            3 => &["shift", "scale", "gate"],
            _ => &["shift1", "scale1", "gate1", "shift2", "scale2", "gate2"],
        };
        names
            .iter()
            .enumerate()
            .map(|(part, name)| s.slice(&format!("{prefix}{name}"), x, -1, part * dim..(part + 1) * dim))
            .collect()
    }

    /// Queries, keys and values per head, `[batch, tokens, heads, head_dim]`; queries and keys RMS-normed.
    fn heads(
        &self,
        s: &mut Scope,
        prefix: &str,
        x: ValueId,
        projections: [&str; 3],
        norm: &str,
    ) -> Result<[ValueId; 3], GraphError> {
        let fact = s.fact(x);
        let shape = [fact.shape[0], fact.shape[1], self.num_attention_heads, self.attention_head_dim];
        let mut parts = [x; 3];
        for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
            let flat =
                s.linear(&format!("{prefix}{name}_proj"), projections[part], x, self.inner_dim(), true)?;
            let raw = if name == "v" { "v" } else { &format!("{name}_raw") };
            parts[part] = s.reshape(&format!("{prefix}{raw}"), flat, shape)?;
        }
        for (part, name) in ["q", "k"].into_iter().enumerate() {
            let op = RmsNorm { eps: Real::from(NORM_EPS) };
            let module = format!("{norm}_{name}");
            parts[part] = s.norm(&format!("{prefix}{name}"), &module, op, parts[part], 3, &["weight"])?;
        }
        Ok(parts)
    }

    /// Rotary attention over `[batch, tokens, heads, head_dim]`, heads merged.
    fn attention(
        &self,
        s: &mut Scope,
        prefix: &str,
        [q, k, v]: [ValueId; 3],
        rope: ValueId,
    ) -> Result<ValueId, GraphError> {
        let q = s.add(&format!("{prefix}q_rope"), Rope {}, &[q, rope])?;
        let k = s.add(&format!("{prefix}k_rope"), Rope {}, &[k, rope])?;
        let scale = Real::from((self.attention_head_dim as f64).powf(-0.5));
        let a = s.add(
            &format!("{prefix}attn_heads"),
            Attention { scale, causal: false, bounded: false },
            &[q, k, v],
        )?;
        let fact = s.fact(a);
        let shape = [fact.shape[0], fact.shape[1], self.inner_dim()];
        s.reshape(&format!("{prefix}attn"), a, shape)
    }

    /// `norm_out` and `proj_out`, in f32 at the end.
    fn head(&self, s: &mut Scope, x: ValueId, temb: ValueId) -> Result<ValueId, GraphError> {
        let modulation = self.modulation(s, "out_", "norm_out", temb, 2)?;
        let n = modulate(&mut s.module("norm_out"), "out_n", x, modulation[1], modulation[0])?;
        let out = s.linear("proj_out", "proj_out", n, self.out(), true)?;
        s.cast("velocity", out, DType::F32)
    }
}

/// `layer_norm(x) · (1 + scale) + shift`
fn modulate(
    s: &mut Scope,
    name: &str,
    x: ValueId,
    shift: ValueId,
    scale: ValueId,
) -> Result<ValueId, GraphError> {
    let op = LayerNorm { eps: Real::from(NORM_EPS) };
    let norm = s.module("norm").add(&format!("{name}_norm"), op, &[x])?;
    let factor = s.scalar(&format!("{name}_factor"), Binary::Add, scale, 1.0)?;
    let scaled = s.binary(&format!("{name}_scaled"), Binary::Mul, norm, factor)?;
    s.binary(name, Binary::Add, scaled, shift)
}

/// `x + gate · update`
fn gated_residual(
    s: &mut Scope,
    name: &str,
    x: ValueId,
    gate: ValueId,
    update: ValueId,
) -> Result<ValueId, GraphError> {
    let gated = s.binary(&format!("{name}_gated"), Binary::Mul, gate, update)?;
    s.binary(name, Binary::Add, x, gated)
}
