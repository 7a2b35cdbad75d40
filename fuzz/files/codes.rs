//! Checkpoints of codes with factors beside them, as ComfyUI and bitsandbytes store them.

use super::tensors::{self, Tensor};
use super::{Outcome, Target, read_weights};
use crate::damage;
use fastrand::Rng;
use reflux_ir::DType;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Files of a few matrices, made from scratch.
pub struct Files;

const MODULES: [&str; 4] =
    ["double_blocks.0.img_mlp.0", "single_blocks.0.linear2", "double_blocks.0.img_attn.proj", "img_in"];

/// Positive numbers in f32.
fn factors(rng: &mut Rng, name: String, shape: &[usize]) -> Tensor {
    let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| rng.f32() + 0.01).collect();
    Tensor::new(name, "F32", shape, DType::F32.encode(&numbers))
}

/// A text as a tensor of bytes.
fn said(rng: &mut Rng, name: String, mut json: Value) -> Tensor {
    if rng.usize(0..6) == 0 {
        damage::json(rng, &mut json);
    }
    let bytes = json.to_string().into_bytes();
    Tensor::new(name, "U8", &[bytes.len()], bytes)
}

/// A matrix of eight-bit codes with its scale, by one of ComfyUI's spellings; what is said in the file's header about it.
fn of_eight_bits(rng: &mut Rng, module: &str, tensors: &mut Vec<Tensor>) -> Option<Value> {
    let [rows, columns] = [(); 2].map(|()| [1, 2, 3, 16][rng.usize(0..4)]);
    let (dtype, format) =
        [("F8_E4M3", "float8_e4m3fn"), ("F8_E5M2", "float8_e5m2"), ("I8", "int8_tensorwise")]
            [rng.usize(0..3)];
    tensors.push(Tensor::random(rng, format!("{module}.weight"), dtype, &[rows, columns]));
    let scale = ["scale_weight", "weight_scale"][rng.usize(0..2)];
    let shape = [vec![], vec![1], vec![rows], vec![rows, 1]][rng.usize(0..4)].clone();
    tensors.push(factors(rng, format!("{module}.{scale}"), &shape));
    if rng.bool() {
        tensors.push(factors(rng, format!("{module}.input_scale"), &[]));
    }
    let description = json!({ "format": format, "full_precision_matrix_mult": true });
    match rng.usize(0..3) {
        0 => tensors.push(said(rng, format!("{module}.comfy_quant"), description)),
        1 => return Some(description),
        _ => {}
    }
    None
}

/// A matrix of four-bit codes with its table and factors, as bitsandbytes writes it.
fn of_four_bits(rng: &mut Rng, module: &str, tensors: &mut Vec<Tensor>) {
    const BLOCK: usize = 64;
    const NESTED: usize = 256;
    let weight = format!("{module}.weight");
    let [rows, columns]: [usize; 2] = [[2, 64], [3, 128], [1, 2], [65, 4]][rng.usize(0..4)];
    let blocks = (rows * columns).div_ceil(BLOCK);
    tensors.push(Tensor::random(rng, weight.clone(), "U8", &[(rows * columns).div_ceil(2), 1]));
    tensors.push(factors(rng, format!("{weight}.quant_map"), &[16]));
    let kind = ["nf4", "fp4"][rng.usize(0..2)];
    let mut state =
        json!({ "quant_type": kind, "blocksize": BLOCK, "dtype": "bfloat16", "shape": [rows, columns] });
    if rng.bool() {
        tensors.push(Tensor::random(rng, format!("{weight}.absmax"), "U8", &[blocks]));
        tensors.push(factors(rng, format!("{weight}.nested_quant_map"), &[256]));
        tensors.push(factors(rng, format!("{weight}.nested_absmax"), &[blocks.div_ceil(NESTED)]));
        state["nested_blocksize"] = json!(NESTED);
        state["nested_offset"] = json!(0.03);
        state["nested_dtype"] = json!("float32");
    } else {
        tensors.push(factors(rng, format!("{weight}.absmax"), &[blocks]));
    }
    tensors.push(said(rng, format!("{weight}.quant_state.bitsandbytes__{kind}"), state));
}

impl Target for Files {
    fn write(&self, rng: &mut Rng, folder: &Path) -> std::io::Result<PathBuf> {
        let (mut tensors, mut layers) = (Vec::new(), json!({}));
        for module in MODULES {
            match rng.usize(0..4) {
                0 => tensors.push(Tensor::random(rng, format!("{module}.weight"), "BF16", &[4, 4])),
                1 => of_four_bits(rng, module, &mut tensors),
                _ => {
                    if let Some(said) = of_eight_bits(rng, module, &mut tensors) {
                        layers[module] = said;
                    }
                }
            }
        }
        if rng.usize(0..4) == 0 {
            tensors.push(Tensor::new("scaled_fp8", "F8_E4M3", &[2], vec![0; 2]));
        }
        let is_described = layers.as_object().is_some_and(|layers| !layers.is_empty());
        if rng.usize(0..4) == 0 {
            damage::json(rng, &mut layers);
        }
        let layers = json!({ "layers": layers }).to_string();
        let metadata = if is_described { json!({ "_quantization_metadata": layers }) } else { Value::Null };
        let path = folder.join("codes.safetensors");
        std::fs::write(&path, tensors::damaged(rng, tensors, metadata))?;
        Ok(path)
    }

    fn read(&self, _folder: &Path, path: &Path) -> Outcome {
        read_weights(path)
    }
}
