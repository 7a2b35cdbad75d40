//! Saved weights: what is written is read again, in the types in which it was written.

use reflux_ir::text::{parse, parse_type};
use reflux_ir::{DType, Fact, HostTensor, QuantizedTensor, WeightData, WeightError, WeightSource};
use reflux_models::weights::{SavedWeights, Shard, shards};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

const TYPES: [&str; 11] = [
    "f32[5]",
    "bf16[4,6]",
    "f16[2,3,4]",
    "f32[3,2]",
    "i8.row.bf16[4,6]",
    "i8.row.f32[4,6]",
    "f8e4m3.tensor.f32[3,5]",
    "f8e4m3.row.bf16[3,5]",
    "u4.group2.bf16[3,6]",
    "u4.group4.f32[3,5]",
    "q8_0[2,64]",
];

fn fact(text: &str) -> Fact {
    parse_type(text).unwrap()
}

/// Some weight of a type.
fn weight(fact: &Fact, seed: u64) -> WeightData {
    let mut random = fastrand::Rng::with_seed(seed);
    let elements = fact.shape.elements();
    let Some(scales) = fact.scales else {
        if let DType::Block(format) = fact.dtype {
            let blocks = format.random(elements / format.elements(), 0.1, || random.u8(..));
            return HostTensor::new(fact.dtype, fact.shape.to_vec(), blocks).into();
        }
        let values: Vec<f32> = (0..elements).map(|_| random.f32() - 0.5).collect();
        return HostTensor::from_f32(fact.shape.to_vec(), &values).cast(fact.dtype).into();
    };
    let count = scales.count(&fact.shape);
    let mut factors = || (0..count).map(|_| scales.dtype.round(random.f32())).collect::<Vec<f32>>();
    let (factors, zeros) = (factors(), if fact.dtype.has_zero_points() { factors() } else { Vec::new() });
    let codes = (0..elements).map(|_| random.u8(..) >> (8 - fact.dtype.bits())).collect();
    QuantizedTensor { fact: fact.clone(), codes, scales: factors, zeros }.into()
}

/// Weights of all types, by name.
fn all() -> Vec<(String, Fact)> {
    TYPES.iter().enumerate().map(|(index, text)| (format!("block.{index}.weight"), fact(text))).collect()
}

fn write(folder: &Path, shards: &[Shard]) -> Vec<PathBuf> {
    let write = |(index, shard): (usize, &Shard)| {
        let path = folder.join(format!("{index}.safetensors"));
        let mut bytes = Vec::new();
        let weight = |name: &str, fact: &Fact| Ok::<_, io::Error>(weight(fact, name.len() as u64));
        shard.write(&mut bytes, weight).unwrap();
        assert!(bytes.starts_with(&shard.header()));
        fs::write(&path, bytes).unwrap();
        path
    };
    shards.iter().enumerate().map(write).collect()
}

#[test]
fn every_type_is_read_as_it_was_written() {
    for most in [u64::MAX, 100, 1] {
        let folder = tempfile::tempdir().unwrap();
        let shards = shards(all(), most).unwrap();
        assert_eq!(shards.len(), if most == u64::MAX { 1 } else { shards.len().max(2) });
        assert!(most > 1 || shards.len() == TYPES.len());
        let saved = SavedWeights::open(folder.path(), &write(folder.path(), &shards)).unwrap();
        assert_eq!(saved.types().count(), TYPES.len());
        for (name, fact) in all() {
            let expected = weight(&fact, name.len() as u64);
            assert_eq!(saved.weight(&name, &fact).unwrap(), expected, "{fact}");
            // A row by itself is that row.
            let rows = saved.rows(&name, &fact).unwrap().unwrap();
            let whole = rows.to_bytes();
            for row in (0..fact.shape[0]).filter(|_| fact.shape.len() > 1) {
                let mut bytes = vec![0; rows.row_bytes()];
                rows.write(row, &mut bytes);
                assert_eq!(bytes, whole[row * bytes.len()..][..bytes.len()], "{fact}");
            }
        }
    }
}

/// Codes of four bits take half a byte, where their rows are even.
#[test]
fn files_are_as_small_as_their_types() {
    let bytes = |text: &str| {
        let shards = shards([("w".to_owned(), fact(text))], u64::MAX).unwrap();
        let mut bytes = Vec::new();
        shards[0].write(&mut bytes, |_, fact| Ok::<_, io::Error>(weight(fact, 1))).unwrap();
        bytes.len() - shards[0].header().len()
    };
    assert_eq!(bytes("u4.group128.bf16[2,256]"), 2 * 128 + 2 * 2 * 4);
    assert_eq!(bytes("i8.row.f32[2,256]"), 2 * 256 + 2 * 4);
    assert_eq!(bytes("q4_k[2,256]"), 2 * 144);
}

#[test]
fn numbers_are_widened_and_nothing_else_is() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &shards(all(), u64::MAX).unwrap());
    let saved = SavedWeights::open(folder.path(), &files).unwrap();
    let name = |text: &str| format!("block.{}.weight", TYPES.iter().position(|own| *own == text).unwrap());
    for (own, wide) in [("bf16[4,6]", "f32[4,6]"), ("f16[2,3,4]", "f32[2,3,4]")] {
        let WeightData::Dense(expected) = weight(&fact(own), name(own).len() as u64) else { panic!("{own}") };
        assert_eq!(saved.weight(&name(own), &fact(wide)).unwrap(), expected.cast(DType::F32).into());
    }
    for (own, other) in [
        ("f32[3,2]", "bf16[3,2]"),
        ("bf16[4,6]", "f16[4,6]"),
        ("bf16[4,6]", "f32[6,4]"),
        ("bf16[4,6]", "i8.row.bf16[4,6]"),
        ("i8.row.bf16[4,6]", "bf16[4,6]"),
        ("i8.row.bf16[4,6]", "i8.row.f32[4,6]"),
        ("q8_0[2,64]", "f32[2,64]"),
    ] {
        let error = saved.weight(&name(own), &fact(other)).unwrap_err().to_string();
        assert!(error.contains(&format!("as {own}, and the program reads it as {other}")), "{error}");
    }
    assert!(matches!(saved.weight("other", &fact("f32[5]")), Err(WeightError::Missing(_))));

    let program = |fact: &str| {
        parse(&format!(
            "program p {{\n  input %x : f32[2,6] latent\n  variant main (%x) -> (%y) {{\n    %y = linear %x, @block.1.weight {fact} : \
             f32[2,4]\n    return %y\n  }}\n  schedule main\n}}\n"
        ))
        .unwrap()
    };
    saved.check(&program("f32[4,6]")).unwrap();
    let other = program("f32[4,6]").to_string().replace("block.1", "block.9");
    let error = saved.check(&parse(&other).unwrap()).unwrap_err().to_string();
    assert!(error.contains("holds `block.9.weight` as u4.group4.f32[3,5], and the program reads"), "{error}");
    let other = other.replace("block.9", "nothing");
    let error = saved.check(&parse(&other).unwrap()).unwrap_err().to_string();
    assert!(error.contains("holds no such weight, and the program reads `nothing.weight`"), "{error}");
}

/// A header that does not agree with itself is an error that names the file.
#[test]
fn headers_are_checked() {
    let folder = tempfile::tempdir().unwrap();
    let files = write(folder.path(), &shards(all(), u64::MAX).unwrap());
    let whole = fs::read(&files[0]).unwrap();
    for (from, to, expected) in [
        ("\"i8.row.bf16[4,6]\"", "\"i8.row.bf16[6,4]\"", "is not I8 [6, 4]"),
        ("\"i8.row.bf16[4,6]\"", "\"i8.all.bf16[4,6]\"", "is none"),
        (
            "block.4.weight.scales",
            "block.4.weight.factor",
            "`block.4.weight.scales`, of i8.row.bf16[4,6], is not",
        ),
    ] {
        let text = String::from_utf8_lossy(&whole);
        assert!(text.contains(from), "{from}");
        let header = whole.len() - shards(all(), u64::MAX).unwrap()[0].header().len();
        let (head, tensors) = whole.split_at(whole.len() - header);
        let head = String::from_utf8(head[8..].to_vec()).unwrap().replace(from, to);
        fs::write(&files[0], [&whole[..8], head.as_bytes(), tensors].concat()).unwrap();
        let error = SavedWeights::open(folder.path(), &files).unwrap_err().to_string();
        assert!(error.contains(expected) && error.contains("0.safetensors"), "{error}");
    }
    fs::write(&files[0], &whole).unwrap();
    let twice = [files[0].clone(), files[0].clone()];
    let error = SavedWeights::open(folder.path(), &twice).unwrap_err().to_string();
    assert!(error.contains("occurs twice"), "{error}");
}
