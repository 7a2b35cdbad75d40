//! What differs between the backends that programs run on.

use super::{attention, elementwise, matrix, position};
use burn::tensor::backend::Backend;
use burn::tensor::ops::FloatTensor;
use burn_cuda::Cuda;
use reflux_ir::op::{Attention, Unary};

/// A burn backend that programs run on. The defaults are compositions of burn's own ops and hold everywhere; a backend
/// overrides what it has better means for.
pub trait Target: Backend {
    /// `function` of each element.
    fn unary(function: Unary, x: FloatTensor<Self>) -> FloatTensor<Self> {
        elementwise::unary::<Self>(function, x)
    }

    /// `x · Wᵀ + b` with `W` `[out, in]`.
    fn project(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        matrix::linear::<Self>(x, weight, bias)
    }

    /// Rotates pairs of `x` `[batch, tokens, heads, dim]` by the f32 table `[2, tokens, dim / 2]`.
    fn rope(x: FloatTensor<Self>, table: FloatTensor<Self>) -> FloatTensor<Self> {
        position::rope::<Self>(x, table)
    }

    /// `op` over `[batch, tokens, heads, dim]`.
    fn scaled_dot_product_attention(
        op: &Attention,
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        bias: Option<FloatTensor<Self>>,
    ) -> FloatTensor<Self> {
        attention::composed::<Self>(op, q, k, v, bias)
    }
}

impl Target for Cuda {}
