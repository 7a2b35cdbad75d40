//! The source of a formula: loads, computation and stores, line by line.

use super::layout::{RowLayout, allows};
use super::{c_type, stored};
use crate::backend::cuda::unsupported::{Unsupported, unsupported};
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::Granularity;
use reflux_ir::op::{Arg, Body, Op, Term};
use std::fmt::Write;

/// Neighbours of a row that an epilogue computes at once.
pub(super) const NEIGHBOURS: usize = 8;

/// The meaning of `acc` in a formula.
#[derive(Clone, Debug)]
pub enum Accumulator {
    /// Numbers in memory.
    Numbers(View),
    /// Sums in memory.
    Sums(Box<(View, Scaling)>),
    /// Sums that are still in the registers of the kernel that computed them.
    Registers(Box<Scaling>),
}

/// What turns a product's sums into numbers. Views of columns have one axis, the columns of the product.
#[derive(Clone, Debug, Default)]
pub struct Scaling {
    /// If x is quantized: the scales of its rows, or its only scale.
    pub row: Option<View>,
    /// If the weight is quantized: the scales of the columns.
    pub column: Option<View>,
    /// The bias of the columns.
    pub bias: Option<View>,
}

impl Scaling {
    /// The scaling of the columns that `part` selects.
    pub fn part(&self, part: impl Fn(&View) -> View) -> Self {
        Self {
            row: self.row.clone(),
            column: self.column.as_ref().map(&part),
            bias: self.bias.as_ref().map(&part),
        }
    }

    /// The part that multiplies, and the part that adds.
    pub fn split(&self) -> (Self, Self) {
        let Self { row, column, bias } = self.clone();
        (Self { row, column, bias: None }, Self { bias, ..Self::default() })
    }

    /// The views with an element for each column.
    fn of_columns(&self) -> impl Iterator<Item = &View> {
        self.column.iter().chain(&self.bias)
    }
}

/// Where a value is stored: its numbers, or its codes and what turns these into numbers.
#[derive(Clone, Debug)]
pub struct StoredValue {
    pub data: View,
    pub coding: Option<Coding>,
}

/// What turns codes `[…, columns]` into numbers.
#[derive(Clone, Debug)]
pub struct Coding {
    pub per: Granularity,
    /// `[]` per tensor, `[…]` per row, `[…, groups]` per group.
    pub scales: View,
    /// For unsigned codes; of the same shape as the scales.
    pub zeros: Option<View>,
}

impl StoredValue {
    /// Elements `start..end` along `axis`, which of codes with a scale for each row is none but the last.
    pub fn slice(&self, axis: usize, start: usize, end: usize) -> Self {
        let part = |view: &View| view.slice(axis, start, end);
        let coding = self.coding.as_ref().map(|Coding { per, scales, zeros }| Coding {
            per: *per,
            scales: part(scales),
            zeros: zeros.as_ref().map(part),
        });
        Self { data: part(&self.data), coding }
    }

    /// All that is in memory of it: numbers, or codes, scales and zero points.
    pub fn views(&self) -> Vec<View> {
        let coding = self.coding.iter().flat_map(|coding| [Some(&coding.scales), coding.zeros.as_ref()]);
        [Some(&self.data)].into_iter().chain(coding).flatten().cloned().collect()
    }
}

impl From<View> for StoredValue {
    fn from(data: View) -> Self {
        Self { data, coding: None }
    }
}

/// Writes the source of one formula.
pub(super) struct Writer<'a> {
    pub(super) operands: &'a [StoredValue],
    acc: Option<&'a Accumulator>,
    pub(super) target: &'a StoredValue,
    pub(super) layout: RowLayout,
    /// The shape of the result.
    pub(super) shape: Vec<usize>,
    pub(super) parameters: Vec<String>,
    pub(super) pointers: Vec<Pointer>,
    /// The number of the first pointer.
    first_pointer: usize,
    /// Whether whole rows are computed; if not, a few neighbours from `column` on.
    takes_rows: bool,
    pub(super) code: String,
    /// The array that holds each operand, once it is loaded.
    loaded: Vec<Option<String>>,
    acc_array: Option<String>,
    /// The array of each term.
    terms: Vec<String>,
    arrays: usize,
}

impl<'a> Writer<'a> {
    pub(super) fn new(
        operands: &'a [StoredValue],
        acc: Option<&'a Accumulator>,
        target: &'a StoredValue,
    ) -> Result<Self, Unsupported> {
        let shape = target.data.shape.clone();
        let Some(&columns) = shape.last() else { return unsupported("a scalar has no rows") };
        let acc_views: Vec<&View> = match acc {
            None => Vec::new(),
            Some(Accumulator::Numbers(view)) => vec![view],
            Some(Accumulator::Sums(sums)) => std::iter::once(&sums.0).chain(sums.1.of_columns()).collect(),
            Some(Accumulator::Registers(_)) => return unsupported("sums in registers do not form rows"),
        };
        let operand_views = operands.iter().map(|operand| &operand.data);
        let views: Vec<&View> = operand_views.chain(acc_views).chain([&target.data]).collect();
        // As many neighbours at once as all views allow, at most 16 bytes of the widest type.
        let fits = |vector: &usize| {
            columns.is_multiple_of(*vector) && views.iter().all(|view| allows(view, *vector))
        };
        let vector = [8, 4, 2, 1].into_iter().find(fits).unwrap_or(1);
        let rows = shape[..shape.len() - 1].iter().product();
        Ok(Self::with(RowLayout::new(rows, columns, vector), operands, acc, target))
    }

    /// A writer for [`NEIGHBOURS`] of a row of sums in registers, with pointers numbered from `first_pointer` on.
    pub(super) fn of_neighbours(
        operands: &'a [StoredValue],
        product: &'a Accumulator,
        target: &'a StoredValue,
        first_pointer: usize,
    ) -> Result<Self, Unsupported> {
        let Accumulator::Registers(scaling) = product else {
            return unsupported("there are no sums in registers");
        };
        let columns = target.data.shape.last().copied().unwrap_or(0);
        // If there are fewer than eight columns, the others do not exist.
        let own = columns.min(NEIGHBOURS);
        let vector = if own < NEIGHBOURS { 1 } else { NEIGHBOURS };
        let operand_views = operands.iter().map(|operand| &operand.data);
        let mut views = operand_views.chain(scaling.of_columns()).chain([&target.data]);
        if !views.all(|view| allows(view, vector)) {
            return unsupported("neighbours cannot be moved in one access");
        }
        if !columns.is_multiple_of(own.max(1)) {
            return unsupported("the number of columns is not a multiple of eight");
        }
        let layout = RowLayout { columns: own, threads: 1, vector };
        let writer = Self::with(layout, operands, Some(product), target);
        Ok(Self { first_pointer, takes_rows: false, ..writer })
    }

    fn with(
        layout: RowLayout,
        operands: &'a [StoredValue],
        acc: Option<&'a Accumulator>,
        target: &'a StoredValue,
    ) -> Self {
        Self {
            operands,
            acc,
            target,
            layout,
            shape: target.data.shape.clone(),
            parameters: Vec::new(),
            pointers: Vec::new(),
            first_pointer: 0,
            takes_rows: true,
            code: String::new(),
            loaded: vec![None; operands.len()],
            acc_array: None,
            terms: Vec::new(),
            arrays: 0,
        }
    }

    pub(super) fn line(&mut self, text: &str) {
        self.code.push_str("  ");
        self.code.push_str(text);
        self.code.push('\n');
    }

    /// Declares a pointer to the view's part of this row; returns its name.
    pub(super) fn row_pointer(&mut self, view: &View, strides: &[usize], is_written: bool) -> String {
        let name = format!("p{}", self.first_pointer + self.pointers.len());
        let kind =
            if is_written { c_type(view.dtype).to_owned() } else { format!("const {}", c_type(view.dtype)) };
        // An epilogue may overwrite the product.
        let is_alone = !is_written && view.buffer != self.target.data.buffer;
        self.parameters.push(format!("{kind}*{} {name}", if is_alone { " __restrict__" } else { "" }));
        self.pointers.push(Pointer::to(view));
        let leading = &strides[..strides.len() - 1];
        let offset: Vec<String> = leading
            .iter()
            .enumerate()
            .filter(|(_, stride)| **stride > 0)
            .map(|(axis, stride)| format!("i{axis} * {}LL", stored(view.dtype, *stride)))
            .chain((!self.takes_rows && strides.last() == Some(&1)).then(|| "column".to_owned()))
            .collect();
        if !offset.is_empty() {
            self.line(&format!("{name} += {};", offset.join(" + ")));
        }
        name
    }

    /// Declares an array for the elements of a row that a thread holds; returns its name.
    pub(super) fn array(&mut self) -> String {
        self.arrays += 1;
        let name = format!("v{}", self.arrays);
        self.line(&format!("float {name}[{}];", self.layout.elements()));
        name
    }

    /// Loads `view`, broadcast to the shape of the result; returns the name of the array.
    fn load(&mut self, view: &View) -> Result<String, Unsupported> {
        let strides = view.broadcast(&self.shape);
        let layout = self.layout;
        if view.dtype.bits() < 8 && (strides.last() != Some(&1) || layout.vector == 1) {
            return unsupported("rows with an odd number of four-bit codes have no kernel");
        }
        let array = self.array();
        let pointer = self.row_pointer(view, &strides, false);
        match strides.last() {
            Some(0) => self.line(&format!("repeat<{}>({array}, to_float({pointer}[0]));", layout.elements())),
            Some(1) => {
                self.line(&format!("load<{layout}>({array}, {pointer}, lane);"));
            }
            Some(stride) => self.line(&format!("gather<{layout}>({array}, {pointer}, {stride}LL, lane);")),
            None => return unsupported("a scalar has no rows"),
        }
        Ok(array)
    }

    pub(super) fn read(&mut self, arg: Arg) -> Result<String, Unsupported> {
        match arg {
            Arg::Term(index) => Ok(self.terms[index].clone()),
            Arg::Operand(index) => {
                if let Some(array) = &self.loaded[index] {
                    return Ok(array.clone());
                }
                let array = self.load(&self.operands[index].data.clone())?;
                self.loaded[index] = Some(array.clone());
                Ok(array)
            }
            Arg::Acc => {
                if let Some(array) = &self.acc_array {
                    return Ok(array.clone());
                }
                let array = match self.acc.expect("a gemm has a product") {
                    Accumulator::Numbers(view) => self.load(view)?,
                    Accumulator::Sums(sums) => self.load_sums(&sums.0, &sums.1)?,
                    Accumulator::Registers(scaling) => {
                        let array = self.array();
                        self.scale(&array, "sums", scaling)?;
                        array
                    }
                };
                self.acc_array = Some(array.clone());
                Ok(array)
            }
        }
    }

    fn load_sums(&mut self, sums: &View, scaling: &Scaling) -> Result<String, Unsupported> {
        let layout = self.layout;
        let array = self.array();
        let strides = sums.broadcast(&self.shape);
        let pointer = self.row_pointer(sums, &strides, false);
        self.line(&format!("load<{layout}>({array}, {pointer}, lane);"));
        self.scale(&array, &array, scaling)?;
        Ok(array)
    }

    /// Turns the sums in `sums` into numbers in `array`.
    fn scale(&mut self, array: &str, sums: &str, scaling: &Scaling) -> Result<(), Unsupported> {
        let elements = self.layout.elements();
        let mut value = format!("{sums}[e]");
        if let Some(row) = &scaling.row {
            let row = self.of_row(row);
            self.line(&format!("float row_scale = to_float({row}[0]);"));
            value += " * row_scale";
        }
        if let Some(column) = &scaling.column {
            let column = self.load(column)?;
            value += &format!(" * {column}[e]");
        }
        self.line(&format!("EACH({elements}) {array}[e] = {value};"));
        if let Some(bias) = &scaling.bias {
            let bias = self.load(bias)?;
            self.line(&format!("EACH({elements}) {array}[e] += {bias}[e];"));
        }
        Ok(())
    }

    /// A pointer to the number of `view` for this row, if it has one per row, or to its only number.
    pub(super) fn of_row(&mut self, view: &View) -> String {
        let strides = [view.broadcast(&self.shape[..self.shape.len() - 1]), vec![0]].concat();
        self.row_pointer(view, &strides, false)
    }

    pub(super) fn body(&mut self, body: &Body) -> Result<(), Unsupported> {
        let mut stored = false;
        for Term { op, args } in body.terms() {
            if let Op::Quantize(op) = op {
                let x = self.read(args[0])?;
                self.quantize(op, &x)?;
                (stored, _) = (true, self.terms.push(String::new()));
                continue;
            }
            let array = self.term(op, args)?;
            self.terms.push(array);
        }
        if !stored {
            let result = self.read(body.result())?;
            let target = self.target.data.clone();
            let pointer = self.row_pointer(&target, &target.strides.clone(), true);
            let layout = self.layout;
            match target.strides.last() {
                // A row of one element lies together, whatever its stride.
                Some(&stride) if stride != 1 && target.shape.last() != Some(&1) => {
                    self.line(&format!("scatter<{layout}>({pointer}, {result}, {stride}LL, lane);"));
                }
                _ => self.line(&format!("store<{layout}>({pointer}, {result}, lane);")),
            }
        }
        Ok(())
    }
}

/// The index along each axis but the last of a result of `shape`, from the number of its row.
pub(super) fn indices(shape: &[usize]) -> String {
    let mut text = String::from("  unsigned rest = row;\n");
    let rows = &shape[..shape.len().saturating_sub(1)];
    for (axis, extent) in rows.iter().enumerate().rev() {
        let is_outermost = rows[..axis].iter().all(|&outer| outer == 1);
        // Writing to a string cannot fail.
        let _ = match (extent, is_outermost) {
            (1, _) => writeln!(text, "  const unsigned i{axis} = 0;"),
            (_, true) => writeln!(text, "  const unsigned i{axis} = rest;"),
            (_, false) => writeln!(text, "  const unsigned i{axis} = rest % {extent}u; rest /= {extent}u;"),
        };
    }
    text
}
