//! The tokens of pictures that the transformer reads, and where they are.

use super::settings::{GEOMETRY, TransformerConfig};
use crate::geometry::Sizes;
use crate::names;
use reflux_ir::op::{Concat, PositionIds, Real, RopeTable};
use reflux_ir::{DType, GraphError, Rate, Scope, ValueId};

const ROPE_THETA: f64 = 10_000.0;

impl TransformerConfig {
    /// What is read of pictures, `[batch, tokens, in]`: latents, in each token followed by the condition, if there is one; then
    /// the tokens of the reference, if there is one.
    pub(super) fn tokens(&self, s: &mut Scope, sizes: &Sizes) -> Result<ValueId, GraphError> {
        let (batch, tokens) = (sizes.batch, GEOMETRY.image_tokens(sizes));
        let (latents, condition) = (self.out(), self.in_channels - self.out());
        let mut x = s.input(names::LATENTS, DType::F32, [batch, tokens, latents], Rate::Latent)?;
        if condition > 0 {
            let shape = [batch, tokens, condition];
            let condition = s.input(names::CONDITION, DType::F32, shape, Rate::Prompt)?;
            x = s.add("conditioned", Concat { axis: 2 }, &[x, condition])?;
        }
        if let Some((rows, columns)) = GEOMETRY.reference_grid(sizes) {
            let shape = [batch, rows * columns, self.in_channels];
            let reference = s.input(names::REFERENCE, DType::F32, shape, Rate::Prompt)?;
            x = s.add("pictures", Concat { axis: 1 }, &[x, reference])?;
        }
        Ok(x)
    }

    /// The rotations of all tokens: text, picture, and the reference, which is at another time.
    pub(super) fn rope(&self, s: &mut Scope, sizes: &Sizes) -> Result<ValueId, GraphError> {
        let table = RopeTable { axes: self.axes_dims_rope.clone(), theta: Real::from(ROPE_THETA) };
        let (rows, columns) = GEOMETRY.grid(sizes);
        let ids = s.add("ids", PositionIds { text: sizes.text_tokens, rows, columns, time: 0 }, &[])?;
        let Some((rows, columns)) = GEOMETRY.reference_grid(sizes) else {
            return s.add("rope", table, &[ids]);
        };
        let reference = s.add("reference_ids", PositionIds { text: 0, rows, columns, time: 1 }, &[])?;
        let own = s.add("picture_rope", table.clone(), &[ids])?;
        let others = s.add("reference_rope", table, &[reference])?;
        s.add("rope", Concat { axis: 1 }, &[own, others])
    }
}
