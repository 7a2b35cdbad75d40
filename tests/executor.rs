//! The executor on programs small enough to work out by hand.

use reflux_ir::{DType, Fact, HostTensor, Program, Rate, WeightData, WeightError, WeightSource, text};
use reflux_models::noise::TorchGenerator;
use reflux_runtime::{Device, Execute, Integral, Needs, RunError, load, load_streaming, needs};
use std::collections::HashMap;
use std::slice;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Weights in a map.
struct Given(HashMap<&'static str, HostTensor>);

impl WeightSource for Given {
    fn weight(&self, name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        let tensor = self.0.get(name).ok_or_else(|| WeightError::Missing(name.to_owned()))?;
        Ok(tensor.clone().into())
    }
}

fn executor(source: &str) -> Box<dyn Execute> {
    let weights = Given(HashMap::from([("w", HostTensor::from_f32([2], &[10.0, 100.0]))]));
    load(Device::host(), text::parse(source).unwrap(), &weights).unwrap()
}

/// What `op` makes of the inputs `%a`, `%b`, ….
fn evaluate(inputs: &[HostTensor], op: &str) -> HostTensor {
    let names: Vec<String> =
        (b'a'..).take(inputs.len()).map(|letter| char::from(letter).to_string()).collect();
    let declare = |(name, tensor): (&String, &HostTensor)| {
        let shape: Vec<_> = tensor.shape.iter().map(usize::to_string).collect();
        format!("  input %{name} : {}[{}] latent\n", tensor.dtype, shape.join(","))
    };
    let declarations: String = names.iter().zip(inputs).map(declare).collect();
    let signature: Vec<_> = names.iter().map(|name| format!("%{name}")).collect();
    let source = format!(
        "program p {{\n{declarations}  variant main ({}) -> (%y) {{\n    %y = {op}\n    return %y\n  }}\n  schedule main\n}}",
        signature.join(", ")
    );
    let mut executor = executor(&source);
    for (name, tensor) in names.iter().zip(inputs) {
        executor.bind(name, tensor).unwrap();
    }
    executor.step(0).unwrap().remove("y").unwrap()
}

fn f32s<const N: usize>(shape: [usize; N], values: &[f32]) -> HostTensor {
    HostTensor::from_f32(shape, values)
}

fn i32s<const N: usize>(shape: [usize; N], values: &[i32]) -> HostTensor {
    HostTensor::from_i32(shape, values)
}

/// What is prepared from other weights is prepared again, and so is what is prepared from that.
#[test]
fn other_weights_reach_what_is_prepared_later() {
    let source = "program p {
        input %x : f32[2] prompt
        input %t : f32[2] schedule
        input %l : f32[2] latent
        prepare prompt (%x) -> (%a) {
            %a = mul %x, @w f32[2] : f32[2]
            return %a
        }
        prepare schedule (%t, %a) -> (%b) {
            %b = add %t, %a : f32[2]
            return %b
        }
        variant main (%l, %b) -> (%y) {
            %y = add %l, %b : f32[2]
            return %y
        }
        schedule main
    }";
    let mut executor = executor(source);
    for (name, values) in [("x", [1.0, 2.0]), ("t", [0.5, 0.5]), ("l", [0.0, 0.0])] {
        executor.bind(name, &f32s([2], &values)).unwrap();
    }
    assert_eq!(executor.step(0).unwrap()["y"].to_f32(), [10.5, 200.5]);
    let others = Given(HashMap::from([("w", f32s([2], &[20.0, 300.0]))]));
    executor.reload(Arc::new(others), &|name| name == "w").unwrap();
    assert_eq!(executor.step(0).unwrap()["y"].to_f32(), [20.5, 600.5]);
}

/// Whoever runs a step knows its number, so nobody else gives it.
#[test]
fn the_executor_gives_the_number_of_the_step() {
    let source = "program p {
        input %table : f32[3,2] schedule
        input %step : i32[] latent
        variant main (%table, %step) -> (%y) {
          %y = select %table, %step : f32[2]
          return %y
        }
        schedule main*3
      }";
    let mut executor = executor(source);
    let table = HostTensor::from_f32([3, 2], &[0.0, 1.0, 10.0, 11.0, 20.0, 21.0]);
    executor.bind("table", &table).unwrap();
    for step in [0, 2, 1] {
        let row = [10.0 * step as f32, 10.0 * step as f32 + 1.0];
        assert_eq!(executor.step(step).unwrap()["y"].to_f32(), row);
    }
    let error = executor.bind("step", &HostTensor::from_i32([], &[1])).unwrap_err();
    assert!(matches!(&error, RunError::StepBound(name) if &**name == "step"), "{error}");
}

#[test]
fn ops_compute_what_they_say() {
    let a = f32s([2, 2], &[1.0, 2.0, 3.0, 4.0]);
    let ids = i32s([3], &[2, 0, 2]);
    let cases: Vec<(Vec<HostTensor>, &str, HostTensor)> = vec![
        (vec![a.clone()], "sub %a, 1.0 : f32[2,2]", f32s([2, 2], &[0.0, 1.0, 2.0, 3.0])),
        (vec![a.clone()], "sub 1.0, %a : f32[2,2]", f32s([2, 2], &[0.0, -1.0, -2.0, -3.0])),
        (vec![a.clone()], "div 12.0, %a : f32[2,2]", f32s([2, 2], &[12.0, 6.0, 4.0, 3.0])),
        (vec![a.clone()], "mul @w f32[2], %a : f32[2,2]", f32s([2, 2], &[10.0, 200.0, 30.0, 400.0])),
        (vec![a.clone()], "equal %a, 3.0 : f32[2,2]", f32s([2, 2], &[0.0, 0.0, 1.0, 0.0])),
        (vec![ids.clone()], "equal %a, 2 : i32[3]", i32s([3], &[1, 0, 1])),
        (vec![ids.clone()], "mul %a, %a : i32[3]", i32s([3], &[4, 0, 4])),
        (
            vec![a.clone(), f32s([2], &[5.0, 6.0])],
            "add %b, %a : f32[2,2]",
            f32s([2, 2], &[6.0, 8.0, 8.0, 10.0]),
        ),
        (vec![a.clone(), a.clone()], "matmul %a, %b : f32[2,2]", f32s([2, 2], &[7.0, 10.0, 15.0, 22.0])),
        (
            vec![f32s([2, 1, 2], &[1.0, 2.0, 3.0, 4.0]), f32s([2, 1], &[1.0, -1.0])],
            "matmul %a, %b : f32[2,1,1]",
            f32s([2, 1, 1], &[-1.0, -1.0]),
        ),
        (vec![f32s([3], &[0.5, 1.5, -2.5])], "cast %a {dtype=i32} : i32[3]", i32s([3], &[0, 2, -2])),
        (vec![ids.clone()], "cast %a {dtype=f32} : f32[3]", f32s([3], &[2.0, 0.0, 2.0])),
        // 1 + 2⁻⁹ is halfway between two bf16 numbers: to even.
        (
            vec![f32s([2], &[1.001_953_1, 1.005_859_4])],
            "cast %a {dtype=bf16} : bf16[2]",
            f32s([2], &[1.0, 1.007_812_5]).cast(DType::BF16),
        ),
        (vec![i32s([2, 3], &[1, 7, 7, 5, 5, 4])], "argmax %a : i32[2]", i32s([2], &[1, 0])),
        (vec![a.clone()], "mean %a : f32[2]", f32s([2], &[1.5, 3.5])),
        (vec![f32s([3], &[1.0, 2.0, 6.0]).cast(DType::BF16)], "mean %a : f32[]", f32s([], &[3.0])),
        (vec![a.clone(), i32s([], &[1])], "select %a, %b : f32[2]", f32s([2], &[3.0, 4.0])),
        (vec![a.clone(), i32s([2], &[1, 0])], "select %a, %b : f32[2]", f32s([2], &[2.0, 3.0])),
        (vec![ids.clone(), i32s([], &[0])], "select %a, %b : i32[]", i32s([], &[2])),
        (vec![ids.clone(), ids.clone()], "concat %a, %b {axis=-1} : i32[6]", i32s([6], &[2, 0, 2, 2, 0, 2])),
        (vec![a.clone()], "slice %a {axis=-1, start=1, end=2} : f32[2,1]", f32s([2, 1], &[2.0, 4.0])),
        (vec![a.clone()], "transpose %a {perm=[1, 0]} : f32[2,2]", f32s([2, 2], &[1.0, 3.0, 2.0, 4.0])),
        (vec![f32s([1, 1], &[7.0])], "reshape %a {shape=[]} : f32[]", f32s([], &[7.0])),
        (
            vec![f32s([1, 1, 1, 2], &[1.0, 2.0])],
            "upsample %a {factor=2} : f32[1,1,2,4]",
            f32s([1, 1, 2, 4], &[1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 2.0, 2.0]),
        ),
        (
            vec![i32s([3], &[1, 0, 1]), a.clone()],
            "embedding %a, %b : f32[3,2]",
            f32s([3, 2], &[3.0, 4.0, 1.0, 2.0, 3.0, 4.0]),
        ),
        // A scalar chooses one row, which has no axis for it.
        (vec![i32s([], &[1]), a.clone()], "embedding %a, %b : f32[2]", f32s([2], &[3.0, 4.0])),
        // Numbers are values like others to what is no arithmetic.
        (vec![], "reshape 1.5 f32 {shape=[1, 1]} : f32[1,1]", f32s([1, 1], &[1.5])),
        (vec![], "transpose 2.0 i32 {perm=[]} : i32[]", i32s([], &[2])),
        (vec![], "add 3.0 i32, 2.0 i32 : i32[]", i32s([], &[5])),
        (vec![], "equal 3.0 i32, 2.0 i32 : i32[]", i32s([], &[0])),
        (vec![], "cast 2.5 f32 {dtype=i32} : i32[]", i32s([], &[2])),
        (vec![], "cast 3.0 i32 {dtype=f32} : f32[]", f32s([], &[3.0])),
        (vec![], "rowwise 0.5 * 3.0 + 1.0 : f32[]", f32s([], &[2.5])),
    ];
    for (inputs, op, expected) in cases {
        assert_eq!(evaluate(&inputs, op), expected, "{op}");
    }
}

#[test]
fn gelu_is_the_error_functions() {
    let y = evaluate(&[f32s([3], &[-1.0, 0.0, 2.0])], "gelu %a : f32[3]").to_f32();
    for (y, expected) in y.iter().zip([-0.158_655_25, 0.0, 1.954_499_7]) {
        assert!((y - expected).abs() < 1e-6, "{y} is not {expected}");
    }
}

/// Numbers at which functions have ends, steps and poles, and 200 others, of every size and sign.
fn special_numbers() -> Vec<f32> {
    let mut numbers = vec![0.0, 0.5, 1.0, 2.0, 3.0, 88.7, 88.8, 103.0, 1e-3, 1e-40, f32::MIN_POSITIVE];
    numbers.extend([f32::MAX, f32::INFINITY, f32::NAN]);
    let mut generator = TorchGenerator::new(5);
    let (of_one, of_any) = (generator.randn_f32(100), generator.randn_f32(100));
    numbers.extend(of_one);
    numbers.extend(of_any.iter().map(|x| 10f32.powf(12.0 * x)));
    let negative: Vec<f32> = numbers.iter().map(|x| -x).collect();
    numbers.extend(negative);
    numbers
}

/// Asserts that `found` is the rounded `expected`, but for some units in the last place of the larger results, or, where
/// nothing is left of these, of the least number.
fn assert_rounded(what: &str, found: f32, expected: f64) {
    let rounded = expected as f32;
    if rounded.is_nan() || rounded.is_infinite() || found.is_infinite() {
        let at_the_end = found.is_infinite() && expected.abs() > f64::from(f32::MAX) * (1.0 - 1e-6);
        let same = found == rounded || (found.is_nan() && rounded.is_nan());
        assert!(same || at_the_end, "{what}: {found}, not {expected}");
    } else {
        let ulp = (f64::from(f32::EPSILON) * expected.abs()).max(f64::from(f32::MIN_POSITIVE));
        assert!((f64::from(found) - expected).abs() <= 4.0 * ulp, "{what}: {found}, not {expected}");
    }
}

type Function<'a> = &'a dyn Fn(f64, f64) -> f64;

/// By themselves, in a formula over rows, and behind a product; with another tensor, with what is broadcast, and with numbers.
#[test]
fn functions_are_their_formulas_everywhere() {
    let numbers = special_numbers();
    let count = numbers.len();
    let row = f32s([1, count], &numbers);
    for (name, function) in [("exp", f64::exp as fn(f64) -> f64), ("tanh", f64::tanh)] {
        for op in
            [format!("{name} %a : f32[1,{count}]"), format!("rowwise {name}(%a * 1.0) : f32[1,{count}]")]
        {
            for (x, y) in numbers.iter().zip(evaluate(slice::from_ref(&row), &op).to_f32()) {
                assert_rounded(&format!("{op} of {x}"), y, function(f64::from(*x)));
            }
        }
    }
    let least = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.min(b) };
    let most = |a: f64, b: f64| if a.is_nan() || b.is_nan() { f64::NAN } else { a.max(b) };
    let column = f32s([count, 1], &numbers);
    let functions: [(&str, Function); 3] = [("min", &least), ("max", &most), ("pow", &|a, b| a.powf(b))];
    for (name, function) in functions {
        for op in [format!("{name} %a, %b"), format!("rowwise {name}(%a, %b) * 1.0")] {
            let found =
                evaluate(&[row.clone(), column.clone()], &format!("{op} : f32[{count},{count}]")).to_f32();
            let pairs = numbers.iter().flat_map(|b| numbers.iter().map(move |a| (*a, *b)));
            for ((a, b), found) in pairs.zip(found) {
                assert_rounded(&format!("{op} of {a} and {b}"), found, function(f64::from(a), f64::from(b)));
            }
        }
        for number in [0.0, -2.0, 0.5, 3.0] {
            let (right, left) = (format!("{name} %a, {number:?}"), format!("{name} {number:?}, %a"));
            for (op, swapped) in [(right, false), (left, true)] {
                let found = evaluate(slice::from_ref(&row), &format!("{op} : f32[1,{count}]")).to_f32();
                for (x, found) in numbers.iter().zip(found) {
                    let (a, b) = if swapped { (number, f64::from(*x)) } else { (f64::from(*x), number) };
                    assert_rounded(&format!("{op} of {x}"), found, function(a, b));
                }
            }
        }
    }
}

#[test]
fn functions_round_to_their_dtypes_and_work_on_integers() {
    let a = f32s([3], &[-1.5, 0.25, 3.0]);
    let halves = |values: &[f32]| f32s([3], values).cast(DType::BF16);
    let wide = a.cast(DType::BF16);
    for (op, expected) in [
        ("exp %a", [(-1.5f32).exp(), 0.25f32.exp(), 3.0f32.exp()]),
        ("tanh %a", [(-1.5f32).tanh(), 0.25f32.tanh(), 3.0f32.tanh()]),
        ("max %a, 0.5", [0.5, 0.5, 3.0]),
        ("min %a, %a", [-1.5, 0.25, 3.0]),
        ("pow %a, 2.0", [2.25, 0.0625, 9.0]),
        ("pow %a, %a", [f32::NAN, 0.25f32.powf(0.25), 27.0]),
    ] {
        let found = evaluate(slice::from_ref(&wide), &format!("{op} : bf16[3]"));
        let bits = |values: HostTensor| values.to_f32().into_iter().map(f32::to_bits).collect::<Vec<_>>();
        let (found, expected) = (bits(found), bits(halves(&expected)));
        let is_nan = |bits: &u32| f32::from_bits(*bits).is_nan();
        assert!(found.iter().zip(&expected).all(|(a, b)| a == b || (is_nan(a) && is_nan(b))), "{op}");
    }
    let ids = i32s([3], &[2, -7, 2]);
    assert_eq!(evaluate(slice::from_ref(&ids), "min %a, 0 : i32[3]"), i32s([3], &[0, -7, 0]));
    let both = evaluate(&[ids, i32s([2, 1], &[1, -9])], "max %a, %b : i32[2,3]");
    assert_eq!(both, i32s([2, 3], &[2, 1, 2, 2, -7, 2]));
}

/// Two variants, a carried value, and stages prepared at two rates.
const CACHED: &str = "
program cached {
  input %x : f32[2] latent
  input %p : f32[2] prompt
  carry %h : f32[2] latent
  prepare weights () -> (%scale) {
    %scale = mul @w f32[2], 2.0 : f32[2]
    return %scale
  }
  prepare prompt (%p, %scale) -> (%bias) {
    %bias = mul %p, %scale : f32[2]
    return %bias
  }
  variant full (%x, %bias) -> (%y, %h) {
    %h2 = add %x, %bias : f32[2]
    %y = add %h2, 1.0 : f32[2]
    return %y, %h2
  }
  variant reuse (%h) -> (%y) {
    %y = add %h, 1.0 : f32[2]
    return %y
  }
  schedule full reuse full
}";

fn y(executor: &mut dyn Execute, step: usize) -> Vec<f32> {
    executor.step(step).unwrap()["y"].to_f32()
}

#[test]
fn variants_carry_values_and_stages_are_prepared_once() {
    let mut executor = executor(CACHED);
    executor.bind("x", &f32s([2], &[1.0, 2.0])).unwrap();
    executor.bind("p", &f32s([2], &[1.0, 0.5])).unwrap();
    executor.set_profiling(true);
    assert_eq!(y(executor.as_mut(), 0), [22.0, 103.0]);
    // A reuse step reads what was carried, not the input.
    executor.bind("x", &f32s([2], &[7.0, 7.0])).unwrap();
    assert_eq!(y(executor.as_mut(), 1), [22.0, 103.0]);
    assert_eq!(y(executor.as_mut(), 2), [28.0, 108.0]);
    // Another prompt makes its own stage run again, and no other.
    executor.bind("p", &f32s([2], &[0.0, 0.0])).unwrap();
    assert_eq!(y(executor.as_mut(), 2), [8.0, 8.0]);
    // The same prompt again makes none run.
    executor.bind("p", &f32s([2], &[0.0, 0.0])).unwrap();
    assert_eq!(y(executor.as_mut(), 2), [8.0, 8.0]);
    let calls = |name: &str| -> u64 {
        let entries = executor.profile().unwrap().entries();
        entries.iter().find(|entry| *entry.name == *name).unwrap().calls
    };
    assert_eq!((calls("scale"), calls("bias"), calls("h2")), (1, 2, 4));
}

#[test]
fn a_new_image_does_not_see_the_last_ones_carried_values() {
    let mut executor = executor(CACHED);
    executor.bind("x", &f32s([2], &[1.0, 2.0])).unwrap();
    executor.bind("p", &f32s([2], &[1.0, 0.5])).unwrap();
    executor.step(0).unwrap();
    executor.reset();
    assert!(matches!(executor.step(1), Err(RunError::MissingInput(name)) if *name == *"h"));
}

#[test]
fn wrong_inputs_are_refused() {
    let mut executor = executor(CACHED);
    let message = |error: RunError| error.to_string();
    let unknown = executor.bind("z", &f32s([2], &[0.0; 2])).unwrap_err();
    assert_eq!(message(unknown), "the program has no input `%z`; it has `%x`, `%p`");
    let shape = executor.bind("x", &f32s([3], &[0.0; 3])).unwrap_err();
    assert_eq!(message(shape), "input `%x` must be f32[2], not f32[3]");
    let kind = executor.bind("x", &i32s([2], &[0; 2])).unwrap_err();
    assert_eq!(message(kind), "input `%x` must be f32[2], not i32[2]");
    assert_eq!(message(executor.step(0).unwrap_err()), "input `%p` is missing");
    assert_eq!(
        message(executor.step(3).unwrap_err()),
        "there is no step 3: the program has 3 steps, counted from 0"
    );
}

#[test]
fn weights_must_be_there_and_of_the_right_shape() {
    let program = |tensor: &str, extent: usize| {
        let source = format!(
            "program p {{\n  input %x : f32[{extent}] latent\n  variant main (%x) -> (%y) {{\n    \
             %y = mul %x, @{tensor} f32[{extent}] : f32[{extent}]\n    return %y\n  }}\n  schedule main\n}}"
        );
        let weights = Given(HashMap::from([("w", f32s([2], &[1.0, 2.0]))]));
        load(Device::host(), text::parse(&source).unwrap(), &weights).map(drop)
    };
    assert!(program("w", 2).is_ok());
    assert_eq!(program("v", 2).unwrap_err().to_string(), "the weights hold no tensor `v`");
    assert_eq!(
        program("w", 3).unwrap_err().to_string(),
        "weight `w` is f32[2], but the program expects f32[3]"
    );
}

/// A weight of tens, and how often it was read.
#[derive(Default)]
struct Counted(AtomicUsize);

impl WeightSource for Counted {
    fn weight(&self, _name: &str, _fact: &Fact) -> Result<WeightData, WeightError> {
        self.0.fetch_add(1, Relaxed);
        Ok(f32s([2], &[10.0, 20.0]).into())
    }
}

#[test]
fn weights_of_prepare_stages_stay_or_are_read_anew() {
    let source = "program p {
      input %p : f32[2] prompt
      input %x : f32[2] latent
      prepare prompt (%p) -> (%t) {
        %t = mul @w f32[2], %p : f32[2]
        return %t
      }
      variant main (%x, %t) -> (%y) {
        %y = add %x, %t : f32[2]
        return %y
      }
      schedule main
    }";
    let program = text::parse(source).unwrap();
    let (resident, streaming) = (Arc::new(Counted::default()), Arc::new(Counted::default()));
    let mut stays = load(Device::host(), program.clone(), &*resident).unwrap();
    let mut leaves = load_streaming(Device::host(), program.clone(), streaming.clone()).unwrap();
    let mut step = |prompt: Option<f32>| {
        [&mut stays, &mut leaves].map(|executor| {
            if let Some(prompt) = prompt {
                executor.bind("p", &f32s([2], &[prompt; 2])).unwrap();
            }
            executor.bind("x", &f32s([2], &[1.0, 2.0])).unwrap();
            executor.step(0).unwrap().remove("y").unwrap().to_f32()
        })
    };
    let reads = || (resident.0.load(Relaxed), streaming.0.load(Relaxed));
    assert_eq!(reads(), (1, 0));
    assert_eq!(step(Some(1.0)), [[11.0, 22.0], [11.0, 22.0]]);
    assert_eq!(reads(), (1, 1));
    // What is prepared is there until its input changes.
    assert_eq!(step(None), [[11.0, 22.0], [11.0, 22.0]]);
    assert_eq!(reads(), (1, 1));
    assert_eq!(step(Some(2.0)), [[21.0, 42.0], [21.0, 42.0]]);
    assert_eq!(reads(), (1, 2));

    // Eight bytes each: the weight; the inputs and what is prepared of them; a result inside of a stage.
    let Needs { weights, preparing, values, .. } = needs(&program, Device::host());
    assert_eq!((weights, preparing, values), (0, 8, 24));
    assert_eq!(needs(&program, Device::host()).resident(), 40);
    assert_eq!(needs(&program, Device::host()).streaming(), 40);
}

/// What lies behind the last entry may be another table's first.
#[test]
fn entries_beyond_the_last_are_refused() {
    let tables = f32s([2, 3, 2], &(0..12).map(|i| i as f32).collect::<Vec<_>>());
    let rows = f32s([3, 2], &[0.0; 6]);
    for bad in [[3, 0], [0, 3], [-1, 0], [0, i32::MIN], [i32::MAX, 0]] {
        for (op, table) in [("select %b, %a : f32[2,2]", &tables), ("embedding %a, %b : f32[2,2]", &rows)] {
            let mut executor = executor(&format!(
                "program p {{ input %a : i32[2] latent input %b : {} latent variant main (%a, %b) -> (%y) {{
                 %y = {op} return %y }} schedule main }}",
                if table.shape.len() == 3 { "f32[2,3,2]" } else { "f32[3,2]" }
            ));
            executor.bind("a", &i32s([2], &bad)).unwrap();
            executor.bind("b", table).unwrap();
            let error = executor.step(0).unwrap_err().to_string();
            let index = bad.into_iter().find(|index| !(0..3).contains(index)).unwrap();
            assert!(error.contains(&format!("is to take number {index} of 3, counted from 0")), "{error}");
        }
    }
    let chosen = evaluate(&[tables, i32s([2], &[2, 0])], "select %a, %b : f32[2,2]");
    assert_eq!(chosen.to_f32(), [4.0, 5.0, 6.0, 7.0]);
}

/// What runs between steps on a device does what the host does: `sample + change · slope`, in f32.
#[test]
fn an_update_is_a_step_of_eulers_method() {
    const SHAPE: [usize; 3] = [1, 6, 4];
    const CHANGE: f32 = -0.037;
    let number = |index: usize, salt: f32| (index as f32 * 0.7 + salt).sin() * 3.0;
    let tensor = |salt: f32| {
        HostTensor::from_f32(SHAPE, &(0..24).map(|index| number(index, salt)).collect::<Vec<_>>())
    };
    for (input, slope) in [(DType::BF16, DType::BF16), (DType::F32, DType::BF16), (DType::F32, DType::F32)] {
        let fact = |dtype| Fact::new(dtype, SHAPE).at(Rate::Latent);
        let graph = Integral::update(&fact(input), &fact(slope)).unwrap();
        let program = Program::of_graph("update", "main", 1, graph);
        let mut executor = load(Device::host(), program, &Given(HashMap::new())).unwrap();
        let (sample, slope) = (tensor(0.1), tensor(0.9).cast(slope));
        executor.bind(Integral::SAMPLE, &sample).unwrap();
        executor.bind(Integral::SLOPE, &slope).unwrap();
        executor.bind(Integral::CHANGE, &HostTensor::from_f32([], &[CHANGE])).unwrap();
        let made = executor.step(0).unwrap();
        let pairs = sample.to_f32().into_iter().zip(slope.to_f32());
        let expected: Vec<f32> = pairs.map(|(sample, slope)| sample + CHANGE * slope).collect();
        let expected = HostTensor::from_f32(SHAPE, &expected);
        assert_eq!(made[Integral::SAMPLE], expected);
        assert_eq!(made[Integral::INPUT], expected.cast(input));
    }
}
