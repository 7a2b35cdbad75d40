//! Prompt to picture against diffusers' pipeline, on the three cases of `tests/fixtures/cases.json`.

use crate::common::cases::{cases, request};
use crate::common::fixtures::{Fixture, assert_close, emoji, relative_l2};
use crate::common::model;
use reflux::models::weights::Weights;
use reflux::models::{Parts, flux1};
use reflux::{DiffusionPipeline, Event, Image, OpenOptions, Report, Request};
use safetensors::tensor::{Dtype, TensorView};

fn generate(pipeline: &mut DiffusionPipeline, request: &Request) -> (Vec<Image>, Report) {
    pipeline.generate_with(request, &mut |_| {}).unwrap()
}

/// From the prompt and the seed alone: token ids, encoders, noise, schedule and all 20 steps.
#[test]
fn final_latents_and_pixels_are_those_of_diffusers() {
    let fixture = Fixture::open("pipeline.safetensors");
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    for case in cases() {
        let i = case["i"].as_u64().unwrap();
        let (images, report) = generate(&mut pipeline, &request(&case));
        let expected = fixture.get(&format!("{i}.latents.step19"));
        assert_close(&format!("case {i}, final latents"), &report.latents, &expected, 1e-5);

        let decoded = fixture.get(&format!("{i}.vae_decoded"));
        let (height, width) = (decoded.shape[2], decoded.shape[3]);
        assert_eq!((images[0].height(), images[0].width()), (height, width));
        let planes = decoded.to_f32();
        for (at, pixel) in images[0].pixels().as_chunks::<3>().0.iter().enumerate() {
            for (channel, &level) in pixel.iter().enumerate() {
                let exact = (planes[channel * height * width + at] / 2.0 + 0.5).clamp(0.0, 1.0) * 255.0;
                assert!(
                    (f32::from(level) - exact).abs() < 0.6,
                    "case {i}, pixel {at}: {level} is not {exact}"
                );
            }
        }
    }
}

/// The first image's state must not leak into the second, and sizes may change in between.
#[test]
fn a_pipeline_can_be_used_again() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let small = Request::new("grinning face").steps(2).size(64, 32);
    let large = Request::new("large owl on a pink background").steps(3).size(48, 80);
    let first = generate(&mut pipeline, &small).1.latents;
    generate(&mut pipeline, &large);
    assert_eq!(generate(&mut pipeline, &small).1.latents, first);
    assert_ne!(generate(&mut pipeline, &small.clone().seed(1)).1.latents, first);
}

/// Where tiles begin and end, the picture does not jump more than it does without tiles.
#[test]
fn tiles_show_no_seams() {
    const SIDE: usize = 160;
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let request = Request::new("grinning face").steps(4).size(SIDE, SIDE).seed(3);
    let tiled = Request { vae_tiling: Some(96), ..request.clone() };
    let (whole, _) = generate(&mut pipeline, &request);
    let (found, report) = generate(&mut pipeline, &tiled);
    assert_eq!(report.warnings, [""; 0]);
    assert_eq!((found[0].width(), found[0].height()), (SIDE, SIDE));
    let [found, whole] = [&found[0], &whole[0]].map(Image::pixels);
    let difference = |[x, y]: [usize; 2], channel: usize| {
        let at = (y * SIDE + x) * 3 + channel;
        f64::from(found[at]) - f64::from(whole[at])
    };
    // Of two tiles along each axis, the first ends at 96, and the second begins at 64.
    for (edge, channel) in [64, 96].into_iter().flat_map(|edge| (0..3).map(move |channel| (edge, channel))) {
        let across = (0..SIDE).map(|y| difference([edge, y], channel) - difference([edge - 1, y], channel));
        let down = (0..SIDE).map(|x| difference([x, edge], channel) - difference([x, edge - 1], channel));
        for jump in [across.sum::<f64>(), down.sum()].map(|sum| sum / SIDE as f64) {
            assert!(jump.abs() < 1.0, "edge {edge}, channel {channel}: {jump}");
        }
    }
    let pixels = (0..SIDE * SIDE).map(|at| [at % SIDE, at / SIDE]);
    let all: f64 = pixels
        .flat_map(|at| (0..3).map(move |channel| (at, channel)))
        .map(|(at, channel)| difference(at, channel).abs())
        .sum();
    let mean = all / (3 * SIDE * SIDE) as f64;
    assert!((0.01..4.0).contains(&mean), "{mean}");
}

#[test]
fn tiles_are_checked_and_recorded() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let mut of = |pixels: usize| {
        let request = Request { vae_tiling: Some(pixels), ..Request::new("owl").steps(1).size(64, 64) };
        pipeline.generate_with(&request, &mut |_| {})
    };
    for pixels in [100, 32, 1 << 20] {
        let refusal = of(pixels).unwrap_err().to_string();
        let range = "a multiple of 16 from 64 to 65536";
        assert_eq!(refusal, format!("the side of a tile must be {range}, not {pixels}"));
    }
    assert_eq!(of(0).unwrap().1.warnings, [""; 0]);
    let (images, report) = of(64).unwrap();
    assert_eq!(report.warnings, ["the picture fits into one tile of 64 pixels: VAE tiling has no effect"]);
    assert!(images[0].metadata().iter().any(|(key, value)| *key == "vae_tiling" && value == "64"));
}

/// A model without guidance and without dynamic shifting, as FLUX.1-schnell is. What other networks left in its files is
/// nobody's concern.
#[test]
fn schnell_needs_no_guidance() {
    let folder = tempfile::tempdir().unwrap();
    let schnell = model::unguided(folder.path(), "schnell", |model| {
        let scheduler = model.join("scheduler/scheduler_config.json");
        model::edit(&scheduler, "\"use_dynamic_shifting\": true", "\"use_dynamic_shifting\": false");
        std::fs::remove_file(model.join("reflux.json")).unwrap();
    });
    let mut pipeline = DiffusionPipeline::open(schnell).unwrap();
    assert_eq!((pipeline.defaults().steps, pipeline.defaults().max_sequence_length), (4, 256));
    let request = Request::new("owl").size(32, 32);
    let (images, report) = generate(&mut pipeline, &request);
    assert_eq!((report.steps, report.guidance), (4, None));
    assert!(images[0].metadata().iter().all(|(key, _)| *key != "guidance"));
    assert_eq!(report.warnings, [""; 0]);

    let guided = Request { guidance: Some(7.0), ..request };
    let (_, said) = generate(&mut pipeline, &guided);
    let [warning] = &said.warnings[..] else { panic!("{:?}", said.warnings) };
    assert!(warning.contains("guidance has no effect") && warning.contains("true CFG scale"), "{warning}");
    assert_eq!(said.latents, report.latents);
}

/// Several pictures continue one generator, prompt by prompt, as a batch of diffusers' does.
#[test]
fn several_pictures_draw_from_one_generator() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let both = Request {
        prompts: vec!["grinning face".into(), "a red apple".into()],
        num_images: Some(2),
        ..Request::default().steps(1).size(32, 32)
    };
    let mut steps = Vec::new();
    let (images, report) = pipeline
        .generate_with(&both, &mut |event| {
            if let Event::Step { image, images, .. } = event {
                steps.push((image, images));
            }
        })
        .unwrap();
    assert_eq!(images.len(), 4);
    assert_eq!(steps, [(0, 4), (1, 4), (2, 4), (3, 4)]);
    let (all, size) = (report.latents.to_f32(), report.latents.len() / 4);
    let alone = generate(&mut pipeline, &Request::new("grinning face").steps(1).size(32, 32)).1.latents;
    assert_eq!(all[..size], alone.to_f32());
    assert_ne!(all[..size], all[size..2 * size]);
}

/// Memory does not grow with the number of prompts, and each picture is still that of its prompt.
#[test]
fn prompts_are_encoded_some_at_a_time() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let prompts = (0..35).map(|number| format!("{number} red apples")).collect();
    let all = Request { prompts, ..Request::default().steps(1).size(16, 16) };
    let (mut encoded, mut at_steps) = (0, Vec::new());
    let (_, report) = pipeline
        .generate_with(&all, &mut |event| match event {
            Event::Stage("encode with T5") => encoded += 1,
            Event::Step { .. } => at_steps.push(encoded),
            Event::Stage(_) | Event::Results { .. } | Event::Preview { .. } => {}
        })
        .unwrap();
    assert_eq!((at_steps[0], at_steps[31], at_steps[32], at_steps[34]), (32, 32, 35, 35));
    let (latents, size) = (report.latents.to_f32(), report.latents.len() / 35);
    for index in [31, 34] {
        let alone = Request { image_index: Some(index), ..all.clone() };
        let alone = generate(&mut pipeline, &alone).1.latents;
        assert_eq!(latents[index * size..(index + 1) * size], alone.to_f32(), "picture {index}");
    }
}

/// `--init-latents` of what another run started from gives what that run gave.
#[test]
fn initial_latents_replace_the_noise() {
    let fixture = Fixture::open("pipeline.safetensors");
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let case = &cases()[0];
    let given = Request { init_latents: Some(fixture.get("0.initial")), seed: 99, ..request(case) };
    let latents = generate(&mut pipeline, &given).1.latents;
    assert_close("from given latents", &latents, &fixture.get("0.latents.step19"), 1e-5);
}

/// With one prompt on both sides guidance changes nothing; with another it does.
#[test]
fn true_cfg_steers_away_from_the_negative_prompt() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let plain = Request::new("a red apple").steps(3).size(64, 64);
    let cfg = |negative: &str| Request {
        negative_prompt: Some(negative.into()),
        true_cfg_scale: Some(3.0),
        ..plain.clone()
    };
    let without = generate(&mut pipeline, &plain).1.latents;
    let same = generate(&mut pipeline, &cfg("a red apple")).1.latents;
    assert_close("the prompt as its own negative", &same, &without, 1e-5);
    let other = generate(&mut pipeline, &cfg("grinning face")).1.latents;
    assert!(relative_l2(&other, &without) > 0.05);
}

#[test]
fn a_png_says_how_it_was_made() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("größe.png");
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let images =
        pipeline.generate(&Request::new("ein roter Apfel 🍎").steps(1).size(32, 48).seed(5)).unwrap();
    images[0].save(&path).unwrap();
    let reader =
        png::Decoder::new(std::io::BufReader::new(std::fs::File::open(&path).unwrap())).read_info().unwrap();
    let text: std::collections::HashMap<_, _> = reader
        .info()
        .utf8_text
        .iter()
        .map(|chunk| (chunk.keyword.clone(), chunk.get_text().unwrap()))
        .collect();
    for (key, value) in [
        ("prompt", "ein roter Apfel 🍎"),
        ("seed", "5"),
        ("steps", "1"),
        ("guidance", "3.5"),
        ("width", "32"),
        ("height", "48"),
        ("model", "emoji"),
        ("Software", concat!("reflux ", env!("CARGO_PKG_VERSION"))),
    ] {
        assert_eq!(text.get(key).map(String::as_str), Some(value), "{key}");
    }
    assert_eq!((reader.info().width, reader.info().height), (32, 48));
}

/// Networks given by themselves: one file with all of them, as ComfyUI saves it, in each one's place.
#[test]
fn networks_come_from_other_files() {
    let folder = tempfile::tempdir().unwrap();
    let prefixes = [
        (&flux1::TRANSFORMER, "model.diffusion_model."),
        (&flux1::CLIP, "text_encoders.clip_l.transformer."),
        (&flux1::T5, "text_encoders.t5xxl.transformer."),
        (&flux1::VAE, "vae."),
    ];
    let mut tensors = Vec::new();
    for (net, prefix) in prefixes {
        let weights = Weights::open(emoji().join(net.folder)).unwrap();
        for name in weights.names() {
            tensors.push((format!("{prefix}{name}"), weights.get(name).unwrap().to_tensor()));
        }
    }
    let views = tensors.iter().map(|(name, tensor)| {
        (name, TensorView::new(Dtype::BF16, tensor.shape.clone(), &tensor.bytes).unwrap())
    });
    let all = folder.path().join("all.safetensors");
    std::fs::write(&all, safetensors::serialize(views, None).unwrap()).unwrap();
    // Without weights and the transformer's configuration, nothing but that file can make the picture.
    let model = model::changed(folder.path(), "model", |model| {
        std::fs::remove_dir_all(model.join("transformer")).unwrap();
        for (net, _) in prefixes.iter().filter(|(net, _)| *net != &flux1::TRANSFORMER) {
            for entry in std::fs::read_dir(model.join(net.folder)).unwrap().map(|entry| entry.unwrap().path())
            {
                if entry.file_name().is_some_and(|name| name != "config.json") {
                    std::fs::remove_file(entry).unwrap();
                }
            }
        }
    });
    let parts = prefixes.iter().fold(Parts::default(), |parts, (net, _)| parts.with(net.name, &all));
    let request = Request::new("a red apple").steps(2).size(32, 32);
    let mut pipeline =
        DiffusionPipeline::open_with(model, OpenOptions { parts, ..OpenOptions::default() }).unwrap();
    let (images, report) = generate(&mut pipeline, &request);
    let (expected, plain) = generate(&mut DiffusionPipeline::open(emoji()).unwrap(), &request);
    assert_eq!(report.latents, plain.latents);
    assert_eq!(images[0].pixels(), expected[0].pixels());
    assert_eq!(report.warnings, [""; 0]);
}

/// Where a LoRA is asked for in ways that other programs know, it is said how it is done here.
#[test]
fn loras_are_not_ignored_silently() {
    let folder = tempfile::tempdir().unwrap();
    let lora = "pytorch_lora_weights.safetensors";
    let model = model::changed(folder.path(), "model", |model| std::fs::write(model.join(lora), "").unwrap());
    let request = Request::new("owl <lora:sketch:0.8>").steps(1).size(32, 32);
    let (_, report) = generate(&mut DiffusionPipeline::open(model).unwrap(), &request);
    let warned = |what: &str| {
        report.warnings.iter().any(|warning| warning.contains(what) && warning.contains("--lora"))
    };
    assert!(warned(lora) && warned("<lora:sketch:0.8>"), "{:?}", report.warnings);
}
