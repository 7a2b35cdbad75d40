//! Euler's method on a device.

use reflux_ir::op::{Binary, Cast};
use reflux_ir::{DType, Fact, Graph, GraphBuilder, GraphError, HostTensor, ModulePath, Shape};

/// An input that each step moves by a multiple of its result: `input ← input + change · slope` (Euler's method).
#[derive(Clone, Copy, Debug)]
pub struct Integral<'i> {
    /// The name of the input.
    pub input: &'i str,
    /// The name of the result, which has the input's shape.
    pub slope: &'i str,
    /// What the input is before the first step, of any dtype: it is integrated in f32, and steps read it cast to the input's dtype.
    pub start: &'i HostTensor,
    /// One for each step, from the first on; no more than the schedule has.
    pub changes: &'i [f32],
}

impl Integral<'_> {
    /// The values of an [`update`](Self::update).
    pub const SAMPLE: &'static str = "sample";
    pub const SLOPE: &'static str = "slope";
    pub const CHANGE: &'static str = "change";
    pub const INPUT: &'static str = "input";

    /// What runs between steps, for an input and a slope of these types and of one shape: makes of [`SAMPLE`](Self::SAMPLE), f32 of that
    /// shape, of [`SLOPE`](Self::SLOPE) and of [`CHANGE`](Self::CHANGE), `f32[]`, the next sample, and of that the next
    /// [`INPUT`](Self::INPUT). It is no part of the program.
    ///
    /// # Errors
    /// If an op does not accept these types.
    pub fn update(input: &Fact, slope: &Fact) -> Result<Graph, GraphError> {
        let mut graph = GraphBuilder::new();
        let f32 = |shape: &Shape| Fact::new(DType::F32, shape.clone()).at(input.rate);
        let sample = graph.input(Self::SAMPLE, f32(&input.shape))?;
        let slope = graph.input(Self::SLOPE, slope.clone())?;
        let change = graph.input(Self::CHANGE, f32(&Shape::default()))?;
        let cast = |graph: &mut GraphBuilder, x, dtype, name: &str| match graph[x].fact.dtype == dtype {
            true => Ok(x),
            false => graph.add(Cast { dtype }, &[x], name, ModulePath::root()),
        };
        let slope = cast(&mut graph, slope, DType::F32, "wide")?;
        let moved = graph.add(Binary::Mul, &[slope, change], "moved", ModulePath::root())?;
        let next = graph.add(Binary::Add, &[sample, moved], "next", ModulePath::root())?;
        let read = cast(&mut graph, next, input.dtype, "read")?;
        graph.output(Self::SAMPLE, next);
        graph.output(Self::INPUT, read);
        Ok(graph.finish())
    }
}
