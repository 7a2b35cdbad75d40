//! Which steps compute and which reuse, as text.

use reflux_ir::pass::counted;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Whether each step computes; the first always does. Written as a digit each: `11010`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMask(pub(super) Vec<bool>);

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
            _ if self.0.len() != steps => Err(format!(
                "steps={self} describes {}, but the pass has {steps}",
                counted(self.0.len(), "step")
            )),
            Some(false) => {
                Err(format!("steps={self}: the first step has nothing to reuse, so it must compute"))
            }
            _ => Ok(self),
        }
    }
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
                "`{text}` is not a mask of steps: write 1 for each step that computes and 0 for each that reuses"
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
