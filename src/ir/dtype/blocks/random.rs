//! Random blocks, for measuring and testing.

use super::BlockFormat;
use half::f16;

/// How many blocks are enough to tell how large their numbers are.
const SAMPLE: usize = 64;

impl BlockFormat {
    /// `count` blocks with random codes, whose numbers are centred at 0 and have the standard deviation `deviation`, nearly.
    pub fn random(self, count: usize, deviation: f32, next: impl FnMut() -> u8) -> Vec<u8> {
        let mut blocks = vec![0; count * self.bytes()];
        blocks.fill_with(next);
        self.set_scales(&mut blocks, 1.0);
        let sample = self.sample(&blocks);
        let squares: f32 = sample.iter().map(|x| x * x).sum();
        let found = (squares / sample.len().max(1) as f32).sqrt();
        self.set_scales(&mut blocks, if found > 0.0 { deviation / found } else { deviation });
        blocks
    }

    fn sample(self, blocks: &[u8]) -> Vec<f32> {
        let blocks = &blocks[..blocks.len().min(SAMPLE * self.bytes())];
        let mut numbers = vec![0.0; blocks.len() / self.bytes() * self.elements()];
        (self.codec().decode)(blocks, &mut numbers);
        numbers
    }

    /// Sets the scale of every block, and its minimum to what puts the middle of its codes at 0.
    fn set_scales(self, blocks: &mut [u8], scale: f32) {
        for block in blocks.chunks_exact_mut(self.bytes()) {
            for (&at, factor) in self.halves().iter().zip([1.0, self.least_per_scale()]) {
                let half = f16::from_f32(scale * factor).to_le_bytes();
                block[at..at + half.len()].copy_from_slice(&half);
            }
        }
    }

    /// The second scale of a block in units of the first.
    fn least_per_scale(self) -> f32 {
        match self {
            Self::Q4_1 => -7.5,
            Self::Q5_1 => -15.5,
            Self::Q2K => 1.5,
            Self::Q4K => 7.5,
            Self::Q5K => 15.5,
            Self::Q4_0 | Self::Q5_0 | Self::Q8_0 | Self::Q3K | Self::Q6K => 0.0,
        }
    }
}
