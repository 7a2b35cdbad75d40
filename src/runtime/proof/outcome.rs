//! The outcome of a case.

use super::case::Case;
use crate::{Device, Form};
use reflux_ir::DType;
use serde::Serialize;

/// The distance of a case and its tolerance, both as relative L2 distances.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub case: String,
    /// Whether it ran as written, without passes.
    pub unfused: bool,
    pub dtype: DType,
    /// Infinite (`null` in JSON) if results cannot be compared; `None` if there are no results.
    pub distance: Option<f64>,
    pub tolerance: f64,
    pub passed: bool,
    /// Why it did not run.
    pub error: Option<String>,
    /// Why it may prove little.
    pub note: Option<String>,
}

impl Outcome {
    /// The outcome of a case that ran, with its distance and a note, or that did not run.
    pub(super) fn new(
        case: &Case,
        device: Device,
        (form, dtype): (Form, DType),
        run: Result<(f64, Option<String>), String>,
    ) -> Self {
        // In bf16, the effect of rounding; for codes, that of rounding to the next code, which in f8e4m3 is up to an eighth away.
        let tolerance = match case.codes() {
            Some(DType::F8E4M3) => 3e-2,
            Some(DType::I8 | DType::U4 | DType::Block(_)) => 1e-2,
            None if dtype == DType::F32 => device.f32_tolerance(),
            // In the program as written, every op rounds.
            None if form == Form::Written => 2e-2,
            None => 1e-2,
            Some(other @ (DType::F32 | DType::F16 | DType::BF16 | DType::I32)) => {
                unreachable!("{other} is not a type of codes")
            }
        };
        let (distance, note, error) = match run {
            Ok((distance, note)) => (Some(distance), note, None),
            Err(error) => (None, None, Some(error)),
        };
        let passed = distance.is_some_and(|distance| distance <= tolerance);
        let unfused = form == Form::Written;
        Self { case: case.name.clone(), unfused, dtype, distance, tolerance, passed, error, note }
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CaseFile;
    use super::*;

    /// The case called `name`.
    fn case(name: &str) -> Case {
        CaseFile::all().flat_map(|file| file.cases).find(|case| case.name == name).unwrap()
    }

    #[test]
    fn what_is_wrong_has_failed() {
        let plain = case("gemm.plain_7x64x136");
        let ran = |dtype, distance| {
            Outcome::new(&plain, Device::host(), (Form::Fused, dtype), Ok((distance, None)))
        };
        assert!(ran(DType::BF16, 9e-3).passed && !ran(DType::BF16, 1.1e-2).passed);
        assert!(ran(DType::F32, 9e-6).passed && !ran(DType::F32, 1.1e-5).passed);
        assert!(!ran(DType::BF16, f64::INFINITY).passed && !ran(DType::BF16, f64::NAN).passed);
        let codes = case("int8.plain_7x64x136");
        assert!(Outcome::new(&codes, Device::host(), (Form::Written, DType::F32), Ok((9e-3, None))).passed);
        let broken =
            Outcome::new(&plain, Device::host(), (Form::Fused, DType::BF16), Err("no kernel".into()));
        assert_eq!((broken.passed, broken.error.as_deref()), (false, Some("no kernel")));
    }
}
