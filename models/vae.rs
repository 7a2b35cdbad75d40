//! The decoder of AutoencoderKL (diffusers, `models/autoencoders/{autoencoder_kl,vae}.py`).

use crate::architecture::{Architecture, Setting, ShapeOf, Untold, extent};
use crate::error::ModelError;
use crate::geometry::{Geometry, Sizes};
use crate::names;
use crate::settings::{Component, EXTENTS, Fixed, Settings, positive, within};
use reflux_ir::op::{Attention, Binary, GroupNorm, Real, Unary, Upsample};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};
use serde::Deserialize;
use std::ops::RangeInclusive;

/// The autoencoder of Stable Diffusion and FLUX.1; only its decoder is used.
pub static AUTOENCODER_KL: Architecture = Architecture {
    title: "an autoencoder (VAE)",
    class: "AutoencoderKL",
    model_type: None,
    prefixes: &["", "vae.", "first_stage_model.", "model."],
    settings: Some(settings_of),
    refuse: None,
};

/// `config.json` of an AutoencoderKL.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct VaeConfig {
    pub out_channels: usize,
    pub latent_channels: usize,
    pub block_out_channels: Vec<usize>,
    pub layers_per_block: usize,
    pub norm_num_groups: usize,
    pub scaling_factor: f64,
    #[serde(default)]
    pub shift_factor: Option<f64>,
    #[serde(default = "yes")]
    pub use_post_quant_conv: bool,
    #[serde(default = "yes")]
    pub mid_block_add_attention: bool,
}

fn yes() -> bool {
    true
}

const NORM_EPS: f64 = 1e-6;

/// The number of levels that is accepted; each halves the size of pictures.
const LEVELS: RangeInclusive<usize> = 2..=10;

impl Component for VaeConfig {
    const SETTINGS: Settings = Settings {
        fixed: &[
            ("_class_name", Fixed::Name(&["AutoencoderKL"])),
            ("act_fn", Fixed::Name(&["silu", "swish"])),
            ("up_block_types", Fixed::Names("UpDecoderBlock2D")),
            ("down_block_types", Fixed::Names("DownEncoderBlock2D")),
        ],
        // Of training and of the encoder.
        without_effect: Some(&["force_upcast", "in_channels", "sample_size", "use_quant_conv"]),
        fix: "give the AutoencoderKL of a FLUX.1 model",
    };

    fn check(&self) -> Result<(), String> {
        let levels = &self.block_out_channels;
        if !LEVELS.contains(&levels.len()) {
            let (least, most) = (LEVELS.start(), LEVELS.end());
            return Err(format!(
                "`block_out_channels` must have {least} to {most} levels, not {}",
                levels.len()
            ));
        }
        within("norm_num_groups", self.norm_num_groups, EXTENTS)?;
        for &channels in levels {
            within("block_out_channels", channels, EXTENTS)?;
            if !channels.is_multiple_of(self.norm_num_groups) {
                let groups = self.norm_num_groups;
                return Err(format!(
                    "`block_out_channels`, {levels:?}, must be multiples of `norm_num_groups`, {groups}"
                ));
            }
        }
        within("layers_per_block", self.layers_per_block, 0..=100)?;
        within("latent_channels", self.latent_channels, EXTENTS)?;
        if self.out_channels != 3 {
            return Err(format!(
                "`out_channels` must be 3, for red, green and blue, not {}",
                self.out_channels
            ));
        }
        positive("scaling_factor", self.scaling_factor)
    }

    /// Of the autoencoder that FLUX.1 and its relatives share: how latents are scaled is not told by shapes.
    fn of_shapes(shape: ShapeOf) -> Result<Self, Untold> {
        const LEVELS: [usize; 4] = [128, 256, 512, 512];
        let found = levels(shape);
        let latent_channels = extent(shape, "decoder.conv_in.weight", 1)?;
        if found != LEVELS || latent_channels != 16 {
            let why = format!(
                "it has {latent_channels} latent channels and levels of {found:?}, but the factors of latents are only known for \
                 FLUX.1's autoencoder, with 16 and {LEVELS:?}"
            );
            return Err(Untold::Why(why));
        }
        Ok(Self {
            out_channels: extent(shape, "decoder.conv_out.weight", 0)?,
            latent_channels,
            block_out_channels: found,
            layers_per_block: 2,
            norm_num_groups: 32,
            scaling_factor: 0.3611,
            shift_factor: Some(0.1159),
            use_post_quant_conv: shape("post_quant_conv.weight").is_some(),
            mid_block_add_attention: shape("decoder.mid_block.attentions.0.to_q.weight").is_some(),
        })
    }
}

/// The channels of the levels of an autoencoder, those of the largest pictures first.
fn levels(shape: ShapeOf) -> Vec<usize> {
    let channels =
        |level| extent(shape, &format!("decoder.up_blocks.{level}.resnets.0.conv1.weight"), 0).ok();
    let mut levels: Vec<usize> = (0..).map_while(channels).collect();
    levels.reverse();
    levels
}

/// The settings that tell autoencoders apart.
fn settings_of(shape: ShapeOf) -> Vec<Setting> {
    let latent = extent(shape, "decoder.conv_in.weight", 1).ok();
    let latent = latent.map(|channels| ("latent_channels", channels.to_string()));
    latent.into_iter().chain([("block_out_channels", format!("{:?}", levels(shape)))]).collect()
}

impl VaeConfig {
    /// Pixels per latent along each side.
    pub fn scale_factor(&self) -> usize {
        1 << self.block_out_channels.len().saturating_sub(1).min(usize::BITS as usize / 2)
    }

    /// Whether latents are as large as those of a family.
    ///
    /// # Errors
    /// The wrong setting, and what it should be.
    pub fn check_geometry(&self, geometry: &Geometry) -> Result<(), String> {
        let (levels, due) = (self.block_out_channels.len(), geometry.pixels_per_latent);
        if self.scale_factor() == due {
            return Ok(());
        }
        Err(format!(
            "`block_out_channels` must have {} levels, so that a latent is {due} pixels wide, not {levels}",
            due.ilog2() + 1
        ))
    }

    /// The decoder as a program of one variant `decode`.
    ///
    /// Input: `latents` `f32[batch, tokens, patch² · latent channels]`, packed as `geometry` has them. Result: `image`
    /// `f32[batch, 3, height, width]`, nominally in −1…1.
    pub fn lower(&self, sizes: &Sizes, geometry: &Geometry, dtype: DType) -> Result<Program, ModelError> {
        let checked = self.check().and_then(|()| self.check_geometry(geometry));
        checked.map_err(|why| ModelError::Unsupported { part: "autoencoder", why })?;
        let mut graph = GraphBuilder::new();
        self.build(&mut Scope::new(&mut graph, dtype), sizes, geometry)?;
        Ok(Program::of_graph("vae_decoder", "decode", 1, graph.finish()))
    }

    fn build(&self, s: &mut Scope, sizes: &Sizes, geometry: &Geometry) -> Result<(), GraphError> {
        let [first, .., widest] = self.block_out_channels[..] else {
            unreachable!("there are two levels at least, as is checked")
        };
        let z = self.unpack(s, sizes, geometry)?;
        let z = match self.use_post_quant_conv {
            true => s.conv2d("post_quant", "post_quant_conv", z, self.latent_channels, 1)?,
            false => z,
        };
        let mut decoder = s.module("decoder");
        let mut x = decoder.conv2d("conv_in", "conv_in", z, widest, 3)?;
        let mut mid = decoder.module("mid_block");
        x = self.resnet(&mut mid.block("resnets", 0), "mid", x, widest)?;
        if self.mid_block_add_attention {
            x = self.attention(&mut mid.module("attentions.0"), x)?;
        }
        x = self.resnet(&mut mid.block("resnets", 1), "mid", x, widest)?;
        for (index, &channels) in self.block_out_channels.iter().rev().enumerate() {
            let mut up = decoder.module(&format!("up_blocks.{index}"));
            let prefix = format!("up{index}");
            for layer in 0..=self.layers_per_block {
                x = self.resnet(&mut up.block("resnets", layer), &prefix, x, channels)?;
            }
            if index + 1 < self.block_out_channels.len() {
                let mut upsampler = up.module("upsamplers.0");
                x = upsampler.add(&format!("{prefix}_large"), Upsample { factor: 2 }, &[x])?;
                x = upsampler.conv2d(&prefix, "conv", x, channels, 3)?;
            }
        }
        debug_assert_eq!(decoder.fact(x).shape[1], first);
        let x = self.norm(&mut decoder, "norm_out", "conv_norm_out", x)?;
        let x = decoder.module("conv_act").unary("act_out", Unary::Silu, x)?;
        let x = decoder.conv2d("conv_out", "conv_out", x, self.out_channels, 3)?;
        let image = decoder.cast("image", x, DType::F32)?;
        s.output(names::IMAGE, image);
        Ok(())
    }

    /// Packed tokens to `[batch, channels, height, width]`, unscaled: `z / scaling_factor + shift_factor`.
    fn unpack(&self, s: &mut Scope, sizes: &Sizes, geometry: &Geometry) -> Result<ValueId, GraphError> {
        let (patch, (rows, columns)) = (geometry.patch, geometry.grid(sizes));
        let (batch, channels, dtype) = (sizes.batch, self.latent_channels, s.dtype());
        let packed = [batch, rows * columns, channels * patch * patch];
        let latents = s.input(names::LATENTS, DType::F32, packed, Rate::Latent)?;
        let z = s.scalar("unscaled", Binary::Div, latents, self.scaling_factor)?;
        let z = match self.shift_factor {
            Some(shift) => s.scalar("shifted", Binary::Add, z, shift)?,
            None => z,
        };
        let z = s.cast("z_cast", z, dtype)?;
        let z = s.reshape("patches", z, [batch, rows, columns, channels, patch, patch])?;
        let z = s.transpose("interleaved", z, &[0, 3, 1, 4, 2, 5])?;
        s.reshape("z", z, [batch, channels, rows * patch, columns * patch])
    }

    fn resnet(&self, s: &mut Scope, prefix: &str, x: ValueId, out: usize) -> Result<ValueId, GraphError> {
        let named = |name: &str| format!("{prefix}_{name}");
        let h = self.norm(s, &named("norm1"), "norm1", x)?;
        let h = s.module("nonlinearity").unary(&named("act1"), Unary::Silu, h)?;
        let h = s.conv2d(&named("conv1"), "conv1", h, out, 3)?;
        let h = self.norm(s, &named("norm2"), "norm2", h)?;
        let h = s.module("nonlinearity").unary(&named("act2"), Unary::Silu, h)?;
        let h = s.conv2d(&named("conv2"), "conv2", h, out, 3)?;
        let x = match s.fact(x).shape[1] == out {
            true => x,
            false => s.conv2d(&named("shortcut"), "conv_shortcut", x, out, 1)?,
        };
        s.binary(&named("res"), Binary::Add, x, h)
    }

    /// Self-attention over all pixels, with one head.
    fn attention(&self, s: &mut Scope, x: ValueId) -> Result<ValueId, GraphError> {
        let shape = s.fact(x).shape.to_vec();
        let (batch, channels, pixels) = (shape[0], shape[1], shape[2] * shape[3]);
        let n = self.norm(s, "attn_norm", "group_norm", x)?;
        let n = s.reshape("attn_flat", n, [batch, channels, pixels])?;
        let n = s.transpose("attn_tokens", n, &[0, 2, 1])?;
        let mut heads = [n; 3];
        for (part, name) in ["q", "k", "v"].into_iter().enumerate() {
            let flat = s.linear(&format!("attn_{name}_proj"), &format!("to_{name}"), n, channels, true)?;
            heads[part] = s.reshape(&format!("attn_{name}"), flat, [batch, pixels, 1, channels])?;
        }
        let op = Attention { scale: Real::from((channels as f64).powf(-0.5)), causal: false };
        let a = s.add("attn_head", op, &heads)?;
        let a = s.reshape("attn", a, [batch, pixels, channels])?;
        let a = s.linear("attn_out", "to_out.0", a, channels, true)?;
        let a = s.transpose("attn_channels", a, &[0, 2, 1])?;
        let a = s.reshape("attn_image", a, shape)?;
        s.binary("mid_attn", Binary::Add, a, x)
    }

    fn norm(&self, s: &mut Scope, name: &str, module: &str, x: ValueId) -> Result<ValueId, GraphError> {
        let op = GroupNorm { groups: self.norm_num_groups, eps: Real::from(NORM_EPS) };
        s.norm(name, module, op, x, 1, &["weight", "bias"])
    }
}
