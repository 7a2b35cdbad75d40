//! What became of a case.

use super::Form;
use super::case::Case;
use crate::Error;
use reflux_ir::DType;
use serde::Serialize;
use std::fmt;

/// How far, and how far is too far; both are relative L2 distances.
#[derive(Debug, Serialize)]
pub struct Outcome {
    case: String,
    /// Whether it ran as it is written.
    unfused: bool,
    dtype: DType,
    /// Infinite, which is `null` in JSON, if results cannot be compared; none if there are no results.
    distance: Option<f64>,
    tolerance: f64,
    passed: bool,
    /// Why it did not run.
    error: Option<String>,
    /// What keeps it from proving much.
    note: Option<String>,
}

impl Outcome {
    /// Of a case that ran, with its distance and a note on how, or did not.
    pub fn new(case: &Case, form: Form, dtype: DType, run: Result<(f64, Option<String>), Error>) -> Self {
        // What f32 sums lose by another order; what bf16 loses by rounding, or codes by flipping where that rounds: of
        // f8e4m3 the next one is up to an eighth of it away.
        let tolerance = match case.codes() {
            Some(DType::F8E4M3) => 3e-2,
            Some(DType::I8 | DType::U4) => 1e-2,
            None if dtype == DType::F32 => 1e-5,
            // As it is written, every op rounds.
            None if form == Form::Written => 2e-2,
            None => 1e-2,
            Some(other @ (DType::F32 | DType::F16 | DType::BF16 | DType::I32)) => {
                unreachable!("{other} is no code")
            }
        };
        let (distance, note, error) = match run {
            Ok((distance, note)) => (Some(distance), note, None),
            Err(error) => (None, None, Some(error.to_string())),
        };
        let passed = distance.is_some_and(|distance| distance <= tolerance);
        let unfused = form == Form::Written;
        Self { case: case.name.clone(), unfused, dtype, distance, tolerance, passed, error, note }
    }

    pub fn passed(&self) -> bool {
        self.passed
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { case, dtype, tolerance, .. } = self;
        let (mark, form) = (if self.passed { "✓" } else { "✗" }, if self.unfused { " unfused" } else { "" });
        write!(f, "{mark} {case}{form} {dtype}: ")?;
        match (self.distance, &self.error) {
            (_, Some(error)) => write!(f, "did not run: {error}")?,
            (distance, None) => {
                write!(f, "{:.1e}, at most {tolerance:.0e}", distance.unwrap_or(f64::INFINITY))?;
            }
        }
        self.note.iter().try_for_each(|note| write!(f, "; {note}"))?;
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::super::case::CaseFile;
    use super::*;

    /// The case called `name`.
    fn case(name: &str) -> Case {
        let files = CaseFile::all().unwrap_or_else(|error| panic!("{error}"));
        files.into_iter().flat_map(|file| file.cases).find(|case| case.name == name).unwrap()
    }

    #[test]
    fn what_is_wrong_has_failed() {
        let plain = case("gemm.plain_7x64x136");
        let ran = |dtype, distance| Outcome::new(&plain, Form::Fused, dtype, Ok((distance, None)));
        assert!(ran(DType::BF16, 9e-3).passed() && !ran(DType::BF16, 1.1e-2).passed());
        assert!(ran(DType::F32, 9e-6).passed() && !ran(DType::F32, 1.1e-5).passed());
        assert!(!ran(DType::BF16, f64::INFINITY).passed() && !ran(DType::BF16, f64::NAN).passed());
        let codes = case("int8.plain_7x64x136");
        assert!(Outcome::new(&codes, Form::Written, DType::F32, Ok((9e-3, None))).passed());
        let broken = Outcome::new(&plain, Form::Fused, DType::BF16, Err(Error::Usage("no kernel".into())));
        assert!(!broken.passed());
        assert_eq!(broken.to_string(), "✗ gemm.plain_7x64x136 bf16: did not run: no kernel\n");
        assert_eq!(ran(DType::F32, 0.5).to_string(), "✗ gemm.plain_7x64x136 f32: 5.0e-1, at most 1e-5\n");
        let fallen =
            Outcome::new(&plain, Form::Fused, DType::BF16, Ok((0.0, Some("by other kernels".into()))));
        assert_eq!(fallen.to_string(), "✓ gemm.plain_7x64x136 bf16: 0.0e0, at most 1e-2; by other kernels\n");
    }
}
