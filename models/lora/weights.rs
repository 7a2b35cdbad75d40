//! Weights of a network with LoRAs.

use super::applied::{Loras, MERGED, Origin, padded};
use super::change::Delta;
use super::error::LoraError;
use super::file::Elements;
use super::fit::Change;
use super::merge::merged;
use super::places::Place;
use crate::net::Net;
use reflux_ir::{DType, Fact, HostTensor, WeightData, WeightError, WeightRows, WeightSource};
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::Arc;

/// The weights of a network, those with [`MERGED`] behind their name with LoRAs merged into them, and the weights of the
/// products beside its linears.
pub struct LoraWeights {
    base: Arc<dyn WeightSource>,
    net: &'static Net,
    loras: Loras,
    /// The weights of products beside linears, by name.
    beside: HashMap<String, Beside>,
}

/// Where a weight of such a product comes from.
struct Beside {
    /// The parts that it has, one behind the other.
    origins: Vec<Origin>,
    /// The tensor for which it is `B`; `None` for `A`.
    up_of: Option<String>,
}

/// The part of one LoRA in `A`, rows, or in `B`, columns.
struct Part<'l> {
    elements: Elements<'l>,
    rank: usize,
    padded: usize,
    /// What `B` is multiplied by.
    factor: f32,
}

impl LoraWeights {
    /// Those of `net`, of which `base` are the checkpoint's.
    pub fn new(base: Arc<dyn WeightSource>, net: &'static Net, loras: Loras) -> Self {
        let mut beside = HashMap::new();
        for (low_rank, origins) in loras.origins(net) {
            beside.insert(low_rank.down, Beside { origins: origins.clone(), up_of: None });
            beside.insert(low_rank.up, Beside { origins, up_of: Some(low_rank.weight) });
        }
        Self { base, net, loras, beside }
    }

    /// The weight `tensor` with what the files change of it, in f32, rounded once.
    fn merged(&self, tensor: &str, fact: &Fact) -> Result<HostTensor, WeightError> {
        const CODES: &str = "a LoRA cannot be merged into codes; keep it beside the product with --lora-mode branch, or give \
                             weights that are not quantized";
        if fact.dtype.is_block() {
            return Err(unreadable(tensor, &CODES));
        }
        match self.base.weight(tensor, &Fact::new(DType::F32, fact.shape.clone()))? {
            WeightData::Dense(base) => {
                let dtype = fact.unquantized().dtype;
                merged(&self.loras, self.net, tensor, &base, dtype)
                    .map_err(|error| unreadable(tensor, &error))
            }
            WeightData::Quantized(_) => Err(unreadable(tensor, &CODES)),
        }
    }

    /// The part that comes from `origin`, and where that is.
    fn part(&self, origin: Origin, is_up: bool) -> Result<(Part<'_>, &Place), LoraError> {
        let (lora, fitted, &Change { ref delta, factor }) = self.loras.at(origin);
        let Delta::LowRank { down, up } = delta else {
            unreachable!("only products of low rank are kept beside")
        };
        let rank = down.shape[0];
        let elements = lora.file.elements(if is_up { up } else { down })?;
        Ok((Part { elements, rank, padded: padded(rank), factor }, &fitted.weight))
    }

    /// `A`, or `alpha / rank` times the rows of `B` for one tensor, in `dtype`, of one LoRA after the other; zeros make their
    /// ranks [`padded`].
    fn low_rank(&self, beside: &Beside, fact: &Fact) -> Result<WeightRows<'_>, LoraError> {
        let dtype = fact.unquantized().dtype;
        let parts = beside.origins.iter().map(|&origin| self.part(origin, beside.up_of.is_some()));
        let parts: Vec<(Part<'_>, &Place)> = parts.collect::<Result<_, _>>()?;
        let rank = parts.iter().map(|(part, _)| part.padded).sum();
        Ok(match &beside.up_of {
            None => {
                let parts: Vec<Part<'_>> = parts.into_iter().map(|(part, _)| part).collect();
                let features = fact.shape.columns();
                WeightRows::new(Fact::new(dtype, [rank, features]), move |first, to| {
                    let mut values = vec![0.0; to.len() / dtype.bytes()];
                    let rows = values.chunks_exact_mut(features);
                    (first..).zip(rows).for_each(|(row, to)| read_down(&parts, row, to));
                    to.copy_from_slice(&dtype.encode(&values));
                })
            }
            Some(tensor) => {
                let parts = parts.into_iter().map(|(part, place)| {
                    let own = place.segments.iter().filter(|segment| segment.tensor == *tensor);
                    (part, own.flat_map(|segment| segment.rows.clone()).collect())
                });
                let parts: Vec<(Part<'_>, Vec<usize>)> = parts.collect();
                let features = parts[0].1.len();
                WeightRows::new(Fact::new(dtype, [features, rank]), move |first, to| {
                    let mut values = vec![0.0; to.len() / dtype.bytes()];
                    let rows = values.chunks_exact_mut(rank);
                    (first..).zip(rows).for_each(|(row, to)| read_up(&parts, row, to));
                    to.copy_from_slice(&dtype.encode(&values));
                })
            }
        })
    }

    /// The rows of a weight beside a product; `None` for any other.
    fn own_rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let Some(beside) = self.beside.get(name) else { return Ok(None) };
        let rows = self.low_rank(beside, fact);
        rows.map(Some).map_err(|error| unreadable(name, &error))
    }
}

/// Reads the row `row` of `A` of all parts.
fn read_down(parts: &[Part<'_>], mut row: usize, to: &mut [f32]) {
    for part in parts {
        if row < part.rank {
            return part.elements.read(row * to.len(), to);
        }
        if row < part.padded {
            return;
        }
        row -= part.padded;
    }
}

/// Reads the row `row` of `B` of all parts, of whose `B` the rows `places` are wanted.
fn read_up(parts: &[(Part<'_>, Vec<usize>)], row: usize, mut to: &mut [f32]) {
    for (part, places) in parts {
        let (own, rest) = to.split_at_mut(part.padded);
        let own = &mut own[..part.rank];
        part.elements.read(places[row] * part.rank, own);
        own.iter_mut().for_each(|value| *value *= part.factor);
        to = rest;
    }
}

fn unreadable(name: &str, why: &dyn Display) -> WeightError {
    WeightError::Unreadable { name: name.to_owned(), why: why.to_string() }
}

impl WeightSource for LoraWeights {
    fn weight(&self, name: &str, fact: &Fact) -> Result<WeightData, WeightError> {
        if let Some(tensor) = name.strip_suffix(MERGED) {
            return Ok(self.merged(tensor, fact)?.into());
        }
        match self.own_rows(name, fact)? {
            Some(rows) => Ok((&rows).into()),
            None => self.base.weight(name, fact),
        }
    }

    fn rows(&self, name: &str, fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        if name.ends_with(MERGED) {
            return Ok(None);
        }
        match self.own_rows(name, fact)? {
            Some(rows) => Ok(Some(rows)),
            None => self.base.rows(name, fact),
        }
    }
}
