//! Composition of formulas.

use super::rule::{Classes, Level, Tree};
use egg::Id;
use reflux_ir::DType;
use reflux_ir::op::{
    Arg, Binary, Body, BodyBuilder, Constant, Gemm, Linear, Op, Rowwise, Segment, Term, axis_index,
};
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

    /// The segments of `sum`, columns with a formula over the operands of `inner` that is `acc` or a sum itself, plus `products`,
    /// which divide these columns.
    pub fn with_products(
        &mut self,
        sum: &Body,
        inner: &Level,
        products: &[AddedProduct],
    ) -> Result<Vec<Segment>, Mismatch> {
        if sum.split_sum().1.result() != Arg::Acc {
            return Err(Mismatch::new("the gemm computes more of its columns than a sum of products"));
        }
        let sum = self.renumber(sum, &inner.operands);
        let mut segment = |added: &AddedProduct| {
            let mut builder = BodyBuilder::default();
            let sum = builder.append(&sum, |arg| arg);
            let product = [added.x, added.weight].map(|id| Arg::Operand(self.operand(id)));
            let product = builder.term(Linear {}, product.to_vec());
            let result = builder.term(Binary::Add, vec![sum, product]);
            Ok(Segment { columns: added.columns, body: finish(builder, result)? })
        };
        products.iter().map(&mut segment).collect()
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

/// `linear(x, W)`, added to some columns.
pub struct AddedProduct {
    pub columns: usize,
    x: Id,
    weight: Id,
}

/// The products that the sum of the level `outer` adds to the level below it.
pub fn added_products(outer: &Level, classes: &Classes) -> Result<Vec<AddedProduct>, Mismatch> {
    let f = as_rowwise(&outer.op)?;
    let is_sum = matches!(f.body.terms(), [Term { op: Op::Binary(Binary::Add), .. }]);
    let &[a, b] = &outer.operands[..] else {
        return Err(Mismatch::new("the formula is no sum of two operands"));
    };
    if !is_sum {
        return Err(Mismatch::new("the formula is no sum of two operands"));
    }
    let added = if outer.at == 0 { b } else { a };
    if classes.fact(added).shape != outer.fact(classes)?.shape {
        return Err(Mismatch::new("what is added is not of the shape of the sum"));
    }
    products(classes, added).ok_or_else(|| Mismatch::new("what is added is no linear without bias"))
}

/// The linears without bias, side by side, that the class is equal to, if it is.
fn products(classes: &Classes, id: Id) -> Option<Vec<AddedProduct>> {
    let product = |id: Id| {
        let linears = classes.ops_of(id).filter_map(|(op, operands)| match (op, operands) {
            (Op::Linear(_), &[x, weight]) => Some((x, weight)),
            _ => None,
        });
        let columns = *classes.fact(id).shape.last()?;
        linears.min().map(|(x, weight)| AddedProduct { columns, x, weight })
    };
    let rank = classes.fact(id).shape.len();
    let beside = |(op, operands): (&Op, &[Id])| match op {
        Op::Concat(concat) if axis_index(concat.axis, rank) + 1 == rank => {
            operands.iter().map(|&id| product(id)).collect()
        }
        _ => None,
    };
    product(id).map(|only| vec![only]).or_else(|| classes.ops_of(id).find_map(beside))
}

/// Whether the class is equal to a product that others can be added to, or to columns of one.
fn is_sum(classes: &Classes, id: Id) -> bool {
    let is_whole_sum = |op: &Op| match op {
        Op::Gemm(gemm) => gemm.segments.iter().all(|segment| segment.body.split_sum().1.result() == Arg::Acc),
        _ => false,
    };
    classes.ops_of(id).any(|(op, operands)| match op {
        Op::Slice(_) => classes.ops_of(operands[0]).any(|(op, _)| is_whole_sum(op)),
        op => is_whole_sum(op),
    })
}

/// Refuses formulas that add a product to another one and would read one of them from memory. As a further part of the sum it
/// costs its arithmetic only, and each way to compute a segment doubles the number of gemms.
pub fn adds_no_product(outer: &Level, classes: &Classes) -> Result<(), Mismatch> {
    let shape = &outer.fact(classes)?.shape;
    let adds = as_rowwise(&outer.op)?.body.terms().iter().any(|term| match (&term.op, &term.args[..]) {
        (Op::Binary(Binary::Add), &[Arg::Operand(a), Arg::Operand(b)]) => {
            let [a, b] = [outer.operands[a], outer.operands[b]];
            let is_absorbed = |sum, added| {
                classes.fact(added).shape == *shape
                    && products(classes, added).is_some()
                    && is_sum(classes, sum)
            };
            is_absorbed(a, b) || is_absorbed(b, a)
        }
        _ => false,
    });
    if adds {
        Err(Mismatch::new("it adds two products, which are one sum before they are anything else"))
    } else {
        Ok(())
    }
}

/// The rowwise op of a level of a match.
pub fn as_rowwise(op: &Op) -> Result<&Rowwise, Mismatch> {
    if let Op::Rowwise(op) = op { Ok(op) } else { Err(Mismatch::new("this is not a rowwise op")) }
}

/// The gemm of a level of a match.
pub fn as_gemm(op: &Op) -> Result<&Gemm, Mismatch> {
    if let Op::Gemm(op) = op { Ok(op) } else { Err(Mismatch::new("this is not a gemm")) }
}
