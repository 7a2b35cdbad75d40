//! A transformer in the Black Forest Labs layout against the same weights in diffusers'.

use proptest::prelude::*;
use reflux_models::weights::{Weights, WeightsError};
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

fn tinyrandom(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/tinyrandom")).join(path)
}

/// Every name with its shape and bytes.
fn contents(weights: &Weights) -> BTreeMap<String, (Vec<usize>, Vec<u8>)> {
    let read = |name: &str| {
        let view = weights.get(name).unwrap();
        (view.shape.to_vec(), view.parts.concat())
    };
    weights.names().map(|name| (name.to_owned(), read(name))).collect()
}

#[test]
fn every_tensor_equals_that_of_diffusers() {
    let bfl = Weights::open(tinyrandom("bfl.safetensors")).unwrap();
    let diffusers = Weights::open(tinyrandom("transformer")).unwrap();
    assert_eq!(bfl.names().collect::<Vec<_>>(), diffusers.names().collect::<Vec<_>>());
    assert!(contents(&bfl) == contents(&diffusers));
    for name in bfl.names() {
        let pieces = if name.starts_with("norm_out.") { 2 } else { 1 };
        assert_eq!(bfl.get(name).unwrap().parts.len(), pieces, "{name} is not read in place");
    }
}

/// Tensors by name: shape and bytes, all `f32`.
type Tensors = BTreeMap<String, (Vec<usize>, Vec<u8>)>;

/// The BFL fixture's own tensors.
fn original() -> Tensors {
    let bytes = fs::read(tinyrandom("bfl.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    file.tensors()
        .into_iter()
        .map(|(name, view)| (name, (view.shape().to_vec(), view.data().to_vec())))
        .collect()
}

fn open(tensors: &Tensors) -> Result<Weights, WeightsError> {
    let file = tempfile::Builder::new().suffix(".safetensors").tempfile().unwrap();
    let views = tensors
        .iter()
        .map(|(name, (shape, bytes))| (name, TensorView::new(Dtype::F32, shape.clone(), bytes).unwrap()));
    fs::write(&file, safetensors::serialize(views, None).unwrap()).unwrap();
    Weights::open(file.path())
}

fn zeros(shape: &[usize]) -> (Vec<usize>, Vec<u8>) {
    (shape.to_vec(), vec![0; 4 * shape.iter().product::<usize>()])
}

#[test]
fn an_all_in_one_file_keeps_other_networks_names() {
    let mut tensors: Tensors =
        original().into_iter().map(|(name, t)| (format!("model.diffusion_model.{name}"), t)).collect();
    let others = ["vae.decoder.conv_in.weight", "text_encoders.t5xxl.shared.weight", "img_in.lora.weight"];
    tensors.extend(others.map(|name| (name.to_owned(), zeros(&[1]))));

    let mut renamed = contents(&open(&tensors).unwrap());
    for other in others {
        assert_eq!(renamed.remove(other), Some(zeros(&[1])));
    }
    assert!(renamed == contents(&Weights::open(tinyrandom("transformer")).unwrap()));
}

#[test]
fn guidance_is_renamed_too() {
    let mut tensors = original();
    for name in ["in_layer.weight", "in_layer.bias", "out_layer.weight", "out_layer.bias"] {
        tensors.insert(format!("guidance_in.{name}"), zeros(&[2]));
    }
    let weights = open(&tensors).unwrap();
    let guidance: Vec<&str> = weights.names().filter(|name| name.contains("guidance")).collect();
    assert_eq!(
        guidance,
        ["linear_1.bias", "linear_1.weight", "linear_2.bias", "linear_2.weight"]
            .map(|name| format!("time_text_embed.guidance_embedder.{name}"))
    );
}

#[test]
fn fused_tensors_that_do_not_come_apart_are_refused() {
    for (name, shape) in [
        ("double_blocks.0.img_attn.qkv.weight", vec![100, 64]),
        ("double_blocks.0.txt_attn.qkv.bias", vec![]),
        ("double_blocks.0.txt_attn.qkv.weight", vec![192]),
        ("single_blocks.1.linear1.bias", vec![191]),
        ("final_layer.adaLN_modulation.1.weight", vec![127, 64]),
    ] {
        let mut tensors = original();
        tensors.insert(name.to_owned(), zeros(&shape));
        let message = open(&tensors).unwrap_err().to_string();
        assert!(message.contains("cannot be split into"), "{message}");
        let module = name.rsplit_once('.').unwrap().0;
        assert!(message.contains(module), "{message}");
    }
}

#[test]
fn a_file_in_both_layouts_is_refused() {
    let mut tensors = original();
    tensors.insert("x_embedder.bias".to_owned(), zeros(&[64]));
    assert!(
        matches!(open(&tensors), Err(WeightsError::Duplicate { tensor, .. }) if tensor == "x_embedder.bias")
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Shapes of all kinds, also of no elements and of astronomic size, in every fused tensor.
    #[test]
    fn odd_shapes_never_panic(
        which in prop::sample::select(vec![
            "double_blocks.0.img_attn.qkv.weight",
            "double_blocks.0.img_attn.qkv.bias",
            "single_blocks.0.linear1.weight",
            "single_blocks.0.linear1.bias",
            "final_layer.adaLN_modulation.1.weight",
        ]),
        shape in prop_oneof![
            prop::collection::vec(0usize..9, 0..4),
            Just(vec![0, usize::MAX]),
            Just(vec![usize::MAX, 0]),
            Just(vec![usize::MAX / 2 + 1, 0, 2]),
        ],
    ) {
        let mut tensors = original();
        let elements = shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d)).unwrap_or(0);
        tensors.insert(which.to_owned(), (shape, vec![0; 4 * elements]));
        if let Ok(weights) = open(&tensors) {
            contents(&weights);
        }
    }
}
