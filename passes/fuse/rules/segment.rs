//! Rules for segments of a gemm: column ranges with their own epilogues.

use super::build::{Operands, as_gemm, as_rowwise, keeps_shape};
use super::rule::{Classes, FuseRule, Level, Tree};
use super::spine::{GEMM, ROWWISE, SLICE};
use super::sum::{added_products, adds_no_product};
use reflux_ir::op::{Body, Gemm, Op, Segment, Slice, axis_index};
use reflux_ir::pass::Mismatch;
use reflux_ir::{DType, Fact};
use std::ops::Range;

/// `rowwise[f(%i)](…, slice(gemm[P]{…, g, …}), …) → slice(gemm[P]{…, f(g), …})`
pub const SEGMENT_ABSORBS_ROWWISE: FuseRule = FuseRule {
    name: "segment-absorbs-rowwise",
    pattern: "rowwise[f(%i)](slice(gemm[P]{…, g, …})) → slice(gemm[P]{…, f(g), …}), f element by element",
    spine: &[ROWWISE, SLICE, GEMM],
    rewrite: |classes, found| {
        let [outer, slice, inner] = &found.levels[..] else {
            return Err(Mismatch::new("the rule needs three ops"));
        };
        let (f, gemm) = (as_rowwise(&outer.op)?, as_gemm(&inner.op)?);
        if !f.body.works_by_elements() {
            return Err(Mismatch::new("the formula needs whole rows, but a gemm computes tiles"));
        }
        adds_no_product(outer, classes)?;
        keeps_shape(outer, classes)?;
        if f.dtype != gemm.dtype {
            return Err(Mismatch::new(format!("the formula gives {}, the gemm {}", f.dtype, gemm.dtype)));
        }
        let range = columns_of(&slice.op, classes, inner)?;
        let parts = parts(gemm, &range, inner, classes)?;
        let others = outer.operands.iter().enumerate().filter(|(at, _)| *at != outer.at);
        if parts.iter().filter(|(columns, _)| within(columns, &range)).count() > 1
            && others.into_iter().any(|(_, &id)| is_wide(classes.fact(id)))
        {
            return Err(Mismatch::new(
                "the formula reads an operand for all columns, which are several segments",
            ));
        }
        let mut operands = Operands::default();
        let product = operands.renumber(&gemm.product, &inner.operands);
        let mut segments = Vec::with_capacity(parts.len());
        for (columns, part) in parts {
            let body = match within(&columns, &range) {
                true => operands.compose(&f.body, outer, part, inner)?,
                false => operands.renumber(part, &inner.operands),
            };
            segments.push(Segment { columns: columns.len(), body });
        }
        let Op::Slice(slice) = slice.op.clone() else { return Err(Mismatch::new("this is not a slice")) };
        Ok(vec![Tree::of(slice, vec![operands.gemm(product, segments, gemm.dtype)])])
    },
};

/// `rowwise[%0 + %1](slice(gemm[P]{…, g, …}), linear(h, B)) → slice(gemm[P]{…, g + linear(h, B), …})`, in either order
pub const SEGMENT_ABSORBS_PRODUCT: FuseRule = FuseRule {
    name: "segment-absorbs-product",
    pattern: "rowwise[%0 + %1](slice(gemm[P]{…, g, …}), linear(h, B)) → slice(gemm[P]{…, g + linear(h, B), …})",
    spine: &[ROWWISE, SLICE, GEMM],
    rewrite: |classes, found| {
        let [outer, slice, inner] = &found.levels[..] else {
            return Err(Mismatch::new("the rule needs three ops"));
        };
        let (f, gemm) = (as_rowwise(&outer.op)?, as_gemm(&inner.op)?);
        let added = added_products(outer, classes)?;
        keeps_shape(outer, classes)?;
        if f.dtype != gemm.dtype {
            return Err(Mismatch::new(format!("the formula gives {}, the gemm {}", f.dtype, gemm.dtype)));
        }
        let range = columns_of(&slice.op, classes, inner)?;
        let mut operands = Operands::default();
        let product = operands.renumber(&gemm.product, &inner.operands);
        let parts = parts(gemm, &range, inner, classes)?;
        let own = parts.iter().filter(|(columns, _)| within(columns, &range));
        let sums: Vec<_> = own.map(|(columns, body)| (columns.len(), *body)).collect();
        let mut summed = operands.with_products(&sums, inner, &added)?;
        let mut segments = Vec::with_capacity(parts.len() + summed.len());
        for (columns, part) in parts {
            if within(&columns, &range) {
                segments.append(&mut summed);
            } else {
                let body = operands.renumber(part, &inner.operands);
                segments.push(Segment { columns: columns.len(), body });
            }
        }
        let Op::Slice(slice) = slice.op.clone() else { return Err(Mismatch::new("this is not a slice")) };
        Ok(vec![Tree::of(slice, vec![operands.gemm(product, segments, gemm.dtype)])])
    },
};

/// `slice(gemm[P]{…, g, …}) → slice(gemm[P]{…, g, …})` of another gemm that differs in other segments only.
pub const SEGMENTS_BESIDE: FuseRule = FuseRule {
    name: "segments-beside",
    pattern: "slice(gemm[P]{g, h}) → slice(gemm[P]{g, h′}), of the columns of g",
    spine: &[SLICE, GEMM],
    rewrite: |classes, found| {
        let [slice, level] = &found.levels[..] else { return Err(Mismatch::new("the rule needs two ops")) };
        let gemm = as_gemm(&level.op)?;
        let range = columns_of(&slice.op, classes, level)?;
        let here = computed(gemm, &range, &level.operands, classes);
        let mut replacements = Vec::new();
        for (class, other, ids) in classes.ops("gemm") {
            let Op::Gemm(other) = other else { continue };
            if other != gemm && here.is_some() && here == computed(other, &range, ids, classes) {
                replacements.push(Tree::of(slice.op.clone(), vec![Tree::Class(class)]));
            }
        }
        if replacements.is_empty() {
            return Err(Mismatch::new("no other gemm of this product has the same segment there"));
        }
        Ok(replacements)
    },
};

/// The columns that `slice` takes of the gemm of `level`.
fn columns_of(slice: &Op, classes: &Classes, level: &Level) -> Result<Range<usize>, Mismatch> {
    let rank = level.fact(classes)?.shape.len();
    match slice {
        &Op::Slice(Slice { axis, start, end }) if axis_index(axis, rank) + 1 == rank => Ok(start..end),
        _ => Err(Mismatch::new("the slice takes rows, not columns")),
    }
}

/// Whether the columns of a part are among `range`, which divides no part.
fn within(columns: &Range<usize>, range: &Range<usize>) -> bool {
    range.contains(&columns.start)
}

/// Whether a value has a number for each column of what it is broadcast to.
fn is_wide(fact: &Fact) -> bool {
    fact.shape.last().is_some_and(|&extent| extent != 1)
}

/// As [`cut`], refused if a segment would be cut in two that reads an operand column by column.
fn parts<'g>(
    gemm: &'g Gemm,
    range: &Range<usize>,
    level: &Level,
    classes: &Classes,
) -> Result<Vec<(Range<usize>, &'g Body)>, Mismatch> {
    let whole: Vec<Range<usize>> = gemm
        .segments
        .iter()
        .zip(gemm.starts())
        .map(|(segment, start)| start..start + segment.columns)
        .collect();
    let parts = cut(gemm, range);
    let is_cut = |(columns, body): &(Range<usize>, &Body)| {
        let mut read = body.operands().into_iter().map(|index| classes.fact(level.operands[index]));
        !whole.contains(columns) && read.any(is_wide)
    };
    if parts.iter().any(is_cut) {
        return Err(Mismatch::new("the slice takes a part of a segment that reads an operand for all of it"));
    }
    Ok(parts)
}

/// The segments of `gemm`, those that `range` cuts in two; each with its columns.
fn cut<'g>(gemm: &'g Gemm, range: &Range<usize>) -> Vec<(Range<usize>, &'g Body)> {
    let mut parts = Vec::new();
    for (Segment { columns, body }, start) in gemm.segments.iter().zip(gemm.starts()) {
        let end = start + columns;
        let inside = |edge: usize| edge.clamp(start, end);
        let edges = [start, inside(range.start), inside(range.end), end];
        let ranges = edges.windows(2).map(|edge| edge[0]..edge[1]).filter(|part| !part.is_empty());
        parts.extend(ranges.map(|part| (part, body)));
    }
    parts
}

/// What a gemm computes in some columns: its product, and the columns with their formulas, over classes as operands.
#[derive(PartialEq, Eq)]
struct Computed {
    product: Body,
    parts: Vec<(Range<usize>, Body)>,
    dtype: DType,
}

/// What `gemm` computes in `range`; nothing if it has no segment there.
fn computed(gemm: &Gemm, range: &Range<usize>, ids: &[egg::Id], classes: &Classes) -> Option<Computed> {
    let over_classes = |body: &Body| body.renumbered(|index| usize::from(classes.find(ids[index])));
    let inside = cut(gemm, range).into_iter().filter(|(columns, _)| range.contains(&columns.start));
    let parts: Vec<_> = inside.map(|(columns, body)| (columns, over_classes(body))).collect();
    let product = over_classes(&gemm.product);
    (!parts.is_empty()).then_some(Computed { product, parts, dtype: gemm.dtype })
}
