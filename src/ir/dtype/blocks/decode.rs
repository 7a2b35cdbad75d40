//! From blocks to numbers, in f32, with the roundings of the package `gguf`: products and sums are rounded one by one.

use half::f16;

/// A block's f16 at a place, in bytes.
fn half(block: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([block[at], block[at + 1]]).to_f32()
}

/// Each block of `BYTES` bytes by `decode`, to `N` numbers.
fn each<const BYTES: usize, const N: usize>(
    bytes: &[u8],
    numbers: &mut [f32],
    decode: impl Fn(&[u8; BYTES], &mut [f32; N]),
) {
    assert_eq!(bytes.len() * N, numbers.len() * BYTES, "each block has its numbers");
    let (blocks, places) = (bytes.as_chunks().0, numbers.as_chunks_mut().0);
    blocks.iter().zip(places).for_each(|(block, place)| decode(block, place));
}

/// The 4-bit codes of 16 bytes: their lower halves, then their upper ones.
fn nibbles(bytes: &[u8]) -> impl Iterator<Item = u8> {
    let low = bytes.iter().map(|byte| byte & 15);
    low.chain(bytes.iter().map(|byte| byte >> 4))
}

/// The fifth bits of 32 codes, at `at` in the block, each in its place above the others.
fn fifth_bits(block: &[u8], at: usize) -> impl Iterator<Item = u8> {
    let bits = u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    (0..32).map(move |i| ((bits >> i & 1) as u8) << 4)
}

pub(super) fn q4_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<18, 32>(bytes, numbers, |block, numbers| {
        let d = half(block, 0);
        let codes = nibbles(&block[2..]);
        numbers.iter_mut().zip(codes).for_each(|(y, code)| *y = d * (f32::from(code) - 8.0));
    });
}

pub(super) fn q4_1(bytes: &[u8], numbers: &mut [f32]) {
    each::<20, 32>(bytes, numbers, |block, numbers| {
        let (d, m) = (half(block, 0), half(block, 2));
        let codes = nibbles(&block[4..]);
        numbers.iter_mut().zip(codes).for_each(|(y, code)| *y = d * f32::from(code) + m);
    });
}

pub(super) fn q5_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<22, 32>(bytes, numbers, |block, numbers| {
        let d = half(block, 0);
        let codes = nibbles(&block[6..]).zip(fifth_bits(block, 2)).map(|(low, high)| low | high);
        numbers.iter_mut().zip(codes).for_each(|(y, code)| *y = d * (f32::from(code) - 16.0));
    });
}

pub(super) fn q5_1(bytes: &[u8], numbers: &mut [f32]) {
    each::<24, 32>(bytes, numbers, |block, numbers| {
        let (d, m) = (half(block, 0), half(block, 2));
        let codes = nibbles(&block[8..]).zip(fifth_bits(block, 4)).map(|(low, high)| low | high);
        numbers.iter_mut().zip(codes).for_each(|(y, code)| *y = d * f32::from(code) + m);
    });
}

pub(super) fn q8_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<34, 32>(bytes, numbers, |block, numbers| {
        let d = half(block, 0);
        numbers.iter_mut().zip(&block[2..]).for_each(|(y, &code)| *y = d * f32::from(code.cast_signed()));
    });
}

pub(super) fn q2_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<84, 256>(bytes, numbers, |block, numbers| {
        let (scales, codes) = (&block[..16], &block[16..80]);
        let (d, least) = (half(block, 80), half(block, 82));
        for (i, y) in numbers.iter_mut().enumerate() {
            let code = codes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
            let scale = scales[i / 16];
            *y = d * f32::from(scale & 15) * f32::from(code) - least * f32::from(scale >> 4);
        }
    });
}

pub(super) fn q3_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<110, 256>(bytes, numbers, |block, numbers| {
        let (masks, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
        let d = half(block, 108);
        for (i, y) in numbers.iter_mut().enumerate() {
            let low = codes[i / 128 * 32 + i % 32] >> (i / 32 % 4 * 2) & 3;
            // A mask that is not set takes 4 away.
            let high = masks[i % 32] >> (i / 32) & 1 ^ 1;
            let code = f32::from(low) - f32::from(high << 2);
            let of = i / 16;
            let scale = scales[of % 8] >> (of / 8 * 4) & 15 | (scales[8 + of % 4] >> (of / 4 * 2) & 3) << 4;
            *y = d * (f32::from(scale) - 32.0) * code;
        }
    });
}

/// The scale and the minimum of the eighth `of` of a block, of 6 bits each, packed into 12 bytes.
fn scale_and_least(packed: &[u8], of: usize) -> (f32, f32) {
    let (scales, leasts, rest) = (&packed[..4], &packed[4..8], &packed[8..12]);
    let (scale, least) = if of < 4 {
        (scales[of] & 63, leasts[of] & 63)
    } else {
        let (of, rest) = (of - 4, rest[of - 4]);
        (rest & 15 | scales[of] >> 2 & 48, rest >> 4 | leasts[of] >> 2 & 48)
    };
    (f32::from(scale), f32::from(least))
}

pub(super) fn q4_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<144, 256>(bytes, numbers, |block, numbers| {
        let (d, least) = (half(block, 0), half(block, 2));
        let codes = &block[16..];
        for (of, numbers) in numbers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, by) = scale_and_least(&block[4..16], of);
            let (scale, by) = (d * scale, least * by);
            for (i, y) in numbers.iter_mut().enumerate() {
                let code = codes[of / 2 * 32 + i] >> (of % 2 * 4) & 15;
                *y = scale * f32::from(code) - by;
            }
        }
    });
}

pub(super) fn q5_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<176, 256>(bytes, numbers, |block, numbers| {
        let (d, least) = (half(block, 0), half(block, 2));
        let (fifth, codes) = (&block[16..48], &block[48..]);
        for (of, numbers) in numbers.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            let (scale, by) = scale_and_least(&block[4..16], of);
            let (scale, by) = (d * scale, least * by);
            for (i, y) in numbers.iter_mut().enumerate() {
                let code = codes[of / 2 * 32 + i] >> (of % 2 * 4) & 15 | (fifth[i] >> of & 1) << 4;
                *y = scale * f32::from(code) - by;
            }
        }
    });
}

pub(super) fn q6_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<210, 256>(bytes, numbers, |block, numbers| {
        let (low, high, scales) = (&block[..128], &block[128..192], &block[192..208]);
        let d = half(block, 208);
        for (i, y) in numbers.iter_mut().enumerate() {
            let (half, within) = (i / 128, i % 128);
            let code = low[half * 64 + within % 64] >> (within / 64 * 4) & 15
                | (high[half * 32 + within % 32] >> (within / 32 * 2) & 3) << 4;
            *y = d * f32::from(scales[i / 16].cast_signed()) * (f32::from(code) - 32.0);
        }
    });
}
