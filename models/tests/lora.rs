//! LoRAs: every form of one change is the same change, every kind is what its formula says, and what does not fit is refused.

use crate::common::{Tensors, emoji, read, renamed, write, write_with};
use half::bf16;
use reflux_ir::{DType, Fact, WeightData, WeightSource};
use reflux_models::lora::{Kept, Lora, LoraFile, LoraWeights, Loras, MERGED};
use reflux_models::weights::Weights;
use reflux_models::{ModelConfig, Net, flux1};
use safetensors::tensor::Dtype;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Tensors in f32, by name.
type Numbers = BTreeMap<String, Vec<f32>>;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/lora")).join(name)
}

fn config() -> ModelConfig {
    ModelConfig::read(&emoji("")).unwrap()
}

/// What a LoRA on the bundled model makes of the tensors of `net` that it changes.
fn merged_of(path: &Path, net: &'static Net, strength: f32) -> Numbers {
    let lora =
        Lora::fit(LoraFile::open(path).unwrap(), &*config(), false).unwrap_or_else(|error| panic!("{error}"));
    let mut loras = Loras::default();
    loras.push(Arc::new(lora), strength, Kept::Merged);
    let base = Arc::new(Weights::open(emoji(net.folder)).unwrap());
    let weights = LoraWeights::new(base.clone(), net, loras.clone());
    let read = |name: &str| {
        let fact = Fact::new(DType::F32, base.shape(name).unwrap().to_vec());
        match weights.weight(&format!("{name}{MERGED}"), &fact).unwrap() {
            WeightData::Dense(tensor) => tensor.to_f32(),
            WeightData::Quantized(_) => unreachable!("they are numbers"),
        }
    };
    loras.merged(net).into_iter().map(|name| (name.to_owned(), read(name))).collect()
}

fn merged(path: &Path) -> Numbers {
    merged_of(path, &flux1::TRANSFORMER, 0.6)
}

/// [`merged`] of a file of these tensors.
fn merged_tensors(tensors: &Tensors) -> Numbers {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    write(&path, tensors);
    merged(&path)
}

fn refusal_of(path: &Path, is_partial: bool) -> String {
    let fitted =
        LoraFile::open(path).map_err(Into::into).and_then(|file| Lora::fit(file, &*config(), is_partial));
    let error = fitted.unwrap_err().to_string();
    assert!(!error.contains('\n') && error.contains(path.file_name().unwrap().to_str().unwrap()), "{error}");
    error
}

fn refusal(tensors: &Tensors) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    write(&path, tensors);
    refusal_of(&path, false)
}

fn tensor(shape: &[usize], values: impl Fn(usize) -> f32) -> (Dtype, Vec<usize>, Vec<u8>) {
    let bytes = (0..shape.iter().product()).flat_map(|at| bf16::from_f32(values(at)).to_le_bytes());
    (Dtype::BF16, shape.to_vec(), bytes.collect())
}

fn tensors(list: &[(&str, &[usize])]) -> Tensors {
    let one = |(seed, (name, shape)): (usize, &(&str, &[usize]))| {
        ((*name).to_owned(), tensor(shape, |at| number(at + 97 * seed)))
    };
    list.iter().enumerate().map(one).collect()
}

/// A small number, another for each place.
fn number(at: usize) -> f32 {
    ((at * 37 + 11) % 23) as f32 / 64.0 - 0.17
}

/// The bundled model's weight `name`.
fn base(name: &str) -> Vec<f32> {
    Weights::open(emoji("transformer")).unwrap().tensor(name).unwrap().to_f32()
}

fn values(tensors: &Tensors, name: &str) -> Vec<f32> {
    let bytes = tensors[name].2.as_chunks().0.iter();
    bytes.map(|bytes| bf16::from_le_bytes(*bytes).to_f32()).collect()
}

fn assert_near(what: &str, found: &[f32], expected: impl Fn(usize) -> f32) {
    for (at, found) in found.iter().enumerate() {
        let expected = expected(at);
        assert!(
            (found - expected).abs() <= 1e-5 * expected.abs().max(0.1),
            "{what}, {at}: {found} is not {expected}"
        );
    }
}

/// The fixtures' files of one key are the same change, written by different trainers: with the same bits.
#[test]
fn forms_of_one_change_are_the_same_change() {
    for (first, others) in [
        ("peft", &["kohya", "kohya_alpha", "comfy"][..]),
        ("peft_alpha", &["peft_metadata", "onetrainer"]),
        ("b_peft", &["b_kohya"]),
    ] {
        let expected = merged(&fixture(&format!("{first}.safetensors")));
        assert!(expected.len() >= 6);
        for other in others {
            let found = merged(&fixture(&format!("{other}.safetensors")));
            assert!(found == expected, "{other} is not {first}");
        }
    }
    let all = merged(&fixture("peft.safetensors"));
    let attention = merged(&fixture("xlabs.safetensors"));
    assert_eq!(attention.len(), 16);
    assert!(attention.iter().all(|(name, values)| all[name] == *values));
}

/// Prefixes and endings by which other tools call the same tensors.
#[test]
fn names_of_other_tools_are_known() {
    let peft = read(&fixture("peft.safetensors"));
    let expected = merged(&fixture("peft.safetensors"));
    let replaced = |from: &str, to: &str| renamed(&peft, |name| name.replace(from, to));
    let flat = |prefix: &str, down: &str, up: &str| {
        renamed(&peft, |name| {
            let (module, ending) = name.strip_prefix("transformer.").unwrap().split_once(".lora_").unwrap();
            let ending = if ending.starts_with('A') { down } else { up };
            format!("{prefix}{}.{ending}", module.replace('.', "_"))
        })
    };
    for (what, tensors) in [
        ("PEFT's adapter name", replaced(".weight", ".default.weight")),
        ("PEFT alone", replaced("transformer.", "base_model.model.")),
        ("bare names", renamed(&peft, |name| name.strip_prefix("transformer.").unwrap().to_owned())),
        ("lora_down", replaced("lora_A", "lora_down")),
        (
            "old diffusers",
            renamed(&peft, |name| name.replace("lora_A", "lora.down").replace("lora_B", "lora.up")),
        ),
        ("OneTrainer", flat("lora_transformer_", "lora_down.weight", "lora_up.weight")),
        ("LyCORIS", flat("lycoris_", "lora_down.weight", "lora_up.weight")),
        ("kohya with diffusers' modules", flat("lora_unet_", "lora_down.weight", "lora_up.weight")),
    ] {
        let tensors = if what == "lora_down" {
            renamed(&tensors, |name| name.replace("lora_B", "lora_up"))
        } else {
            tensors
        };
        assert!(merged_tensors(&tensors) == expected, "{what}");
    }
}

/// `norm_out` has scale and shift the other way round, and its biases too.
#[test]
fn swapped_halves_are_swapped_back() {
    let width = base("norm_out.linear.bias").len();
    let given = tensors(&[
        ("diffusion_model.final_layer.adaLN_modulation.1.diff", &[width, width / 2]),
        ("diffusion_model.final_layer.adaLN_modulation.1.diff_b", &[width]),
    ]);
    let found = merged_tensors(&given);
    for (name, key, columns) in
        [("norm_out.linear.weight", "diff", width / 2), ("norm_out.linear.bias", "diff_b", 1)]
    {
        let (before, change) =
            (base(name), values(&given, &format!("diffusion_model.final_layer.adaLN_modulation.1.{key}")));
        let half = width / 2 * columns;
        assert_near(name, &found[name], |at| before[at] + 0.6 * change[(at + half) % (2 * half)]);
    }
}

#[test]
fn text_encoders_are_told_by_their_modules() {
    let clip = "text_model.encoder.layers.0.self_attn.q_proj";
    let t5 = "encoder.block.1.layer.0.SelfAttention.o";
    let of = |clip: &str, t5: &str| {
        tensors(&[
            (&format!("{clip}.lora_down.weight"), &[2, 128]),
            (&format!("{clip}.lora_up.weight"), &[128, 2]),
            (&format!("{t5}.lora_down.weight"), &[2, 256]),
            (&format!("{t5}.lora_up.weight"), &[256, 2]),
        ])
    };
    let flat = |prefix: &str, name: &str| format!("{prefix}{}", name.replace('.', "_"));
    let folder = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for (first, second) in [
        (format!("text_encoder.{clip}"), format!("text_encoder_2.{t5}")),
        (flat("lora_te1_", clip), flat("lora_te2_", t5)),
        (flat("lora_te1_", clip), flat("lora_te3_", t5)),
    ] {
        let path = folder.path().join("text.safetensors");
        write(&path, &of(&first, &second));
        all.push([&flux1::CLIP, &flux1::T5].map(|net| merged_of(&path, net, 1.0)));
    }
    assert_eq!(
        all[0].each_ref().map(|of| of.keys().cloned().collect::<Vec<_>>()),
        [[format!("{clip}.weight")], [format!("{t5}.weight")]]
    );
    assert!(all[0] == all[1] && all[1] == all[2]);
}

const MODULE: &str = "single_transformer_blocks.2.attn.to_k";

/// Of a module with a weight `[256, 256]`: the change by each kind, from its formula.
#[test]
fn kinds_are_what_their_formulas_say() {
    let (weight, name) =
        (format!("{MODULE}.weight"), |ending: &str| format!("lycoris_{}.{ending}", MODULE.replace('.', "_")));
    let before = base(&weight);
    let named = |list: &[(&str, &[usize])]| {
        let list: Vec<_> = list.iter().map(|(ending, shape)| (name(ending), *shape)).collect();
        tensors(&list.iter().map(|(name, shape)| (name.as_str(), *shape)).collect::<Vec<_>>())
    };
    let product = |tensors: &Tensors, up: &str, down: &str, rank: usize, columns: usize| {
        let (up, down) = (values(tensors, &name(up)), values(tensors, &name(down)));
        move |row: usize, column: usize| {
            (0..rank).map(|k| up[row * rank + k] * down[k * columns + column]).sum::<f32>()
        }
    };
    let alpha = |tensors: &mut Tensors| tensors.insert(name("alpha"), tensor(&[], |_| 3.0));

    let kronecker = named(&[("lokr_w1", &[4, 8]), ("lokr_w2", &[64, 32])]);
    let (w1, w2) = (values(&kronecker, &name("lokr_w1")), values(&kronecker, &name("lokr_w2")));
    let whole = |row: usize, column: usize| w1[row / 64 * 8 + column / 32] * w2[row % 64 * 32 + column % 32];
    assert_near("LoKr", &merged_tensors(&kronecker)[&weight], |at| {
        before[at] + 0.6 * whole(at / 256, at % 256)
    });

    // Alpha counts only where there is a rank.
    let mut factored = named(&[("lokr_w1", &[4, 8]), ("lokr_w2_a", &[64, 2]), ("lokr_w2_b", &[2, 32])]);
    alpha(&mut factored);
    let (w1, w2) = (values(&factored, &name("lokr_w1")), product(&factored, "lokr_w2_a", "lokr_w2_b", 2, 32));
    let of = |row: usize, column: usize| w1[row / 64 * 8 + column / 32] * w2(row % 64, column % 32) * 1.5;
    assert_near("LoKr of a rank", &merged_tensors(&factored)[&weight], |at| {
        before[at] + 0.6 * of(at / 256, at % 256)
    });

    let mut hadamard = named(&[
        ("hada_w1_a", &[256, 2]),
        ("hada_w1_b", &[2, 256]),
        ("hada_w2_a", &[256, 2]),
        ("hada_w2_b", &[2, 256]),
    ]);
    alpha(&mut hadamard);
    let first = product(&hadamard, "hada_w1_a", "hada_w1_b", 2, 256);
    let second = product(&hadamard, "hada_w2_a", "hada_w2_b", 2, 256);
    let of = |at: usize| first(at / 256, at % 256) * second(at / 256, at % 256) * 1.5;
    assert_near("LoHa", &merged_tensors(&hadamard)[&weight], |at| before[at] + 0.6 * of(at));

    // A DoRA of norms of rows is among the fixtures; here those of columns.
    let dora =
        named(&[("lora_down.weight", &[2, 256]), ("lora_up.weight", &[256, 2]), ("dora_scale", &[1, 256])]);
    let change = product(&dora, "lora_up.weight", "lora_down.weight", 2, 256);
    let changed: Vec<f32> = (0..256 * 256).map(|at| before[at] + 0.6 * change(at / 256, at % 256)).collect();
    let norm = |column: usize| (0..256).map(|row| changed[row * 256 + column].powi(2)).sum::<f32>().sqrt();
    let (norms, wanted) = ((0..256).map(norm).collect::<Vec<_>>(), values(&dora, &name("dora_scale")));
    assert_near("DoRA", &merged_tensors(&dora)[&weight], |at| {
        changed[at] * wanted[at % 256] / norms[at % 256]
    });

    // Of rows, in a fused module: keys are the second 256 of its rows.
    let rows = 3 * 256 + 1024;
    let fused = "lora_unet_single_blocks_2_linear1";
    let dora = tensors(&[
        (&format!("{fused}.lora_down.weight"), &[2, 256]),
        (&format!("{fused}.lora_up.weight"), &[rows, 2]),
        (&format!("{fused}.dora_scale"), &[rows, 1]),
    ]);
    let of = |ending: &str| values(&dora, &format!("{fused}.{ending}"));
    let (down, up, wanted) = (of("lora_down.weight"), of("lora_up.weight"), of("dora_scale"));
    let change = |row: usize, column: usize| {
        (0..2).map(|k| up[(256 + row) * 2 + k] * down[k * 256 + column]).sum::<f32>()
    };
    let changed: Vec<f32> = (0..256 * 256).map(|at| before[at] + 0.6 * change(at / 256, at % 256)).collect();
    let norm = |row: usize| changed[row * 256..(row + 1) * 256].iter().map(|x| x * x).sum::<f32>().sqrt();
    let norms: Vec<f32> = (0..256).map(norm).collect();
    let found = merged_tensors(&dora);
    assert_eq!(found.len(), 4);
    assert_near("DoRA of rows", &found[&weight], |at| changed[at] * wanted[256 + at / 256] / norms[at / 256]);

    // PEFT scales the bias of `B` with the rest.
    let mut biased =
        named(&[("lora_A.weight", &[2, 256]), ("lora_B.weight", &[256, 2]), ("lora_B.bias", &[256])]);
    alpha(&mut biased);
    let (bias, change) = (base(&format!("{MODULE}.bias")), values(&biased, &name("lora_B.bias")));
    assert_near("bias", &merged_tensors(&biased)[&format!("{MODULE}.bias")], |at| {
        bias[at] + 0.9 * change[at]
    });
}

#[test]
fn alphas_of_the_header_are_read() {
    let plain = tensors(&[
        ("transformer.single_transformer_blocks.2.attn.to_k.lora_A.weight", &[2, 256]),
        ("transformer.single_transformer_blocks.2.attn.to_k.lora_B.weight", &[256, 2]),
    ]);
    let folder = tempfile::tempdir().unwrap();
    let of = |json: &str| {
        let path = folder.path().join("lora.safetensors");
        write_with(
            &path,
            &plain,
            Some(HashMap::from([("lora_adapter_metadata".to_owned(), json.to_owned())])),
        );
        path
    };
    let change = |json: &str| {
        let weight = format!("{MODULE}.weight");
        let (found, before) = (merged(&of(json))[&weight].clone(), base(&weight));
        found.iter().zip(&before).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    let one = change("{}");
    for (json, factor) in [
        (r#"{"transformer.lora_alpha": 8}"#, 4.0),
        (r#"{"transformer.lora_alpha": 8, "transformer.use_rslora": true}"#, 8.0 / f64::sqrt(2.0)),
        (r#"{"transformer.lora_alpha": 8, "transformer.alpha_pattern": {"attn.to_k": 2}}"#, 1.0),
        (r#"{"transformer.lora_alpha": 8, "transformer.alpha_pattern": {"n.to_k": 2}}"#, 4.0),
        (r#"{"text_encoder.lora_alpha": 8}"#, 1.0),
    ] {
        assert!((change(json) / one / factor - 1.0).abs() < 1e-4, "{json}");
    }
    assert!(refusal_of(&of("{"), false).contains("`lora_adapter_metadata` in its header cannot be read"));
    let pattern = r#"{"transformer.alpha_pattern": {".*to_[qk]": 2}}"#;
    assert!(refusal_of(&of(pattern), false).contains("only names of modules are read"));
    for (json, part) in [
        (r#"{"transformer.lora_alpha": "8"}"#, "`transformer.lora_alpha` is \"8\" and must be a number"),
        (r#"{"transformer.lora_alpha": 8, "transformer.use_rslora": "yes"}"#, "must be true or false"),
        (r#"{"transformer.alpha_pattern": {"to_q": [2]}}"#, "must be numbers by names of modules"),
    ] {
        let said = refusal_of(&of(json), false);
        assert!(said.contains(part), "{json}: {said}");
    }
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let key = |ending: &str| format!("transformer.{MODULE}.{ending}");
    let of =
        |down: &[usize], up: &[usize]| tensors(&[(&key("lora_A.weight"), down), (&key("lora_B.weight"), up)]);
    let with = |name: &str, shape: &[usize]| {
        let mut all = of(&[2, 256], &[256, 2]);
        all.insert(name.to_owned(), tensor(shape, number));
        all
    };
    for (what, tensors, parts) in [
        (
            "another width",
            of(&[16, 3072], &[3072, 16]),
            &["lora_A.weight` is [16, 3072]", "must be [16, 256]", "another size"][..],
        ),
        ("another rank", of(&[2, 256], &[256, 4]), &["is [2, 256]", "is [256, 4]", "no rank in common"]),
        ("rank 0", of(&[0, 256], &[256, 0]), &["no rank in common"]),
        ("no matrix", of(&[256], &[256]), &["no rank in common"]),
        (
            "one half",
            tensors(&[(&key("lora_A.weight"), &[2, 256])]),
            &["without `lora_B`", "download it again"],
        ),
        ("alpha alone", tensors(&[(&key("alpha"), &[])]), &["alpha` is there without"]),
        ("several alphas", with(&key("alpha"), &[2]), &["is [2] and must be one number"]),
        ("two adapters", with(&key("lora_A.other.weight"), &[2, 256]), &["are both there"]),
        (
            "another module",
            with("transformer.transformer_blocks.9.attn.to_q.lora_A.weight", &[2, 256]),
            &[
                "a tensor cannot be used",
                "blocks.9.attn.to_q.lora_A.weight` (the model has no module",
                "--lora-partial",
            ],
        ),
        (
            "another kind",
            with(&key("oft_R.default.weight"), &[2, 2]),
            &["OFT is not supported", "--lora-partial"],
        ),
        (
            "nothing but another kind",
            tensors(&[(&key("oft_R.default.weight"), &[2, 2])]),
            &["oft_R.default.weight` is of OFT, which is not supported"],
        ),
        (
            "two names of a module",
            with(&format!("{MODULE}.lora_A.weight"), &[2, 256])
                .into_iter()
                .chain(tensors(&[(&format!("{MODULE}.lora_B.weight"), &[256, 2])]))
                .collect(),
            &["are names of one module", &format!("`transformer.{MODULE}`")],
        ),
        (
            "no kind",
            with("transformer.what.is.this", &[2]),
            &["`transformer.what.is.this` (no ending of a LoRA's tensor)"],
        ),
        (
            "a stray norm",
            with(&key("lora_magnitude_vector"), &[255]),
            &["must be [256], [256, 1] or [1, 256]"],
        ),
        ("no LoRA", tensors(&[("x_embedder.weight", &[2, 2])]), &["is no LoRA", "`x_embedder.weight`"]),
        (
            "SDXL",
            tensors(&[
                ("lora_unet_down_blocks_1_attentions_0_proj_in.alpha", &[]),
                ("lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha", &[]),
            ]),
            &["Stable Diffusion", "does not fit FLUX.1"],
        ),
        (
            "FLUX.2",
            tensors(&[(
                "transformer.single_transformer_blocks.0.attn.to_qkv_mlp_proj.lora_A.weight",
                &[2, 2],
            )]),
            &["is a LoRA for FLUX.2"],
        ),
        (
            "nothing known",
            tensors(&[("lora_unet_layers_0_attention.alpha", &[])]),
            &["has none of the modules", "trained for it"],
        ),
        (
            "LoKr of another size",
            tensors(&[(&key("lokr_w1"), &[3, 8]), (&key("lokr_w2"), &[64, 32])]),
            &["lokr_w1` is [3, 8]", "[256 / 64, 256 / 32]"],
        ),
        (
            "half a LoHa",
            tensors(&[(&key("hada_w1_a"), &[256, 2]), (&key("hada_w1_b"), &[2, 256])]),
            &["without `hada_w2_a`"],
        ),
        (
            "no bias",
            tensors(&[("text_encoder_2.encoder.block.0.layer.0.SelfAttention.q.diff_b", &[256])]),
            &["changes the bias", "has none"],
        ),
    ] {
        let error = refusal(&tensors);
        assert!(parts.iter().all(|part| error.contains(part)), "{what}: {error}");
    }
}

#[test]
fn damaged_numbers_are_named() {
    for (value, shown) in [(f32::NAN, "NaN"), (f32::NEG_INFINITY, "-inf")] {
        let mut all = read(&fixture("b_peft.safetensors"));
        let key = all.keys().nth(3).unwrap().clone();
        let bytes = &mut all.get_mut(&key).unwrap().2;
        bytes[6..8].copy_from_slice(&bf16::from_f32(value).to_le_bytes());
        let error = refusal(&all);
        assert!(error.contains(&format!("`{key}` holds {shown}")), "{error}");
    }
    let mut all = read(&fixture("b_peft.safetensors"));
    let (key, tensor) = all.iter_mut().next().unwrap();
    *tensor = (Dtype::I8, vec![2, 256], vec![0; 512]);
    let key = key.clone();
    assert!(refusal(&all).contains(&format!("`{key}` is stored as I8")));
}

/// Cut off anywhere, a file is refused, whatever is left of it.
#[test]
fn truncated_files_are_refused() {
    let bytes = std::fs::read(fixture("b_peft.safetensors")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    for length in [0, 7, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let error = refusal_of(&path, false);
        assert!(error.contains("download"), "{length}: {error}");
    }
    let pickle = folder.path().join("lora.pt");
    std::fs::write(&pickle, b"PK\x03\x04....data.pkl").unwrap();
    assert!(refusal_of(&pickle, false).contains("is a pickle"));
}

/// Whatever bytes of the header are changed, a file is used or refused, in bounded time.
#[test]
fn damaged_headers_are_refused_or_used() {
    let bytes = std::fs::read(fixture("dora.safetensors")).unwrap();
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let (folder, config) = (tempfile::tempdir().unwrap(), config());
    let path = folder.path().join("lora.safetensors");
    let (mut state, mut refused) = (1_u64, 0);
    let mut draw = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    for _ in 0..300 {
        let mut damaged = bytes.clone();
        for _ in 0..1 + draw(4) {
            // Mostly digits and letters, so that it stays JSON and shapes change.
            let at = draw(8 + header);
            damaged[at] = if draw(3) == 0 { draw(256) as u8 } else { b"0123456789ABab\"[],."[draw(19)] };
        }
        std::fs::write(&path, &damaged).unwrap();
        let file = LoraFile::open(&path).map_err(Into::into);
        refused += usize::from(file.and_then(|file| Lora::fit(file, &*config, true)).is_err());
    }
    assert!((100..300).contains(&refused), "{refused}");
}

/// What is left out is said, and the rest is used.
#[test]
fn unused_tensors_can_be_left_out() {
    let mut all = read(&fixture("b_peft.safetensors"));
    all.insert("transformer.other.lora_A.weight".into(), tensor(&[2, 2], number));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("lora.safetensors");
    write(&path, &all);
    assert!(refusal_of(&path, false).contains("transformer.other.lora_A.weight"));
    let lora = Lora::fit(LoraFile::open(&path).unwrap(), &*config(), true).unwrap();
    let warning = lora.warning().unwrap();
    assert!(
        warning.contains("a tensor is not used: `transformer.other.lora_A.weight` (the model has no module"),
        "{warning}"
    );
    assert_eq!(lora.uses().tensors, BTreeMap::from([("transformer", 11)]));
}
