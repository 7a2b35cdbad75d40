//! In which size a reference is read.

use super::image::Image;
use reflux_models::Family;

/// The size of `image`, cut to whole tokens.
pub(super) fn whole_tokens(image: &Image, family: &Family) -> [usize; 2] {
    let unit = family.geometry.pixels_per_token();
    [image.height(), image.width()].map(|pixels| (pixels / unit * unit).max(unit))
}

/// The size that the family reads references in whose shape is nearest to that of `image`, cut to whole tokens; of equally near
/// ones the narrowest, as in diffusers.
pub(super) fn preferred(image: &Image, family: &Family) -> [usize; 2] {
    let own = whole_tokens(image, family);
    let shape = |[height, width]: [usize; 2]| width as f64 / height as f64;
    let apart = |size: &[usize; 2]| (shape(own) - shape(*size)).abs();
    let sizes = family.reference_sizes.iter().copied();
    sizes.min_by(|a, b| apart(a).total_cmp(&apart(b)).then(a[1].cmp(&b[1]))).unwrap_or(own)
}
