//! What one op computes, in ONNX's ops: a formula over its operands.
//!
//! Whether it becomes a function of the model or nodes of the graph is decided once it is complete: see `assembly`.

use super::error::Refusal;
use super::message::{Attribute, ElementType, Named, Node, Tensor};
use super::names::Names;
use indexmap::IndexMap;
use reflux_ir::op::{Constant, Real};
use reflux_ir::{DType, Fact, Granularity, Scales, Shape};
use std::borrow::Cow;

/// How a body reads an operand: a quantized value is several tensors, and a weight may be laid out as a product reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Form {
    /// Its numbers, in its shape.
    Plain,
    /// Of a weight `[out, in]`, or of panels of one: `[in, out]`.
    Transposed,
    /// The codes, in its shape.
    Codes,
    /// The codes of a weight `[out, in]` as `[in, out]`.
    TransposedCodes,
    /// The scales, which broadcast to the codes, or of groups `[…, groups]`; in f32, which holds those of any type.
    Scales,
    /// The scales of a weight as a vector, or as one number without axes.
    FlatScales,
    /// Zero points, shaped as [`Scales`](Self::Scales).
    Zeros,
}

impl Form {
    /// The element type and the shape of this form of a value of type `fact`; `None` if ONNX has no such elements.
    pub fn of(self, fact: &Fact) -> Option<(ElementType, Vec<usize>)> {
        let shape = || fact.shape.to_vec();
        let transposed = || match fact.shape[..] {
            [out, columns] => vec![columns, out],
            [panels, columns, rows] => vec![columns, panels * rows],
            _ => shape(),
        };
        let element = ElementType::of(fact.dtype);
        Some(match self {
            Self::Plain | Self::Codes => (element?, shape()),
            Self::Transposed | Self::TransposedCodes => (element?, transposed()),
            Self::Scales | Self::Zeros => (ElementType::F32, scales_shape(fact)),
            Self::FlatScales => match fact.scales.map(|scales| scales.per) {
                Some(Granularity::Tensor) => (ElementType::F32, Vec::new()),
                _ => (ElementType::F32, vec![fact.shape.rows()]),
            },
        })
    }
}

/// The shape of the scales of a value: with as many axes as it has.
pub fn scales_shape(fact: &Fact) -> Vec<usize> {
    let mut shape = fact.shape.to_vec();
    match fact.scales.map(|scales| scales.per) {
        Some(per @ (Granularity::Row | Granularity::Group(_))) => {
            let columns = fact.shape.columns();
            if let Some(last) = shape.last_mut() {
                *last = columns.div_ceil(per.extent(columns));
            }
        }
        Some(Granularity::Tensor) | None => shape.fill(1),
    }
    shape
}

/// A value that is given to a body.
#[derive(Clone, Debug)]
pub struct Operand {
    pub fact: Fact,
    pub kind: OperandKind,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperandKind {
    /// It is computed, or an input of the graph.
    Value,
    /// A weight, which can be laid out in any [`Form`].
    Weight,
    /// A number.
    Number(Constant),
}

/// A value inside of a body.
#[derive(Clone, Debug)]
pub struct Value {
    pub fact: Fact,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Operand(usize),
    Number(f64),
    /// What it is called in the body.
    Local(String),
    /// What its codes and its scales are called.
    Coded(String, String),
}

/// Nodes over operands.
#[derive(Debug, Default)]
pub struct Body {
    operands: Vec<Operand>,
    /// What functions call their operands.
    labels: &'static [&'static str],
    /// The forms of operands that are read, and what they are called.
    pub params: IndexMap<(usize, Form), String>,
    /// Tensors that nodes read.
    pub constants: Vec<(String, Tensor)>,
    pub nodes: Vec<Node>,
    names: Names,
}

impl Body {
    /// An empty one over `operands`, the first of which are called `labels`.
    pub fn new(operands: Vec<Operand>, labels: &'static [&'static str]) -> Self {
        Self { operands, labels, ..Self::default() }
    }

    /// The operands as values.
    pub fn arguments(&self) -> Vec<Value> {
        let argument = |(index, operand): (usize, &Operand)| Value {
            fact: operand.fact.clone(),
            place: match &operand.kind {
                OperandKind::Number(constant) => Place::Number(constant.rounded()),
                _ => Place::Operand(index),
            },
        };
        self.operands.iter().enumerate().map(argument).collect()
    }

    /// Adds a node and returns the name of its result; that of an equal node, if there is one.
    pub fn node(&mut self, op: &'static str, inputs: &[&str], attributes: Vec<Named>) -> String {
        let inputs: Vec<String> = inputs.iter().map(|&input| input.to_owned()).collect();
        let is_same = |node: &&Node| node.op == op && node.inputs == inputs && node.attributes == attributes;
        if let Some(node) = self.nodes.iter().find(is_same) {
            return node.outputs[0].clone();
        }
        let output = self.names.free(&op.to_lowercase());
        let (op, outputs) = (Cow::Borrowed(op), vec![output.clone()]);
        self.nodes.push(Node { op, is_call: false, inputs, outputs, attributes, place: None });
        output
    }

    /// A tensor that nodes can read, called `name` if that is free.
    pub fn constant(&mut self, name: &str, tensor: Tensor) -> String {
        if let Some((name, _)) = self.constants.iter().find(|(_, known)| *known == tensor) {
            return name.clone();
        }
        let name = self.names.free(name);
        self.constants.push((name.clone(), tensor));
        name
    }

    /// Integers that nodes read: a shape, axes.
    pub fn ints(&mut self, what: &str, numbers: &[i64]) -> String {
        let digits: Vec<String> = numbers.iter().map(i64::to_string).collect();
        self.constant(&format!("{what}.{}", digits.join(".")), Tensor::ints(numbers))
    }

    /// An index.
    pub fn index(&mut self, number: i64) -> String {
        self.constant(&format!("index.{number}"), Tensor::int(number))
    }

    /// A number in f32.
    pub fn float(&mut self, number: f32) -> String {
        self.number(f64::from(number), DType::F32)
    }

    /// A number of type `dtype`, which is not one of codes.
    pub fn number(&mut self, number: f64, dtype: DType) -> String {
        let constant = match dtype.is_float() {
            true => Constant::of(number as f32, dtype),
            false => Constant { value: Real::from(number), dtype },
        };
        let bytes = match dtype {
            DType::I32 => (number as i32).to_le_bytes().to_vec(),
            _ => dtype.encode(&[number as f32]),
        };
        let element = ElementType::of(dtype).unwrap_or(ElementType::F32);
        let suffix = if dtype == DType::F32 { String::new() } else { format!(".{dtype}") };
        let name = format!("{:?}{suffix}", constant.value.0);
        self.constant(&name, Tensor { element, shape: Vec::new(), bytes })
    }

    /// What form `form` of operand `index` is called.
    fn param(&mut self, index: usize, form: Form) -> String {
        if let Some(name) = self.params.get(&(index, form)) {
            return name.clone();
        }
        let label = match self.labels.get(index) {
            Some(label) => (*label).to_owned(),
            None => format!("in{index}"),
        };
        let suffix = match form {
            Form::Plain | Form::Codes | Form::Transposed | Form::TransposedCodes => "",
            Form::Scales | Form::FlatScales => "_scale",
            Form::Zeros => "_zero",
        };
        let name = self.names.free(&format!("{label}{suffix}"));
        self.params.insert((index, form), name.clone());
        name
    }

    /// `name`, of type `from`, in type `to`.
    pub fn cast(&mut self, name: &str, from: ElementType, to: ElementType) -> String {
        if from == to {
            return name.to_owned();
        }
        self.node("Cast", &[name], vec![("to", Attribute::Int(to.number().into()))])
    }

    /// `name`, which holds f32 numbers, rounded to `dtype`, in f32.
    pub fn rounded(&mut self, name: &str, dtype: DType) -> String {
        match ElementType::of(dtype) {
            Some(element) if dtype.is_float() => {
                let rounded = self.cast(name, ElementType::F32, element);
                self.cast(&rounded, element, ElementType::F32)
            }
            _ => name.to_owned(),
        }
    }

    /// The numbers of `value`.
    ///
    /// # Errors
    /// If ONNX has no such elements.
    pub fn read(&mut self, value: &Value) -> Result<String, Refusal> {
        let to = element_of(&value.fact)?;
        match &value.place {
            Place::Local(name) => Ok(name.clone()),
            Place::Number(number) => Ok(self.number(*number, value.fact.dtype)),
            Place::Coded(codes, _) => Ok(codes.clone()),
            &Place::Operand(index) => {
                let from = element_of(&self.operands[index].fact)?;
                let name = self.param(index, Form::Plain);
                Ok(self.cast(&name, from, to))
            }
        }
    }

    /// The matrix `value` with its axes exchanged; of panels of a matrix `[out, in]` too, `[in, out]`.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn transposed(&mut self, value: &Value) -> Result<String, Refusal> {
        if let Some(index) = self.weight(value) {
            let from = element_of(&self.operands[index].fact)?;
            let name = self.param(index, Form::Transposed);
            return Ok(self.cast(&name, from, element_of(&value.fact)?));
        }
        let name = self.read(value)?;
        let perm = |perm: &[i64]| vec![("perm", Attribute::Ints(perm.to_vec()))];
        if let &[_, columns, _] = &value.fact.shape[..] {
            let rows = self.node("Transpose", &[&name], perm(&[1, 0, 2]));
            let shape = self.ints("shape", &[columns as i64, -1]);
            return Ok(self.node("Reshape", &[&rows, &shape], Vec::new()));
        }
        Ok(self.node("Transpose", &[&name], perm(&[1, 0])))
    }

    /// The codes of a quantized value.
    ///
    /// # Errors
    /// If ONNX has no such codes.
    pub fn codes(&mut self, value: &Value) -> Result<String, Refusal> {
        element_of(&value.fact)?;
        match &value.place {
            Place::Operand(index) => Ok(self.param(*index, Form::Codes)),
            _ => self.read(value),
        }
    }

    /// The codes of a quantized matrix with its axes exchanged.
    ///
    /// # Errors
    /// As [`codes`](Self::codes).
    pub fn transposed_codes(&mut self, value: &Value) -> Result<String, Refusal> {
        if let Some(index) = self.weight(value) {
            element_of(&value.fact)?;
            return Ok(self.param(index, Form::TransposedCodes));
        }
        let codes = self.codes(value)?;
        Ok(self.node("Transpose", &[&codes], vec![("perm", Attribute::Ints(vec![1, 0]))]))
    }

    /// The scales of a quantized value, see [`Form::Scales`].
    pub fn scales(&mut self, value: &Value) -> String {
        match &value.place {
            Place::Operand(index) => self.param(*index, Form::Scales),
            Place::Coded(_, scales) => scales.clone(),
            Place::Local(name) => name.clone(),
            Place::Number(number) => self.number(*number, DType::F32),
        }
    }

    /// The scales of a quantized matrix, a number for each row or one without axes.
    pub fn flat_scales(&mut self, value: &Value) -> String {
        if let Some(index) = self.weight(value) {
            return self.param(index, Form::FlatScales);
        }
        let scales = self.scales(value);
        let shape = self.ints("shape", &[-1]);
        self.node("Reshape", &[&scales, &shape], Vec::new())
    }

    /// The zero points of a weight that has them.
    pub fn zeros(&mut self, value: &Value) -> Option<String> {
        self.weight(value).map(|index| self.param(index, Form::Zeros))
    }

    /// The operand that `value` is, if that is a weight.
    pub fn weight(&self, value: &Value) -> Option<usize> {
        match value.place {
            Place::Operand(index) => {
                Some(index).filter(|&index| self.operands[index].kind == OperandKind::Weight)
            }
            _ => None,
        }
    }

    /// `value` in f32, as formulas read it: codes stay, but what is computed of their scales is f32.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn widened(&mut self, value: &Value) -> Result<Value, Refusal> {
        let fact = value.fact.widened();
        let place = match &value.place {
            Place::Local(name) if !value.fact.is_quantized() => {
                Place::Local(self.cast(name, element_of(&value.fact)?, element_of(&fact)?))
            }
            place => place.clone(),
        };
        Ok(Value { fact, place })
    }

    /// The numbers of `value` in f32.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn wide(&mut self, value: &Value) -> Result<String, Refusal> {
        let value = self.widened(value)?;
        self.read(&value)
    }

    /// The result called `name`, which is of the type `fact`.
    pub fn made(&self, name: String, fact: &Fact) -> Value {
        Value { fact: fact.clone(), place: Place::Local(name) }
    }

    /// The result called `name`, f32 numbers that are to be rounded to the type `fact`.
    ///
    /// # Errors
    /// If ONNX has no such numbers.
    pub fn narrowed(&mut self, name: &str, fact: &Fact) -> Result<Value, Refusal> {
        let name = self.cast(name, ElementType::F32, element_of(fact)?);
        Ok(self.made(name, fact))
    }

    /// The quantized result of type `fact`.
    pub fn coded(&self, codes: String, scales: String, fact: &Fact) -> Value {
        Value { fact: fact.clone(), place: Place::Coded(codes, scales) }
    }

    /// A number as a value.
    pub fn numeral(&self, number: f64, dtype: DType) -> Value {
        Value { fact: Fact::new(dtype, Shape::default()), place: Place::Number(number) }
    }

    /// The names of the tensors of the result `value`, each made by a node.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn results(&mut self, value: &Value) -> Result<Vec<String>, Refusal> {
        let mut names = match value.fact.scales {
            Some(Scales { .. }) => vec![self.codes(value)?, self.scales(value)],
            None => vec![self.read(value)?],
        };
        for name in &mut names {
            if !self.nodes.iter().any(|node| node.outputs.contains(name)) {
                *name = self.node("Identity", &[name], Vec::new());
            }
        }
        Ok(names)
    }
}

/// The type in which ONNX has the elements of a value.
///
/// # Errors
/// If it has none.
pub fn element_of(fact: &Fact) -> Result<ElementType, Refusal> {
    let why = || {
        Refusal(format!(
            "ONNX has no {}; export from weights in a type such as bf16, or convert them first",
            match fact.dtype {
                DType::Block(format) => format!("elements in blocks of GGML like {}", DType::Block(format)),
                dtype => format!("elements of type {dtype}"),
            }
        ))
    };
    ElementType::of(fact.dtype).ok_or_else(why)
}
