//! Compares the processor's own ops with those composed of burn's.

use super::matrix::Matrix;
use super::{functions, gemm, panel, rowwise};
use crate::backend::BurnBackend;
use crate::coded::Coded;
use crate::liveness::{Instruction, Liveness};
use crate::ops::{composed_op, elementwise, execute_op, fused, matrix};
use crate::value::{Value, burn_shape};
use burn::tensor::{Shape, TensorData};
use burn_flex::{Flex, FlexDevice, FlexTensor};
use reflux_ir::op::{Arg, Binary, Body, Op, Quantize, Term, Unary};
use reflux_ir::{DType as IrDType, Fact, text};

/// Reproducible values in −10…10.
fn values(count: usize, seed: u32) -> Vec<f32> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 * 20.0 - 10.0
    };
    (0..count).map(|_| next()).collect()
}

fn tensor(shape: &[usize], seed: u32) -> FlexTensor {
    let values = values(shape.iter().product(), seed);
    FlexTensor::from_data(TensorData::new(values, Shape::from(shape.to_vec())))
}

fn numbers(x: &FlexTensor) -> Vec<f32> {
    x.to_contiguous().storage::<f32>().to_vec()
}

/// Asserts that ‖a − b‖ is at most `tolerance` · ‖b‖.
fn assert_close(what: &str, a: &FlexTensor, b: &FlexTensor, tolerance: f64) {
    assert_eq!(a.layout().shape(), b.layout().shape(), "{what}");
    let (a, b) = (numbers(a), numbers(b));
    let norm = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    let difference = norm(&mut a.iter().zip(&b).map(|(a, b)| f64::from(*a) - f64::from(*b)));
    let distance = difference / norm(&mut b.iter().map(|&b| f64::from(b)));
    assert!(distance <= tolerance, "{what}: relative distance {distance:.2e}");
}

/// An op as the text writes it, over inputs of random values. Quantized operands are computed from f32 inputs.
struct Case {
    op: Op,
    inputs: Vec<Fact>,
    fact: Fact,
    operands: Vec<Value<Flex>>,
}

impl Case {
    /// `line` is `op : type` over the inputs `%a`, `%b`, … of the types `types`.
    fn new(types: &[&str], line: &str) -> Self {
        let names: Vec<String> =
            (b'a'..).take(types.len()).map(|name| format!("%{}", char::from(name))).collect();
        let declarations: String =
            names.iter().zip(types).map(|(name, fact)| format!("input {name} : {fact} latent\n")).collect();
        let source = format!(
            "program p {{\n{declarations}variant main ({}) -> (%y) {{\n%y = {line}\nreturn %y\n}}\nschedule main\n}}",
            names.join(", ")
        );
        let program = text::parse(&source).unwrap_or_else(|error| panic!("{line}: {error}"));
        let plan = Liveness::new(&program.variants["main"]);
        let instruction = plan.instructions.into_iter().next().unwrap();
        let Instruction { op, inputs, fact, .. } = instruction;
        let mut case = Self { op, inputs, fact, operands: Vec::new() };
        case.operands = case.own_operands();
        case
    }

    /// Copies of the operands, in separate memory.
    fn own_operands(&self) -> Vec<Value<Flex>> {
        self.inputs.iter().zip(1..).map(|(fact, seed)| operand(fact, seed)).collect()
    }
}

fn operand(fact: &Fact, seed: u32) -> Value<Flex> {
    let x = Value::Float(tensor(&burn_shape(&fact.shape), seed));
    match fact.scales {
        None => elementwise::cast(x, fact.dtype, &FlexDevice),
        Some(scales) => {
            let (dtype, eps) = (fact.dtype, 1e-5.into());
            let op = Quantize { dtype, scales, quant_min: Some(-127), eps };
            Flex::by_itself(&op.into(), &[], fact, vec![x]).unwrap()
        }
    }
}

/// The bits of a value, codes and scales alike.
fn bits(value: &Value<Flex>) -> Vec<u32> {
    let bits = |x: &FlexTensor| numbers(x).into_iter().map(f32::to_bits).collect();
    match value {
        Value::Float(x) => bits(x),
        Value::Quantized(Coded { codes, scales, .. }) => {
            let mut all: Vec<u32> = bits(scales);
            all.extend(codes.to_contiguous().storage::<i8>().iter().map(|&code| code as u32));
            all
        }
        other => panic!("{other:?}"),
    }
}

/// `body` by burn's ops alone.
fn by_burn(body: &Body, case: &Case) -> Value<Flex> {
    let inputs: Vec<&Fact> = case.inputs.iter().collect();
    let facts = body.infer(&inputs, None).unwrap();
    let mut made: Vec<Value<Flex>> = Vec::new();
    for (Term { op, args }, fact) in body.terms().iter().zip(&facts) {
        let read = |arg: &Arg| match *arg {
            Arg::Operand(index) => (case.operands[index].clone(), case.inputs[index].clone()),
            Arg::Term(index) => (made[index].clone(), facts[index].clone()),
            Arg::Acc => unreachable!(),
        };
        let (operands, inputs): (Vec<_>, Vec<_>) = args.iter().map(read).unzip();
        made.push(match op {
            Op::Constant(constant) => Value::Scalar(constant.value.0, constant.dtype),
            op => composed_op::<Flex>(op, &inputs, fact, operands, &FlexDevice).unwrap(),
        });
    }
    made.pop().unwrap()
}

/// Types of `%a`, `%b`, …, a formula over them, and the type of its result.
const FORMULAS: &[(&[&str], &str, &str)] = &[
    (
        &["f32[1,9,256]", "f32[1,1,256]", "f32[1,1,256]"],
        "layer_norm(%a, eps=1e-6) * (%b + 1.0) + %c",
        "f32[1,9,256]",
    ),
    (
        &["f32[2,5,40]", "f32[40]", "f32[40]", "f32[2,1,40]"],
        "layer_norm(%a, %b, %c, eps=1e-5) + %d",
        "f32[2,5,40]",
    ),
    (&["f32[2,7,3,12]", "f32[12]", "f32[2,7,6]"], "rope(rms_norm(%a, %b, eps=1e-6), %c)", "f32[2,7,3,12]"),
    (&["f32[1,1,3,8]", "f32[2,1,4]", "f32[2,5,3,8]"], "rope(%a, %b) - %c", "f32[2,5,3,8]"),
    (&["f32[33,1030]"], "gelu_tanh(%a) * %a", "f32[33,1030]"),
    (&["f32[3,1,5000]", "f32[3,4,1]"], "silu(%a) / (%b * %b + 1.0)", "f32[3,4,5000]"),
    (&["f32[6]", "f32[]"], "quick_gelu(%a - %b) + 0.5 * (%b - %a)", "f32[6]"),
    (&["f32[4,1]", "f32[1]"], "rms_norm(%a, %b, eps=1e-6)", "f32[4,1]"),
    (&["f32[5,6]"], "cast(%a, dtype=f32)", "f32[5,6]"),
    (&["f32[5,6]", "f32[5,6]"], "(%a + %b) * (%a - %b) + (%a + %b) / %b", "f32[5,6]"),
    (&["f32[7,300]", "f32[300]"], "min(tanh(%a), %b) - max(%b, exp(%a)) * 0.5", "f32[7,300]"),
    (&["f32[4,9]", "f32[9]"], "pow(%a * %a + 1.0, %b * 0.1) + pow(exp(%b), 0.5) + pow(%a, 3.0)", "f32[4,9]"),
    (&["f32[2,3]", "f32[2,3]"], "equal(%a * 0.0, %b * 0.0) + %a", "f32[2,3]"),
    (
        &["f32[1,6,200]", "f32[1,1,200]"],
        "quantize(layer_norm(%a, eps=1e-6) * %b, dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5)",
        "i8.row.f32[1,6,200]",
    ),
    (
        &["f32[3,100]"],
        "quantize(gelu_tanh(%a), dtype=i8, scales=group32.f32, quant_min=-128, eps=1e-5)",
        "i8.group32.f32[3,100]",
    ),
    (
        &["f32[3,100]"],
        "quantize(%a, dtype=i8, scales=row.bf16, quant_min=-128, eps=1e-5)",
        "i8.row.bf16[3,100]",
    ),
];

#[test]
fn formulas_are_their_ops_bit_for_bit() {
    for &(types, formula, fact) in FORMULAS {
        let case = Case::new(types, &format!("rowwise {formula} : {fact}"));
        let Op::Rowwise(op) = &case.op else { unreachable!() };
        let run = |operands| {
            let result = rowwise::run(op.body.terms(), op.body.result(), operands, &case.fact);
            result.unwrap_or_else(|_| panic!("{formula} is left to its ops"))
        };
        let fused = run(case.operands.clone());
        let apart = fused::rowwise::<Flex>(op, case.operands.clone(), &case.inputs, &FlexDevice).unwrap();
        assert_eq!(bits(&fused), bits(&apart), "{formula}");
        // If nothing else reads an operand, the result takes its memory.
        assert_eq!(bits(&fused), bits(&run(case.own_operands())), "{formula}");
        match (fused, by_burn(&op.body, &case)) {
            (Value::Float(fused), Value::Float(composed)) => assert_close(formula, &fused, &composed, 1e-6),
            (Value::Quantized(fused), Value::Quantized(composed)) => {
                assert_close(formula, &fused.scales, &composed.scales, 1e-6);
            }
            _ => unreachable!("both are numbers, or both are codes"),
        }
    }
}

/// Every function of one or two numbers gives the same results here as in burn, except for those that are left to burn.
#[test]
fn every_function_is_burns() {
    let unary = Unary::ALL.iter().copied().map(Op::from);
    for op in unary.chain(Binary::ALL.iter().copied().map(Op::from)) {
        // Positive, so that powers are numbers, and often equal.
        let operands = ["max(%a, 0.0) + 0.1".to_owned(), "max(%b, 0.0) * 0.2 + 0.1".to_owned()];
        let (types, count) = (["f32[3,5,70]", "f32[70]"], *op.arity().start());
        let formula = op.term(&operands[..count]);
        let case = Case::new(&types[..count], &format!("rowwise {formula} : f32[3,5,70]"));
        let Op::Rowwise(fused) = &case.op else { unreachable!() };
        let run = rowwise::run(fused.body.terms(), fused.body.result(), case.operands.clone(), &case.fact);
        let composed = by_burn(&fused.body, &case).float(&FlexDevice);
        match (run, &op) {
            (Ok(run), _) => assert_close(&formula, &run.float(&FlexDevice), &composed, 1e-6),
            (Err(_), Op::Unary(function)) if !functions::has(*function) => {}
            (Err(_), op) => panic!("`{op}` is left to burn"),
        }
    }
}

/// Types of `%a`, `%b`, …, a product of them with its epilogue, and the type of the result.
const PRODUCTS: &[(&[&str], &str, &str)] = &[
    (&["f32[1,50,256]", "f32[300,256]"], "linear(%a, %b)", "f32[1,50,300]"),
    (
        &["f32[1,50,256]", "f32[340,256]", "f32[340]"],
        "linear(%a, %b, %c) {140: acc, 200: gelu_tanh(acc)}",
        "f32[1,50,340]",
    ),
    (
        &["f32[2,3,10]", "f32[21,10]", "f32[21]", "f32[2,3,21]", "f32[2,1,21]"],
        "linear(%a, %b, %c) {%d + %e * acc}",
        "f32[2,3,21]",
    ),
    (&["f32[1,100]", "f32[900,100]", "f32[2]"], "linear(%a, %b) {898: 2.0 * acc, 2: %c - acc}", "f32[1,900]"),
    (
        &["i8.row.f32[1,50,256]", "i8.row.f32[340,256]", "f32[340]"],
        "rescale(matmul_i8(%a, %b), %a, %b, %c, dtype=f32) {140: acc, 200: gelu_tanh(acc)}",
        "f32[1,50,340]",
    ),
    (
        &["i8.tensor.f32[3,70]", "i8.row.f32[5,70]", "f32[3,5]", "f32[1,5]"],
        "rescale(matmul_i8(%a, %b), %a, %b, dtype=f32) {%c + %d * acc}",
        "f32[3,5]",
    ),
];

#[test]
fn products_with_epilogues_are_their_ops_bit_for_bit() {
    for &(types, product, fact) in PRODUCTS {
        let case = Case::new(types, &format!("gemm {product} : {fact}"));
        let Op::Gemm(op) = &case.op else { unreachable!() };
        let fused = gemm::run(op, case.operands.clone(), &case.inputs, &case.fact);
        let fused = fused.unwrap_or_else(|_| panic!("{product} is left to its ops"));
        let apart = fused::gemm::<Flex>(op, case.operands, &case.inputs, &case.fact, &FlexDevice).unwrap();
        assert_eq!(fused.layout().shape(), apart.layout().shape(), "{product}");
        assert_eq!(bits(&Value::Float(fused)), bits(&Value::Float(apart)), "{product}");
    }
}

#[test]
fn what_is_not_taken_is_left_to_the_ops() {
    for (types, line) in [
        (&["bf16[2,3]"], "rowwise silu(%a) + 1.0 : bf16[2,3]"),
        (&["f32[2,3]"], "rowwise silu(%a) + 1.0 : bf16[2,3]"),
        (&["f32[2,3]"], "rowwise gelu(%a) : f32[2,3]"),
        (&["f32[2,3]"], "rowwise cast(%a * 3.0, dtype=bf16) : f32[2,3]"),
    ] {
        let case = Case::new(types, line);
        let Op::Rowwise(op) = &case.op else { unreachable!() };
        let result = rowwise::run(op.body.terms(), op.body.result(), case.operands.clone(), &case.fact);
        assert!(result.is_err(), "{line}");
        execute_op(&case.op, &case.inputs, &case.fact, case.operands, &FlexDevice).unwrap();
    }
}

#[test]
fn a_bias_in_16_bits_is_left_to_the_ops() {
    for dtype in ["bf16", "f16"] {
        let types = ["i8.row.f32[1,50,256]", "i8.row.f32[34,256]", &format!("{dtype}[34]")];
        let line = format!(
            "gemm rescale(matmul_i8(%a, %b), %a, %b, %c, dtype=f32) {{gelu_tanh(acc)}} : {dtype}[1,50,34]"
        );
        let case = Case::new(&types, &line);
        let Op::Gemm(op) = &case.op else { unreachable!() };
        assert!(gemm::run(op, case.operands.clone(), &case.inputs, &case.fact).is_err(), "{line}");
        execute_op(&case.op, &case.inputs, &case.fact, case.operands, &FlexDevice).unwrap();
    }
}

#[test]
fn an_operand_gives_its_memory_only_if_nothing_else_reads_it() {
    let x = tensor(&[2, 3], 1);
    let (kept, before) = (x.clone(), numbers(&x));
    let fact = Fact::new(IrDType::F32, [2, 3]);
    let silu = |x| match Flex::by_itself(&Unary::Silu.into(), &[], &fact, vec![Value::Float(x)]) {
        Ok(Value::Float(y)) => y,
        _ => unreachable!(),
    };
    let y = silu(x);
    assert_eq!(numbers(&kept), before);
    let place = y.storage::<f32>().as_ptr();
    assert_eq!(silu(y).storage::<f32>().as_ptr(), place);
}

#[test]
fn products_are_the_composed_ones() {
    // Blocks and vectors left over in every direction, and products that are divided by rows and by columns.
    for [rows, features, out] in [[1, 1, 1], [2, 17, 5], [6, 512, 2051], [50, 250, 130], [97, 64, 33]] {
        let x = tensor(&[1, rows, features], 1);
        let (weight, bias) = (tensor(&[out, features], 2), tensor(&[out], 3));
        for bias in [None, Some(bias)] {
            let composed = matrix::linear::<Flex>(x.clone(), weight.clone(), bias.clone());
            let fast = Flex::project(x.clone(), weight.clone(), bias);
            assert_close("linear", &fast, &composed, 1e-6);
        }
    }
}

/// Products with panels equal those with rows, for any number of rows left over.
#[test]
fn products_of_panels_are_the_composed_ones() {
    for rows in 1..=14 {
        for [panels, features] in [[1, 1], [3, 17], [40, 256]] {
            let x = tensor(&[rows, features], 1);
            let (weight, bias) = (tensor(&[panels, features, panel::WIDTH], 2), tensor(&[16 * panels], 3));
            for bias in [None, Some(bias)] {
                let composed = matrix::linear::<Flex>(x.clone(), weight.clone(), bias.clone());
                assert!(gemm::linear(&x, &weight, bias.as_ref()).is_some());
                let fast = Flex::project(x.clone(), weight.clone(), bias);
                assert_close("linear", &fast, &composed, 1e-6);
            }
        }
    }
}

#[test]
fn products_of_slices_are_those_of_copies() {
    let (x, weight) = (tensor(&[1, 9, 40], 1), tensor(&[7, 16], 2));
    for slice in [x.narrow(2, 8, 16), x.narrow(1, 2, 5).narrow(2, 24, 16)] {
        assert!(Matrix::<f32>::of(&slice).is_some());
        let copy = slice.to_contiguous();
        let [slice, copy] = [slice, copy].map(|x| numbers(&Flex::project(x, weight.clone(), None)));
        assert_eq!(slice, copy);
    }
    assert!(Matrix::<f32>::of(&tensor(&[2, 9, 4], 1).narrow(1, 0, 5)).is_none());
}

/// Types of `%a`, `%b`, …, and an op over them with its type.
const OPS: &[(&[&str], &str)] = &[
    (&["f32[2,7,3,4]", "f32[2,7,3,4]", "f32[2,7,3,4]"], "attention %a, %b, %c {scale=0.1} : f32[2,7,3,4]"),
    (
        &["f32[2,50,3,20]", "f32[2,50,3,20]", "f32[2,50,3,20]", "f32[1,3,50,50]"],
        "attention %a, %b, %c, %d {scale=0.1, causal=true} : f32[2,50,3,20]",
    ),
    (
        &["f32[1,3,2,16]", "f32[1,9,2,16]", "f32[1,9,2,16]", "f32[3,1]"],
        "attention %a, %b, %c, %d {scale=0.01} : f32[1,3,2,16]",
    ),
    (&["f32[2,3,5,21]", "f32[6,3,3,3]", "f32[6]"], "conv2d %a, %b, %c {padding=1} : f32[2,6,5,21]"),
    (&["f32[1,9,40,40]", "f32[3,9,3,3]"], "conv2d %a, %b {padding=0} : f32[1,3,38,38]"),
    (&["f32[1,2,3,17]", "f32[4,2,1,1]", "f32[4]"], "conv2d %a, %b, %c {padding=0} : f32[1,4,3,17]"),
    (&["f32[1,2,1,1]", "f32[5,2,2,5]"], "conv2d %a, %b {padding=3} : f32[1,5,6,3]"),
    (&["f32[2,6,5,7]", "f32[6]", "f32[6]"], "group_norm %a, %b, %c {groups=3, eps=1e-6} : f32[2,6,5,7]"),
    (&["f32[2,3,5,7]"], "upsample %a {factor=3} : f32[2,3,15,21]"),
];

#[test]
fn ops_on_images_and_heads_are_the_composed_ones() {
    for &(types, line) in OPS {
        let case = Case::new(types, line);
        let Case { op, inputs, fact, operands } = &case;
        let Ok(Value::Float(fast)) = Flex::by_itself(op, inputs, fact, operands.clone()) else {
            panic!("{line} is not run")
        };
        let composed = composed_op(op, inputs, fact, operands.clone(), &FlexDevice).unwrap();
        assert_close(line, &fast, &composed.float(&FlexDevice), 1e-6);
    }
}
