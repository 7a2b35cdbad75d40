//! The 32-bit Mersenne Twister.

const N: usize = 624;
const M: usize = 397;
const MATRIX_A: u32 = 0x9908_b0df;
const UPPER_MASK: u32 = 0x8000_0000;

/// MT19937 (Matsumoto and Nishimura, ACM TOMACS 8(1), 1998), seeded as `init_genrand` of its
/// 2002 reference code does, which is also what torch's CPU generator uses.
#[derive(Clone, Debug)]
pub(super) struct Mt19937 {
    state: [u32; N],
    /// The next word of `state` to hand out; `N` when all are used up.
    next: usize,
}

impl Mt19937 {
    pub(super) fn new(seed: u32) -> Self {
        let mut state = [seed; N];
        for i in 1..N {
            let last = state[i - 1];
            state[i] = (last ^ (last >> 30)).wrapping_mul(1_812_433_253).wrapping_add(i as u32);
        }
        Self { state, next: N }
    }

    pub(super) fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.twist();
        }
        let mut word = self.state[self.next];
        self.next += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn twist(&mut self) {
        for i in 0..N {
            let mixed = (self.state[i] & UPPER_MASK) | (self.state[(i + 1) % N] & !UPPER_MASK);
            let twisted = (mixed >> 1) ^ if mixed & 1 == 1 { MATRIX_A } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ twisted;
        }
        self.next = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::Mt19937;

    #[test]
    fn matches_the_reference_sequence() {
        // The C++ standard fixes the 10,000th output of mt19937 with its default seed 5489.
        let mut engine = Mt19937::new(5489);
        assert_eq!((0..10_000).map(|_| engine.next_u32()).last(), Some(4_123_659_995));
    }
}
