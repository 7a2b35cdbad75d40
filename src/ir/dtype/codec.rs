//! Entries of the table of element types.

/// An element type: what it is called, how large it is, and how numbers become its bits and back.
#[derive(Debug)]
pub struct Codec {
    /// In IR text and on command lines.
    pub name: &'static str,
    /// In safetensors files, if these have it.
    pub file_name: Option<&'static str>,
    /// How many elements are stored together: one, two codes of four bits, or a block's.
    pub elements: usize,
    /// The bytes in which these are stored. In host memory a code of fewer than eight bits takes a byte.
    pub bytes: usize,
    pub kind: Kind,
    pub role: Role,
    /// The least number, or code.
    pub least: f64,
    /// The greatest finite number, or code.
    pub greatest: f64,
    /// Numbers to little-endian elements, of which there must be as many. Each is rounded to the nearest, of two the even
    /// one. What is out of bounds becomes infinite in a [`Role::Number`] that is a float, and the bound in all others; a NaN
    /// stays one in floats, and becomes 0 in integers.
    pub encode: fn(&[f32], &mut [u8]),
    /// Little-endian elements to numbers, of which there must be as many.
    pub decode: fn(&[u8], &mut [f32]),
}

/// What the bits of an element are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Float,
    Signed,
    Unsigned,
}

/// The meaning of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Itself.
    Number,
    /// A code, which has a value only with a scale.
    Code,
    /// A number, or, in a value with scales, a code.
    Either,
    /// A part of a [block](super::BlockFormat), which has its scales.
    Block,
}

/// [`Codec::encode`] by a function of one number.
pub(super) fn encode_each<const N: usize>(
    numbers: &[f32],
    bytes: &mut [u8],
    encode: impl Fn(f32) -> [u8; N],
) {
    assert_eq!(bytes.len(), numbers.len() * N, "each number has its place");
    bytes.as_chunks_mut().0.iter_mut().zip(numbers).for_each(|(place, &number)| *place = encode(number));
}

/// [`Codec::decode`] by a function of one element.
pub(super) fn decode_each<const N: usize>(
    bytes: &[u8],
    numbers: &mut [f32],
    decode: impl Fn([u8; N]) -> f32,
) {
    assert_eq!(bytes.len(), numbers.len() * N, "each number has its place");
    numbers.iter_mut().zip(bytes.as_chunks().0).for_each(|(place, &code)| *place = decode(code));
}

/// The bits of the bf16 nearest to `x`, of two the even one, as `half` has it; without branches, so that loops over it become
/// vector code.
#[inline(always)]
pub(super) fn nearest_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16;
    // A NaN stays one.
    (if x.is_nan() { bits >> 16 | 0x40 } else { rounded }) as u16
}
