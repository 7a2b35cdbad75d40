//! Opening of networks' weights.

use crate::Error;
use reflux_ir::DType;
use reflux_ir::pass::counted;
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, ModelFiles, Net};

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
