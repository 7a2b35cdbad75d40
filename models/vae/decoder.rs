//! The decoder: packed latents to a picture.

use super::VaeConfig;
use crate::error::ModelError;
use crate::geometry::{Geometry, Sizes};
use crate::names;
use reflux_ir::op::{Binary, Unary, Upsample};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};

impl VaeConfig {
    /// The decoder as a program of one variant `decode`.
    ///
    /// Input: `latents` `f32[batch, tokens, patch² · latent channels]`, packed as `geometry` has them. Result: `image`
    /// `f32[batch, 3, height, width]`, nominally in −1…1.
    pub fn lower(&self, sizes: &Sizes, geometry: &Geometry, dtype: DType) -> Result<Program, ModelError> {
        self.check_for(geometry)?;
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
        x = self.middle(&mut decoder, x, widest)?;
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
}
