//! Parsing of seeds in arguments.

use super::console::say;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::str::FromStr;

/// A seed, or the wish to have one drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeedArg {
    Given(u64),
    Drawn,
}

impl SeedArg {
    /// The seed; one that is drawn is told before anything is done with it.
    pub fn number(self) -> u64 {
        let seed = self.number_unsaid();
        if self == Self::Drawn {
            say(format_args!("random seed {seed}"));
        }
        seed
    }

    /// The seed, for what tells it in any case.
    pub fn number_unsaid(self) -> u64 {
        match self {
            Self::Given(seed) => seed,
            // Generators look at 32 bits, and so few can be typed again.
            Self::Drawn => RandomState::new().build_hasher().finish() & u64::from(u32::MAX),
        }
    }
}

impl FromStr for SeedArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "-1" || text.eq_ignore_ascii_case("random") {
            return Ok(Self::Drawn);
        }
        text.parse().map(Self::Given).map_err(|_| {
            format!("a seed is a whole number from 0 to {} (2^64 - 1), or -1 for a random one", u64::MAX)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn minus_one_draws() {
        assert_eq!("18446744073709551615".parse(), Ok(SeedArg::Given(u64::MAX)));
        assert_eq!(("-1".parse(), "Random".parse()), (Ok(SeedArg::Drawn), Ok(SeedArg::Drawn)));
        for wrong in ["18446744073709551616", "-2", "0x2a", "1e3", "", "lucky"] {
            assert!(
                wrong.parse::<SeedArg>().unwrap_err().starts_with("a seed is a whole number from 0 to 1844")
            );
        }
        assert!(SeedArg::Drawn.number_unsaid() <= u64::from(u32::MAX));
        assert_ne!(SeedArg::Drawn.number_unsaid(), SeedArg::Drawn.number_unsaid());
    }
}
