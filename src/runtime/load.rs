//! Loading of programs onto a device.

use crate::backend::Loading;
use crate::{Device, Execute, RunError};
use reflux_ir::{Program, WeightSource, verify};
use std::rc::Rc;

/// Loads `program` and its weights onto `device`. Weights are read one at a time.
pub fn load(
    device: Device,
    program: Program,
    weights: &dyn WeightSource,
) -> Result<Box<dyn Execute>, RunError> {
    open(device, Loading { program, weights, streamed: None })
}

/// Like [`load`], but weights of prepare stages are on the device only while those run, and are read again each time.
pub fn load_streaming(
    device: Device,
    program: Program,
    weights: Rc<dyn WeightSource>,
) -> Result<Box<dyn Execute>, RunError> {
    open(device, Loading { program, weights: &*weights, streamed: Some(weights.clone()) })
}

fn open(device: Device, loading: Loading) -> Result<Box<dyn Execute>, RunError> {
    device.probe()?;
    verify(&loading.program)?;
    device.backend().load(loading)
}
