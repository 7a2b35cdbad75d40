//! `reflux generate`

use super::{EMOJI, TINY, files, reflux, succeed, text};
use std::path::Path;
use std::process::Output;

#[test]
fn a_long_prompt_is_cut_with_a_warning() {
    let folder = tempfile::tempdir().unwrap();
    let prompt = "apple ".repeat(16_000);
    let arguments =
        ["generate", &prompt, "--device", "cpu", "--steps", "1", "--width", "32", "--height", "32", "--json"];
    let output = reflux(folder.path(), &arguments);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let warnings = text(&output.stderr);
    for encoder in ["CLIP reads 77 tokens", "T5 reads 32 tokens"] {
        assert!(warnings.contains(encoder), "{warnings}");
    }
    assert!(warnings.contains("more characters") && warnings.len() < 1000, "{warnings}");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["warnings"].as_array().unwrap().len(), 2);
    assert_eq!(summary["steps"], 1);
    assert!(summary["stages"].as_array().unwrap().iter().any(|stage| stage["stage"] == "denoise"));
    assert_eq!(files(folder.path()), [folder.path().join("out.png")]);
}

#[test]
fn several_pictures_are_numbered() {
    let folder = tempfile::tempdir().unwrap();
    let small = ["--device", "cpu", "--steps", "1", "--width", "32", "--height", "16"];
    let output =
        reflux(folder.path(), &[&["generate", "owl", "apple", "--out", "p.png"], &small[..]].concat());
    assert_eq!(text(&output.stdout), "p-0.png\np-1.png\n");
    let latents = ["generate", "owl", "--save-latents", "final.safetensors"];
    assert!(reflux(folder.path(), &[&latents, &small[..]].concat()).status.success());
    let again = ["generate", "owl", "--init-latents", "final.safetensors", "--out", "again.png"];
    assert!(reflux(folder.path(), &[&again, &small[..]].concat()).status.success());
    let names = ["again.png", "final.safetensors", "out.png", "p-0.png", "p-1.png"];
    assert_eq!(files(folder.path()), names.map(|name| folder.path().join(name)));
}

#[test]
fn pictures_are_the_same_whatever_stays_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let draw = |memory: &str| {
        let command =
            ["generate", "a red apple", "an owl", "--device", "cpu", "--model", EMOJI, "--memory", memory];
        let name = format!("{memory}.safetensors");
        succeed(folder.path(), &[&command[..], &TINY, &["--save-latents", &name]].concat());
        std::fs::read(folder.path().join(name)).unwrap()
    };
    assert_eq!(draw("low"), draw("resident"));
}

#[test]
fn pictures_are_made_with_passes() {
    let folder = tempfile::tempdir().unwrap();
    let generate = ["generate", "owl", "--device", "cpu", "--json"];
    let passes = ["--passes", "cache(fora)", "--dump-dir", "dumps"];
    let output = succeed(folder.path(), &[&generate[..], &TINY, &passes].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(summary["passes"][3]["pass"], "cache(fora,steps=111010)");
    let said = text(&output.stderr);
    let line = "cache(fora,steps=111010) | lossy | ";
    assert!(
        said.lines().any(|said| said.starts_with(line) && said.contains("; 4 of 6 steps compute")),
        "{said}"
    );
    assert!(folder.path().join("dumps/004_cache.ir").is_file());
    // Nothing is said of passes that nobody asked for, but where all is told.
    let output = succeed(folder.path(), &[&generate[..], &TINY].concat());
    assert_eq!(text(&output.stderr), "");
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        summary["passes"].as_array().unwrap().len(),
        reflux::passes::LOSSLESS_PACKED.split(',').count()
    );
}

/// Pictures in a moment, of the bundled model.
const SMALL: [&str; 10] =
    ["--device", "cpu", "--steps", "2", "--width", "32", "--height", "48", "--model", EMOJI];

fn draw(folder: &Path, arguments: &[&str]) -> Output {
    succeed(folder, &[&["generate"], arguments, &SMALL[..]].concat())
}

/// The pixels of a PNG and what its text says, in order.
pub fn png(path: &Path) -> (Vec<u8>, Vec<(String, String)>) {
    let file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    let texts = reader.info().utf8_text.iter();
    let texts = texts.map(|text| (text.keyword.clone(), text.get_text().unwrap())).collect();
    (pixels, texts)
}

#[test]
fn a_picture_of_a_batch_is_made_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let pixels = |name: &str| png(&root.join(name)).0;
    let batch = ["owl", "red apple", "--num-images", "3", "--seed", "7"];
    draw(root, &[&batch[..], &["-o", "b.png", "--save-latents", "b.safetensors"]].concat());
    assert_ne!(pixels("b-0.png"), pixels("b-1.png"));
    for index in ["0", "2", "4"] {
        draw(root, &[&batch[..], &["--image-index", index, "-o", "alone.png"]].concat());
        assert_eq!(pixels("alone.png"), pixels(&format!("b-{index}.png")), "{index}");
    }
    // As the metadata of a picture has it: its own prompt, the seed, and its place.
    draw(root, &["red apple", "--seed", "7", "--image-index", "5", "-o", "alone.png"]);
    let (alone, texts) = png(&root.join("alone.png"));
    assert_eq!(alone, pixels("b-5.png"));
    assert!(texts.contains(&("image".into(), "5".into())), "{texts:?}");
    // The same from latents of the batch.
    draw(root, &["owl", "--init-latents", "b.safetensors", "--image-index", "1", "-o", "alone.png"]);
    assert_ne!(pixels("alone.png"), pixels("b-1.png"), "latents were denoised again");
    for (more, why) in [
        (&["--num-images", "3", "--image-index", "6"][..], "the image index must be 0 to 5, not 6"),
        (
            &["--image-index", "1", "--init-latents", "b.safetensors", "--width", "64"],
            "the initial latents must be",
        ),
        (&["--image-index", "-1"], "it cannot be negative"),
    ] {
        let refused = reflux(root, &[&["generate", "owl", "red apple", "--device", "cpu"], more].concat());
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
}

#[test]
fn a_seed_is_drawn_and_told() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let said = |output: &Output| {
        let message = text(&output.stderr);
        let (seed, _) = message.strip_prefix("random seed ").unwrap().split_once('\n').unwrap();
        assert!(message.contains(&format!(", seed {seed}, ")), "{message}");
        seed.to_owned()
    };
    let first = said(&draw(root, &["owl", "--seed", "-1", "-o", "drawn.png"]));
    draw(root, &["owl", "--seed", &first, "-o", "again.png"]);
    let (pixels, texts) = png(&root.join("drawn.png"));
    assert_eq!(pixels, png(&root.join("again.png")).0);
    assert!(texts.contains(&("seed".into(), first.clone())), "{texts:?}");
    assert_ne!(said(&draw(root, &["owl", "--seed=random"])), first);
    draw(root, &["owl", "--seed", "18446744073709551615"]);
}

/// What somebody needs who wants the picture again, or wonders what made it.
#[test]
fn pictures_and_summaries_say_how_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let passes =
        ["--passes", "cache(fora,start_step=0)", "--true-cfg-scale", "2", "--negative-prompt", "ぼかし"];
    let prompt = "テスト, (weight:1.3)\nsecond line";
    let output = draw(root, &[&[prompt, "--seed", "9", "--json", "--profile"], &passes[..]].concat());
    let summary: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let (_, texts) = png(&root.join("out.png"));
    let value = |key: &str| {
        let found = texts.iter().find(|(name, _)| name == key);
        found.unwrap_or_else(|| panic!("{key}: {texts:?}")).1.clone()
    };
    assert_eq!([value("prompt"), value("negative_prompt"), value("seed")], [prompt, "ぼかし", "9"]);
    let ran: Vec<_> =
        summary["passes"].as_array().unwrap().iter().map(|pass| pass["pass"].as_str().unwrap()).collect();
    assert_eq!(value("passes"), ran.join(","));
    assert!(value("passes").contains("cache(fora,steps=10)"), "{}", value("passes"));
    let device = summary["device_name"].as_str().unwrap();
    assert_eq!(value("device"), format!("cpu ({device})"));
    if cfg!(target_os = "linux") {
        assert!(value("memory").ends_with(" GB at most"), "{}", value("memory"));
        assert!(summary["peak_bytes"].as_u64().unwrap() > 10_000_000);
    }
    // As the web UIs write it: prompt, negative prompt, settings.
    let parameters = value("parameters");
    let start = format!(
        "{prompt}\nNegative prompt: ぼかし\nSteps: 2, Sampler: Euler, CFG scale: 2, Distilled CFG Scale: 3.5, Seed: 9, Size: 32x48, Model: emoji, Passes: \""
    );
    assert!(parameters.starts_with(&start), "{parameters}");
    assert!(parameters.ends_with(&format!("Version: reflux {}", reflux::VERSION)), "{parameters}");

    let profile = summary["profile"].as_array().unwrap();
    let networks: Vec<_> = profile.iter().map(|network| network["network"].as_str().unwrap()).collect();
    assert_eq!(networks, ["text_encoder", "text_encoder_2", "transformer", "vae"]);
    for network in profile {
        assert!(network["by_op"][0]["seconds"].as_f64().unwrap() > 0.0, "{network:#}");
        assert!(network["slowest"]["steps"].as_array().is_some_and(|rows| !rows.is_empty()), "{network:#}");
    }
    let plain = draw(root, &["owl", "--json"]);
    let plain: serde_json::Value = serde_json::from_slice(&plain.stdout).unwrap();
    assert_eq!(plain.get("profile"), None);
    draw(root, &["owl", "--passes-only", ""]);
    let (_, texts) = png(&root.join("out.png"));
    assert!(texts.iter().any(|(name, value)| name == "passes" && value == "none"), "{texts:?}");
}

#[test]
fn the_extension_says_the_format() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let owl = ["owl", "--seed", "4"];
    draw(root, &owl);
    let (expected, texts) = png(&root.join("out.png"));
    let parameters = &texts.iter().find(|(key, _)| key == "parameters").unwrap().1;
    let comment: Vec<u8> = parameters.encode_utf16().flat_map(u16::to_be_bytes).collect();
    for (name, format, is_lossless) in [
        ("out.webp", image::ImageFormat::WebP, true),
        ("out.jpg", image::ImageFormat::Jpeg, false),
        ("out.JPEG", image::ImageFormat::Jpeg, false),
    ] {
        assert_eq!(text(&draw(root, &[&owl[..], &["-o", name]].concat()).stdout), format!("{name}\n"));
        let bytes = std::fs::read(root.join(name)).unwrap();
        let pixels = image::load_from_memory_with_format(&bytes, format).unwrap().into_rgb8().into_raw();
        let apart = pixels.iter().zip(&expected).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum::<f64>();
        let apart = apart / expected.len() as f64;
        assert!(
            pixels.len() == expected.len() && apart < if is_lossless { 1e-9 } else { 3.0 },
            "{name}: {apart}"
        );
        assert!(bytes.windows(comment.len()).any(|window| window == comment), "{name} has the settings");
    }
    assert_eq!(text(&draw(root, &["a", "b", "-o", "p.webp"]).stdout), "p-0.webp\np-1.webp\n");
    // What is too long for a JPEG's metadata loses its beginning and is drawn all the same.
    draw(root, &[&"a".repeat(60_000), "-o", "long.jpg"]);
    draw(root, &[&"a".repeat(60_000), "-o", "long.webp"]);
}

/// Prompts as they are pasted are drawn, and kept letter for letter.
#[test]
fn prompts_are_kept_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for prompt in [
        "",
        "   ",
        "a red apple\r\non a blue background\n",
        "一个红苹果，蓝色背景",
        "🍎 on 🟦 👩‍👩‍👧‍👦 🇺🇳",
        "(a red apple:1.3), [blue] BREAK {owl|cat} <lora:style:0.8> \\(sic\\)",
        "tab\tbell\u{7} escape\u{1b}[31mred zero\u{200b}width \u{feff}bom",
        "e\u{301} Å İ ﬁ ß",
        "<|endoftext|> </s> <pad> <extra_id_0>",
        "@prompts.txt",
    ] {
        draw(root, &[prompt]);
        let (_, texts) = png(&root.join("out.png"));
        assert!(texts.contains(&("prompt".into(), prompt.into())), "{prompt:?}: {texts:?}");
    }
    draw(root, &["--", "-a red apple"]);
    // What other programs follow in them is no instruction here, which is said.
    for (prompt, part) in [("an (owl:1.3)", "(owl:1.3)"), ("owl <lora:style:0.8>", "<lora:style:0.8>")] {
        let message = text(&draw(root, &[prompt]).stderr);
        assert!(message.contains(&format!("warning: {part:?} is read as ordinary words")), "{message}");
    }
}
