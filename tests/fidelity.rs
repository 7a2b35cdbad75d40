//! Every network against diffusers and transformers, each on its fixture's own inputs (`tests/fixtures/README.md`).

use crate::common::fixtures::{Fixture, assert_close, emoji, repo};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, HostTensor, Patch, Program, ValueId, WeightSource};
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, Net, Sizes, flux1, read_json};
use reflux_runtime::{Device, load};
use serde_json::Value;
use std::collections::HashMap;

fn sizes(height: usize, width: usize) -> Sizes {
    Sizes { batch: 1, steps: 1, text_tokens: 32, height, width, reference: None }
}

fn json(name: &str) -> Value {
    read_json(&repo("tests/fixtures").join(name)).unwrap()
}

fn weights(net: &'static Net) -> Weights {
    Weights::open(emoji().join(net.folder)).unwrap()
}

/// Loads `program` on the CPU and runs step 0 of it on `inputs`.
fn run(
    program: Program,
    weights: &dyn WeightSource,
    inputs: &[(&str, HostTensor)],
) -> HashMap<String, HostTensor> {
    let mut executor = load(Device::host(), program, weights).unwrap();
    for (name, value) in inputs {
        executor.bind(name, value).unwrap();
    }
    let results = executor.step(0).unwrap();
    results.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

fn ids(value: &Value) -> HostTensor {
    let ids: Vec<i32> = value.as_array().unwrap().iter().map(|id| id.as_i64().unwrap() as i32).collect();
    HostTensor::from_i32([1, ids.len()], &ids)
}

fn scalar(value: f32) -> HostTensor {
    HostTensor::from_f32([1], &[value])
}

/// `program` as it is lowered, and as networks that run once a picture run on a GPU.
fn both(program: Program) -> [(&'static str, Program); 2] {
    let pipeline = Pipeline::parse(reflux_passes::LOSSLESS_ONCE, &reflux_passes::registry()).unwrap();
    let (optimized, _) = Driver::default().run(program.clone(), &pipeline).unwrap();
    assert_ne!(optimized.to_string(), program.to_string());
    [("as it is", program), ("optimized", optimized)]
}

#[test]
fn text_encoders() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let expected = Fixture::open("text.safetensors");
    for case in json("text.json").as_array().unwrap() {
        let i = case["i"].as_u64().unwrap();
        for (net, tokens, result, fixture) in [
            (&flux1::T5, "t5_ids", "prompt", "prompt_embeds"),
            (&flux1::CLIP, "clip_ids", "pooled", "pooled"),
        ] {
            for (how, program) in both(config.lower(net, &sizes(128, 128), DType::F32).unwrap()) {
                let out = run(program, &weights(net), &[("ids", ids(&case[tokens]))]);
                let expected = expected.get(&format!("{i}.{fixture}"));
                assert_close(&format!("{net:?} {how}, prompt {i}"), &out[result], &expected, 1e-5);
            }
        }
    }
}

/// Makes the value `name` an output of the program's only variant.
fn expose(program: &mut Program, name: &str) {
    let graph = program.variants.values_mut().next().unwrap();
    let value: ValueId = graph.find(name).unwrap();
    let mut patch = Patch::new(graph, "expose");
    patch.output(name, value);
    patch.apply().unwrap();
}

#[test]
fn transformer_block_by_block() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let fixture = Fixture::open("transformer.safetensors");
    let meta = json("transformer.json");
    let weights = weights(&flux1::TRANSFORMER);
    for (j, timestep) in meta["timesteps"].as_array().unwrap().iter().enumerate() {
        let mut program = config.lower(&flux1::TRANSFORMER, &sizes(128, 128), DType::F32).unwrap();
        let transformer: flux1::TransformerConfig =
            read_json(&emoji().join("transformer/config.json")).unwrap();
        let blocks = (transformer.num_layers, transformer.num_single_layers);
        for index in 0..blocks.0 {
            expose(&mut program, &format!("txt.{index}"));
            expose(&mut program, &format!("img.{index}"));
        }
        for index in 0..blocks.1 {
            expose(&mut program, &format!("h.{index}"));
        }
        let out = run(
            program,
            &weights,
            &[
                ("latents", fixture.get("hidden_states")),
                ("prompt", fixture.get("prompt_embeds")),
                ("pooled", fixture.get("pooled")),
                ("timesteps", HostTensor::from_f32([1, 1], &[timestep.as_f64().unwrap() as f32])),
                ("guidance", scalar(meta["guidance"].as_f64().unwrap() as f32)),
            ],
        );
        for index in 0..blocks.0 {
            for (stream, part) in [("txt", 0), ("img", 1)] {
                let name = format!("{j}.transformer_blocks.{index}.{part}");
                assert_close(&name, &out[&format!("{stream}.{index}")], &fixture.get(&name), 1e-5);
            }
        }
        for index in 0..blocks.1 {
            let name = |part: usize| format!("{j}.single_transformer_blocks.{index}.{part}");
            let both = out[&format!("h.{index}")].to_f32();
            let (txt, img) = (fixture.get(&name(0)), fixture.get(&name(1)));
            let (head, tail) = both.split_at(txt.len());
            assert_close(&name(0), &HostTensor::from_f32(txt.shape.clone(), head), &txt, 1e-5);
            assert_close(&name(1), &HostTensor::from_f32(img.shape.clone(), tail), &img, 1e-5);
        }
        assert_close(&format!("{j}.output"), &out["velocity"], &fixture.get(&format!("{j}.output")), 1e-5);
    }
}

#[test]
fn vae_decoder() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let fixture = Fixture::open("pipeline.safetensors");
    for case in json("cases.json")["cases"].as_array().unwrap() {
        let extent = |key: &str| case[key].as_u64().unwrap() as usize;
        let i = extent("i");
        let program =
            config.lower(&flux1::VAE, &sizes(extent("height"), extent("width")), DType::F32).unwrap();
        let latents = fixture.get(&format!("{i}.latents.step19"));
        for (how, program) in both(program) {
            let out = run(program, &weights(&flux1::VAE), &[("latents", latents.clone())]);
            assert_close(
                &format!("VAE {how}, case {i}"),
                &out["image"],
                &fixture.get(&format!("{i}.vae_decoded")),
                1e-5,
            );
        }
    }
}

/// Another head size, no guidance, batch 2 with two timesteps; from the diffusers folder and from the BFL file.
#[test]
fn tinyrandom_transformer() {
    let folder = repo("tests/fixtures/tinyrandom");
    let config: flux1::TransformerConfig = read_json(&folder.join("transformer/config.json")).unwrap();
    let io = Fixture::open("tinyrandom/io.safetensors");
    for source in ["transformer", "bfl.safetensors"] {
        let weights = Weights::open(folder.join(source)).unwrap();
        let rows_columns = io.get("img_ids").to_f32();
        let (row, column) = (rows_columns[rows_columns.len() - 2], rows_columns[rows_columns.len() - 1]);
        let sizes = Sizes {
            batch: 2,
            steps: 1,
            text_tokens: io.get("encoder_hidden_states").shape[1],
            height: (row as usize + 1) * 16,
            width: (column as usize + 1) * 16,
            reference: None,
        };
        let program = config.lower(&sizes, DType::F32).unwrap();
        let timestep = io.get("timestep");
        let out = run(
            program,
            &weights,
            &[
                ("latents", io.get("hidden_states")),
                ("prompt", io.get("encoder_hidden_states")),
                ("pooled", io.get("pooled")),
                ("timesteps", HostTensor::from_f32([1, 2], &timestep.to_f32())),
            ],
        );
        assert_close(&format!("tinyrandom from {source}"), &out["velocity"], &io.get("output"), 1e-5);
    }
}
