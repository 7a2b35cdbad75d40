//! Quantized checkpoints, whose codes mean nothing without their scales.

use super::super::encoding::TensorEncoding;
use super::super::error::WeightsError;
use super::super::factors::{DESCRIPTIONS, described_layers};
use super::super::header::Metadata;
use super::super::stored::Stored;
use crate::first_bytes::Foreign;
use reflux_ir::Advice;
use safetensors::Dtype;
use std::collections::BTreeMap;
use std::path::Path;

/// A way to store codes and factors, by the endings of names that only it has.
struct ForeignScheme {
    what: &'static str,
    marks: &'static [&'static str],
    /// The pass that makes of the unquantized file what is most like it.
    instead: &'static str,
}

/// The first that fits counts.
const SCHEMES: &[ForeignScheme] = &[
    ForeignScheme {
        what: "bitsandbytes 4-bit",
        marks: &[".absmax", ".quant_map"],
        instead: "quantize(int4wo)",
    },
    ForeignScheme { what: "bitsandbytes int8", marks: &[".SCB"], instead: "quantize(int8wo)" },
    ForeignScheme { what: "GPTQ or AWQ", marks: &[".qweight", ".qzeros"], instead: "quantize(int4wo)" },
    ForeignScheme { what: "quanto", marks: &["._data"], instead: "quantize(int8wo)" },
    ForeignScheme { what: "torchao", marks: &["_qdata"], instead: "quantize(int8dq)" },
    ForeignScheme { what: "flux-fp8-api", marks: &[".float8_data"], instead: "quantize(fp8dq)" },
    ForeignScheme { what: "NVFP4", marks: &[".weight_scale_2"], instead: "quantize(int4wo)" },
];

/// The endings by which a tensor is a factor of another one's codes, or says how these are to be read.
const FACTORS: [&str; 7] = [
    "scale_weight",
    "weight_scale",
    "comfy_quant",
    "weight_scale_inv",
    "scale_input",
    "input_scale",
    "scaled_fp8",
];

/// Refuses a network, whose names have `prefix` in front, that is stored quantized. Codes in fp8 without any factors are plain numbers and pass.
pub(in crate::weights) fn scheme(
    path: &Path,
    prefix: &str,
    tensors: &BTreeMap<String, Stored>,
    metadata: &Metadata,
) -> Result<(), WeightsError> {
    let own = || tensors.iter().filter(|(name, _)| name.starts_with(prefix));
    let ending = |mark: &str| own().map(|(name, _)| name).find(|name| name.ends_with(mark));
    let refuse = |what: &str, example: &str, instead: &'static str| {
        let what = format!("quantized, as {what} (it has {example})");
        let foreign = Foreign {
            then: vec![Advice::Quantize(instead)],
            ..Foreign::new(
                what,
                "Reflux reads bf16, f16, f32 and plain fp8, and cannot read this yet: give the unquantized file",
            )
        };
        Err(WeightsError::Foreign { path: path.to_owned(), foreign: foreign.into() })
    };
    for scheme in SCHEMES {
        let found: Option<Vec<&String>> = scheme.marks.iter().map(|mark| ending(mark)).collect();
        if let Some(example) = found.as_deref().and_then(<[_]>::first) {
            return refuse(scheme.what, &format!("`{example}`"), scheme.instead);
        }
    }
    let code_type = |stored: &Stored| match stored.encoding {
        TensorEncoding::Elements(Dtype::F64 | Dtype::F32 | Dtype::F16 | Dtype::BF16) => None,
        TensorEncoding::Elements(dtype) => Some(dtype),
        TensorEncoding::Blocks(_) | TensorEncoding::Scaled { .. } | TensorEncoding::Looked(_) => None,
    };
    let mut weights = own().filter(|(name, _)| name.ends_with(".weight"));
    let codes = weights.find_map(|(name, stored)| Some((name, code_type(stored)?)));
    let Some((codes, dtype)) = codes else { return Ok(()) };
    let listed =
        described_layers(metadata).filter(|layers| layers.keys().any(|name| name.starts_with(prefix)));
    let factor = FACTORS.iter().find_map(|factor| ending(factor)).map(|name| format!("`{name}`"));
    let Some(factor) = factor.or_else(|| listed.map(|_| format!("`{DESCRIPTIONS}` in its header"))) else {
        return Ok(());
    };
    let example = format!("`{codes}` in {dtype:?} with {factor}");
    match dtype {
        Dtype::F8_E4M3 | Dtype::F8_E5M2 => refuse("scaled fp8", &example, "quantize(fp8dq)"),
        Dtype::I8 => refuse("int8 with factors", &example, "quantize(int8dq)"),
        _ => refuse("codes with factors", &example, "quantize(int4wo)"),
    }
}
