//! Reading of pictures from files.

use super::filter::Filter;
use super::image::Image;
use super::resample::{Pixels, resize};
use super::source::{Source, digest};
use crate::Error;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::{Cursor, Read};
use std::path::Path;

/// The longest file that is read, in bytes.
const LONGEST: u64 = 1 << 28;

/// The most pixels of a picture, 8192 × 8192: more is a mistake, or made to fill the memory.
const MOST_PIXELS: u64 = 1 << 26;

/// The most bytes that decoding may take.
const MOST_BYTES: u64 = 1 << 30;

impl Image {
    /// Reads a PNG, JPEG or WebP, whatever its name says, as diffusers' `load_image` does: turned as its Exif data says, in 8
    /// bits; of what is transparent the colour that lies underneath counts. Metadata is not kept.
    ///
    /// # Errors
    /// If it cannot be read, is no such picture, damaged, or larger than any that is meant.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, Error> {
        let path = path.as_ref();
        let bytes = read(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let source = Source { name, digest: digest(&bytes) };
        let image = decode(&bytes).map_err(|why| Error::Image { path: path.to_owned(), why })?.into_rgb8();
        let (width, height) = (image.width() as usize, image.height() as usize);
        Ok(Self::from_pixels(width, height, image.into_raw()).with_source(source))
    }

    /// The picture at another size, `[height, width]`, by Pillow's Lanczos filter.
    pub fn resized(&self, size: [usize; 2]) -> Self {
        self.resized_by(Filter::Lanczos, size)
    }

    /// The picture at another size, `[height, width]`, by this filter of Pillow.
    pub(crate) fn resized_by(&self, filter: Filter, size: [usize; 2]) -> Self {
        let pixels = Pixels { size: [self.height(), self.width()], bytes: self.pixels().to_vec() };
        let Pixels { size: [height, width], bytes } = resize(pixels, size, filter);
        Self::from_pixels(width, height, bytes)
    }
}

/// The bytes of a file that may be a picture.
pub(super) fn read(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let metadata = std::fs::metadata(path)?;
    // To open a pipe waits for whoever writes to it, which may be nobody; a device such as /dev/zero never ends.
    if !metadata.is_file() && !metadata.is_dir() {
        return Err(std::io::Error::other("it is a pipe or a device; give a file"));
    }
    std::fs::File::open(path)?.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        return Err(std::io::Error::other("it is longer than 256 MiB, the limit for pictures"));
    }
    Ok(bytes)
}

fn decode(bytes: &[u8]) -> Result<DynamicImage, String> {
    let reader =
        ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|error| error.to_string())?;
    match reader.format() {
        Some(ImageFormat::Png | ImageFormat::WebP) => {}
        Some(ImageFormat::Jpeg) if is_cut_jpeg(bytes) => {
            return Err("it is damaged: its end is missing".into());
        }
        Some(ImageFormat::Jpeg) => {}
        Some(other) => {
            let name = other.extensions_str().first().copied().unwrap_or("picture").to_uppercase();
            return Err(format!(
                "it is a {name}, and PNG, JPEG and WebP are read; convert it to one of these"
            ));
        }
        None => return Err("it is no PNG, JPEG or WebP".into()),
    }
    let mut decoder = reader.into_decoder().map_err(damaged)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MOST_PIXELS {
        return Err(format!(
            "it has {width} × {height} pixels, more than the {} million that are read; make it smaller",
            MOST_PIXELS / 1_000_000
        ));
    }
    let mut limits = Limits::default();
    limits.max_alloc = Some(MOST_BYTES);
    decoder.set_limits(limits).map_err(damaged)?;
    let orientation = decoder.orientation().map_err(damaged)?;
    let mut image = DynamicImage::from_decoder(decoder).map_err(damaged)?;
    image.apply_orientation(orientation);
    Ok(image)
}

/// Whether `bytes`, a JPEG, lack the marker that ends its data: the decoder would fill what is missing with grey. In data
/// no byte like a marker's second one follows `0xff`.
fn is_cut_jpeg(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    let [scan, end] = [last([0xff, 0xda]), last([0xff, 0xd9])];
    scan > end
}

fn damaged(error: image::ImageError) -> String {
    match error {
        image::ImageError::Unsupported(error) => format!("it cannot be read: {error}"),
        error => format!("it is damaged: {error}"),
    }
}
