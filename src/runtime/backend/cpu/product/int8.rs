//! Exact products of i8 codes in i32. AVX2 widens sixteen codes of each operand to i16, then multiplies them and adds
//! neighbours, giving eight i32, in one instruction. The compiler does not generate it, so intrinsics are used.

use super::{COLUMNS, MicroKernel, Number, multiply};
use crate::backend::cpu::matrix::Matrix;

/// Rows of a block of results.
const ROWS: usize = 2;

impl Number for i8 {
    type Sum = i32;

    fn multiply(x: Matrix<i8>, weight: Matrix<i8>, y: &mut [&mut [i32]]) {
        #[cfg(target_arch = "x86_64")]
        if let Some(simd) = pulp::x86::V3::try_new() {
            return simd.vectorize(
                #[inline(always)]
                || multiply::<avx2::Codes, ROWS>(avx2::Codes(simd), x, weight, y),
            );
        }
        multiply::<Portable, ROWS>(Portable, x, weight, y);
    }
}

#[derive(Clone, Copy)]
struct Portable;

impl MicroKernel for Portable {
    type Number = i8;

    fn dots<const N: usize>(self, x: [&[i8]; N], weights: [&[i8]; COLUMNS]) -> [[i32; COLUMNS]; N] {
        let dot =
            |x: &[i8], weight: &[i8]| x.iter().zip(weight).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        x.map(|x| weights.map(|weight| dot(x, weight)))
    }
}

/// Loops rather than closures over arrays, and everything inlined, because code that is not is compiled without AVX2.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{COLUMNS, MicroKernel};
    use pulp::x86::V3;
    use pulp::{cast, i8x16};

    #[derive(Clone, Copy)]
    pub struct Codes(pub V3);

    impl MicroKernel for Codes {
        type Number = i8;

        #[inline(always)]
        fn dots<const N: usize>(self, x: [&[i8]; N], weights: [&[i8]; COLUMNS]) -> [[i32; COLUMNS]; N] {
            let simd = self.0;
            let features = x[0].len();
            let steps = features / 16;
            let mut x_codes: [&[[i8; 16]]; N] = [&[]; N];
            for row in 0..N {
                x_codes[row] = &x[row].as_chunks().0[..steps];
            }
            let mut weight_codes: [&[[i8; 16]]; COLUMNS] = [&[]; COLUMNS];
            for column in 0..COLUMNS {
                weight_codes[column] = &weights[column].as_chunks().0[..steps];
            }
            let widen = |codes: [i8; 16]| simd.convert_i8x16_to_i16x16(cast::<_, i8x16>(codes));
            let mut sums = [[simd.splat_i32x8(0); COLUMNS]; N];
            for step in 0..steps {
                for column in 0..COLUMNS {
                    let weight = widen(weight_codes[column][step]);
                    for row in 0..N {
                        let x = widen(x_codes[row][step]);
                        let products = simd.multiply_wrapping_add_adjacent_i16x16(x, weight);
                        sums[row][column] = simd.wrapping_add_i32x8(sums[row][column], products);
                    }
                }
            }
            let mut totals = [[0; COLUMNS]; N];
            for row in 0..N {
                let pairs = simd.horizontal_add_pack_i32x8(sums[row][0], sums[row][1]);
                let others = simd.horizontal_add_pack_i32x8(sums[row][2], sums[row][3]);
                let halves: [i32; 2 * COLUMNS] = cast(simd.horizontal_add_pack_i32x8(pairs, others));
                for column in 0..COLUMNS {
                    totals[row][column] = halves[column] + halves[column + COLUMNS];
                    for i in 16 * steps..features {
                        totals[row][column] += i32::from(x[row][i]) * i32::from(weights[column][i]);
                    }
                }
            }
            totals
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::BurnBackend;
    use crate::ops::quantized;
    use burn::tensor::{DType, Shape, TensorData};
    use burn_flex::{Flex, FlexTensor};

    /// Reproducible codes, with the extreme ones frequent.
    fn codes(count: usize, seed: u32) -> Vec<i8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match state >> 29 {
                0 => -128,
                1 => 127,
                _ => (state >> 16) as u8 as i8,
            }
        };
        (0..count).map(|_| next()).collect()
    }

    fn product(x: &[i8], weight: &[i8], [rows, features, out]: [usize; 3]) -> Vec<i32> {
        let mut y = vec![0; rows * out];
        let x = Matrix::new(x, [rows, features], features);
        let weight = Matrix::new(weight, [out, features], features);
        super::super::product(x, weight, &mut y);
        y
    }

    fn exact(x: &[i8], weight: &[i8], features: usize) -> Vec<i32> {
        let dot = |x: &[i8], weight: &[i8]| -> i64 {
            x.iter().zip(weight).map(|(&a, &b)| i64::from(a) * i64::from(b)).sum()
        };
        let row = |x| weight.chunks_exact(features).map(move |weight| dot(x, weight) as i32);
        x.chunks_exact(features).flat_map(row).collect()
    }

    fn tensor(codes: &[i8], shape: &[usize]) -> FlexTensor {
        FlexTensor::from_data(TensorData::new(codes.to_vec(), Shape::from(shape.to_vec())))
    }

    /// Blocks and vectors left over in every direction, and products that are divided by rows and by columns.
    const SIZES: [[usize; 3]; 9] = [
        [1, 1, 1],
        [1, 15, 3],
        [2, 16, 4],
        [3, 17, 5],
        [7, 100, 9],
        [1, 600, 1030],
        [65, 257, 35],
        [33, 1290, 18],
        [5, 2000, 33],
    ];

    #[test]
    fn products_are_exact() {
        for [rows, features, out] in SIZES {
            let (x, weight) = (codes(rows * features, 1), codes(out * features, 2));
            let expected = exact(&x, &weight, features);
            assert_eq!(product(&x, &weight, [rows, features, out]), expected, "{rows}×{features}×{out}");
            let mut y = vec![0; rows * out];
            let x = Matrix::new(&x, [rows, features], features);
            let weight = Matrix::new(&weight, [out, features], features);
            multiply::<Portable, ROWS>(Portable, x, weight, &mut y.chunks_mut(out).collect::<Vec<_>>());
            assert_eq!(y, expected, "{rows}×{features}×{out}, portably");
        }
    }

    #[test]
    fn the_largest_sums_are_exact() {
        for (a, b) in [(-128, -128), (-128, 127), (-128, -127), (127, 127)] {
            let (x, weight) = (vec![a; 3 * 2000], vec![b; 5 * 2000]);
            let sum = 2000 * i32::from(a) * i32::from(b);
            assert_eq!(product(&x, &weight, [3, 2000, 5]), [sum; 15]);
        }
    }

    #[test]
    fn products_are_those_of_the_composed_op() {
        for [rows, features, out] in SIZES {
            let x = tensor(&codes(rows * features, 3), &[1, rows, features]);
            let weight = tensor(&codes(out * features, 4), &[out, features]);
            let composed = quantized::matmul_i8::<Flex>(x.clone(), weight.clone());
            let fast = Flex::matmul_i8(x, weight);
            assert_eq!((fast.layout().shape(), fast.dtype()), (composed.layout().shape(), DType::I32));
            assert_eq!(fast.storage::<i32>(), composed.to_contiguous().storage::<i32>());
        }
    }
}
