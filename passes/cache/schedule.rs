//! Which steps compute.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Whether each step computes; the first always does. Written as a digit each: `11010`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMask(Vec<bool>);

impl StepMask {
    /// Whether each step computes.
    pub fn iter(&self) -> impl Iterator<Item = bool> + '_ {
        self.0.iter().copied()
    }

    /// How many steps compute.
    pub fn computed(&self) -> usize {
        self.iter().filter(|&computes| computes).count()
    }

    /// The most steps one after the other that reuse.
    pub fn most_reused_in_a_row(&self) -> usize {
        self.0.split(|&computes| computes).map(<[bool]>::len).max().unwrap_or(0)
    }

    /// Whether every step does.
    pub fn all_compute(&self) -> bool {
        self.iter().all(|computes| computes)
    }

    /// The mask, if it is one for `steps` steps.
    pub(super) fn checked(self, steps: usize) -> Result<Self, String> {
        match self.0.first() {
            _ if self.0.len() != steps => {
                Err(format!("steps={self} is for {} steps, there are {steps} to choose from", self.0.len()))
            }
            Some(false) => {
                Err(format!("steps={self}: the first step has nothing to reuse, so it must compute"))
            }
            _ => Ok(self),
        }
    }
}

/// The steps before `start` compute, then every `interval`th from there on, and the first in any case (Pruna,
/// `algorithms/fora.py`, `get_cache_schedule`; with `start` 0, the FORA paper's).
pub fn periodic(steps: usize, interval: usize, start: usize) -> StepMask {
    let computes = |step: usize| step < start || (step - start).is_multiple_of(interval);
    StepMask((0..steps).map(|step| step == 0 || computes(step)).collect())
}

/// Steps of a time in the window, bounds excluded, compute if their number is a multiple of `interval`; others always
/// do (diffusers, `PyramidAttentionBroadcastHook`). `FasterCacheBlockHook` differs in the first step alone, which in the
/// window it does not compute, and then fails for want of something to reuse.
pub fn windowed(times: &[f32], interval: usize, window: [f64; 2]) -> StepMask {
    let computes = |(step, time): (usize, &f32)| !is_within(*time, window) || step.is_multiple_of(interval);
    StepMask(times.iter().enumerate().map(computes).collect())
}

fn is_within(time: f32, [low, high]: [f64; 2]) -> bool {
    (low as f32) < time && time < high as f32
}

impl fmt::Display for StepMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.iter().try_for_each(|computes| f.write_str(if computes { "1" } else { "0" }))
    }
}

impl FromStr for StepMask {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digit = |c: char| match c {
            '1' => Ok(true),
            '0' => Ok(false),
            _ => Err(format!(
                "`{text}` is no mask of steps: 1 for each step that computes, 0 for one that reuses"
            )),
        };
        text.chars().map(digit).collect::<Result<_, _>>().map(Self)
    }
}

impl Serialize for StepMask {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for StepMask {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periodic_is_prunas() {
        let printed = |steps, interval| periodic(steps, interval, 2).to_string();
        assert_eq!(printed(28, 2), "1110101010101010101010101010");
        assert_eq!(printed(28, 3), "1110010010010010010010010010");
        assert_eq!(printed(28, 4), "1110001000100010001000100010");
        let computed = |steps, interval| periodic(steps, interval, 2).computed();
        assert_eq!([computed(28, 2), computed(28, 3), computed(28, 4)], [15, 11, 9]);
        assert_eq!([computed(50, 2), computed(50, 3), computed(50, 4)], [26, 18, 14]);
        assert!(periodic(28, 1, 2).all_compute());
        assert!(periodic(5, 3, 10).all_compute());
        assert_eq!(periodic(7, 3, 0).to_string(), "1001001");
    }
}
