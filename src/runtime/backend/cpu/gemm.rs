//! Products with epilogues that run while the result is in the cache.

use super::formula::{Cut, Formula, Workspace};
use super::matrix::Matrix;
use super::panel::{self, Panels};
use super::product::{HEIGHT, Number, tile_size};
use super::quantized::ScaleFactors;
use super::rowwise::in_runs;
use super::tiles::{for_each, tiles};
use crate::value::Value;
use burn::tensor::{DType as BurnDType, Shape};
use burn_flex::{Flex, FlexTensor};
use pulp::Arch;
use reflux_ir::op::{Arg, Body, Gemm, MatmulCodes, Op, Term};
use reflux_ir::{DType, Fact};
use std::ops::Range;

/// Runs `op` over operands of the types `inputs`; its result is of type `fact`. Returns the operands if they or the formulas
/// are not supported here.
pub fn run(
    op: &Gemm,
    operands: Vec<Value<Flex>>,
    inputs: &[Fact],
    fact: &Fact,
) -> Result<FlexTensor, Vec<Value<Flex>>> {
    let operands: Vec<_> = operands.into_iter().map(in_runs).collect();
    match fused(op, &operands, inputs, fact) {
        Some(y) if fact.dtype == DType::F32 => Ok(y),
        _ => Err(operands),
    }
}

fn fused(op: &Gemm, operands: &[Value<Flex>], inputs: &[Fact], fact: &Fact) -> Option<FlexTensor> {
    // Products that are added are computed first, and read like any operand.
    let (added, op) = op.split_sums();
    let added: Vec<Value<Flex>> = added
        .iter()
        .map(|&[x, weight]| match (&operands[x], &operands[weight]) {
            (Value::Float(x), Value::Float(weight)) => linear(x, weight, None).map(Value::Float),
            _ => None,
        })
        .collect::<Option<_>>()?;
    let operands: Vec<Value<Flex>> = operands.iter().cloned().chain(added).collect();
    let product = GemmOperands::of(&op.product, &operands, inputs)?;
    let epilogue = Epilogue::of(&op, &operands, fact)?;
    Some(multiply(product, &epilogue, &fact.shape))
}

/// See [`reflux_ir::op::Linear`]. `None` if the operands are not f32, or their layout is not supported.
pub fn linear(x: &FlexTensor, weight: &FlexTensor, bias: Option<&FlexTensor>) -> Option<FlexTensor> {
    let mut shape = x.layout().shape().to_vec();
    let product = GemmOperands::linear(x, weight, bias)?;
    *shape.last_mut()? = product.columns();
    Some(multiply(product, &Epilogue { segments: Vec::new() }, &shape))
}

enum GemmOperands<'a> {
    F32 { x: Matrix<'a, f32>, weight: ProductWeight<'a>, bias: Option<&'a [f32]> },
    I8 { x: Matrix<'a, i8>, weight: Matrix<'a, i8>, factors: ScaleFactors },
}

impl<'a> GemmOperands<'a> {
    fn of(body: &Body, operands: &'a [Value<Flex>], inputs: &[Fact]) -> Option<Self> {
        let index = |arg: &Arg| if let Arg::Operand(index) = *arg { Some(index) } else { None };
        let float = |arg: &Arg| match &operands[index(arg)?] {
            Value::Float(x) => Some(x),
            _ => None,
        };
        let optional = |arg: Option<&Arg>| arg.map_or(Some(None), |arg| float(arg).map(Some));
        match body.terms() {
            [Term { op: Op::Linear(_), args }] => {
                let bias = optional(args.get(2))?;
                Self::linear(float(&args[0])?, float(&args[1])?, bias)
            }
            [
                Term { op: Op::MatmulCodes(MatmulCodes::MatmulI8), args: codes },
                Term { op: Op::Rescale(rescale), args },
            ] if args[0] == Arg::Term(0)
                && args.get(1..3) == Some(&codes[..])
                && rescale.dtype == DType::F32 =>
            {
                let quantized = |arg: &Arg| match &operands[index(arg)?] {
                    Value::Quantized(coded) => {
                        let scales = inputs[index(arg)?].scales?;
                        (scales.dtype == DType::F32).then_some((&coded.codes, &coded.scales))
                    }
                    _ => None,
                };
                let ((x, x_scales), (weight, weight_scales)) = (quantized(&codes[0])?, quantized(&codes[1])?);
                // A bias in 16 bits is left to the composed op, which converts it.
                let bias = optional(args.get(3))?;
                if bias.is_some_and(|bias| bias.dtype() != BurnDType::F32) {
                    return None;
                }
                let (x, weight) = (Matrix::of(x)?, Matrix::of(weight)?);
                let factors = ScaleFactors::new(Some(x_scales), weight_scales, bias, [x.rows, weight.rows]);
                Some(Self::I8 { x, weight, factors })
            }
            _ => None,
        }
    }

    fn linear(x: &'a FlexTensor, weight: &'a FlexTensor, bias: Option<&'a FlexTensor>) -> Option<Self> {
        if x.dtype() != BurnDType::F32
            || x.layout().num_elements() == 0
            || weight.layout().num_elements() == 0
        {
            return None;
        }
        let bias = match bias {
            Some(bias) => Some(bias.as_slice::<f32>()?),
            None => None,
        };
        let weight = match weight.layout().shape().len() {
            2 => ProductWeight::Rows(Matrix::of(weight)?),
            _ => ProductWeight::Panels(Panels::of(weight)?),
        };
        Some(Self::F32 { x: Matrix::of(x)?, weight, bias })
    }

    fn columns(&self) -> usize {
        match self {
            Self::F32 { weight, .. } => weight.rows(),
            Self::I8 { weight, .. } => weight.rows,
        }
    }
}

/// f32 weights as products read them.
#[derive(Clone, Copy)]
enum ProductWeight<'a> {
    Rows(Matrix<'a, f32>),
    Panels(Panels<'a>),
}

impl ProductWeight<'_> {
    fn rows(self) -> usize {
        match self {
            Self::Rows(weight) => weight.rows,
            Self::Panels(weight) => weight.rows(),
        }
    }

    /// The most rows of a tile of the result.
    fn height(self) -> usize {
        match self {
            Self::Rows(_) => HEIGHT,
            Self::Panels(_) => panel::HEIGHT,
        }
    }

    /// The products of the rows of `x`, one per row of `y`, with `rows` of the weight.
    fn multiply(self, x: Matrix<f32>, rows: Range<usize>, y: &mut [&mut [f32]]) {
        match self {
            Self::Rows(weight) => f32::multiply(x, weight.rows(rows), y),
            Self::Panels(weight) => weight.multiply(x, rows, y),
        }
    }
}

/// The epilogues of a product's columns, segment by segment. Columns without one stay unchanged.
struct Epilogue<'a> {
    segments: Vec<(Range<usize>, Formula<'a>)>,
}

impl<'a> Epilogue<'a> {
    fn of(op: &Gemm, operands: &'a [Value<Flex>], fact: &Fact) -> Option<Self> {
        let (_, rows) = fact.shape.split_last()?;
        let mut segments = Vec::with_capacity(op.segments.len());
        for (segment, start) in op.segments.iter().zip(op.starts()) {
            let shape = [rows, &[segment.columns]].concat();
            let body = &segment.body;
            let formula =
                Formula::new(body.terms(), body.result(), operands, Some(Arg::Acc), &shape, Cut::Rows)?;
            if !formula.is_nothing() {
                segments.push((start..start + segment.columns, formula));
            }
        }
        Some(Self { segments })
    }

    fn workspaces(&self) -> Vec<Workspace> {
        self.segments.iter().map(|(_, formula)| formula.workspace()).collect()
    }

    /// Applies the epilogue in place to `columns` of a row.
    fn apply(&self, workspaces: &mut [Workspace], row: usize, columns: &Range<usize>, y: &mut [f32]) {
        for ((segment, formula), workspace) in self.segments.iter().zip(workspaces) {
            let (start, end) = (segment.start.max(columns.start), segment.end.min(columns.end));
            if start < end {
                let place = &mut y[start - columns.start..end - columns.start];
                formula.evaluate(workspace, row, start - segment.start, place);
            }
        }
    }
}

/// The product and its epilogue, of a result of `shape`.
fn multiply(product: GemmOperands, epilogue: &Epilogue, shape: &[usize]) -> FlexTensor {
    let mut y = FlexTensor::empty(Shape::from(shape.to_vec()), BurnDType::F32);
    let (columns, place) = (product.columns(), y.storage_mut());
    match product {
        GemmOperands::F32 { x, weight, bias } => {
            let size = tile_size([x.rows, columns, x.columns], weight.height());
            let multiply =
                |rows, columns, acc: &mut [&mut [f32]]| weight.multiply(x.rows(rows), columns, acc);
            tile_by_tile(size, columns, multiply, with_bias(bias), epilogue, place);
        }
        GemmOperands::I8 { x, weight, factors } => {
            let size = tile_size([x.rows, columns, x.columns], HEIGHT);
            let multiply = |rows, columns, acc: &mut [&mut [i32]]| {
                i8::multiply(x.rows(rows), weight.rows(columns), acc);
            };
            tile_by_tile(
                size,
                columns,
                multiply,
                #[inline(always)]
                |row, columns, acc, y| factors.apply(row, columns.clone(), acc, y),
                epilogue,
                place,
            );
        }
    }
    y
}

/// Adds the bias to sums before the epilogue.
fn with_bias(bias: Option<&[f32]>) -> impl Fn(usize, &Range<usize>, &[f32], &mut [f32]) {
    #[inline(always)]
    move |_, columns, acc, y| match bias {
        None => y.copy_from_slice(acc),
        Some(bias) => {
            for ((y, acc), bias) in y.iter_mut().zip(acc).zip(&bias[columns.clone()]) {
                *y = acc + bias;
            }
        }
    }
}

/// Computes the product in tiles of `size` and writes it to `y`: `multiply` computes the sums for some rows and some of the
/// `columns`, `finish` turns those of a row into results, and the epilogue follows.
fn tile_by_tile<Sum: Copy + Default + Send>(
    size: [usize; 2],
    columns: usize,
    multiply: impl Fn(Range<usize>, Range<usize>, &mut [&mut [Sum]]) + Sync,
    finish: impl Fn(usize, &Range<usize>, &[Sum], &mut [f32]) + Sync,
    epilogue: &Epilogue,
    y: &mut [f32],
) {
    let arch = Arch::new();
    for_each(
        tiles(y, columns, size),
        || (vec![Sum::default(); size[0] * size[1]], epilogue.workspaces()),
        |(acc, workspaces), tile| {
            let mut acc: Vec<_> = acc.chunks_mut(tile.columns.len()).take(tile.rows.len()).collect();
            multiply(tile.rows.clone(), tile.columns.clone(), &mut acc);
            for ((row, acc), y) in tile.rows.zip(acc).zip(tile.places) {
                arch.dispatch(
                    #[inline(always)]
                    || finish(row, &tile.columns, acc, y),
                );
                epilogue.apply(workspaces, row, &tile.columns, y);
            }
        },
    );
}
