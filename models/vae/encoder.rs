//! The encoder: a picture to the distribution of its packed latents.

use super::VaeConfig;
use crate::error::ModelError;
use crate::geometry::{Geometry, Sizes};
use crate::names;
use reflux_ir::op::{Binary, Unary};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope, ValueId};

/// The bounds of the logarithm of the variance (`DiagonalGaussianDistribution` of diffusers).
const LOG_VARIANCE: [f64; 2] = [-30.0, 20.0];

impl VaeConfig {
    /// The encoder as a program of one variant `encode`.
    ///
    /// Input: `image` `f32[batch, 3, height, width]` in −1…1. Results: `mean` and `deviation` of the latents,
    /// `f32[batch, tokens, patch² · latent channels]`, packed as `geometry` has them and as the denoiser reads them:
    /// `(mean − shift_factor) · scaling_factor`, and `exp(½ · log variance) · scaling_factor`. A draw of the latents is
    /// `mean + deviation · noise`.
    pub fn lower_encoder(
        &self,
        sizes: &Sizes,
        geometry: &Geometry,
        dtype: DType,
    ) -> Result<Program, ModelError> {
        self.check_for(geometry)?;
        let mut graph = GraphBuilder::new();
        self.build_encoder(&mut Scope::new(&mut graph, dtype), sizes, geometry)?;
        Ok(Program::of_graph("vae_encoder", "encode", 1, graph.finish()))
    }

    fn build_encoder(&self, s: &mut Scope, sizes: &Sizes, geometry: &Geometry) -> Result<(), GraphError> {
        let [first, .., widest] = self.block_out_channels[..] else {
            unreachable!("there are two levels at least, as is checked")
        };
        let (latents, dtype) = (self.latent_channels, s.dtype());
        let picture = [sizes.batch, self.in_channels, sizes.height, sizes.width];
        let image = s.input(names::IMAGE, DType::F32, picture, Rate::Prompt)?;
        let image = s.cast("image_cast", image, dtype)?;
        let mut encoder = s.module("encoder");
        let mut x = encoder.conv2d("conv_in", "conv_in", image, first, 3)?;
        for (index, &channels) in self.block_out_channels.iter().enumerate() {
            let mut down = encoder.module(&format!("down_blocks.{index}"));
            let prefix = format!("down{index}");
            for layer in 0..self.layers_per_block {
                x = self.resnet(&mut down.block("resnets", layer), &prefix, x, channels)?;
            }
            if index + 1 < self.block_out_channels.len() {
                x = halve(&mut down.module("downsamplers.0"), &prefix, x, channels)?;
            }
        }
        x = self.middle(&mut encoder, x, widest)?;
        x = self.norm(&mut encoder, "norm_out", "conv_norm_out", x)?;
        x = encoder.module("conv_act").unary("act_out", Unary::Silu, x)?;
        x = encoder.conv2d("conv_out", "conv_out", x, 2 * latents, 3)?;
        if self.use_quant_conv {
            x = s.conv2d("quant", "quant_conv", x, 2 * latents, 1)?;
        }
        let moments = s.cast("moments", x, DType::F32)?;
        let mean = s.slice("raw_mean", moments, 1, 0..latents)?;
        let mean = match self.shift_factor {
            Some(shift) => s.scalar("shifted", Binary::Sub, mean, shift)?,
            None => mean,
        };
        let deviation = s.slice("log_variance", moments, 1, latents..2 * latents)?;
        let deviation = s.scalar("at_least", Binary::Max, deviation, LOG_VARIANCE[0])?;
        let deviation = s.scalar("at_most", Binary::Min, deviation, LOG_VARIANCE[1])?;
        let deviation = s.scalar("half", Binary::Mul, deviation, 0.5)?;
        let deviation = s.unary("raw_deviation", Unary::Exp, deviation)?;
        for (name, x) in [(names::MEAN, mean), (names::DEVIATION, deviation)] {
            let scaled = s.scalar(&format!("{name}_scaled"), Binary::Mul, x, self.scaling_factor)?;
            let packed = self.pack(s, name, scaled, sizes, geometry)?;
            s.output(name, packed);
        }
        Ok(())
    }

    /// `[batch, channels, height, width]` to packed tokens.
    fn pack(
        &self,
        s: &mut Scope,
        name: &str,
        x: ValueId,
        sizes: &Sizes,
        geometry: &Geometry,
    ) -> Result<ValueId, GraphError> {
        let (patch, (rows, columns)) = (geometry.patch, geometry.grid(sizes));
        let (batch, channels) = (sizes.batch, self.latent_channels);
        let x = s.reshape(&format!("{name}_patches"), x, [batch, channels, rows, patch, columns, patch])?;
        let x = s.transpose(&format!("{name}_rows"), x, &[0, 2, 4, 1, 3, 5])?;
        s.reshape(name, x, [batch, rows * columns, channels * patch * patch])
    }
}

/// A convolution in steps of two pixels with a row and a column of zeros after the last, as diffusers pads there: the results
/// of odd rows and columns of the one that keeps the size.
fn halve(s: &mut Scope, prefix: &str, x: ValueId, channels: usize) -> Result<ValueId, GraphError> {
    let x = s.conv2d(&format!("{prefix}_dense"), "conv", x, channels, 3)?;
    let shape = s.fact(x).shape.to_vec();
    let (batch, height, width) = (shape[0], shape[2] / 2, shape[3] / 2);
    let x = s.reshape(&format!("{prefix}_pairs"), x, [batch, channels, height, 2, width, 2])?;
    let x = s.slice(&format!("{prefix}_odd_rows"), x, 3, 1..2)?;
    let x = s.slice(&format!("{prefix}_odd"), x, 5, 1..2)?;
    s.reshape(prefix, x, [batch, channels, height, width])
}
