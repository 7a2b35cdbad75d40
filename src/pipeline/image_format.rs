//! Formats of image files.

use std::path::Path;

/// A format of image files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ImageFormat {
    /// Lossless, with all metadata as text.
    #[default]
    Png,
    /// Lossy; contains the settings as one text.
    Jpeg,
    /// Lossless; contains the settings as one text.
    WebP,
}

impl ImageFormat {
    /// The format whose files have names like `path`.
    pub fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "png" => Some(Self::Png),
            "jpg" | "jpeg" => Some(Self::Jpeg),
            "webp" => Some(Self::WebP),
            _ => None,
        }
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
        }
    }

    /// The most pixels in a row or a column.
    pub fn most_pixels(self) -> usize {
        match self {
            Self::Png => i32::MAX as usize,
            Self::Jpeg => 65_535,
            Self::WebP => 16_384,
        }
    }
}
