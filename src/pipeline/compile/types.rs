//! The types in which weights are saved.

use super::programs::Made;
use crate::pipeline::compiled::CompiledError;
use crate::pipeline::networks::Networks;
use reflux_ir::Fact;
use reflux_models::Net;
use std::collections::HashMap;

/// All weights that `programs` of `denoiser` read, in the order in which the first loads them, each as it is
/// [saved](Networks::saved).
///
/// # Errors
/// If one is read in two types, of which neither holds the other.
pub fn types(
    programs: &[Made],
    networks: &Networks,
    denoiser: &Net,
) -> Result<Vec<(String, Fact)>, CompiledError> {
    let (mut types, mut known) = (Vec::new(), HashMap::new());
    for graph in programs.iter().flat_map(|made| made.program.stages().map(|(_, graph)| graph)) {
        for (name, fact) in graph.weights() {
            let saved = networks.saved(denoiser, name, fact);
            match known.get(name) {
                None => {
                    known.insert(name.to_owned(), saved.clone());
                    types.push((name.to_owned(), saved));
                }
                Some(first) if saved.same_type(first) => {}
                Some(first) => {
                    let (name, first) = (name.to_owned(), first.clone());
                    return Err(CompiledError::TwoTypes { name, first, second: saved });
                }
            }
        }
    }
    Ok(types)
}
