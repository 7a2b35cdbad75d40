//! The pictures that a request is made from: encoded, and laid out as the denoiser reads them.

use super::image::Image;
use super::networks::Networks;
use super::noise::Draws;
use super::report::Record;
use super::resolved::Resolved;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::scheduler::Schedule;
use reflux_models::{Condition, Geometry, Sizes, names};
use std::sync::Arc;

/// What the pictures of a request become, the same for all pictures that are drawn.
#[derive(Default)]
pub(super) struct Pictures {
    /// Inputs of the denoiser, for a batch of one.
    inputs: Vec<(&'static str, HostTensor)>,
    /// Packed latents of the picture to start from.
    start: Option<Arc<[f32]>>,
    /// What of them is drawn anew: 1, and 0 for what stays, packed as they are.
    mask: Option<Arc<[f32]>>,
}

/// What a picture is drawn from.
pub(super) struct Start {
    /// Packed latents `[1, tokens, channels]` before the first step.
    pub latents: HostTensor,
    pub kept: Option<Kept>,
}

/// What of a given picture stays while the rest is drawn.
pub(super) struct Kept {
    mask: Arc<[f32]>,
    picture: Arc<[f32]>,
    noise: Vec<f32>,
}

impl Kept {
    /// Puts back what stays, with as much noise as there is before step `index`.
    pub fn restore(&self, sample: &mut [f32], schedule: &Schedule, index: usize) {
        let picture = schedule.noised(index, &self.picture, &self.noise);
        for ((value, mask), picture) in sample.iter_mut().zip(&*self.mask).zip(picture) {
            *value = (1.0 - mask) * picture + mask * *value;
        }
    }
}

impl Pictures {
    /// Encodes the pictures of `request`. Takes the draws that come before the noise from `draws`, in the order of diffusers'
    /// pipelines: of the control picture, then of the picture to start from. Only the picture without what is painted is drawn
    /// after the noise of all pictures.
    ///
    /// # Errors
    /// If the encoder cannot be loaded, or gives NaN or infinity.
    pub fn encode(
        request: &Resolved,
        networks: &mut Networks,
        draws: &mut Draws,
        record: &mut Record,
    ) -> Result<Self, Error> {
        let sizes = request.picture_sizes();
        let mut pictures = Self::default();
        if let (Some(image), Some(sizes)) = (&request.reference_image, request.reference_sizes()) {
            let image = image.resized([sizes.height, sizes.width]).planes();
            let Moments { mean, .. } = Moments::of(&image, &sizes, networks, record)?;
            pictures.inputs.push((names::REFERENCE, mean));
        }
        if let Some(image) = &request.control_image {
            // `FluxControlInpaintPipeline` draws for the picture without what is painted first, and does not use it.
            draws.skip(&sizes, usize::from(request.mask_image.is_some()));
            let image = image.resized([sizes.height, sizes.width]).planes();
            let drawn = Moments::of(&image, &sizes, networks, record)?.drawn(&draws.next(&sizes));
            pictures.inputs.push((names::CONDITION, drawn));
        }
        if let Some(image) = &request.init_image {
            let image = image.resized([sizes.height, sizes.width]).planes();
            pictures.begin_with(&image, request, networks, draws, record)?;
        }
        Ok(pictures)
    }

    /// Adds the picture to start from, `image`, and what its mask says.
    fn begin_with(
        &mut self,
        image: &HostTensor,
        request: &Resolved,
        networks: &mut Networks,
        draws: &mut Draws,
        record: &mut Record,
    ) -> Result<(), Error> {
        let sizes = request.picture_sizes();
        let is_condition = networks.config().condition() == Condition::Masked;
        let noise = draws.next(&sizes);
        if request.starts_from_picture() || (request.mask_image.is_some() && !is_condition) {
            let drawn = Moments::of(image, &sizes, networks, record)?.drawn(&noise);
            self.start = Some(drawn.to_f32().into());
        }
        let Some(mask) = &request.mask_image else { return Ok(()) };
        let (mask, geometry) = (Mask::of(mask, &sizes), networks.family().geometry);
        if !is_condition {
            let channels = networks.config().token_channels();
            self.mask = Some(mask.of_latents(&geometry, &sizes, channels).into());
            return Ok(());
        }
        let mut later = draws.clone();
        later.skip(&sizes, request.all_pictures);
        let hidden = Moments::of(&mask.hide(image), &sizes, networks, record)?.drawn(&later.next(&sizes));
        self.inputs.push((names::CONDITION, joined(&hidden, &mask.every_pixel(&geometry, &sizes))));
        Ok(())
    }

    /// The denoiser's inputs, for a batch of `batch`.
    pub fn inputs(&self, batch: usize) -> impl Iterator<Item = (&'static str, HostTensor)> {
        self.inputs.iter().map(move |(name, value)| {
            let shape = [batch, value.shape[1], value.shape[2]];
            (*name, HostTensor::new(value.dtype, shape.to_vec(), value.bytes.repeat(batch)))
        })
    }

    /// What a picture with this noise is drawn from.
    pub fn start(&self, noise: HostTensor, schedule: &Schedule) -> Start {
        let Some(picture) = &self.start else { return Start { latents: noise, kept: None } };
        let values = noise.to_f32();
        let latents = HostTensor::from_f32(noise.shape, &schedule.noised(0, picture, &values));
        let kept = self.mask.as_ref().map(|mask| Kept {
            mask: Arc::clone(mask),
            picture: Arc::clone(picture),
            noise: values,
        });
        Start { latents, kept }
    }
}

/// What the encoder says of a picture's latents.
struct Moments {
    mean: HostTensor,
    deviation: HostTensor,
}

impl Moments {
    /// The moments of `image`, `[1, 3, height, width]` in −1…1.
    fn of(
        image: &HostTensor,
        sizes: &Sizes,
        networks: &mut Networks,
        record: &mut Record,
    ) -> Result<Self, Error> {
        let net = networks.family().encoder.expect("pictures are refused where there is none");
        let encoder = networks.get(net, *sizes, record)?;
        record.enter("encode the picture");
        encoder.bind(names::IMAGE, image)?;
        let mut results = encoder.step(0)?;
        let [mean, deviation] =
            [names::MEAN, names::DEVIATION].map(|name| results.remove(name).expect("the encoder's result"));
        for values in [&mean, &deviation] {
            networks.check_finite(net, "for a picture that is given", values)?;
        }
        Ok(Self { mean, deviation })
    }

    /// Latents with the given noise.
    fn drawn(&self, noise: &HostTensor) -> HostTensor {
        let [mean, deviation, noise] = [&self.mean, &self.deviation, noise].map(HostTensor::to_f32);
        let each = mean.iter().zip(&deviation).zip(&noise);
        let values: Vec<f32> = each.map(|((mean, deviation), noise)| mean + deviation * noise).collect();
        HostTensor::from_f32(self.mean.shape.clone(), &values)
    }
}

/// Which pixels are painted, row by row.
struct Mask(Vec<bool>);

impl Mask {
    /// Of a picture at this size: what is as bright as it is dark, or brighter.
    fn of(image: &Image, sizes: &Sizes) -> Self {
        let image = image.resized([sizes.height, sizes.width]);
        let is_bright = |[red, green, blue]: &[u8; 3]| {
            // Pillow's grey, in fixed point.
            let weigh = |byte: &u8, weight: u32| u32::from(*byte) * weight;
            let grey = (weigh(red, 19_595) + weigh(green, 38_470) + weigh(blue, 7_471) + 0x8000) >> 16;
            grey >= 128
        };
        Self(image.pixels().as_chunks().0.iter().map(is_bright).collect())
    }

    /// The planes of a picture, without what is painted.
    fn hide(&self, image: &HostTensor) -> HostTensor {
        let values = image.to_f32();
        let mask = self.0.iter().cycle();
        let values: Vec<f32> = values
            .iter()
            .zip(mask)
            .map(|(value, is_painted)| if *is_painted { 0.0 } else { *value })
            .collect();
        HostTensor::from_f32(image.shape.clone(), &values)
    }

    /// The mask of each latent: that of its first pixel, packed for all channels.
    fn of_latents(&self, geometry: &Geometry, sizes: &Sizes, channels: usize) -> Vec<f32> {
        let latents = channels / (geometry.patch * geometry.patch);
        let plane = self.plane(geometry, sizes, [0, 0]);
        geometry.pack(&plane.repeat(latents), sizes, channels).to_f32()
    }

    /// The mask of all pixels: each place inside of a latent is a channel, packed as latents are.
    fn every_pixel(&self, geometry: &Geometry, sizes: &Sizes) -> HostTensor {
        let side = geometry.pixels_per_latent;
        let places = (0..side).flat_map(|y| (0..side).map(move |x| [y, x]));
        let planes: Vec<f32> = places.flat_map(|place| self.plane(geometry, sizes, place)).collect();
        let pixels = geometry.pixels_per_token();
        geometry.pack(&planes, sizes, pixels * pixels)
    }

    /// Of each latent the pixel at this place in it.
    fn plane(&self, geometry: &Geometry, sizes: &Sizes, [y, x]: [usize; 2]) -> Vec<f32> {
        let side = geometry.pixels_per_latent;
        let rows = (y..sizes.height).step_by(side);
        let pixels = rows.flat_map(|row| (x..sizes.width).step_by(side).map(move |column| (row, column)));
        pixels.map(|(row, column)| f32::from(u8::from(self.0[row * sizes.width + column]))).collect()
    }
}

/// Tokens of which each is one of `a` followed by one of `b`.
fn joined(a: &HostTensor, b: &HostTensor) -> HostTensor {
    let (tokens, widths) = (a.shape[1], [a.shape[2], b.shape[2]]);
    let (a, b) = (a.to_f32(), b.to_f32());
    let both = a.chunks(widths[0]).zip(b.chunks(widths[1]));
    let values: Vec<f32> = both.flat_map(|(a, b)| a.iter().chain(b)).copied().collect();
    HostTensor::from_f32([1, tokens, widths[0] + widths[1]], &values)
}
