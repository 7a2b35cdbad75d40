//! Opening of networks' weights.

use super::Networks;
use crate::Error;
use reflux_ir::pass::counted;
use reflux_ir::{DType, Fact};
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, ModelFiles, Net, Sizes};
use std::collections::HashMap;

impl Networks {
    /// What a weight of `net`, which its program reads as `fact`, is saved as: as it is read, but numbers that the model stores in
    /// fewer bits, in these. Reading them as more loses nothing, and fewer bytes are read.
    pub fn saved(&self, net: &Net, name: &str, fact: &Fact) -> Fact {
        let stored = self.own_weights(net).and_then(|weights| weights.get(name).ok());
        let stored = stored.map(|view| view.dtype);
        let fewer = stored.filter(|dtype| !fact.is_coded() && dtype.bits() < fact.dtype.bits());
        Fact { dtype: fewer.unwrap_or(fact.dtype), ..fact.clone() }
    }

    /// The bytes of all weights of `net` at these sizes, each as it is [saved](Self::saved).
    ///
    /// # Errors
    /// If passes fail on it.
    pub fn weight_bytes(&mut self, net: &'static Net, sizes: &Sizes) -> Result<u64, Error> {
        self.optimized(net, sizes)?;
        let weights = self.optimized[net].program.weights();
        let compiled = self.compiled_of(net).map(|compiled| compiled.weights());
        // What is compiled is saved already.
        let known: HashMap<&str, &Fact> = compiled.iter().flat_map(|weights| weights.types()).collect();
        let bytes = |(name, fact): (&&str, &&Fact)| match known.get(name) {
            Some(saved) => saved.bytes(),
            None => self.saved(net, name, fact).bytes(),
        };
        Ok(weights.iter().map(bytes).sum())
    }
}

/// Opens the weights of `net`, reading only headers. Adds to `warnings`.
///
/// # Errors
/// If they cannot be read, or names, shapes or types of tensors are not those of the network.
pub(crate) fn open_weights(
    files: &ModelFiles,
    config: &ModelConfig,
    net: &'static Net,
    warnings: &mut Vec<String>,
) -> Result<Weights, Error> {
    let weights = files.weights(net)?;
    let path = files.weights_path(net);
    // A checkpoint belongs to the network before any passes; its names and shapes do not depend on sizes.
    let unused =
        weights.check_for(&config.lower(net, &config.family().geometry.smallest(), DType::F32)?, &[])?;
    let path = path.display();
    if let Some(first) = unused.first() {
        let are = if unused.len() == 1 { "is" } else { "are" };
        warnings.push(format!(
            "{path}: {} {are} not used; the first is `{first}`",
            counted(unused.len(), "tensor")
        ));
    }
    let blank = weights.blank();
    if let Some(first) = blank.first() {
        let count =
            if blank.len() == 1 { "a matrix".to_owned() } else { format!("{} matrices", blank.len()) };
        warnings.push(format!(
            "{path}: {count} of zeros only, `{first}` being the first: probably a download that was cut off, with which \
             pictures are noise; download it again"
        ));
    }
    Ok(weights)
}
