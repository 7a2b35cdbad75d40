//! Along which axes ops can be divided, and what each device then computes.

use reflux_ir::op::{Attention, Concat, Op, OpKind, Parts, Reshape, Slice, axis_index};
use reflux_ir::pass::Mismatch;
use reflux_ir::{Fact, Granularity, Scales, Shape};

/// The axis of a value that is divided among devices, and how.
pub use reflux_ir::op::Divided;

/// What a device computes of an op whose result is divided.
pub struct Share {
    pub op: Op,
    /// How each operand is divided; those that every device reads as a whole are `None`.
    pub operands: Vec<Option<Divided>>,
}

/// The share of `op` over `operands` if its `result` is divided as `divided`.
///
/// # Errors
/// If a device needs more of the operands for that than its own share.
pub fn share(op: &Op, operands: &[&Fact], result: &Fact, divided: &Divided) -> Result<Share, Mismatch> {
    let (axis, parts) = divided;
    let is_along = |own: i64| axis_index(own, result.shape.len()) == *axis;
    let axes: Vec<Option<Divided>> = match op {
        Op::Concat(Concat { axis: own }) if is_along(*own) => {
            let mut rest = &parts.extents[..];
            let extents = operands.iter().map(|operand| {
                let taken = taken(&mut rest, operand.shape[*axis])?;
                Ok(Some((*axis, Parts { devices: parts.devices, extents: taken })))
            });
            extents.collect::<Result<_, _>>()?
        }
        Op::Slice(slice) if is_along(slice.axis) => {
            return Err(Mismatch::new("it takes a range of the divided axis"));
        }
        op => {
            let axes = along(op, operands, result, *axis)?;
            axes.into_iter().map(|axis| axis.map(|axis| (axis, parts.clone()))).collect()
        }
    };
    can_be_divided(operands, &axes)?;
    let op = match op {
        Op::Reshape(Reshape { shape }) => {
            let mut shape = shape.to_vec();
            shape[*axis] = parts.own();
            Reshape { shape: Shape::from(shape) }.into()
        }
        op => op.clone(),
    };
    Ok(Share { op, operands: axes })
}

/// Checks that codes which are to be divided mean the same without the others.
fn can_be_divided(operands: &[&Fact], axes: &[Option<Divided>]) -> Result<(), Mismatch> {
    let is_apart = |scales: Scales| scales.per == Granularity::Row;
    let mut divided = operands.iter().zip(axes).filter(|(_, axis)| axis.is_some());
    match divided.find(|(x, _)| x.scales.is_some_and(|scales| !is_apart(scales))) {
        None => Ok(()),
        Some(_) => Err(Mismatch::new(ONE_SCALE)),
    }
}

/// Why codes cannot be divided, and what to do.
const ONE_SCALE: &str =
    "there is one scale for all rows, of which each device has some; fp8dqrow has one for each row";

/// The first of `rest` that make up `extent`, which are taken away from it.
fn taken(rest: &mut &[usize], extent: usize) -> Result<Vec<usize>, Mismatch> {
    let mut end = 0;
    let mut sum = 0;
    while sum < extent && end < rest.len() {
        sum += rest[end];
        end += 1;
    }
    if sum != extent {
        return Err(Mismatch::new("what it concatenates is divided as one part"));
    }
    let (taken, others) = rest.split_at(end);
    *rest = others;
    Ok(taken.to_vec())
}

/// How the result of `op` is divided if its operand with this index is divided as `divided`, and what a device then computes.
///
/// # Errors
/// If no axis of the result can be divided like that.
pub fn shares_of(
    op: &Op,
    operands: &[&Fact],
    result: &Fact,
    index: usize,
    divided: &Divided,
) -> Result<(Divided, Share), Mismatch> {
    let (axis, parts) = divided;
    let is_along = |own: i64| axis_index(own, operands[index].shape.len()) == *axis;
    match op {
        Op::Concat(Concat { axis: own }) if is_along(*own) => {
            let of = |at: usize| match at == index {
                true => parts.extents.clone(),
                false => vec![operands[at].shape[*axis]],
            };
            let extents = (0..operands.len()).flat_map(of).collect();
            let whole = (*axis, Parts { devices: parts.devices, extents });
            let share = share(op, operands, result, &whole)?;
            Ok((whole, share))
        }
        Op::Slice(slice) if is_along(slice.axis) => {
            let (own, kept) = of_slice(slice, parts)?;
            let share = Share { op: own.into(), operands: vec![Some(divided.clone())] };
            Ok(((*axis, kept), share))
        }
        _ => {
            let mut why = Mismatch::new(format!("axis {axis} of what it reads is not one of the result's"));
            for along in 0..result.shape.len() {
                let whole = (along, parts.clone());
                match share(op, operands, result, &whole) {
                    Ok(share) if share.operands[index].as_ref() == Some(divided) => {
                        return Ok((whole, share));
                    }
                    Ok(_) => {}
                    Err(error) => why = error,
                }
            }
            Err(why)
        }
    }
}

/// The parts that `slice` takes of an axis that is divided into `parts`, and the slice of a device's share that it is.
fn of_slice(slice: &Slice, parts: &Parts) -> Result<(Slice, Parts), Mismatch> {
    let share = |extents: &[usize]| Parts { devices: parts.devices, extents: extents.to_vec() };
    let ends = |at: usize| parts.extents[..at].iter().sum::<usize>();
    let part = |end: usize| (0..=parts.extents.len()).find(|&at| ends(at) == end);
    let (Some(first), Some(last)) = (part(slice.start), part(slice.end)) else {
        return Err(Mismatch::new("its range begins or ends inside of what is divided"));
    };
    let (start, kept) = (share(&parts.extents[..first]).own(), share(&parts.extents[first..last]));
    Ok((Slice { axis: slice.axis, start, end: start + kept.own() }, kept))
}

/// For each operand, the axis along which a device needs only its share, if it computes its share of the result along `axis`; `None`
/// for what it needs as a whole.
///
/// # Errors
/// If the numbers along `axis` are not computed independently of each other.
fn along(op: &Op, operands: &[&Fact], result: &Fact, axis: usize) -> Result<Vec<Option<usize>>, Mismatch> {
    let last = result.shape.len() - 1;
    let only_first = |own: usize| Ok((0..operands.len()).map(|index| (index == 0).then_some(own)).collect());
    let extents = |fact: &Fact, until: usize| fact.shape[..until].iter().product::<usize>();
    match op {
        _ if op.kind() == OpKind::Elementwise => {
            Ok(operands.iter().map(|x| broadcast(x, result, axis)).collect())
        }
        _ if op.kind() == OpKind::RowReduction && axis < last => only_first(axis),
        Op::Linear(_) | Op::MatmulCodes(_) | Op::Dequantize(_) | Op::Embedding(_) if axis < last => {
            only_first(axis)
        }
        Op::Quantize(_) if !op.works_by_rows() => Err(Mismatch::new(ONE_SCALE)),
        Op::Quantize(_) if axis < last => only_first(axis),
        // Of codes, only the scales are read: those of rows, or of columns.
        Op::Rescale(_) if axis < last => {
            let rows = |x: &Fact| x.shape.len() == result.shape.len() && x.shape[axis] == result.shape[axis];
            let read = |(index, x): (usize, &&Fact)| (index < 2 && rows(x)).then_some(axis);
            Ok(operands.iter().enumerate().map(read).collect())
        }
        Op::Matmul(_) if axis + 1 == last => only_first(operands[0].shape.len() - 2),
        Op::Mean(_) | Op::Reduce(_) => only_first(axis),
        // The table is of tokens, for all batches and heads.
        Op::Rope(_) if axis < last => Ok(vec![Some(axis), (axis == 1).then_some(1)]),
        Op::Attention(attention) if axis == 0 || axis == 2 => Ok(heads(attention, operands, axis)),
        Op::Select(_) => {
            let prefix = operands[1].shape.len();
            if axis < prefix { Ok(vec![Some(axis); 2]) } else { only_first(axis + 1) }
        }
        Op::Transpose(transpose) => only_first(transpose.perm[axis]),
        Op::Concat(_) | Op::Slice(_) => Ok(vec![Some(axis); operands.len()]),
        Op::Reshape(_) => {
            let before = extents(result, axis);
            let is_it = |own: &usize| {
                extents(operands[0], *own) == before && operands[0].shape[*own] == result.shape[axis]
            };
            let own = (0..operands[0].shape.len()).find(is_it);
            own.map_or_else(|| Err(Mismatch::new("it divides or joins the axis")), only_first)
        }
        _ => Err(Mismatch::new("a device would need more than its share to compute its share")),
    }
}

/// The axis of `operand` that is `axis` of `result`, to which it is broadcast, unless it repeats along it.
fn broadcast(operand: &Fact, result: &Fact, axis: usize) -> Option<usize> {
    let own = (axis + operand.shape.len()).checked_sub(result.shape.len())?;
    (operand.shape[own] == result.shape[axis]).then_some(own)
}

/// Heads, and batches, are independent of each other, and a bound is of all of them.
fn heads(attention: &Attention, operands: &[&Fact], axis: usize) -> Vec<Option<usize>> {
    let own = |(index, operand): (usize, &&Fact)| match index {
        0..3 => Some(axis),
        _ if attention.bounded => None,
        // [batch, heads, queries, keys]
        _ => {
            let own = if axis == 2 { 1 } else { 0 };
            let scores = Shape::from([
                operands[0].shape[0],
                operands[0].shape[2],
                operands[0].shape[1],
                operands[1].shape[1],
            ]);
            broadcast(operand, &Fact::new(operand.dtype, scores), own)
        }
    };
    operands.iter().enumerate().map(own).collect()
}
