use super::*;
use crate::{DType, Fact};

/// A block with scales 0.5 and 0.25 whose other bytes count up, so that every code and scale of six bits differs.
fn block(format: BlockFormat) -> Vec<u8> {
    let mut block: Vec<u8> = (0..format.bytes()).map(|i| (i * 37 + 11) as u8).collect();
    for (&at, scale) in format.halves().iter().zip([0.5, 0.25]) {
        block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
    }
    block
}

/// What `gguf.quants.dequantize` of the package `gguf` 0.19 gives for [`block`]: the first three numbers, the last, and the sum.
#[test]
fn numbers_are_those_of_the_package_gguf() {
    let expected: &[(BlockFormat, [f32; 4], f64)] = &[
        (BlockFormat::Q4_0, [-1.5, 1.0, 3.5, 0.0], -10.5),
        (BlockFormat::Q4_1, [7.75, 2.25, 4.75, 6.25], 130.5),
        (BlockFormat::Q5_0, [4.5, -1.0, 1.5, 0.5], 7.5),
        (BlockFormat::Q5_1, [9.75, 12.25, 14.75, 2.75], 260.5),
        (BlockFormat::Q8_0, [42.5, 61.0, -48.5, -24.0], -88.0),
        (BlockFormat::Q2K, [16.5, 0.0, 5.5, 2.25], 1029.5),
        (BlockFormat::Q3K, [40.5, -54.0, 13.5, 21.0], 479.0),
        (BlockFormat::Q4K, [157.75, -12.75, 64.75, 24.25], 27220.0),
        (BlockFormat::Q5K, [405.75, -12.75, 312.75, 54.25], 58108.0),
        (BlockFormat::Q6K, [-715.5, 848.0, 291.5, -30.0], 2306.0),
    ];
    assert_eq!(expected.len(), BlockFormat::ALL.len());
    for &(format, numbers, sum) in expected {
        let found = DType::Block(format).decode(&block(format));
        let shown = [found[0], found[1], found[2], found[found.len() - 1]];
        assert_eq!(shown, numbers, "{format:?}");
        assert_eq!(found.iter().map(|&x| f64::from(x)).sum::<f64>(), sum, "{format:?}");
    }
}

#[test]
fn names_and_numbers_lead_back() {
    for &format in BlockFormat::ALL {
        let dtype = DType::Block(format);
        assert_eq!(dtype.name().parse(), Ok(dtype));
        assert_eq!(serde_json::from_value::<DType>(serde_json::to_value(dtype).unwrap()).unwrap(), dtype);
        assert_eq!(BlockFormat::from_id(format.id()), Some(format));
    }
    assert_eq!(BlockFormat::from_id(9), None);
}

/// Bits per weight as GGUF's documentation has them.
#[test]
fn sizes_are_those_of_the_files() {
    let bits: Vec<_> = BlockFormat::ALL
        .iter()
        .map(|format| format.bytes() as f64 * 8.0 / format.elements() as f64)
        .collect();
    assert_eq!(bits, [4.5, 5.0, 5.5, 6.0, 8.5, 2.625, 3.4375, 4.5, 5.5, 6.5625]);
    let fact = Fact::new(DType::Block(BlockFormat::Q4K), [3, 512]);
    assert_eq!((fact.bytes(), fact.to_string()), (3 * 2 * 144, "q4_k[3,512]".to_owned()));
    assert_eq!(fact.fault(), None);
    let torn = Fact::new(DType::Block(BlockFormat::Q4K), [2, 128]);
    assert!(torn.fault().unwrap().contains("not whole blocks of 256"));
}

#[test]
fn a_scale_that_is_no_number_is_found() {
    for &format in BlockFormat::ALL {
        let mut blocks = [block(format), block(format)].concat();
        assert_eq!(format.unsound(&blocks), None);
        let at = format.bytes() + format.halves()[0];
        blocks[at..at + 2].copy_from_slice(&f16::NAN.to_le_bytes());
        assert_eq!(format.unsound(&blocks), Some(1), "{format:?}");
    }
}

#[test]
fn random_blocks_are_sound_and_of_the_size_asked_for() {
    for &format in BlockFormat::ALL {
        let mut state = 1u32;
        let next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        let blocks = format.random(256, 0.02, next);
        assert_eq!(format.unsound(&blocks), None);
        let numbers = DType::Block(format).decode(&blocks);
        let mean = numbers.iter().sum::<f32>() / numbers.len() as f32;
        let deviation = (numbers.iter().map(|x| x * x).sum::<f32>() / numbers.len() as f32).sqrt();
        assert!((deviation / 0.02 - 1.0).abs() < 0.2, "{format:?}: {deviation}");
        assert!(mean.abs() < 0.004, "{format:?}: {mean}");
    }
}
