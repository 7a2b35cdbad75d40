//! Quantized values: codes, scales and linears as torchao has them, and each op against its definition, written down
//! once more without any of the runtime's arithmetic.

use crate::common::fixtures::{Fixture, assert_close, emoji, relative_l2, repo};
use reflux_ir::op::Quantize;
use reflux_ir::{
    DType, Fact, Granularity, HostTensor, QuantizedTensor, WeightData, WeightError, WeightRows, WeightSource,
    text,
};
use reflux_models::read_json;
use reflux_models::weights::Weights;
use reflux_passes::{QuantizationRule, Scheme};
use reflux_runtime::{Device, Execute, RunError, load, quantize};
use serde_json::Value;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};

/// Weights in a map.
struct Given(HashMap<&'static str, HostTensor>);

impl WeightSource for Given {
    fn weight(&self, name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        let tensor = self.0.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(tensor.clone().into())
    }
}

/// A program of the input `%x` and one variant.
fn program(x: &str, body: &str) -> String {
    format!(
        "program p {{\n  input %x : {x} latent\n  variant main (%x) -> (%y) {{\n{body}\n    return %y\n  }}\n  schedule main\n}}"
    )
}

fn executor(source: &str, weights: &dyn WeightSource) -> Box<dyn Execute> {
    let program = text::parse(source).unwrap_or_else(|error| panic!("{source}\n{error}"));
    load(Device::host(), program, weights).unwrap()
}

/// `%y` of [`program`].
fn evaluate(x: &HostTensor, weights: &dyn WeightSource, body: &str) -> HostTensor {
    let declared = Fact::new(x.dtype, x.shape.clone()).to_string();
    let mut executor = executor(&program(&declared, body), weights);
    executor.bind("x", x).unwrap();
    executor.step(0).unwrap().remove("y").unwrap()
}

fn fact(element: &str, shape: &[usize]) -> Fact {
    let (dtype, scales) = element.split_once('.').unwrap();
    Fact::new(dtype.parse().unwrap(), shape.to_vec()).scaled(scales.parse().unwrap())
}

#[test]
fn codes_and_scales_of_every_linear_are_torchaos() {
    let weights = Weights::open(emoji().join("transformer")).unwrap();
    let expected: Value = read_json(&repo("tests/fixtures/int8dq_codes.json")).unwrap();
    let modules = expected["modules"].as_object().unwrap();
    assert_eq!(modules.len(), 68);
    for (name, expected) in modules {
        let tensor = weights.tensor(&format!("{name}.weight")).unwrap();
        let q = quantize(&tensor, &Quantize::of_weight(&fact("i8.row.f32", &tensor.shape)).unwrap());
        let hash: String = Sha256::digest(&q.codes).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hash, expected["codes_sha256"], "{name}");
        let sum: i64 = q.codes.iter().map(|&code| i64::from(code as i8)).sum();
        assert_eq!(sum, expected["codes_sum"].as_i64().unwrap(), "{name}");
        assert_eq!(q.scales[0], expected["scale_first"].as_f64().unwrap() as f32, "{name}");
        let sum: f64 = q.scales.iter().copied().map(f64::from).sum();
        assert!((sum - expected["scale_sum"].as_f64().unwrap()).abs() < 1e-12 * sum, "{name}");
    }
}

#[test]
fn recorded_linears_are_torchaos() {
    let weights = Weights::open(emoji().join("transformer")).unwrap();
    let recorded = Fixture::open("int8dq_linears.safetensors");
    for name in [
        "transformer_blocks.0.norm1.linear",
        "transformer_blocks.0.attn.to_q",
        "transformer_blocks.1.attn.to_add_out",
        "transformer_blocks.1.ff.net.2",
        "single_transformer_blocks.2.proj_mlp",
        "single_transformer_blocks.4.proj_out",
        "proj_out",
    ] {
        let [x, y, y_float] = ["x", "y", "y_float"].map(|part| recorded.get(&format!("{name}.{part}")));
        let ([rows, features], out) = (x.shape[..].try_into().unwrap(), y.shape[1]);
        let weight = format!("@{name}.weight i8.row.f32[{out},{features}]");
        let x_type = format!("i8.row.f32[{rows},{features}]");
        let body = format!(
            "%q = quantize %x {{dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5}} : {x_type}\n\
             %acc = matmul_i8 %q, {weight} : i32[{rows},{out}]\n\
             %y = rescale %acc, %q, {weight}, @{name}.bias f32[{out}] {{dtype=f32}} : f32[{rows},{out}]"
        );
        let result = evaluate(&x, &weights, &body);
        assert_close(name, &result, &y, 1e-5);
        assert!(relative_l2(&result, &y) * 100.0 < relative_l2(&y_float, &y), "{name} is not quantized");
    }
}

/// Reproducible values, most of them small, as activations are.
fn values(shape: &[usize], seed: u32) -> HostTensor {
    let mut state = seed;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        f64::from(state >> 8) / f64::from(1 << 24)
    };
    let values: Vec<f32> =
        (0..shape.iter().product()).map(|_| ((uniform() - 0.5) * (uniform() * 4.0).exp()) as f32).collect();
    HostTensor::from_f32(shape, &values)
}

fn round(x: f32, dtype: DType) -> f32 {
    HostTensor::from_f32([], &[x]).cast(dtype).to_f32()[0]
}

/// One element: `(code − middle) · scale + zero`.
#[derive(Clone, Copy)]
struct Element {
    code: f32,
    scale: f32,
    zero: f32,
}

/// The codes of `x` in the type `fact`, by the definitions in `reflux_ir::op::Quantize`.
fn naive(x: &HostTensor, fact: &Fact, quant_min: f32, eps: f32) -> Vec<Element> {
    let scales = fact.scales.unwrap();
    let round = |x| round(x, scales.dtype);
    let x: Vec<f32> = x.to_f32().into_iter().map(round).collect();
    let columns = *fact.shape.last().unwrap();
    let mut groups: BTreeMap<(usize, usize), Vec<usize>> = BTreeMap::new();
    for i in 0..x.len() {
        let group = match scales.per {
            Granularity::Tensor => (0, 0),
            Granularity::Row => (i / columns, 0),
            Granularity::Group(size) => (i / columns, i % columns / usize::from(size)),
        };
        groups.entry(group).or_default().push(i);
    }
    let mut elements = vec![Element { code: 0.0, scale: 0.0, zero: 0.0 }; x.len()];
    for indices in groups.values() {
        let group = indices.iter().map(|&i| x[i]);
        let largest = group.clone().map(f32::abs).fold(0.0, f32::max);
        let (min, max) = group.fold((f32::MAX, f32::MIN), |(min, max), x| (min.min(x), max.max(x)));
        for &i in indices {
            elements[i] = match fact.dtype {
                DType::I8 => {
                    let scale = round(largest / ((127.0 - quant_min) / 2.0)).max(round(eps));
                    let code = round(x[i] * round(1.0 / scale)).round_ties_even().clamp(quant_min, 127.0);
                    Element { code, scale, zero: 0.0 }
                }
                DType::F8E4M3 => {
                    let scale = round(largest / 448.0).max(round(eps));
                    Element { code: nearest_f8(round(x[i] / scale)), scale, zero: 0.0 }
                }
                DType::U4 => {
                    let scale = round(round(max - min) / 15.0);
                    let code = round(round(x[i] - min) / scale).round_ties_even().clamp(0.0, 15.0);
                    Element { code, scale, zero: round(min + round(8.0 * scale)) }
                }
                other => panic!("nothing is quantized to {other}"),
            };
        }
    }
    elements
}

/// By trying all of them: a code's neighbours differ in whether it is even, so of two as near the even one is taken.
fn nearest_f8(x: f32) -> f32 {
    let number = |code: i32| {
        let (exponent, mantissa) = (code / 8, (code % 8) as f64);
        if exponent == 0 { mantissa / 512.0 } else { (1.0 + mantissa / 8.0) * 2f64.powi(exponent - 7) }
    };
    let distance = |&code: &i32| ((number(code) - f64::from(x.abs())).abs(), code % 2);
    let code = (0..0x7f).min_by(|a, b| distance(a).partial_cmp(&distance(b)).unwrap()).unwrap();
    (number(code) as f32).copysign(x)
}

/// What `elements` stand for, in `dtype`.
fn numbers(elements: &[Element], fact: &Fact, dtype: DType) -> HostTensor {
    let middle = if fact.dtype == DType::U4 { 8.0 } else { 0.0 };
    let values: Vec<f32> = elements.iter().map(|e| (e.code - middle) * e.scale + e.zero).collect();
    HostTensor::from_f32(fact.shape.to_vec(), &values).cast(dtype)
}

/// `x · Wᵀ` of codes in f64, and of their absolute values.
fn products(x: &[f32], weight: &[f32], features: usize) -> (Vec<f64>, Vec<f64>) {
    let rows = x.chunks_exact(features).flat_map(|x| weight.chunks_exact(features).map(move |w| (x, w)));
    let terms = rows.map(|(x, w)| x.iter().zip(w).map(|(&a, &b)| f64::from(a) * f64::from(b)));
    terms.map(|terms| (terms.clone().sum::<f64>(), terms.map(f64::abs).sum::<f64>())).unzip()
}

fn codes(elements: &[Element]) -> Vec<f32> {
    elements.iter().map(|element| element.code).collect()
}

const NO_WEIGHTS: &[(&str, HostTensor)] = &[];

fn given(weights: &[(&'static str, HostTensor)]) -> Given {
    Given(weights.iter().cloned().collect())
}

#[test]
fn activations_are_quantized_as_defined() {
    let shape = [3, 5, 33];
    for dtype in [DType::F32, DType::BF16] {
        let x = values(&shape, 1).cast(dtype);
        for (element, quant_min, eps) in [
            ("i8.row.f32", -127, "1e-5"),
            ("i8.tensor.f32", -128, "1e-5"),
            ("i8.row.bf16", -127, "1e-5"),
            ("i8.group11.f16", -128, "1e-5"),
            ("i8.group7.f32", -127, "1e-5"),
            // So large a threshold that it is the scale of some rows and not of others.
            ("i8.row.f32", -127, "0.05"),
            ("f8e4m3.row.f32", -128, "1e-12"),
            ("f8e4m3.tensor.bf16", -128, "1e-12"),
            ("f8e4m3.group32.f32", -128, "1e-12"),
        ] {
            let fact = fact(element, &shape);
            let least =
                if fact.dtype == DType::I8 { format!(", quant_min={quant_min}") } else { String::new() };
            let (codes, scales) = element.split_once('.').unwrap();
            let body = format!(
                "%q = quantize %x {{dtype={codes}, scales={scales}{least}, eps={eps}}} : {fact}\n\
                 %y = dequantize %q {{dtype=f32}} : f32[3,5,33]"
            );
            let expected =
                numbers(&naive(&x, &fact, quant_min as f32, eps.parse().unwrap()), &fact, DType::F32);
            assert_eq!(evaluate(&x, &given(NO_WEIGHTS), &body), expected, "{element} of {dtype}");
        }
    }
}

#[test]
fn weights_are_quantized_as_defined() {
    let weights = given(&[("w", values(&[7, 75], 2))]);
    for element in
        ["u4.group32.bf16", "u4.group25.f32", "u4.row.f16", "i8.row.bf16", "i8.group32.f32", "f8e4m3.row.f32"]
    {
        for dtype in [DType::F32, DType::BF16] {
            let fact = fact(element, &[7, 75]);
            let eps = if fact.dtype == DType::I8 { f32::EPSILON } else { 1e-12 };
            let expected = numbers(&naive(&weights.0["w"], &fact, -128.0, eps), &fact, dtype);
            let body = format!("%y = dequantize @w {fact} {{dtype={dtype}}} : {dtype}[7,75]");
            let result = evaluate(&HostTensor::from_f32([1], &[0.0]), &weights, &body);
            assert_eq!(result, expected, "{element} to {dtype}");
        }
    }
}

/// Odd sizes, of which no block is a divisor.
const SIZES: [[usize; 3]; 4] = [[3, 33, 5], [65, 257, 35], [1, 600, 1030], [5, 2000, 7]];

#[test]
fn integer_products_are_exact() {
    for [rows, features, out] in SIZES {
        // Besides values that are mixed: rows of one value, whose codes are all the most extreme, −127 and −128.
        let extreme = |count| HostTensor::from_f32([count, features], &vec![-127.5; count * features]);
        for (x, w) in [
            (values(&[rows, features], 3), values(&[out, features], 4)),
            (extreme(rows), extreme(out)),
            (extreme(rows), values(&[out, features], 5)),
        ] {
            let (x_fact, w_fact) = (fact("i8.row.f32", &x.shape), fact("i8.row.f32", &w.shape));
            let body = format!(
                "%q = quantize %x {{dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5}} : {x_fact}\n\
                 %y = matmul_i8 %q, @w {w_fact} : i32[{rows},{out}]"
            );
            let (x_codes, w_codes) =
                (codes(&naive(&x, &x_fact, -127.0, 1e-5)), codes(&naive(&w, &w_fact, -128.0, f32::EPSILON)));
            let expected: Vec<i32> =
                products(&x_codes, &w_codes, features).0.into_iter().map(|sum| sum as i32).collect();
            let result = evaluate(&x, &given(&[("w", w)]), &body);
            assert_eq!(result, HostTensor::from_i32([rows, out], &expected), "{rows}×{features}×{out}");
        }
    }
}

#[test]
fn the_most_extreme_codes_are_reached() {
    let x = HostTensor::from_f32([1, 2000], &[-127.5; 2000]);
    let body = "%q = quantize %x {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[1,2000]\n\
                %y = matmul_i8 %q, @w i8.row.f32[1,2000] : i32[1,1]";
    let y = evaluate(&x, &given(&[("w", x.clone())]), body);
    assert_eq!(y, HostTensor::from_i32([1, 1], &[2000 * -127 * -128]));
}

#[test]
fn float_products_of_codes_are_sums_in_their_dtype() {
    let assert_near = |result: HostTensor,
                       (exact, size): (Vec<f64>, Vec<f64>),
                       tolerance: f64,
                       what: &str| {
        for ((result, exact), size) in result.to_f32().into_iter().zip(exact).zip(size) {
            assert!((f64::from(result) - exact).abs() <= tolerance * size, "{what}: {result} is not {exact}");
        }
    };
    for [rows, features, out] in SIZES {
        let (x, w) = (values(&[rows, features], 6), values(&[out, features], 7));
        let weights = given(&[("w", w.clone())]);
        let (x_fact, w_fact) = (fact("f8e4m3.row.f32", &x.shape), fact("f8e4m3.tensor.f32", &w.shape));
        let body = format!(
            "%q = quantize %x {{dtype=f8e4m3, scales=row.f32, eps=1e-12}} : {x_fact}\n\
             %y = matmul_f8 %q, @w {w_fact} : f32[{rows},{out}]"
        );
        let (x_codes, w_codes) =
            (codes(&naive(&x, &x_fact, 0.0, 1e-12)), codes(&naive(&w, &w_fact, 0.0, 1e-12)));
        let expected = products(&x_codes, &w_codes, features);
        assert_near(evaluate(&x, &weights, &body), expected, 1e-5, "matmul_f8");

        let w_fact = fact("i8.row.f32", &w.shape);
        let w_codes = codes(&naive(&w, &w_fact, -128.0, f32::EPSILON));
        for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::BF16, 1e-2)] {
            let x = x.cast(dtype);
            let body = format!("%y = matmul_w8 %x, @w {w_fact} : {dtype}[{rows},{out}]");
            let expected = products(&x.to_f32(), &w_codes, features);
            let result = evaluate(&x, &weights, &body);
            assert_eq!(result.dtype, dtype);
            assert_near(result, expected, tolerance, "matmul_w8");
        }
    }
}

#[test]
fn products_are_rescaled_in_the_scales_dtype() {
    let [rows, features, out] = [6, 33, 35];
    let (x, w, bias) = (values(&[2, 3, features], 8), values(&[out, features], 9), values(&[out], 10));
    let weights = given(&[("w", w.clone()), ("b", bias.clone())]);
    for (x_scales, w_scales, dtype) in [
        ("row.f32", "row.f32", DType::F32),
        ("tensor.f32", "row.f32", DType::F32),
        ("row.bf16", "row.bf16", DType::BF16),
        ("row.f32", "tensor.bf16", DType::F32),
        ("row.f32", "row.f32", DType::F16),
    ] {
        let (x_fact, w_fact) =
            (fact(&format!("i8.{x_scales}"), &x.shape), fact(&format!("i8.{w_scales}"), &w.shape));
        let (x_elements, w_elements) =
            (naive(&x, &x_fact, -127.0, 1e-5), naive(&w, &w_fact, -128.0, f32::EPSILON));
        let acc = products(&codes(&x_elements), &codes(&w_elements), features).0;
        for with_bias in [false, true] {
            let bias_operand = if with_bias { format!(", @b {dtype}[{out}]") } else { String::new() };
            let body = format!(
                "%q = quantize %x {{dtype=i8, scales={x_scales}, quant_min=-127, eps=1e-5}} : {x_fact}\n\
                 %acc = matmul_i8 %q, @w {w_fact} : i32[2,3,{out}]\n\
                 %y = rescale %acc, %q, @w {w_fact}{bias_operand} {{dtype={dtype}}} : {dtype}[2,3,{out}]"
            );
            let mut expected = Vec::new();
            for row in 0..rows {
                for column in 0..out {
                    let mut y = acc[row * out + column] as f32;
                    y = round(y * x_elements[row * features].scale, x_fact.scales.unwrap().dtype);
                    y = round(y * w_elements[column * features].scale, w_fact.scales.unwrap().dtype);
                    if with_bias {
                        y = round(y + round(bias.to_f32()[column], dtype), w_fact.scales.unwrap().dtype);
                    }
                    expected.push(y);
                }
            }
            let expected = HostTensor::from_f32([2, 3, out], &expected).cast(dtype);
            assert_eq!(evaluate(&x, &weights, &body), expected, "{x_scales} · {w_scales} in {dtype}");
        }
    }
}

#[test]
fn weight_only_products_are_rescaled_by_the_weight() {
    let (x, w) = (values(&[4, 33], 11), values(&[5, 33], 12));
    let w_fact = fact("i8.row.f32", &w.shape);
    let body = format!(
        "%acc = matmul_w8 %x, @w {w_fact} : f32[4,5]\n\
         %y = rescale %acc, @w {w_fact} {{dtype=f32}} : f32[4,5]"
    );
    let elements = naive(&w, &w_fact, -128.0, f32::EPSILON);
    let expected = products(&x.to_f32(), &numbers(&elements, &w_fact, DType::F32).to_f32(), 33).0;
    let expected: Vec<f32> = expected.into_iter().map(|y| y as f32).collect();
    let result = evaluate(&x, &given(&[("w", w)]), &body);
    assert_close("weight only", &result, &HostTensor::from_f32([4, 5], &expected), 1e-6);
}

/// `%w` as it is in one stage, in two quantized types in another; codes that are prepared and carried.
#[test]
fn codes_stay_on_the_device_between_stages_and_steps() {
    let source = "
program p {
  input %x : f32[2] latent
  carry %c : i8.tensor.f32[2] latent
  prepare weights () -> (%q) {
    %twice = mul @w f32[2], 2.0 : f32[2]
    %q = quantize %twice {dtype=i8, scales=tensor.f32, quant_min=-127, eps=1e-5} : i8.tensor.f32[2]
    return %q
  }
  variant full (%x, %q) -> (%y, %c) {
    %a = dequantize @w i8.tensor.f32[2] {dtype=f32} : f32[2]
    %b = dequantize @w u4.row.f32[2] {dtype=f32} : f32[2]
    %d = dequantize %q {dtype=f32} : f32[2]
    %ab = add %a, %b : f32[2]
    %y = add %ab, %d : f32[2]
    %c = quantize %x {dtype=i8, scales=tensor.f32, quant_min=-127, eps=1e-5} : i8.tensor.f32[2]
    return %y, %c
  }
  variant reuse (%c) -> (%y) {
    %y = dequantize %c {dtype=f32} : f32[2]
    return %y
  }
  schedule full reuse
}";
    // 127.5 is 127 · 1 in i8, and 0 the least and 127.5 the largest of u4; twice as much is 127 of 255/127.
    let weights = given(&[("w", HostTensor::from_f32([2], &[0.0, 127.5]))]);
    let mut executor = executor(source, &weights);
    executor.set_profiling(true);
    executor.bind("x", &HostTensor::from_f32([2], &[127.0, -3.0])).unwrap();
    let y = executor.step(0).unwrap()["y"].to_f32();
    assert!((y[0]).abs() < 1e-4 && (y[1] - (127.0 + 127.5 + 255.0)).abs() < 1e-4, "{y:?}");
    assert_eq!(executor.step(1).unwrap()["y"].to_f32(), [127.0, -3.0]);
    assert!(executor.profile().unwrap().entries().iter().any(|entry| entry.op == "quantize"));
}

#[test]
fn programs_take_and_return_numbers() {
    for source in [
        program("f32[2]", "%y = quantize %x {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2]"),
        program("i8.row.f32[2]", "%y = dequantize %x {dtype=f32} : f32[2]"),
    ] {
        let error =
            load(Device::host(), text::parse(&source).unwrap(), &given(NO_WEIGHTS)).map(drop).unwrap_err();
        assert!(matches!(error, RunError::Verify(_)), "{error}");
    }
}

#[test]
fn a_quantized_weight_must_have_the_right_shape() {
    let body = "%y = dequantize @w i8.row.bf16[3] {dtype=f32} : f32[3]";
    let program = text::parse(&program("f32[1]", body)).unwrap();
    let error = load(Device::host(), program, &given(&[("w", values(&[2], 1))])).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "weight `w` is bf16[2], but the program expects bf16[3]");
}

/// Codes of weights, quantized before they are asked for, in a map.
struct Codes(HashMap<&'static str, QuantizedTensor>);

impl WeightSource for Codes {
    fn weight(&self, name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        let tensor = self.0.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(tensor.clone().into())
    }
}

/// The type of a weight of `dtype` and `shape` under each scheme and rule.
fn weight_types(dtype: DType, shape: &[usize]) -> Vec<Fact> {
    use Scheme::*;
    let weight = Fact::new(dtype, shape.to_vec());
    let schemes = [Int8dq, Int8wo, Fp8dq, Fp8dqrow, Fp8wo, Int4wo];
    let rules = [QuantizationRule::TorchaoV1, QuantizationRule::F32];
    rules.into_iter().flat_map(|rule| schemes.map(|scheme| scheme.weight(rule, &weight))).collect()
}

/// Rows of 300 are two groups of 128 and a short one.
#[test]
fn codes_of_a_source_are_used_as_they_are() {
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for fact in weight_types(dtype, &[7, 300]) {
            let rule = Quantize::of_weight(&fact).unwrap();
            let dense = values(&fact.shape, 2).cast(dtype);
            let codes = quantize(&dense.cast(rule.scales.dtype), &rule);
            assert_eq!(codes.fact, fact);
            let body = format!("%y = dequantize @w {fact} {{dtype=f32}} : f32[7,300]");
            let x = HostTensor::from_f32([1], &[0.0]);
            let computed = evaluate(&x, &given(&[("w", dense)]), &body);
            let read = evaluate(&x, &Codes(HashMap::from([("w", codes.clone())])), &body);
            assert_eq!(read, computed, "{fact} of {dtype}");

            // Others give other numbers: it is not that both are quantized anew.
            let mut other = codes;
            other.codes.reverse();
            assert_ne!(evaluate(&x, &Codes(HashMap::from([("w", other)])), &body), computed, "{fact}");
        }
    }
}

/// Numbers that are made row by row, and never as a whole.
struct ByRows(HostTensor);

impl WeightSource for ByRows {
    fn weight(&self, _name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        unreachable!("rows are enough")
    }

    fn rows(&self, _name: &str, _fact: &Fact) -> Result<Option<WeightRows<'_>>, WeightError> {
        let HostTensor { dtype, shape, bytes } = &self.0;
        let row = bytes.len() / shape[0];
        let write = move |first: usize, to: &mut [u8]| to.copy_from_slice(&bytes[first * row..][..to.len()]);
        Ok(Some(WeightRows::new(Fact::new(*dtype, shape.clone()), write)))
    }
}

#[test]
fn what_is_quantized_row_by_row_is_quantized_as_a_whole() {
    let x = HostTensor::from_f32([1], &[0.0]);
    for dtype in [DType::F32, DType::BF16, DType::F16] {
        for fact in weight_types(dtype, &[7, 300]) {
            // In a type of its own, as files have them.
            for stored in [DType::F32, DType::BF16] {
                let dense = values(&fact.shape, 3).cast(stored);
                let body = format!("%y = dequantize @w {fact} {{dtype=f32}} : f32[7,300]");
                let whole = evaluate(&x, &given(&[("w", dense.clone())]), &body);
                assert_eq!(evaluate(&x, &ByRows(dense), &body), whole, "{fact} of {stored}");
            }
        }
        let dense = values(&[7, 300], 3).cast(dtype);
        let body = format!("%y = mul @w {dtype}[7,300], 2.0 : {dtype}[7,300]");
        let whole = evaluate(&x, &given(&[("w", dense.clone())]), &body);
        assert_eq!(evaluate(&x, &ByRows(dense), &body), whole);
    }
}

#[test]
fn codes_of_another_type_than_the_program_reads_are_refused() {
    let stored = fact("i8.row.f32", &[2, 3]);
    let codes = quantize(&values(&[2, 3], 1), &Quantize::of_weight(&stored).unwrap());
    let weights = Codes(HashMap::from([("w", codes)]));
    for read in ["u4.group128.f32[2,3]", "i8.row.bf16[2,3]", "i8.row.f32[3,2]", "f32[2,3]"] {
        let shape = &read[read.find('[').unwrap()..];
        let body = match read.starts_with("f32") {
            true => format!("%y = mul @w {read}, 2.0 : f32{shape}"),
            false => format!("%y = dequantize @w {read} {{dtype=f32}} : f32{shape}"),
        };
        let program = text::parse(&program("f32[1]", &body)).unwrap();
        let error = load(Device::host(), program, &weights).map(drop).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "weight `w` is stored quantized, as i8.row.f32[2,3], but the program reads it as {read}: quantize the program \
                 in the same way, or give unquantized weights"
            )
        );
    }
}

#[test]
fn codes_that_do_not_fit_their_type_are_refused() {
    let fact = fact("u4.group2.f32", &[1, 4]);
    let mut codes = quantize(&values(&[1, 4], 1), &Quantize::of_weight(&fact).unwrap());
    codes.codes[2] = 16;
    let body = format!("%y = dequantize @w {fact} {{dtype=f32}} : f32[1,4]");
    let program = text::parse(&program("f32[1]", &body)).unwrap();
    let error = load(Device::host(), program, &Codes(HashMap::from([("w", codes)]))).map(drop).unwrap_err();
    assert_eq!(error.to_string(), "weight `w` could not be read: 16 is not a code of u4");
}
