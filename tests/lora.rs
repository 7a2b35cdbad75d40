//! LoRAs of every form against diffusers' latents (`tests/fixtures/README.md`), merged and beside the products.

use crate::common::cases::{cases, request};
use crate::common::fixtures::{Fixture, assert_close, emoji, relative_l2, repo};
use reflux::ir::HostTensor;
use reflux::ir::pass::{Pipeline, Recipe};
use reflux::passes::LoraMode;
use reflux::{DiffusionPipeline, Error, LoraFiles, Memory, OpenOptions, Request, registry};
use safetensors::SafeTensors;
use safetensors::tensor::TensorView;
use std::path::{Path, PathBuf};

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

/// The path of a recorded LoRA.
fn path(name: &str) -> PathBuf {
    repo("tests/fixtures/lora").join(format!("{name}.safetensors"))
}

/// The bundled model with LoRAs and `passes`.
fn open(files: &[(&str, f32)], mode: LoraMode, passes: &str) -> DiffusionPipeline {
    let files: Vec<_> = files.iter().map(|(name, strength)| (path(name), *strength)).collect();
    let files: Vec<_> = files.iter().map(|(path, strength)| (path.as_path(), *strength)).collect();
    open_files(&files, mode, passes)
}

fn open_files(files: &[(&Path, f32)], mode: LoraMode, passes: &str) -> DiffusionPipeline {
    open_in(Memory::Resident, files, mode, passes)
}

fn open_in(memory: Memory, files: &[(&Path, f32)], mode: LoraMode, passes: &str) -> DiffusionPipeline {
    open_with(memory, files, mode, Recipe::parse(passes, &registry()).unwrap())
}

fn open_with(memory: Memory, files: &[(&Path, f32)], mode: LoraMode, passes: Recipe) -> DiffusionPipeline {
    let files = files.iter().map(|(path, strength)| format!("{}:{strength}", path.display()));
    let mut loras = Pipeline::new();
    loras.push(LoraFiles { files: files.collect(), mode, partial: false });
    let options = OpenOptions { passes: passes.and(loras), memory, ..OpenOptions::default() };
    DiffusionPipeline::open_with(emoji(), options).unwrap()
}

/// Writes the LoRA `from` to `to`, with the numbers of each tensor in the other order.
fn turned(from: &Path, to: &Path) {
    let bytes = std::fs::read(from).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let turned = tensors.iter().map(|(name, view)| {
        let size = view.data().len() / view.shape().iter().product::<usize>();
        let numbers: Vec<u8> = view.data().chunks(size).rev().flatten().copied().collect();
        (name.to_owned(), view.dtype(), view.shape().to_vec(), numbers)
    });
    let turned: Vec<_> = turned.collect();
    let views = turned.iter().map(|(name, dtype, shape, numbers)| {
        (name.as_str(), TensorView::new(*dtype, shape.clone(), numbers).unwrap())
    });
    safetensors::serialize_to_file(views, None, to).unwrap();
}

fn draw(pipeline: &mut DiffusionPipeline, request: &Request) -> HostTensor {
    let (_, report) = pipeline.generate_with(request, &mut |_| {}).unwrap();
    assert_eq!(report.warnings, [""; 0]);
    report.latents
}

fn check(mode: LoraMode) {
    let expected = Fixture::open("lora/latents.safetensors");
    let first = request(&cases()[0]);
    let compare = |what: &str, files: &[(&str, f32)], key: &str| {
        // One file and several have the default passes too: `fuse` takes long where there are branches, and sees the same for each.
        let mut pipeline = match (what, files) {
            ("peft at 1.0", _) | (_, [_, _, ..]) => open(files, mode, ""),
            (_, [(file, strength), ..]) => {
                let passes = Recipe::parse("hoist", &registry()).unwrap().only();
                open_with(Memory::Resident, &[(&path(file), *strength)], mode, passes)
            }
            (_, []) => unreachable!("there is a file"),
        };
        assert_close(what, &draw(&mut pipeline, &first), &expected.get(key), 2e-6);
    };
    for (file, key) in FILES {
        // The others are recorded at 1 only.
        let scales = if ["a", "b", "clip", "dora"].contains(&key) { &["1.0", "0.6"][..] } else { &["1.0"] };
        for scale in scales {
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

/// With other strengths the program is the same, and the picture that of a pipeline opened with them.
#[test]
fn strengths_of_a_loaded_pipeline_change() {
    let small = request(&cases()[0]).steps(4).size(64, 64);
    // `dora` is merged beside no product, and `kohya_clip` into a text encoder too.
    for (mode, files) in [
        (LoraMode::Branch, ["peft", "b_peft"]),
        (LoraMode::Branch, ["kohya_clip", "dora"]),
        (LoraMode::Merge, ["peft", "kohya_clip"]),
    ] {
        let with = |first: f32, second: f32| [(files[0], first), (files[1], second)];
        let mut pipeline = open(&with(1.0, 0.5), mode, "");
        let before = draw(&mut pipeline, &small);
        let program = pipeline.program(&small).unwrap().clone();
        pipeline.set_lora_strength(0, 0.25).unwrap();
        pipeline.set_lora_strength(1, -1.0).unwrap();
        let after = draw(&mut pipeline, &small);
        assert!(*pipeline.program(&small).unwrap() == program, "{files:?}");
        assert!(relative_l2(&after, &before) > 1e-3, "{files:?}");
        let anew = draw(&mut open(&with(0.25, -1.0), mode, ""), &small);
        assert_close(&format!("{files:?} with other strengths, {mode:?}"), &after, &anew, 1e-6);
        for (index, strength) in [(2, 1.0), (0, f32::NAN)] {
            assert!(matches!(pipeline.set_lora_strength(index, strength), Err(Error::Range { .. })));
        }
    }
}

/// Any two files, of the same modules or of some of each other's, merged and beside the products.
#[test]
fn two_files_are_the_same_in_both_modes() {
    let small = request(&cases()[0]).steps(2).size(32, 32);
    for (first, second) in [
        ("peft", "xlabs"),
        ("dora", "peft"),
        ("kohya", "bfl_all"),
        ("b_kohya", "onetrainer"),
        ("comfy", "peft"),
    ] {
        let of = |mode| draw(&mut open(&[(first, 0.8), (second, 0.5)], mode, ""), &small);
        let (merged, beside) = (of(LoraMode::Merge), of(LoraMode::Branch));
        assert_close(&format!("{first} and {second}"), &beside, &merged, 1e-5);
        let alone = draw(&mut open(&[(first, 0.8)], LoraMode::Merge, ""), &small);
        assert!(relative_l2(&merged, &alone) > 1e-3, "{second}");
    }
}

/// Another file of the same modules takes the place of the first without a new plan; others are refused and change nothing.
#[test]
fn files_of_a_loaded_pipeline_are_replaced() {
    let small = request(&cases()[0]).steps(4).size(64, 64);
    let path = |name: &str| repo("tests/fixtures/lora").join(format!("{name}.safetensors"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    turned(&path("peft"), &other);
    // Of the second file some modules are those of the first.
    let second_file = path("b_kohya");
    let with = |first: &Path| [(first.to_owned(), 0.75), (second_file.clone(), 0.5)];
    for (passes, memory, mode, count) in [
        ("", Memory::Resident, LoraMode::Branch, 1),
        ("", Memory::Resident, LoraMode::Branch, 2),
        ("", Memory::Low, LoraMode::Branch, 2),
        ("", Memory::Resident, LoraMode::Merge, 2),
        ("quantize(int8dq)", Memory::Resident, LoraMode::Branch, 2),
        ("quantize(int8dq)", Memory::Low, LoraMode::Branch, 1),
        ("quantize(int8dq)", Memory::Resident, LoraMode::Merge, 1),
    ] {
        let open = |first: &Path| {
            let files = with(first);
            let files: Vec<_> = files.iter().map(|(path, strength)| (path.as_path(), *strength)).collect();
            open_in(memory, &files[..count], mode, passes)
        };
        let mut pipeline = open(&path("peft"));
        let first = draw(&mut pipeline, &small);
        for (index, refused) in [(0, path("b_peft")), (count, other.clone()), (0, path("missing"))] {
            assert!(pipeline.replace_lora(index, &refused).is_err(), "{index}: {}", refused.display());
        }
        assert_eq!(draw(&mut pipeline, &small), first);
        let program = pipeline.program(&small).unwrap().clone();
        pipeline.replace_lora(0, &other).unwrap();
        let second = draw(&mut pipeline, &small);
        assert!(*pipeline.program(&small).unwrap() == program);
        let anew = draw(&mut open(&other), &small);
        assert_eq!(second, anew, "{mode:?} of {count} after {passes:?}, {memory:?}");
        assert!(relative_l2(&second, &first) > 1e-3);
    }
}

/// Passes say which LoRAs there are now, so that a picture's metadata do.
#[test]
fn passes_name_what_has_taken_the_place_of_files() {
    let path = |name: &str| repo("tests/fixtures/lora").join(format!("{name}.safetensors"));
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("other.safetensors");
    turned(&path("peft"), &other);
    let mut pipeline = open(&[("b_kohya", 0.5), ("peft", 0.75)], LoraMode::Branch, "");
    pipeline.set_lora_strength(0, -1.0).unwrap();
    pipeline.replace_lora(1, &other).unwrap();
    let text = pipeline.passes().to_string();
    let (first, second) = (path("b_kohya"), other);
    let expected = format!("lora(files=[{}:-1,{}:0.75],mode=branch)", first.display(), second.display());
    assert!(text.contains(&expected), "{text} without {expected}");
}

/// Merged and beside the product a LoRA is the same, with every other pass. What is beside is not quantized, so that int8 rounds
/// other numbers; but both are much nearer to each other than to no LoRA.
#[test]
fn both_modes_agree_after_other_passes() {
    let small = request(&cases()[0]).steps(4).size(64, 64);
    for (passes, most) in [("", 1e-5), ("cache(fora,interval=2)", 1e-5), ("quantize(int8dq)", 0.15)] {
        let of = |mode| draw(&mut open(&[("peft", 1.0), ("b_kohya", 0.5)], mode, passes), &small);
        let (merged, beside) = (of(LoraMode::Merge), of(LoraMode::Branch));
        assert_close(&format!("modes after {passes:?}"), &beside, &merged, most);
        let without = draw(&mut open(&[("peft", 0.0)], LoraMode::Merge, passes), &small);
        let effect = relative_l2(&merged, &without);
        assert!(effect > 2.0 * relative_l2(&beside, &merged), "{passes}: no LoRA is only {effect:e} away");
    }
}
