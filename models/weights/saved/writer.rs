//! Writing of saved weights.

use super::pieces::{is_packed, pieces};
use reflux_ir::{Fact, WeightData};
use safetensors::tensor::TensorInfo;
use serde_json::{Map, Value, json};
use std::io::{self, Write};

/// The key of the header beside its tensors.
const METADATA: &str = "__metadata__";

/// What the weights of one file are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Shard {
    /// Names, and the types in which they are saved.
    weights: Vec<(String, Fact)>,
    /// The size of their tensors in the file.
    bytes: u64,
}

/// `weights` divided into files of at most `most` bytes of tensors each, in this order; a weight that is larger has a file of its
/// own.
///
/// # Errors
/// The first weight that no file can hold.
pub fn shards(
    weights: impl IntoIterator<Item = (String, Fact)>,
    most: u64,
) -> Result<Vec<Shard>, (String, Fact)> {
    let mut shards: Vec<Shard> = Vec::new();
    for (name, fact) in weights {
        let Some(pieces) = pieces(&name, &fact) else { return Err((name, fact)) };
        let bytes = pieces.iter().map(|piece| piece.bytes() as u64).sum();
        match shards.last_mut() {
            Some(shard) if shard.bytes + bytes <= most => {
                shard.bytes += bytes;
                shard.weights.push((name, fact));
            }
            _ => shards.push(Shard { weights: vec![(name, fact)], bytes }),
        }
    }
    Ok(shards)
}

impl Shard {
    /// Names and types of its weights.
    pub fn weights(&self) -> &[(String, Fact)] {
        &self.weights
    }

    /// The beginning of the file: all that is before its tensors.
    pub fn header(&self) -> Vec<u8> {
        let types = self.weights.iter().map(|(name, fact)| (name.clone(), Value::from(fact.to_string())));
        let mut header = Map::from_iter([(METADATA.to_owned(), Value::Object(types.collect()))]);
        let mut start = 0;
        for piece in self.weights.iter().flat_map(|(name, fact)| pieces(name, fact).expect("it was checked"))
        {
            let end = start + piece.bytes();
            let info = TensorInfo { dtype: piece.dtype, shape: piece.shape, data_offsets: (start, end) };
            header.insert(piece.name, json!(info));
            start = end;
        }
        let mut json = Value::Object(header).to_string().into_bytes();
        // As the format asks: tensors begin at a multiple of eight.
        json.resize(json.len().next_multiple_of(8), b' ');
        [&(json.len() as u64).to_le_bytes()[..], &json].concat()
    }

    /// Writes the whole file to `out`. `weight` gives each weight in the type asked for; one is in memory at a time.
    ///
    /// # Errors
    /// Those of `out` and of `weight`.
    ///
    /// # Panics
    /// If `weight` gives one of another type.
    pub fn write<E: From<io::Error>>(
        &self,
        out: &mut dyn Write,
        mut weight: impl FnMut(&str, &Fact) -> Result<WeightData, E>,
    ) -> Result<(), E> {
        out.write_all(&self.header())?;
        for (name, fact) in &self.weights {
            match weight(name, fact)? {
                WeightData::Dense(dense) => {
                    assert!(!fact.is_quantized() && dense.dtype == fact.dtype, "`{name}` is not {fact}");
                    out.write_all(&dense.bytes)?;
                }
                WeightData::Quantized(quantized) => {
                    assert!(quantized.fact.same_type(fact), "`{name}` is not {fact}");
                    match is_packed(fact) {
                        true => out.write_all(&packed(&quantized.codes))?,
                        false => out.write_all(&quantized.codes)?,
                    }
                    let dtype = fact.scales.expect("it is quantized").dtype;
                    out.write_all(&dtype.encode(&quantized.scales))?;
                    out.write_all(&dtype.encode(&quantized.zeros))?;
                }
            }
        }
        Ok(())
    }
}

/// Two neighbours to a byte, the first in its lower half.
fn packed(codes: &[u8]) -> Vec<u8> {
    codes.chunks_exact(2).map(|pair| pair[0] | pair[1] << 4).collect()
}
