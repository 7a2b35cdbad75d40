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

/// Each of the two halves of 32 numbers, with the 4-bit codes of 16 bytes: their lower halves, then their upper ones. Simple loops,
/// so that they become vector code.
fn each_nibble(bytes: &[u8], numbers: &mut [f32; 32], of: impl Fn(usize, u8) -> f32) {
    for (half, numbers) in numbers.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        for (i, (y, byte)) in numbers.iter_mut().zip(bytes).enumerate() {
            *y = of(16 * half + i, byte >> (4 * half) & 15);
        }
    }
}

/// The fifth bits of 32 codes, at `at` in the block.
fn fifth_bits(block: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]])
}

/// Code `i` with its fifth bit.
fn with_fifth(bits: u32, i: usize, low: u8) -> f32 {
    f32::from(low | ((bits >> i & 1) as u8) << 4)
}

pub(super) fn q4_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<18, 32>(bytes, numbers, |block, numbers| {
        let d = half(block, 0);
        each_nibble(&block[2..], numbers, |_, code| d * (f32::from(code) - 8.0));
    });
}

pub(super) fn q4_1(bytes: &[u8], numbers: &mut [f32]) {
    each::<20, 32>(bytes, numbers, |block, numbers| {
        let (d, m) = (half(block, 0), half(block, 2));
        each_nibble(&block[4..], numbers, |_, code| d * f32::from(code) + m);
    });
}

pub(super) fn q5_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<22, 32>(bytes, numbers, |block, numbers| {
        let (d, bits) = (half(block, 0), fifth_bits(block, 2));
        each_nibble(&block[6..], numbers, |i, low| d * (with_fifth(bits, i, low) - 16.0));
    });
}

pub(super) fn q5_1(bytes: &[u8], numbers: &mut [f32]) {
    each::<24, 32>(bytes, numbers, |block, numbers| {
        let (d, m, bits) = (half(block, 0), half(block, 2), fifth_bits(block, 4));
        each_nibble(&block[8..], numbers, |i, low| d * with_fifth(bits, i, low) + m);
    });
}

pub(super) fn q8_0(bytes: &[u8], numbers: &mut [f32]) {
    each::<34, 32>(bytes, numbers, |block, numbers| {
        let d = half(block, 0);
        numbers.iter_mut().zip(&block[2..]).for_each(|(y, &code)| *y = d * f32::from(code.cast_signed()));
    });
}

/// Where the sixteenth `of` of a block of 256 begins: in which half, in which quarter of that, and where in the quarter.
fn sixteenth(of: usize) -> [usize; 3] {
    [of / 8, of / 2 % 4, of % 2 * 16]
}

pub(super) fn q2_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<84, 256>(bytes, numbers, |block, numbers| {
        let (scales, codes) = (&block[..16], &block[16..80]);
        let (d, least) = (half(block, 80), half(block, 82));
        for (of, numbers) in numbers.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let [half, quarter, at] = sixteenth(of);
            let (scale, by) = (d * f32::from(scales[of] & 15), least * f32::from(scales[of] >> 4));
            for (y, codes) in numbers.iter_mut().zip(&codes[32 * half + at..][..16]) {
                *y = scale * f32::from(codes >> (2 * quarter) & 3) - by;
            }
        }
    });
}

pub(super) fn q3_k(bytes: &[u8], numbers: &mut [f32]) {
    each::<110, 256>(bytes, numbers, |block, numbers| {
        let (masks, codes, scales) = (&block[..32], &block[32..96], &block[96..108]);
        let d = half(block, 108);
        for (of, numbers) in numbers.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let [half, quarter, at] = sixteenth(of);
            let scale = scales[of % 8] >> (of / 8 * 4) & 15 | (scales[8 + of % 4] >> (of / 4 * 2) & 3) << 4;
            let scale = d * (f32::from(scale) - 32.0);
            let read = codes[32 * half + at..][..16].iter().zip(&masks[at..][..16]);
            for (y, (codes, mask)) in numbers.iter_mut().zip(read) {
                let low = codes >> (2 * quarter) & 3;
                // A mask that is not set takes 4 away.
                let high = mask >> (4 * half + quarter) & 1 ^ 1;
                *y = scale * (f32::from(low) - f32::from(high << 2));
            }
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
        for (of, numbers) in numbers.as_chunks_mut::<16>().0.iter_mut().enumerate() {
            let [half, quarter, at] = sixteenth(of);
            let scale = d * f32::from(scales[of].cast_signed());
            let read =
                low[64 * half + quarter % 2 * 32 + at..][..16].iter().zip(&high[32 * half + at..][..16]);
            for (y, (low, high)) in numbers.iter_mut().zip(read) {
                let code = low >> (quarter / 2 * 4) & 15 | (high >> (2 * quarter) & 3) << 4;
                *y = scale * (f32::from(code) - 32.0);
            }
        }
    });
}
