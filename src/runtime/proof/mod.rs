//! Checks that a device computes what programs mean.
//!
//! Each case runs on the device after the default passes and, if the device has kernels for it, also as written. The
//! reference is a run op by op on the CPU.

mod case;
mod drawn;
mod outcome;

pub use outcome::Outcome;

use crate::compare::distance;
use crate::runs::run_steps;
use crate::{Device, Form, Oracle, load};
use case::{Case, CaseFile};
pub use drawn::Noise;

use drawn::Drawn;
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Op, Program};
use std::error::Error;

/// Runs all cases on `device` with numbers that `noise` makes from `seed`; `passes` are the device's default ones. Reports each
/// to `observe`.
pub fn prove(device: Device, passes: &Pipeline, noise: Noise, seed: u64, observe: &mut dyn FnMut(Outcome)) {
    for file in CaseFile::all() {
        let drawn = Drawn::new(&file.program, noise, seed);
        for case in &file.cases {
            for &(form, dtype) in device.proofs() {
                let run = run(case, form, dtype, device, passes, &drawn);
                observe(Outcome::new(case, device, (form, dtype), run.map_err(|error| error.to_string())));
            }
        }
    }
}

/// The distance of a case on `device` from its reference, and why it may prove little.
fn run(
    case: &Case,
    form: Form,
    dtype: DType,
    device: Device,
    passes: &Pipeline,
    drawn: &Drawn,
) -> Result<(f64, Option<String>), Box<dyn Error>> {
    let program = if dtype == DType::F32 { &case.in_f32 } else { &case.program };
    let run = match form {
        Form::Fused => Driver::default().run(program.clone(), passes)?.0,
        Form::Written => program.clone(),
    };
    // Rounding numbers can change their codes, so programs with codes are compared in their own dtype.
    let oracle = match (case.codes(), device.oracle_of_codes()) {
        (None, _) => &case.in_f32,
        (Some(_), Oracle::AsWritten) => program,
        (Some(_), Oracle::AsRun) => &run,
    };
    let mut expected = load(Device::host(), oracle.clone(), drawn)?;
    let expected = run_steps(expected.as_mut(), &drawn.inputs_of(oracle))?;
    let inputs = drawn.inputs_of(&run);
    let mut executor = load(device, run, drawn)?;
    let note = note(form, executor.program(), executor.fallbacks());
    Ok((distance(&run_steps(executor.as_mut(), &inputs)?, &expected), note))
}

/// Why a case may prove little.
fn note(form: Form, program: &Program, fallbacks: &[String]) -> Option<String> {
    let mut ops = program.variants.values().flat_map(|graph| graph.ids().map(|id| &graph[id].op));
    let is_fused = ops.any(Op::is_fused);
    match fallbacks {
        [] => (form == Form::Fused && !is_fused).then(|| "no pass fuses anything in it".to_owned()),
        notes => Some(notes.join("; ")),
    }
}
