//! Opening weights: every layout on disk, and every way in which they can be unusable.

use proptest::prelude::*;
use reflux_ir::{DType, WeightError};
use reflux_models::weights::{Weights, WeightsError};
use safetensors::tensor::{Dtype, TensorView};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn emoji(path: &str) -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/emoji")).join(path)
}

/// A safetensors file of one-dimensional `f32` tensors.
fn safetensors(tensors: &[(&str, &[f32])]) -> Vec<u8> {
    let bytes: Vec<(&str, Vec<u8>)> = tensors
        .iter()
        .map(|(name, values)| (*name, values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        .collect();
    let views = bytes
        .iter()
        .map(|(name, bytes)| (name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes).unwrap()));
    safetensors::serialize(views, None).unwrap()
}

/// A file of the given header and data, sound or not.
fn raw(header: &str, data: &[u8]) -> Vec<u8> {
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), data].concat()
}

/// A folder of files.
fn folder(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    folder
}

fn open_bytes(bytes: &[u8]) -> Result<Weights, WeightsError> {
    let folder = folder(&[("model.safetensors", bytes)]);
    Weights::open(folder.path().join("model.safetensors"))
}

fn values(weights: &Weights, name: &str) -> Vec<f32> {
    weights.tensor(name).unwrap().to_f32()
}

#[test]
fn a_sharded_folder_is_what_its_shards_hold() {
    for (path, shards) in [("transformer", 3), ("text_encoder_2", 2)] {
        let weights = Weights::open(emoji(path)).unwrap();
        let files: Vec<PathBuf> = fs::read_dir(emoji(path))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "safetensors"))
            .collect();
        assert_eq!(files.len(), shards);
        let mut count = 0;
        for file in files {
            let bytes = fs::read(file).unwrap();
            for (name, tensor) in safetensors::SafeTensors::deserialize(&bytes).unwrap().tensors() {
                let view = weights.get(&name).unwrap();
                assert_eq!((view.dtype, view.shape), (DType::BF16, tensor.shape()), "{name}");
                assert!(view.parts == [tensor.data()], "{name}");
                assert_eq!(weights.shape(&name), Some(tensor.shape()));
                count += 1;
            }
        }
        assert_eq!(weights.names().count(), count);
    }
}

#[test]
fn a_path_may_be_a_file_an_index_or_a_folder() {
    let names = |path| Weights::open(emoji(path)).unwrap().names().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(names("vae"), names("vae/diffusion_pytorch_model.safetensors"));
    assert_eq!(names("text_encoder_2"), names("text_encoder_2/model.safetensors.index.json"));
}

#[test]
fn weights_are_read_in_their_own_type() {
    let weights = open_bytes(&safetensors(&[("w", &[1.0, -2.5, 1.000_001])])).unwrap();
    assert_eq!(values(&weights, "w"), [1.0, -2.5, 1.000_001]);
    assert_eq!(weights.tensor("w").unwrap().dtype, DType::F32);
    let rounded = weights.tensor("w").unwrap().cast(DType::BF16);
    assert_eq!((rounded.dtype, rounded.shape.as_slice()), (DType::BF16, &[3][..]));
    assert_eq!(rounded.to_f32(), [1.0, -2.5, 1.0]);
}

#[test]
fn a_weight_that_is_not_there_or_not_of_a_float_type_is_told_apart() {
    let header = r#"{"w":{"dtype":"U8","shape":[2],"data_offsets":[0,2]}}"#;
    let weights = open_bytes(&raw(header, &[0; 2])).unwrap();
    assert_eq!(weights.names().collect::<Vec<_>>(), ["w"]);
    assert!(matches!(weights.get("v"), Err(WeightError::Missing(name)) if name == "v"));
    let message = weights.tensor("w").unwrap_err().to_string();
    assert!(message.contains("`w`") && message.contains("U8") && message.contains("bf16"), "{message}");
}

#[test]
fn a_folder_needs_exactly_one_set_of_weights() {
    let one = safetensors(&[("w", &[1.0])]);
    let two = safetensors(&[("w", &[2.0])]);

    let empty = folder(&[("config.json", b"{}")]);
    assert!(matches!(Weights::open(&empty), Err(WeightsError::Empty { .. })));

    let single = folder(&[("any.safetensors", &one), ("config.json", b"{}"), ("old.bin", b"")]);
    assert_eq!(values(&Weights::open(&single).unwrap(), "w"), [1.0]);

    let variants = folder(&[("model.fp16.safetensors", &one), ("model.safetensors", &two)]);
    assert_eq!(values(&Weights::open(&variants).unwrap(), "w"), [2.0]);

    let several = folder(&[("a.safetensors", &one), ("b.safetensors", &two)]);
    let error = Weights::open(&several).unwrap_err();
    assert!(
        matches!(&error, WeightsError::Ambiguous { names, .. } if *names == ["a.safetensors", "b.safetensors"])
    );

    assert!(matches!(Weights::open("/nowhere/at/all"), Err(WeightsError::Unreadable { .. })));
}

#[test]
fn pickles_are_never_loaded() {
    let pickle = folder(&[("pytorch_model.bin", b"\x80\x02}q\x00.")]);
    // By what is in them, whatever they are called.
    let archive = folder(&[("model.safetensors", b"PK\x03\x04\0\0\0\0archive/data.pkl\0\0")]);
    let renamed = folder(&[("model.safetensors", b"\x80\x02}q\x00.}q\x01.")]);
    let shards = folder(&[
        ("model.safetensors.index.json", br#"{"weight_map": {"w": "pytorch_model.bin"}}"#),
        ("pytorch_model.bin", b"\x80\x02}q\x00."),
    ]);
    let x = pickle.path().join("x.PT");
    for path in [pickle.path(), &x, shards.path(), archive.path(), renamed.path()] {
        let message = Weights::open(path).unwrap_err().to_string();
        assert!(message.contains("never loads pickles, convert it to safetensors"), "{message}");
    }
}

#[test]
fn damaged_files_are_refused() {
    let sound = safetensors(&[("a", &[1.0, 2.0]), ("b", &[3.0])]);
    for length in 0..sound.len() {
        let error = open_bytes(&sound[..length]).unwrap_err();
        assert!(matches!(error, WeightsError::Truncated { have, .. } if have == length as u64), "{error}");
    }
    for (what, bytes) in [
        ("the length of a header", b"no\0tensors\0at\0all".to_vec()),
        ("malformed", raw("{\"a\": 1}", &[])),
        ("malformed", raw("{", &[])),
        ("malformed", raw("[]", &[])),
        ("malformed", raw("\"\u{e9}", &[])),
        ("1 bytes follow", [&sound[..], b"!"].concat()),
        (
            "`a` occurs twice",
            raw(
                r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#,
                &[0],
            ),
        ),
        ("malformed", raw(r#"{"a":{"dtype":"U8","shape":[2],"data_offsets":[0,1]}}"#, &[0])),
        ("malformed", raw(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#, &[0, 0])),
        ("malformed", raw(r#"{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,1]}}"#, &[0])),
        (
            "malformed",
            raw(r#"{"a":{"dtype":"U8","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#, &[]),
        ),
    ] {
        let error = open_bytes(&bytes).unwrap_err();
        assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains(what), "{error}");
    }
    let error =
        open_bytes(&raw(r#"{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}"#, &[0; 8])).unwrap_err();
    assert!(matches!(error, WeightsError::Truncated { .. }), "{error}");
}

/// Eight tensors of 2⁶¹ − 1 bytes end just where adding the header's length overflows.
#[test]
fn astronomic_offsets_are_refused() {
    let size = (1u64 << 61) - 1;
    let tensors: Vec<String> = (0..8)
        .map(|i| {
            let (start, end) = (i * size, (i + 1) * size);
            format!(r#""{i}":{{"dtype":"U8","shape":[{size}],"data_offsets":[{start},{end}]}}"#)
        })
        .collect();
    let error = open_bytes(&raw(&format!("{{{}}}", tensors.join(",")), &[])).unwrap_err();
    assert!(matches!(error, WeightsError::Corrupt { .. }), "{error}");
}

#[test]
fn an_index_must_fit_its_shards() {
    let shard = safetensors(&[("w", &[1.0])]);
    let open = |index: &str| {
        let files: [(&str, &[u8]); 3] = [
            ("model.safetensors.index.json", index.as_bytes()),
            ("1.safetensors", &shard),
            ("2.safetensors", &shard),
        ];
        Weights::open(folder(&files).path())
    };
    let weights = open(r#"{"metadata": {}, "weight_map": {"w": "1.safetensors"}}"#).unwrap();
    assert_eq!(values(&weights, "w"), [1.0]);

    for index in ["", "{", "[]", "{}", r#"{"weight_map": {"w": 1}}"#] {
        assert!(matches!(open(index), Err(WeightsError::Index { .. })), "{index}");
    }
    let twice = open(r#"{"weight_map": {"w": "1.safetensors", "w": "2.safetensors"}}"#).unwrap_err();
    assert!(matches!(&twice, WeightsError::Index { why, .. } if why.contains("`w` occurs twice")), "{twice}");

    for outside in ["../1.safetensors", "/1.safetensors", "a/../../1.safetensors", "", ".", "./1.safetensors"]
    {
        let index = format!(r#"{{"weight_map": {{"w": "{outside}"}}}}"#);
        let error = open(&index).unwrap_err();
        assert!(matches!(&error, WeightsError::Outside { shard, .. } if shard == outside), "{error}");
    }

    let missing = open(r#"{"weight_map": {"w": "3.safetensors"}}"#).unwrap_err();
    assert!(matches!(&missing, WeightsError::MissingShard { shard, .. } if shard == "3.safetensors"));

    let elsewhere = open(r#"{"weight_map": {"v": "1.safetensors"}}"#).unwrap_err();
    assert!(matches!(&elsewhere, WeightsError::NotInShard { tensor, .. } if tensor == "v"), "{elsewhere}");

    let both = open(r#"{"weight_map": {"w": "1.safetensors", "v": "2.safetensors"}}"#).unwrap_err();
    assert!(matches!(&both, WeightsError::Duplicate { tensor, .. } if tensor == "w"), "{both}");
}

#[test]
fn differences_from_the_model_are_told_all_at_once() {
    let names: Vec<String> = (0..20).map(|i| format!("w{i:02}")).collect();
    let tensors: Vec<(&str, &[f32])> = names.iter().map(|name| (name.as_str(), &[0.0][..])).collect();
    let weights = open_bytes(&safetensors(&tensors)).unwrap();
    let expected =
        |shape: &[usize]| names.iter().map(|name| (name.clone(), shape.to_vec())).collect::<Vec<_>>();

    assert!(weights.check(&expected(&[1]), &[]).unwrap().is_empty());
    assert_eq!(weights.check(&expected(&[1])[2..], &[]).unwrap(), ["w00", "w01"]);
    assert_eq!(weights.check(&expected(&[1])[2..], &["v", "w0"]).unwrap(), [""; 0]);

    let mut wrong = expected(&[1, 1])[..12].to_vec();
    wrong.push(("v".to_owned(), vec![3]));
    let message = weights.check(&wrong, &[]).unwrap_err().to_string();
    let lines: Vec<&str> = message.lines().skip(1).map(str::trim).collect();
    assert_eq!(lines[0], "1 missing: `v`");
    assert!(lines[1].starts_with("12 with another shape: `w00` is [1], not [1, 1], `w01` is"), "{message}");
    assert!(lines[1].ends_with("`w07` is [1], not [1, 1], … and 4 more"), "{message}");
    // In a checkpoint with unknown names, unused tensors may be anything.
    assert_eq!(lines.len(), 2);

    let header = r#"{"w":{"dtype":"I64","shape":[1],"data_offsets":[0,8]}}"#;
    let integers = open_bytes(&raw(header, &[0; 8])).unwrap();
    let message = integers.check(&[("w".to_owned(), vec![1])], &[]).unwrap_err().to_string();
    assert!(message.contains("unsupported") && message.contains("`w` is I64"), "{message}");
}

/// Opens and reads everything there is; only panics can fail it.
fn read_all(path: &Path) {
    if let Ok(weights) = Weights::open(path) {
        for name in weights.names() {
            if let Ok(view) = weights.get(name) {
                view.to_tensor();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn random_bytes_never_panic(bytes: Vec<u8>, header: String) {
        for bytes in [bytes.clone(), raw(&header, &bytes)] {
            let folder = folder(&[("model.safetensors", &bytes)]);
            read_all(folder.path());
        }
    }

    #[test]
    fn mutated_headers_never_panic(
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..5),
        length in prop::option::of(0usize..400),
    ) {
        let header = r#"{"__metadata__":{"a":"b"},"w":{"dtype":"BF16","shape":[2,3],"data_offsets":[0,12]},
            "double_blocks.0.img_attn.qkv.bias":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}"#;
        let mut bytes = raw(header, &[0; 24]);
        for (at, byte) in edits {
            let at = at.index(8 + header.len());
            // Mostly digits and structure, so that many mutants are still JSON.
            bytes[at] = if at < 8 { byte } else { b"0123456789,:{}[]\"w"[usize::from(byte) % 18] };
        }
        bytes.truncate(length.unwrap_or(usize::MAX));
        let folder = folder(&[("model.safetensors", &bytes)]);
        read_all(folder.path());
    }

    #[test]
    fn random_indices_never_panic(tensor: String, shard: String, json: String) {
        let index = serde_json::json!({"weight_map": {tensor: shard}}).to_string();
        for index in [index, json] {
            let folder = folder(&[("model.safetensors.index.json", index.as_bytes())]);
            read_all(folder.path());
        }
    }
}
