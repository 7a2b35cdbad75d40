//! Sums of products: linears that are added to a gemm, or to some of its columns.

use super::build::{Operands, as_rowwise, finish};
use super::rule::{Classes, Level};
use egg::Id;
use reflux_ir::op::{Arg, Binary, Body, BodyBuilder, Linear, Op, Segment, Term, axis_index};
use reflux_ir::pass::Mismatch;

/// `linear(x, W)`, added to some columns.
pub struct AddedProduct {
    pub columns: usize,
    x: Id,
    weight: Id,
}

/// The products that the sum of the level `outer` adds to the level below it.
pub fn added_products(outer: &Level, classes: &Classes) -> Result<Vec<AddedProduct>, Mismatch> {
    let f = as_rowwise(&outer.op)?;
    let ([Term { op: Op::Binary(Binary::Add), .. }], &[a, b]) = (f.body.terms(), &outer.operands[..]) else {
        return Err(Mismatch::new("the formula is no sum of two operands"));
    };
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

impl Operands {
    /// The segments of `sums`, neighbouring columns with formulas over the operands of `inner` that are `acc` or sums themselves,
    /// plus `products`: all of them side by side in one segment, or one in each.
    pub fn with_products(
        &mut self,
        sums: &[(usize, &Body)],
        inner: &Level,
        products: &[AddedProduct],
    ) -> Result<Vec<Segment>, Mismatch> {
        let is_each_its_own = || {
            let widths = sums.iter().map(|(columns, _)| *columns);
            widths.eq(products.iter().map(|product| product.columns))
        };
        let bodies: Vec<&Body> = match sums {
            [(_, only)] => vec![*only; products.len()],
            several if is_each_its_own() => several.iter().map(|(_, body)| *body).collect(),
            _ => return Err(Mismatch::new("the products are of other columns than the segments")),
        };
        let segments = bodies.into_iter().zip(products);
        segments.map(|(sum, product)| self.with_product(sum, inner, product)).collect()
    }

    /// A segment of `sum` plus `product`.
    fn with_product(
        &mut self,
        sum: &Body,
        inner: &Level,
        product: &AddedProduct,
    ) -> Result<Segment, Mismatch> {
        if sum.split_sum().1.result() != Arg::Acc {
            return Err(Mismatch::new("the gemm computes more of its columns than a sum of products"));
        }
        let mut builder = BodyBuilder::default();
        let sum = builder.append(&self.renumber(sum, &inner.operands), |arg| arg);
        let args = [product.x, product.weight].map(|id| Arg::Operand(self.operand(id)));
        let added = builder.term(Linear {}, args.to_vec());
        let result = builder.term(Binary::Add, vec![sum, added]);
        Ok(Segment { columns: product.columns, body: finish(builder, result)? })
    }
}
