//! Products of f32 numbers.

use super::{COLUMNS, MicroKernel, Number, multiply};
use crate::backend::cpu::matrix::Matrix;
use pulp::{Arch, Simd, WithSimd};

/// With [`COLUMNS`] columns, as many sums as there are registers for besides the factors.
pub const ROWS: usize = 3;

impl Number for f32 {
    type Sum = f32;

    fn multiply(x: Matrix<f32>, weight: Matrix<f32>, y: &mut [&mut [f32]]) {
        Arch::new().dispatch(Multiply { x, weight, y });
    }
}

struct Multiply<'a, 'y> {
    x: Matrix<'a, f32>,
    weight: Matrix<'a, f32>,
    y: &'a mut [&'y mut [f32]],
}

impl WithSimd for Multiply<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        multiply::<Vectors<S>, ROWS>(Vectors(simd), self.x, self.weight, self.y);
    }
}

#[derive(Clone, Copy)]
struct Vectors<S>(S);

impl<S: Simd> MicroKernel for Vectors<S> {
    type Number = f32;

    #[inline(always)]
    fn dots<const N: usize>(self, x: [&[f32]; N], weights: [&[f32]; COLUMNS]) -> [[f32; COLUMNS]; N] {
        let simd = self.0;
        let steps = x[0].len() / S::F32_LANES;
        let mut x_vectors: [&[S::f32s]; N] = [&[]; N];
        let mut x_rest: [&[f32]; N] = [&[]; N];
        for row in 0..N {
            let (vectors, rest) = S::as_simd_f32s(x[row]);
            (x_vectors[row], x_rest[row]) = (&vectors[..steps], rest);
        }
        let mut weight_vectors: [&[S::f32s]; COLUMNS] = [&[]; COLUMNS];
        let mut weight_rest: [&[f32]; COLUMNS] = [&[]; COLUMNS];
        for column in 0..COLUMNS {
            let (vectors, rest) = S::as_simd_f32s(weights[column]);
            (weight_vectors[column], weight_rest[column]) = (&vectors[..steps], rest);
        }
        let mut sums = [[simd.splat_f32s(0.0); COLUMNS]; N];
        for step in 0..steps {
            for column in 0..COLUMNS {
                let weight = weight_vectors[column][step];
                for row in 0..N {
                    sums[row][column] = simd.mul_add_e_f32s(x_vectors[row][step], weight, sums[row][column]);
                }
            }
        }
        if !x_rest[0].is_empty() {
            for column in 0..COLUMNS {
                let weight = simd.partial_load_f32s(weight_rest[column]);
                for row in 0..N {
                    let x = simd.partial_load_f32s(x_rest[row]);
                    sums[row][column] = simd.mul_add_e_f32s(x, weight, sums[row][column]);
                }
            }
        }
        let mut totals = [[0.0; COLUMNS]; N];
        for row in 0..N {
            for column in 0..COLUMNS {
                totals[row][column] = simd.reduce_sum_f32s(sums[row][column]);
            }
        }
        totals
    }
}
