//! Files of weights, and indices of several.

use super::{Outcome, Target, read_weights};
use crate::damage;
use fastrand::Rng;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const INDEX: &str = "model.safetensors.index.json";

/// Two files of a few tensors and their index, of which one is damaged; or a file alone.
#[derive(Default)]
pub struct Files {}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
        let mut index = json!({ "metadata": { "total_size": 200 }, "weight_map": {} });
        let damaged = rng.usize(0..3);
        for (at, name) in names.iter().enumerate() {
            let (mut header, mut data) = tensors(rng, at);
            for tensor in header.as_object().expect("it is a map").keys().filter(|key| *key != "__metadata__")
            {
                index["weight_map"][tensor] = json!(name);
            }
            let by_value = damaged == at && rng.bool();
            if by_value {
                damage::json(rng, &mut header);
            }
            let header = header.to_string().into_bytes();
            let mut bytes = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
            bytes.append(&mut data);
            if damaged == at && (!by_value || rng.usize(0..4) == 0) {
                damage::bytes(rng, &mut bytes);
            }
            std::fs::write(folder.join(name), bytes)?;
        }
        if damaged == 2 {
            damage::json(rng, &mut index);
        }
        let mut index = index.to_string().into_bytes();
        if damaged == 2 && rng.usize(0..4) == 0 {
            damage::bytes(rng, &mut index);
        }
        std::fs::write(folder.join(INDEX), index)?;
        // A damaged file by itself, or with the others.
        let alone = names.get(damaged).filter(|_| rng.bool());
        Ok(folder.join(alone.copied().unwrap_or(INDEX)))
    }

    fn read(&self, _folder: &Path, path: &Path) -> Outcome {
        read_weights(path)
    }
}

/// The header and the data of file number `file`.
fn tensors(rng: &mut Rng, file: usize) -> (Value, Vec<u8>) {
    const NAMES: [&str; 6] = [
        "x_embedder.weight",
        "transformer_blocks.0.attn.norm_q.weight",
        "text_model.embeddings.token_embedding.weight",
        "decoder.conv_in.bias",
        "shared.weight",
        "a",
    ];
    const TYPES: [(&str, usize); 9] = [
        ("F32", 4),
        ("F16", 2),
        ("BF16", 2),
        ("I8", 1),
        ("U8", 1),
        ("I64", 8),
        ("F8_E4M3", 1),
        ("F8_E5M2", 1),
        ("BOOL", 1),
    ];
    let mut header = json!({});
    if rng.usize(0..4) == 0 {
        header["__metadata__"] = json!({ "format": "pt" });
    }
    let mut end = 0;
    for (at, name) in NAMES.iter().enumerate().filter(|(at, _)| at % 2 == file) {
        // Types that cannot be read are rare, or nothing would be.
        let (dtype, size) = TYPES[if rng.usize(0..8) == 0 { rng.usize(..TYPES.len()) } else { at % 3 }];
        let shape: Vec<usize> = (0..rng.usize(0..4)).map(|_| rng.usize(1..4)).collect();
        let start = end;
        end += shape.iter().product::<usize>() * size;
        header[*name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": [start, end] });
    }
    (header, (0..end).map(|_| rng.u8(..)).collect())
}
