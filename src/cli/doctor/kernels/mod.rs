//! `reflux doctor --kernels`: whether a device computes what programs mean.
//!
//! Each case runs on the device as the lossless passes leave it, and on a GPU as it is written too; and op by op on the
//! processor, which says what it means.

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
use reflux_models::Role;
use reflux_runtime::{Device, RunError, load};
use serde_json::json;

/// Runs all cases on `device` and prints how far each is from what it should be.
///
/// # Errors
/// [`Error::Kernels`] if one is too far, or did not run.
pub fn prove(device: Device, seed: u64, as_json: bool) -> Result<(), Error> {
    let info = device.probe().map_err(RunError::from)?;
    if !as_json {
        print(&format!("kernels of {device} ({}), seed {seed}: relative L2 distances\n", info.name))?;
    }
    let mut outcomes = Vec::new();
    for file in CaseFile::all()? {
        let drawn = Drawn::new(&file.program, seed);
        for case in &file.cases {
            for (form, dtype) in forms(device) {
                let outcome = compared(case, form, dtype, device, &drawn);
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

/// In which form a case runs on a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As the lossless passes leave it.
    Fused,
    /// As it is written.
    Written,
}

/// What kernels there are for.
fn forms(device: Device) -> [(Form, DType); 2] {
    match device {
        Device::Cpu => [(Form::Fused, DType::F32), (Form::Fused, DType::BF16)],
        Device::Cuda => [(Form::Fused, DType::BF16), (Form::Written, DType::BF16)],
    }
}

/// How far a case on `device` is from what it should be.
fn compared(case: &Case, form: Form, dtype: DType, device: Device, drawn: &Drawn) -> Outcome {
    let program = if dtype == DType::F32 { &case.in_f32 } else { &case.program };
    let run = || -> Result<(f64, Option<String>), Error> {
        let run = match form {
            Form::Fused => Driver::default().run(program.clone(), &lossless(Role::Denoiser, device))?.0,
            Form::Written => program.clone(),
        };
        // Codes of rounded numbers are others than those of the numbers: what has codes is compared in its own dtype, and where
        // the formulas round as well.
        let oracle = match (case.codes().is_some(), device) {
            (false, _) => &case.in_f32,
            (true, Device::Cpu) => program,
            (true, Device::Cuda) => &run,
        };
        let mut expected = load(Device::Cpu, oracle.clone(), drawn)?;
        let expected = run_steps(expected.as_mut(), &drawn.inputs_of(oracle))?;
        let inputs = drawn.inputs_of(&run);
        let mut executor = load(device, run, drawn)?;
        let note = note(form, executor.program(), executor.fallbacks());
        Ok((distance(&run_steps(executor.as_mut(), &inputs)?, &expected), note))
    };
    Outcome::new(case, form, dtype, run())
}

/// What keeps a case from proving much.
fn note(form: Form, program: &Program, fallbacks: &[String]) -> Option<String> {
    let mut ops = program.variants.values().flat_map(|graph| graph.ids().map(|id| &graph[id].op));
    let is_fused = ops.any(|op| matches!(op, Op::Gemm(_) | Op::Rowwise(_)));
    match fallbacks {
        [] => (form == Form::Fused && !is_fused).then(|| "no pass fuses anything of it".to_owned()),
        notes => Some(notes.join("; ")),
    }
}
