//! Detection of NaN and infinity where they first appear, so that they are never drawn.

use super::Networks;
use crate::Error;
use reflux_ir::{DType, HostTensor};
use reflux_models::Net;

impl Networks {
    /// Refuses NaN and infinity in the results of `net`; `when` is for the message.
    ///
    /// # Errors
    /// [`Error::NotFinite`], with the likely cause.
    pub fn check_finite(&self, net: &'static Net, when: &str, values: &HostTensor) -> Result<(), Error> {
        if is_finite(values) { Ok(()) } else { Err(self.not_finite(net, when.to_owned())) }
    }

    /// The error for NaN or infinity in the results of `net`.
    pub fn not_finite(&self, net: &'static Net, when: String) -> Error {
        let cause = self.damaged_weight(net).unwrap_or_else(|| advice(self.dtype).to_owned());
        Error::NotFinite { network: net.folder, when, dtype: self.dtype, cause }
    }

    /// Whether a weight of `net` is not finite, as stored or in the dtype of the computation.
    fn damaged_weight(&self, net: &'static Net) -> Option<String> {
        let weights = self.weights.get(net)?;
        let program = self.lower(net, &self.family().geometry.smallest()).ok()?;
        let names = program.weights();
        let damaged = names.keys().find(|name| weights.tensor(name).is_ok_and(|tensor| !is_finite(&tensor)));
        if let Some(name) = damaged {
            let path = weights.path().display();
            return Some(format!("its weight `{name}` in {path} contains such numbers: download it again"));
        }
        let is_large = |tensor: HostTensor| !is_finite(&tensor.cast(self.dtype));
        let large = names.keys().find(|name| weights.tensor(name).is_ok_and(is_large))?;
        Some(format!("its weight `{large}` is too large for {}: try --dtype bf16 or --dtype f32", self.dtype))
    }
}

/// What to try if no weight explains the NaN or infinity, in a pipeline that computes in `dtype`.
fn advice(dtype: DType) -> &'static str {
    match dtype {
        DType::F16 => "f16 numbers are at most 65504: try --dtype bf16 or --dtype f32",
        DType::F32 => {
            "leave out what may have caused them (initial latents, a true CFG scale, an edited program, lossy --passes); if that does \
         not help, its weights are damaged: download them again"
        }
        DType::BF16 => "try --dtype f32, or leave out lossy --passes",
        DType::I32 | DType::I8 | DType::F8E4M3 | DType::U4 | DType::Block(_) => {
            unreachable!("no network computes in {dtype}")
        }
    }
}

fn is_finite(tensor: &HostTensor) -> bool {
    tensor.to_f32().iter().all(|value| value.is_finite())
}
