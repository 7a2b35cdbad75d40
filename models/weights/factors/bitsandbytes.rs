//! Codes of four bits of bitsandbytes, NF4 and FP4: a matrix's bytes, and beside it a table of what its codes stand for, a factor
//! for each block of elements, which may be quantized too, and JSON that says how (`bitsandbytes/functional.py`, `QuantState`).

use super::Joining;
use crate::weights::encoding::{Looked, TensorEncoding};
use crate::weights::error::WeightsError;
use crate::weights::stored::Stored;
use reflux_ir::DType;
use serde::Deserialize;
use std::sync::Arc;

/// The endings of the tensors with JSON, behind the matrix's name.
const STATES: [&str; 2] = ["quant_state.bitsandbytes__nf4", "quant_state.bitsandbytes__fp4"];

#[derive(Deserialize)]
struct State {
    blocksize: usize,
    shape: Vec<usize>,
    nested_blocksize: Option<usize>,
    nested_offset: Option<f32>,
}

pub(super) fn join(joining: &mut Joining<'_>) -> Result<(), WeightsError> {
    for ending in STATES {
        for weight in joining.modules(ending) {
            join_weight(joining, &weight, &format!("{weight}.{ending}"))?;
        }
    }
    Ok(())
}

/// Joins the matrix `weight`, whose JSON is the tensor `state`.
fn join_weight(joining: &mut Joining<'_>, weight: &str, state: &str) -> Result<(), WeightsError> {
    let (_, json) = joining.take(state).expect("it was found");
    let parsed: Result<State, _> = serde_json::from_slice(&json);
    let said = parsed
        .map_err(|error| joining.refuse(state, format!("does not say how it is quantized ({error})")))?;
    let elements = said.shape.iter().try_fold(1usize, |all, &extent| all.checked_mul(extent));
    // Two codes share a byte, and rows begin with one.
    let is_even = |extent: Option<&usize>| extent.is_some_and(|extent| extent.is_multiple_of(2));
    let elements = elements.filter(|_| said.blocksize > 0 && said.blocksize.is_multiple_of(2));
    let elements = elements.filter(|_| said.shape.len() < 2 || is_even(said.shape.last()));
    let elements = elements.ok_or_else(|| joining.refuse(state, "has an absurd shape or block size"))?;
    let Some(stored) = joining.tensors.get(weight).cloned() else {
        return Err(joining.refuse(weight, "is missing, but its scales are there"));
    };
    let have: usize = stored.parts.iter().map(|part| part.len()).sum();
    if have != elements.div_ceil(2) {
        return Err(joining.refuse(weight, format!("has {have} bytes, not those of {elements} codes")));
    }
    let table = numbers(joining, &format!("{weight}.quant_map"), 16)?;
    let table = <[f32; 16]>::try_from(table).expect("there are 16");
    let blocks = elements.div_ceil(said.blocksize);
    let factors =
        match (said.nested_blocksize, joining.tensors.contains_key(&format!("{weight}.nested_absmax"))) {
            (Some(nested), true) if nested > 0 => nested_factors(joining, weight, &said, nested, blocks)?,
            _ => numbers(joining, &format!("{weight}.absmax"), blocks)?,
        };
    let looked = Looked { table, factors: Arc::new(factors), block: said.blocksize, start: 0 };
    let joined = Stored {
        encoding: TensorEncoding::Looked(looked),
        whole: said.shape.clone(),
        shape: said.shape,
        ..stored
    };
    joining.tensors.insert(weight.to_owned(), joined);
    Ok(())
}

/// Factors that are codes of eight bits themselves.
fn nested_factors(
    joining: &mut Joining<'_>,
    weight: &str,
    said: &State,
    nested: usize,
    blocks: usize,
) -> Result<Vec<f32>, WeightsError> {
    let name = format!("{weight}.absmax");
    let Some((_, codes)) = joining.take(&name) else { return Err(joining.refuse(&name, "is missing")) };
    if codes.len() != blocks {
        return Err(joining.refuse(&name, format!("has {} bytes, not {blocks}", codes.len())));
    }
    let table = numbers(joining, &format!("{weight}.nested_quant_map"), 256)?;
    let factors = numbers(joining, &format!("{weight}.nested_absmax"), blocks.div_ceil(nested))?;
    let offset = said.nested_offset.unwrap_or(0.0);
    let factor = |(i, &code): (usize, &u8)| table[usize::from(code)] * factors[i / nested] + offset;
    Ok(codes.iter().enumerate().map(factor).collect())
}

/// Takes the `count` f32 numbers of the tensor `name`.
fn numbers(joining: &mut Joining<'_>, name: &str, count: usize) -> Result<Vec<f32>, WeightsError> {
    let Some((_, bytes)) = joining.take(name) else { return Err(joining.refuse(name, "is missing")) };
    if bytes.len() != 4 * count {
        return Err(
            joining.refuse(name, format!("has {} bytes, not those of {count} f32 numbers", bytes.len()))
        );
    }
    let numbers = DType::F32.decode(&bytes);
    match numbers.iter().find(|number| !number.is_finite()) {
        Some(number) => Err(joining.refuse(name, format!("holds {number}, which is not a factor"))),
        None => Ok(numbers),
    }
}
