//! Compiled models draw what the model draws from which they were made, bit for bit.

use crate::common::fixtures::{emoji, repo};
use reflux::ir::pass::{Pipeline, Recipe};
use reflux::ir::{DType, HostTensor, WeightSource};
use reflux::models::weights::SavedWeights;
use reflux::models::{ModelFiles, Parts, Sizes};
use reflux::passes::LoraMode;
use reflux::{
    CompileOptions, CompileReport, DiffusionPipeline, Error, LoraFiles, Memory, OpenOptions, Request,
    add_sizes, compile, registry, verify_compiled,
};
use std::path::{Path, PathBuf};
use tempfile::{TempDir, tempdir};

const SIZES: Sizes = Sizes { batch: 1, steps: 4, text_tokens: 32, height: 64, width: 96, reference: None };

fn files(model: &Path) -> ModelFiles {
    ModelFiles::find(model, Parts::default()).unwrap()
}

fn recipe(passes: &str) -> Recipe {
    Recipe::parse(passes, &registry()).unwrap()
}

fn options(passes: Recipe, sizes: &[Sizes]) -> CompileOptions {
    let open = OpenOptions { passes, ..OpenOptions::default() };
    CompileOptions { open, sizes: sizes.to_vec(), denoiser_only: false }
}

fn saved(options: CompileOptions, out: &Path) -> Result<CompileReport, Error> {
    compile(&files(&emoji()), options, out, &mut |_| {})
}

/// The bundled model, compiled for [`SIZES`].
fn compiled(passes: Recipe) -> (TempDir, PathBuf, CompileReport) {
    let folder = tempdir().unwrap();
    let out = folder.path().join("out");
    let report = saved(options(passes, &[SIZES]), &out).unwrap();
    (folder, out, report)
}

fn request(sizes: &Sizes) -> Request {
    let request = Request::new("a red apple on a blue background").size(sizes.width, sizes.height);
    Request { max_sequence_length: Some(sizes.text_tokens), ..request.steps(sizes.steps).seed(5) }
}

/// The latents, the warnings, and the passes that ran.
fn drawn(model: &Path, options: OpenOptions, sizes: &Sizes) -> (HostTensor, Vec<String>, usize) {
    let mut pipeline = DiffusionPipeline::open_with(model, options).unwrap();
    let (_, report) = pipeline.generate_with(&request(sizes), &mut |_| {}).unwrap();
    (report.latents, report.warnings, report.passes.len())
}

/// What the weights of the program for [`SIZES`] take on the disk once compiled.
fn weight_bytes(model: &Path, options: OpenOptions) -> u64 {
    let mut pipeline = DiffusionPipeline::open_with(model, options).unwrap();
    pipeline.weight_bytes(&request(&SIZES)).unwrap()
}

/// Compiles with `passes` and compares with drawing with them; returns the bytes of the weights.
fn check(what: &str, passes: Recipe) -> CompileReport {
    let (_folder, out, report) = compiled(passes.clone());
    let options = OpenOptions { passes, ..OpenOptions::default() };
    let bytes: u64 = report.weights.iter().map(|weights| weights.bytes).sum();
    assert_eq!(weight_bytes(&emoji(), options.clone()), bytes, "{what}");
    assert_eq!(weight_bytes(&out, OpenOptions::default()), bytes, "{what}");
    let (expected, _, ran) = drawn(&emoji(), options, &SIZES);
    assert_eq!(ran > 0, what != "none", "{what}");
    for memory in [Memory::Resident, Memory::Low] {
        let options = OpenOptions { memory, ..OpenOptions::default() };
        let (found, warnings, ran) = drawn(&out, options, &SIZES);
        assert_eq!(found.bytes, expected.bytes, "{what}");
        assert_eq!((warnings, ran), (Vec::new(), 0), "{what}");
    }
    verify_compiled(&files(&out)).unwrap();
    report
}

/// The weights of a compiled model.
fn weights(out: &Path) -> SavedWeights {
    let folder = out.join("reflux");
    let entries = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let mut shards: Vec<_> = entries.filter(|path| path.extension().unwrap() == "safetensors").collect();
    shards.sort();
    SavedWeights::open(&folder, &shards).unwrap()
}

#[test]
fn latents_are_those_of_optimizing_in_memory() {
    let whole: u64 = check("no passes", Recipe::default()).weights_bytes;
    for (passes, at_most) in [
        ("quantize(int8dq)", 0.6),
        ("quantize(int8dq,exclude=norm+embedding),cache(fora,interval=2)", 0.75),
        ("quantize(int4wo)", 0.4),
        ("quantize(fp8dqrow)", 0.6),
        ("quantize(fp8dq)", 0.6),
    ] {
        let share = check(passes, recipe(passes)).weights_bytes as f64 / whole as f64;
        println!("{passes}: {share:.3} of the bytes");
        assert!(share < at_most, "{passes}: {share}");
    }
}

#[test]
fn no_pass_at_all_is_compiled_too() {
    check("none", Recipe::default().only());
}

/// The model stores bf16, the processor computes in f32: nothing is gained by saving more.
#[test]
fn numbers_are_saved_in_no_more_bits_than_the_model_has() {
    let (_folder, out, report) = compiled(Recipe::default());
    assert!(report.weights.iter().all(|weights| weights.dtype == "bf16"), "{:?}", report.weights);
    assert!(weights(&out).types().all(|(_, fact)| fact.dtype == DType::BF16));
}

/// Codes are what the program reads: asked for anything else, the weights refuse, so that nobody could quantize them again.
#[test]
fn codes_are_read_and_never_made_again() {
    let (_folder, out, _) = compiled(recipe("quantize(int8dq)"));
    let mut pipeline = DiffusionPipeline::open(&out).unwrap();
    let (program, weights) = (pipeline.program(&request(&SIZES)).unwrap().clone(), weights(&out));
    let quantized = program.weights().into_iter().filter(|(_, fact)| fact.is_quantized());
    let mut seen = 0;
    for (name, fact) in quantized {
        let rows = weights.rows(name, fact).unwrap().unwrap();
        assert!(rows.fact().same_type(fact), "{name}");
        let dense = weights.rows(name, &fact.unquantized()).err().unwrap().to_string();
        assert!(dense.contains("and the program reads it as"), "{dense}");
        seen += 1;
    }
    assert!(seen > 50, "{seen}");
}

#[test]
fn loras_are_saved_merged() {
    let folder = tempdir().unwrap();
    let file = folder.path().join("a.safetensors");
    std::fs::copy(repo("tests/fixtures/lora/peft.safetensors"), &file).unwrap();
    let lora = |mode| {
        let mut loras = Pipeline::new();
        loras.push(LoraFiles { files: vec![format!("{}:0.7", file.display())], mode, partial: false });
        loras
    };
    let passes = recipe("quantize(int8dq)").and(lora(LoraMode::Merge));
    check("a LoRA", passes.clone());
    // What was compiled does not need the file any more, not even for another size.
    let (_compiled, out, _) = compiled(passes.clone());
    let options = OpenOptions { passes: passes.clone(), ..OpenOptions::default() };
    let other = Sizes { width: 64, ..SIZES };
    let (expected, ..) = drawn(&emoji(), options, &other);
    std::fs::remove_file(&file).unwrap();
    let (found, warnings, ran) = drawn(&out, OpenOptions::default(), &other);
    assert_eq!(found.bytes, expected.bytes);
    assert!(warnings.len() == 1 && ran > 0, "{warnings:?}");
    std::fs::copy(repo("tests/fixtures/lora/peft.safetensors"), &file).unwrap();
    let branch = Recipe::default().and(lora(LoraMode::Branch));
    let refused = saved(self::options(branch, &[SIZES]), &folder.path().join("branch")).unwrap_err();
    assert!(refused.to_string().contains("--lora-mode merge"), "{refused}");
    std::fs::copy(repo("tests/fixtures/lora/kohya_clip.safetensors"), &file).unwrap();
    let clip = Recipe::default().and(lora(LoraMode::Merge));
    let refused = saved(self::options(clip, &[SIZES]), &folder.path().join("clip")).unwrap_err();
    assert!(refused.to_string().contains("change the network clip too"), "{refused}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "something is left behind");
}

/// A program of a size that is not compiled is made from the saved weights, and this is said.
#[test]
fn other_sizes_are_optimized_when_they_are_drawn() {
    let passes = "quantize(int4wo),cache(fora,interval=2)";
    let (_folder, out, _) = compiled(recipe(passes));
    for other in
        [Sizes { height: 96, ..SIZES }, Sizes { steps: 5, ..SIZES }, Sizes { text_tokens: 16, ..SIZES }]
    {
        let options = OpenOptions { passes: recipe(passes), ..OpenOptions::default() };
        let (expected, ..) = drawn(&emoji(), options, &other);
        let (found, warnings, ran) = drawn(&out, OpenOptions::default(), &other);
        assert_eq!(found.bytes, expected.bytes);
        assert!(ran > 0);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        assert!(warning.contains("is compiled for 96×64, 4 steps, 32 tokens"), "{warning}");
    }
}

/// Steps at other noise levels are another program, since passes may have decided by them.
#[test]
fn other_noise_levels_are_not_those_that_were_compiled() {
    let (_folder, out, _) = compiled(Recipe::default());
    let mut pipeline = DiffusionPipeline::open(&out).unwrap();
    let request = Request { flow_shift: Some(1.5), ..request(&SIZES) };
    let (_, report) = pipeline.generate_with(&request, &mut |_| {}).unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
}

#[test]
fn sizes_are_added_to_a_compiled_model() {
    let (folder, out, _) = compiled(recipe("quantize(int8dq)"));
    let [wide, tall, both] =
        [Sizes { width: 128, ..SIZES }, Sizes { height: 112, ..SIZES }, Sizes { batch: 2, ..SIZES }];
    let weights = std::fs::metadata(out.join("reflux/transformer-00001-of-00001.safetensors")).unwrap();
    // From the model that it was made from, and from itself.
    let first = saved(options(recipe("quantize(int8dq)"), &[SIZES, wide]), &out).unwrap();
    assert_eq!(first.programs.iter().map(|made| made.is_new).collect::<Vec<_>>(), [false, true]);
    let second = add_sizes(&files(&out), options(Recipe::default(), &[tall, wide, both])).unwrap();
    assert_eq!(second.programs.iter().map(|made| made.is_new).collect::<Vec<_>>(), [true, false, true]);
    for size in [SIZES, wide, tall] {
        let passes = OpenOptions { passes: recipe("quantize(int8dq)"), ..OpenOptions::default() };
        let (expected, ..) = drawn(&emoji(), passes, &size);
        let (found, warnings, ran) = drawn(&out, OpenOptions::default(), &size);
        assert_eq!((found.bytes == expected.bytes, warnings, ran), (true, Vec::new(), 0), "{size:?}");
    }
    let after = std::fs::metadata(out.join("reflux/transformer-00001-of-00001.safetensors")).unwrap();
    assert_eq!(after.modified().unwrap(), weights.modified().unwrap());

    // Anything else in its place is refused, and stays as it is.
    let before = std::fs::read(out.join("reflux/manifest.json")).unwrap();
    for (recipe, dtype, expected) in [
        (recipe("quantize(int4wo)"), None, "with the passes canonicalize"),
        (recipe("quantize(int8dq)"), Some(DType::BF16), "is compiled with the passes"),
    ] {
        let mut options = options(recipe, &[wide]);
        options.open.dtype = dtype;
        let refused = saved(options, &out).unwrap_err().to_string();
        let is_meant =
            refused.contains(expected) || refused.contains("is compiled in f32, and this would be in bf16");
        assert!(is_meant, "{refused}");
    }
    assert_eq!(std::fs::read(out.join("reflux/manifest.json")).unwrap(), before);
    let taken = folder.path().join("taken");
    std::fs::create_dir(&taken).unwrap();
    let refused = saved(options(Recipe::default(), &[SIZES]), &taken).unwrap_err().to_string();
    assert!(refused.contains("is no compiled model to which sizes could be added"), "{refused}");
}

/// A checkpoint whose matrices are codes is saved as these, and programs of other sizes are lowered like the first.
#[test]
fn codes_of_the_checkpoint_stay_as_they_are() {
    let parts = || Parts::default().with("transformer", repo("tests/fixtures/gguf/flux-emoji-mixed.gguf"));
    let gguf = ModelFiles::find(&emoji(), parts()).unwrap();
    let folder = tempdir().unwrap();
    for (index, passes) in
        ["", "quantize(int8dq,include=single_transformer_blocks.*)"].into_iter().enumerate()
    {
        let out = folder.path().join(index.to_string());
        let report = compile(&gguf, options(recipe(passes), &[SIZES]), &out, &mut |_| {}).unwrap();
        let types: Vec<&str> = report.weights.iter().map(|weights| &*weights.dtype).collect();
        assert!(types.iter().any(|dtype| dtype.starts_with('q')), "{types:?}");
        for sizes in [SIZES, Sizes { width: 64, ..SIZES }] {
            let open = OpenOptions { parts: parts(), passes: recipe(passes), ..OpenOptions::default() };
            let (expected, ..) = drawn(&emoji(), open, &sizes);
            let (found, ..) = drawn(&out, OpenOptions::default(), &sizes);
            assert_eq!(found.bytes, expected.bytes, "{passes}, {sizes:?}");
        }
    }
}

/// With weights given for the other networks, they need not be copied.
#[test]
fn the_other_networks_can_be_left_out() {
    let folder = tempdir().unwrap();
    let out = folder.path().join("out");
    let options = CompileOptions { denoiser_only: true, ..options(Recipe::default(), &[SIZES]) };
    saved(options, &out).unwrap();
    let refused = DiffusionPipeline::open(&out).err().unwrap().to_string();
    assert!(refused.contains("contains no weights"), "{refused}");
    let parts =
        ["t5", "clip", "vae"].into_iter().fold(Parts::default(), |parts, name| parts.with(name, emoji()));
    let open = OpenOptions { parts, ..OpenOptions::default() };
    let (expected, ..) = drawn(&emoji(), OpenOptions::default(), &SIZES);
    assert_eq!(drawn(&out, open, &SIZES).0.bytes, expected.bytes);
}

/// Whatever of it has changed, it is refused, with the file and what to do, before anything runs.
#[test]
fn damage_is_refused() {
    let (_folder, out, _) = compiled(recipe("quantize(int8dq)"));
    let program = "reflux/transformer-96x64-4steps-32tokens.ir";
    let shard = "reflux/transformer-00001-of-00001.safetensors";
    let manifest = "reflux/manifest.json";
    type Change = fn(&mut Vec<u8>);
    let cases: [(&str, Change, &str); 10] = [
        (program, |bytes| bytes.extend(b"// mine\n"), "or give an edited program with --program"),
        (program, |bytes| bytes.truncate(1000), "or give an edited program with --program"),
        (shard, |bytes| bytes.truncate(bytes.len() - 1), "and was written with"),
        (shard, |bytes| bytes.truncate(100), "and was written with"),
        (shard, |bytes| bytes[40] ^= 1, "has changed since it was written"),
        (manifest, |bytes| bytes.clear(), "is empty"),
        (manifest, |bytes| replace(bytes, "\"f32\"", "\"bf16\""), "has changed since it was written"),
        (manifest, |bytes| replace(bytes, "\"format\": 2", "\"format\": 3"), "which reads format 2"),
        (manifest, |bytes| replace(bytes, "\"format\": 2", "\"format\": 1"), "which reads format 2"),
        (manifest, |bytes| replace(bytes, "\"format\": 2", "\"forma\": 2"), "it has no `format`"),
    ];
    for (file, change, expected) in cases {
        let path = out.join(file);
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        refused(&out, file, expected);
        std::fs::write(&path, whole).unwrap();
    }
    for file in [program, shard, manifest] {
        let whole = std::fs::read(out.join(file)).unwrap();
        std::fs::remove_file(out.join(file)).unwrap();
        refused(&out, file, "is missing, a part of a compiled model");
        std::fs::write(out.join(file), whole).unwrap();
    }
    // What lies within the tensors is not read before it is used, unless that is asked for.
    let whole = std::fs::read(out.join(shard)).unwrap();
    let mut bytes = whole.clone();
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(out.join(shard), bytes).unwrap();
    DiffusionPipeline::open(&out).unwrap();
    let message = verify_compiled(&files(&out)).unwrap_err().to_string();
    assert!(message.contains(shard) && message.contains("has changed since it was written"), "{message}");
    std::fs::write(out.join(shard), whole).unwrap();
    verify_compiled(&files(&out)).unwrap();
}

/// What was copied may be damaged as well as what was made, and only reading all of it tells.
#[test]
fn damage_to_what_was_copied_is_found() {
    let (_folder, out, _) = compiled(recipe("quantize(int8dq)"));
    let refused = |file: &str, expected: &str| {
        let message = verify_compiled(&files(&out)).unwrap_err().to_string();
        assert!(message.contains(file) && message.contains(expected), "{file}: {message}");
    };
    let others = files(&out).all_files(|net| net.name != "transformer").unwrap();
    assert!(others.len() > 8, "{others:?}");
    for file in others {
        let (path, name) = (out.join(&file.to), file.to.to_str().unwrap());
        let whole = std::fs::read(&path).unwrap();
        let mut bytes = whole.clone();
        *bytes.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &bytes).unwrap();
        // Configurations are read before, to know which model it is.
        if name != "model_index.json" {
            refused(name, "has changed since it was written");
            std::fs::write(&path, [&whole[..], b"\n"].concat()).unwrap();
            refused(name, "and was written with");
            std::fs::remove_file(&path).unwrap();
            refused(name, "is missing, a part of a compiled model");
        }
        std::fs::write(&path, whole).unwrap();
    }
    verify_compiled(&files(&out)).unwrap();
    // Sizes that are added later leave it as it is.
    add_sizes(&files(&out), options(Recipe::default(), &[Sizes { width: 64, ..SIZES }])).unwrap();
    verify_compiled(&files(&out)).unwrap();
}

fn replace(bytes: &mut Vec<u8>, from: &str, to: &str) {
    let text = String::from_utf8(std::mem::take(bytes)).unwrap();
    assert!(text.contains(from), "{text}");
    *bytes = text.replace(from, to).into_bytes();
}

fn refused(out: &Path, file: &str, expected: &str) {
    let message = DiffusionPipeline::open(out).err().unwrap_or_else(|| panic!("{file} is taken")).to_string();
    assert!(message.contains(file) && message.contains(expected), "{file}: {message}");
}

/// What has no meaning for a compiled model is refused; what asks for nothing else is not.
#[test]
fn options_that_have_no_meaning_are_refused() {
    let passes = || recipe("quantize(int8dq)");
    let (folder, out, _) = compiled(passes());
    let open = |options| DiffusionPipeline::open_with(&out, options).err().map(|error| error.to_string());
    let none = OpenOptions::default;
    assert_eq!(open(OpenOptions { passes: passes(), ..none() }), None);
    for (options, expected) in [
        (OpenOptions { passes: recipe("quantize(int4wo)"), ..none() }, "leave out passes and LoRAs here"),
        (OpenOptions { passes: Recipe::default().only(), ..none() }, "leave out passes and LoRAs here"),
        (OpenOptions { dtype: Some(DType::BF16), ..none() }, "leave out --dtype"),
        (OpenOptions { dump_dir: Some(folder.path().to_owned()), ..none() }, "leave out --dump-dir"),
        (
            OpenOptions { parts: Parts::default().with("transformer", emoji()), ..none() },
            "leave out the option",
        ),
    ] {
        let message = open(options).expect(expected);
        assert!(message.contains(expected), "{message}");
    }
}

/// An edited program runs with the weights that are saved, if it reads them as they are.
#[test]
fn an_edited_program_is_given_by_itself() {
    let (_folder, out, _) = compiled(recipe("quantize(int8dq)"));
    let text = std::fs::read_to_string(out.join("reflux/transformer-96x64-4steps-32tokens.ir")).unwrap();
    let given = |text: &str| {
        let program = Some(reflux::ir::text::parse(text).unwrap().into());
        OpenOptions { program, ..OpenOptions::default() }
    };
    let (expected, ..) = drawn(&out, OpenOptions::default(), &SIZES);
    assert_eq!(drawn(&out, given(&text), &SIZES).0.bytes, expected.bytes);
    let wrong = text.replace("i8.row.f32[1024,256]", "f8e4m3.row.f32[1024,256]");
    let wrong = if wrong == text { text.replace("f32[256,64]", "i32[256,64]") } else { wrong };
    let parsed = reflux::ir::text::parse(&wrong);
    let Ok(program) = parsed else { return };
    let options = OpenOptions { program: Some(program.into()), ..OpenOptions::default() };
    let mut pipeline = DiffusionPipeline::open_with(&out, options).unwrap();
    let message = pipeline.generate(&request(&SIZES)).unwrap_err().to_string();
    assert!(message.contains("and the program reads"), "{message}");
}
