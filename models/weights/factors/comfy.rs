//! Codes of eight bits as ComfyUI stores them, in all of its spellings: `scale_weight` beside a marker `scaled_fp8`; `weight_scale`;
//! and either with a description of each layer, in a tensor `comfy_quant` or in the header's `_quantization_metadata`.
//!
//! A matrix is its codes times its scale (`comfy/ops.py`). Scales of inputs are not needed: the products of this program compute
//! with the matrix, or quantize their inputs by what these are.

use super::Joining;
use crate::weights::encoding::{Factors, TensorEncoding};
use crate::weights::error::WeightsError;
use crate::weights::header::Metadata;
use crate::weights::stored::Stored;
use safetensors::Dtype;
use serde_json::{Map, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

/// The header's key for the descriptions of all layers.
pub(in crate::weights) const HEADER: &str = "_quantization_metadata";

/// The marker of a file with `scale_weight`, behind the network's prefix.
const MARKER: &str = "scaled_fp8";

/// A module's scale of its matrix, by two names.
const SCALES: [&str; 2] = ["scale_weight", "weight_scale"];

/// A module's scale of its input.
const INPUTS: [&str; 2] = ["scale_input", "input_scale"];

/// A module's description.
const DESCRIPTION: &str = "comfy_quant";

/// What a description may say besides the format, which does not change what codes stand for.
const HARMLESS: [&str; 3] = ["full_precision_matrix_mult", "orig_dtype", "orig_shape"];

pub(super) fn join(joining: &mut Joining<'_>) -> Result<(), WeightsError> {
    let described = descriptions(joining)?;
    let mut modules: Vec<(String, &str)> = Vec::new();
    for ending in SCALES {
        modules.extend(joining.modules(ending).into_iter().map(|module| (module, ending)));
    }
    for (module, ending) in &modules {
        join_module(joining, module, ending, described.get(module))?;
    }
    let scaled: BTreeSet<&str> = modules.iter().map(|(module, _)| module.as_str()).collect();
    let unscaled = described.keys().filter(|module| !scaled.contains(module.as_str()));
    let mut unscaled = unscaled.map(|module| format!("{module}.weight"));
    if let Some(weight) = unscaled.find(|weight| joining.tensors.contains_key(weight)) {
        return Err(joining.refuse(&weight, "is described as quantized, but has no scale"));
    }
    // The marker of codes that have no scales stays, and is refused.
    let is_done = |marker: &str| {
        let prefix = marker.strip_suffix(MARKER).filter(|prefix| prefix.is_empty() || prefix.ends_with('.'));
        let first = |prefix| scaled.range::<str, _>((Bound::Included(prefix), Bound::Unbounded)).next();
        prefix.is_some_and(|prefix| first(prefix).is_some_and(|module| module.starts_with(prefix)))
    };
    joining.tensors.retain(|name, _| !is_done(name));
    Ok(())
}

/// The descriptions of layers in a header, by module; `None` if there are none, or they are not what they should be, which
/// [`join`] refuses.
pub(in crate::weights) fn layers(metadata: &Metadata) -> Option<Map<String, Value>> {
    match serde_json::from_str(metadata.get(HEADER)?).ok()? {
        Value::Object(mut json) => match json.remove("layers") {
            Some(Value::Object(layers)) => Some(layers),
            // Tensors may describe them.
            None => Some(Map::new()),
            Some(_) => None,
        },
        _ => None,
    }
}

/// What is said of each module that is described.
fn descriptions(joining: &mut Joining<'_>) -> Result<BTreeMap<String, Map<String, Value>>, WeightsError> {
    let mut all = BTreeMap::new();
    if joining.metadata.contains_key(HEADER) {
        let layers = layers(joining.metadata);
        let layers =
            layers.ok_or_else(|| joining.refuse(HEADER, "in its header is not JSON with `layers`"))?;
        let said = |said: Value| if let Value::Object(said) = said { said } else { Map::new() };
        all.extend(layers.into_iter().map(|(module, value)| (module, said(value))));
    }
    for module in joining.modules(DESCRIPTION) {
        let name = format!("{module}.{DESCRIPTION}");
        let Some((_, bytes)) = joining.take(&name) else { continue };
        let said = serde_json::from_slice(&bytes)
            .map_err(|error| joining.refuse(&name, format!("is not JSON ({error})")))?;
        all.insert(module, said);
    }
    // Something is quantized, and nobody says what.
    if all.is_empty() && joining.metadata.contains_key(HEADER) {
        return Err(joining.refuse(HEADER, "in its header has no `layers`, and no tensor describes one"));
    }
    Ok(all)
}

/// Joins the matrix of `module` with its scale, which is called `ending`.
fn join_module(
    joining: &mut Joining<'_>,
    module: &str,
    ending: &str,
    said: Option<&Map<String, Value>>,
) -> Result<(), WeightsError> {
    let name = format!("{module}.weight");
    let Some(weight) = joining.tensors.get(&name).cloned() else { return Ok(()) };
    let TensorEncoding::Elements(codes @ (Dtype::F8_E4M3 | Dtype::F8_E5M2 | Dtype::I8)) = weight.encoding
    else {
        // Others, NVFP4 among them, are refused by name.
        return Ok(());
    };
    if let Some(said) = said {
        check(joining, &name, codes, said)?;
    }
    if ["weight_scale_2", "weight_scale_inv", "pre_quant_scale", "weight_zero_point"]
        .iter()
        .any(|other| joining.tensors.contains_key(&format!("{module}.{other}")))
    {
        return Ok(());
    }
    let scale_name = format!("{module}.{ending}");
    let (scale, bytes) = joining.take(&scale_name).expect("its module has it");
    let scales = factors(joining, &scale_name, &scale, &bytes, weight.shape.first().copied().unwrap_or(1))?;
    for input in INPUTS {
        joining.tensors.remove(&format!("{module}.{input}"));
    }
    joining.tensors.insert(name, Stored { encoding: TensorEncoding::Scaled { codes, scales }, ..weight });
    Ok(())
}

/// Whether codes are what the description of their layer says, and mean what they mean here.
fn check(
    joining: &Joining<'_>,
    name: &str,
    codes: Dtype,
    said: &Map<String, Value>,
) -> Result<(), WeightsError> {
    let format = said.get("format").and_then(Value::as_str).unwrap_or_default();
    let expected = match codes {
        Dtype::F8_E4M3 => "float8_e4m3fn",
        Dtype::F8_E5M2 => "float8_e5m2",
        _ => "int8_tensorwise",
    };
    if format != expected {
        return Err(joining.refuse(name, format!("is stored as {codes:?}, but described as `{format}`")));
    }
    let is_set = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
    match said
        .iter()
        .find(|(key, value)| *key != "format" && !HARMLESS.contains(&key.as_str()) && is_set(value))
    {
        Some((key, _)) if key.contains("convrot") => Err(joining.refuse(
            name,
            "was rotated before it was quantized (`convrot`), by a rule that is not published",
        )),
        Some((key, value)) => {
            Err(joining
                .refuse(name, format!("is described with `{key}` = {value}, which Reflux does not know")))
        }
        None => Ok(()),
    }
}

/// The scales of a matrix of `rows` rows.
fn factors(
    joining: &Joining<'_>,
    name: &str,
    scale: &Stored,
    bytes: &[u8],
    rows: usize,
) -> Result<Factors, WeightsError> {
    let dtype = scale.encoding.float().ok_or_else(|| joining.refuse(name, "is not of a float type"))?;
    let numbers = dtype.decode(bytes);
    if let Some(number) = numbers.iter().find(|number| !number.is_finite()) {
        return Err(joining.refuse(name, format!("holds {number}, which is not a scale")));
    }
    match numbers[..] {
        [one] => Ok(Factors::One(one)),
        _ if numbers.len() == rows => Ok(Factors::Rows(numbers)),
        _ => Err(joining.refuse(
            name,
            format!("has {} numbers; one, or one for each of the {rows} rows, would be read", numbers.len()),
        )),
    }
}
