//! What is known once the shapes of inputs are.

use super::Group;
use super::arithmetic::{MOST_EXACT, refuse_ends};
use crate::onnx::element::Element;
use crate::onnx::error::{Refusal, refuse};
use crate::onnx::lowering::{At, Value};
use crate::onnx::node::Attribute;
use crate::onnx::tensor::Known;

pub const OPS: Group = &[
    ("Constant", constant),
    ("ConstantOfShape", constant_of_shape),
    ("Range", range),
    ("ReduceProd", product),
    ("Shape", shape),
    ("Size", |at| {
        let size = at.shape(&at.input(0)?).iter().product::<usize>();
        at.result(Known { element: Element::I64, shape: Vec::new(), numbers: vec![size as f64] })
    }),
    ("Trilu", triangle),
];

fn constant<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let node = at.node;
    let Some((name, value)) = node.attributes.iter().find(|(name, _)| name.starts_with("value")) else {
        refuse!("it has no value")
    };
    let floats = |shape, numbers: &[f32]| Known {
        element: Element::F32,
        shape,
        numbers: numbers.iter().map(|&number| number.into()).collect(),
    };
    let known = match value {
        Attribute::Tensor(tensor) => {
            let output = node.outputs.first().map_or(name.as_str(), String::as_str);
            return Ok(vec![Value::Tensor(output, tensor)]);
        }
        Attribute::Int(number) => Known { shape: Vec::new(), ..Known::ints([*number]) },
        Attribute::Ints(numbers) => Known::ints(numbers.iter().copied()),
        Attribute::Float(number) => floats(Vec::new(), &[*number]),
        Attribute::Floats(numbers) => floats(vec![numbers.len()], numbers),
        Attribute::Text(_) | Attribute::OfCall(_) | Attribute::Other => refuse!("its `{name}` is not read"),
    };
    at.result(known)
}

/// The extents of `value` as sizes, none negative.
pub fn sizes(numbers: &[i64]) -> Result<Vec<usize>, Refusal> {
    let size = |&number: &i64| usize::try_from(number).map_err(|_| Refusal(format!("{number} is no extent")));
    numbers.iter().map(size).collect()
}

fn constant_of_shape<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let shape = sizes(&at.known(0)?.to_ints())?;
    at.check_size(&shape)?;
    let (element, number) = match at.node.attributes.get("value") {
        Some(Attribute::Tensor(tensor)) => match tensor.known().scalar() {
            Some(number) => (tensor.element, number),
            None => refuse!("its value is not one number"),
        },
        _ => (Element::F32, 0.0),
    };
    at.result(Known { element, numbers: vec![number; shape.iter().product()], shape })
}

fn range<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    refuse_ends(at)?;
    let bounds = [at.known(0)?, at.known(1)?, at.known(2)?];
    let [Some(start), Some(limit), Some(delta)] = bounds.each_ref().map(|known| known.scalar()) else {
        refuse!("its bounds are not one number each")
    };
    if delta == 0.0 {
        refuse!("its step is zero");
    }
    let count = ((limit - start) / delta).ceil().max(0.0) as usize;
    at.check_size(&[count])?;
    let element = bounds[0].element;
    let numbers = (0..count).map(|index| element.round(start + index as f64 * delta)).collect();
    at.result(Known { element, shape: vec![count], numbers })
}

fn product<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let known = at.known(0)?;
    let axes = at.ints(1)?.unwrap_or_default();
    let keeps = at.int("keepdims", 1) != 0;
    let is_whole = axes.is_empty() || known.shape.len() <= 1;
    if !is_whole {
        refuse!("the product along an axis of several is not computed");
    }
    let shape = if keeps { vec![1; known.shape.len()] } else { Vec::new() };
    refuse_ends(at)?;
    let product: f64 = known.numbers.iter().product();
    if !known.element.is_float() && product.abs() > MOST_EXACT {
        refuse!("it makes an integer beyond 2⁵³ of known ones");
    }
    at.result(Known { element: known.element, shape, numbers: vec![product] })
}

fn shape<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let shape = at.shape(&at.input(0)?);
    let rank = shape.len() as i64;
    let bound = |number: i64| (if number < 0 { number + rank } else { number }).clamp(0, rank) as usize;
    let (start, end) = (bound(at.int("start", 0)), bound(at.int("end", rank)));
    at.result(Known::ints(shape[start..end.max(start)].iter().map(|&extent| extent as i64)))
}

fn triangle<'g>(at: &mut At<'_, 'g>) -> Result<Vec<Value<'g>>, Refusal> {
    let known = at.known(0)?;
    let diagonal = at.ints(1)?.and_then(|numbers| numbers.first().copied()).unwrap_or(0);
    let is_upper = at.int("upper", 1) != 0;
    let Some([rows, columns]) = known.shape.last_chunk::<2>().copied() else {
        refuse!("it has no rows and columns")
    };
    let kept = |place: usize| {
        let (row, column) = ((place / columns % rows) as i64, (place % columns) as i64);
        if is_upper { column - row >= diagonal } else { column - row <= diagonal }
    };
    let numbers =
        known.numbers.iter().enumerate().map(|(place, &number)| if kept(place) { number } else { 0.0 });
    at.result(Known { element: known.element, shape: known.shape.clone(), numbers: numbers.collect() })
}
