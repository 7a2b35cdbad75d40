//! Initial noise, drawn bit for bit as `torch.randn` draws it on the CPU.
//!
//! A seed gives the image it gives in diffusers only if the noise is the very same, so this
//! follows ATen (`native/cpu/DistributionTemplates.h`, `core/DistributionsHelper.h`, torch 2.11 on
//! x86 with AVX2) down to the rounding of every operation. Fewer than 16 values take a scalar
//! double-precision path, 16 and more a blocked one in the drawn type: `bf16` noise is therefore
//! *not* `f32` noise rounded, and a shorter draw is not the start of a longer one.

mod box_muller;
mod cephes;
mod mt19937;

use box_muller::BoxMuller;
use half::bf16;
use mt19937::Mt19937;
use std::f64::consts::PI;

/// Draws of at least this many values take torch's blocked path, in blocks of this size.
const BLOCK: usize = 16;

/// The state of a `torch.Generator("cpu")`: successive draws continue where the last one ended.
#[derive(Clone, Debug)]
pub struct TorchGenerator {
    engine: Mt19937,
    /// The sine half of the last scalar Box-Muller pair, which the next scalar draw returns.
    spare: Option<f64>,
}

impl TorchGenerator {
    /// The generator after `manual_seed(seed)`; like torch's it uses the low 32 bits only.
    pub fn new(seed: u64) -> Self {
        Self { engine: Mt19937::new(seed as u32), spare: None }
    }

    /// `torch.randn(n, dtype=torch.float32, generator=self)`.
    pub fn randn_f32(&mut self, n: usize) -> Vec<f32> {
        self.randn(n)
    }

    /// `torch.randn(n, dtype=torch.bfloat16, generator=self)`: drawn in `bf16`, from uniforms of 8 bits.
    pub fn randn_bf16(&mut self, n: usize) -> Vec<bf16> {
        self.randn(n)
    }

    fn randn<T: BoxMuller>(&mut self, n: usize) -> Vec<T> {
        if n < BLOCK {
            return (0..n).map(|_| T::from_f64(self.scalar_normal())).collect();
        }
        let mut values: Vec<T> = (0..n).map(|_| T::uniform(self.engine.next_u32())).collect();
        values.chunks_exact_mut(BLOCK).for_each(normal_fill);
        if !n.is_multiple_of(BLOCK) {
            // The last block overlaps the one before it and is drawn anew.
            let last = &mut values[n - BLOCK..];
            last.fill_with(|| T::uniform(self.engine.next_u32()));
            normal_fill(last);
        }
        values
    }

    /// `at::normal_distribution<double>(0, 1)`.
    fn scalar_normal(&mut self) -> f64 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        let (u1, u2) = (self.uniform_f64(), self.uniform_f64());
        let radius = (-2.0 * (-u2).ln_1p()).sqrt();
        let angle = 2.0 * PI * u1;
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// A uniform of 53 bits in [0, 1), of two words, the high one first.
    fn uniform_f64(&mut self) -> f64 {
        let (high, low) = (self.engine.next_u32(), self.engine.next_u32());
        let bits = (u64::from(high) << 32 | u64::from(low)) & ((1 << f64::MANTISSA_DIGITS) - 1);
        bits as f64 / (1u64 << f64::MANTISSA_DIGITS) as f64
    }
}

/// Turns a block of uniforms into normals: value `i` and value `i + 8` form a Box-Muller pair.
fn normal_fill<T: BoxMuller>(block: &mut [T]) {
    let (first, second) = block.split_at_mut(BLOCK / 2);
    for (a, b) in first.iter_mut().zip(second) {
        (*a, *b) = T::box_muller(*a, *b);
    }
}
