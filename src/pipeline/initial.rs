//! Initial latents.

use super::noise::Draws;
use super::resolved::Resolved;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::{Geometry, ModelConfig, Sizes};

/// Packed latents `[1, tokens, channels]`, one picture after the other.
pub(super) enum InitialLatents {
    Drawn { draws: Draws, sizes: Sizes },
    Given(std::vec::IntoIter<HostTensor>),
}

impl InitialLatents {
    /// The initial latents of `request`: given, or the noise that `draws` begins with.
    ///
    /// # Errors
    /// If the given latents do not have the shape for the pictures.
    pub fn of(request: &Resolved, model: &ModelConfig, mut draws: Draws) -> Result<Self, Error> {
        if let Some(given) = &request.init_latents {
            return Self::given(given, request, model.family().geometry, model.token_channels());
        }
        let sizes = request.sizes();
        // One generator draws for a whole batch, so a picture's noise follows that of the pictures before it.
        draws.skip(&sizes, request.pictures().start);
        Ok(Self::Drawn { draws, sizes })
    }

    /// The latents of the request's pictures in `given`, `[pictures, tokens, channels]`.
    ///
    /// # Errors
    /// If it has another shape. If one picture of a batch is requested, more may follow it.
    fn given(
        given: &HostTensor,
        request: &Resolved,
        geometry: Geometry,
        channels: usize,
    ) -> Result<Self, Error> {
        let (pictures, tokens) = (request.pictures(), geometry.image_tokens(&request.sizes()));
        let fits = match given.shape[..] {
            [count, rows, columns] => {
                let is_enough =
                    count == pictures.end || (request.image_index.is_some() && count > pictures.end);
                is_enough && [rows, columns] == [tokens, channels]
            }
            _ => false,
        };
        if !fits {
            return Err(Error::Range {
                what: "the shape of the initial latents",
                range: format!("[{}, {tokens}, {channels}]", pictures.end),
                found: format!("{:?}", given.shape),
            });
        }
        let values = given.to_f32();
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::Range {
                what: "every number of the initial latents",
                range: "finite".into(),
                found: format!("{} (the first such is number {at}, counted from 0)", values[at]),
            });
        }
        let chunks = values.chunks(tokens * channels).skip(pictures.start).take(pictures.len());
        let each = chunks.map(|part| HostTensor::from_f32([1, tokens, channels], part));
        Ok(Self::Given(each.collect::<Vec<_>>().into_iter()))
    }

    /// The latents of the next `count` pictures. Another thread draws each while the one before it is used, as that takes a few
    /// milliseconds.
    pub fn ahead(mut self, count: usize) -> impl Iterator<Item = HostTensor> {
        let (drawn, latents) = std::sync::mpsc::sync_channel(1);
        // Nobody waits for them once a picture has failed.
        std::thread::spawn(move || (0..count).all(|_| drawn.send(self.next()).is_ok()));
        latents.into_iter()
    }

    /// The latents of the next picture.
    pub fn next(&mut self) -> HostTensor {
        match self {
            Self::Drawn { draws, sizes } => draws.next(sizes),
            Self::Given(each) => each.next().expect("there are as many as pictures"),
        }
    }
}
