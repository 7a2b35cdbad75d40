//! The extents of inputs that a file leaves open, and how often inputs change.

use super::error::OnnxError;
use super::file::{Dim, Input};
use reflux_ir::Rate;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is told of the inputs beside the file.
#[derive(Clone, Debug, Default)]
pub struct Dims {
    /// The extents of named axes: of an axis without a name, `INPUT.AXIS`.
    pub extents: BTreeMap<String, usize>,
    /// How often inputs change; those that are not named, at every step.
    pub rates: BTreeMap<String, Rate>,
}

impl Dims {
    /// How often the input `name` changes.
    pub fn rate(&self, name: &str) -> Rate {
        self.rates.get(name).copied().unwrap_or(Rate::Latent)
    }

    /// The shapes of `inputs`, of the file at `path`.
    ///
    /// # Errors
    /// With all axes whose extent is not known, and with a name that no axis or input has.
    pub fn shapes(&self, path: &Path, inputs: &[Input]) -> Result<Vec<Vec<usize>>, OnnxError> {
        let names: BTreeSet<String> = inputs.iter().flat_map(open).map(|(_, name)| name).collect();
        let unknown = self.extents.keys().find(|name| !names.contains(*name));
        if let Some(name) = unknown {
            let (path, name) = (path.to_owned(), name.clone());
            return Err(OnnxError::UnknownDim { path, name, names: names.into_iter().collect() });
        }
        if let Some(name) = self.rates.keys().find(|name| inputs.iter().all(|input| input.name != **name)) {
            let (path, name) = (path.to_owned(), name.clone());
            let names = inputs.iter().map(|input| input.name.clone()).collect();
            return Err(OnnxError::UnknownInput { path, name, names });
        }
        let mut shapes = Vec::with_capacity(inputs.len());
        let mut lacking = Vec::new();
        for input in inputs {
            let own = |axis: usize| match &input.dims[axis] {
                Dim::Fixed(extent) => Some(*extent),
                Dim::Named(_) => self.extents.get(&name_of(input, axis)).copied(),
            };
            let shape: Vec<Option<usize>> = (0..input.dims.len()).map(own).collect();
            if shape.iter().any(Option::is_none) {
                let axis = |(axis, extent): (usize, &Option<usize>)| match extent {
                    Some(extent) => extent.to_string(),
                    None => name_of(input, axis),
                };
                let axes: Vec<String> = shape.iter().enumerate().map(axis).collect();
                lacking.push(format!("{}[{}]", input.name, axes.join(", ")));
            }
            shapes.push(shape.into_iter().flatten().collect());
        }
        match lacking.is_empty() {
            true => Ok(shapes),
            false => Err(OnnxError::Dims { path: path.to_owned(), inputs: lacking }),
        }
    }
}

/// The axes of `input` whose extent is not said, with their names.
fn open(input: &Input) -> impl Iterator<Item = (usize, String)> {
    let is_open = |axis: &usize| matches!(input.dims[*axis], Dim::Named(_));
    (0..input.dims.len()).filter(is_open).map(|axis| (axis, name_of(input, axis)))
}

/// What an axis whose extent is not said is called.
pub fn name_of(input: &Input, axis: usize) -> String {
    match &input.dims[axis] {
        Dim::Named(Some(name)) => name.clone(),
        _ => format!("{}.{axis}", input.name),
    }
}
