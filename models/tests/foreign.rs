//! Files that are not weights of a FLUX.1 network: each is named, with what to do.

use crate::common::{Tensors, emoji, read, renamed, tinyrandom, write, write_with, zeros};
use reflux_ir::DType;
use reflux_models::flux1::TransformerConfig;
use reflux_models::weights::{Weights, WeightsError};
use reflux_models::{Net, Sizes, flux1, read_json};
use safetensors::tensor::Dtype;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

/// Why a file of these bytes is no transformer.
fn refusal_of_bytes(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    fs::write(&path, bytes).unwrap();
    refusal(&flux1::TRANSFORMER, &path)
}

fn refusal(net: &'static Net, path: &Path) -> String {
    let error = Weights::open_for(net, path).unwrap_err().to_string();
    assert!(error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    assert!(!error.contains('\n'), "{error}");
    error
}

fn refusal_of(net: &'static Net, tensors: &Tensors) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    write(&path, tensors);
    refusal(net, &path)
}

/// Tensors of these names, which alone tell what a file is.
fn named(names: &[&str]) -> Tensors {
    names.iter().map(|name| ((*name).to_owned(), zeros(Dtype::BF16, &[2, 2]))).collect()
}

#[test]
fn other_formats_are_called_by_name() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4f\nsize 9876543210\n";
    for (bytes, what, advice) in [
        (&b"GGUF\x03\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"[..], "has 24 bytes", "is incomplete"),
        (pointer.as_bytes(), "a Git LFS pointer to a file of 9876543210 bytes", "git lfs pull"),
        (b"<!doctype html>\n<title>Sign in</title>", "a web page", "logged in"),
        (b"PK\x03\x04\x14\0\0\0some/other.txt", "a zip archive", "unpack it"),
        (b"\x80\x04\x95\x20\0\0\0\0\0\0\0}", "a pickle", "never loads pickles"),
        (b"PK\x03\x04\0\0\x08\x08\0\0\0\0flux/data.pkl", "a pickle", "convert it to safetensors"),
        (b"\x89HDF\r\n\x1a\n\0\0", "an HDF5 file", "convert it"),
        (b"Repository not found\n", "a text file (\"Repository not found\"", "download it again"),
        (b"{\"error\": \"Invalid credentials in Authorization header\"}", "a text file", "download it again"),
        (&[0; 4096], "begins with zeros", "download it again"),
        (b"", "is empty (0 bytes)", "download it again"),
    ] {
        let error = refusal_of_bytes(bytes);
        assert!(error.contains(what) && error.contains(advice), "{error}");
    }
}

#[test]
fn what_is_no_file_of_weights_is_not_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    for (name, what) in [
        ("flux.gguf", "flux.gguf has 8 bytes"),
        ("flux.safetensors.part", "unfinished"),
        ("x.txt", "contains no"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), b"GGUF\x03\0\0\0").unwrap();
        let error = Weights::open_for(&flux1::TRANSFORMER, folder.path()).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    #[cfg(unix)]
    {
        let link = folder.path().join("model.safetensors");
        std::os::unix::fs::symlink("../blobs/0123", &link).unwrap();
        let error = refusal(&flux1::TRANSFORMER, &link);
        assert!(error.contains("a link to ../blobs/0123, which does not exist"), "{error}");
        let error = refusal(&flux1::TRANSFORMER, Path::new("/dev/zero"));
        assert!(error.contains("a device or a pipe"), "{error}");
    }
}

#[test]
fn other_models_and_adapters_are_called_by_name() {
    for (names, what) in [
        (&["lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight"][..], "a LoRA with kohya's names"),
        (&["transformer.transformer_blocks.0.attn.to_q.lora_A.weight"], "a LoRA with diffusers' names"),
        (
            &["base_model.model.double_blocks.0.img_mod.lin.lora_A.weight"],
            "a LoRA with Black Forest Labs' names",
        ),
        (&["diffusion_model.single_blocks.0.linear1.lora_A.weight"], "a LoRA with Black Forest Labs' names"),
        (&["double_blocks.1.processor.qkv_lora1.down.weight"], "a LoRA with XLabs' names"),
        (&["single_blocks.0.processor.proj_lora.up.weight"], "a LoRA with XLabs' names"),
        (
            &["lora_transformer_transformer_blocks_1_attn_to_q.lora_down.weight"],
            "a LoRA with OneTrainer's names",
        ),
        (
            &["lora_te1_text_model_encoder_layers_0_self_attn_q_proj.lora_up.weight"],
            "a LoRA of text encoders",
        ),
        (&["lycoris_transformer_blocks_0_attn_to_q.lokr_w1"], "a LyCORIS LoRA"),
        (&["diffusion_model.double_blocks.0.img_attn.qkv.hada_w1_a"], "a LyCORIS LoRA (LoHa)"),
        (&["transformer.single_transformer_blocks.0.attn.to_q.lora_magnitude_vector"], "a LoRA"),
        (&["distilled_guidance_layer.in_proj.weight", "double_blocks.0.img_attn.qkv.weight"], "Chroma"),
        (&["double_blocks.0.img_attn.qkv.weight", "double_stream_modulation_img.lin.weight"], "FLUX.2"),
        (&["transformer_blocks.0.attn.to_q.weight", "double_stream_modulation_img.linear.weight"], "FLUX.2"),
        (
            &[
                "conditioner.embedders.1.model.positional_embedding",
                "first_stage_model.decoder.conv_in.weight",
            ],
            "Stable Diffusion XL",
        ),
        (&["add_embedding.linear_1.weight", "down_blocks.0.resnets.0.conv1.weight"], "Stable Diffusion XL"),
        (
            &[
                "model.diffusion_model.input_blocks.0.0.weight",
                "model.diffusion_model.output_blocks.0.0.weight",
                "model.diffusion_model.middle_block.0.weight",
            ],
            "Stable Diffusion 1 or 2",
        ),
        (&["model.diffusion_model.joint_blocks.0.x_block.attn.qkv.weight"], "Stable Diffusion 3"),
        (&["pos_embed.proj.weight", "transformer_blocks.0.attn.add_k_proj.weight"], "Stable Diffusion 3"),
        (&["transformer_blocks.0.attn.to_q.weight", "controlnet_x_embedder.weight"], "a ControlNet"),
        (&["double_blocks.0.processor.ip_adapter_double_stream_k_proj.weight"], "an IP-Adapter"),
        (&["redux_up.weight", "redux_down.weight"], "FLUX.1 Redux"),
        (&["transformer_blocks.0.img_mod.1.weight"], "Qwen-Image"),
        (&["vision_model.encoder.layers.0.self_attn.q_proj.weight"], "an image encoder"),
        (&["transformer.resblocks.0.attn.in_proj_weight", "text_projection"], "CLIP with OpenAI's names"),
        (&["model.layers.0.self_attn.q_proj.weight", "model.embed_tokens.weight"], "a language model"),
    ] {
        let error = refusal_of(&flux1::TRANSFORMER, &named(names));
        assert!(error.contains(&format!(" is {what} (it has `")), "{error}");
        assert!(names.iter().any(|name| error.contains(name)), "{error}");
        assert!(error.contains("; "), "{error}");
    }
}

#[test]
fn what_nobody_knows_is_described() {
    let error = refusal_of(
        &flux1::TRANSFORMER,
        &named(&["a.weight", "b.weight", "c.weight", "d.weight", "e.weight"]),
    );
    assert!(error.contains("is not a FLUX.1 transformer"), "{error}");
    assert!(
        error.contains("it contains `a.weight`, `b.weight`, `c.weight`, … and 2 more tensors"),
        "{error}"
    );
    assert!(error.contains("`double_blocks.0.img_attn.qkv.weight` (Black Forest Labs' names)"), "{error}");
    assert!(refusal_of(&flux1::VAE, &Tensors::new()).contains("it contains no tensors"));
}

#[test]
fn networks_in_each_others_place_are_told() {
    for (net, other) in [
        (&flux1::CLIP, &flux1::T5),
        (&flux1::T5, &flux1::CLIP),
        (&flux1::TRANSFORMER, &flux1::VAE),
        (&flux1::VAE, &flux1::TRANSFORMER),
    ] {
        let error = Weights::open_for(net, emoji(other.folder)).unwrap_err();
        assert!(
            matches!(&error, WeightsError::OtherNetwork { other: found, net: wanted, .. } if (*found, *wanted) == (other.architecture, net)),
            "{error}"
        );
        assert!(error.to_string().contains(&other.option()), "{error}");
    }
}

/// The codes of a checkpoint, and what tells that they are codes.
fn quantized(dtype: Dtype, factors: &[(&str, Dtype, &[usize])], prefix: &str) -> Tensors {
    let mut tensors = read(&tinyrandom("bfl.safetensors"));
    for module in ["double_blocks.0.img_attn.qkv", "single_blocks.1.linear2"] {
        let shape = tensors[&format!("{module}.weight")].1.clone();
        let shape = if dtype == Dtype::U8 { vec![shape.iter().product::<usize>() / 2, 1] } else { shape };
        tensors.insert(format!("{module}.weight"), zeros(dtype, &shape));
        for (factor, dtype, shape) in factors {
            tensors.insert(format!("{module}.{factor}"), zeros(*dtype, shape));
        }
    }
    renamed(&tensors, |name| format!("{prefix}{name}"))
}

#[test]
fn quantized_checkpoints_are_never_read_as_numbers() {
    type Factors<'a> = &'a [(&'a str, Dtype, &'a [usize])];
    let cases: &[(Dtype, Factors, &str, &str)] = &[
        (Dtype::F8_E4M3, &[("weight_scale_inv", Dtype::F32, &[1, 1])], "scaled fp8", "quantize(fp8dq)"),
        (Dtype::I8, &[("SCB", Dtype::F32, &[9])], "bitsandbytes int8", "quantize(int8wo)"),
        (
            Dtype::U8,
            &[("weight_scale", Dtype::F8_E4M3, &[9]), ("weight_scale_2", Dtype::F32, &[])],
            "NVFP4",
            "quantize(int4wo)",
        ),
    ];
    for prefix in ["", "model.diffusion_model."] {
        for (dtype, factors, what, instead) in cases {
            let tensors = quantized(*dtype, factors, prefix);
            let error = refusal_of(&flux1::TRANSFORMER, &tensors);
            assert!(error.contains(&format!("quantized, as {what}")) && error.contains(instead), "{error}");
            // In the file's own names.
            assert!(error.contains(&format!("`{prefix}double_blocks.0.img_attn.qkv.")), "{error}");
            // Nor where it is not said which network is meant.
            let folder = tempfile::tempdir().unwrap();
            write(&folder.path().join("x.safetensors"), &tensors);
            assert!(matches!(Weights::open(folder.path()), Err(WeightsError::Foreign { .. })));
        }
    }
}

/// Factors may also be told in the header alone, or by one tensor for the whole file.
#[test]
fn marks_of_scaled_fp8_are_seen_wherever_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    let metadata = |layers: &str| HashMap::from([("_quantization_metadata".to_owned(), layers.to_owned())]);
    let plain = quantized(Dtype::F8_E4M3, &[], "model.diffusion_model.");
    for (json, refused) in [
        (
            r#"{"layers": {"model.diffusion_model.double_blocks.0.img_attn.qkv": {"format": "float8_e4m3fn"}}}"#,
            true,
        ),
        (r#"{"format_version": "1.0"}"#, true),
        ("no JSON", true),
        // Only another network's.
        (r#"{"layers": {"text_encoders.t5xxl.transformer.shared": {"format": "float8_e4m3fn"}}}"#, false),
    ] {
        write_with(&path, &plain, Some(metadata(json)));
        assert_eq!(Weights::open_for(&flux1::TRANSFORMER, &path).is_err(), refused, "{json}");
    }
    let mut marked = quantized(Dtype::F8_E4M3, &[], "");
    assert!(marked.insert("scaled_fp8".into(), zeros(Dtype::F8_E4M3, &[0])).is_none());
    assert!(refusal_of(&flux1::TRANSFORMER, &marked).contains("scaled fp8"));
    assert!(
        marked.insert("double_blocks.0.img_attn.qkv.scale_weight".into(), zeros(Dtype::F32, &[])).is_none()
    );
    write(&path, &marked);
    Weights::open_for(&flux1::TRANSFORMER, &path).unwrap();
    // Another network's factors are not the transformer's.
    let mut other = plain;
    other.insert("text_encoders.t5xxl.transformer.shared.scale_weight".into(), zeros(Dtype::F32, &[]));
    write(&path, &other);
    Weights::open_for(&flux1::TRANSFORMER, &path).unwrap();
}

fn tiny_program() -> reflux_ir::Program {
    let config: TransformerConfig =
        read_json(&tinyrandom("transformer/config.json")).unwrap_or_else(|error| panic!("{error}"));
    config
        .lower(
            &Sizes { batch: 1, steps: 1, text_tokens: 4, height: 32, width: 32, reference: None },
            DType::F32,
        )
        .unwrap()
}

/// Differences are told in the names and shapes of the file, and a tensor that is several of diffusers' only once.
#[test]
fn differences_are_told_in_the_files_own_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    let message = |change: &dyn Fn(&mut Tensors)| {
        let mut tensors = read(&tinyrandom("bfl.safetensors"));
        change(&mut tensors);
        write(&path, &renamed(&tensors, |name| format!("model.diffusion_model.{name}")));
        let opened = Weights::open_for(&flux1::TRANSFORMER, &path);
        let checked = opened.and_then(|weights| weights.check_for(&tiny_program(), &[]));
        checked.err().map(|error| error.to_string()).unwrap_or_default()
    };
    assert_eq!(message(&|_| {}), "");

    let qkv = "double_blocks.0.img_attn.qkv.weight";
    let bias = "double_blocks.0.img_attn.qkv.bias";
    let error = message(&|tensors| tensors.retain(|name, _| name != qkv && name != bias));
    let both = format!("`model.diffusion_model.{bias}`, `model.diffusion_model.{qkv}`");
    assert!(error.contains(&format!("\n  2 missing: {both}")) && !error.contains("to_q"), "{error}");

    let error = message(&|tensors| drop(tensors.insert(qkv.into(), zeros(Dtype::F32, &[256, 64]))));
    assert!(
        error.contains(&format!(
            "\n  1 with another shape: `model.diffusion_model.{qkv}` is [256, 64], not [192, 64]"
        )),
        "{error}"
    );

    let error = message(&|tensors| drop(tensors.remove(qkv)));
    assert!(
        error.contains(&format!("`model.diffusion_model.{bias}` but not `model.diffusion_model.{qkv}`")),
        "{error}"
    );

    let norm = "single_blocks.0.norm.key_norm.scale";
    let error = message(&|tensors| drop(tensors.remove(norm)));
    assert!(error.contains(&format!("1 missing: `model.diffusion_model.{norm}`")), "{error}");

    // What the network does not use: a block too many, a guidance embedder.
    let error = message(&|tensors| {
        drop(tensors.insert("guidance_in.in_layer.bias".into(), zeros(Dtype::F32, &[64])))
    });
    assert!(error.contains("1 unexpected: `model.diffusion_model.guidance_in.in_layer.bias`"), "{error}");
    let error = message(&|tensors| {
        let block = |name: &String| name.starts_with("single_blocks.1.");
        let more: Tensors =
            tensors.iter().filter(|(name, _)| block(name)).map(|(n, t)| (n.clone(), t.clone())).collect();
        tensors.extend(renamed(&more, |name| name.replace("single_blocks.1.", "single_blocks.2.")));
    });
    assert!(error.contains("they belong to a transformer with num_single_layers 3, not 2"), "{error}");
    assert!(error.contains("8 unexpected: `model.diffusion_model.single_blocks.2.linear1.bias`"), "{error}");
}

/// Of another model altogether, the message says in what.
#[test]
fn a_transformer_of_another_size_is_said_to_be_one() {
    let error = Weights::open_for(&flux1::TRANSFORMER, emoji("transformer"))
        .unwrap()
        .check_for(&tiny_program(), &[])
        .unwrap_err()
        .to_string();
    for difference in [
        "num_layers 2, not 1",
        "num_single_layers 5, not 2",
        "attention_head_dim 128, not 32",
        "guidance_embeds true, not false",
    ] {
        assert!(error.contains(difference), "{error}");
    }
}

#[test]
fn a_configuration_is_read_off_the_weights() {
    let config = emoji("transformer/config.json");
    let wanted: TransformerConfig = read_json(&config).unwrap();
    let weights = Weights::open_for(&flux1::TRANSFORMER, emoji("transformer")).unwrap();
    assert_eq!(weights.config::<TransformerConfig>(&flux1::TRANSFORMER).unwrap(), wanted);

    let error = Weights::open_for(&flux1::TRANSFORMER, tinyrandom("bfl.safetensors"))
        .unwrap()
        .config::<TransformerConfig>(&flux1::TRANSFORMER)
        .unwrap_err();
    assert!(error.to_string().contains("heads have 32 channels"), "{error}");
    assert!(error.to_string().contains("in the folder transformer/"), "{error}");

    let mut tensors = read(&tinyrandom("bfl.safetensors"));
    tensors.remove("txt_in.weight");
    let folder = tempfile::tempdir().unwrap();
    write(&folder.path().join("x.safetensors"), &tensors);
    let error = Weights::open_for(&flux1::TRANSFORMER, folder.path())
        .unwrap()
        .config::<TransformerConfig>(&flux1::TRANSFORMER)
        .unwrap_err()
        .to_string();
    assert!(error.contains("`txt_in.weight` is missing"), "{error}");
}
