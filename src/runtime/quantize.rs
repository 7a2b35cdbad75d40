//! Quantization of tensors in host memory: weights as they are loaded, and activations where the host holds them.

use half::f16;
use pulp::Arch;
use rayon::prelude::*;
use reflux_ir::dtype::f8e4m3;
use reflux_ir::op::Quantize;
use reflux_ir::{DType, Fact, Granularity, HostTensor, QuantizedTensor};

/// With fewer elements than this, another thread does not pay off.
const CHUNK: usize = 1 << 14;

/// `x`, of any float dtype, under `rule`, whose `dtype` may be `u4` too: see [`Quantize`]. Rows are quantized in
/// parallel, and beside `x` and the result no more than one row per thread is held.
pub fn quantize(x: &HostTensor, rule: &Quantize) -> QuantizedTensor {
    let fact = Fact::new(rule.dtype, x.shape.clone()).scaled(rule.scales);
    let width = fact.shape.columns() * x.dtype.bytes();
    quantize_whole(&fact, rule, || {
        |row, out: &mut [f32]| x.dtype.decode_into(&x.bytes[row * width..][..width], out)
    })
}

/// [`quantize_rows`] to new memory.
pub(crate) fn quantize_whole<R: FnMut(usize, &mut [f32])>(
    fact: &Fact,
    rule: &Quantize,
    reader: impl Fn() -> R + Sync,
) -> QuantizedTensor {
    let (codes, Factors { scales, zeros }) = quantize_rows(fact, rule, reader, |write| {
        let mut codes = vec![0; fact.shape.elements()];
        write(0, &mut codes);
        codes
    });
    QuantizedTensor { fact: fact.clone(), codes, scales, zeros }
}

/// What belongs to the codes of a [`QuantizedTensor`].
pub(crate) struct Factors {
    pub scales: Vec<f32>,
    pub zeros: Vec<f32>,
}

/// [`quantize`] of rows that are each written by what `reader` makes for each thread, to codes of a tensor of type `fact`.
/// `place` says where these go: it is given what makes the codes of the rows from one on, as many as there is room for, and has
/// to let it make all of them.
pub(crate) fn quantize_rows<R: FnMut(usize, &mut [f32]), T>(
    fact: &Fact,
    rule: &Quantize,
    reader: impl Fn() -> R + Sync,
    place: impl FnOnce(&mut dyn FnMut(usize, &mut [u8])) -> T,
) -> (T, Factors) {
    match rule.scales.dtype {
        DType::F32 => Quantizer::new(rule, |x| x).quantize(fact, reader, place),
        DType::BF16 => Quantizer::new(rule, round_to_bf16).quantize(fact, reader, place),
        DType::F16 => Quantizer::new(rule, |x| f16::from_f32(x).to_f32()).quantize(fact, reader, place),
        other @ (DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_)) => {
            unreachable!("scales in {other} are verified not to be")
        }
    }
}

/// As `bf16::from_f32` rounds, but without branches, so that loops over it become vector code. A NaN stays one unless all
/// of its lower bits are set, which no arithmetic gives.
#[inline(always)]
fn round_to_bf16(x: f32) -> f32 {
    let bits = x.to_bits();
    f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
}

/// A rule and what rounds to its scales' dtype, in which all of it is computed.
struct Quantizer<R> {
    codes: DType,
    per: Granularity,
    /// The least code.
    least: f32,
    /// See [`Quantize::divisor`].
    divisor: f32,
    eps: f32,
    round: R,
}

/// The scale of a group's codes, and the zero point, which is added after scaling.
#[derive(Clone, Copy, Default)]
struct Fit {
    scale: f32,
    zero: f32,
}

impl<R: Fn(f32) -> f32 + Sync> Quantizer<R> {
    fn new(rule: &Quantize, round: R) -> Self {
        Self {
            codes: rule.dtype,
            per: rule.scales.per,
            least: rule.least(),
            divisor: rule.divisor(),
            eps: rule.smallest_scale(),
            round,
        }
    }

    fn quantize<F: FnMut(usize, &mut [f32]), T>(
        &self,
        fact: &Fact,
        reader: impl Fn() -> F + Sync,
        place: impl FnOnce(&mut dyn FnMut(usize, &mut [u8])) -> T,
    ) -> (T, Factors) {
        let arch = Arch::new();
        let (rows, columns) = (fact.shape.rows(), fact.shape.columns());
        let size = self.per.extent(columns);
        let groups = columns.div_ceil(size);
        let share = CHUNK / columns + 1;
        let init = || (reader(), vec![0.0; columns]);
        let load = |read: &mut F, row: usize, values: &mut [f32]| {
            read(row, values);
            values.iter_mut().for_each(|x| *x = (self.round)(*x));
        };
        let whole = (self.per == Granularity::Tensor).then(|| {
            let extent = |(read, values): &mut (F, Vec<f32>), row| {
                load(read, row, values);
                arch.dispatch(|| Extent::of(values))
            };
            let rows = (0..rows).into_par_iter().with_min_len(share);
            rows.map_init(init, extent).reduce(|| Extent::NONE, Extent::join)
        });
        let mut fits = vec![Fit::default(); rows * groups];
        let placed = place(&mut |first, codes| {
            let fits = fits[first * groups..].par_chunks_mut(groups);
            let places = codes.par_chunks_mut(columns).zip(fits).enumerate();
            places.with_min_len(share).for_each_init(init, |(read, values), (row, (codes, fits))| {
                load(read, first + row, values);
                arch.dispatch(
                    #[inline(always)]
                    || {
                        let parts = values.chunks(size).zip(codes.chunks_mut(size));
                        for ((values, codes), fit) in parts.zip(fits) {
                            let extent = match whole {
                                Some(extent) => extent,
                                None => Extent::of(values),
                            };
                            *fit = self.encode(extent, values, codes);
                        }
                    },
                );
            });
        });
        if whole.is_some() {
            fits.truncate(1);
        }
        let scales = fits.iter().map(|fit| fit.scale).collect();
        let has_zeros = self.codes.has_zero_points();
        let zeros = if has_zeros { fits.iter().map(|fit| fit.zero).collect() } else { Vec::new() };
        (placed, Factors { scales, zeros })
    }

    /// The codes of values that share a scale.
    #[inline(always)]
    fn encode(&self, extent: Extent, values: &[f32], codes: &mut [u8]) -> Fit {
        let round = &self.round;
        let places = codes.iter_mut().zip(values);
        match self.codes {
            DType::U4 => {
                const GREATEST: f32 = DType::U4.greatest() as f32;
                const MASK: u8 = DType::U4.greatest() as u8;
                const MIDDLE: f32 = DType::U4.middle() as f32;
                let scale = round(round(extent.max() - extent.min()) / self.divisor);
                let min = extent.min();
                for (code, &x) in places {
                    // Two codes share a byte on some devices: what a NaN leaves must not reach the other.
                    *code = nearest(round(round(x - min) / scale).clamp(0.0, GREATEST)) & MASK;
                }
                Fit { scale, zero: round(min + round(MIDDLE * scale)) }
            }
            DType::F8E4M3 => {
                let scale = self.threshold(round(extent.largest() / self.divisor));
                for (code, &x) in places {
                    *code = f8e4m3::encode(round(x / scale));
                }
                Fit { scale, zero: 0.0 }
            }
            DType::I8 => {
                const GREATEST: f32 = DType::I8.greatest() as f32;
                let scale = self.threshold(round(extent.largest() / self.divisor));
                // Copied out of `self`, or it would be read again after every code is written.
                let (inverse, least) = (round(1.0 / scale), self.least);
                for (code, &x) in places {
                    *code = nearest(round(x * inverse).clamp(least, GREATEST));
                }
                Fit { scale, zero: 0.0 }
            }
            other @ (DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::Block(_)) => {
                unreachable!("nothing is quantized to {other}")
            }
        }
    }

    /// NaN stays NaN, so that it shows in the result.
    #[inline(always)]
    fn threshold(&self, scale: f32) -> f32 {
        if scale < self.eps { self.eps } else { scale }
    }
}

/// The integer nearest to `x`, of two the even one, in two's complement; of a NaN any byte. Adding 1.5 · 2²³ rounds to an
/// integer and leaves it in the lowest bits, which is faster than a conversion.
#[inline(always)]
fn nearest(x: f32) -> u8 {
    (x + 12_582_912.0).to_bits() as u8
}

/// The least and the largest of some values, as integers of the same order, with NaN beyond the infinities.
#[derive(Clone, Copy)]
struct Extent {
    min: i32,
    max: i32,
}

impl Extent {
    const NONE: Self = Self { min: i32::MAX, max: i32::MIN };

    #[inline(always)]
    fn of(values: &[f32]) -> Self {
        let mut extent = Self::NONE;
        for &x in values {
            let key = flip(x.to_bits() as i32);
            extent = Self { min: extent.min.min(key), max: extent.max.max(key) };
        }
        extent
    }

    fn join(self, other: Self) -> Self {
        Self { min: self.min.min(other.min), max: self.max.max(other.max) }
    }

    fn min(self) -> f32 {
        f32::from_bits(flip(self.min) as u32)
    }

    fn max(self) -> f32 {
        f32::from_bits(flip(self.max) as u32)
    }

    /// The largest absolute value.
    fn largest(self) -> f32 {
        let bits = |x: f32| x.abs().to_bits();
        f32::from_bits(bits(self.min()).max(bits(self.max())))
    }
}

/// From the bits of a float to an integer of the same order, and back.
#[inline(always)]
fn flip(bits: i32) -> i32 {
    bits ^ ((bits >> 31) & i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::bf16;

    fn rule(fact: &str, quant_min: Option<i8>, eps: f64) -> Quantize {
        let (codes, scales) = fact.split_once('.').unwrap();
        Quantize {
            dtype: codes.parse().unwrap(),
            scales: scales.parse().unwrap(),
            quant_min,
            eps: eps.into(),
        }
    }

    fn quantized(shape: [usize; 2], values: &[f32], rule: &Quantize) -> QuantizedTensor {
        quantize(&HostTensor::from_f32(shape, values), rule)
    }

    #[test]
    fn halves_go_to_even_and_the_ends_are_clamped() {
        // The scale is 1, so the code 127.5 means 127.5 · 1.
        let values = [127.5, -127.5, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5];
        let q = quantized([1, 8], &values, &rule("i8.row.f32", Some(-128), 1e-5));
        assert_eq!(q.scales, [1.0]);
        assert_eq!(
            q.codes.iter().map(|&code| code as i8).collect::<Vec<_>>(),
            [127, -128, 0, 2, 2, 0, -2, -2]
        );
        let q = quantized([1, 2], &[127.0, -127.0], &rule("i8.row.f32", Some(-127), 1e-5));
        assert_eq!((q.codes, q.scales), (vec![127, 129], vec![1.0]));
    }

    #[test]
    fn rows_and_groups_have_scales_of_their_own_and_a_tensor_has_one() {
        let values = [127.0, 1.0, 254.0, 508.0, 0.0, 0.0];
        let scales =
            |per: &str| quantized([2, 3], &values, &rule(&format!("i8.{per}.f32"), Some(-127), 0.5)).scales;
        assert_eq!(scales("tensor"), [4.0]);
        assert_eq!(scales("row"), [2.0, 4.0]);
        // The last group of a row is short; one of zeros has the threshold for a scale.
        assert_eq!(scales("group2"), [1.0, 2.0, 4.0, 0.5]);
        assert_eq!(scales("group64"), [2.0, 4.0]);
    }

    #[test]
    fn u4_reaches_from_the_least_to_the_largest() {
        let q = quantized(
            [2, 4],
            &[-1.0, 0.0, 1.0, 6.5, 3.0, 3.0, 3.0, 3.0],
            &rule("u4.group4.f32", None, 1e-12),
        );
        // Steps of a half from −1 on; then a group of one value, which is its own zero point.
        assert_eq!((q.scales, q.zeros), (vec![0.5, 0.0], vec![3.0, 3.0]));
        assert_eq!(q.codes, [0, 2, 4, 15, 0, 0, 0, 0]);
    }

    #[test]
    fn bf16_is_rounded_as_half_does() {
        let patterns = (0..=u16::MAX)
            .flat_map(|high| [0, 1, 0x7fff, 0x8000, 0x8001, 0xfffe].map(|low| u32::from(high) << 16 | low));
        for x in patterns.map(f32::from_bits) {
            let (ours, halfs) = (round_to_bf16(x), bf16::from_f32(x).to_f32());
            assert!(
                ours == halfs || ours.is_nan() && halfs.is_nan() || x.is_nan(),
                "{x:e}: {ours:e}, {halfs:e}"
            );
        }
    }

    #[test]
    fn each_operation_is_rounded_to_the_scales_dtype() {
        let values: Vec<f32> = (0..300).map(|i| ((i * 7919) % 601) as f32 / 97.0 - 3.0).collect();
        let q = quantized([1, 300], &values, &rule("i8.row.bf16", Some(-128), 1e-12));
        let round = |x: f32| bf16::from_f32(x).to_f32();
        let largest = values.iter().map(|x| round(x.abs())).fold(0.0, f32::max);
        let scale = round(largest / 127.5);
        assert_eq!(q.scales, [scale]);
        for (code, x) in q.codes.iter().zip(values) {
            let expected = round(round(x) * round(1.0 / scale)).round_ties_even().clamp(-128.0, 127.0);
            assert_eq!(f32::from(*code as i8), expected, "{x}");
        }
    }

    #[test]
    fn a_nan_shows_in_the_scale_and_zeros_do_not_make_one() {
        for codes in ["i8", "f8e4m3", "u4"] {
            let rule = rule(&format!("{codes}.row.f16"), None, 1e-12);
            let q = quantized([2, 3], &[1.0, f32::NAN, 2.0, 0.0, 0.0, 0.0], &rule);
            assert!(q.scales[0].is_nan() && !q.scales[1].is_nan(), "{codes}");
            assert_eq!(q.codes[3..], [0; 3], "{codes}");
            let any_nan = f32::from_bits(0x7fc0_00ff);
            let q = quantized([1, 2], &[1.0, any_nan], &rule);
            assert_eq!(q.check(), Ok(()), "{codes}");
        }
    }
}
