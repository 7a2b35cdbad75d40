//! Small pictures of latents without the decoder: each latent becomes a pixel.

use crate::geometry::{Geometry, Sizes};
use reflux_ir::HostTensor;
use serde::{Deserialize, Serialize};

/// Red, green and blue in −1…1 as a linear function of a latent's channels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LatentRgb {
    /// What each channel adds.
    pub channels: Vec<[f32; 3]>,
    pub bias: [f32; 3],
}

impl LatentRgb {
    /// Checks that it is for latents of this many channels, and of numbers.
    ///
    /// # Errors
    /// What is wrong.
    pub(crate) fn check(&self, channels: usize) -> Result<(), String> {
        if self.channels.len() != channels {
            return Err(format!(
                "must have {channels} `channels`, as latents have, not {}",
                self.channels.len()
            ));
        }
        let all = self.channels.iter().chain([&self.bias]).flatten();
        match all.copied().find(|number| !number.is_finite()) {
            Some(number) => Err(format!("must be of numbers, not {number}")),
            None => Ok(()),
        }
    }

    /// The picture `f32[1, 3, height, width]`, nominally in −1…1, of packed latents `f32[1, tokens, channels]`.
    pub fn picture(&self, latents: &HostTensor, geometry: &Geometry, sizes: &Sizes) -> HostTensor {
        let (rows, columns) = geometry.grid(sizes);
        let size = [rows * geometry.patch, columns * geometry.patch];
        let planes = geometry.unpack(latents, sizes);
        let pixels = size[0] * size[1];
        let mut picture = Vec::with_capacity(3 * pixels);
        for color in 0..3 {
            picture.extend((0..pixels).map(|at| {
                let parts = self.channels.iter().zip(planes.chunks(pixels));
                parts.map(|(weights, plane)| weights[color] * plane[at]).sum::<f32>() + self.bias[color]
            }));
        }
        HostTensor::from_f32([1, 3, size[0], size[1]], &picture)
    }
}
