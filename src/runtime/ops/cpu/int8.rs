//! Products of i8 codes, exactly, in i32.
//!
//! Both matrices are row-major along what is summed, so each result is a dot product of two runs of bytes. AVX2 widens
//! sixteen codes of each to i16, multiplies them and adds neighbours to eight i32 in one instruction; a block of two by four
//! results keeps its sums in registers. The compiler does not find that by itself, so it is spelled out.

use rayon::prelude::*;

/// Multiply-adds below which a product is not worth dividing between threads.
const SHARE: usize = 1 << 18;

/// Codes of `x` that stay in the first-level cache while all weights pass by.
const NEAR: usize = 1 << 14;

/// `x` `[rows, features]` by `weight` `[out, features]`: `[rows, out]`.
pub fn product(x: &[i8], weight: &[i8], [rows, features, out]: [usize; 3]) -> Vec<i32> {
    let mut y = vec![0; rows * out];
    if y.is_empty() || features == 0 {
        return y;
    }
    let threads = rayon::current_num_threads();
    if rows * features * out < SHARE {
        tile(x, weight, features, &mut y);
    } else if rows < threads {
        let width = out.div_ceil(threads).max(SHARE / features).next_multiple_of(COLUMNS);
        y.par_chunks_mut(out).zip(x.par_chunks(features)).for_each(|(y, x)| {
            let parts = y.par_chunks_mut(width).zip(weight.par_chunks(width * features));
            parts.for_each(|(y, weight)| tile(x, weight, features, y));
        });
    } else {
        let shares = (rows * features).div_ceil(NEAR).next_multiple_of(threads);
        let height = rows.div_ceil(shares).next_multiple_of(ROWS);
        let parts = y.par_chunks_mut(height * out).zip(x.par_chunks(height * features));
        parts.for_each(|(y, x)| tile(x, weight, features, y));
    }
    y
}

/// Rows and columns of a block of results.
const ROWS: usize = 2;
const COLUMNS: usize = 4;

/// A product by one thread.
fn tile(x: &[i8], weight: &[i8], features: usize, y: &mut [i32]) {
    #[cfg(target_arch = "x86_64")]
    if let Some(simd) = pulp::x86::V3::try_new() {
        return simd.vectorize(
            #[inline(always)]
            || avx2::tile(simd, x, weight, features, y),
        );
    }
    portable(x, weight, features, y);
}

fn portable(x: &[i8], weight: &[i8], features: usize, y: &mut [i32]) {
    let rows = y.chunks_exact_mut(weight.len() / features).zip(x.chunks_exact(features));
    rows.for_each(|(y, x)| {
        for (y, weight) in y.iter_mut().zip(weight.chunks_exact(features)) {
            *y = x.iter().zip(weight).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum();
        }
    });
}

/// Loops, not closures over arrays, and inlined throughout: what is not inlined is compiled without AVX2.
#[cfg(target_arch = "x86_64")]
mod avx2 {
    use super::{COLUMNS, ROWS};
    use pulp::x86::V3;
    use pulp::{cast, i8x16};

    #[inline(always)]
    pub fn tile(simd: V3, x: &[i8], weight: &[i8], features: usize, y: &mut [i32]) {
        let out = weight.len() / features;
        for (block, weight) in weight.chunks(COLUMNS * features).enumerate() {
            let columns = block * COLUMNS..block * COLUMNS + weight.len() / features;
            // The last block may have fewer columns: its last one stands in for those that are missing.
            let mut weights: [&[i8]; COLUMNS] = [&[]; COLUMNS];
            for (column, part) in weights.iter_mut().enumerate() {
                let start = column.min(columns.len() - 1) * features;
                *part = &weight[start..start + features];
            }
            for (x, y) in x.chunks(ROWS * features).zip(y.chunks_mut(ROWS * out)) {
                if x.len() == features {
                    let [sums] = dots(simd, [x], weights);
                    y[columns.clone()].copy_from_slice(&sums[..columns.len()]);
                } else {
                    let (first, second) = x.split_at(features);
                    let sums = dots(simd, [first, second], weights);
                    for row in 0..ROWS {
                        let place = &mut y[row * out..][columns.clone()];
                        place.copy_from_slice(&sums[row][..columns.len()]);
                    }
                }
            }
        }
    }

    /// The dot product of each row of `x` with each of `weights`, all of one length.
    #[inline(always)]
    fn dots<const N: usize>(simd: V3, x: [&[i8]; N], weights: [&[i8]; COLUMNS]) -> [[i32; COLUMNS]; N] {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::{Target, quantized};
    use burn::tensor::{DType, Shape, TensorData};
    use burn_flex::{Flex, FlexTensor};

    /// Reproducible codes, the extreme ones often.
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
            portable(&x, &weight, features, &mut y);
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
