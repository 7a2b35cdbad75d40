//! Pictures and PNG files.

use crate::Error;
use crate::files::write_atomically;
use reflux_ir::HostTensor;
use std::io::Write;
use std::path::Path;

/// A picture, 8 bits per channel, with a note of how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    /// Rows of RGB.
    pixels: Vec<u8>,
    metadata: Vec<(&'static str, String)>,
}

impl Image {
    /// From the decoder's `[1, 3, height, width]` in −1…1; what is outside is clamped.
    pub(super) fn from_tensor(tensor: &HostTensor, metadata: Vec<(&'static str, String)>) -> Self {
        let (height, width) = (tensor.shape[2], tensor.shape[3]);
        let planes = tensor.to_f32();
        let level = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let pixel = |at: usize| [0, 1, 2].map(|channel| level(planes[channel * height * width + at]));
        Self { width, height, pixels: (0..height * width).flat_map(pixel).collect(), metadata }
    }

    /// In pixels.
    pub fn width(&self) -> usize {
        self.width
    }

    /// In pixels.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Rows of RGB, 8 bits each.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// How the picture was made: prompt, seed, steps, …, as the PNG's text has it.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.metadata
    }

    /// Writes a PNG whose text chunks say how the picture was made. A file of that name is replaced, but only by a
    /// whole one.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        write_atomically(path.as_ref(), |file| self.encode(file).map_err(std::io::Error::other))
    }

    fn encode(&self, out: &mut dyn Write) -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        for (key, value) in &self.metadata {
            encoder.add_itxt_chunk((*key).to_owned(), value.clone())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }
}
