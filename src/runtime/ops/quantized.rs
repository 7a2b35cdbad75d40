//! Quantized values, computed with operations that every backend has.

use super::extents;
use crate::RunError;
use crate::backend::BurnBackend;
use crate::coded::{Coded, unpacked};
use crate::quantize::quantize as quantize_on_host;
use crate::value::{Value, burn_shape, float_dtype, int_dtype};
use burn::tensor::ops::{FloatTensor, IntTensor};
use burn::tensor::{Shape, Slice, TensorData, TensorMetadata};
use rayon::prelude::*;
use reflux_ir::dtype::f8e4m3;
use reflux_ir::op::{MatmulCodes, Quantize, Rescale};
use reflux_ir::{DType, Fact, Granularity};

/// The number of products of two i8 codes whose sum is exact in f32: it stays below 2²⁴.
const EXACT: usize = 512;

/// See [`Quantize`]; `fact` is the type of `x`. What burn's ops cannot do is done on the host: f8e4m3, and
/// rows whose last group is short.
pub fn quantize<B: BurnBackend>(
    op: &Quantize,
    x: FloatTensor<B>,
    fact: &Fact,
    device: &B::Device,
) -> Result<Coded<B>, RunError> {
    let columns = fact.shape.columns();
    let size = match op.scales.per {
        Granularity::Tensor => fact.shape.elements(),
        Granularity::Row => columns,
        Granularity::Group(size) => size.into(),
    };
    let short = matches!(op.scales.per, Granularity::Group(_)) && !columns.is_multiple_of(size);
    if op.dtype != DType::I8 || short || fact.shape.elements() == 0 {
        let host = Value::<B>::Float(x).download(fact, "quantize")?;
        return Ok(Coded::upload(quantize_on_host(&host, op), device));
    }
    let (least, greatest) = (f64::from(op.least()), op.dtype.greatest());
    let round = |x| rounded::<B>(x, op.scales.dtype);
    let groups = Shape::new([fact.shape.elements() / size, size]);
    let x = round(B::float_reshape(in_f32::<B>(x), groups));
    let largest = B::float_max_dim(B::float_abs(x.clone()), 1);
    let scales = round(B::float_div_scalar(largest, f64::from(op.divisor()).into()));
    // The threshold is rounded to the scales' dtype too.
    let scales = round(B::float_clamp_min(scales, op.eps.0.into()));
    let codes = round(B::float_mul(x, round(B::float_recip(scales.clone()))));
    let codes = B::float_clamp(B::float_round(codes), least.into(), greatest.into());
    let codes = B::int_reshape(B::float_into_int(codes, int_dtype(DType::I8)), burn_shape(&fact.shape));
    let scales = B::float_reshape(scales, Shape::from(op.scales.grid(&fact.shape)));
    Ok(Coded { codes, scales, zeros: None })
}

/// Concatenates `parts`, whose rows have a scale each, along `axis`, which is not the last; `facts` are their types.
pub fn concat<B: BurnBackend>(parts: Vec<Value<B>>, facts: &[Fact], axis: usize) -> Coded<B> {
    let (mut codes, mut scales, mut zeros) = (Vec::new(), Vec::new(), Vec::new());
    for (part, fact) in parts.into_iter().zip(facts) {
        let Value::Quantized(part) = part else { unreachable!("inference gives one kind here") };
        codes.push(part.codes);
        let rows = [&fact.shape[..fact.shape.len() - 1], &[1]].concat();
        let by_row = |x| B::float_reshape(x, Shape::from(rows.clone()));
        scales.push(by_row(part.scales));
        zeros.extend(part.zeros.map(by_row));
    }
    let joined = |parts: Vec<FloatTensor<B>>| {
        let whole = B::float_cat(parts, axis);
        let rows = extents::<B>(&whole).iter().product();
        B::float_reshape(whole, Shape::new([rows, 1]))
    };
    let zeros = if zeros.is_empty() { None } else { Some(joined(zeros)) };
    Coded { codes: B::int_cat(codes, axis), scales: joined(scales), zeros }
}

/// See [`reflux_ir::op::Dequantize`]; `fact` is the type of `x`.
pub fn dequantize<B: BurnBackend>(
    x: Coded<B>,
    fact: &Fact,
    dtype: DType,
    device: &B::Device,
) -> FloatTensor<B> {
    let (rows, columns) = (fact.shape.rows(), fact.shape.columns());
    let group = match fact.scales.map(|scales| scales.per) {
        Some(Granularity::Group(size)) => Some(usize::from(size)),
        _ => None,
    };
    // One scale for each column, if there is more than one per row.
    let spread = |scales: FloatTensor<B>| {
        let scales = in_f32::<B>(scales);
        let Some(size) = group else { return scales };
        let groups = columns.div_ceil(size);
        let scales = B::float_reshape(scales, Shape::new([rows, groups, 1]));
        let scales = B::float_expand(scales, Shape::new([rows, groups, size]));
        let scales = B::float_reshape(scales, Shape::new([rows, groups * size]));
        B::float_slice(scales, &[Slice::from(..), Slice::from(0..columns)])
    };
    let numbers = match fact.dtype {
        DType::F8E4M3 => B::decode_f8(x.codes, device),
        DType::U4 => B::int_into_float(unpacked::<B>(x.codes, [rows, columns]), float_dtype(DType::F32)),
        DType::I8 => B::int_into_float(x.codes, float_dtype(DType::F32)),
        other @ (DType::F32 | DType::F16 | DType::BF16 | DType::I32 | DType::Block(_)) => {
            unreachable!("{other} is verified to have no scales")
        }
    };
    let mut numbers = B::float_reshape(numbers, Shape::new([rows, columns]));
    if fact.dtype.has_zero_points() {
        numbers = B::float_sub_scalar(numbers, fact.dtype.middle().into());
    }
    numbers = B::float_mul(numbers, spread(x.scales));
    if let Some(zeros) = x.zeros {
        numbers = B::float_add(numbers, spread(zeros));
    }
    B::float_reshape(B::float_cast(numbers, float_dtype(dtype)), burn_shape(&fact.shape))
}

/// The numbers of blocks of GGML, given by their bytes, decoded on the host; `fact` is the type of the blocks.
pub fn decode_blocks<B: BurnBackend>(
    blocks: IntTensor<B>,
    fact: &Fact,
    dtype: DType,
    device: &B::Device,
) -> Result<FloatTensor<B>, RunError> {
    let lost = || RunError::Backend { line: "dequantize".into(), message: "blocks cannot be read".into() };
    let data = burn::tensor::try_read_sync(B::int_into_data(blocks)).ok_or_else(lost)?;
    let bytes = data.map_err(|_| lost())?;
    let row_bytes = fact.dtype.stored_bytes(fact.shape.columns());
    let mut numbers = vec![0.0; fact.shape.elements()];
    let rows = numbers.par_chunks_mut(fact.shape.columns()).zip(bytes.as_bytes().par_chunks(row_bytes));
    rows.for_each(|(numbers, blocks)| fact.dtype.decode_into(blocks, numbers));
    let numbers = TensorData::new(numbers, burn_shape(&fact.shape));
    Ok(B::float_cast(B::float_from_data(numbers, device), float_dtype(dtype)))
}

/// The values, in f32, of f8e4m3 codes given by their bits: looked up in a table.
pub fn decode_f8<B: BurnBackend>(codes: IntTensor<B>, device: &B::Device) -> FloatTensor<B> {
    let table: Vec<f32> = (0..=u8::MAX).map(f8e4m3::decode).collect();
    let table = B::float_from_data(TensorData::new(table, Shape::new([256])), device);
    let shape = codes.shape();
    let flat = B::int_reshape(codes, Shape::new([shape.num_elements()]));
    let numbers = B::float_select(table, 0, B::int_cast(flat, int_dtype(DType::I32)));
    B::float_reshape(numbers, shape)
}

/// See [`MatmulCodes`].
pub fn matmul<B: BurnBackend>(
    op: MatmulCodes,
    x: Value<B>,
    weight: Coded<B>,
    device: &B::Device,
) -> Value<B> {
    match op {
        MatmulCodes::MatmulI8 => Value::Int(B::matmul_i8(x.coded().codes, weight.codes)),
        MatmulCodes::MatmulF8 => {
            let [x, weight] = [x.coded(), weight].map(|x| B::decode_f8(x.codes, device));
            Value::Float(B::project(x, weight, None))
        }
        MatmulCodes::MatmulW8 => {
            let x = x.float(device);
            // Every code is exact in every float type.
            let weight = B::int_into_float(weight.codes, x.dtype().into());
            Value::Float(B::project(x, weight, None))
        }
    }
}

/// `x · Wᵀ` of i8 codes with `W` `[out, in]`, in i32: the sum of f32 products over so few columns that each is exact.
pub fn matmul_i8<B: BurnBackend>(x: IntTensor<B>, weight: IntTensor<B>) -> IntTensor<B> {
    let mut shape = x.shape().to_vec();
    let features = shape.pop().expect("verified");
    let rows: usize = shape.iter().product();
    shape.push(weight.shape()[0]);
    let x = B::int_reshape(x, Shape::new([rows, features]));
    let part = |codes: &IntTensor<B>, start: usize| {
        let columns = Slice::from(start..(start + EXACT).min(features));
        let codes = B::int_slice(codes.clone(), &[Slice::from(..), columns]);
        B::int_into_float(codes, float_dtype(DType::F32))
    };
    let products = (0..features).step_by(EXACT).map(|start| {
        let product = B::float_matmul(part(&x, start), B::float_transpose(part(&weight, start)));
        B::float_into_int(product, int_dtype(DType::I32))
    });
    B::int_reshape(products.reduce(B::int_add).expect("products have terms"), Shape::from(shape))
}

/// A factor of a product of codes: f32 scales `[rows, 1]` or `[1, 1]`, and the dtype to round to.
pub struct Factor<B: BurnBackend> {
    pub scales: FloatTensor<B>,
    pub dtype: DType,
}

/// See [`Rescale`]; `others` are the operands after `acc`, `inputs` the types of all operands, `fact` that of the result.
pub fn rescale<B: BurnBackend>(
    acc: Value<B>,
    others: Vec<Value<B>>,
    inputs: &[Fact],
    fact: &Fact,
    device: &B::Device,
) -> FloatTensor<B> {
    let quantized = Rescale::quantized(&inputs.iter().collect::<Vec<_>>());
    let mut others = others.into_iter();
    let mut factors = inputs[1..].iter().zip(others.by_ref().take(quantized)).map(|(fact, value)| Factor {
        scales: value.coded().scales,
        dtype: fact.scales.expect("a quantized value has scales").dtype,
    });
    let x = if quantized == 2 { factors.next() } else { None };
    let weight = factors.next().expect("verified");
    drop(factors);
    let bias = others.next().map(|bias| bias.float(device));
    B::rescale(acc, x, weight, bias, fact, device)
}

/// `acc · x · weight + bias` over rows, one op after the other.
pub fn rescale_rows<B: BurnBackend>(
    acc: Value<B>,
    x: Option<Factor<B>>,
    weight: Factor<B>,
    bias: Option<FloatTensor<B>>,
    fact: &Fact,
    device: &B::Device,
) -> FloatTensor<B> {
    let columns = fact.shape.columns();
    let row = |x: FloatTensor<B>| {
        let count = extents::<B>(&x).iter().product();
        B::float_reshape(in_f32::<B>(x), Shape::new([1, count]))
    };
    let acc = match acc {
        Value::Int(acc) => B::int_into_float(acc, float_dtype(DType::F32)),
        acc => in_f32::<B>(acc.float(device)),
    };
    let mut y = B::float_reshape(acc, Shape::new([fact.shape.rows(), columns]));
    if let Some(x) = x {
        y = rounded::<B>(B::float_mul(y, x.scales), x.dtype);
    }
    y = rounded::<B>(B::float_mul(y, row(weight.scales)), weight.dtype);
    if let Some(bias) = bias {
        y = rounded::<B>(B::float_add(y, row(bias)), weight.dtype);
    }
    B::float_reshape(B::float_cast(y, float_dtype(fact.dtype)), burn_shape(&fact.shape))
}

fn in_f32<B: BurnBackend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(x, float_dtype(DType::F32))
}

/// The f32 numbers `x` rounded to `dtype`, in f32.
fn rounded<B: BurnBackend>(x: FloatTensor<B>, dtype: DType) -> FloatTensor<B> {
    if dtype == DType::F32 { x } else { in_f32::<B>(B::float_cast(x, float_dtype(dtype))) }
}
