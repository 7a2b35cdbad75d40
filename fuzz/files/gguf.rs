//! GGUF files, with tensors of every type that is read and some that are not.

use super::{Outcome, Target, read_weights};
use crate::damage;
use fastrand::Rng;
use reflux_ir::{BlockFormat, DType};
use std::path::{Path, PathBuf};

/// Files of a few tensors, made from scratch.
pub struct Files;

/// Numbers by GGML's names of types, with the bytes of an element: F32, F16, BF16, I8, I16, I32, I64, F64.
const NUMBERS: [(u32, usize); 8] = [(0, 4), (1, 2), (30, 2), (24, 1), (25, 2), (26, 4), (27, 8), (28, 8)];

/// Where tensors begin is a multiple of this.
const ALIGNMENT: usize = 32;

const NAMES: [&str; 8] = [
    "img_in.weight",
    "double_blocks.0.img_attn.qkv.weight",
    "double_blocks.0.img_attn.norm.key_norm.scale",
    "double_blocks.0.img_mlp.0.weight",
    "single_blocks.0.linear2.weight",
    "token_embd.weight",
    "enc.blk.0.attn_q.weight",
    "a",
];

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A key with a value of some type, as files have them.
fn pair(rng: &mut Rng, at: usize) -> Vec<u8> {
    let key = match at {
        0 => "general.architecture".to_owned(),
        1 => "general.alignment".to_owned(),
        2 => format!("comfy.gguf.orig_shape.{}", NAMES[rng.usize(..NAMES.len())]),
        _ => format!("some.{at}"),
    };
    let value = match (at, rng.usize(0..6)) {
        (0, _) => {
            [8u32.to_le_bytes().to_vec(), text(["flux", "t5encoder", "clip", "llama"][rng.usize(0..4)])]
                .concat()
        }
        (1, _) => [4u32.to_le_bytes(), (ALIGNMENT as u32).to_le_bytes()].concat(),
        (2, _) => list(5, &[4u32, 64].map(u32::to_le_bytes).concat(), 2),
        (_, 0) => list(8, &[text("a"), text("bc")].concat(), 2),
        (_, 1) => list(9, &[list_body(0, &[1, 2, 3], 3), list_body(8, &text("x"), 1)].concat(), 2),
        (_, 2) => [12u32.to_le_bytes().to_vec(), 0.5f64.to_le_bytes().to_vec()].concat(),
        (_, 3) => [7u32.to_le_bytes().to_vec(), vec![1]].concat(),
        _ => [10u32.to_le_bytes().to_vec(), rng.u64(..).to_le_bytes().to_vec()].concat(),
    };
    [text(&key), value].concat()
}

/// A list of the type of elements `of`, and its type.
fn list(of: u32, elements: &[u8], count: u64) -> Vec<u8> {
    [9u32.to_le_bytes().to_vec(), list_body(of, elements, count)].concat()
}

fn list_body(of: u32, elements: &[u8], count: u64) -> Vec<u8> {
    [&of.to_le_bytes()[..], &count.to_le_bytes(), elements].concat()
}

/// The type and the bytes of a tensor of `elements`, which are whole blocks of some formats.
fn contents(rng: &mut Rng, columns: usize, elements: usize) -> (u32, Vec<u8>) {
    let fitting: Vec<_> =
        BlockFormat::ALL.iter().filter(|format| columns.is_multiple_of(format.elements())).collect();
    if !fitting.is_empty() && rng.usize(0..4) > 0 {
        let format = *fitting[rng.usize(..fitting.len())];
        return (format.id(), format.random(elements / format.elements(), 0.1, || rng.u8(..)));
    }
    // Most are floats, or nothing would be read.
    let (id, size) = NUMBERS[if rng.usize(0..8) == 0 { rng.usize(..NUMBERS.len()) } else { rng.usize(..3) }];
    let bytes = match id {
        0 => DType::F32.encode(&(0..elements).map(|_| rng.f32()).collect::<Vec<_>>()),
        _ => (0..elements * size).map(|_| rng.u8(..)).collect(),
    };
    (id, bytes)
}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let (mut infos, mut data, mut count) = (Vec::new(), Vec::new(), 0u64);
        for name in NAMES {
            // Only some rows can be split into those of queries, keys and values.
            if rng.usize(0..3) == 0 || (name.contains("qkv") && rng.bool()) {
                continue;
            }
            count += 1;
            let columns = [32, 64, 256, 512, 5][rng.usize(0..5)];
            let shape = [1, 2, 3, 4][..rng.usize(0..3)].iter().map(|&rows| rows as usize).collect::<Vec<_>>();
            let shape = [shape, vec![columns]].concat();
            let (id, bytes) = contents(rng, columns, shape.iter().product());
            infos.extend(text(name));
            infos.extend((shape.len() as u32).to_le_bytes());
            shape.iter().rev().for_each(|&extent| infos.extend((extent as u64).to_le_bytes()));
            infos.extend(id.to_le_bytes());
            infos.extend((data.len() as u64).to_le_bytes());
            data.extend(bytes);
            data.resize(data.len().next_multiple_of(ALIGNMENT), 0);
        }
        let pairs: Vec<Vec<u8>> = (0..rng.usize(0..7)).map(|at| pair(rng, at)).collect();
        let version = if rng.bool() { 3u32 } else { 2 };
        let mut bytes = [&b"GGUF"[..], &version.to_le_bytes(), &count.to_le_bytes()].concat();
        bytes.extend((pairs.len() as u64).to_le_bytes());
        bytes.extend(pairs.concat());
        bytes.extend(infos);
        // Of what is in front of the tensors every byte means something.
        if rng.bool() {
            damage::bytes(rng, &mut bytes);
        }
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(data);
        if rng.usize(0..4) == 0 {
            damage::bytes(rng, &mut bytes);
        }
        let path = folder.join(["flux.gguf", "flux.safetensors"][rng.usize(0..2)]);
        std::fs::write(&path, bytes)?;
        Ok(path)
    }

    fn read(&self, _folder: &Path, path: &Path) -> Outcome {
        read_weights(path)
    }
}
