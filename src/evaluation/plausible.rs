//! Which numbers a measurement can have. Files say whatever they say, and what cannot have been measured is not shown.

use super::networks::NetworkMetric;
use super::summary::PictureResult;
use crate::pipeline::StageTime;
use std::fmt;

/// The numbers that a measurement can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// A time in seconds, up to thirty years.
    Seconds,
    /// A PSNR in dB; equal pictures have 100.
    Decibels,
    /// A distance relative to what it is one of.
    Distance,
    /// A number of steps.
    Steps,
    /// −1 to 1.
    Correlation,
    /// 0 to 1.
    Share,
    /// 0 to 100.
    Percent,
    /// What a network says.
    Score,
}

impl Range {
    /// Whether `value` is one of them.
    pub fn holds(self, value: f64) -> bool {
        match self {
            Self::Seconds | Self::Distance => (0.0..=1e9).contains(&value),
            Self::Decibels => (0.0..=100.0).contains(&value),
            Self::Steps => (0.0..=1e6).contains(&value),
            // Rounding may carry a cosine past 1.
            Self::Correlation => value.abs() <= 1.0 + 1e-6,
            Self::Share => (0.0..=1.0).contains(&value),
            // Rounding may carry a cosine past 1 here too.
            Self::Percent => (0.0..=100.0 + 1e-4).contains(&value),
            Self::Score => value.abs() <= 1e6,
        }
    }
}

/// In words, behind "is not".
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seconds => "a time of 0 to 1e9 seconds",
            Self::Distance => "a distance of 0 to 1e9",
            Self::Decibels => "between 0 and 100 dB",
            Self::Steps => "a number of 0 to 1e6 steps",
            Self::Correlation => "between -1 and 1",
            Self::Share => "between 0 and 1",
            Self::Percent => "between 0 and 100",
            Self::Score => "between -1e6 and 1e6",
        })
    }
}

/// A number, with its place in a file, and what it may be.
pub type Number = (String, f64, Range);

/// Refuses the first of `numbers` that cannot have been measured.
///
/// # Errors
/// Says which, and what it has to be.
pub fn check(numbers: Vec<Number>) -> Result<(), String> {
    match numbers.into_iter().find(|(_, value, range)| !range.holds(*value)) {
        Some((what, value, range)) => Err(format!("{what} is {value:?}, which is not {range}")),
        None => Ok(()),
    }
}

/// Those of a picture, whose place is `place`.
pub fn of_picture(place: &str, picture: &PictureResult) -> Vec<Number> {
    let PictureResult { seconds, computed_steps, psnr, ssim, latent_l2, trajectory_cosine, .. } = picture;
    let known = [
        ("seconds", Some(*seconds), Range::Seconds),
        ("computed_steps", Some(*computed_steps as f64), Range::Steps),
        ("psnr", *psnr, Range::Decibels),
        ("ssim", *ssim, Range::Correlation),
        ("latent_l2", *latent_l2, Range::Distance),
        ("trajectory_cosine", *trajectory_cosine, Range::Correlation),
    ];
    let known =
        known.into_iter().filter_map(|(name, value, range)| Some((format!("{place}{name}"), value?, range)));
    let scores = picture.scores.iter().map(|(metric, value)| of_score(place, *metric, *value));
    known.chain(scores).collect()
}

/// What a network says of a picture.
pub fn of_score(place: &str, metric: NetworkMetric, value: f64) -> Number {
    (format!("{place}{}", metric.title()), value, metric.range())
}

/// Those of stages, which are called `name`.
pub fn of_stages(name: &str, stages: &[StageTime]) -> Vec<Number> {
    stages.iter().map(|time| (format!("{name}: {}", time.stage), time.seconds, Range::Seconds)).collect()
}
