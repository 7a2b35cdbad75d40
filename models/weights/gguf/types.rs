//! Types of keys and of tensors.

use super::Keys;
use super::reader::{Reader, Stop};
use crate::weights::encoding::Encoding;
use reflux_ir::BlockFormat;
use safetensors::Dtype;

/// The fewest bytes that a key and its value take.
pub(super) const LEAST_PAIR: u64 = 8 + 4 + 1;

const TEXT: u32 = 8;
const LIST: u32 = 9;

/// How many lists may be in one another.
const DEEPEST: usize = 4;

/// Bytes of a number of the type `id`, and whether it is an integer.
fn number(id: u32) -> Option<(u64, bool)> {
    // u8, i8, u16, i16, u32, i32, f32, bool, then u64, i64, f64.
    Some(match id {
        0 | 1 | 7 => (1, id != 7),
        2 | 3 => (2, true),
        4 | 5 => (4, true),
        6 => (4, false),
        10 | 11 => (8, true),
        12 => (8, false),
        _ => return None,
    })
}

/// Reads the value of `key`, and keeps it if it is of a kind that is of use.
pub(super) fn value(reader: &mut Reader<'_>, key: String, keys: &mut Keys) -> Result<(), Stop> {
    match reader.u32()? {
        TEXT => {
            let text = reader.text()?;
            keys.texts.insert(key, text);
        }
        LIST => {
            let numbers = list(reader, &key, DEEPEST)?;
            keys.lists.extend(numbers.map(|numbers| (key, numbers)));
        }
        other => {
            let (size, is_integer) = number(other).ok_or_else(|| unknown(&key, other))?;
            let number = reader.unsigned(size)?;
            if is_integer {
                keys.numbers.insert(key, number);
            }
        }
    }
    Ok(())
}

/// Reads a list, which is skipped if it is not a short one of integers.
fn list(reader: &mut Reader<'_>, key: &str, depth: usize) -> Result<Option<Vec<u64>>, Stop> {
    const SHORT: u64 = 16;
    let of = reader.u32()?;
    match of {
        TEXT => {
            let count = reader.count(8)?;
            for _ in 0..count {
                let length = reader.u64()?;
                reader.skip(length)?;
            }
        }
        LIST if depth > 0 => {
            let count = reader.count(12)?;
            for _ in 0..count {
                list(reader, key, depth - 1)?;
            }
        }
        other => {
            let (size, is_integer) = number(other).ok_or_else(|| unknown(key, other))?;
            let count = reader.count(size)?;
            if is_integer && count <= SHORT {
                return (0..count).map(|_| reader.unsigned(size)).collect::<Result<_, _>>().map(Some);
            }
            reader.skip(count * size)?;
        }
    }
    Ok(None)
}

fn unknown(key: &str, id: u32) -> Stop {
    Stop::Why(format!("the value of `{key}` is of an unknown type ({id})"))
}

/// How the tensor `name`, of the type `id`, is stored.
pub(super) fn encoding(name: &str, id: u32) -> Result<Encoding, Stop> {
    if let Some(format) = BlockFormat::from_id(id) {
        return Ok(Encoding::Blocks(format));
    }
    Ok(Encoding::Elements(match id {
        0 => Dtype::F32,
        1 => Dtype::F16,
        24 => Dtype::I8,
        25 => Dtype::I16,
        26 => Dtype::I32,
        27 => Dtype::I64,
        28 => Dtype::F64,
        30 => Dtype::BF16,
        _ => {
            let named =
                UNREAD.iter().find(|(other, _)| *other == id).map_or("an unknown type", |(_, name)| name);
            return Err(Stop::Why(format!(
                "`{name}` is stored as {named} (type {id}); Reflux reads F32, F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 and Q2_K to \
                 Q6_K: give such a file, for example one with Q4_K in its name"
            )));
        }
    }))
}

/// Types that are known and not read.
const UNREAD: &[(u32, &str)] = &[
    (9, "Q8_1"),
    (15, "Q8_K"),
    (16, "IQ2_XXS"),
    (17, "IQ2_XS"),
    (18, "IQ3_XXS"),
    (19, "IQ1_S"),
    (20, "IQ4_NL"),
    (21, "IQ3_S"),
    (22, "IQ2_S"),
    (23, "IQ4_XS"),
    (29, "IQ1_M"),
    (34, "TQ1_0"),
    (35, "TQ2_0"),
    (39, "MXFP4"),
];
