use super::family::{self, family};
use super::{InferError, OpKind, Operator, ensure, per_element};
use crate::{DType, Fact};
use serde_json::{Map, Value};
use std::ops::RangeInclusive;

family! {
    /// `x · Wᵀ` of the codes alone: `x` is `[…, in]`, `W` a quantized `[out, in]`; the result is `[…, out]`.
    /// [`Rescale`](super::Rescale) then applies the scales.
    pub enum MatmulCodes {
        /// i8 by i8, exactly, in i32.
        MatmulI8 = "matmul_i8",
        /// f8e4m3 by f8e4m3, summed in f32.
        MatmulF8 = "matmul_f8",
        /// An unquantized `x` by i8, in the dtype of `x`.
        MatmulW8 = "matmul_w8",
    }
}

impl Operator for MatmulCodes {
    const NAMES: &'static [&'static str] = Self::MNEMONICS;
    const KIND: OpKind = OpKind::Contraction;

    fn name(&self) -> &'static str {
        self.mnemonic()
    }

    fn arity(&self) -> RangeInclusive<usize> {
        2..=2
    }

    fn takes_quantized(&self) -> bool {
        true
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let (x, weight) = (inputs[0], inputs[1]);
        let codes = match self {
            Self::MatmulF8 => DType::F8E4M3,
            Self::MatmulI8 | Self::MatmulW8 => DType::I8,
        };
        ensure!(
            weight.dtype == codes && weight.is_quantized() && weight.shape.len() == 2,
            "the weight must be a quantized {codes} [out, in], not {weight}"
        );
        let result = match self {
            Self::MatmulW8 => {
                ensure!(x.dtype.is_float(), "the input must be floating point, not {x}");
                x.dtype
            }
            Self::MatmulI8 | Self::MatmulF8 => {
                ensure!(
                    x.dtype == codes && x.is_quantized(),
                    "the input must be a quantized {codes}, not {x}"
                );
                if codes == DType::I8 { DType::I32 } else { DType::F32 }
            }
        };
        ensure!(
            x.shape.last() == Some(&weight.shape[1]),
            "the last extent of the input {} must be {}, as many as the weight has columns",
            x.shape,
            weight.shape[1]
        );
        let mut shape = x.shape.to_vec();
        *shape.last_mut().expect("checked above") = weight.shape[0];
        Ok(Fact::new(result, shape))
    }

    fn flops(&self, inputs: &[&Fact], output: &Fact) -> u64 {
        per_element(inputs[1].shape[1].saturating_mul(2), output)
    }

    fn from_text(name: &str, attributes: Map<String, Value>) -> Result<Self, serde_json::Error> {
        family::from_text(name, &attributes)
    }
}
