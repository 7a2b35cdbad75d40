//! The text of each op of a formula.

use super::writer::Writer;
use super::{Unsupported, rounding, unsupported};
use crate::f8e4m3;
use reflux_ir::op::{Arg, Binary, Cast, Constant, LayerNorm, Op, Quantize, RmsNorm, Unary};
use reflux_ir::{DType, Granularity};

impl Writer<'_> {
    pub(super) fn term(&mut self, op: &Op, args: &[Arg]) -> Result<String, Unsupported> {
        let elements = self.layout.elements();
        if let Op::Rope(_) = op {
            return self.rope(args);
        }
        let operands = args.iter().map(|&arg| self.read(arg)).collect::<Result<Vec<_>, _>>()?;
        let array = self.array();
        let layout = self.layout;
        match op {
            Op::Constant(Constant { value, .. }) => {
                self.line(&format!("repeat<{elements}>({array}, {:?}f);", value.0 as f32));
            }
            Op::Unary(function) => {
                let name = match function {
                    Unary::Silu => "silu",
                    Unary::Gelu => "gelu",
                    Unary::GeluTanh => "gelu_tanh",
                    Unary::QuickGelu => "quick_gelu",
                };
                self.line(&format!("EACH({elements}) {array}[e] = {name}({}[e]);", operands[0]));
            }
            Op::Binary(op) => {
                let (a, b) = (&operands[0], &operands[1]);
                let value = match op {
                    Binary::Add => format!("{a}[e] + {b}[e]"),
                    Binary::Sub => format!("{a}[e] - {b}[e]"),
                    Binary::Mul => format!("{a}[e] * {b}[e]"),
                    Binary::Div => format!("{a}[e] / {b}[e]"),
                    Binary::Equal => format!("{a}[e] == {b}[e] ? 1.0f : 0.0f"),
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

    /// Rotations of neighbouring pairs; the table `[2, tokens, dim / 2]` is read where this row's token is.
    fn rope(&mut self, args: &[Arg]) -> Result<String, Unsupported> {
        let x = self.read(args[0])?;
        let Arg::Operand(table) = args[1] else { return unsupported("the table of a rotation is computed") };
        let table = self.operands[table].clone();
        let layout = self.layout;
        if layout.vector < 2 || self.shape.len() < 3 || table.strides.last() != Some(&1) {
            return unsupported("pairs to rotate do not lie next to each other");
        }
        let mut strides = vec![0; self.shape.len()];
        strides[self.shape.len() - 3] = table.strides[1];
        let array = self.array();
        let pointer = self.row_pointer(&table, &strides, false);
        let half = table.strides[0];
        self.line(&format!("rotate<{layout}>({array}, {x}, {pointer}, {pointer} + {half}, lane);"));
        Ok(array)
    }

    pub(super) fn quantize(&mut self, op: &Quantize, x: &str) -> Result<(), Unsupported> {
        let Some(scales) = self.target.scales.clone() else {
            return unsupported("codes have no place for scales");
        };
        if op.scales.per != Granularity::Row {
            return unsupported(format!("{} scales are not quantized here", op.scales));
        }
        let least = f32::from(op.quant_min.unwrap_or(-128));
        let (code, largest) = match op.dtype {
            DType::I8 => (format!("ToI8{{{least:?}f}}"), (127.0 - least) / 2.0),
            DType::F8E4M3 => ("ToF8E4M3{}".to_owned(), f8e4m3::MAX),
            other => return unsupported(format!("{other} is not quantized here")),
        };
        let round = rounding(op.scales.dtype)?;
        let layout = self.layout;
        let target = self.target.data.clone();
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
