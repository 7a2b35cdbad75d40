//! The noise generator against draws of torch 2.11 (x86-64, AVX2 kernels).

use half::bf16;
use reflux_models::noise::TorchGenerator;
use safetensors::{Dtype, SafeTensors};

/// `seed{S}.n{N}.{f32,bf16}`: what a fresh generator of that seed draws first.
const FRESH: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rng.safetensors"));

/// `seq.{i}`: the draws that one generator of seed 99 gives after another, short and long, of both types.
const SEQUENCE: &[u8] =
    include_bytes!(concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/fixtures/rng_sequence.safetensors"));

const F32_HASH: u64 = 0x1ef2_7ec0_ae2d_b069;
const BF16_HASH: u64 = 0x1266_56b8_a4a1_95a0;

fn draw(generator: &mut TorchGenerator, dtype: Dtype, n: usize) -> Vec<u8> {
    match dtype {
        Dtype::F32 => generator.randn_f32(n).into_iter().flat_map(f32::to_le_bytes).collect(),
        Dtype::BF16 => generator.randn_bf16(n).into_iter().flat_map(bf16::to_le_bytes).collect(),
        other => panic!("no draws of {other:?}"),
    }
}

#[test]
fn fresh_generators_draw_what_torch_draws() {
    let torch = SafeTensors::deserialize(FRESH).unwrap();
    assert_eq!(torch.len(), 30);
    for (name, expected) in torch.tensors() {
        let seed = name.trim_start_matches("seed").split('.').next().unwrap();
        let mut generator = TorchGenerator::new(seed.parse().unwrap());
        let drawn = draw(&mut generator, expected.dtype(), expected.shape()[0]);
        assert!(drawn == expected.data(), "{name}");
    }
}

#[test]
fn successive_draws_continue_as_in_torch() {
    let torch = SafeTensors::deserialize(SEQUENCE).unwrap();
    let mut generator = TorchGenerator::new(99);
    for i in 0..torch.len() {
        let expected = torch.tensor(&format!("seq.{i}")).unwrap();
        let drawn = draw(&mut generator, expected.dtype(), expected.shape()[0]);
        assert!(drawn == expected.data(), "draw {i}");
    }
}

/// Rare roundings (one in a thousand values) show in large draws only: hashes of torch's bytes.
#[test]
fn large_draws_are_torchs_to_the_last_bit() {
    for (dtype, expected) in [(Dtype::F32, F32_HASH), (Dtype::BF16, BF16_HASH)] {
        let bytes = draw(&mut TorchGenerator::new(0), dtype, 262_144);
        // FNV-1a.
        let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        assert_eq!(hash, expected, "{dtype:?}");
    }
}

#[test]
fn only_the_low_half_of_a_seed_counts() {
    let draw = |seed| TorchGenerator::new(seed).randn_f32(100);
    assert_eq!(draw(7), draw(7 + (1 << 32)));
    assert_ne!(draw(7), draw(8));
}
