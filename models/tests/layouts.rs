//! The layouts in which networks are published, against the same weights in that of diffusers.

use crate::common::{Tensors, contents, emoji, plain, read, renamed, tinyrandom, write, zeros};
use reflux_ir::DType;
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, Net, Sizes, flux1};
use safetensors::tensor::Dtype;
use std::path::Path;

fn open(net: &'static Net, tensors: &Tensors) -> Weights {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("weights.safetensors");
    write(&path, tensors);
    Weights::open_for(net, &path).unwrap_or_else(|error| panic!("{error}"))
}

/// The tensors that `net` reads, of all that its folder has.
fn used(net: &'static Net) -> Tensors {
    let unused: &[&str] = match net {
        net if *net == flux1::VAE => &["encoder.", "quant_conv."],
        net if *net == flux1::VAE_ENCODER => &["decoder.", "post_quant_conv."],
        _ => &[],
    };
    let mut tensors = read(&emoji(net.folder));
    tensors.retain(|name, _| !unused.iter().any(|prefix| name.starts_with(prefix)));
    tensors
}

/// An autoencoder as its authors name it, whose decoder has `blocks` blocks.
fn vae_as_published(tensors: &Tensors, blocks: usize) -> Tensors {
    let mut published = Tensors::new();
    for (name, (dtype, shape, bytes)) in tensors {
        let mut parts: Vec<String> = name.split('.').map(str::to_owned).collect();
        let mut shape = shape.clone();
        match &mut parts[..] {
            [_, blocks_name, index, kind, number, ..]
                if blocks_name == "up_blocks" || blocks_name == "down_blocks" =>
            {
                if blocks_name == "up_blocks" {
                    *index = (blocks - 1 - index.parse::<usize>().unwrap()).to_string();
                }
                *blocks_name = blocks_name.replace("_blocks", "");
                if kind == "resnets" {
                    *kind = "block".into();
                } else {
                    *kind = kind.replace("samplers", "sample");
                    number.clear();
                }
            }
            [_, mid, kind, number, ..] if mid == "mid_block" => {
                *mid = "mid".into();
                if kind == "resnets" {
                    *kind = format!("block_{}", number.parse::<usize>().unwrap() + 1);
                } else {
                    *kind = "attn_1".into();
                    if shape.len() == 2 {
                        shape.extend([1, 1]);
                    }
                }
                number.clear();
            }
            _ => {}
        }
        parts.retain(|part| !part.is_empty());
        let name =
            parts.join(".").replace("conv_norm_out", "norm_out").replace("conv_shortcut", "nin_shortcut");
        let attention =
            [("group_norm", "norm"), ("to_q", "q"), ("to_k", "k"), ("to_v", "v"), ("to_out.0", "proj_out")];
        let name = attention
            .iter()
            .fold(name, |name, (old, new)| name.replace(&format!("attn_1.{old}"), &format!("attn_1.{new}")));
        published.insert(name, (*dtype, shape, bytes.clone()));
    }
    published
}

#[test]
fn prefixes_of_single_transformers_are_read() {
    let (diffusers, bfl) = (read(&tinyrandom("transformer")), read(&tinyrandom("bfl.safetensors")));
    for layout in [&diffusers, &bfl] {
        for prefix in ["", "model.diffusion_model.", "model.", "diffusion_model.", "transformer.", "module."]
        {
            let weights = open(&flux1::TRANSFORMER, &renamed(layout, |name| format!("{prefix}{name}")));
            assert_eq!(contents(&weights), plain(&diffusers), "{prefix}");
        }
    }
}

/// In `ae.safetensors` blocks are counted from the last, and matrices are convolutions.
#[test]
fn an_autoencoder_as_published_is_read() {
    let all = read(&emoji("vae"));
    let published = vae_as_published(&all, 4);
    for name in [
        "decoder.up.3.block.1.conv1.weight",
        "decoder.up.1.upsample.conv.bias",
        "decoder.mid.attn_1.q.weight",
        "encoder.down.0.block.0.conv1.weight",
        "encoder.down.2.downsample.conv.bias",
        "encoder.mid.attn_1.q.weight",
    ] {
        assert!(published.contains_key(name), "{name}");
    }
    assert_eq!(published["decoder.mid.attn_1.q.weight"].1[2..], [1, 1]);
    for prefix in ["", "vae.", "first_stage_model."] {
        for net in [&flux1::VAE, &flux1::VAE_ENCODER] {
            let weights = open(net, &renamed(&published, |name| format!("{prefix}{name}")));
            assert_eq!(contents(&weights), plain(&used(net)), "{net:?} {prefix}");
        }
    }
}

#[test]
fn either_name_of_t5s_embedding_is_read() {
    let shared = read(&emoji("text_encoder_2"));
    let embed_tokens = renamed(&shared, |name| match name {
        "shared.weight" => "encoder.embed_tokens.weight".to_owned(),
        other => other.to_owned(),
    });
    let both: Tensors = shared.clone().into_iter().chain(embed_tokens.clone()).collect();
    assert_eq!((embed_tokens.len(), both.len()), (shared.len(), shared.len() + 1));
    // What the whole of T5, and files for other programs, have besides.
    let mut more = both.clone();
    for name in ["decoder.embed_tokens.weight", "decoder.block.0.layer.0.layer_norm.weight", "lm_head.weight"]
    {
        more.insert(name.into(), zeros(Dtype::F32, &[1]));
    }
    more.insert("spiece_model".into(), zeros(Dtype::U8, &[3]));
    for tensors in [&shared, &embed_tokens, &both, &more] {
        assert_eq!(contents(&open(&flux1::T5, tensors)), plain(&shared));
    }
}

#[test]
fn clip_is_read_by_itself_and_as_part_of_clip() {
    let clip = read(&emoji("text_encoder"));
    let bare = renamed(&clip, |name| name.strip_prefix("text_model.").unwrap().to_owned());
    let mut whole = clip.clone();
    for name in
        ["vision_model.embeddings.class_embedding", "visual_projection.weight", "text_projection.weight"]
    {
        whole.insert(name.into(), zeros(Dtype::F32, &[1]));
    }
    whole.insert("logit_scale".into(), zeros(Dtype::F32, &[]));
    whole.insert("text_model.embeddings.position_ids".into(), zeros(Dtype::I64, &[1, 77]));
    for tensors in [&clip, &bare, &whole] {
        let weights = open(&flux1::CLIP, tensors);
        assert_eq!(contents(&weights), plain(&clip));
    }
}

/// One file with everything, as ComfyUI saves it: each network is read from it, without warnings about the others.
#[test]
fn each_network_is_found_in_a_file_of_all() {
    let prefixes = [
        (&flux1::TRANSFORMER, "model.diffusion_model."),
        (&flux1::CLIP, "text_encoders.clip_l.transformer."),
        (&flux1::T5, "text_encoders.t5xxl.transformer."),
        (&flux1::VAE, "vae."),
        (&flux1::VAE_ENCODER, "vae."),
    ];
    let mut all = Tensors::new();
    for (net, prefix) in prefixes {
        let tensors = read(&emoji(net.folder));
        let tensors = if net.folder == "vae" { vae_as_published(&tensors, 4) } else { tensors };
        all.extend(renamed(&tensors, |name| format!("{prefix}{name}")));
    }
    for name in ["text_encoders.clip_l.logit_scale", "text_encoders.t5xxl.logit_scale", "model_ema.decay"] {
        all.insert(name.into(), zeros(Dtype::F32, &[]));
    }
    let config = ModelConfig::read(&emoji("")).unwrap();
    let sizes = Sizes { batch: 1, steps: 1, text_tokens: 8, height: 32, width: 32, reference: None };
    for (net, _) in prefixes {
        let weights = open(net, &all);
        assert_eq!(contents(&weights), plain(&used(net)), "{net:?}");
        let strays = weights.check_for(&config.lower(net, &sizes, DType::F32).unwrap(), &[]).unwrap();
        assert_eq!(strays, [""; 0], "{net:?}");
    }
}

/// Floats of eight bits without factors are numbers like any others.
#[test]
fn plain_fp8_is_widened() {
    let mut tensors = read(&tinyrandom("bfl.safetensors"));
    let name = "double_blocks.0.img_attn.qkv.weight";
    let elements = tensors[name].1.iter().product();
    let codes: Vec<u8> = (0..=u8::MAX).filter(|code| code & 0x7c != 0x7c).cycle().take(elements).collect();
    for (dtype, mantissa, bias) in [(Dtype::F8_E4M3, 3, 7), (Dtype::F8_E5M2, 2, 15)] {
        tensors.get_mut(name).unwrap().0 = dtype;
        tensors.get_mut(name).unwrap().2 = codes.clone();
        let value = |code: u8| {
            let (exponent, fraction) =
                (i32::from(code & 0x7f) >> mantissa, f32::from(code & ((1 << mantissa) - 1)));
            let fraction = fraction / (1 << mantissa) as f32;
            let size = if exponent == 0 {
                fraction * 2f32.powi(1 - bias)
            } else {
                (1.0 + fraction) * 2f32.powi(exponent - bias)
            };
            if code < 0x80 { size } else { -size }
        };
        let weights = open(&flux1::TRANSFORMER, &tensors);
        let third = elements / 3;
        for (part, name) in ["to_q", "to_k", "to_v"].into_iter().enumerate() {
            let name = format!("transformer_blocks.0.attn.{name}.weight");
            assert_eq!(weights.get(&name).unwrap().dtype, DType::BF16);
            let expected: Vec<f32> =
                codes[part * third..(part + 1) * third].iter().map(|&code| value(code)).collect();
            assert_eq!(weights.tensor(&name).unwrap().to_f32(), expected, "{dtype:?} {name}");
        }
    }
}

/// The names that diffusers, transformers and Black Forest Labs give to files in a network's folder.
#[test]
fn files_of_a_folder_are_found_by_their_names() {
    let tensors = read(&tinyrandom("bfl.safetensors"));
    let halves: [Tensors; 2] = [true, false].map(|first| {
        let of_half = |name: &str| name.starts_with("double_blocks.") == first;
        tensors.iter().filter(|(name, _)| of_half(name)).map(|(name, t)| (name.clone(), t.clone())).collect()
    });
    let other = Tensors::from([("x_embedder.weight".into(), zeros(Dtype::F32, &[1, 1]))]);
    let write_all = |folder: &Path, files: &[(&str, &Tensors)], index: Option<&str>| {
        files.iter().for_each(|(name, tensors)| write(&folder.join(name), tensors));
        if let Some(index) = index {
            let shard_of =
                |name: &String| files.iter().find(|(_, tensors)| tensors.contains_key(name)).unwrap().0;
            let map: serde_json::Map<_, _> =
                tensors.keys().map(|name| (name.clone(), shard_of(name).into())).collect();
            std::fs::write(folder.join(index), serde_json::json!({ "weight_map": map }).to_string()).unwrap();
        }
    };
    let [a, b] = &halves;
    type Files<'a> = &'a [(&'a str, &'a Tensors)];
    let cases: &[(Files, Option<&str>)] = &[
        (&[("flux1-dev.sft", &tensors)], None),
        (&[("diffusion_pytorch_model.fp16.safetensors", &tensors)], None),
        (
            &[
                ("diffusion_pytorch_model.safetensors", &tensors),
                ("diffusion_pytorch_model.bf16.safetensors", &other),
            ],
            None,
        ),
        (&[("model.safetensors", &tensors), ("flux-lora.safetensors", &other)], None),
        (&[("flux1-dev.safetensors", &tensors), ("pytorch_lora_weights.safetensors", &other)], None),
        (
            &[("model.fp16-00001-of-00002.safetensors", a), ("model.fp16-00002-of-00002.safetensors", b)],
            Some("model.safetensors.index.fp16.json"),
        ),
        (
            &[("model-00001-of-00002.bf16.safetensors", a), ("model-00002-of-00002.bf16.safetensors", b)],
            Some("model.safetensors.index.bf16.json"),
        ),
        (
            &[
                ("model-00001-of-00002.safetensors", a),
                ("model-00002-of-00002.safetensors", b),
                ("model.fp16.safetensors", &other),
            ],
            Some("model.safetensors.index.json"),
        ),
        // The names of shards show that all are present.
        (&[("flux-00001-of-00002.safetensors", a), ("flux-00002-of-00002.safetensors", b)], None),
    ];
    for (files, index) in cases {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path(), files, *index);
        let weights =
            Weights::open_for(&flux1::TRANSFORMER, folder.path()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(contents(&weights), plain(&read(&tinyrandom("transformer"))), "{}", files[0].0);
    }
    for (files, message) in [
        (&[("model.fp16.safetensors", a), ("model.bf16.safetensors", a)][..], "several sets of weights"),
        (
            &[("model-00001-of-00003.safetensors", a), ("model-00003-of-00003.safetensors", b)],
            "2 of the 3 shards of `model`",
        ),
        (
            &[("a-00001-of-00001.safetensors", a), ("b-00001-of-00001.safetensors", b)],
            "several sets of weights (a, b)",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write_all(folder.path(), files, None);
        let error = Weights::open_for(&flux1::TRANSFORMER, folder.path()).unwrap_err().to_string();
        assert!(error.contains(message), "{error}");
    }
}
