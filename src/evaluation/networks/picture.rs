//! Pictures as networks read them.

use crate::pipeline::{Filter, Image};
use reflux_ir::HostTensor;

/// How a picture becomes a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    pub placing: Placing,
    pub scale: Scale,
}

/// The size of what is read, and what is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placing {
    /// At its own size.
    Whole,
    /// At half its size, rounded down.
    Half(Filter),
    /// A square of this side from its middle, after its shorter side was made as long, bicubically, as transformers'
    /// `CLIPImageProcessor` does.
    FlooredSquare(usize),
    /// The same as torchvision does, which rounds where the square begins.
    RoundedSquare(usize),
}

/// What becomes of the levels of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scale {
    /// −1 to 1.
    Signed,
    /// 0 to 1.
    Unit,
    /// Of mean 0 and deviation 1 over ImageNet.
    ImageNet,
    /// Of mean 0 and deviation 1 over what CLIP has learned from.
    Clip,
}

impl Placing {
    /// The size of what is read of a picture of `size`, `[height, width]`.
    pub fn size(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Whole => size,
            Self::Half(_) => size.map(|side| (side / 2).max(1)),
            Self::FlooredSquare(side) | Self::RoundedSquare(side) => [side; 2],
        }
    }

    /// The same with another side, if it is a square.
    pub fn with_side(self, side: usize) -> Self {
        match self {
            Self::FlooredSquare(_) => Self::FlooredSquare(side),
            Self::RoundedSquare(_) => Self::RoundedSquare(side),
            Self::Whole | Self::Half(_) => self,
        }
    }

    /// Whether the file decides about the size.
    pub fn is_square(self) -> bool {
        matches!(self, Self::FlooredSquare(_) | Self::RoundedSquare(_))
    }

    fn of(self, image: &Image) -> Image {
        let size = [image.height(), image.width()];
        match self {
            Self::Whole => image.clone(),
            Self::Half(filter) => image.resized_by(filter, self.size(size)),
            Self::FlooredSquare(side) => square(image, side, |over| over / 2),
            // Python's `round` takes a half to the even neighbour.
            Self::RoundedSquare(side) => square(image, side, |over| over / 2 + usize::from(over % 4 == 3)),
        }
    }
}

/// The square of this side from the middle of `image`, of which `start` says where it begins if so many pixels are over.
fn square(image: &Image, side: usize, start: fn(usize) -> usize) -> Image {
    let size = [image.height(), image.width()];
    let short = size[0].min(size[1]);
    let resized = image.resized_by(Filter::Bicubic, size.map(|extent| side * extent / short));
    let [top, left] = [resized.height(), resized.width()].map(|extent| start(extent - side));
    let row = |y: usize| &resized.pixels()[3 * (y * resized.width() + left)..][..3 * side];
    Image::from_pixels(side, side, (top..top + side).flat_map(row).copied().collect())
}

impl Reading {
    /// The picture as `f32[1, 3, height, width]`.
    pub fn tensor(self, image: &Image) -> HostTensor {
        let image = self.placing.of(image);
        let (means, deviations) = self.scale.moments();
        let level =
            |channel: usize, byte: u8| (f32::from(byte) / 255.0 - means[channel]) / deviations[channel];
        let channel = |channel: usize| {
            let bytes = image.pixels().iter().skip(channel).step_by(3);
            bytes.map(move |&byte| level(channel, byte)).collect::<Vec<f32>>()
        };
        let planes: Vec<f32> = (0..3).flat_map(channel).collect();
        HostTensor::from_f32([1, 3, image.height(), image.width()], &planes)
    }
}

impl Scale {
    /// The mean and the deviation of each channel, which were 0 to 1.
    fn moments(self) -> ([f32; 3], [f32; 3]) {
        match self {
            Self::Signed => ([0.5; 3], [0.5; 3]),
            Self::Unit => ([0.0; 3], [1.0; 3]),
            Self::ImageNet => ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
            Self::Clip => {
                ([0.481_454_66, 0.457_827_5, 0.408_210_73], [0.268_629_54, 0.261_302_6, 0.275_777_1])
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn squares_are_cut_from_the_middle() {
        // Each pixel tells its column.
        let picture = Image::from_pixels(9, 4, (0..4 * 9).flat_map(|at| [(at % 9) as u8; 3]).collect());
        let first = |placing: Placing| placing.of(&picture).pixels()[0];
        // Five columns are over: 2.5 is 2 for both, as Python rounds to even.
        assert_eq!([Placing::FlooredSquare(4), Placing::RoundedSquare(4)].map(first), [2, 2]);
        let wider = Image::from_pixels(7, 4, (0..4 * 7).flat_map(|at| [(at % 7) as u8; 3]).collect());
        let first = |placing: Placing| placing.of(&wider).pixels()[0];
        assert_eq!([Placing::FlooredSquare(4), Placing::RoundedSquare(4)].map(first), [1, 2]);
        assert_eq!(Placing::Half(Filter::Bilinear).size([9, 1]), [4, 1]);
    }

    #[test]
    fn levels_are_scaled_by_channel() {
        let picture = Image::from_pixels(1, 1, vec![255, 0, 51]);
        let of = |scale| Reading { placing: Placing::Whole, scale }.tensor(&picture).to_f32();
        assert_eq!(of(Scale::Signed), [1.0, -1.0, -0.6]);
        assert_eq!(of(Scale::Unit), [1.0, 0.0, 0.2]);
        let near = |found: f32, expected: f32| assert!((found - expected).abs() < 1e-5, "{found}");
        near(of(Scale::ImageNet)[0], (1.0 - 0.485) / 0.229);
        near(of(Scale::Clip)[2], (0.2 - 0.408_210_73) / 0.275_777_1);
    }
}
