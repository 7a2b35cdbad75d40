//! Pictures as input, previews, and pictures that are made again.

use super::{EMOJI, files, reflux, refusals, succeed, text};
use std::path::Path;

const SMALL: [&str; 8] = ["--device", "cpu", "--steps", "3", "--width", "32", "--height", "32"];

fn fixture(name: &str) -> String {
    format!("{}/tests/fixtures/tasks/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn draw(root: &Path, arguments: &[&str]) -> String {
    text(&succeed(root, &[&["generate"], arguments, &SMALL[..]].concat()).stderr)
}

fn pixels(path: &Path) -> Vec<u8> {
    image::open(path).unwrap().into_rgb8().into_raw()
}

/// A PNG with this text before its pixels.
fn png_with(path: &Path, keyword: &str, words: &str) {
    let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), 1, 1);
    encoder.add_itxt_chunk(keyword.into(), words.into()).unwrap();
    encoder.write_header().unwrap().write_image_data(&[0]).unwrap();
}

/// A PNG that says that it has this many pixels, and has none.
fn bomb(side: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Rgb);
    let mut writer = encoder.write_header().unwrap();
    writer.write_chunk(png::chunk::IDAT, &[0x78, 0x9c, 3, 0, 0, 0, 0, 1]).unwrap();
    drop(writer);
    bytes
}

#[test]
fn pictures_that_cannot_be_drawn_from_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let good = std::fs::read(fixture("image.png")).unwrap();
    let write = |name: &str, bytes: &[u8]| std::fs::write(root.join(name), bytes).unwrap();
    write("bomb.png", &bomb(100_000));
    write("empty.png", &[]);
    write("notes.png", b"no picture");
    write("cut.png", &good[..good.len() / 2]);
    write("good.png", &good);
    let mut corrupt = good.clone();
    corrupt[1000..1200].fill(7);
    write("corrupt.png", &corrupt);
    write("cut.jpg", &[0xff, 0xd8, 0xff, 0xe0, 0, 16]);
    write("cut.webp", b"RIFF\x20\0\0\0WEBPVP8L");
    let start = |name: &'static str| vec!["generate", "owl", "--init-image", name];
    let mut cases: Vec<Vec<&str>> =
        ["bomb.png", "empty.png", "notes.png", "cut.png", "corrupt.png", "cut.jpg"].map(start).into();
    cases.extend(["cut.webp", "missing.png", "."].map(start));
    let more: [&[&str]; 14] = [
        &["--reference-size", "own"],
        &["--strength", "0.5"],
        &["--mask-image", "good.png"],
        &["--control-image", "good.png"],
        &["--init-image", "good.png", "--strength", "0"],
        &["--init-image", "good.png", "--strength", "1.5"],
        &["--init-image", "good.png", "--strength", "NaN"],
        &["--init-image", "good.png", "--out", "good.png"],
        &["--reference-image", "cut.png"],
        &["--sigmas", "1,0.5,0.7"],
        &["--sigmas", "2,1"],
        &["--sigmas", "1,0.5", "--steps", "3"],
        &["--flow-shift", "0"],
        &["--preview", "2", "-o", "-"],
    ];
    cases.extend(more.map(|more| [&["generate", "owl"], more].concat()));
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    let report = refusals(root, &cases);
    assert!(
        report.contains("bomb.png cannot be used as a picture: it has 100000 × 100000 pixels"),
        "{report}"
    );
    snapshot!("cli__pictures", report.replace(env!("CARGO_MANIFEST_DIR"), "."));
}

/// What is drawn from a picture says so, and is drawn again from it alone.
#[test]
fn a_picture_is_made_again_from_its_text() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::copy(fixture("image.png"), root.join("photo.png")).unwrap();
    std::fs::copy(fixture("mask.png"), root.join("mask.png")).unwrap();
    let repeat = |name: &str| {
        let said = text(
            &succeed(root, &["generate", "--from-png", name, "--device", "cpu", "-o", "again.png"]).stderr,
        );
        assert_eq!(pixels(&root.join("again.png")), pixels(&root.join(name)), "{name}: {said}");
        said
    };
    let lora = format!("{}/tests/fixtures/lora/peft.safetensors:0.5", env!("CARGO_MANIFEST_DIR"));
    let asked: [&[&str]; 6] = [
        &["owl", "--lora", &lora, "--lora-mode", "branch", "--passes", "cache(fora,steps=101)"],
        &[
            "an owl, \"grey\"\nat night",
            "--seed",
            "7",
            "--guidance",
            "2",
            "--passes",
            "cache(fora,steps=101)",
        ],
        &["owl", "--negative-prompt", "blue", "--true-cfg-scale", "2", "--max-sequence-length", "12"],
        &[
            "owl",
            "--init-image",
            "photo.png",
            "--mask-image",
            "mask.png",
            "--strength",
            "0.7",
            "--flow-shift",
            "2",
        ],
        &["owl", "--reference-image", "photo.png", "--reference-size", "own"],
        &["owl", "--num-images", "3", "--image-index", "2"],
    ];
    for asked in asked {
        draw(root, &[asked, &["-o", "first.png"]].concat());
        let said = repeat("first.png");
        assert!(!said.contains("warning"), "{asked:?}: {said}");
    }
    let levels =
        ["generate", "owl", "--device", "cpu", "--width", "32", "--height", "32", "--sigmas", "1,0.4"];
    succeed(root, &[&levels[..], &["-o", "first.png"]].concat());
    repeat("first.png");
    // What is given replaces what it says.
    draw(root, &["--from-png", "first.png", "--seed", "8", "--sigmas", "1,0.7,0.3", "-o", "other.png"]);
    assert_ne!(pixels(&root.join("other.png")), pixels(&root.join("first.png")));

    draw(root, &["owl", "--init-image", "photo.png", "-o", "first.png"]);
    std::fs::copy(fixture("reference.png"), root.join("photo.png")).unwrap();
    let said = draw(root, &["--from-png", "first.png", "-o", "other.png"]);
    assert!(said.contains("photo.png is another picture than when first.png was drawn from it"), "{said}");
    assert!(said.contains("photo.png, 150 × 90 pixels, is stretched to 32 × 32"), "{said}");
    std::fs::remove_file(root.join("photo.png")).unwrap();
    let refused = text(&reflux(root, &["generate", "--from-png", "first.png"]).stderr);
    assert!(
        refused.contains("was drawn from photo.png, which is not here: give it with --init-image"),
        "{refused}"
    );
}

/// The text of the web UIs is followed as far as it goes, and what cannot be followed is named.
#[test]
fn pictures_of_the_web_uis_are_drawn_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let settings = "Steps: 2, Sampler: Euler, Schedule type: Simple, CFG scale: 1, Distilled CFG Scale: 2, Seed: 5, Size: 48x32";
    let write = |name: &str, settings: &str| {
        png_with(&root.join(name), "parameters", &format!("owl\nNegative prompt: blue\n{settings}"));
    };
    write("euler.png", &format!("{settings}, Model: emoji, Lora hashes: \"a: b\""));
    let repeat =
        |name: &str| reflux(root, &["generate", "--from-png", name, "--device", "cpu", "-o", "again.png"]);
    let output = repeat("euler.png");
    let said = text(&output.stderr);
    assert!(
        output.status.success() && said.contains("what it says of Lora hashes is not followed"),
        "{said}"
    );
    let plain = ["generate", "owl", "--device", "cpu", "--seed", "5", "--guidance", "2", "-o", "plain.png"];
    succeed(root, &[&plain[..], &["--steps", "2", "--width", "48", "--height", "32"]].concat());
    assert_eq!(pixels(&root.join("again.png")), pixels(&root.join("plain.png")));
    write("sampler.png", &settings.replace("Euler", "DPM++ 2M"));
    write("model.png", &format!("{settings}, Model: flux1-dev-fp8"));
    png_with(&root.join("silent.png"), "Title", "owl");
    for (name, why) in [
        ("sampler.png", "the sampler `DPM++ 2M`; Reflux has `Euler` alone"),
        ("model.png", "was drawn with the model `flux1-dev-fp8`: give it with --model"),
        ("silent.png", "it does not say how it was made"),
    ] {
        let output = repeat(name);
        let said = text(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(why), "{said}");
    }
    let said = draw(root, &["--from-png", "model.png", "--model", EMOJI]);
    assert!(said.contains("drawn with the model `flux1-dev-fp8`, this is `emoji`"), "{said}");
}

#[test]
fn previews_are_written_and_streamed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    draw(root, &["owl", "--preview", "2", "-o", "owl.png"]);
    let preview = image::open(root.join("owl.preview.png")).unwrap();
    assert_eq!((preview.width(), preview.height()), (4, 4));
    assert_eq!(files(root), ["owl.png", "owl.preview.png"].map(|name| root.join(name)));
    let output =
        succeed(root, &[&["generate", "owl", "apple", "--preview", "1", "--json"], &SMALL[..]].concat());
    let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<serde_json::Value>();
    let values: Vec<serde_json::Value> = values.map(Result::unwrap).collect();
    let steps: Vec<_> = values.iter().filter_map(|value| value["preview"].as_object()).collect();
    let each = steps.iter().map(|step| (step["image"].as_u64().unwrap(), step["step"].as_u64().unwrap()));
    assert_eq!(each.collect::<Vec<_>>(), [(0, 1), (0, 2), (1, 1), (1, 2)]);
    assert!(steps[0]["png"].as_str().unwrap().starts_with("iVBORw0KGgo"), "{:?}", steps[0]);
    assert_eq!((values.len(), values[4]["steps"].as_u64()), (5, Some(3)));
}

/// Commands that make up their inputs make up the pictures that a model needs.
#[test]
fn every_command_runs_models_that_read_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let (fill, control) = (crate::common::variants::fill(root), crate::common::variants::control(root));
    let alone = root.join("alone.safetensors");
    crate::common::variants::transformer_alone(&fill, &alone);
    let [fill, control, alone] = [&fill, &control, &alone].map(|path| path.to_str().unwrap());
    let small = ["--width", "32", "--height", "32", "--steps", "2"];
    let measured = ["--device", "cpu", "--runs", "1", "--warmup", "0"];
    let said =
        |arguments: &[&[&str]]| text(&succeed(root, &[&arguments.concat()[..], &small].concat()).stdout);
    for model in [&[fill][..], &[control], &[EMOJI, "--reference", "48x32"]] {
        let report = said(&[&["bisect"], model, &["--passes", "quantize(int8dq)"]]);
        assert!(report.contains("every pass keeps results"), "{model:?}: {report}");
        said(&[&["opt"], model, &["--passes", "quantize(int8wo)", "--preview"]]);
        for image in [&[][..], &["--image"]] {
            said(&[&["bench", "--model"], model, image, &measured]);
        }
    }
    said(&[&["bench", "--model", EMOJI, "--transformer", alone, "--image"], &measured]);
    // Given ones count, and what nothing reads is refused.
    let [image, mask] = ["image.png", "mask.png"].map(fixture);
    let report = said(&[&["bisect", fill, "--init-image", &image, "--mask-image", &mask]]);
    assert!(report.contains("every pass keeps results"), "{report}");
    // What plans only knows how weights are stored, of whatever is given.
    let planned = said(&[&["ir", "--model", EMOJI, "--transformer", alone]]);
    assert!(planned.contains("[256,384]"), "{planned}");
    let gguf = format!("{}/tests/fixtures/gguf/flux-emoji-mixed.gguf", env!("CARGO_MANIFEST_DIR"));
    let planned = said(&[&["opt", EMOJI, "--transformer", &gguf]]);
    assert!(planned.contains("dequantize @"), "{planned}");
    for (arguments, expected) in [
        (
            &["opt", "flux-dev", "--transformer", alone][..],
            "--transformer gives weights of a model, and flux-dev is",
        ),
        (&["ir", "--config", "flux-dev", "--vae", alone], "--vae gives weights of a model, and flux-dev is"),
        (&["bench", "--model", fill, "--reference", "32x32"], "this model reads no reference"),
        (&["bisect", EMOJI, "--control-image", &image], "reads no control picture"),
        (&["bisect", "flux-dev", "--init-image", &image], "--init-image is for models that draw pictures"),
        (
            &["bisect", EMOJI, "--reference-image", &image, "--reference", "32x32"],
            "--reference is the size of a blank",
        ),
    ] {
        let output = reflux(root, &[arguments, &small].concat());
        let message = text(&output.stderr);
        assert!(output.status.code() == Some(1) && message.contains(expected), "{arguments:?}: {message}");
    }
}
