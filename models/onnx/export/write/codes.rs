//! Quantized values. ONNX's own quantization has other rules, so codes are made by arithmetic, each operation rounded to the type of
//! the scales.

use super::int;
use super::layout::part;
use crate::onnx::export::body::{Body, Value, element_of};
use crate::onnx::export::error::{Refusal, refuse};
use crate::onnx::export::message::ElementType;
use reflux_ir::op::{MatmulCodes, Quantize, Rescale};
use reflux_ir::{DType, Fact, Granularity, Scales};

/// The scales that `fact` says its value has.
fn scales_of(fact: &Fact) -> Result<Scales, Refusal> {
    fact.scales.ok_or_else(|| Refusal(format!("{fact} has no scales")))
}

pub fn quantize(body: &mut Body, op: &Quantize, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let dtype = op.scales.dtype;
    let x = &operands[0];
    let mut values = body.wide(x)?;
    if x.fact.dtype != dtype {
        values = body.rounded(&values, dtype);
    }
    let (rank, columns) = (fact.shape.len() as i64, fact.shape.columns());
    let axes = match op.scales.per {
        Granularity::Row => vec![-1],
        Granularity::Tensor => (0..rank).collect(),
        Granularity::Group(size) => {
            if !columns.is_multiple_of(size.into()) {
                refuse!("the last group of a row is shorter than {size}; use scales per row");
            }
            let mut shape: Vec<i64> = fact.shape.iter().map(|&extent| extent as i64).collect();
            shape.pop();
            shape.extend([-1, i64::from(size)]);
            let shape = body.ints("shape", &shape);
            values = body.node("Reshape", &[&values, &shape], Vec::new());
            vec![-1]
        }
    };
    let axes = body.ints("axes", &axes);
    let sizes = body.node("Abs", &[&values], Vec::new());
    let largest = body.node("ReduceMax", &[&sizes, &axes], vec![int("keepdims", 1)]);
    let divisor = body.float(op.divisor());
    let scale = body.node("Div", &[&largest, &divisor], Vec::new());
    let scale = body.rounded(&scale, dtype);
    let least = body.float(op.smallest_scale());
    let scale = body.node("Max", &[&scale, &least], Vec::new());
    let mut codes = match op.dtype {
        DType::I8 => {
            // onnxruntime would make a quotient of a product by `1 / scale`, which rounds otherwise.
            let inverse = body.node("Reciprocal", &[&scale], Vec::new());
            let inverse = body.rounded(&inverse, dtype);
            let scaled = body.node("Mul", &[&values, &inverse], Vec::new());
            let scaled = body.rounded(&scaled, dtype);
            body.node("Round", &[&scaled], Vec::new())
        }
        _ => {
            let scaled = body.node("Div", &[&values, &scale], Vec::new());
            body.rounded(&scaled, dtype)
        }
    };
    let [least, greatest] = [op.least(), op.dtype.greatest() as f32].map(|bound| body.float(bound));
    codes = body.node("Clip", &[&codes, &least, &greatest], Vec::new());
    codes = body.cast(&codes, ElementType::F32, element_of(fact)?);
    let mut scale = scale;
    if let Granularity::Group(_) = op.scales.per {
        let shape: Vec<i64> = fact.shape.iter().map(|&extent| extent as i64).collect();
        let (shape, last) = (body.ints("shape", &shape), body.ints("axes", &[-1]));
        codes = body.node("Reshape", &[&codes, &shape], Vec::new());
        scale = body.node("Squeeze", &[&scale, &last], Vec::new());
    }
    Ok(body.coded(codes, scale, fact))
}

/// Not by `DequantizeLinear`: with a product behind it onnxruntime quantizes what is multiplied too.
pub fn dequantize(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let x = &operands[0];
    let dtype = x.fact.dtype;
    if dtype.is_block() {
        refuse!(
            "ONNX has no blocks of GGML like {dtype}; export from a checkpoint that is not a GGUF file, or from one in bf16 or f16"
        );
    }
    let codes = body.codes(x)?;
    let mut numbers = body.cast(&codes, element_of(&x.fact)?, ElementType::F32);
    if dtype.has_zero_points() {
        let middle = body.float(dtype.middle().into());
        numbers = body.node("Sub", &[&numbers, &middle], Vec::new());
    }
    let scales = body.scales(x);
    let scales = spread(body, scales, x);
    numbers = body.node("Mul", &[&numbers, &scales], Vec::new());
    if dtype.has_zero_points() {
        let Some(zeros) = body.zeros(x) else { refuse!("it has zero points, but is no weight") };
        let zeros = spread(body, zeros, x);
        numbers = body.node("Add", &[&numbers, &zeros], Vec::new());
    }
    body.narrowed(&numbers, fact)
}

/// Scales that broadcast to the codes of `x`: those of groups once for each code.
fn spread(body: &mut Body, scales: String, x: &Value) -> String {
    let (shape, columns) = (&x.fact.shape, x.fact.shape.columns());
    let Some(per @ Granularity::Group(_)) = x.fact.scales.map(|scales| scales.per) else { return scales };
    let size = per.extent(columns);
    let groups = columns.div_ceil(size);
    let leading: Vec<i64> = shape[..shape.len() - 1].iter().map(|&extent| extent as i64).collect();
    let last = body.ints("axes", &[-1]);
    let each = body.ints("shape", &[&leading[..], &[groups as i64, size as i64]].concat());
    let all = body.ints("shape", &[&leading[..], &[(groups * size) as i64]].concat());
    let scales = body.node("Unsqueeze", &[&scales, &last], Vec::new());
    let scales = body.node("Expand", &[&scales, &each], Vec::new());
    let scales = body.node("Reshape", &[&scales, &all], Vec::new());
    // The last group may be short.
    if groups * size == columns { scales } else { part(body, &scales, leading.len(), 0, columns) }
}

pub fn matmul(body: &mut Body, op: MatmulCodes, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let weight = body.transposed_codes(&operands[1])?;
    let y = match op {
        MatmulCodes::MatmulI8 => {
            let x = body.codes(&operands[0])?;
            body.node("MatMulInteger", &[&x, &weight], Vec::new())
        }
        MatmulCodes::MatmulF8 => {
            let x = body.codes(&operands[0])?;
            let [x, weight] =
                [x, weight].map(|codes| body.cast(&codes, ElementType::F8E4M3, ElementType::F32));
            body.node("MatMul", &[&x, &weight], Vec::new())
        }
        MatmulCodes::MatmulW8 => {
            let x = body.read(&operands[0])?;
            let weight = body.cast(&weight, ElementType::I8, element_of(fact)?);
            body.node("MatMul", &[&x, &weight], Vec::new())
        }
    };
    Ok(body.made(y, fact))
}

pub fn rescale(body: &mut Body, operands: &[Value], fact: &Fact) -> Result<Value, Refusal> {
    let facts: Vec<&Fact> = operands.iter().map(|operand| &operand.fact).collect();
    let quantized = Rescale::quantized(&facts);
    let acc = body.read(&operands[0])?;
    let mut y = body.cast(&acc, element_of(&operands[0].fact)?, ElementType::F32);
    if quantized == 2 {
        let x = &operands[1];
        let scales = body.scales(x);
        y = body.node("Mul", &[&y, &scales], Vec::new());
        y = body.rounded(&y, scales_of(&x.fact)?.dtype);
    }
    let weight = &operands[quantized];
    let dtype = scales_of(&weight.fact)?.dtype;
    let scales = body.flat_scales(weight);
    y = body.node("Mul", &[&y, &scales], Vec::new());
    y = body.rounded(&y, dtype);
    if let Some(bias) = operands.get(1 + quantized) {
        let bias = body.wide(bias)?;
        y = body.node("Add", &[&y, &bias], Vec::new());
        y = body.rounded(&y, dtype);
    }
    body.narrowed(&y, fact)
}
