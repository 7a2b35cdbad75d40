//! Pictures and image files.

use super::image_format::ImageFormat;
use super::source::Source;
use crate::Error;
use crate::files::OutputFile;
use image::codecs::jpeg::JpegEncoder;
use image::codecs::webp::WebPEncoder;
use image::{ExtendedColorType, ImageEncoder};
use rayon::prelude::*;
use reflux_ir::HostTensor;
use std::io::{self, Write};
use std::path::Path;

/// The key of the text that AUTOMATIC1111's web UI writes, and the tools that read its pictures look for.
pub(super) const PARAMETERS: &str = "parameters";

/// The key of the peak of memory.
pub(super) const MEMORY: &str = "memory";

/// A picture, 8 bits per channel, with a note of how it was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    width: usize,
    height: usize,
    /// Rows of RGB.
    pixels: Vec<u8>,
    metadata: Vec<(&'static str, String)>,
    /// The file that it was read from.
    source: Option<Source>,
}

/// The quality of JPEG, in percent: the loss is hard to see.
const QUALITY: u8 = 95;

/// The most bytes of Exif data that a JPEG can have.
const MOST_EXIF: usize = 65_527;

impl Image {
    /// From the decoder's `[1, 3, height, width]` in −1…1; values outside are clamped.
    pub(super) fn from_tensor(tensor: &HostTensor, metadata: Vec<(&'static str, String)>) -> Self {
        let (height, width) = (tensor.shape[2], tensor.shape[3]);
        let row_bytes = tensor.dtype.host_bytes(width);
        let level = |value: f32| ((value / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0).round_ties_even() as u8;
        let mut pixels = vec![0; 3 * height * width];
        // Row by row: a copy of all of it as f32 would take longer than everything else.
        pixels.par_chunks_mut((3 * width).max(1)).enumerate().for_each(|(y, row)| {
            let [red, green, blue] = [0, 1, 2].map(|channel| {
                let start = (channel * height + y) * row_bytes;
                tensor.dtype.decode(&tensor.bytes[start..start + row_bytes])
            });
            for (x, pixel) in row.as_chunks_mut().0.iter_mut().enumerate() {
                *pixel = [red[x], green[x], blue[x]].map(level);
            }
        });
        Self { width, height, pixels, metadata, source: None }
    }

    /// From rows of RGB, 8 bits each, without metadata.
    pub(crate) fn from_pixels(width: usize, height: usize, pixels: Vec<u8>) -> Self {
        Self { width, height, pixels, metadata: Vec::new(), source: None }
    }

    /// A white picture.
    pub(crate) fn white(width: usize, height: usize) -> Self {
        Self::from_pixels(width, height, vec![u8::MAX; 3 * width * height])
    }

    /// The same as read from this file.
    pub(super) fn with_source(self, source: Source) -> Self {
        Self { source: Some(source), ..self }
    }

    /// Without what the metadata says of memory, which is measured and not the same in every run.
    pub(crate) fn without_memory(mut self) -> Self {
        self.metadata.retain(|(key, _)| *key != MEMORY);
        self
    }

    /// The file that it was read from, if it was.
    pub fn source(&self) -> Option<&Source> {
        self.source.as_ref()
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

    /// As the encoder reads it: `f32[1, 3, height, width]` in −1…1.
    pub fn planes(&self) -> HostTensor {
        let channel = |channel: usize| self.pixels.iter().skip(channel).step_by(3);
        let level = |byte: &u8| 2.0 * (f32::from(*byte) / 255.0) - 1.0;
        let values: Vec<f32> = (0..3).flat_map(channel).map(level).collect();
        HostTensor::from_f32([1, 3, self.height, self.width], &values)
    }

    /// How the picture was made: prompt, seed, steps, …, as in the PNG's text.
    pub fn metadata(&self) -> &[(&'static str, String)] {
        &self.metadata
    }

    /// Writes the picture with its metadata, in the format of the name's extension, or as PNG if that is unknown. An existing
    /// file is replaced only by a complete one.
    ///
    /// # Errors
    /// [`Error::Write`].
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let format = ImageFormat::of(path).unwrap_or_default();
        OutputFile::at(path)?.write(|out| self.encode(format, out))
    }

    /// Writes the picture with its metadata in `format`.
    ///
    /// # Errors
    /// If `out` fails, or if the picture is too large for the format.
    pub fn encode(&self, format: ImageFormat, out: &mut dyn Write) -> io::Result<()> {
        match format {
            ImageFormat::Png => self.encode_png(out).map_err(io_error),
            ImageFormat::Jpeg => self.encode_with(JpegEncoder::new_with_quality(out, QUALITY), MOST_EXIF),
            ImageFormat::WebP => self.encode_with(WebPEncoder::new_lossless(out), usize::MAX),
        }
    }

    fn encode_png(&self, out: &mut dyn Write) -> Result<(), png::EncodingError> {
        let mut encoder = png::Encoder::new(out, self.width as u32, self.height as u32);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        // Photographs take as many bytes as at the default level, flat drawings a seventh more; but a megapixel takes 6 ms, not 130 to 330.
        encoder.set_compression(png::Compression::Fast);
        for (key, value) in &self.metadata {
            encoder.add_itxt_chunk((*key).to_owned(), value.clone())?;
        }
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&self.pixels)?;
        writer.finish()
    }

    /// Encodes the pixels, with the settings as Exif's `UserComment`.
    fn encode_with(&self, mut encoder: impl ImageEncoder, most_exif: usize) -> io::Result<()> {
        let parameters = self.metadata.iter().find(|(key, _)| *key == PARAMETERS);
        if let Some((_, parameters)) = parameters {
            encoder.set_exif_metadata(exif(parameters, most_exif)).map_err(io::Error::other)?;
        }
        let (width, height) = (self.width as u32, self.height as u32);
        encoder.write_image(&self.pixels, width, height, ExtendedColorType::Rgb8).map_err(|error| match error
        {
            image::ImageError::IoError(error) => error,
            error => io::Error::other(error),
        })
    }
}

/// The I/O error inside an encoder's error, such as a full disk.
fn io_error(error: png::EncodingError) -> io::Error {
    match error {
        png::EncodingError::IoError(error) => error,
        error => io::Error::other(error),
    }
}

/// An Exif block of `most` bytes at most with `comment` as its `UserComment`, cut at the front if it must be: the prompt comes
/// first, what it was drawn with after it.
///
/// It is a big-endian TIFF of two directories of one entry: the first leads to the second (tag 0x8769), which has the comment
/// (tag 0x9286), 16-bit characters after the code that says so (Exif 2.32, 4.6.3 and 4.6.5).
fn exif(comment: &str, most: usize) -> Vec<u8> {
    const CODE: &[u8] = b"UNICODE\0";
    const COMMENT_AT: usize = 44;
    let mut characters: Vec<u16> = comment.encode_utf16().collect();
    let room = (most - COMMENT_AT - CODE.len()) / 2;
    characters.drain(..characters.len().saturating_sub(room));
    let length = (CODE.len() + 2 * characters.len()) as u32;
    let entry = |tag: u16, kind: u16, count: u32, value: u32| {
        let one = 1_u16.to_be_bytes();
        let last = [0; 4];
        [&one[..], &tag.to_be_bytes(), &kind.to_be_bytes(), &count.to_be_bytes(), &value.to_be_bytes(), &last]
            .concat()
    };
    let mut block = b"MM\0\x2a\0\0\0\x08".to_vec();
    block.extend(entry(0x8769, 4, 1, 26));
    block.extend(entry(0x9286, 7, length, COMMENT_AT as u32));
    block.extend(CODE);
    block.extend(characters.iter().flat_map(|character| character.to_be_bytes()));
    block
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_comment_keeps_its_end() {
        let block = exif("ab🍎", usize::MAX);
        assert_eq!(&block[..8], b"MM\0\x2a\0\0\0\x08");
        assert_eq!(&block[26..44], b"\0\x01\x92\x86\0\x07\0\0\0\x10\0\0\0\x2c\0\0\0\0");
        assert_eq!(&block[44..], b"UNICODE\0\0a\0b\xd8\x3c\xdf\x4e");
        let long = exif(&format!("{}end", "x".repeat(100_000)), MOST_EXIF);
        assert!(long.len() <= MOST_EXIF && long.ends_with(b"\0e\0n\0d"));
    }
}
