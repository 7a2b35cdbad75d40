//! LoRAs of every form against diffusers' latents (`tests/fixtures/README.md`), merged and beside the products.

mod common;

use common::{Fixture, assert_close, emoji, repo};
use reflux::ir::HostTensor;
use reflux::ir::pass::{Pipeline, Recipe};
use reflux::models::read_json;
use reflux::passes::LoraMode;
use reflux::{DiffusionPipeline, LoraFiles, OpenOptions, Request};
use serde_json::Value;

const FILES: [(&str, &str); 13] = [
    ("peft", "a"),
    ("kohya", "a"),
    ("kohya_alpha", "a"),
    ("comfy", "a"),
    ("xlabs", "attention"),
    ("peft_alpha", "attn_modules"),
    ("peft_metadata", "attn_modules"),
    ("onetrainer", "attn_modules"),
    ("b_peft", "b"),
    ("b_kohya", "b"),
    ("bfl_all", "all"),
    ("kohya_clip", "clip"),
    ("dora", "dora"),
];

/// The first case, with LoRAs.
fn latents(files: &[(&str, f32)], mode: LoraMode) -> HostTensor {
    let files = files.iter().map(|(name, strength)| {
        let path = repo("tests/fixtures/lora").join(format!("{name}.safetensors"));
        format!("{}:{strength}", path.display())
    });
    let mut passes = Pipeline::new();
    passes.push(LoraFiles { files: files.collect(), mode, partial: false });
    let options = OpenOptions { passes: Recipe::default().and(passes), ..OpenOptions::default() };
    let mut pipeline = DiffusionPipeline::open_with(emoji(), options).unwrap();
    let (_, report) = pipeline.generate_with(&request(), &mut |_| {}).unwrap();
    assert_eq!(report.warnings, [""; 0]);
    report.latents
}

fn request() -> Request {
    let cases: Value = read_json(&repo("tests/fixtures/cases.json")).unwrap();
    let case = &cases["cases"][0];
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    Request {
        guidance: case["guidance"].as_f64().map(|guidance| guidance as f32),
        ..Request::new(case["prompt"].as_str().unwrap())
            .steps(number("steps"))
            .seed(number("seed") as u64)
            .size(number("width"), number("height"))
    }
}

fn check(mode: LoraMode) {
    let expected = Fixture::open("lora/latents.safetensors");
    let compare = |what: &str, files: &[(&str, f32)], key: &str| {
        assert_close(what, &latents(files, mode), &expected.get(key), 2e-6);
    };
    for (file, key) in FILES {
        for scale in ["1.0", "0.6"] {
            let strength = scale.parse().unwrap();
            compare(&format!("{file} at {scale}"), &[(file, strength)], &format!("{key}.scale{scale}"));
        }
    }
    compare("peft and b_peft", &[("peft", 0.8), ("b_peft", 0.5)], "a0.8+b0.5");
}

#[test]
fn merged_every_form_gives_the_latents_of_diffusers() {
    check(LoraMode::Merge);
}

#[test]
fn beside_the_products_every_form_gives_the_latents_of_diffusers() {
    check(LoraMode::Branch);
}
