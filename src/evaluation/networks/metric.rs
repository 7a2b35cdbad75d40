//! The metrics that are networks.

use super::picture::{Placing, Reading, Scale};
use crate::evaluation::plausible::Range;
use crate::pipeline::{Filter, Image};
use reflux_ir::HostTensor;
use serde::{Deserialize, Serialize};

/// A metric that a network computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum NetworkMetric {
    /// The distance of two pictures in the features of a network (Zhang et al. 2018).
    Lpips,
    /// How well a picture fits its prompt: 100 times the cosine of what CLIP makes of both, at least 0 (Hessel et al. 2021).
    ClipScore,
    /// How good a picture looks, by itself (Agnolucci et al. 2024).
    Arniqa,
    /// How much people would like a picture for its prompt (Xu et al. 2023).
    ImageReward,
}

/// What is judged.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'s> {
    pub picture: &'s Image,
    /// The base's picture for the same prompt; any where the metric does not compare.
    pub base: &'s Image,
    pub prompt: &'s str,
}

/// What a network is given of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shown {
    /// The picture that is judged.
    Picture(Reading),
    /// That of the base.
    Base(Reading),
}

impl Shown {
    /// How it is read.
    pub(super) fn reading(self) -> Reading {
        let (Self::Picture(reading) | Self::Base(reading)) = self;
        reading
    }

    /// The same picture, read otherwise.
    pub(super) fn with(self, reading: Reading) -> Self {
        match self {
            Self::Picture(_) => Self::Picture(reading),
            Self::Base(_) => Self::Base(reading),
        }
    }

    /// What a network is given.
    pub(super) fn tensor(self, subject: Subject) -> HostTensor {
        match self {
            Self::Picture(reading) => reading.tensor(subject.picture),
            Self::Base(reading) => reading.tensor(subject.base),
        }
    }
}

impl NetworkMetric {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Lpips, Self::ClipScore, Self::Arniqa, Self::ImageReward];

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Lpips => "LPIPS",
            Self::ClipScore => "CLIP score",
            Self::Arniqa => "ARNIQA",
            Self::ImageReward => "ImageReward",
        }
    }

    /// What it is, in a sentence.
    pub fn help(self) -> &'static str {
        match self {
            Self::Lpips => {
                "Median distance of pictures to the base's in a network's features; 0 are equal pictures"
            }
            Self::ClipScore => "Median CLIP score: how well pictures fit their prompts, 0 to 100",
            Self::Arniqa => "Median ARNIQA: how good pictures look by themselves, 0 to 1",
            Self::ImageReward => "Median ImageReward: how much people would like pictures for their prompts",
        }
    }

    /// How many decimals of it tell pictures apart.
    pub fn decimals(self) -> usize {
        match self {
            Self::ClipScore => 2,
            Self::Lpips | Self::Arniqa | Self::ImageReward => 3,
        }
    }

    /// Whether it compares a picture with the base's, which then has none itself.
    pub fn compares(self) -> bool {
        self == Self::Lpips
    }

    /// The worse of two values.
    pub fn worse(self) -> fn(f64, f64) -> f64 {
        if self == Self::Lpips { f64::max } else { f64::min }
    }

    /// The values that it can have.
    pub fn range(self) -> Range {
        match self {
            Self::Lpips => Range::Distance,
            Self::ClipScore => Range::Percent,
            Self::Arniqa | Self::ImageReward => Range::Score,
        }
    }

    /// The pictures that its network reads, in the order of the file, if that has so many inputs for pictures.
    ///
    /// Each is read as the metric's original in Python does: `lpips.im2tensor`, transformers' `CLIPImageProcessor`, torchmetrics'
    /// `arniqa` and, with two inputs, the original's `ARNIQA.forward`, and `ImageReward.utils._transform`.
    pub(super) fn pictures(self, inputs: usize) -> Option<Vec<Shown>> {
        let reading = |placing, scale| Reading { placing, scale };
        let square = |placing: fn(usize) -> Placing| reading(placing(CLIP_SIDE), Scale::Clip);
        match (self, inputs) {
            (Self::Lpips, 2) => {
                let whole = reading(Placing::Whole, Scale::Signed);
                Some(vec![Shown::Base(whole), Shown::Picture(whole)])
            }
            (Self::ClipScore, 1) => Some(vec![Shown::Picture(square(Placing::FlooredSquare))]),
            (Self::Arniqa, 1) => Some(vec![Shown::Picture(reading(Placing::Whole, Scale::Unit))]),
            (Self::Arniqa, 2) => {
                let half = Placing::Half(Filter::Bilinear);
                Some(
                    [Placing::Whole, half]
                        .map(|placing| Shown::Picture(reading(placing, Scale::ImageNet)))
                        .to_vec(),
                )
            }
            (Self::ImageReward, 1) => Some(vec![Shown::Picture(square(Placing::RoundedSquare))]),
            _ => None,
        }
    }

    /// How many tokens of the prompt its network reads if the file leaves that open; none if it reads no prompt.
    pub(super) fn tokens(self) -> Option<usize> {
        match self {
            Self::ClipScore => Some(77),
            Self::ImageReward => Some(35),
            Self::Lpips | Self::Arniqa => None,
        }
    }

    /// What a file has to read, in words.
    pub(super) fn inputs(self) -> &'static str {
        match self {
            Self::Lpips => "two pictures, f32[1, 3, height, width] in -1 to 1",
            Self::ClipScore => {
                "a picture, f32[1, 3, height, width], and a prompt's tokens and, if it has one, their mask, i64[1, tokens], as the \
                 export of a whole CLIPModel does"
            }
            Self::Arniqa => {
                "a picture, f32[1, 3, height, width] in 0 to 1, or one and its half, both normalized"
            }
            Self::ImageReward => {
                "a picture, f32[1, 3, height, width], and a prompt's tokens and their mask, i64[1, tokens]"
            }
        }
    }
}

/// The side of pictures for CLIP and BLIP, if the file leaves that open.
const CLIP_SIDE: usize = 224;
