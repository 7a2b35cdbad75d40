//! Blocks that the encoder and the decoder share.

use super::VaeConfig;
use crate::error::ModelError;
use crate::geometry::Geometry;
use crate::settings::Component;
use reflux_ir::op::{Attention, Binary, GroupNorm, Real, Unary};
use reflux_ir::{GraphError, Scope, ValueId};

const NORM_EPS: f64 = 1e-6;

impl VaeConfig {
    /// Checks the configuration before it is lowered for pictures of this geometry.
    ///
    /// # Errors
    /// [`ModelError::Unsupported`].
    pub(super) fn check_for(&self, geometry: &Geometry) -> Result<(), ModelError> {
        let checked = self.check().and_then(|()| self.check_geometry(geometry));
        checked.map_err(|why| ModelError::Unsupported { part: "autoencoder", why })
    }

    /// `mid_block`: two residual blocks, with attention between them.
    pub(super) fn middle(&self, s: &mut Scope, x: ValueId, channels: usize) -> Result<ValueId, GraphError> {
        let mut mid = s.module("mid_block");
        let mut x = self.resnet(&mut mid.block("resnets", 0), "mid", x, channels)?;
        if self.mid_block_add_attention {
            x = self.attention(&mut mid.module("attentions.0"), x)?;
        }
        self.resnet(&mut mid.block("resnets", 1), "mid", x, channels)
    }

    pub(super) fn resnet(
        &self,
        s: &mut Scope,
        prefix: &str,
        x: ValueId,
        out: usize,
    ) -> Result<ValueId, GraphError> {
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
        let op = Attention { scale: Real::from((channels as f64).powf(-0.5)), causal: false, bounded: false };
        let a = s.add("attn_head", op, &heads)?;
        let a = s.reshape("attn", a, [batch, pixels, channels])?;
        let a = s.linear("attn_out", "to_out.0", a, channels, true)?;
        let a = s.transpose("attn_channels", a, &[0, 2, 1])?;
        let a = s.reshape("attn_image", a, shape)?;
        s.binary("mid_attn", Binary::Add, a, x)
    }

    pub(super) fn norm(
        &self,
        s: &mut Scope,
        name: &str,
        module: &str,
        x: ValueId,
    ) -> Result<ValueId, GraphError> {
        let op = GroupNorm { groups: self.norm_num_groups, eps: Real::from(NORM_EPS) };
        s.norm(name, module, op, x, 1, &["weight", "bias"])
    }
}
