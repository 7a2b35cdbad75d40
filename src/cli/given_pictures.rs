//! Options for pictures that are drawn from.

use super::number;
use crate::Error;
use crate::pipeline::{Image, ReferenceSize, Request};
use reflux_models::Condition;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Pictures to draw from. Each is a PNG, JPEG or WebP; it is turned as its Exif data says, and of what is transparent the colour
/// that lies underneath counts.
#[derive(Clone, clap::Args)]
pub struct PictureArgs {
    /// Start from this picture, a .png, .jpg or .webp, instead of noise. It is stretched to --width and --height; transparency is
    /// ignored
    #[arg(long, value_name = "FILE")]
    init_image: Option<PathBuf>,
    /// How much of that picture to draw anew, from 0 to 1, all of it: 0.6 of 20 steps are 12 [default: 0.6; FLUX.1 Fill: 1]
    #[arg(long, value_parser = number::exact, allow_negative_numbers = true)]
    strength: Option<f64>,
    /// What of that picture to draw anew: where this picture is white. What is black stays
    #[arg(long, value_name = "FILE")]
    mask_image: Option<PathBuf>,
    /// The edges or the depth of the picture to draw, for FLUX.1 Canny or Depth: as a picture, nothing is detected here
    #[arg(long, value_name = "FILE")]
    control_image: Option<PathBuf>,
    /// A picture to look at while drawing, for FLUX.1 Kontext
    #[arg(long, value_name = "FILE")]
    reference_image: Option<PathBuf>,
    /// In which size to look at it: of those that Kontext was trained with the one of the nearest shape, or its own, cut to
    /// multiples of 16 [default: preferred]
    #[arg(long, value_enum, ignore_case = true)]
    reference_size: Option<ReferenceSizeArg>,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum ReferenceSizeArg {
    Preferred,
    Own,
}

/// A request with the pictures that such a model needs, where none are given: nothing is to be seen in them. `reference` is the
/// size of a reference, width and height, if there is to be one.
pub fn blank(condition: Condition, [width, height]: [usize; 2], reference: Option<[usize; 2]>) -> Request {
    let image = || Some(Arc::new(Image::white(width, height)));
    let reference_image = reference.map(|[width, height]| Arc::new(Image::white(width, height)));
    let request = Request { reference_image, reference_size: ReferenceSize::Own, ..Request::default() };
    match condition {
        Condition::None => request,
        Condition::Control => Request { control_image: image(), ..request },
        Condition::Masked => Request { init_image: image(), mask_image: image(), ..request },
    }
}

impl PictureArgs {
    /// The first of the options that is given.
    pub fn given(&self) -> Option<&'static str> {
        let options = [
            ("--init-image", self.init_image.is_some()),
            ("--strength", self.strength.is_some()),
            ("--mask-image", self.mask_image.is_some()),
            ("--control-image", self.control_image.is_some()),
            ("--reference-image", self.reference_image.is_some()),
            ("--reference-size", self.reference_size.is_some()),
        ];
        options.into_iter().find_map(|(option, is_given)| is_given.then_some(option))
    }

    /// The place of the picture that metadata calls `key`.
    ///
    /// # Panics
    /// If there is none of that name: a bug of the caller.
    pub fn place(&mut self, key: &str) -> &mut Option<PathBuf> {
        match key {
            "init_image" => &mut self.init_image,
            "mask_image" => &mut self.mask_image,
            "control_image" => &mut self.control_image,
            "reference_image" => &mut self.reference_image,
            key => unreachable!("no picture is called {key}"),
        }
    }

    /// The files.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        let Self { init_image, mask_image, control_image, reference_image, .. } = self;
        [init_image, mask_image, control_image, reference_image].into_iter().flatten().map(PathBuf::as_path)
    }

    /// `request` with these pictures.
    ///
    /// # Errors
    /// If one cannot be read, or if a size is given for none.
    pub fn add_to(&self, request: Request) -> Result<Request, Error> {
        let open = |path: &Option<PathBuf>| {
            path.as_ref().map(Image::open).transpose().map(|image| image.map(Arc::new))
        };
        if self.reference_size.is_some() && self.reference_image.is_none() {
            let message = "--reference-size says in which size a reference is read: add --reference-image, or leave it out";
            return Err(Error::Usage(message.into()));
        }
        Ok(Request {
            init_image: open(&self.init_image)?,
            strength: self.strength.or(request.strength),
            mask_image: open(&self.mask_image)?,
            control_image: open(&self.control_image)?,
            reference_image: open(&self.reference_image)?,
            reference_size: match self.reference_size {
                Some(ReferenceSizeArg::Preferred) => ReferenceSize::Preferred,
                Some(ReferenceSizeArg::Own) => ReferenceSize::Own,
                None => request.reference_size,
            },
            ..request
        })
    }
}
