//! What is wrong is said before anything runs, and what goes wrong while it runs is never drawn.

use crate::common::model::{changed, edit, fill};
use reflux::ir::{DType, HostTensor};
use reflux::{DiffusionPipeline, OpenOptions, Request};
use std::path::Path;
use std::process::{Command, Output};

const VAE: &str = "vae/diffusion_pytorch_model.safetensors";
const CLIP: &str = "text_encoder/model.safetensors";
const T5: &str = "text_encoder_2/model-00001-of-00002.safetensors";
const TRANSFORMER: &str = "transformer/diffusion_pytorch_model-00001-of-00003.safetensors";

/// Why a model with this change does not open.
fn refused(change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let model = changed(folder.path(), "model", change);
    match DiffusionPipeline::open(&model) {
        Ok(_) => panic!("it opens"),
        Err(error) => error.to_string(),
    }
}

/// Opening a model looks at all of it: what is wrong with the last network is not found after the others have run.
#[test]
fn every_network_is_checked_before_the_first_runs() {
    for file in [VAE, CLIP, T5, TRANSFORMER] {
        let message = refused(|model| {
            let bytes = std::fs::read(model.join(file)).unwrap();
            std::fs::write(model.join(file), &bytes[..bytes.len() - 1]).unwrap();
        });
        assert!(message.contains(file) && message.contains("download it again"), "{message}");
    }
    for (file, from, to) in [
        ("vae/config.json", "\"layers_per_block\": 1", "\"layers_per_block\": 2"),
        ("vae/config.json", "\"use_post_quant_conv\": false", "\"use_post_quant_conv\": true"),
        ("text_encoder/config.json", "\"intermediate_size\": 512", "\"intermediate_size\": 256"),
        ("text_encoder_2/config.json", "\"d_ff\": 640", "\"d_ff\": 641"),
        ("transformer/config.json", "\"num_single_layers\": 5", "\"num_single_layers\": 6"),
    ] {
        let message = refused(|model| edit(&model.join(file), from, to));
        let part = file.split('/').next().unwrap();
        assert!(message.contains(&format!("model/{part} do not match")), "{file}: {message}");
    }
    for file in ["tokenizer/merges.txt", "tokenizer_2/tokenizer.json", "vae/config.json"] {
        let message = refused(|model| std::fs::remove_file(model.join(file)).unwrap());
        assert!(message.contains(file), "{message}");
    }
    // A text encoder with fewer embeddings than there are tokens; its weights are found to differ only afterwards.
    for (file, from, to, tokenizer) in [
        ("text_encoder/config.json", "\"vocab_size\": 2048", "\"vocab_size\": 2047", "model/tokenizer: "),
        ("text_encoder_2/config.json", "\"vocab_size\": 1920", "\"vocab_size\": 1800", "model/tokenizer_2: "),
    ] {
        let message = refused(|model| edit(&model.join(file), from, to));
        assert!(message.contains(tokenizer) && message.contains("embeddings"), "{message}");
    }
}

/// A block that the configuration does not have, or guidance that it has turned off, would change every picture.
#[test]
fn weights_that_a_network_does_not_use_are_refused() {
    for (from, to, named) in [
        ("\"num_layers\": 2", "\"num_layers\": 1", "num_layers 2, not 1"),
        ("\"num_single_layers\": 5", "\"num_single_layers\": 4", "num_single_layers 5, not 4"),
        ("\"guidance_embeds\": true", "\"guidance_embeds\": false", "guidance_embeds true, not false"),
        ("\"guidance_embeds\": true,", "", "guidance_embeds true, not false"),
    ] {
        let message = refused(|model| edit(&model.join("transformer/config.json"), from, to));
        assert!(message.contains(named) && message.contains("unexpected"), "{message}");
    }
}

/// The error of drawing with this change of the model, in `dtype`.
fn failure(dtype: DType, change: impl FnOnce(&Path)) -> String {
    let folder = tempfile::tempdir().unwrap();
    let model = changed(folder.path(), "model", change);
    let options = OpenOptions { dtype: Some(dtype), ..OpenOptions::default() };
    let mut pipeline = DiffusionPipeline::open_with(&model, options).unwrap();
    match pipeline.generate(&Request::new("a red apple").steps(2).size(32, 32)) {
        Ok(_) => panic!("it draws"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn numbers_that_are_not_finite_name_their_network_and_its_weight() {
    for (file, tensor, network, when) in [
        (CLIP, "text_model.final_layer_norm.bias", "text_encoder ", "for the prompt \"a red apple\""),
        (
            T5,
            "encoder.block.0.layer.0.layer_norm.weight",
            "text_encoder_2 ",
            "for the prompt \"a red apple\"",
        ),
        (TRANSFORMER, "context_embedder.bias", "transformer ", "in step 1 of 2 of picture 0"),
        (VAE, "decoder.conv_in.bias", "vae ", "for picture 0"),
    ] {
        for value in [f32::NAN, f32::INFINITY] {
            let message = failure(DType::F32, |model| fill(&model.join(file), tensor, value));
            assert!(message.starts_with(network) && message.contains(when), "{message}");
            assert!(
                message.contains(&format!("`{tensor}`")) && message.contains("download it again"),
                "{message}"
            );
        }
    }
}

/// What f16 cannot hold is said to be that, whether it is a weight or what comes of weights.
#[test]
fn overflow_names_the_dtypes_that_hold_more() {
    let large = |model: &Path| fill(&model.join(VAE), "decoder.conv_in.bias", 1e6);
    let message = failure(DType::F16, large);
    assert!(
        message.starts_with("vae ") && message.contains("`decoder.conv_in.bias` is too large for f16"),
        "{message}"
    );
    let sum = |model: &Path| {
        for tensor in ["decoder.conv_in.bias", "decoder.mid_block.resnets.0.conv2.bias"] {
            fill(&model.join(VAE), tensor, 60_000.0);
        }
    };
    let message = failure(DType::F16, sum);
    assert!(message.starts_with("vae ") && message.contains("computing in f16"), "{message}");
    assert!(message.ends_with("; compute in bf16 or f32"), "{message}");
}

#[test]
fn latents_to_start_from_are_finite() {
    let mut pipeline = DiffusionPipeline::open(reflux::bundled_model().unwrap()).unwrap();
    for (value, named) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut latents = vec![0.0; 4 * 64];
        latents[70] = value;
        let init_latents = Some(HostTensor::from_f32([1, 4, 64], &latents));
        let request = Request { init_latents, ..Request::new("owl").steps(1).size(32, 32) };
        let message = pipeline.generate(&request).unwrap_err().to_string();
        assert!(message.contains(named) && message.contains("number 70"), "{message}");
    }
}

fn reflux(folder: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_reflux")).args(arguments).current_dir(folder).output().unwrap()
}

fn message(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Models that cannot be drawn with are refused by every command that reads them, in one line.
#[test]
fn commands_refuse_models_alike() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let transformer = "transformer/config.json";
    changed(root, "channels", |model| {
        edit(&model.join(transformer), "\"in_channels\": 64", "\"in_channels\": 320")
    });
    changed(root, "layers", |model| {
        edit(&model.join(transformer), "\"num_layers\": 2", "\"num_layers\": 4000000000");
    });
    changed(root, "karras", |model| {
        edit(
            &model.join("scheduler/scheduler_config.json"),
            "\"shift\":",
            "\"use_karras_sigmas\": true, \"shift\":",
        );
    });
    for (model, named) in
        [("channels", "channels` is 320"), ("layers", "`num_layers`"), ("karras", "`use_karras_sigmas`")]
    {
        for command in [
            &["generate", "owl", "--device", "cpu", "--model", model][..],
            &["ir", "--model", model],
            &["ir", "--net", "t5", "--model", model],
            &["opt", model],
            &["bench", "--device", "cpu", "--model", model],
            &["bench", "--image", "--device", "cpu", "--model", model],
            &["bisect", model],
        ] {
            let output = reflux(root, command);
            let said = message(&output);
            assert_eq!(output.status.code(), Some(1), "{command:?}: {said}");
            assert!(said.starts_with("error: ") && said.contains(named), "{command:?}: {said}");
            assert_eq!(said.lines().count(), 1, "{command:?}: {said}");
        }
    }
}

/// Whatever the limit, there is a picture or one message: never an abort, a backtrace or a killed process.
#[cfg(target_os = "linux")]
#[test]
fn a_limit_of_memory_is_an_error_and_no_abort() {
    let folder = tempfile::tempdir().unwrap();
    let mut refused = 0;
    for limit in [120_000, 180_000, 250_000, 400_000, 600_000, 1_000_000, 8_000_000] {
        let script = format!(
            "ulimit -c 0; ulimit -v {limit} && exec {} generate owl --device cpu --steps 1 --width 512 --height 512",
            env!("CARGO_BIN_EXE_reflux")
        );
        let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
        let said = message(&output);
        match output.status.code() {
            Some(0) => {}
            // Below what the program itself takes the loader refuses it.
            Some(127) => assert!(said.contains("cannot"), "{limit}: {said}"),
            code => {
                assert_eq!(code, Some(1), "{limit}: {said}");
                assert!(said.starts_with("error: ") && said.contains("memory"), "{limit}: {said}");
                assert_eq!(said.lines().count(), 1, "{limit}: {said}");
                refused += 1;
            }
        }
    }
    assert!(refused > 0);
}

/// The signal of a weights file that becomes shorter while it is mapped, sent by hand.
#[cfg(target_os = "linux")]
#[test]
fn a_file_that_is_cut_while_it_is_read_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reflux"));
    let long = ["generate", "owl", "--device", "cpu", "--steps", "1000", "--width", "512", "--height", "512"];
    let child = command.args(long).current_dir(folder.path()).stderr(std::process::Stdio::piped());
    let mut child = child.stdout(std::process::Stdio::null()).spawn().unwrap();
    // Once weights are mapped, the program is ready for it.
    let maps = format!("/proc/{}/maps", child.id());
    while !std::fs::read_to_string(&maps).unwrap().contains(".safetensors") {
        assert_eq!(child.try_wait().unwrap(), None, "it ends before it has begun");
        std::thread::yield_now();
    }
    Command::new("kill").args(["-BUS", &child.id().to_string()]).output().unwrap();
    let status = child.wait().unwrap();
    let said = message(&child.wait_with_output().unwrap());
    assert_eq!(status.code(), Some(1), "{said}");
    assert!(said.starts_with("error: a file that is being read became shorter"), "{said}");
}
