//! Rules that give products their epilogues.

use super::build::{Operands, as_gemm, as_rowwise, finish, keeps_shape};
use super::rule::{Classes, FuseRule, Level};
use super::spine::{GEMM, LINEAR, MATMUL_CODES, RESCALE, ROWWISE};
use super::sum::{added_products, adds_no_product};
use reflux_ir::DType;
use reflux_ir::op::{Arg, Body, BodyBuilder, Gemm, Op, Rescale, Segment};
use reflux_ir::pass::Mismatch;

/// `linear(x, W, b) → gemm linear(%0, %1, %2)`
pub const LINEAR_TO_GEMM: FuseRule = FuseRule {
    name: "linear-to-gemm",
    pattern: "linear(x, W, b) → gemm[linear(%0, %1, %2)]",
    spine: &[LINEAR],
    rewrite: |classes, found| {
        let level = &found.levels[0];
        let (mut operands, mut builder) = (Operands::default(), BodyBuilder::default());
        let args = level.operands.iter().map(|&id| Arg::Operand(operands.operand(id))).collect();
        let result = builder.term(level.op.clone(), args);
        let product = finish(builder, result)?;
        let columns = columns(level, classes)?;
        let dtype = classes.fact(level.operands[0]).dtype;
        Ok(vec![operands.gemm(product, vec![Segment { columns, body: Body::of(Arg::Acc) }], dtype)])
    },
};

/// `rescale(matmul_i8(x, W), x, W, b) → gemm rescale(matmul_i8(%0, %1), %0, %1, %2)`, and so for other codes.
pub const RESCALE_TO_GEMM: FuseRule = FuseRule {
    name: "rescale-to-gemm",
    pattern: "rescale(matmul_i8(x, W), x, W, b) → gemm[rescale(matmul_i8(%0, %1), %0, %1, %2)]",
    spine: &[RESCALE, MATMUL_CODES],
    rewrite: |classes, found| {
        let [rescale, matmul] = &found.levels[..] else {
            return Err(Mismatch::new("the rule needs two ops"));
        };
        let Op::Rescale(Rescale { dtype }) = rescale.op else {
            return Err(Mismatch::new("this is not a rescale"));
        };
        if rescale.at != 0 {
            return Err(Mismatch::new("the rescale is of another product"));
        }
        let (mut operands, mut builder) = (Operands::default(), BodyBuilder::default());
        let args = matmul.operands.iter().map(|&id| Arg::Operand(operands.operand(id))).collect();
        let mut args = vec![builder.term(matmul.op.clone(), args)];
        args.extend(rescale.operands[1..].iter().map(|&id| Arg::Operand(operands.operand(id))));
        let result = builder.term(Rescale { dtype: DType::F32 }, args);
        let product = finish(builder, result)?;
        let columns = columns(matmul, classes)?;
        Ok(vec![operands.gemm(product, vec![Segment { columns, body: Body::of(Arg::Acc) }], dtype)])
    },
};

/// The columns of a product's result, however its weight lies.
fn columns(product: &Level, classes: &Classes) -> Result<usize, Mismatch> {
    product.fact(classes)?.shape.last().copied().ok_or_else(|| Mismatch::new("the product is a scalar"))
}

/// `rowwise[f(%i)](…, gemm[P]{g}, …) → gemm[P]{f(g)}`
pub const GEMM_ABSORBS_ROWWISE: FuseRule = FuseRule {
    name: "gemm-absorbs-rowwise",
    pattern: "rowwise[f(%i)](gemm[P]{g}) → gemm[P]{f(g)}, f element by element",
    spine: &[ROWWISE, GEMM],
    rewrite: |classes, found| {
        let [outer, inner] = &found.levels[..] else { return Err(Mismatch::new("the rule needs two ops")) };
        let (f, gemm) = (as_rowwise(&outer.op)?, as_gemm(&inner.op)?);
        if !f.body.works_by_elements() {
            return Err(Mismatch::new("the formula needs whole rows, but a gemm computes tiles"));
        }
        adds_no_product(outer, classes)?;
        keeps_shape(outer, classes)?;
        let Gemm { product, segments, .. } = gemm;
        let [Segment { columns, body: g }] = &segments[..] else {
            return Err(Mismatch::new("the gemm has several segments; only a slice of one can be absorbed"));
        };
        let mut operands = Operands::default();
        let product = operands.renumber(product, &inner.operands);
        let body = operands.compose(&f.body, outer, g, inner)?;
        Ok(vec![operands.gemm(product, vec![Segment { columns: *columns, body }], f.dtype)])
    },
};

/// `rowwise[%0 + %1](gemm[P]{g}, linear(h, B)) → gemm[P]{g + linear(h, B)}`, in either order; several linears side by side, which
/// a concat puts together, become as many segments
pub const GEMM_ABSORBS_PRODUCT: FuseRule = FuseRule {
    name: "gemm-absorbs-product",
    pattern: "rowwise[%0 + %1](gemm[P]{g}, linear(h, B)) → gemm[P]{g + linear(h, B)}, g a sum of products",
    spine: &[ROWWISE, GEMM],
    rewrite: |classes, found| {
        let [outer, inner] = &found.levels[..] else { return Err(Mismatch::new("the rule needs two ops")) };
        let (f, gemm) = (as_rowwise(&outer.op)?, as_gemm(&inner.op)?);
        let added = added_products(outer, classes)?;
        keeps_shape(outer, classes)?;
        let mut operands = Operands::default();
        let product = operands.renumber(&gemm.product, &inner.operands);
        let sums: Vec<_> = gemm.segments.iter().map(|segment| (segment.columns, &segment.body)).collect();
        let segments = operands.with_products(&sums, inner, &added)?;
        Ok(vec![operands.gemm(product, segments, f.dtype)])
    },
};
