//! Sizes of pictures, in pixels, latents and tokens.

use reflux_ir::HostTensor;

/// The sizes that a program is specialised to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// Images at once.
    pub batch: usize,
    pub steps: usize,
    /// Tokens of a prompt, for text encoders with a variable length.
    pub text_tokens: usize,
    /// In pixels, a multiple of [`Geometry::pixels_per_token`].
    pub height: usize,
    /// In pixels, a multiple of [`Geometry::pixels_per_token`].
    pub width: usize,
    /// Height and width in pixels of a picture that the denoiser reads beside the one that it draws; multiples of the same.
    pub reference: Option<[usize; 2]>,
}

impl Sizes {
    /// The same for a single picture of another size, by itself.
    pub const fn of_picture(&self, [height, width]: [usize; 2]) -> Self {
        Self { batch: 1, height, width, reference: None, ..*self }
    }
}

/// How the pictures of a family become tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Latents along each side of a token.
    pub patch: usize,
    /// Pixels along each side of a latent.
    pub pixels_per_latent: usize,
}

impl Geometry {
    /// Pixels along each side of a token.
    pub const fn pixels_per_token(&self) -> usize {
        self.patch * self.pixels_per_latent
    }

    /// Whether a side of this many pixels is one of whole tokens.
    pub const fn divides(&self, pixels: usize) -> bool {
        pixels > 0 && pixels.is_multiple_of(self.pixels_per_token())
    }

    /// Rows and columns of image tokens.
    pub fn grid(&self, sizes: &Sizes) -> (usize, usize) {
        (sizes.height / self.pixels_per_token(), sizes.width / self.pixels_per_token())
    }

    /// Rows and columns of the tokens of the reference, if there is one.
    pub fn reference_grid(&self, sizes: &Sizes) -> Option<(usize, usize)> {
        sizes.reference.map(|size| self.grid(&sizes.of_picture(size)))
    }

    /// Number of image tokens.
    pub fn image_tokens(&self, sizes: &Sizes) -> usize {
        let (rows, columns) = self.grid(sizes);
        rows.saturating_mul(columns)
    }

    /// The smallest sizes, for uses that do not depend on them, such as names and shapes of weights.
    pub const fn smallest(&self) -> Sizes {
        let side = self.pixels_per_token();
        Sizes { batch: 1, steps: 1, text_tokens: 1, height: side, width: side, reference: None }
    }

    /// Latents `[channels, height, width]` as tokens of patches, `[1, tokens, channels · patch²]`: within a token channels are
    /// slowest. `token_channels` is `channels · patch²`.
    pub fn pack(&self, latents: &[f32], sizes: &Sizes, token_channels: usize) -> HostTensor {
        let (patch, (rows, columns)) = (self.patch, self.grid(sizes));
        let (height, width) = (rows * patch, columns * patch);
        let channels = token_channels / (patch * patch);
        let mut packed = Vec::with_capacity(latents.len());
        for row in 0..rows {
            for column in 0..columns {
                for channel in 0..channels {
                    for y in row * patch..(row + 1) * patch {
                        let start = (channel * height + y) * width + column * patch;
                        packed.extend_from_slice(&latents[start..start + patch]);
                    }
                }
            }
        }
        HostTensor::from_f32([1, rows * columns, token_channels], &packed)
    }

    /// The inverse of [`Geometry::pack`]: latents `[channels, height, width]` of tokens `[1, tokens, channels · patch²]`.
    pub fn unpack(&self, packed: &HostTensor, sizes: &Sizes) -> Vec<f32> {
        let (patch, (rows, columns)) = (self.patch, self.grid(sizes));
        let channels = packed.shape[2];
        let (height, width) = (rows * patch, columns * patch);
        let values = packed.to_f32();
        let mut latents = Vec::with_capacity(values.len());
        for channel in 0..channels / (patch * patch) {
            for y in 0..height {
                for x in 0..width {
                    let token = y / patch * columns + x / patch;
                    let place = (channel * patch + y % patch) * patch + x % patch;
                    latents.push(values[token * channels + place]);
                }
            }
        }
        latents
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unpack_undoes_pack() {
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height: 32, width: 48, reference: None };
        let geometry = Geometry { patch: 2, pixels_per_latent: 8 };
        let latents: Vec<f32> = (0..3 * 4 * 6).map(|x| x as f32).collect();
        assert_eq!(geometry.unpack(&geometry.pack(&latents, &sizes, 12), &sizes), latents);
    }

    #[test]
    fn pack_puts_channels_slowest() {
        // Two channels of 2 × 4 latents, that is one row of two tokens.
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height: 16, width: 32, reference: None };
        let latents: Vec<f32> = (0..16).map(|x| x as f32).collect();
        let packed = Geometry { patch: 2, pixels_per_latent: 8 }.pack(&latents, &sizes, 8);
        assert_eq!(packed.shape, [1, 2, 8]);
        let expected = [0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15].map(|x| x as f32);
        assert_eq!(packed.to_f32(), expected);
    }
}
