//! Writes files in the shape of a published model, with random weights, to measure how they are read at full size:
//!
//! ```sh
//! cargo run --release -p reflux-benches --bin synthesize -- flux-dev bf16 dev-bf16.safetensors
//! ```
//!
//! The configuration is a built-in one or that of a model's folder. The forms: `bf16` and `fp8` (with scales), one safetensors file with all networks under ComfyUI's prefixes; `q4_k` and the
//! other block formats, a GGUF file of the transformer.

use reflux::ir::{BlockFormat, DType, Fact, Program};
use reflux::models::{Family, ModelConfig, Net};
use std::fs::File;
use std::io::{BufWriter, Result, Write};
use std::path::Path;

/// Bytes of noise; tensors repeat them, each from its own place on.
const POOL: usize = 1 << 24;

/// Where GGUF's tensors begin.
const ALIGNMENT: usize = 32;

/// A tensor to be written.
struct Tensor {
    name: String,
    shape: Vec<usize>,
}

impl Tensor {
    fn elements(&self) -> usize {
        self.shape.iter().product()
    }

    fn is_matrix(&self) -> bool {
        self.shape.len() == 2
    }
}

fn main() {
    let usage = "synthesize flux-dev|flux-schnell|FOLDER bf16|fp8|q8_0|q4_k|… FILE";
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [config, form, path] = &args[..] else { panic!("{usage}") };
    let model = ModelConfig::built_in(config).unwrap_or_else(|| {
        ModelConfig::read(Path::new(config)).unwrap_or_else(|error| panic!("{error}; {usage}"))
    });
    let file = File::create(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let mut out = BufWriter::with_capacity(1 << 24, file);
    let family = model.family();
    let written = match form.as_str() {
        "bf16" => safetensors(&all(&model, family), false, &mut out),
        "fp8" => safetensors(&all(&model, family), true, &mut out),
        blocks => {
            let format = BlockFormat::ALL.iter().find(|format| format.codec().name == blocks);
            let format = *format.unwrap_or_else(|| panic!("{usage}"));
            gguf(&tensors(&model, family.denoiser(), ""), format, &mut out)
        }
    };
    written.and_then(|()| out.flush()).unwrap_or_else(|error| panic!("{path}: {error}"));
}

/// The tensors of all networks, under ComfyUI's prefixes.
fn all(model: &ModelConfig, family: &Family) -> Vec<Tensor> {
    let prefix = |net: &Net| match net.name {
        "transformer" => "model.diffusion_model.",
        "t5" => "text_encoders.t5xxl.transformer.",
        "clip" => "text_encoders.clip_l.transformer.",
        _ => "vae.",
    };
    family.nets.iter().flat_map(|&net| tensors(model, net, prefix(net))).collect()
}

fn tensors(model: &ModelConfig, net: &'static Net, prefix: &str) -> Vec<Tensor> {
    let sizes = model.family().geometry.smallest();
    let program: Program = model.lower(net, &sizes, DType::BF16).unwrap_or_else(|error| panic!("{error}"));
    let tensor =
        |(name, fact): (&str, &Fact)| Tensor { name: format!("{prefix}{name}"), shape: fact.shape.to_vec() };
    program.weights().into_iter().map(tensor).collect()
}

/// A safetensors file, its matrices in bf16, or in e4m3 with a scale each.
fn safetensors(tensors: &[Tensor], scaled: bool, out: &mut impl Write) -> Result<()> {
    let is_scaled = |tensor: &Tensor| scaled && tensor.is_matrix();
    let mut entries = Vec::new();
    let mut at = 0;
    let mut entry = |name: &str, dtype: &str, shape: &[usize], bytes: usize| {
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape:?},"data_offsets":[{at},{}]}}"#,
            at + bytes
        ));
        at += bytes;
    };
    for tensor in tensors {
        let dtype = if is_scaled(tensor) { DType::F8E4M3 } else { DType::BF16 };
        let file_name = dtype.codec().file_name.expect("files have them");
        entry(&tensor.name, file_name, &tensor.shape, tensor.elements() * dtype.bytes());
    }
    for tensor in tensors.iter().filter(|tensor| is_scaled(tensor)) {
        entry(&tensor.name.replace(".weight", ".scale_weight"), "F32", &[], 4);
    }
    let header = format!("{{{}}}", entries.join(","));
    let padding = " ".repeat(header.len().next_multiple_of(8) - header.len());
    let header = header + &padding;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(header.as_bytes())?;
    let normal: Vec<f32> = noise().iter().map(|&byte| (f32::from(byte) - 127.5) / 74.0).collect();
    // Matrices keep the size of what they are multiplied with, roughly: rows have about 3072 elements.
    let half = DType::BF16.encode(&normal.iter().map(|x| x / 55.0).collect::<Vec<_>>());
    let codes = DType::F8E4M3.encode(&normal);
    for (index, tensor) in tensors.iter().enumerate() {
        match is_scaled(tensor) {
            true => repeat(&codes, index * 4096, tensor.elements(), out)?,
            false => repeat(&half, index * 4096, tensor.elements() * 2, out)?,
        }
    }
    let scales = tensors.iter().filter(|tensor| is_scaled(tensor)).count();
    (0..scales).try_for_each(|_| out.write_all(&(1f32 / 55.0).to_le_bytes()))
}

/// A GGUF file of the architecture `flux`, its matrices in blocks where their rows allow it.
fn gguf(tensors: &[Tensor], format: BlockFormat, out: &mut impl Write) -> Result<()> {
    const STRING: u32 = 8;
    const BF16: u32 = 30;
    let is_in_blocks =
        |tensor: &Tensor| tensor.is_matrix() && tensor.shape[1].is_multiple_of(format.elements());
    let bytes = |tensor: &Tensor| match is_in_blocks(tensor) {
        true => DType::Block(format).stored_bytes(tensor.elements()),
        false => tensor.elements() * 2,
    };
    let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
    let mut header = b"GGUF\x03\0\0\0".to_vec();
    header.extend((tensors.len() as u64).to_le_bytes());
    header.extend(1u64.to_le_bytes());
    header.extend([text("general.architecture"), STRING.to_le_bytes().to_vec(), text("flux")].concat());
    let mut offset = 0usize;
    for tensor in tensors {
        header.extend(text(&tensor.name));
        header.extend((tensor.shape.len() as u32).to_le_bytes());
        tensor.shape.iter().rev().for_each(|&extent| header.extend((extent as u64).to_le_bytes()));
        header.extend(if is_in_blocks(tensor) { format.id() } else { BF16 }.to_le_bytes());
        header.extend((offset as u64).to_le_bytes());
        offset += bytes(tensor).next_multiple_of(ALIGNMENT);
    }
    header.resize(header.len().next_multiple_of(ALIGNMENT), 0);
    out.write_all(&header)?;
    let random = noise();
    let mut next = random.iter().copied().cycle();
    let blocks = format.random(POOL / format.bytes(), 1.0 / 55.0, || next.next().unwrap_or(0));
    let normal: Vec<f32> = random.iter().map(|&byte| (f32::from(byte) - 127.5) / 74.0 / 55.0).collect();
    let half = DType::BF16.encode(&normal);
    for tensor in tensors {
        let bytes = bytes(tensor);
        repeat(if is_in_blocks(tensor) { &blocks } else { &half }, 0, bytes, out)?;
        out.write_all(&vec![0; bytes.next_multiple_of(ALIGNMENT) - bytes])?;
    }
    Ok(())
}

/// Uniformly distributed bytes.
fn noise() -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut byte = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    (0..POOL).map(|_| byte()).collect()
}

/// `bytes` bytes of `pool`, from `start` on, over and over.
fn repeat(pool: &[u8], start: usize, mut bytes: usize, out: &mut impl Write) -> Result<()> {
    let mut from = start % pool.len();
    while bytes > 0 {
        let part = (pool.len() - from).min(bytes);
        out.write_all(&pool[from..from + part])?;
        (bytes, from) = (bytes - part, 0);
    }
    Ok(())
}
