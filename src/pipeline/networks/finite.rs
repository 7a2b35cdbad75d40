//! Detection of NaN and infinity where they first appear, so that they are never drawn.

use super::Networks;
use crate::Error;
use reflux_ir::{Advice, DType, HostTensor};
use reflux_models::Net;

impl Networks {
    /// Refuses NaN and infinity in the results of `net`; `when` is for the message.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the likely cause.
    pub fn check_finite(&self, net: &'static Net, when: &str, values: &HostTensor) -> Result<(), Error> {
        if values.is_finite() { Ok(()) } else { Err(self.not_finite(net, when.to_owned())) }
    }

    /// The error for NaN or infinity in the results of `net`.
    pub fn not_finite(&self, net: &'static Net, when: String) -> Error {
        let (cause, advice) = self.damaged_weight(net).unwrap_or_else(|| likely(self.dtype));
        Error::NotFinite { network: net.folder, when, dtype: self.dtype, cause, advice }
    }

    /// The weight of `net` that is not finite, as stored or in the dtype of the computation, and what to do.
    fn damaged_weight(&self, net: &'static Net) -> Option<(String, Vec<Advice>)> {
        let weights = self.weights.get(net)?;
        let program = self.lower(net, &self.family().geometry.smallest()).ok()?;
        let names = program.weights();
        let damaged = names.keys().find(|name| weights.tensor(name).is_ok_and(|tensor| !tensor.is_finite()));
        if let Some(name) = damaged {
            let path = weights.path().display();
            return Some((
                format!("its weight `{name}` in {path} contains such numbers: download it again"),
                Vec::new(),
            ));
        }
        let is_large = |tensor: HostTensor| !tensor.cast(self.dtype).is_finite();
        let large = names.keys().find(|name| weights.tensor(name).is_ok_and(is_large))?;
        Some((format!("its weight `{large}` is too large for {}", self.dtype), vec![LARGER]))
    }
}

/// Types that hold larger numbers than f16.
const LARGER: Advice = Advice::Dtype(&[DType::BF16, DType::F32]);

/// The likely cause if no weight explains the NaN or infinity, in a pipeline that computes in `dtype`, and what to do.
fn likely(dtype: DType) -> (String, Vec<Advice>) {
    let (cause, advice) = match dtype {
        DType::F16 => ("f16 numbers are at most 65504", vec![LARGER]),
        DType::F32 => (
            "leave out what may have caused them (initial latents, a true CFG scale, an edited program, lossy passes); if that does \
             not help, its weights are damaged: download them again",
            Vec::new(),
        ),
        DType::BF16 => ("leave out lossy passes, if there are any", vec![Advice::Dtype(&[DType::F32])]),
        DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
            unreachable!("no network computes in {dtype}")
        }
    };
    (cause.to_owned(), advice)
}
