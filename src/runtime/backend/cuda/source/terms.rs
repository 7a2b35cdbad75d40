//! The source of each op of a formula.

use super::encoding;
use super::rounding;
use super::writer::{Coding, Writer};
use crate::backend::cuda::unsupported::{Unsupported, unsupported};
use crate::backend::cuda::view::View;
use reflux_ir::Granularity;
use reflux_ir::op::{Arg, Binary, Cast, Constant, LayerNorm, Op, Quantize, RmsNorm, Unary};

impl Writer<'_> {
    pub(super) fn term(&mut self, op: &Op, args: &[Arg]) -> Result<String, Unsupported> {
        let elements = self.layout.elements();
        match op {
            Op::Rope(_) => return self.rope(args),
            Op::Dequantize(_) => return self.dequantize(args),
            _ => {}
        }
        let operands = args.iter().map(|&arg| self.read(arg)).collect::<Result<Vec<_>, _>>()?;
        let array = self.array();
        let layout = self.layout;
        match op {
            Op::Constant(Constant { value, .. }) => {
                self.line(&format!("repeat<{elements}>({array}, {:?}f);", value.0 as f32));
            }
            Op::Unary(function) => {
                let x = format!("{}[e]", operands[0]);
                // Functions of CUDA or of `kernels/rowwise.cuh`.
                let value = match function {
                    Unary::Silu => format!("silu({x})"),
                    Unary::Gelu => format!("gelu({x})"),
                    Unary::GeluTanh => format!("gelu_tanh({x})"),
                    Unary::QuickGelu => format!("quick_gelu({x})"),
                    Unary::Exp => format!("expf({x})"),
                    Unary::Tanh => format!("tanhf({x})"),
                    Unary::Sigmoid => format!("1.0f / (1.0f + expf(-{x}))"),
                    Unary::Erf => format!("erff({x})"),
                    Unary::Sqrt => format!("sqrtf({x})"),
                    Unary::Log => format!("logf({x})"),
                    Unary::Sin => format!("sinf({x})"),
                    Unary::Cos => format!("cosf({x})"),
                };
                self.line(&format!("EACH({elements}) {array}[e] = {value};"));
            }
            Op::Binary(op) => {
                let (a, b) = (&operands[0], &operands[1]);
                let value = match op {
                    Binary::Add => format!("{a}[e] + {b}[e]"),
                    Binary::Sub => format!("{a}[e] - {b}[e]"),
                    Binary::Mul => format!("{a}[e] * {b}[e]"),
                    Binary::Div => format!("{a}[e] / {b}[e]"),
                    Binary::Equal => format!("{a}[e] == {b}[e] ? 1.0f : 0.0f"),
                    Binary::Less => format!("{a}[e] < {b}[e] ? 1.0f : 0.0f"),
                    Binary::Min => format!("lesser({a}[e], {b}[e])"),
                    Binary::Max => format!("greater({a}[e], {b}[e])"),
                    Binary::Pow => format!("powf({a}[e], {b}[e])"),
                };
                self.line(&format!("EACH({elements}) {array}[e] = {value};"));
            }
            Op::Cast(Cast { dtype }) => {
                let round = rounding(*dtype)?;
                self.line(&format!("EACH({elements}) {array}[e] = {round}({}[e]);", operands[0]));
            }
            Op::LayerNorm(LayerNorm { eps }) => {
                self.line(&format!(
                    "standardize<{layout}>({array}, {}, {:?}f, lane);",
                    operands[0], eps.0 as f32
                ));
                if let [_, weight, bias] = &operands[..] {
                    self.line(&format!(
                        "EACH({elements}) {array}[e] = {array}[e] * {weight}[e] + {bias}[e];"
                    ));
                }
            }
            Op::RmsNorm(RmsNorm { eps }) => {
                self.line(&format!(
                    "divide_by_rms<{layout}>({array}, {}, {:?}f, lane);",
                    operands[0], eps.0 as f32
                ));
                self.line(&format!("EACH({elements}) {array}[e] *= {}[e];", operands[1]));
            }
            other => return unsupported(format!("`{}` has no kernel", other.name())),
        }
        Ok(array)
    }

    /// Rotations of neighbouring pairs; the table is `[2, tokens, dim / 2]`, of which this row's token is read.
    fn rope(&mut self, args: &[Arg]) -> Result<String, Unsupported> {
        let x = self.read(args[0])?;
        let Arg::Operand(table) = args[1] else {
            return unsupported("the table of a rotation is computed in the same formula");
        };
        let table = self.operands[table].data.clone();
        let layout = self.layout;
        if layout.vector < 2 || self.shape.len() < 3 || table.strides.last() != Some(&1) {
            return unsupported("the pairs to rotate are not contiguous");
        }
        let mut strides = vec![0; self.shape.len()];
        strides[self.shape.len() - 3] = table.strides[1];
        let array = self.array();
        let pointer = self.row_pointer(&table, &strides, false);
        let half = table.strides[0];
        self.line(&format!("rotate<{layout}>({array}, {x}, {pointer}, {pointer} + {half}, lane);"));
        Ok(array)
    }

    /// The values of codes: see [`reflux_ir::Scales`].
    fn dequantize(&mut self, args: &[Arg]) -> Result<String, Unsupported> {
        let Arg::Operand(index) = args[0] else {
            return unsupported("the codes are computed in the same formula");
        };
        let Some(Coding { per, scales, zeros }) = self.operands[index].coding.clone() else {
            return unsupported("codes have no scales");
        };
        let codes = self.read(args[0])?;
        let scales = self.spread(per, &scales);
        // Each operation rounds: the compiler must not fuse them.
        let mut value = format!("__fmul_rn({codes}[e], {scales}[e])");
        if let Some(zeros) = zeros {
            let zeros = self.spread(per, &zeros);
            value = format!("__fadd_rn({value}, {zeros}[e])");
        }
        let (array, elements) = (self.array(), self.layout.elements());
        self.line(&format!("EACH({elements}) {array}[e] = {value};"));
        Ok(array)
    }

    /// Loads the scale, or the zero point, of each element; returns the name of the array.
    fn spread(&mut self, per: Granularity, scales: &View) -> String {
        let (layout, array) = (self.layout, self.array());
        if let Granularity::Group(size) = per {
            let pointer = self.row_pointer(scales, &scales.strides, false);
            self.line(&format!("spread<{layout}, {size}>({array}, {pointer}, lane);"));
        } else {
            let pointer = self.of_row(scales);
            self.line(&format!("repeat<{}>({array}, to_float({pointer}[0]));", layout.elements()));
        }
        array
    }

    pub(super) fn quantize(&mut self, op: &Quantize, x: &str) -> Result<(), Unsupported> {
        let Some(Coding { scales, .. }) = self.target.coding.clone() else {
            return unsupported("the codes have no memory for scales");
        };
        if op.scales.per != Granularity::Row {
            return unsupported(format!("no kernel quantizes with {} scales", op.scales));
        }
        let (code, largest, round) = encoding(op)?;
        let layout = self.layout;
        let target = self.target.data.clone();
        if target.strides.last() != Some(&1) {
            return unsupported("codes of a row have to lie next to each other");
        }
        let codes = self.row_pointer(&target, &target.strides.clone(), true);
        let strides = [scales.broadcast(&self.shape[..self.shape.len() - 1]), vec![0]].concat();
        let scale = self.row_pointer(&scales, &strides, true);
        self.line(&format!(
            "quantize<{layout}>({codes}, {scale}, {x}, {largest:?}f, {:?}f, {round}, {code}, lane);",
            op.eps.0 as f32,
        ));
        Ok(())
    }
}
