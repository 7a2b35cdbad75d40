//! Descriptions of products for cuBLASLt and for the tensor-core kernels.

use super::unsupported::Unsupported;
use super::view::{Pointer, View};
use reflux_ir::DType;

/// `y = x · Wᵀ (+ bias)`, all row-major: `x` `[m, k]`, `W` `[n, k]`, `y` `[m, n]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MatmulLaunch {
    pub kind: MatmulKind,
    pub m: usize,
    pub n: usize,
    pub k: usize,
    pub x: Pointer,
    pub x_stride: usize,
    pub weight: Pointer,
    pub weight_stride: usize,
    pub y: Pointer,
    pub y_stride: usize,
    pub bias: Option<Pointer>,
    /// Whether the tanh GELU of that is computed.
    pub gelu: bool,
}

impl MatmulLaunch {
    /// `y = x · Wᵀ` of these views.
    ///
    /// # Errors
    /// If the factors are of another dtype, or their rows are not evenly spaced.
    pub fn new(kind: MatmulKind, [x, weight, y]: [&View; 3]) -> Result<Self, Unsupported> {
        kind.check([x, weight])?;
        let matrix = |view: &View| {
            view.rows().ok_or_else(|| Unsupported("rows of a product are not evenly spaced".into()))
        };
        let ([m, k, x_stride], [n, _, weight_stride]) = (matrix(x)?, matrix(weight)?);
        let [_, _, y_stride] = matrix(y)?;
        let [x, weight, y] = [x, weight, y].map(Pointer::to);
        Ok(Self { kind, m, n, k, x, x_stride, weight, weight_stride, y, y_stride, bias: None, gelu: false })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MatmulKind {
    /// bf16 by bf16, summed in f32, result in bf16.
    Bf16,
    /// i8 by i8, result in i32.
    I8,
    /// f8e4m3 by f8e4m3, summed in f32, result in f32.
    F8,
}

impl MatmulKind {
    /// The dtype of both factors.
    pub fn factors(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::I8 => DType::I8,
            Self::F8 => DType::F8E4M3,
        }
    }

    /// Refuses factors that kernels of this kind would take for others.
    pub fn check(self, factors: [&View; 2]) -> Result<(), Unsupported> {
        match factors.into_iter().find(|view| view.dtype != self.factors()) {
            None => Ok(()),
            Some(view) => Err(products_of(view.dtype)),
        }
    }

    /// The dtype of cuBLASLt's result.
    pub fn sums(self) -> DType {
        match self {
            Self::Bf16 => DType::BF16,
            Self::I8 => DType::I32,
            Self::F8 => DType::F32,
        }
    }
}

/// Products of factors that no kernel takes.
pub fn products_of(dtype: DType) -> Unsupported {
    Unsupported(format!("products of {dtype} have no kernel, but those of bf16 have"))
}
