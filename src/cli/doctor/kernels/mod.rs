//! `reflux doctor --kernels`: whether a device computes what programs mean.
//!
//! Each case runs on the device as the lossless passes leave it, and as it is written, op by op, on the processor.

mod case;
mod drawn;
mod outcome;

use crate::Error;
use crate::cli::compare::distance;
use crate::cli::print;
use crate::cli::steps::run_steps;
use crate::pipeline::lossless;
use case::{Case, CaseFile};
use drawn::Drawn;
use outcome::Outcome;
use reflux_ir::pass::Driver;
use reflux_ir::{DType, Op, Program};
use reflux_models::Net;
use reflux_runtime::{Device, RunError, load};
use serde_json::json;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Runs all cases on `device` and prints how far each is from what it should be.
///
/// # Errors
/// [`Error::Kernels`] if one is too far, or did not run.
pub fn prove(device: Device, seed: Option<u64>, as_json: bool) -> Result<(), Error> {
    let info = device.probe().map_err(RunError::from)?;
    // Short enough to be typed again.
    let seed = seed.unwrap_or_else(|| RandomState::new().build_hasher().finish() % 1_000_000);
    if !as_json {
        print(&format!("kernels of {device} ({}), seed {seed}: relative L2 distances\n", info.name))?;
    }
    let mut outcomes = Vec::new();
    for file in CaseFile::all()? {
        let drawn = Drawn::new(&file.program, seed);
        for case in &file.cases {
            for &dtype in dtypes(device) {
                let outcome = compared(case, dtype, device, &drawn);
                if !as_json {
                    print(&outcome.to_string())?;
                }
                outcomes.push(outcome);
            }
        }
    }
    if as_json {
        print(&format!("{:#}\n", json!({ "device": info, "seed": seed, "cases": outcomes })))?;
    }
    match outcomes.iter().filter(|outcome| !outcome.passed()).count() {
        0 => Ok(()),
        failed => Err(Error::Kernels { failed, cases: outcomes.len(), device, seed }),
    }
}

/// What kernels there are for.
fn dtypes(device: Device) -> &'static [DType] {
    match device {
        Device::Cpu => &[DType::F32, DType::BF16],
        Device::Cuda => &[DType::BF16],
    }
}

/// How far a case on `device` is from what it should be.
fn compared(case: &Case, dtype: DType, device: Device, drawn: &Drawn) -> Outcome {
    let program = if dtype == DType::F32 { &case.in_f32 } else { &case.program };
    let run = || -> Result<(f64, Option<String>), Error> {
        let (fused, _) = Driver::default().run(program.clone(), &lossless(Net::Transformer, device))?;
        // Codes of rounded numbers are others than those of the numbers: what has codes is compared in its own dtype, and where
        // the formulas round as well.
        let oracle = match (case.codes().is_some(), device) {
            (false, _) => &case.in_f32,
            (true, Device::Cpu) => program,
            (true, Device::Cuda) => &fused,
        };
        let mut expected = load(Device::Cpu, oracle.clone(), drawn)?;
        let expected = run_steps(expected.as_mut(), &drawn.inputs_of(oracle))?;
        let inputs = drawn.inputs_of(&fused);
        let mut executor = load(device, fused, drawn)?;
        let note = note(executor.program(), executor.fallbacks());
        Ok((distance(&run_steps(executor.as_mut(), &inputs)?, &expected), note))
    };
    Outcome::new(case, dtype, run())
}

/// What keeps a case from proving much.
fn note(fused: &Program, fallbacks: &[String]) -> Option<String> {
    let mut ops = fused.variants.values().flat_map(|graph| graph.ids().map(|id| &graph[id].op));
    let is_fused = ops.any(|op| matches!(op, Op::Gemm(_) | Op::Rowwise(_)));
    match fallbacks {
        [] => (!is_fused).then(|| "no pass fuses anything of it".to_owned()),
        notes => Some(notes.join("; ")),
    }
}
