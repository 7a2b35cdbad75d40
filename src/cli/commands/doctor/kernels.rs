//! `reflux doctor --kernels`: checks that a device computes what programs mean.

use crate::Error;
use crate::cli::console::print;
use crate::cli::steps::noise;
use crate::pipeline::{lossless, settle};
use reflux_models::Role;
use reflux_runtime::proof::{self, Outcome};
use reflux_runtime::{Device, RunError};
use serde_json::json;
use std::fmt;

/// Runs all cases on `device` and prints the distance of each from its reference.
///
/// # Errors
/// [`Error::Kernels`] if one exceeds its tolerance, or did not run.
pub fn prove(device: Device, seed: u64, as_json: bool) -> Result<(), Error> {
    let info = device.probe().map_err(RunError::from)?;
    let mut passes = lossless(Role::Denoiser, Some(device));
    settle(&mut passes, device, &info);
    if !as_json {
        print(&format!("kernels of {device} ({}), seed {seed}: relative L2 distances\n", info.name))?;
    }
    let (mut outcomes, mut printed) = (Vec::new(), Ok(()));
    proof::prove(device, &passes, &noise, seed, &mut |outcome| {
        if !as_json && printed.is_ok() {
            printed = print(&OutcomeLine(&outcome).to_string());
        }
        outcomes.push(outcome);
    });
    printed?;
    if !as_json {
        print(&verdict(&outcomes))?;
    }
    if as_json {
        print(&format!("{:#}\n", json!({ "device": info, "seed": seed, "cases": outcomes })))?;
    }
    match outcomes.iter().filter(|outcome| !outcome.passed).count() {
        0 => Ok(()),
        failed => Err(Error::Kernels { failed, cases: outcomes.len(), device, seed }),
    }
}

/// How many of the cases passed, and which did not.
fn verdict(outcomes: &[Outcome]) -> String {
    let failed: Vec<String> = outcomes.iter().filter(|outcome| !outcome.passed).map(named).collect();
    let (passed, all) = (outcomes.len() - failed.len(), outcomes.len());
    let which = if failed.is_empty() { String::new() } else { format!("; failed: {}", failed.join(", ")) };
    format!("{passed} of {all} cases passed{which}\n")
}

/// The case of an outcome, as its line names it.
fn named(Outcome { case, dtype, unfused, .. }: &Outcome) -> String {
    format!("{case}{} {dtype}", if *unfused { " unfused" } else { "" })
}

/// An outcome as one line.
struct OutcomeLine<'o>(&'o Outcome);

impl fmt::Display for OutcomeLine<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { tolerance, distance, error, .. } = self.0;
        write!(f, "{} {}: ", if self.0.passed { "✓" } else { "✗" }, named(self.0))?;
        match (distance, error) {
            (_, Some(error)) => write!(f, "did not run: {error}")?,
            (distance, None) => {
                write!(f, "{:.1e}, at most {tolerance:.0e}", distance.unwrap_or(f64::INFINITY))?;
            }
        }
        self.0.note.iter().try_for_each(|note| write!(f, "; {note}"))?;
        writeln!(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::DType;

    #[test]
    fn outcomes_are_lines() {
        let ran = Outcome {
            case: "gemm.plain_7x64x136".into(),
            unfused: false,
            dtype: DType::F32,
            distance: Some(0.5),
            tolerance: 1e-5,
            passed: false,
            error: None,
            note: None,
        };
        assert_eq!(OutcomeLine(&ran).to_string(), "✗ gemm.plain_7x64x136 f32: 5.0e-1, at most 1e-5\n");
        let note = Some("by other kernels".to_owned());
        let fallen = Outcome { unfused: true, distance: Some(0.0), passed: true, note, ..ran };
        let line = "✓ gemm.plain_7x64x136 unfused f32: 0.0e0, at most 1e-5; by other kernels\n";
        assert_eq!(OutcomeLine(&fallen).to_string(), line);
        let passed = [fallen];
        assert_eq!(verdict(&passed), "1 of 1 cases passed\n");
        let [fallen] = passed;
        let error = Some("no kernel".to_owned());
        let broken = Outcome { unfused: false, passed: false, distance: None, note: None, error, ..fallen };
        assert_eq!(OutcomeLine(&broken).to_string(), "✗ gemm.plain_7x64x136 f32: did not run: no kernel\n");
        let failed = "; failed: gemm.plain_7x64x136 f32\n";
        assert_eq!(verdict(&[broken]), format!("0 of 1 cases passed{failed}"));
    }
}
