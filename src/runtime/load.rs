//! Loading of programs onto a device.

use crate::backend::Loading;
use crate::ranks::Ranks;
use crate::{Device, Execute, RunError};
use reflux_ir::{Program, WeightSource, verify};
use std::sync::Arc;

/// Loads `program`, which is for one device, and its weights onto `device`. Weights are read one at a time.
pub fn load(
    device: Device,
    program: Program,
    weights: &dyn WeightSource,
) -> Result<Box<dyn Execute>, RunError> {
    open(device, program, weights, None)
}

/// Like [`load`], for programs on several devices too, each of which reads all weights.
pub fn load_shared(
    device: Device,
    program: Program,
    weights: Arc<dyn WeightSource>,
) -> Result<Box<dyn Execute>, RunError> {
    shared(device, program, weights, false)
}

/// Like [`load`], but weights of prepare stages are on the device only while those run, and are read again each time.
pub fn load_streaming(
    device: Device,
    program: Program,
    weights: Arc<dyn WeightSource>,
) -> Result<Box<dyn Execute>, RunError> {
    shared(device, program, weights, true)
}

fn shared(
    device: Device,
    program: Program,
    weights: Arc<dyn WeightSource>,
    streams: bool,
) -> Result<Box<dyn Execute>, RunError> {
    if program.devices().is_none() {
        return open(device, program, &*weights, streams.then(|| weights.clone()));
    }
    let device = device.running(&program)?;
    verify(&program)?;
    Ok(Box::new(Ranks::load(device.backend(), device.ordinal(), program, &weights, streams)?))
}

fn open(
    device: Device,
    program: Program,
    weights: &dyn WeightSource,
    streamed: Option<Arc<dyn WeightSource>>,
) -> Result<Box<dyn Execute>, RunError> {
    if let Some(devices) = program.devices() {
        return Err(RunError::Sharded { devices });
    }
    if device.count() > 1 {
        return Err(RunError::Devices {
            program: 1,
            given: device.count(),
            example: device.first().to_string(),
        });
    }
    device.probe()?;
    verify(&program)?;
    device.backend().load(Loading { program, weights, streamed, ordinal: device.ordinal(), rank: None })
}
