//! Rules that make rowwise ops of single ops, and of each other.

use super::build::{Operands, as_rowwise, finish};
use super::rule::{FuseRule, Match};
use super::spine::{BY_ROWS, ROWWISE};
use reflux_ir::op::{Arg, Body, BodyBuilder, Cast, Op};
use reflux_ir::pass::Mismatch;
use reflux_ir::{DType, Fact};

/// `mul(x, y) → rowwise %0 * %1`, and so for every op that works row by row.
pub const OP_TO_ROWWISE: FuseRule = FuseRule {
    name: "op-to-rowwise",
    pattern: "op(x, …) → rowwise[op(%0, …)]",
    spine: &[BY_ROWS],
    rewrite: |classes, found| {
        let Match { levels } = found;
        let (op, ids) = (&levels[0].op, &levels[0].operands);
        let facts: Vec<&Fact> = ids.iter().map(|&id| classes.fact(id)).collect();
        if let Some(fact) = facts.iter().find(|fact| !fact.dtype.is_float() || fact.is_quantized()) {
            return Err(Mismatch::new(format!("formulas read floating-point numbers, not {fact}")));
        }
        let result = levels[0].fact(classes)?;
        if !result.dtype.is_float() && !result.is_quantized() {
            return Err(Mismatch::new(format!(
                "a formula gives floating-point numbers or codes, not {result}"
            )));
        }
        let (mut operands, mut builder) = (Operands::default(), BodyBuilder::default());
        let args: Vec<Arg> = ids.iter().map(|&id| operands.read(classes, &mut builder, id)).collect();
        // Formulas compute in f32 throughout.
        let body = match op {
            Op::Cast(Cast { dtype: DType::F32 }) => Body::of(args[0]),
            op => {
                let result = builder.term(op.clone(), args);
                finish(builder, result)?
            }
        };
        if body.operands().is_empty() {
            return Err(Mismatch::new("all its operands are constants"));
        }
        Ok(vec![operands.rowwise(body, result.dtype)])
    },
};

/// `rowwise[f(…, %i, …)](…, rowwise[g(…)](…), …) → rowwise[f(…, g(…), …)](…)`
pub const ROWWISE_ABSORBS_ROWWISE: FuseRule = FuseRule {
    name: "rowwise-absorbs-rowwise",
    pattern: "rowwise[f(%i)](rowwise[g](x)) → rowwise[f(g)](x)",
    spine: &[ROWWISE, ROWWISE],
    rewrite: |classes, found| {
        let [outer, inner] = &found.levels[..] else {
            return Err(Mismatch::new("the rule needs two rowwise ops"));
        };
        let (f, g) = (as_rowwise(&outer.op)?, as_rowwise(&inner.op)?);
        let inner_fact = inner.fact(classes)?;
        if inner_fact.is_quantized() {
            return Err(Mismatch::new("the inner op gives codes, which a formula cannot read"));
        }
        let mut operands = Operands::default();
        let body = operands.compose(&f.body, outer, &g.body, inner)?;
        let tree = operands.rowwise(body, f.dtype);
        let is_whole_row = classes.infer(&tree).map_err(Mismatch::new)?.shape == inner_fact.shape;
        if !is_whole_row && !g.body.works_by_elements() {
            return Err(Mismatch::new(
                "the inner op is shared by all rows and would be normalised again in each",
            ));
        }
        Ok(vec![tree])
    },
};
