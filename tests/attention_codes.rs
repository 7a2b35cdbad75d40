//! Attention over codes against its definition, and how far `quantize-attention` is from attention over numbers: on the latents of the
//! bundled model, on random numbers and on peaked scores, beside what bf16 costs.

use crate::common::fixtures::{Fixture, emoji, relative_l2, repo};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, HostTensor, Program, WeightSource, text};
use reflux_models::noise::TorchGenerator;
use reflux_models::weights::{RandomWeights, Weights};
use reflux_models::{ModelConfig, Sizes, flux1, read_json};
use reflux_passes::registry;
use reflux_runtime::{Device, load};
use serde_json::Value;

const SHAPE: [usize; 4] = [1, 160, 2, 128];

/// The result of attention over `q`, `k`, `v` in `dtype`, after `passes`.
fn attention(dtype: DType, passes: &str, [q, k, v]: [&[f32]; 3]) -> HostTensor {
    let fact = format!("{dtype}[1,160,2,128]");
    let program = format!(
        "program p {{
           input %q : {fact} latent
           input %k : {fact} latent
           input %v : {fact} latent
           variant main (%q, %k, %v) -> (%y) {{
             %y = attention %q, %k, %v {{scale=0.08838834764831845}} : {fact}
             return %y
           }}
           schedule main
         }}"
    );
    let program = after(text::parse(&program).unwrap(), passes);
    let weights = RandomWeights::new(&program, 0);
    let inputs = [("q", q), ("k", k), ("v", v)];
    let inputs = inputs.map(|(name, x)| (name, HostTensor::from_f32(SHAPE, x)));
    run(program, &weights, inputs).cast(DType::F32)
}

fn after(program: Program, passes: &str) -> Program {
    let pipeline = Pipeline::parse(passes, &registry()).unwrap();
    Driver::default().run(program, &pipeline).unwrap().0
}

/// The only result of the first step.
fn run<const N: usize>(
    program: Program,
    weights: &dyn WeightSource,
    inputs: [(&str, HostTensor); N],
) -> HostTensor {
    let mut executor = load(Device::host(), program, weights).unwrap();
    for (name, value) in inputs {
        executor.bind(name, &value).unwrap();
    }
    executor.step(0).unwrap().into_values().next().unwrap()
}

/// Queries, keys and values, of which rows of the first two have a length of √128, as after `rms_norm`; with `peaked`, every query is the sum
/// of two keys, times what makes its scores with both 30. Keys are `shifted` along the same direction.
fn drawn(peaked: bool, shifted: f32) -> [Vec<f32>; 3] {
    let mut noise = TorchGenerator::new(5);
    let count = SHAPE.iter().product();
    let mut rows = || {
        let mut x = noise.randn_f32(count);
        for row in x.chunks_exact_mut(128) {
            let length = (row.iter().map(|x| x * x).sum::<f32>() / 128.0).sqrt();
            row.iter_mut().for_each(|x| *x /= length);
        }
        x
    };
    let (mut q, mut k) = (rows(), rows());
    if peaked {
        let next = k.iter().cycle().skip(2 * 128);
        q = k.iter().zip(next).map(|(x, next)| (x + next) * 30.0 / 128f32.sqrt()).collect();
    }
    k.chunks_exact_mut(128).for_each(|row| row[..8].iter_mut().for_each(|x| *x += shifted));
    [q, k, noise.randn_f32(count)]
}

/// The definition, written down once more: products of codes as integers, and the scales of their rows.
#[test]
fn codes_are_multiplied_as_integers() {
    let [q, k, v] = drawn(false, 0.0);
    let coded = |x: &[f32]| -> Vec<(Vec<i32>, f32)> {
        let of = |row: &[f32]| {
            let scale = row.iter().map(|x| x.abs()).fold(0.0, f32::max) / 127.0;
            (row.iter().map(|x| (x * (1.0 / scale)).round_ties_even() as i32).collect(), scale)
        };
        x.chunks_exact(128).map(of).collect()
    };
    let (queries, keys) = (coded(&q), coded(&k));
    let mut expected = vec![0.0; q.len()];
    for (row, (query, of_query)) in queries.iter().enumerate() {
        let head = row % 2;
        let of_head = || keys.iter().enumerate().filter(|(row, _)| row % 2 == head);
        let score = |(key, of_key): &(Vec<i32>, f32)| {
            let product: i32 = query.iter().zip(key).map(|(a, b)| a * b).sum();
            f64::from(product) * f64::from(of_query * of_key) / 128f64.sqrt()
        };
        let total: f64 = of_head().map(|(_, key)| score(key).exp()).sum();
        for (other, key) in of_head() {
            let weight = (score(key).exp() / total) as f32;
            for column in 0..128 {
                expected[row * 128 + column] += weight * v[other * 128 + column];
            }
        }
    }
    let found = attention(DType::F32, "quantize-attention(int8)", [&q, &k, &v]);
    let apart = relative_l2(&found, &HostTensor::from_f32(SHAPE, &expected));
    assert!(apart < 1e-5, "{apart:.2e}");
}

/// What each scheme costs on one attention, and bf16 beside it.
#[test]
fn errors_of_random_and_of_peaked_scores() {
    let cases = [
        ("random", drawn(false, 0.0), [6e-3, 1.5e-2, 6e-2, 1.5e-2, 6e-2]),
        ("peaked", drawn(true, 0.0), [1.5e-2, 4e-2, 2e-1, 4e-2, 2e-1]),
        ("far from zero", drawn(false, 8.0), [1e-2, 4e-2, 1.1e-1, 1.5e-2, 6e-2]),
    ];
    for (case, [q, k, v], most) in cases {
        let of = |dtype, passes: &str| attention(dtype, passes, [&q, &k, &v]);
        let exact = of(DType::F32, "");
        let smooth = |scheme: &str| of(DType::F32, &format!("quantize-attention({scheme},smooth_k=true)"));
        let found = [
            of(DType::BF16, ""),
            of(DType::F32, "quantize-attention(int8)"),
            of(DType::F32, "quantize-attention(fp8)"),
            smooth("int8"),
            smooth("fp8"),
        ]
        .map(|found| relative_l2(&found, &exact));
        println!(
            "{case}: bf16 {:.1e}, int8 {:.1e}, fp8 {:.1e}, smooth {:.1e}, {:.1e}",
            found[0], found[1], found[2], found[3], found[4]
        );
        assert!(
            found.iter().zip(most).all(|(found, most)| *found > 0.0 && *found <= most),
            "{case}: {found:?}"
        );
    }
}

/// The velocity of the bundled model at its own latents, against that of the model in f32.
#[test]
fn errors_on_the_latents_of_the_bundled_model() {
    let config = ModelConfig::read(&emoji()).unwrap();
    let fixture = Fixture::open("transformer.safetensors");
    let meta: Value = read_json(&repo("tests/fixtures/transformer.json")).unwrap();
    let weights = Weights::open(emoji().join(flux1::TRANSFORMER.folder)).unwrap();
    let sizes = Sizes { batch: 1, steps: 1, text_tokens: 32, height: 128, width: 128, reference: None };
    for timestep in meta["timesteps"].as_array().unwrap() {
        let of = |dtype, passes: &str| {
            let program = after(config.lower(&flux1::TRANSFORMER, &sizes, dtype).unwrap(), passes);
            let number = |x: &Value, shape: &[usize]| {
                HostTensor::from_f32(shape.to_vec(), &[x.as_f64().unwrap() as f32])
            };
            let inputs = [
                ("latents", fixture.get("hidden_states")),
                ("prompt", fixture.get("prompt_embeds")),
                ("pooled", fixture.get("pooled")),
                ("timesteps", number(timestep, &[1, 1])),
                ("guidance", number(&meta["guidance"], &[1])),
            ];
            run(program, &weights, inputs)
        };
        let exact = of(DType::F32, "");
        let schemes = [
            ("int8", 1e-2),
            ("int8,common_scale=true", 2e-2),
            ("int8,smooth_k=true", 1e-2),
            ("fp8", 6e-2),
            ("fp8,smooth_k=true", 6e-2),
        ];
        let mut found = vec![("bf16", relative_l2(&of(DType::BF16, ""), &exact), 2e-2)];
        for (scheme, most) in schemes {
            let quantized = of(DType::F32, &format!("quantize-attention({scheme})"));
            found.push((scheme, relative_l2(&quantized, &exact), most));
        }
        let text: Vec<_> = found.iter().map(|(scheme, apart, _)| format!("{scheme} {apart:.1e}")).collect();
        println!("at {timestep}: {}", text.join("; "));
        assert!(found.iter().all(|(_, apart, most)| *apart > 0.0 && apart <= most), "{text:?}");
    }
}
