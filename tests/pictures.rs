//! Pictures as input against diffusers' pipelines, by the recordings in `tests/fixtures/tasks`: the encoder, image to image,
//! inpainting, Kontext and Fill.

use crate::common::fixtures::{Fixture, assert_close, emoji, relative_l2, repo};
use crate::common::variants;
use reflux::models::weights::Weights;
use reflux::models::{LatentRgb, ModelConfig, Parts, Sizes, VaeConfig, flux1, read_json};
use reflux::runtime::{Device, load};
use reflux::{DiffusionPipeline, Image, OpenOptions, ReferenceSize, Request};
use reflux_ir::pass::{Driver, Pipeline, Recipe};
use reflux_ir::{DType, HostTensor};
use serde_json::Value;
use std::path::Path;
use std::sync::Arc;

fn fixture() -> Fixture {
    Fixture::open("tasks/tasks.safetensors")
}

fn picture(name: &str) -> Arc<Image> {
    Image::open(repo("tests/fixtures/tasks").join(name)).unwrap().into()
}

/// The request that was recorded as `name`, without its pictures.
fn request(name: &str) -> Request {
    let tasks: Value = read_json(&repo("tests/fixtures/tasks/tasks.json")).unwrap();
    let task = &tasks[name];
    let number = |key: &str| task[key].as_u64().unwrap() as usize;
    Request {
        guidance: task["guidance"].as_f64().map(|guidance| guidance as f32),
        strength: task["strength"].as_f64(),
        negative_prompt: task["negative_prompt"].as_str().map(str::to_owned),
        true_cfg_scale: task["true_cfg_scale"].as_f64().map(|scale| scale as f32),
        ..Request::new(task["prompt"].as_str().unwrap())
            .steps(number("steps"))
            .seed(number("seed") as u64)
            .size(number("width"), number("height"))
    }
}

fn latents(pipeline: &mut DiffusionPipeline, request: &Request) -> HostTensor {
    pipeline.generate_with(request, &mut |_| {}).unwrap().1.latents
}

/// Asserts that `request` ends where the recording `name` does.
fn check(pipeline: &mut DiffusionPipeline, name: &str, request: &Request) {
    let expected = fixture().get(&format!("{name}.latents"));
    assert_close(name, &latents(pipeline, request), &expected, 1e-5);
}

#[test]
fn pillow_resizes_to_the_same_bytes() {
    let bytes = |path: &Path| Image::open(path).unwrap().pixels().to_vec();
    let folder = repo("tests/fixtures/tasks");
    let resized = Image::open(folder.join("reference.png")).unwrap().resized([80, 144]);
    assert!(resized.pixels() == bytes(&folder.join("reference_resized.png")));
}

/// A JPEG or PNG with this orientation in its Exif data, of which the left half is red and the right half blue.
fn turned(path: &Path, orientation: u8) {
    let pixels: Vec<u8> =
        (0..8 * 16).flat_map(|at| if at % 16 < 8 { [255, 0, 0] } else { [0, 0, 255] }).collect();
    // A big-endian TIFF of one directory of one entry: tag 0x0112, a short.
    let exif = [&b"MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0"[..], &[orientation], &[0; 6]].concat();
    let mut bytes = Vec::new();
    let mut encoder = image::codecs::jpeg::JpegEncoder::new_with_quality(&mut bytes, 100);
    image::ImageEncoder::set_exif_metadata(&mut encoder, exif).unwrap();
    image::ImageEncoder::write_image(encoder, &pixels, 16, 8, image::ExtendedColorType::Rgb8).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[test]
fn pictures_are_turned_as_their_exif_data_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turned.jpg");
    for (orientation, size, first_is_red) in
        [(1, (16, 8), true), (3, (16, 8), false), (6, (8, 16), true), (8, (8, 16), false)]
    {
        turned(&path, orientation);
        let image = Image::open(&path).unwrap();
        assert_eq!((image.width(), image.height()), size, "{orientation}");
        assert_eq!(image.pixels()[0] > 128, first_is_red, "{orientation}");
    }
}

/// Of what is transparent the colour underneath counts, grey has three equal channels, and 16 bits become 8.
#[test]
fn pictures_of_other_kinds_become_rgb() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kind.png");
    let write = |color: image::ExtendedColorType, bytes: &[u8]| {
        image::save_buffer(&path, bytes, 1, 1, color).unwrap();
        Image::open(&path).unwrap().pixels().to_vec()
    };
    assert_eq!(write(image::ExtendedColorType::Rgba8, &[10, 20, 30, 0]), [10, 20, 30]);
    assert_eq!(write(image::ExtendedColorType::L8, &[7]), [7, 7, 7]);
    assert_eq!(write(image::ExtendedColorType::La8, &[7, 9]), [7, 7, 7]);
    assert_eq!(write(image::ExtendedColorType::Rgb16, &[255; 6]), [255, 255, 255]);
}

/// Whatever is done to files, reading them ends with a picture or an error, in no time.
#[test]
fn damaged_pictures_are_refused_or_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged");
    let whole = image::open(repo("tests/fixtures/tasks/image.png")).unwrap().into_rgb8();
    let mut drawn = DiffusionPipeline::open(emoji()).unwrap();
    drawn.generate(&Request::new("owl").steps(1).size(32, 32)).unwrap()[0]
        .save(folder.path().join("own.png"))
        .unwrap();
    let mut files = vec![std::fs::read(folder.path().join("own.png")).unwrap()];
    for format in [image::ImageFormat::Png, image::ImageFormat::Jpeg, image::ImageFormat::WebP] {
        let mut bytes = std::io::Cursor::new(Vec::new());
        whole.write_to(&mut bytes, format).unwrap();
        files.push(bytes.into_inner());
    }
    let mut rng = fastrand::Rng::with_seed(7);
    let (mut read, mut refused) = (0, 0);
    for _ in 0..400 {
        let mut bytes = files[rng.usize(..files.len())].clone();
        for _ in 0..rng.usize(1..6) {
            let most = if rng.bool() { 100 } else { usize::MAX };
            let at = rng.usize(..bytes.len().min(most));
            match rng.usize(..3) {
                0 => bytes[at] = rng.u8(..),
                1 => bytes[at..].iter_mut().take(4).for_each(|byte| *byte = 0xff),
                _ => bytes.truncate(at.max(1)),
            }
        }
        std::fs::write(&path, &bytes).unwrap();
        match Image::open(&path) {
            Ok(_) => read += 1,
            Err(_) => refused += 1,
        }
        drop(reflux::Recorded::open(&path));
    }
    println!("{read} were read, {refused} refused");
    assert!(read > 20 && refused > 100);
    // A JPEG whose end is missing is not filled up with grey, and what follows its end does not matter.
    let jpeg = files[2].clone();
    for (bytes, is_read) in [
        ([&jpeg[..], &[0; 100]].concat(), true),
        (jpeg[..jpeg.len() - 2].to_vec(), false),
        (jpeg[..jpeg.len() / 2].to_vec(), false),
    ] {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Image::open(&path).is_ok(), is_read, "{} of {}", bytes.len(), jpeg.len());
    }
    std::fs::write(&path, b"GIF89a\x01\x00\x01\x00\x00\x00\x00;").unwrap();
    let said = Image::open(&path).unwrap_err().to_string();
    assert!(said.contains("it is a GIF") && said.contains("convert it"), "{said}");
}

/// A preview of final latents is the picture, small: its matrix was fitted to this model, and FLUX.1's own was not.
#[test]
fn previews_resemble_pictures() {
    let fixture = Fixture::open("pipeline.safetensors");
    let pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let own = pipeline.defaults().latent_rgb.clone().unwrap();
    let general = pipeline.config().defaults().latent_rgb.unwrap();
    for case in 0..3 {
        let picture = fixture.get(&format!("{case}.vae_decoded"));
        let (height, width) = (picture.shape[2], picture.shape[3]);
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height, width, reference: None };
        let pixels = picture.to_f32();
        let small = |channel: usize, y: usize, x: usize| {
            let part = |at: usize| pixels[(channel * height + y * 8 + at / 8) * width + x * 8 + at % 8];
            (0..64).map(part).sum::<f32>() / 64.0
        };
        let places =
            (0..3).flat_map(|c| (0..height / 8).flat_map(move |y| (0..width / 8).map(move |x| (c, y, x))));
        let small: Vec<f32> = places.map(|(channel, y, x)| small(channel, y, x)).collect();
        let latents = fixture.get(&format!("{case}.latents.step19"));
        let apart = |matrix: &LatentRgb| {
            let preview = matrix.picture(&latents, &flux1::FAMILY.geometry, &sizes);
            assert_eq!(preview.shape, [1, 3, height / 8, width / 8]);
            let square = preview.to_f32().iter().zip(&small).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
            (square / small.len() as f32).sqrt()
        };
        println!("case {case}: {} (FLUX.1's matrix: {})", apart(&own), apart(&general));
        assert!(apart(&own) < 0.12 && apart(&general) > 0.3, "case {case}");
    }
}

/// As it is lowered, and as the passes leave networks that run once a picture.
#[test]
fn the_encoder_says_how_latents_are_distributed() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let vae: VaeConfig = read_json(&emoji().join("vae/config.json")).unwrap();
    let weights = Weights::open_for(&flux1::VAE_ENCODER, emoji().join("vae")).unwrap();
    let once = Pipeline::parse(reflux_passes::LOSSLESS_ONCE, &reflux_passes::registry()).unwrap();
    for (name, file) in [("image", "image.png"), ("reference", "reference_resized.png")] {
        let image = picture(file);
        let (height, width) = (image.height(), image.width());
        let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height, width, reference: None };
        let lowered = config.lower(&flux1::VAE_ENCODER, &sizes, DType::F32).unwrap();
        let (optimized, _) = Driver::default().run(lowered.clone(), &once).unwrap();
        for program in [lowered, optimized] {
            let mut encoder = load(Device::host(), program, &weights).unwrap();
            encoder.bind("image", &image.planes()).unwrap();
            let results = encoder.step(0).unwrap();
            for (result, recorded) in [("mean", "mean"), ("deviation", "logvar")] {
                let expected = fixture().get(&format!("encode.{name}.{recorded}"));
                let (scale, shift) = (vae.scaling_factor as f32, vae.shift_factor.unwrap() as f32);
                let scaled = |value: f32| match recorded {
                    "mean" => (value - shift) * scale,
                    _ => (value.clamp(-30.0, 20.0) / 2.0).exp() * scale,
                };
                let expected: Vec<f32> = expected.to_f32().into_iter().map(scaled).collect();
                let expected = flux1::FAMILY.geometry.pack(&expected, &sizes, 64);
                // Half of the exponent of a number that is recorded to 3e-6.
                let tolerance = if result == "mean" { 1e-5 } else { 2e-5 };
                assert_close(&format!("{name}: {result}"), &results[result], &expected, tolerance);
            }
        }
    }
}

#[test]
fn pictures_are_drawn_from_pictures() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let start = |name: &str, image: &str| Request { init_image: Some(picture(image)), ..request(name) };
    let strong = start("img2img", "image.png");
    check(&mut pipeline, "img2img", &strong);
    check(&mut pipeline, "img2img_weak", &start("img2img_weak", "reference.png"));
    let mask_image = Some(picture("mask.png"));
    check(&mut pipeline, "inpaint", &Request { mask_image, ..start("inpaint", "image.png") });
    // All of it drawn anew is a picture from noise alone, which comes after the draw for the encoder.
    let all = latents(&mut pipeline, &Request { strength: Some(1.0), ..strong.clone() });
    let other = latents(
        &mut pipeline,
        &Request { strength: Some(1.0), init_image: Some(picture("reference.png")), ..strong },
    );
    assert_eq!(all, other);
}

fn fill_request() -> Request {
    let init_image = Some(picture("image.png"));
    Request { init_image, mask_image: Some(picture("mask.png")), ..request("fill") }
}

fn kontext_request(name: &str) -> Request {
    Request { reference_image: Some(picture("reference.png")), ..request(name) }
}

#[test]
fn kontext_looks_at_a_reference() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let own = Request { reference_size: ReferenceSize::Own, ..kontext_request("kontext") };
    check(&mut pipeline, "kontext", &own);
}

/// A reference in a size that Kontext was trained with has 4,089 tokens.
#[test]
fn kontext_brings_a_reference_to_a_size_that_it_knows() {
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    let expected = fixture().get("kontext_auto.latents");
    let found = latents(&mut pipeline, &kontext_request("kontext_auto"));
    // torch's encoder is 1.5e-4 from itself in f64 here (over 16,356 pixels of latents), and Reflux's 6e-7.
    assert_close("kontext_auto", &found, &expected, 1.1e-4);
}

#[test]
fn fill_paints_where_the_mask_is_white() {
    let folder = tempfile::tempdir().unwrap();
    let mut pipeline = DiffusionPipeline::open(variants::fill(folder.path())).unwrap();
    assert_eq!((pipeline.defaults().steps, pipeline.defaults().guidance), (20, 3.5));
    check(&mut pipeline, "fill", &fill_request());
}

/// Over the folder of another model, which the weights are not those of.
#[test]
fn a_transformer_of_another_variant_is_what_its_weights_are() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("alone.safetensors");
    variants::transformer_alone(&variants::fill(folder.path()), &file);
    let open = || {
        let options =
            OpenOptions { parts: Parts::default().with("transformer", &file), ..OpenOptions::default() };
        DiffusionPipeline::open_with(emoji(), options).unwrap()
    };
    check(&mut open(), "fill", &fill_request());
    let error = open().generate(&Request::new("owl")).unwrap_err().to_string();
    assert!(error.contains("FLUX.1 Fill, paints into a picture"), "{error}");
}

/// With columns of zeros for the control picture's latents, only the noise is another: it follows the draw for the encoder.
#[test]
fn a_control_picture_is_read_beside_latents() {
    let folder = tempfile::tempdir().unwrap();
    let bundled = Weights::open(emoji().join("transformer")).unwrap();
    let own = bundled.tensor("x_embedder.weight").unwrap();
    let rows = own.bytes.chunks_exact(128);
    let blind: Vec<u8> = rows.clone().flat_map(|row| row.iter().copied().chain([0; 128])).collect();
    let seeing: Vec<u8> = rows.flat_map(|row| row.iter().chain(row)).copied().collect();
    let draw = Request {
        control_image: Some(picture("image.png")),
        ..Request::new("owl").steps(2).size(64, 64).seed(3)
    };
    let run = |name: &str, embedder: &[u8]| {
        let mut pipeline =
            DiffusionPipeline::open(variants::widened(folder.path(), name, 128, embedder)).unwrap();
        latents(&mut pipeline, &draw)
    };
    let (blind, seeing) = (run("blind", &blind), run("seeing", &seeing));
    let mut generator = reflux::models::noise::TorchGenerator::new(3);
    generator.randn_f32(16 * 8 * 8);
    let sizes = Sizes { batch: 1, steps: 1, text_tokens: 1, height: 64, width: 64, reference: None };
    let noise = flux1::FAMILY.geometry.pack(&generator.randn_f32(16 * 8 * 8), &sizes, 64);
    let plain = Request { control_image: None, init_latents: Some(noise), ..draw.clone() };
    let mut bundled = DiffusionPipeline::open(emoji()).unwrap();
    assert_close("without its columns", &blind, &latents(&mut bundled, &plain), 1e-5);
    assert!(relative_l2(&seeing, &blind) > 0.01);
}

#[test]
fn true_cfg_is_that_of_diffusers() {
    let noise = Fixture::open("pipeline.safetensors");
    let mut pipeline = DiffusionPipeline::open(emoji()).unwrap();
    for case in [0, 2] {
        let (name, init_latents) = (format!("truecfg.{case}"), Some(noise.get(&format!("{case}.initial"))));
        check(&mut pipeline, &name, &Request { init_latents, ..request(&name) });
    }
}

/// Exact passes keep what Fill and Kontext draw, lossy ones do their work on them and change it little.
#[test]
fn passes_hold_for_models_that_read_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let kontext = Request { reference_size: ReferenceSize::Own, ..kontext_request("kontext") };
    for (name, model, request) in
        [("fill", variants::fill(folder.path()), fill_request()), ("kontext", emoji(), kontext)]
    {
        let expected = fixture().get(&format!("{name}.latents"));
        for (passes, says, tolerance) in [
            ("merge-linear,hoist,fuse,dce", "", 1e-5),
            ("cache(fora),quantize(int8dq)", "of 20 steps compute", 0.2),
        ] {
            let passes = Recipe::parse(passes, &reflux_passes::registry()).unwrap();
            let options = OpenOptions { passes, ..OpenOptions::default() };
            let mut pipeline = DiffusionPipeline::open_with(&model, options).unwrap();
            let (_, report) = pipeline.generate_with(&request, &mut |_| {}).unwrap();
            assert_close(&format!("{name}, {}", pipeline.passes()), &report.latents, &expected, tolerance);
            let changed =
                |pass: &str| report.passes.iter().any(|report| report.name == pass && report.changed);
            assert!(changed("fuse") && changed("hoist"), "{name}");
            if tolerance > 1e-3 {
                assert!(relative_l2(&report.latents, &expected) > 1e-3, "{name}: the lossy pass did nothing");
            }
            let notes: Vec<&String> = report.passes.iter().flat_map(|pass| &pass.notes).collect();
            assert!(notes.iter().any(|note| note.contains(says)) || says.is_empty(), "{notes:?}");
        }
    }
}
