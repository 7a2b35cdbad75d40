//! What the inputs of a metric's network are, told by their types.

use super::metric::{NetworkMetric, Shown};
use super::picture::Reading;
use reflux_ir::DType;
use reflux_models::onnx::{OnnxAxis, OnnxInput};

/// What an input is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    Picture(Shown),
    Tokens,
    /// 1 where tokens are not padding.
    Mask,
}

/// What each of `inputs` is given, by its type: floats of four axes are pictures, and integers of two are tokens or, if they are
/// called so, a mask.
pub fn told_apart(metric: NetworkMetric, inputs: &[OnnxInput]) -> Result<Vec<Given>, String> {
    let is_picture = |input: &&OnnxInput| input.dtype == DType::F32 && input.axes.len() == 4;
    let pictures = metric.pictures(inputs.iter().filter(is_picture).count());
    let has_others = || format!("{} is made of {}; {}", metric.title(), metric.inputs(), listed(inputs));
    let mut pictures = pictures.ok_or_else(has_others)?.into_iter();
    let is_text = |input: &OnnxInput| input.dtype == DType::I32 && input.axes.len() == 2;
    let given = inputs.iter().map(|input| match input {
        input if is_picture(&input) => pictures.next().map(Given::Picture),
        input if is_text(input) && metric.tokens().is_some() => {
            Some(if input.name.contains("mask") { Given::Mask } else { Given::Tokens })
        }
        _ => None,
    });
    let given: Vec<Given> = given.collect::<Option<_>>().ok_or_else(has_others)?;
    let count = |wanted: Given| given.iter().filter(|given| **given == wanted).count();
    match count(Given::Tokens) == usize::from(metric.tokens().is_some()) && count(Given::Mask) <= 1 {
        true => Ok(given),
        false => Err(has_others()),
    }
}

/// The inputs that a file has, in words.
fn listed(inputs: &[OnnxInput]) -> String {
    let axis = |axis: &OnnxAxis| match axis {
        OnnxAxis::Fixed(extent) => extent.to_string(),
        OnnxAxis::Open(name) => name.clone(),
    };
    let input = |input: &OnnxInput| {
        let axes: Vec<String> = input.axes.iter().map(axis).collect();
        format!("`{}` {}[{}]", input.name, input.dtype, axes.join(", "))
    };
    let inputs: Vec<String> = inputs.iter().map(input).collect();
    match inputs.is_empty() {
        true => "this file reads nothing".to_owned(),
        false => format!("this file reads {}", inputs.join(", ")),
    }
}

/// What `input` is given, for pictures of `size`, with the shape of that, which the file must have or leave open.
pub fn fitted(
    metric: NetworkMetric,
    input: &OnnxInput,
    given: Given,
    size: [usize; 2],
) -> Result<(Given, Vec<usize>), String> {
    let fixed = |axis: usize| match input.axes[axis] {
        OnnxAxis::Fixed(extent) => Some(extent),
        OnnxAxis::Open(_) => None,
    };
    let (given, shape) = match given {
        Given::Picture(shown) => {
            let Reading { placing, scale } = shown.reading();
            let placing = match fixed(2) {
                Some(side) if placing.is_square() => placing.with_side(side),
                _ => placing,
            };
            let [height, width] = placing.size(size);
            (Given::Picture(shown.with(Reading { placing, scale })), vec![1, 3, height, width])
        }
        Given::Tokens | Given::Mask => {
            let length = fixed(1).or(metric.tokens()).expect("it reads prompts");
            (given, vec![1, length])
        }
    };
    let differs = (0..shape.len()).any(|axis| fixed(axis).is_some_and(|extent| extent != shape[axis]));
    match differs {
        false => Ok((given, shape)),
        true => Err(format!(
            "its input `{}` has to be of {shape:?}, or its axes left open where that depends on the picture; {}",
            input.name,
            listed(std::slice::from_ref(input))
        )),
    }
}
