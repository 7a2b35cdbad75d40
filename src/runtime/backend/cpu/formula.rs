//! Evaluation of formulas row by row, each row in the cache.
//!
//! All rowwise ops run here, single or fused, so that fusing ops does not change any bit of the results.

use super::functions::{self, binary, divide_by_rms, rotate, standardize, unary};
use super::rows::{BroadcastView, Rows, Width};
use crate::value::Value;
use burn::tensor::DType as BurnDType;
use burn_flex::{Flex, FlexTensor};
use pulp::Arch;
use reflux_ir::DType;
use reflux_ir::op::{Arg, Binary, Cast, Constant, LayerNorm, Op, RmsNorm, Term, Unary};

/// Columns to evaluate at once if a row can be divided, so that intermediate values stay in the cache.
const STRIP: usize = 1024;

/// A formula prepared for given operands. Its result is f32, and it does not contain `quantize`.
pub struct Formula<'a> {
    rows: Rows<'a>,
    steps: Vec<Step<PlacedArg>>,
    constants: Vec<f32>,
    slots: usize,
    /// Columns that are evaluated at once.
    strip: usize,
    /// Whether a row can be evaluated in parts.
    is_elementwise: bool,
    arch: Arch,
}

/// What counts as a row of a formula.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// A row of the result.
    Rows,
    /// As many rows of the result as can be joined, if no term depends on where they end.
    Longest,
}

struct Step<S> {
    function: Function,
    args: Vec<S>,
    /// `None` if it writes the result.
    out: Option<usize>,
}

enum Function {
    Copy,
    /// Repeats the only element that a view has of a row.
    Repeat,
    Unary(Unary),
    Binary(Binary),
    /// With this epsilon.
    Standardize(f32),
    DivideByRms(f32),
    /// By cosines and sines, half as many of each as there are columns.
    Rotate,
}

/// What a step reads while it runs.
#[derive(Clone, Copy)]
enum PlacedArg {
    View(usize),
    Constant(usize),
    Slot(usize),
    /// The previous content of the result's memory, until the last step writes there.
    Result,
}

/// Scratch memory in which a thread evaluates formulas.
#[derive(Default)]
pub struct Workspace {
    starts: Vec<usize>,
    constants: Vec<Vec<f32>>,
    slots: Vec<Vec<f32>>,
}

impl<'a> Formula<'a> {
    /// `result` of `terms`, for a result of `shape`. `place` is what the memory of the result contains beforehand. `None` if
    /// the formula is not supported here.
    pub fn new(
        terms: &[Term],
        result: Arg,
        operands: &'a [Value<Flex>],
        place: Option<Arg>,
        shape: &[usize],
        cut: Cut,
    ) -> Option<Self> {
        let is_elementwise = terms.iter().all(|term| term.op.works_by_elements());
        let mut steps = Steps::new(operands, place, shape);
        let table_of = |term: &Term| matches!(term.op, Op::Rope(_)).then_some(term.args.get(1).copied());
        for arg in terms.iter().filter_map(table_of) {
            steps.see_table(arg?)?;
        }
        for term in terms {
            let plain = if let Op::Rope(_) = term.op { &term.args[..1] } else { &term.args[..] };
            plain.iter().try_for_each(|&arg| steps.see(arg))?;
        }
        steps.see(result)?;
        let longest = is_elementwise && cut == Cut::Longest;
        let rows = Rows::new(shape, std::mem::take(&mut steps.views), longest)?;
        steps.widths = (0..rows.len()).map(|view| rows.width(view)).collect();
        terms.iter().try_for_each(|term| steps.add(term))?;
        let (steps, constants) = steps.finish(result);
        let (steps, slots) = placed(steps);
        let strip = if is_elementwise { STRIP.min(rows.columns) } else { rows.columns };
        Some(Self { rows, steps, constants, slots, strip, is_elementwise, arch: Arch::new() })
    }

    /// Whether the memory of the result contains it already.
    pub fn is_nothing(&self) -> bool {
        self.steps.is_empty()
    }

    /// The length of a row.
    pub fn columns(&self) -> usize {
        self.rows.columns
    }

    /// Whether a row can be evaluated in parts.
    pub fn is_elementwise(&self) -> bool {
        self.is_elementwise
    }

    pub fn workspace(&self) -> Workspace {
        Workspace {
            starts: vec![0; self.rows.len()],
            constants: self.constants.iter().map(|&value| vec![value; self.strip]).collect(),
            slots: vec![vec![0.0; self.strip]; self.slots],
        }
    }

    /// Writes row `row`, from `column` on, to `place`. `workspace` belongs to this formula.
    pub fn evaluate(&self, workspace: &mut Workspace, row: usize, column: usize, place: &mut [f32]) {
        self.arch.dispatch(
            #[inline(always)]
            || {
                self.rows.locate(row, &mut workspace.starts);
                for (strip, place) in place.chunks_mut(self.strip).enumerate() {
                    for step in &self.steps {
                        self.step(step, workspace, column + strip * self.strip, place);
                    }
                }
            },
        );
    }

    #[inline(always)]
    fn step(&self, step: &Step<PlacedArg>, workspace: &mut Workspace, column: usize, place: &mut [f32]) {
        let width = place.len();
        match step.out {
            None => self.apply(step, workspace, column, place),
            Some(slot) => {
                // Taken out of the workspace, because the arguments are read from there while it is written.
                let mut out = std::mem::take(&mut workspace.slots[slot]);
                match step.args[..] {
                    [PlacedArg::Result] => out[..width].copy_from_slice(place),
                    _ => self.apply(step, workspace, column, &mut out[..width]),
                }
                workspace.slots[slot] = out;
            }
        }
    }

    #[inline(always)]
    fn apply(&self, step: &Step<PlacedArg>, workspace: &Workspace, column: usize, y: &mut [f32]) {
        let read = |index: usize, width: usize| match step.args[index] {
            PlacedArg::View(view) => &self.rows.read(view, workspace.starts[view], column)[..width],
            PlacedArg::Constant(index) => &workspace.constants[index][..width],
            PlacedArg::Slot(slot) => &workspace.slots[slot][..width],
            PlacedArg::Result => unreachable!("only a copy reads it"),
        };
        let width = y.len();
        match step.function {
            Function::Copy => y.copy_from_slice(read(0, width)),
            Function::Repeat => y.fill(read(0, 1)[0]),
            Function::Unary(function) => unary(function, read(0, width), y),
            Function::Binary(op) => binary(op, read(0, width), read(1, width), y),
            Function::Standardize(eps) => standardize(eps, read(0, width), y),
            Function::DivideByRms(eps) => divide_by_rms(eps, read(0, width), y),
            Function::Rotate => rotate(read(0, width), read(1, width / 2), read(2, width / 2), y),
        }
    }
}

/// What a step reads, while the steps are being built.
#[derive(Clone, Copy, PartialEq)]
enum UnplacedArg {
    View(usize),
    Constant(usize),
    /// The result of the step with this index.
    Step(usize),
    Result,
}

/// Steps being built.
struct Steps<'a, 'o> {
    operands: &'a [Value<Flex>],
    place: Option<Arg>,
    shape: &'o [usize],
    views: Vec<BroadcastView<'a>>,
    /// The width of each view.
    widths: Vec<Width>,
    /// Where each operand of the formula, including the product, is read from.
    known: Vec<(Arg, UnplacedArg)>,
    /// The cosines of each rope table; its sines are the next view.
    tables: Vec<(Arg, usize)>,
    constants: Vec<f32>,
    steps: Vec<Step<UnplacedArg>>,
    /// Whether each step results in a row, or in one repeated element.
    made: Vec<Width>,
    /// Where the value of each term is.
    terms: Vec<UnplacedArg>,
}

impl<'a, 'o> Steps<'a, 'o> {
    fn new(operands: &'a [Value<Flex>], place: Option<Arg>, shape: &'o [usize]) -> Self {
        Self {
            operands,
            place,
            shape,
            views: Vec::new(),
            widths: Vec::new(),
            known: Vec::new(),
            tables: Vec::new(),
            constants: Vec::new(),
            steps: Vec::new(),
            made: Vec::new(),
            terms: Vec::new(),
        }
    }

    fn tensor(&self, index: usize) -> Option<&'a FlexTensor> {
        match self.operands.get(index)? {
            Value::Float(x) if x.dtype() == BurnDType::F32 => Some(x),
            _ => None,
        }
    }

    fn see_table(&mut self, arg: Arg) -> Option<()> {
        let Arg::Operand(index) = arg else { return None };
        if !self.tables.iter().any(|(known, _)| *known == arg) {
            self.tables.push((arg, self.views.len()));
            self.views.extend(BroadcastView::of_table(self.tensor(index)?, self.shape)?);
        }
        Some(())
    }

    fn see(&mut self, arg: Arg) -> Option<()> {
        let is_known = self.known.iter().any(|(known, _)| *known == arg);
        if is_known || matches!(arg, Arg::Term(_)) {
            return Some(());
        }
        let source = match arg {
            _ if self.place == Some(arg) => UnplacedArg::Result,
            Arg::Operand(index) => match self.operands.get(index)? {
                &Value::Scalar(value, DType::F32) => self.constant(value),
                _ => {
                    self.views.push(BroadcastView::of(self.tensor(index)?, self.shape)?);
                    UnplacedArg::View(self.views.len() - 1)
                }
            },
            Arg::Acc | Arg::Term(_) => return None,
        };
        self.known.push((arg, source));
        Some(())
    }

    fn constant(&mut self, value: f64) -> UnplacedArg {
        self.constants.push(value as f32);
        UnplacedArg::Constant(self.constants.len() - 1)
    }

    fn push(&mut self, function: Function, args: Vec<UnplacedArg>) -> UnplacedArg {
        let is_row = args.iter().any(|&arg| self.width(arg) == Width::Each);
        let repeats = matches!(function, Function::Repeat) || !is_row;
        self.made.push(if repeats { Width::One } else { Width::Each });
        self.steps.push(Step { function, args, out: None });
        UnplacedArg::Step(self.steps.len() - 1)
    }

    fn width(&self, source: UnplacedArg) -> Width {
        match source {
            UnplacedArg::View(view) => self.widths[view],
            UnplacedArg::Constant(_) => Width::One,
            UnplacedArg::Step(step) => self.made[step],
            UnplacedArg::Result => Width::Each,
        }
    }

    /// Where `arg` is read from.
    fn read(&mut self, arg: Arg) -> UnplacedArg {
        if let Arg::Term(index) = arg {
            return self.terms[index];
        }
        let known = self.known.iter().position(|(known, _)| *known == arg).expect("seen before");
        let source = self.known[known].1;
        let ready = match source {
            UnplacedArg::View(view) if self.widths[view] == Width::One => {
                self.push(Function::Repeat, vec![source])
            }
            // Copied before anything is written there.
            UnplacedArg::Result => self.push(Function::Copy, vec![source]),
            _ => source,
        };
        self.known[known].1 = ready;
        ready
    }

    fn add(&mut self, term: &Term) -> Option<()> {
        let source = match (&term.op, &term.args[..]) {
            (Op::Constant(Constant { value, .. }), []) => self.constant(value.0),
            (Op::Cast(Cast { dtype: DType::F32 }), &[x]) => self.read(x),
            (Op::Unary(function), &[x]) if functions::has(*function) => {
                let x = self.read(x);
                self.push(Function::Unary(*function), vec![x])
            }
            (Op::Binary(op), &[a, b]) => {
                let args = vec![self.read(a), self.read(b)];
                self.push(Function::Binary(*op), args)
            }
            (Op::LayerNorm(LayerNorm { eps }), &[x]) => self.norm(Function::Standardize(eps.0 as f32), x)?,
            (Op::LayerNorm(LayerNorm { eps }), &[x, weight, bias]) => {
                let y = self.norm(Function::Standardize(eps.0 as f32), x)?;
                let args = vec![y, self.read(weight)];
                let scaled = self.push(Function::Binary(Binary::Mul), args);
                let args = vec![scaled, self.read(bias)];
                self.push(Function::Binary(Binary::Add), args)
            }
            (Op::RmsNorm(RmsNorm { eps }), &[x, weight]) => {
                let y = self.norm(Function::DivideByRms(eps.0 as f32), x)?;
                let args = vec![y, self.read(weight)];
                self.push(Function::Binary(Binary::Mul), args)
            }
            (Op::Rope(_), &[x, table]) => {
                let x = self.whole_row(x)?;
                let cos = self.tables.iter().find(|(known, _)| *known == table).expect("seen before").1;
                self.push(Function::Rotate, vec![x, UnplacedArg::View(cos), UnplacedArg::View(cos + 1)])
            }
            _ => return None,
        };
        self.terms.push(source);
        Some(())
    }

    fn norm(&mut self, function: Function, x: Arg) -> Option<UnplacedArg> {
        let x = self.whole_row(x)?;
        Some(self.push(function, vec![x]))
    }

    /// Where `x` is read from, if it is a whole row and not one broadcast element.
    fn whole_row(&mut self, x: Arg) -> Option<UnplacedArg> {
        let x = self.read(x);
        (self.width(x) == Width::Each || self.shape.last() == Some(&1)).then_some(x)
    }

    /// The steps, the last of which computes `result`, and the constants. There are no steps if `result` is in its place
    /// already.
    fn finish(mut self, result: Arg) -> (Vec<Step<UnplacedArg>>, Vec<f32>) {
        let source = self.read(result);
        if self.steps.is_empty() || source != UnplacedArg::Step(self.steps.len() - 1) {
            self.push(Function::Copy, vec![source]);
        }
        if let [Step { args, .. }] = &self.steps[..]
            && args[..] == [UnplacedArg::Result]
        {
            self.steps.clear();
        }
        (self.steps, self.constants)
    }
}

/// The steps with a slot for the result of each but the last, and the number of slots. A slot is reused after its content has
/// been read for the last time.
fn placed(steps: Vec<Step<UnplacedArg>>) -> (Vec<Step<PlacedArg>>, usize) {
    let count = steps.len();
    let mut last_reads = vec![0; count];
    for (index, step) in steps.iter().enumerate() {
        for &arg in &step.args {
            if let UnplacedArg::Step(made) = arg {
                last_reads[made] = index;
            }
        }
    }
    let (mut slots, mut free): (usize, Vec<usize>) = (0, Vec::new());
    let mut slot_of: Vec<usize> = Vec::with_capacity(count);
    let placed = steps.into_iter().enumerate().map(|(index, Step { function, args, .. })| {
        let out = (index + 1 < count).then(|| {
            free.pop().unwrap_or_else(|| {
                slots += 1;
                slots - 1
            })
        });
        let place = |arg: &UnplacedArg| match *arg {
            UnplacedArg::View(view) => PlacedArg::View(view),
            UnplacedArg::Constant(index) => PlacedArg::Constant(index),
            UnplacedArg::Step(made) => PlacedArg::Slot(slot_of[made]),
            UnplacedArg::Result => PlacedArg::Result,
        };
        let places = args.iter().map(place).collect();
        let mut done: Vec<usize> = Vec::new();
        for arg in args {
            match arg {
                UnplacedArg::Step(made) if last_reads[made] == index => done.push(slot_of[made]),
                _ => {}
            }
        }
        done.sort_unstable();
        done.dedup();
        free.extend(done);
        slot_of.push(out.unwrap_or(usize::MAX));
        Step { function, args: places, out }
    });
    let placed = placed.collect();
    (placed, slots)
}
