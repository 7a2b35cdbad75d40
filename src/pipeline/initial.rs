//! Initial latents.

use super::noise::Draws;
use super::resolved::Resolved;
use crate::Error;
use reflux_ir::HostTensor;
use reflux_models::{Geometry, ModelConfig, Sizes};
use std::sync::mpsc::{SendError, channel, sync_channel};

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

    /// The latents of the next `count` pictures, each drawn when it is asked for.
    pub fn one_by_one(mut self, count: usize) -> Box<dyn Iterator<Item = HostTensor>> {
        Box::new((0..count).map(move |_| self.next()))
    }

    /// The same, by another thread while the one before is used: a few milliseconds in which a GPU would wait.
    pub fn ahead(self, count: usize) -> Box<dyn Iterator<Item = HostTensor>> {
        let (give, given) = channel::<Self>();
        let (drawn, latents) = sync_channel(1);
        let draw = move || {
            let Ok(mut own): Result<Self, _> = given.recv() else { return };
            for _ in 0..count {
                // Nobody waits for them once a picture has failed.
                let Ok(()) = drawn.send(own.next()) else { return };
            }
        };
        match std::thread::Builder::new().spawn(draw) {
            Ok(_) => match give.send(self) {
                Ok(()) => Box::new(latents.into_iter()),
                Err(SendError(own)) => own.one_by_one(count),
            },
            // A limit may forbid more threads.
            Err(_) => self.one_by_one(count),
        }
    }

    /// The latents of the next picture.
    pub fn next(&mut self) -> HostTensor {
        match self {
            Self::Drawn { draws, sizes } => draws.next(sizes),
            Self::Given(each) => each.next().expect("there are as many as pictures"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_thread_draws_the_same() {
        let tensor = |index: u8| HostTensor::from_f32([1, 1, 2], &[f32::from(index), 0.5]);
        let latents = || InitialLatents::Given((0..5).map(tensor).collect::<Vec<_>>().into_iter());
        let (ahead, one_by_one) = (latents().ahead(4), latents().one_by_one(4));
        assert_eq!(ahead.collect::<Vec<_>>(), one_by_one.collect::<Vec<_>>());
        // As after a picture that failed.
        assert_eq!(latents().ahead(4).next(), Some(tensor(0)));
    }
}
