//! Tensors of safetensors files, and files of them with something changed.

use crate::damage;
use fastrand::Rng;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Types of tensors, with the bytes of an element.
const TYPES: [(&str, usize); 10] = [
    ("F32", 4),
    ("F16", 2),
    ("BF16", 2),
    ("I8", 1),
    ("U8", 1),
    ("I64", 8),
    ("F64", 8),
    ("F8_E4M3", 1),
    ("F8_E5M2", 1),
    ("BOOL", 1),
];

/// A tensor as a file has it.
#[derive(Clone)]
pub struct Tensor {
    pub name: String,
    pub dtype: String,
    pub shape: Vec<usize>,
    pub bytes: Vec<u8>,
}

impl Tensor {
    pub fn new(name: impl Into<String>, dtype: &str, shape: &[usize], bytes: Vec<u8>) -> Self {
        Self { name: name.into(), dtype: dtype.to_owned(), shape: shape.to_vec(), bytes }
    }

    /// One of random bytes.
    pub fn random(rng: &mut Rng, name: impl Into<String>, dtype: &str, shape: &[usize]) -> Self {
        let mut tensor = Self::new(name, dtype, shape, Vec::new());
        tensor.fit(|| rng.u8(..));
        tensor
    }

    /// Gives it as many bytes as its type and shape say.
    fn fit(&mut self, next: impl FnMut() -> u8) {
        let size = TYPES.iter().find(|(name, _)| *name == self.dtype).map_or(1, |(_, size)| *size);
        self.bytes.resize_with(self.shape.iter().product::<usize>() * size, next);
    }
}

/// The tensors and the metadata of the safetensors file at `path`.
pub fn read(path: &Path) -> (Vec<Tensor>, Value) {
    let bytes = std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().expect("it is eight bytes")) as usize;
    let mut header: Map<String, Value> = serde_json::from_slice(&rest[..length]).expect("it is JSON");
    let metadata = header.remove("__metadata__").unwrap_or(Value::Null);
    let number = |value: &Value| value.as_u64().expect("it is a number") as usize;
    let tensors = header.into_iter().map(|(name, said)| {
        let shape: Vec<usize> = said["shape"].as_array().expect("it is a list").iter().map(number).collect();
        let [start, end] = [0, 1].map(|at| length + number(&said["data_offsets"][at]));
        Tensor::new(name, said["dtype"].as_str().expect("it is a text"), &shape, rest[start..end].to_vec())
    });
    (tensors.collect(), metadata)
}

/// A file of `tensors` in which something is wrong: tensors that are no longer of a kind, a header that does not fit them, or bytes.
pub fn damaged(rng: &mut Rng, mut tensors: Vec<Tensor>, mut metadata: Value) -> Vec<u8> {
    let (mut changes, in_header) = (rng.usize(0..3), rng.usize(0..4) == 0);
    let in_bytes = rng.usize(0..6) == 0;
    if changes == 0 && !in_header && !in_bytes {
        changes = rng.usize(0..2);
    }
    (0..changes).for_each(|_| change(rng, &mut tensors));
    if !metadata.is_null() && rng.usize(0..4) == 0 {
        damage::json(rng, &mut metadata);
    }
    let mut header = json!({});
    if !metadata.is_null() {
        header["__metadata__"] = metadata;
    }
    let mut end = 0;
    for tensor in &tensors {
        let start = end;
        end += tensor.bytes.len();
        header[&*tensor.name] =
            json!({ "dtype": tensor.dtype, "shape": tensor.shape, "data_offsets": [start, end] });
    }
    if in_header {
        damage::json(rng, &mut header);
    }
    let header = header.to_string().into_bytes();
    let mut bytes = [&(header.len() as u64).to_le_bytes()[..], &header].concat();
    tensors.iter().for_each(|tensor| bytes.extend(&tensor.bytes));
    if in_bytes {
        damage::bytes(rng, &mut bytes);
    }
    bytes
}

/// Changes one of `tensors`, so that the file is still well-formed.
fn change(rng: &mut Rng, tensors: &mut Vec<Tensor>) {
    if tensors.is_empty() {
        return;
    }
    let (at, other) = (rng.usize(..tensors.len()), rng.usize(..tensors.len()));
    let other = tensors[other].clone();
    let tensor = &mut tensors[at];
    match rng.usize(0..7) {
        0 => drop(tensors.swap_remove(at)),
        1 => {
            let ending = other.name.rsplit('.').next().unwrap_or_default();
            let stem = tensor.name.rsplit_once('.').map_or(&*tensor.name, |(stem, _)| stem);
            tensor.name = format!("{stem}.{ending}");
        }
        2 => {
            let extents = [0, 1, 2, 3, 16, 64, 65];
            tensor.shape = (0..rng.usize(0..4)).map(|_| extents[rng.usize(..extents.len())]).collect();
            tensor.fit(|| 0x3c);
        }
        3 => {
            TYPES[rng.usize(..TYPES.len())].0.clone_into(&mut tensor.dtype);
            tensor.fit(|| 0x3c);
        }
        // Infinities and NaN of every type, or zeros.
        4 => {
            let byte = [0xff, 0x7f, 0x7c, 0][rng.usize(0..4)];
            tensor.bytes.fill(byte);
        }
        5 => (tensor.dtype, tensor.shape, tensor.bytes) = (other.dtype, other.shape, other.bytes),
        _ => damage::bytes_in_place(rng, &mut tensor.bytes),
    }
    // A header is a map: a file with a name twice would be another one.
    let mut names = std::collections::BTreeSet::new();
    tensors.retain(|tensor| names.insert(tensor.name.clone()));
}
