//! Config files: what they may say, and what is refused by name.

use reflux_models::scheduler::SchedulerConfig;
use reflux_models::{ModelError, ModelFiles, Parts, flux1};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

const EMOJI: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/emoji");

/// Every config file of a model.
const FILES: [&str; 6] = [
    "model_index.json",
    "transformer/config.json",
    "text_encoder/config.json",
    "text_encoder_2/config.json",
    "vae/config.json",
    "scheduler/scheduler_config.json",
];

const TRANSFORMER: &str = FILES[1];
const CLIP: &str = FILES[2];
const T5: &str = FILES[3];
const VAE: &str = FILES[4];
const SCHEDULER: &str = FILES[5];

/// The bundled model's config files alone.
fn configs() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in FILES {
        let path = folder.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::copy(Path::new(EMOJI).join(file), path).unwrap();
    }
    folder
}

/// What a model's files say, and the warnings about them.
#[derive(Debug, PartialEq)]
struct Model {
    config: flux1::Config,
    warnings: Vec<String>,
}

fn read(folder: &Path) -> Result<Model, ModelError> {
    let mut configs = ModelFiles::find(folder, Parts::default())?.configs()?;
    let config = flux1::Config::read(&mut configs)?;
    Ok(Model { config, warnings: configs.warnings })
}

/// What reading says once `settings` are in `file`; `null` removes one.
fn with(file: &str, settings: Value) -> Result<Model, String> {
    let folder = configs();
    let path = folder.path().join(file);
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    for (name, value) in settings.as_object().unwrap() {
        match value {
            Value::Null => drop(config.as_object_mut().unwrap().remove(name)),
            value => config[name] = value.clone(),
        }
    }
    fs::write(&path, config.to_string()).unwrap();
    read(folder.path()).map_err(|error| error.to_string())
}

/// What reading says once `file` is `bytes`.
fn written(file: &str, bytes: &[u8]) -> Result<Model, ModelError> {
    let folder = configs();
    fs::write(folder.path().join(file), bytes).unwrap();
    read(folder.path())
}

/// Each setting that changes numbers and that Reflux computes in one way, with another value.
#[test]
fn settings_that_would_change_numbers_are_refused_by_name() {
    for (file, setting, value) in [
        (SCHEDULER, "_class_name", json!("FlowMatchHeunDiscreteScheduler")),
        (SCHEDULER, "_class_name", json!("DPMSolverMultistepScheduler")),
        (SCHEDULER, "time_shift_type", json!("linear")),
        (SCHEDULER, "shift_terminal", json!(0.02)),
        (SCHEDULER, "invert_sigmas", json!(true)),
        (SCHEDULER, "stochastic_sampling", json!(true)),
        (SCHEDULER, "use_beta_sigmas", json!(true)),
        (SCHEDULER, "use_exponential_sigmas", json!(true)),
        (SCHEDULER, "use_flow_sigmas", json!(true)),
        (SCHEDULER, "use_karras_sigmas", json!(true)),
        (SCHEDULER, "use_karras_sigmas", json!(1)),
        (VAE, "_class_name", json!("AutoencoderTiny")),
        (VAE, "act_fn", json!("relu")),
        (VAE, "up_block_types", json!(["UpDecoderBlock2D", "AttnUpDecoderBlock2D"])),
        (VAE, "down_block_types", json!(["AttnDownEncoderBlock2D"])),
        (TRANSFORMER, "_class_name", json!("ChromaTransformer2DModel")),
        (TRANSFORMER, "patch_size", json!(2)),
        (TRANSFORMER, "axes_dims_rope", json!([16, 56, 54])),
        (TRANSFORMER, "axes_dims_rope", json!([15, 57, 56])),
        (TRANSFORMER, "axes_dims_rope", json!([128])),
        (TRANSFORMER, "out_channels", json!(16)),
        (T5, "model_type", json!("umt5")),
        (T5, "feed_forward_proj", json!("relu")),
        (T5, "feed_forward_proj", json!("gated-silu")),
        (T5, "dense_act_fn", json!("relu")),
        (T5, "is_gated_act", json!(false)),
        (T5, "is_decoder", json!(true)),
        (T5, "relative_attention_num_buckets", json!(1)),
        (T5, "layer_norm_epsilon", json!(-1e-6)),
        (CLIP, "model_type", json!("siglip_text_model")),
        (CLIP, "layer_norm_eps", json!(0.0)),
        (CLIP, "num_attention_heads", json!(3)),
        (VAE, "scaling_factor", json!(0.0)),
        (VAE, "out_channels", json!(4)),
        (VAE, "norm_num_groups", json!(7)),
        (VAE, "block_out_channels", json!([32, 64, 96])),
        (VAE, "block_out_channels", json!([])),
    ] {
        let message = with(file, json!({ setting: value })).unwrap_err();
        assert!(message.contains(file) && message.contains(&format!("`{setting}`")), "{setting}: {message}");
        assert_eq!(message.lines().count(), 1, "{message}");
    }
    for (file, setting) in [(CLIP, "hidden_act"), (SCHEDULER, "shift"), (TRANSFORMER, "num_layers")] {
        let message = with(file, json!({ setting: ["what"] })).unwrap_err();
        assert!(message.contains(file) && message.contains("line 1"), "{message}");
    }
    // What is missing has no default that is FLUX.1's.
    for (file, setting) in [(T5, "feed_forward_proj"), (CLIP, "hidden_act"), (VAE, "scaling_factor")] {
        let message = with(file, json!({ setting: null })).unwrap_err();
        assert!(message.contains(&format!("`{setting}` is missing")), "{message}");
    }
}

#[test]
fn the_values_that_mean_flux_are_taken() {
    let emoji = read(Path::new(EMOJI)).unwrap();
    for (file, settings) in [
        (
            SCHEDULER,
            json!({"use_karras_sigmas": false, "use_beta_sigmas": 0, "shift_terminal": 0.0, "time_shift_type": "exponential"}),
        ),
        (SCHEDULER, json!({"_class_name": null})),
        (VAE, json!({"act_fn": null, "up_block_types": null, "latents_mean": null, "sample_size": 7})),
        (T5, json!({"is_gated_act": true, "dense_act_fn": null, "num_beams": 4})),
        ("model_index.json", json!({"_class_name": "FluxKontextPipeline", "image_encoder": [null, null]})),
    ] {
        assert_eq!(with(file, settings.clone()).as_ref(), Ok(&emoji), "{settings}");
    }
    assert_eq!(
        with(TRANSFORMER, json!({"out_channels": 64})).unwrap().config.transformer.out_channels,
        Some(64)
    );
    assert_eq!(
        emoji.config.scheduler,
        SchedulerConfig { shift: 3.0, use_dynamic_shifting: true, ..Default::default() }
    );
    assert_eq!(emoji.warnings, [""; 0]);
}

#[test]
fn unknown_settings_are_ignored_and_said_to_be() {
    let config =
        with(VAE, json!({"shift_facter": 0.1, "_note": "mine", "norm_kind": [1, {"a": null}]})).unwrap();
    let [warning] = &config.warnings[..] else { panic!("{:?}", config.warnings) };
    assert!(warning.contains(VAE) && warning.contains("`shift_facter`, `norm_kind`"), "{warning}");
    // Of other autoencoders, whose pipelines use it.
    let [warning] = &with(VAE, json!({"latents_mean": [0.5]})).unwrap().warnings[..] else { panic!() };
    assert!(warning.contains("`latents_mean`"), "{warning}");
    let index =
        json!({"image_encoder": ["transformers", "CLIPVision"], "feature_extractor": null, "fast": true});
    let [warning] = &with(FILES[0], index).unwrap().warnings[..] else { panic!() };
    assert!(warning.contains(FILES[0]) && warning.contains("`image_encoder`, `fast`"), "{warning}");
    // transformers keeps anything.
    assert_eq!(with(CLIP, json!({"unheard": 1})).unwrap().warnings, [""; 0]);
}

#[test]
fn quantized_models_are_refused_by_their_method() {
    for file in [TRANSFORMER, T5, CLIP, VAE] {
        let message = with(file, json!({"quantization_config": {"quant_method": "gguf"}})).unwrap_err();
        assert!(message.contains(file) && message.contains("gguf") && message.contains("bf16"), "{message}");
        // Its codes are read.
        let read = json!({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": true}});
        with(file, read).unwrap();
    }
}

#[test]
fn models_that_read_pictures_are_refused_by_name() {
    for (channels, name) in [(384, "FLUX.1 Fill"), (128, "FLUX.1 Canny or FLUX.1 Depth")] {
        for out in [json!(64), json!(null)] {
            let message =
                with(TRANSFORMER, json!({"in_channels": channels, "out_channels": out})).unwrap_err();
            assert!(message.contains(name) && message.contains("only draws from prompts"), "{message}");
        }
    }
    for (class, name) in [
        ("FluxFillPipeline", "FLUX.1 Fill"),
        ("FluxControlPipeline", "FLUX.1 Canny or FLUX.1 Depth"),
        ("FluxControlNetPipeline", "a ControlNet"),
        ("Flux2Pipeline", "FLUX.2"),
        ("ChromaPipeline", "Chroma"),
        ("StableDiffusionXLPipeline", "Stable Diffusion"),
        ("PixArtAlphaPipeline", "`PixArtAlphaPipeline`"),
    ] {
        let message = with("model_index.json", json!({ "_class_name": class })).unwrap_err();
        assert!(message.contains(name) && message.contains("FLUX.1-dev"), "{message}");
    }
}

#[test]
fn parts_that_are_missing_or_of_another_class_are_named() {
    let message = with("model_index.json", json!({"vae": ["diffusers", "AutoencoderTiny"]})).unwrap_err();
    assert!(message.contains("`vae` is a `AutoencoderTiny`"), "{message}");
    let folder = configs();
    fs::remove_dir_all(folder.path().join("scheduler")).unwrap();
    let message = read(folder.path()).unwrap_err().to_string();
    assert!(message.contains(SCHEDULER) && message.contains("download the model again"), "{message}");
}

#[test]
fn parts_of_different_models_are_told_apart() {
    for (file, settings, setting) in [
        (VAE, json!({"latent_channels": 4}), "`in_channels` is 64"),
        (T5, json!({"d_model": 4096}), "`joint_attention_dim` is 256"),
        (CLIP, json!({"hidden_size": 768}), "`pooled_projection_dim` is 128"),
    ] {
        let message = with(file, settings).unwrap_err();
        assert!(message.contains(setting) && message.contains("belong to different models"), "{message}");
    }
}

/// No number makes anything as large as itself: reading and refusing takes no time and no memory.
#[test]
fn absurd_numbers_are_refused() {
    for (file, setting) in [
        (TRANSFORMER, "num_layers"),
        (TRANSFORMER, "num_single_layers"),
        (TRANSFORMER, "in_channels"),
        (TRANSFORMER, "attention_head_dim"),
        (TRANSFORMER, "num_attention_heads"),
        (TRANSFORMER, "joint_attention_dim"),
        (TRANSFORMER, "pooled_projection_dim"),
        (TRANSFORMER, "axes_dims_rope"),
        (T5, "vocab_size"),
        (T5, "d_model"),
        (T5, "d_kv"),
        (T5, "d_ff"),
        (T5, "num_layers"),
        (T5, "num_heads"),
        (T5, "relative_attention_num_buckets"),
        (T5, "relative_attention_max_distance"),
        (CLIP, "vocab_size"),
        (CLIP, "hidden_size"),
        (CLIP, "intermediate_size"),
        (CLIP, "num_hidden_layers"),
        (CLIP, "num_attention_heads"),
        (CLIP, "max_position_embeddings"),
        (VAE, "latent_channels"),
        (VAE, "layers_per_block"),
        (VAE, "norm_num_groups"),
        (VAE, "block_out_channels"),
        (SCHEDULER, "num_train_timesteps"),
    ] {
        for number in [json!(4_000_000_000_u64), json!(u64::MAX)] {
            let value = match setting {
                "axes_dims_rope" => json!([number, number, number]),
                "block_out_channels" => json!([number, number, number, number]),
                _ => number,
            };
            let message = with(file, json!({ setting: value })).unwrap_err();
            assert!(message.contains(setting), "{setting}: {message}");
        }
        if !["num_layers", "num_single_layers", "num_hidden_layers", "layers_per_block"].contains(&setting) {
            let zero =
                if setting.ends_with("rope") || setting.starts_with("block") { json!([]) } else { json!(0) };
            with(file, json!({ setting: zero })).unwrap_err();
        }
    }
    let many: Vec<usize> = vec![32; 100_000];
    with(VAE, json!({"block_out_channels": many})).unwrap_err();
}

/// Endless and blocking files are not read.
#[cfg(unix)]
#[test]
fn what_no_configuration_is_like_is_not_read() {
    for file in FILES {
        let folder = configs();
        let path = folder.path().join(file);
        fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(file) && message.contains("at most 200 MB"), "{message}");
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
        let message = read(folder.path()).unwrap_err().to_string();
        assert!(message.contains(file) && message.contains("a device or a pipe"), "{message}");
    }
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_name() {
    for (bytes, what) in [
        (&b""[..], "it is empty"),
        (b"{", "line 1"),
        (b"[]", "line 1"),
        (b"// by hand\n{}", "JSON has no comments"),
        (b"{\"act_fn\": \"silu\"} {}", "line 1"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        (b"\xff\xfe{\0}\0", "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    ] {
        for file in FILES {
            let message = written(file, bytes).unwrap_err().to_string();
            assert!(message.contains(file) && message.contains(what), "{what}: {message}");
        }
    }
}
