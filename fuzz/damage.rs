//! Files that are almost right: bytes and JSON values with a few things changed.

use fastrand::Rng;
use serde_json::{Map, Value, json};

/// Values that no file should be taken at its word for.
fn absurd(rng: &mut Rng) -> Value {
    let long = |of: &str| json!(of.repeat(2_000));
    match rng.usize(0..24) {
        0 => Value::Null,
        1 => json!(0),
        2 => json!(-1),
        3 => json!(1),
        4 => json!(2),
        5 => json!(7),
        6 => json!(1_000_000_000_u64),
        7 => json!(u64::MAX),
        8 => json!(i64::MIN),
        9 => json!(1e30),
        10 => json!(1e-320),
        11 => json!(0.5),
        12 => json!(true),
        13 => json!(false),
        14 => json!(""),
        15 => json!("F32"),
        16 => json!("\u{1b}]0;x\u{7}"),
        17 => long("x"),
        18 => long("é"),
        19 => json!([]),
        20 => json!({}),
        21 => json!([[1, 2], [3, 4]]),
        22 => json!(vec![2; 3_000]),
        _ => (0..rng.usize(1..100)).fold(json!(1), |inner, _| json!([inner])),
    }
}

/// Changes one to three places of `value`.
pub fn json(rng: &mut Rng, value: &mut Value) {
    for _ in 0..rng.usize(1..4) {
        let other = any_part(rng, value).clone();
        let part = any_part(rng, value);
        change(rng, part, other);
    }
}

/// A part of `value`, at any depth.
fn any_part<'v>(rng: &mut Rng, value: &'v mut Value) -> &'v mut Value {
    let parts = match value {
        Value::Array(list) => list.len(),
        Value::Object(map) => map.len(),
        _ => 0,
    };
    if parts == 0 || rng.usize(0..5) == 0 {
        return value;
    }
    let at = rng.usize(..parts);
    match value {
        Value::Array(list) => any_part(rng, &mut list[at]),
        Value::Object(map) => any_part(rng, map.values_mut().nth(at).expect("it has as many")),
        part => part,
    }
}

/// Makes something else of `value`; `other` is another part of the same document.
fn change(rng: &mut Rng, value: &mut Value, other: Value) {
    match (rng.usize(0..6), value) {
        (0, value) => *value = other,
        (1, Value::Array(list)) if !list.is_empty() => {
            let item = list[rng.usize(..list.len())].clone();
            list.extend(std::iter::repeat_n(item, rng.usize(1..50)));
        }
        (2, Value::Array(list)) if !list.is_empty() => drop(list.swap_remove(rng.usize(..list.len()))),
        (1, Value::Object(map)) => drop(map.insert(name(rng, map), other)),
        (2, Value::Object(map)) if !map.is_empty() => {
            let key = map.keys().nth(rng.usize(..map.len())).expect("it has as many").clone();
            map.remove(&key);
        }
        (3, value @ Value::Number(_)) => {
            let number = value.as_f64().unwrap_or(1.0);
            let numbers = [-number, number + 1.0, number * 2.0, number / 3.0, number * 1e9];
            let number = numbers[rng.usize(..numbers.len())];
            // Whole numbers stay whole: others are refused at the first look.
            *value = if number.fract() == 0.0 && number.abs() < 1e15 {
                json!(number as i64)
            } else {
                json!(number)
            };
        }
        (_, value) => *value = absurd(rng),
    }
}

/// A key for `map`: one that it has with something added, or one that means something elsewhere.
fn name(rng: &mut Rng, map: &Map<String, Value>) -> String {
    const KEYS: [&str; 8] =
        ["__metadata__", "_class_name", "dtype", "shape", "normalizers", "type", "content", "\u{202e}"];
    let known = map.keys().nth(rng.usize(..map.len().max(1)));
    match known.filter(|_| rng.bool()) {
        Some(known) => format!("{known}{}", ["x", ".", "\0", ".weight"][rng.usize(..4)]),
        None => KEYS[rng.usize(..KEYS.len())].to_owned(),
    }
}

/// Changes a few bytes: some are turned, others are missing, doubled, moved, or all alike.
pub fn bytes(rng: &mut Rng, bytes: &mut Vec<u8>) {
    for _ in 0..rng.usize(1..4) {
        if bytes.is_empty() {
            return;
        }
        let start = rng.usize(..bytes.len());
        let end = start + rng.usize(..(bytes.len() - start).min(64) + 1);
        match rng.usize(0..7) {
            0 => bytes[start] ^= 1 << rng.usize(0..8),
            1 => bytes[start] = rng.u8(..),
            2 => bytes.truncate(start),
            3 => drop(bytes.drain(start..end)),
            4 => {
                let part = bytes[start..end].to_vec();
                let at = rng.usize(..=bytes.len());
                bytes.splice(at..at, part);
            }
            5 => {
                let byte = [0, 0xff, b'0', b'[', b'{', b'"', b'\\', 0x80][rng.usize(0..8)];
                bytes[start..end].fill(byte);
            }
            _ => {
                // Lengths and offsets are little-endian numbers of eight bytes.
                let number: u64 = [0, 1, 8, u64::from(u32::MAX), 1 << 40, u64::MAX][rng.usize(0..6)];
                let room = (bytes.len() - start).min(8);
                bytes[start..start + room].copy_from_slice(&number.to_le_bytes()[..room]);
            }
        }
    }
}

/// Changes a few bytes, none of which is added or removed.
pub fn bytes_in_place(rng: &mut Rng, bytes: &mut [u8]) {
    for _ in 0..rng.usize(1..4) {
        if !bytes.is_empty() {
            let at = rng.usize(..bytes.len());
            bytes[at] = rng.u8(..);
        }
    }
}
