//! What a search is for.

use crate::Error;
use serde::Serialize;
use std::fmt;

/// How many steps compute.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Goal {
    /// So many.
    Computed(usize),
    /// So much of all, above 0 and at most 1.
    Budget(f64),
    /// The fewest with which the median picture reaches this, in dB.
    MinPsnr(f64),
}

impl Goal {
    /// How many of `steps` steps may compute, from the fewest.
    ///
    /// # Errors
    /// If that leaves nothing to search.
    pub fn computed(self, steps: usize) -> Result<Vec<usize>, Error> {
        let refused = |what, range: String, found: String| Err(Error::Range { what, range, found });
        let most = steps.saturating_sub(1);
        if most == 0 {
            let range = "at least 2, so that one can reuse".to_owned();
            return refused("the number of steps", range, steps.to_string());
        }
        match self {
            Self::Computed(computed) if !(1..=most).contains(&computed) => refused(
                "the number of computed steps",
                format!("1 to {most}, of {steps} steps"),
                computed.to_string(),
            ),
            Self::Computed(computed) => Ok(vec![computed]),
            Self::Budget(share) if !(share > 0.0 && share < 1.0) => {
                refused("the budget", "above 0 and below 1".to_owned(), share.to_string())
            }
            Self::Budget(share) => Ok(vec![((share * steps as f64).round() as usize).clamp(1, most)]),
            Self::MinPsnr(least) if !(least > 0.0 && least <= 100.0) => {
                refused("the least PSNR", "above 0 and at most 100 dB".to_owned(), least.to_string())
            }
            Self::MinPsnr(_) => Ok((1..=most).collect()),
        }
    }
}

/// What of the pictures is compared with those where every step computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Objective {
    /// The mean relative L2 distance of final latents.
    Latents,
    /// The mean root mean square difference of pixels, 0 to 255.
    Pictures,
}

impl fmt::Display for Objective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Latents => "latents",
            Self::Pictures => "pictures",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_leave_something_to_search() {
        assert_eq!(Goal::Budget(0.4).computed(28).unwrap(), [11]);
        assert_eq!(Goal::Budget(0.001).computed(28).unwrap(), [1]);
        assert_eq!(Goal::Computed(8).computed(20).unwrap(), [8]);
        assert_eq!(Goal::MinPsnr(30.0).computed(4).unwrap(), [1, 2, 3]);
        for (goal, steps, part) in [
            (Goal::Computed(20), 20, "1 to 19, of 20 steps, not 20"),
            (Goal::Computed(0), 20, "not 0"),
            (Goal::Budget(1.0), 20, "the budget must be above 0 and below 1"),
            (Goal::Budget(f64::NAN), 20, "the budget"),
            (Goal::MinPsnr(-1.0), 20, "the least PSNR"),
            (Goal::Budget(0.5), 1, "the number of steps must be at least 2"),
        ] {
            let error = goal.computed(steps).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
