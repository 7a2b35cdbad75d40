//! Checkpoints that store codes: GGUF files, and codes with scales as ComfyUI and bitsandbytes store them.

use crate::common::gguf::{self, Gguf};
use crate::common::{Tensors, emoji, read, tinyrandom, write, write_with};
use half::f16;
use reflux_ir::{BlockFormat, DType, Fact, HostTensor, QuantizedTensor, WeightData, WeightSource};
use reflux_models::weights::{Weights, WeightsError};
use reflux_models::{Net, flux1};
use safetensors::tensor::Dtype;
use std::collections::{BTreeSet, HashMap};
use std::path::Path;

/// Type, shape and bytes.
type Tensor = (Dtype, Vec<usize>, Vec<u8>);

/// The small transformer under Black Forest Labs' names, in f32.
fn bfl() -> Tensors {
    read(&tinyrandom("bfl.safetensors"))
}

fn numbers(bytes: &[u8]) -> Vec<f32> {
    DType::F32.decode(bytes)
}

fn open(path: &Path) -> Result<Weights, WeightsError> {
    Weights::open_for(&flux1::TRANSFORMER, path)
}

fn saved(tensors: &Tensors) -> Result<Weights, WeightsError> {
    saved_with(tensors, None)
}

fn saved_with(tensors: &Tensors, metadata: Option<HashMap<String, String>>) -> Result<Weights, WeightsError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    write_with(&path, tensors, metadata);
    open(&path)
}

/// The GGUF file `flux.gguf` of `tensors` in f32, the tensor `coded` as these blocks.
fn with_blocks(tensors: Tensors, coded: &str, format: BlockFormat, blocks: &[u8]) -> Weights {
    let mut file = Gguf::new("flux");
    for (name, (_, shape, bytes)) in tensors {
        match name == coded {
            true => file.tensor(&name, &shape, format.id(), blocks),
            false => file.tensor(&name, &shape, gguf::F32, &bytes),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.gguf");
    file.write(&path);
    open(&path).unwrap()
}

/// The numbers of a tensor.
fn read_in_f32(weights: &Weights, name: &str) -> Vec<f32> {
    weights.tensor(name).unwrap_or_else(|error| panic!("{name}: {error}")).to_f32()
}

/// Every tensor in f16, under diffusers' names, as a file of f16 gives them.
fn in_f16(tensors: &Tensors) -> Weights {
    let narrowed = |(name, (_, shape, bytes)): (&String, &Tensor)| {
        (name.clone(), (Dtype::F16, shape.clone(), DType::F16.encode(&numbers(bytes))))
    };
    saved(&tensors.iter().map(narrowed).collect()).unwrap()
}

/// Matrices whose rows are whole blocks are in formats that have not been used, over several files until all have; the other
/// tensors are in f16.
#[test]
fn a_gguf_file_holds_the_numbers_of_its_blocks() {
    let mut unused: BTreeSet<BlockFormat> = BlockFormat::ALL.iter().copied().collect();
    while !unused.is_empty() {
        let before = unused.len();
        let (mut file, mut expected) = (Gguf::new("flux"), Tensors::new());
        for (name, (_, shape, bytes)) in bfl() {
            let fits = |format: &&BlockFormat| shape.len() == 2 && shape[1].is_multiple_of(format.elements());
            // Those of large blocks first, as few rows fit them.
            if let Some(&format) = unused.iter().rev().find(fits) {
                unused.remove(&format);
                let mut random = fastrand::Rng::with_seed(name.len() as u64);
                let count = shape.iter().product::<usize>() / format.elements();
                let blocks = format.random(count, 0.1, || random.u8(..));
                let values = DType::Block(format).decode(&blocks);
                file.tensor(&name, &shape, format.id(), &blocks);
                expected.insert(name, (Dtype::F32, shape, DType::F32.encode(&values)));
            } else {
                let halves = DType::F16.encode(&numbers(&bytes));
                file.tensor(&name, &shape, gguf::F16, &halves);
                expected.insert(name, (Dtype::F16, shape, halves));
            }
        }
        assert!(unused.len() < before, "{unused:?} fit no matrix");
        let folder = tempfile::tempdir().unwrap();
        // It is recognised by its contents, whatever it is called.
        let path = folder.path().join("flux.safetensors");
        file.write(&path);
        let (found, expected) =
            (open(&path).unwrap_or_else(|error| panic!("{error}")), saved(&expected).unwrap());
        assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
        for name in found.names() {
            assert_eq!(read_in_f32(&found, name), read_in_f32(&expected, name), "{name}");
        }
    }
}

/// What a program that reads codes is given: the file's own bytes, also of a part of a tensor.
#[test]
fn codes_stay_codes() {
    let format = BlockFormat::Q8_0;
    let (plain, qkv) = (bfl(), "double_blocks.0.img_attn.qkv.weight");
    let count = plain[qkv].1.iter().product::<usize>() / format.elements();
    let mut random = fastrand::Rng::with_seed(1);
    let blocks = format.random(count, 0.1, || random.u8(..));
    let blocks_of_q = blocks[..blocks.len() / 3].to_vec();
    let weights = with_blocks(plain, qkv, format, &blocks);
    let name = "transformer_blocks.0.attn.to_q.weight";
    let fact = weights.coded(name).unwrap();
    assert_eq!(fact.to_string(), "q8_0[64,64]");
    let expected = HostTensor::new(DType::Block(format), vec![64, 64], blocks_of_q);
    assert_eq!(weights.weight(name, &fact).unwrap(), WeightData::Dense(expected));
    assert_eq!(weights.coded("proj_out.weight"), None);
}

/// Whatever is read of a tensor, and in how many pieces: a part of a file's tensor, one of two parts, codes, numbers of another
/// type.
#[test]
fn rows_are_those_of_the_whole() {
    let format = BlockFormat::Q4_1;
    let (plain, qkv) = (bfl(), "double_blocks.0.img_attn.qkv.weight");
    let count = plain[qkv].1.iter().product::<usize>() / format.elements();
    let mut random = fastrand::Rng::with_seed(2);
    let blocks = format.random(count, 0.1, || random.u8(..));
    let weights = with_blocks(plain, qkv, format, &blocks);
    let name = "transformer_blocks.0.attn.to_k.weight";
    let own = weights.tensor(name).unwrap();
    let third = DType::Block(format).decode(&blocks)[own.len()..2 * own.len()].to_vec();
    assert_eq!(own.to_f32(), third);
    for name in [name, "norm_out.linear.weight", "norm_out.linear.bias", "proj_out.weight"] {
        let whole = weights.tensor(name).unwrap();
        let stored = weights.coded(name).into_iter();
        let types = [DType::F32, DType::BF16, DType::F16].map(|dtype| Fact::new(dtype, whole.shape.clone()));
        for fact in types.into_iter().chain(stored) {
            let rows = weights.rows(name, &fact).unwrap().unwrap();
            assert!(rows.fact().same_type(&fact), "{name} as {fact}");
            let expected = match fact.dtype.is_float() {
                true => whole.cast(fact.dtype).bytes,
                false => blocks[blocks.len() / 3..blocks.len() / 3 * 2].to_vec(),
            };
            assert_eq!(
                weights.weight(name, &fact).unwrap(),
                WeightData::Dense(HostTensor::new(fact.dtype, whole.shape.clone(), expected.clone()))
            );
            let size = rows.row_bytes();
            for count in [1, 3, 7] {
                let mut found = vec![0; expected.len()];
                for (piece, to) in found.chunks_mut(count * size).enumerate() {
                    rows.write(piece * count, to);
                }
                assert!(found == expected, "{name} as {fact}, by {count}");
            }
        }
    }
}

/// A matrix in e4m3 with a scale, by any of the spellings, is its codes times the scale.
#[test]
fn scaled_codes_are_multiplied_whatever_the_scale_is_called() {
    let module = "single_blocks.0.linear2";
    let plain = bfl();
    let (_, shape, bytes) = &plain[&format!("{module}.weight")];
    let codes = DType::F8E4M3.encode(&numbers(bytes).iter().map(|x| x * 8.0).collect::<Vec<_>>());
    let values: Vec<f32> = DType::F8E4M3.decode(&codes).iter().map(|x| x * 0.125).collect();
    let scalar = |x: f32| (Dtype::F32, vec![], x.to_le_bytes().to_vec());
    let described = |json: &str| (Dtype::U8, vec![json.len()], json.as_bytes().to_vec());
    let with = |more: Vec<(String, Tensor)>| {
        let mut tensors = plain.clone();
        tensors.insert(format!("{module}.weight"), (Dtype::F8_E4M3, shape.clone(), codes.clone()));
        tensors.extend(more);
        tensors
    };
    let marker = ("scaled_fp8".to_owned(), (Dtype::F8_E4M3, vec![0], vec![]));
    let rows: Vec<u8> = DType::F32.encode(&vec![0.125; shape[0]]);
    let json = r#"{"format": "float8_e4m3fn"}"#;
    let header = format!(r#"{{"layers": {{"{module}": {json}}}}}"#);
    let header = HashMap::from([("_quantization_metadata".to_owned(), header)]);
    let version = r#"{"format_version": "1.0"}"#.to_owned();
    let version = HashMap::from([("_quantization_metadata".to_owned(), version)]);
    for (tensors, metadata) in [
        (with(vec![(format!("{module}.scale_weight"), scalar(0.125)), marker]), None),
        (
            with(vec![
                (format!("{module}.weight_scale"), scalar(0.125)),
                (format!("{module}.input_scale"), scalar(3.0)),
            ]),
            None,
        ),
        (with(vec![(format!("{module}.weight_scale"), (Dtype::F32, vec![shape[0], 1], rows))]), None),
        (
            with(vec![
                (format!("{module}.weight_scale"), scalar(0.125)),
                (format!("{module}.comfy_quant"), described(json)),
            ]),
            Some(version),
        ),
        (with(vec![(format!("{module}.weight_scale"), scalar(0.125))]), Some(header)),
    ] {
        let names: Vec<_> = tensors.keys().filter(|name| name.contains("scale")).cloned().collect();
        let weights = saved_with(&tensors, metadata).unwrap_or_else(|error| panic!("{names:?}: {error}"));
        let name = "single_transformer_blocks.0.proj_out.weight";
        assert_eq!(read_in_f32(&weights, name), values, "{names:?}");
        let fact = weights.coded(name).unwrap();
        let WeightData::Quantized(QuantizedTensor { codes: found, .. }) =
            weights.weight(name, &fact).unwrap()
        else {
            panic!("{names:?}: not codes")
        };
        assert_eq!(found, codes, "{names:?}");
        assert!(weights.names().all(|name| !name.contains("scale")), "{names:?}");
    }
}

/// `linear1` is three projections and the MLP: each has its own rows' scales.
#[test]
fn scales_of_rows_are_divided_with_their_rows() {
    let module = "single_blocks.0.linear1";
    let mut tensors = bfl();
    let shape = tensors[&format!("{module}.weight")].1.clone();
    let codes = vec![3u8; shape.iter().product()];
    let scales: Vec<f32> = (0..shape[0]).map(|row| row as f32).collect();
    tensors.insert(format!("{module}.weight"), (Dtype::I8, shape.clone(), codes));
    tensors
        .insert(format!("{module}.weight_scale"), (Dtype::F32, vec![shape[0]], DType::F32.encode(&scales)));
    let weights = saved(&tensors).unwrap_or_else(|error| panic!("{error}"));
    let k = read_in_f32(&weights, "single_transformer_blocks.0.attn.to_k.weight");
    let expected: Vec<f32> = (0..64 * 64).map(|i| 3.0 * (64 + i / 64) as f32).collect();
    assert_eq!(k, expected);
}

#[test]
fn a_scale_that_cannot_be_used_is_named() {
    let module = "single_blocks.0.linear2";
    let with = |scale: (Dtype, Vec<usize>, Vec<u8>), json: Option<&str>| {
        let mut tensors = bfl();
        let shape = tensors[&format!("{module}.weight")].1.clone();
        let codes = vec![3u8; shape.iter().product()];
        tensors.insert(format!("{module}.weight"), (Dtype::I8, shape, codes));
        tensors.insert(format!("{module}.weight_scale"), scale);
        if let Some(json) = json {
            let said = (Dtype::U8, vec![json.len()], json.as_bytes().to_vec());
            tensors.insert(format!("{module}.comfy_quant"), said);
        }
        saved(&tensors).unwrap_err().to_string()
    };
    let one = |x: f32| (Dtype::F32, vec![1], x.to_le_bytes().to_vec());
    for (error, expected) in [
        (with(one(f32::NAN), None), "`single_blocks.0.linear2.weight_scale` holds NaN"),
        (
            with((Dtype::F32, vec![7], vec![0; 28]), None),
            "has 7 numbers; one, or one for each of the 64 rows",
        ),
        (with((Dtype::I32, vec![1], vec![0; 4]), None), "is not of a float type"),
        (with(one(1.0), Some(r#"{"format": "float8_e4m3fn"}"#)), "described as `float8_e4m3fn`"),
        (with(one(1.0), Some(r#"{"format": "int8_tensorwise", "convrot": true}"#)), "rotated before"),
        (with(one(1.0), Some(r#"{"format": "int8_tensorwise", "new_thing": 4}"#)), "`new_thing` = 4"),
        (with(one(1.0), Some("{")), "is not JSON"),
    ] {
        assert!(error.contains(expected) && !error.contains('\n'), "{error}");
    }
}

/// NF4 with factors that are codes themselves: written by the rule, read back.
#[test]
fn codes_of_bitsandbytes_are_looked_up() {
    let name = "double_blocks.0.img_attn.qkv.weight";
    let mut tensors = bfl();
    let shape = tensors[name].1.clone();
    let elements: usize = shape.iter().product();
    let table: Vec<f32> = (0..16).map(|i| (i as f32 - 7.5) / 7.5).collect();
    let bytes: Vec<u8> = (0..elements / 2).map(|i| (i * 7 % 256) as u8).collect();
    let blocks = elements / 64;
    let nested: Vec<u8> = (0..blocks).map(|i| (i % 256) as u8).collect();
    let nested_table: Vec<f32> = (0..256).map(|i| i as f32 / 256.0).collect();
    let nested_factors: Vec<f32> = (0..blocks.div_ceil(256)).map(|i| 1.0 + i as f32).collect();
    let json = format!(
        r#"{{"quant_type": "nf4", "blocksize": 64, "dtype": "bfloat16", "shape": {shape:?}, "nested_blocksize": 256, "nested_offset": 0.5}}"#
    );
    let f32s = |numbers: &[f32]| (Dtype::F32, vec![numbers.len()], DType::F32.encode(numbers));
    tensors.insert(name.into(), (Dtype::U8, vec![bytes.len(), 1], bytes.clone()));
    tensors.insert(format!("{name}.absmax"), (Dtype::U8, vec![blocks], nested.clone()));
    tensors.insert(format!("{name}.quant_map"), f32s(&table));
    tensors.insert(format!("{name}.nested_absmax"), f32s(&nested_factors));
    tensors.insert(format!("{name}.nested_quant_map"), f32s(&nested_table));
    let state = format!("{name}.quant_state.bitsandbytes__nf4");
    tensors.insert(state.clone(), (Dtype::U8, vec![json.len()], json.into_bytes()));
    let weights = saved(&tensors).unwrap_or_else(|error| panic!("{error}"));
    let value = |i: usize| {
        let code = if i.is_multiple_of(2) { bytes[i / 2] >> 4 } else { bytes[i / 2] & 15 };
        let block = i / 64;
        let factor = nested_table[usize::from(nested[block])] * nested_factors[block / 256] + 0.5;
        table[usize::from(code)] * factor
    };
    let rows = shape[0] / 3 * shape[1];
    for (part, start) in [("to_q", 0), ("to_k", rows), ("to_v", 2 * rows)] {
        let found = read_in_f32(&weights, &format!("transformer_blocks.0.attn.{part}.weight"));
        assert_eq!(found, (start..start + rows).map(value).collect::<Vec<_>>(), "{part}");
    }
    tensors.remove(&format!("{name}.quant_map"));
    let error = saved(&tensors).unwrap_err().to_string();
    assert!(error.contains("quant_map` is missing"), "{error}");
}

/// A scale of a block that is not a number is found when the tensor is read.
#[test]
fn unsound_blocks_are_named() {
    let format = BlockFormat::Q4_0;
    let (plain, mlp) = (bfl(), "double_blocks.0.img_mlp.0.weight");
    let mut blocks = format.random(plain[mlp].1.iter().product::<usize>() / 32, 0.1, || 7);
    blocks[18 * 5..18 * 5 + 2].copy_from_slice(&f16::INFINITY.to_le_bytes());
    let weights = with_blocks(plain, mlp, format, &blocks);
    let name = "transformer_blocks.0.ff.net.0.proj.weight";
    let error = weights.weight(name, &Fact::new(DType::BF16, [1])).unwrap_err().to_string();
    assert!(error.contains(name) && error.contains("block 5") && error.contains("flux.gguf"), "{error}");
}

/// Every prefix of a file, and every header with a wrong number, is one error and no panic.
#[test]
fn damaged_gguf_files_are_refused() {
    let mut file = Gguf::new("flux");
    for (name, (_, shape, bytes)) in bfl().into_iter().take(3) {
        file.tensor(&name, &shape, gguf::F32, &bytes);
    }
    let bytes = file.bytes();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.gguf");
    let refusal = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = Weights::open(&path).err()?.to_string();
        assert!(error.contains("flux.gguf") && !error.contains('\n'), "{error}");
        Some(error)
    };
    assert_eq!(refusal(&bytes), None);
    for length in (4..bytes.len()).step_by(61) {
        let error = refusal(&bytes[..length]).expect("it is cut");
        assert!(error.contains("incomplete"), "{length}: {error}");
    }
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..4000 {
        let mut damaged = bytes.clone();
        for _ in 0..random.usize(1..4) {
            let at = random.usize(4..file.header_bytes());
            damaged[at] = if random.bool() { 0xff } else { random.u8(..) };
        }
        refusal(&damaged);
    }
    for (at, value, expected) in [(4, 9, "its version is 9"), (4, 0x0300_0000, "big-endian")] {
        let mut damaged = bytes.clone();
        damaged[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        assert!(refusal(&damaged).unwrap().contains(expected));
    }
    let mut other = Gguf::new("flux");
    other.tensor("double_blocks.0.img_attn.qkv.weight", &[4, 256], 23, &[0; 544]);
    assert!(refusal(&other.bytes()).unwrap().contains("IQ4_XS"));
    let mut torn = Gguf::new("flux");
    torn.tensor("double_blocks.0.img_attn.qkv.weight", &[4, 48], 2, &[0; 108]);
    assert!(refusal(&torn.bytes()).unwrap().contains("not whole blocks"));
}

/// T5 in llama.cpp's names, against the same weights in transformers'.
#[test]
fn t5_is_read_by_llamas_names() {
    let net: &'static Net = &flux1::T5;
    let named = |name: &str| {
        let name = name
            .replace("shared.weight", "token_embd.weight")
            .replace("encoder.final_layer_norm", "enc.output_norm");
        let name = name
            .replace("encoder.block.", "enc.blk.")
            .replace(".layer.0.SelfAttention.relative_attention_bias.", ".attn_rel_b.");
        let name =
            name.replace(".layer.0.layer_norm.", ".attn_norm.").replace(".layer.1.layer_norm.", ".ffn_norm.");
        let name = name
            .replace(".layer.0.SelfAttention.", ".attn_")
            .replace("wi_0", "ffn_gate")
            .replace("wi_1", "ffn_up");
        name.replace("wo.weight", "ffn_down.weight").replace(".layer.1.DenseReluDense.", ".")
    };
    let tensors = read(&emoji(net.folder));
    let mut file = Gguf::new("t5encoder");
    for (name, (_, shape, bytes)) in &tensors {
        if !name.starts_with("encoder.embed_tokens") {
            file.tensor(&named(name), shape, gguf::BF16, bytes);
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let (gguf, plain) = (folder.path().join("t5.gguf"), folder.path().join("t5.safetensors"));
    file.write(&gguf);
    write(&plain, &tensors);
    let [found, expected] =
        [gguf, plain].map(|path| Weights::open_for(net, path).unwrap_or_else(|error| panic!("{error}")));
    assert_eq!(found.names().collect::<Vec<_>>(), expected.names().collect::<Vec<_>>());
    for name in found.names() {
        assert_eq!(found.tensor(name).unwrap(), expected.tensor(name).unwrap(), "{name}");
    }
}

/// Numbers in f16 are what a GGUF file of f16 gives, tensor by tensor.
#[test]
fn plain_numbers_are_read_as_they_are() {
    let tensors = bfl();
    let mut file = Gguf::new("flux");
    for (name, (_, shape, bytes)) in &tensors {
        file.tensor(name, shape, gguf::F16, &DType::F16.encode(&numbers(bytes)));
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.gguf");
    file.write(&path);
    let (found, expected) = (open(&path).unwrap(), in_f16(&tensors));
    for name in found.names() {
        assert_eq!(found.tensor(name).unwrap(), expected.tensor(name).unwrap(), "{name}");
    }
}

/// ComfyUI stores what has no rows of whole blocks in another shape, and says the real one.
#[test]
fn blocks_may_go_on_from_one_row_to_the_next() {
    let format = BlockFormat::Q8_0;
    let mut random = fastrand::Rng::with_seed(2);
    let blocks = format.random(3, 0.1, || random.u8(..));
    let mut file = Gguf::new("flux");
    file.shaped("a.weight", &[6, 16]);
    file.tensor("a.weight", &[96], format.id(), &blocks);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.gguf");
    file.write(&path);
    let tensor = Weights::open(&path).unwrap().tensor("a.weight").unwrap();
    assert_eq!(tensor.shape, [6, 16]);
    assert_eq!(tensor.to_f32(), DType::Block(format).decode(&blocks));

    // Rows of a tensor without any may be as wide as a file says.
    let mut file = Gguf::new("flux");
    file.tensor("a.weight", &[0, 1 << 40], format.id(), &[]);
    file.write(&path);
    assert_eq!(Weights::open(&path).unwrap().tensor("a.weight").unwrap().to_f32(), [0.0; 0]);
}
