//! Composition of formulas.

use super::rule::{Classes, Level, Tree};
use egg::Id;
use reflux_ir::DType;
use reflux_ir::op::{Arg, Body, BodyBuilder, Constant, Gemm, Op, Rowwise, Segment};
use reflux_ir::pass::Mismatch;

/// The operands of a formula under construction, each class once.
#[derive(Default)]
pub struct Operands {
    ids: Vec<Id>,
}

impl Operands {
    /// The class as an operand.
    pub fn operand(&mut self, id: Id) -> usize {
        let known = self.ids.iter().position(|&known| known == id);
        known.unwrap_or_else(|| {
            self.ids.push(id);
            self.ids.len() - 1
        })
    }

    /// The class as `op` reads it in a formula: a number, or an operand.
    pub fn read(&mut self, classes: &Classes, builder: &mut BodyBuilder, id: Id) -> Arg {
        match classes.constant(id) {
            Some(constant) => builder.term(Constant::of(constant.rounded() as f32, DType::F32), Vec::new()),
            None => Arg::Operand(self.operand(id)),
        }
    }

    /// `body`, whose operands were `ids`, over these operands.
    pub fn renumber(&mut self, body: &Body, ids: &[Id]) -> Body {
        let numbers: Vec<usize> = ids.iter().map(|&id| self.operand(id)).collect();
        body.renumbered(|index| numbers[index])
    }

    /// The formula `f` of the level `outer`, in which the operand that is the level below it is `g`, a formula over the
    /// operands of `inner`.
    pub fn compose(&mut self, f: &Body, outer: &Level, g: &Body, inner: &Level) -> Result<Body, Mismatch> {
        let mut builder = BodyBuilder::default();
        let absorbed = builder.append(&self.renumber(g, &inner.operands), |arg| arg);
        let mut args = Vec::with_capacity(outer.operands.len());
        for (at, &id) in outer.operands.iter().enumerate() {
            args.push(if at == outer.at { absorbed } else { Arg::Operand(self.operand(id)) });
        }
        let result = builder.append(f, |arg| match arg {
            Arg::Operand(index) => args[index],
            arg => arg,
        });
        finish(builder, result)
    }

    /// A rowwise op of `body`, its operands in the order of the text.
    pub fn rowwise(self, body: Body, dtype: DType) -> Tree {
        let order = body.operands();
        let body = body.renumbered(|index| place(&order, index));
        Tree::over(Rowwise { body, dtype }, order.into_iter().map(|index| self.ids[index]).collect())
    }

    /// A gemm, its operands in the order of the text.
    pub fn gemm(self, product: Body, segments: Vec<Segment>, dtype: DType) -> Tree {
        let gemm = Gemm { product, segments, dtype };
        let order = gemm.operands();
        let renumbered = |body: &Body| body.renumbered(|index| place(&order, index));
        let segment =
            |Segment { columns, body }: &Segment| Segment { columns: *columns, body: renumbered(body) };
        let op = Gemm {
            product: renumbered(&gemm.product),
            segments: gemm.segments.iter().map(segment).collect(),
            dtype,
        };
        Tree::over(op, order.into_iter().map(|index| self.ids[index]).collect())
    }
}

fn place(order: &[usize], index: usize) -> usize {
    order.iter().position(|&known| known == index).expect("the order has every operand")
}

/// The body that results in `result`, if its text is not too long.
pub fn finish(builder: BodyBuilder, result: Arg) -> Result<Body, Mismatch> {
    builder.finish(result).ok_or_else(|| Mismatch::new("the formula would be too long"))
}

/// Checks that a formula is of the shape of the level below it: what it reads besides is broadcast to that, and not that to
/// something larger.
pub fn keeps_shape(outer: &Level, classes: &Classes) -> Result<(), Mismatch> {
    let (whole, below) = (outer.fact(classes)?, classes.fact(outer.operands[outer.at]));
    if whole.shape == below.shape {
        return Ok(());
    }
    Err(Mismatch::new(format!(
        "the formula makes {} of {}: it broadcasts its operand",
        whole.shape, below.shape
    )))
}

/// The rowwise op of a level of a match.
pub fn as_rowwise(op: &Op) -> Result<&Rowwise, Mismatch> {
    if let Op::Rowwise(op) = op { Ok(op) } else { Err(Mismatch::new("this is not a rowwise op")) }
}

/// The gemm of a level of a match.
pub fn as_gemm(op: &Op) -> Result<&Gemm, Mismatch> {
    if let Op::Gemm(op) = op { Ok(op) } else { Err(Mismatch::new("this is not a gemm")) }
}
