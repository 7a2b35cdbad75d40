use super::{InferError, OpKind, Operator, Real, ensure, float};
use crate::{DType, Fact, Granularity, Scales};
use half::f16;
use serde::{Deserialize, Serialize};
use std::ops::RangeInclusive;

/// The codes of `x` and their scales, both computed from `x`.
///
/// - `i8`: `scale = max(max|x| / ((127 − quant_min) / 2), eps)`, `code = clamp(round_half_even(x · (1 / scale)),
///   quant_min, 127)`.
/// - `f8e4m3`: `scale = max(max|x| / 448, eps)`, `code = f8e4m3(clamp(x / scale, −448, 448))`.
///
/// All of it is computed in the scales' dtype, each operation rounded to it. (torchao 0.16, `quant_primitives.py`,
/// `choose_qparams_affine` and `quantize_affine`, and for f8e4m3 `_choose_scale_float8`.) A quantized weight is the
/// same function of its tensor, computed when it is loaded, with `quant_min` −128; weights may also be `u4`, with
/// `scale = (max x − min x) / 15`, `zero = min x + 8 · scale`, `code = clamp(round_half_even((x − min x) / scale), 0, 15)`
/// (as in tinygemm).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Quantize {
    /// `i8` or `f8e4m3`.
    pub dtype: DType,
    pub scales: Scales,
    /// The least code of `i8`, −127 or −128.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quant_min: Option<i8>,
    /// The smallest scale, so that a row of zeros has a positive one.
    pub eps: Real,
}

impl Quantize {
    /// The smallest scale of values quantized to `dtype`, so that a row of zeros has a positive one. The values are
    /// torchao's; its rule for `u4` has none.
    ///
    /// # Panics
    /// If nothing is quantized to `dtype`.
    pub fn least_scale(dtype: DType) -> f64 {
        match dtype {
            DType::I8 => f32::EPSILON.into(),
            DType::F8E4M3 | DType::U4 => 1e-12,
            DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::Block(_) => {
                unreachable!("nothing is quantized to {dtype}")
            }
        }
    }

    /// How a weight of type `fact` is made of the tensor that a checkpoint holds, if it is quantized.
    pub fn of_weight(fact: &Fact) -> Option<Self> {
        let scales = fact.scales.filter(|_| fact.is_well_formed())?;
        let dtype = fact.dtype;
        let quant_min = (dtype == DType::I8).then_some(i8::MIN);
        Some(Self { dtype, scales, quant_min, eps: Self::least_scale(dtype).into() })
    }

    /// `eps` as a number of the scales' type. Where that is 0, as of 1e-12 in f16, the smallest positive number of f16: else a row of
    /// zeros would have a scale of 0.
    pub fn smallest_scale(&self) -> f32 {
        let eps = self.scales.dtype.round(self.eps.0 as f32);
        if eps > 0.0 { eps } else { f16::MIN_POSITIVE_SUBNORMAL.to_f32() }
    }

    /// The least code.
    pub fn least(&self) -> f32 {
        self.quant_min.map_or(self.dtype.least() as f32, f32::from)
    }

    /// The divisor of `max|x|` that gives the scale of the values with a common scale; for unsigned codes, which have a zero
    /// point, the divisor of `max x − min x`. It is half the range of signed codes, and the whole range of unsigned ones.
    pub fn divisor(&self) -> f32 {
        let range = self.dtype.greatest() as f32 - self.least();
        if self.dtype.has_zero_points() { range } else { range / 2.0 }
    }
}

impl Operator for Quantize {
    const NAMES: &'static [&'static str] = &["quantize"];
    const KIND: OpKind = OpKind::Codes;

    fn arity(&self) -> RangeInclusive<usize> {
        1..=1
    }

    fn infer(&self, inputs: &[&Fact]) -> Result<Fact, InferError> {
        let x = inputs[0];
        float("the input", x)?;
        ensure!(!x.shape.is_empty(), "a scalar has no rows to quantize");
        ensure!(
            matches!(self.dtype, DType::I8 | DType::F8E4M3),
            "values are quantized to i8 or f8e4m3, not {}",
            self.dtype
        );
        ensure!(
            self.quant_min.is_none_or(|least| self.dtype == DType::I8 && matches!(least, -127 | -128)),
            "quant_min must be -127 or -128, and only i8 has one"
        );
        let is_positive = self.eps.0 > 0.0;
        ensure!(is_positive, "eps must be positive, not {}", self.eps.0);
        Ok(Fact::new(self.dtype, x.shape.clone()).scaled(self.scales))
    }

    /// A row with a scale of its own is quantized independently of the others.
    fn works_by_rows(&self) -> bool {
        self.scales.per != Granularity::Tensor
    }

    fn flops(&self, _inputs: &[&Fact], output: &Fact) -> u64 {
        super::per_element(4, output)
    }
}
