//! Which steps compute and which reuse, as text.

use reflux_ir::pass::counted;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Whether each step computes; the first always does. Written as a digit each, `11010`, or by the name of a published one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepMask(pub(super) Vec<bool>);

/// Schedules for FLUX.1-dev in 50 steps that a search has found with what all blocks add to the picture, and that reuses, as
/// `magcache` does (BudCache, arXiv 2606.13496). The digits are the paper's: 1 is a step that reuses.
const PUBLISHED: [(&str, &str); 2] = [
    ("budcache-k29", "00001000111010010011011011110111011110111011010110"),
    ("budcache-k37", "00000101111011101111101111111011111111101111101110"),
];

impl StepMask {
    /// The published schedule called `name`.
    fn published(name: &str) -> Option<Self> {
        let (_, reused) = PUBLISHED.iter().find(|(known, _)| *known == name)?;
        Some(Self(reused.chars().map(|digit| digit == '0').collect()))
    }

    /// Its name, if it is a published one.
    fn name(&self) -> Option<&'static str> {
        PUBLISHED.iter().map(|(name, _)| *name).find(|name| Self::published(name).as_ref() == Some(self))
    }

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
            _ if self.0.len() != steps => Err(match self.name() {
                Some(name) => format!(
                    "steps={name} is a schedule for {}, but the pass has {steps}: draw with as many, or name the steps that compute, a \
                     digit each",
                    counted(self.0.len(), "step")
                ),
                None => format!(
                    "steps={self} describes {}, but the pass has {steps}",
                    counted(self.0.len(), "step")
                ),
            }),
            Some(false) => {
                Err(format!("steps={self}: the first step has nothing to reuse, so it must compute"))
            }
            _ => Ok(self),
        }
    }
}

impl FromIterator<bool> for StepMask {
    fn from_iter<T: IntoIterator<Item = bool>>(computes: T) -> Self {
        Self(computes.into_iter().collect())
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
        if let Some(published) = Self::published(text) {
            return Ok(published);
        }
        let known = PUBLISHED.map(|(name, _)| name).join(" or ");
        let digit = |c: char| match c {
            '1' => Ok(true),
            '0' => Ok(false),
            _ => Err(format!(
                "`{text}` is not a mask of steps: write 1 for each step that computes and 0 for each that reuses, or {known}"
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
