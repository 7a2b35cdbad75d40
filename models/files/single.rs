//! Models that are one file of weights, as ComfyUI saves them with all of their networks.

use super::{ModelFiles, Parts};
use crate::error::ModelError;
use crate::family::Family;
use crate::net::Net;
use crate::weights::Weights;
use serde_json::Map;
use std::path::Path;

/// The model in the file `model`: all of its networks, but for those that `parts` replace. Configurations and tokenizers are
/// those in the folders beside the file, if there are any.
///
/// # Errors
/// If the file does not hold the denoiser of one of `families`, or lacks networks that are not given separately.
pub(super) fn find(
    families: &[&'static Family],
    model: &Path,
    parts: Parts,
) -> Result<ModelFiles, ModelError> {
    let family = family(families, model)?;
    if let Some(name) = parts.stranger(family) {
        let why = format!("{} has no network `{name}`; it has {}", family.name, super::names(family));
        return Err(ModelError::Setting { path: model.to_owned(), why });
    }
    let is_given = |net: &&'static Net| parts.get(net).is_some();
    let own = family.nets.iter().copied().filter(|net| !is_given(net));
    let missing: Vec<&Net> = own.clone().filter(|net| Weights::open_for(net, model).is_err()).collect();
    if !missing.is_empty() {
        let path = model.to_owned();
        let title = |net: &&Net| format!("{} ({})", net.architecture.title, net.option());
        let missing = missing.iter().map(title).collect();
        return Err(ModelError::LacksNetworks { path, missing, denoiser: family.denoiser().option() });
    }
    let parts = own.fold(parts.clone(), |parts, net| parts.with(net.name, model));
    let folder = model.parent().map_or_else(|| Path::new(".").to_owned(), Path::to_owned);
    Ok(ModelFiles { family, folder, parts, index: Map::new(), file: Some(model.to_owned()) })
}

/// The family whose denoiser the file holds.
fn family(families: &[&'static Family], model: &Path) -> Result<&'static Family, ModelError> {
    let mut first = None;
    for &family in families {
        match Weights::open_for(family.denoiser(), model) {
            Ok(_) => return Ok(family),
            Err(error) => first = first.or(Some(error)),
        }
    }
    Err(first.expect("there are families").into())
}
