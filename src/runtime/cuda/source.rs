//! CUDA text of formulas: one kernel for each formula and each way in which its operands lie.
//!
//! A row is taken by a warp or by a block and is in registers from the first load to the last store, so a formula costs one
//! pass over memory however many terms it has. Everything is computed in f32 (see [`reflux_ir::op::Body`]).

use super::tensor_map::TensorMap;
use super::view::View;
use crate::f8e4m3;
use reflux_ir::op::{Arg, Binary, Body, Cast, Constant, LayerNorm, Op, Quantize, RmsNorm, Term, Unary};
use reflux_ir::{DType, Granularity};
use std::fmt::{self, Write};
use std::ops::Range;

/// Functions that the kernels share.
pub const PRELUDE: &str = concat!(include_str!("kernels/basics.cuh"), include_str!("kernels/rowwise.cuh"));

/// A kernel and how to launch it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// Of the function, and of the file that it is in.
    pub name: String,
    pub text: String,
    pub grid: [u32; 3],
    pub block: u32,
    /// Dynamic shared memory in bytes.
    pub shared: u32,
    /// What it fetches by TMA, its first arguments.
    pub maps: Vec<TensorMap>,
    /// What its pointers point to, in order.
    pub pointers: Vec<Pointer>,
}

/// A place in a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pointer {
    pub buffer: usize,
    /// In bytes, from the start of the buffer.
    pub offset: usize,
}

impl Pointer {
    /// The first element of a view.
    pub fn to(view: &View) -> Self {
        Self { buffer: view.buffer, offset: view.offset * view.dtype.bytes() }
    }
}

/// What `acc` stands for in a formula.
#[derive(Clone, Debug)]
pub enum Product {
    /// Numbers, wherever they lie.
    Numbers(View),
    /// Sums, wherever they lie.
    Sums(Box<(View, Scaling)>),
    /// Sums that are still in the registers of the kernel that made them.
    Registers(Box<Scaling>),
}

/// What turns a product's sums into numbers. In views of one axis, the columns of the product.
#[derive(Clone, Debug)]
pub struct Scaling {
    /// Of codes: one scale per row, and one per column.
    pub scales: Option<[View; 2]>,
    /// What is added to the columns.
    pub bias: Option<View>,
}

impl Scaling {
    /// That of some columns, which `part` takes.
    pub fn part(&self, part: impl Fn(&View) -> View) -> Self {
        Self {
            scales: self.scales.as_ref().map(|[row, column]| [row.clone(), part(column)]),
            bias: self.bias.as_ref().map(part),
        }
    }

    /// What has an element for each column.
    fn of_columns(&self) -> impl Iterator<Item = &View> {
        self.scales.iter().map(|[_, column]| column).chain(&self.bias)
    }
}

/// The function that takes a product's sums to where they go.
pub struct Finish {
    pub text: String,
    /// Of its caller and itself, each after a comma.
    pub parameters: String,
    pub arguments: String,
    pub pointers: Vec<Pointer>,
}

/// Neighbours that [`finish`] takes, and of how many rows.
const NEIGHBOURS: usize = 8;
const ROWS_AT_ONCE: usize = 4;

/// Some columns of a product, what becomes of them, and where it goes.
#[derive(Clone, Debug)]
pub struct Part {
    pub columns: Range<usize>,
    pub body: Body,
    /// Of the result's axes, the last of these columns.
    pub target: View,
}

/// What is done to `parts` of a product, which are all of its columns in order, as text of the function
/// `finish(sums, rows, first)`: for eight neighbours of [`ROWS_AT_ONCE`] rows from column `first` on, which share what is the same
/// for all rows; what one reads is on its way while another is computed. Formulas read `operands`. The text takes ROWS, COLUMNS
/// and IS_RAGGED.
pub fn finish(parts: &[Part], scaling: &Scaling, operands: &[View]) -> Result<Finish, Unsupported> {
    let mut finish = Finish {
        text: String::new(),
        parameters: String::new(),
        arguments: String::new(),
        pointers: Vec::new(),
    };
    let (mut functions, mut choice) = (String::new(), String::new());
    for (part, Part { columns, body, target }) in parts.iter().enumerate() {
        let part_of = |view: &View| view.slice(0, columns.start, columns.end);
        let product = Product::Registers(Box::new(scaling.part(part_of)));
        let target = Target { data: target.clone(), scales: None };
        let first_pointer = finish.pointers.len();
        let mut writer = Writer::of_neighbours(operands, &product, &target, first_pointer)?;
        writer.body(body)?;
        let parameters: String = writer.parameters.iter().map(|parameter| format!(", {parameter}")).collect();
        let pointers = first_pointer..first_pointer + writer.pointers.len();
        let arguments: String = pointers.map(|index| format!(", p{index}")).collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            functions,
            "__device__ __forceinline__ void finish_{part}(const float (&sums)[{NEIGHBOURS}], int row, int column{parameters}) {{\n  \
             if (IS_RAGGED && row >= ROWS) return;\n  const int lane = 0;\n{}{}}}\n",
            indices(&target.data.shape),
            writer.code
        );
        // Parts follow each other, to the last column.
        let condition =
            if part + 1 < parts.len() { format!("if (first < {}) ", columns.end) } else { String::new() };
        let column = format!("first - {}", columns.start);
        let _ = writeln!(
            choice,
            "  {condition}{{\n    EACH({ROWS_AT_ONCE}) finish_{part}(sums[e], rows[e], {column}{arguments});\n    \
             return;\n  }}"
        );
        finish.parameters += &parameters;
        finish.arguments += &arguments;
        finish.pointers.extend(writer.pointers);
    }
    finish.text = format!(
        "{PRELUDE}\n{functions}\n\
         __device__ __forceinline__ void finish(const float (&sums)[{ROWS_AT_ONCE}][{NEIGHBOURS}], const int (&rows)[{ROWS_AT_ONCE}], int first{}) {{\n  \
         if (first >= COLUMNS) return;\n{choice}}}\n",
        finish.parameters
    );
    Ok(finish)
}

/// The index along each axis but the last of a result of `shape`, from the number of its row.
fn indices(shape: &[usize]) -> String {
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

/// Where the result goes: numbers, or codes with their scales, one per row.
#[derive(Clone, Debug)]
pub struct Target {
    pub data: View,
    pub scales: Option<View>,
}

/// Why there is no kernel for something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unsupported(pub String);

fn unsupported<T>(why: impl Into<String>) -> Result<T, Unsupported> {
    Err(Unsupported(why.into()))
}

/// A kernel that writes `body` to `target`. `operands` are where its operands lie.
pub fn rowwise(
    body: &Body,
    operands: &[View],
    acc: Option<&Product>,
    target: &Target,
) -> Result<Kernel, Unsupported> {
    if acc.is_none() && is_elementwise(body) {
        // Axes may be taken in any order: in that of the memory that is written.
        let (rank, order) = (target.data.shape.len(), target.data.order());
        let operands: Vec<View> = operands.iter().map(|view| view.with_rank(rank).permuted(&order)).collect();
        let target = Target { data: target.data.permuted(&order), scales: None };
        return rows(body, &operands, None, &target);
    }
    rows(body, operands, acc, target)
}

/// Whether each element of the result is made of one of each operand.
pub fn is_elementwise(body: &Body) -> bool {
    let is_it = |op: &Op| matches!(op, Op::Unary(_) | Op::Binary(_) | Op::Cast(_) | Op::Constant(_));
    body.terms().iter().all(|term| is_it(&term.op))
}

fn rows(
    body: &Body,
    operands: &[View],
    acc: Option<&Product>,
    target: &Target,
) -> Result<Kernel, Unsupported> {
    let mut writer = Writer::new(operands, acc, target)?;
    writer.body(body)?;
    Ok(writer.finish())
}

/// How the elements of a row are divided among threads.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub columns: usize,
    /// Threads of a row: a part of a warp, a power of two, or warps, which are a block.
    pub threads: usize,
    /// Neighbours that a thread takes at once.
    pub vector: usize,
    /// How many times a thread takes as many.
    pub chunks: usize,
}

impl Layout {
    fn new(rows: usize, columns: usize, vector: usize) -> Self {
        /// Threads of a warp.
        const WARP: usize = 32;
        let threads = if columns <= 256 {
            // Warps are divided among rows, but none is without some of its rows.
            let share = columns.div_ceil(vector).next_power_of_two().min(WARP);
            if rows.is_multiple_of(WARP / share) { share } else { WARP }
        } else {
            // Four times 16 bytes of each thread are on their way at a time.
            columns.div_ceil(4 * vector).next_multiple_of(WARP).clamp(2 * WARP, 1024)
        };
        Self { columns, threads, vector, chunks: columns.div_ceil(threads * vector) }
    }

    /// Of whole rows, one after the other in memory, each for a block.
    pub fn of_rows(columns: usize) -> Self {
        let vector = [8, 4, 2, 1].into_iter().find(|&vector| columns.is_multiple_of(vector)).unwrap_or(1);
        let threads = columns.div_ceil(vector).next_power_of_two().clamp(64, 1024);
        Self { columns, threads, vector, chunks: columns.div_ceil(threads * vector) }
    }

    /// How many elements of a row a thread has.
    pub fn elements(&self) -> usize {
        self.vector * self.chunks
    }

    fn rows_per_block(&self) -> usize {
        if self.threads <= 32 { 128 / self.threads } else { 1 }
    }
}

/// As template arguments of the prelude's functions.
impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { columns, threads, vector, chunks } = self;
        write!(f, "{columns}, {threads}, {vector}, {chunks}")
    }
}

struct Writer<'a> {
    operands: &'a [View],
    acc: Option<&'a Product>,
    target: &'a Target,
    layout: Layout,
    /// Of the result.
    shape: Vec<usize>,
    parameters: Vec<String>,
    pointers: Vec<Pointer>,
    /// The number of the first of them.
    first_pointer: usize,
    /// Whether rows are taken whole; else a few neighbours from `column` on.
    takes_rows: bool,
    code: String,
    /// The array that holds each operand, once it is loaded.
    loaded: Vec<Option<String>>,
    acc_array: Option<String>,
    /// The array of each term.
    terms: Vec<String>,
    arrays: usize,
}

/// Whether `count` neighbours can be moved as one wherever a row of the view starts.
fn allows(view: &View, count: usize) -> bool {
    let (last, outer) = view.strides.split_last().map_or((0, &[][..]), |(&last, outer)| (last, outer));
    let repeats = view.shape.last().is_none_or(|&extent| extent == 1);
    let is_aligned = |stride: &usize| stride.is_multiple_of(count);
    repeats || last == 1 && outer.iter().chain([&view.offset]).all(is_aligned)
}

impl<'a> Writer<'a> {
    fn new(operands: &'a [View], acc: Option<&'a Product>, target: &'a Target) -> Result<Self, Unsupported> {
        let shape = target.data.shape.clone();
        let Some(&columns) = shape.last() else { return unsupported("a scalar has no rows") };
        let acc_views: Vec<&View> = match acc {
            None => Vec::new(),
            Some(Product::Numbers(view)) => vec![view],
            Some(Product::Sums(sums)) => std::iter::once(&sums.0).chain(sums.1.of_columns()).collect(),
            Some(Product::Registers(_)) => return unsupported("sums in registers are no rows"),
        };
        let views: Vec<&View> = operands.iter().chain(acc_views).chain([&target.data]).collect();
        // As many neighbours at once as all views allow: 16 bytes of the widest type that is moved in bulk.
        let fits = |vector: &usize| {
            columns.is_multiple_of(*vector) && views.iter().all(|view| allows(view, *vector))
        };
        let vector = [8, 4, 2, 1].into_iter().find(fits).unwrap_or(1);
        let rows = shape[..shape.len() - 1].iter().product();
        Ok(Self::with(Layout::new(rows, columns, vector), operands, acc, target))
    }

    /// For [`NEIGHBOURS`] of a row of sums in registers, its pointers numbered from `first_pointer` on.
    fn of_neighbours(
        operands: &'a [View],
        product: &'a Product,
        target: &'a Target,
        first_pointer: usize,
    ) -> Result<Self, Unsupported> {
        let Product::Registers(scaling) = product else {
            return unsupported("there are no sums in registers");
        };
        let columns = target.data.shape.last().copied().unwrap_or(0);
        // Of fewer than eight, the others are not there.
        let own = columns.min(NEIGHBOURS);
        let vector = if own < NEIGHBOURS { 1 } else { NEIGHBOURS };
        let mut views = operands.iter().chain(scaling.of_columns()).chain([&target.data]);
        if !views.all(|view| allows(view, vector)) {
            return unsupported("neighbours cannot be moved as one");
        }
        if !columns.is_multiple_of(own.max(1)) {
            return unsupported("columns are no multiple of eight");
        }
        let layout = Layout { columns: own, threads: 1, vector, chunks: own / vector };
        let writer = Self::with(layout, operands, Some(product), target);
        Ok(Self { first_pointer, takes_rows: false, ..writer })
    }

    fn with(layout: Layout, operands: &'a [View], acc: Option<&'a Product>, target: &'a Target) -> Self {
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

    fn line(&mut self, text: &str) {
        self.code.push_str("  ");
        self.code.push_str(text);
        self.code.push('\n');
    }

    /// A pointer to the view's part of this row: its name.
    fn row_pointer(&mut self, view: &View, strides: &[usize], is_written: bool) -> String {
        let name = format!("p{}", self.first_pointer + self.pointers.len());
        let kind =
            if is_written { c_type(view.dtype).to_owned() } else { format!("const {}", c_type(view.dtype)) };
        // An epilogue may work where the product lies.
        let is_alone = !is_written && view.buffer != self.target.data.buffer;
        self.parameters.push(format!("{kind}*{} {name}", if is_alone { " __restrict__" } else { "" }));
        self.pointers.push(Pointer::to(view));
        let leading = &strides[..strides.len() - 1];
        let offset: Vec<String> = leading
            .iter()
            .enumerate()
            .filter(|(_, stride)| **stride > 0)
            .map(|(axis, stride)| format!("i{axis} * {stride}LL"))
            .chain((!self.takes_rows && strides.last() == Some(&1)).then(|| "column".to_owned()))
            .collect();
        if !offset.is_empty() {
            self.line(&format!("{name} += {};", offset.join(" + ")));
        }
        name
    }

    /// A new array for the elements of a row that a thread has: its name.
    fn array(&mut self) -> String {
        self.arrays += 1;
        let name = format!("v{}", self.arrays);
        self.line(&format!("float {name}[{}];", self.layout.elements()));
        name
    }

    /// Loads what is under the result's shape at `view`: the name of its array.
    fn load(&mut self, view: &View) -> Result<String, Unsupported> {
        if !matches!(view.dtype, DType::F32 | DType::F16 | DType::BF16) {
            return unsupported(format!("a formula reads numbers, not {}", view.dtype));
        }
        let strides = view.broadcast(&self.shape);
        let array = self.array();
        let pointer = self.row_pointer(view, &strides, false);
        let layout = self.layout;
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

    fn read(&mut self, arg: Arg) -> Result<String, Unsupported> {
        match arg {
            Arg::Term(index) => Ok(self.terms[index].clone()),
            Arg::Operand(index) => {
                if let Some(array) = &self.loaded[index] {
                    return Ok(array.clone());
                }
                let array = self.load(&self.operands[index].clone())?;
                self.loaded[index] = Some(array.clone());
                Ok(array)
            }
            Arg::Acc => {
                if let Some(array) = &self.acc_array {
                    return Ok(array.clone());
                }
                let array = match self.acc.expect("a gemm has a product") {
                    Product::Numbers(view) => self.load(view)?,
                    Product::Sums(sums) => self.load_sums(&sums.0, &sums.1)?,
                    Product::Registers(scaling) => {
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

    /// Makes numbers in `array` of the sums in `sums`.
    fn scale(&mut self, array: &str, sums: &str, scaling: &Scaling) -> Result<(), Unsupported> {
        let elements = self.layout.elements();
        match &scaling.scales {
            None => self.line(&format!("EACH({elements}) {array}[e] = {sums}[e];")),
            Some([row, column]) => {
                let strides = [row.broadcast(&self.shape[..self.shape.len() - 1]), vec![0]].concat();
                let row = self.row_pointer(row, &strides, false);
                let column = self.load(column)?;
                self.line(&format!("float row_scale = {row}[0];"));
                self.line(&format!("EACH({elements}) {array}[e] = {sums}[e] * row_scale * {column}[e];"));
            }
        }
        if let Some(bias) = &scaling.bias {
            let bias = self.load(bias)?;
            self.line(&format!("EACH({elements}) {array}[e] += {bias}[e];"));
        }
        Ok(())
    }

    fn body(&mut self, body: &Body) -> Result<(), Unsupported> {
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
            self.line(&format!("store<{layout}>({pointer}, {result}, lane);"));
        }
        Ok(())
    }

    fn term(&mut self, op: &Op, args: &[Arg]) -> Result<String, Unsupported> {
        let elements = self.layout.elements();
        if let Op::Rope(_) = op {
            return self.rope(args);
        }
        let operands = args.iter().map(|&arg| self.read(arg)).collect::<Result<Vec<_>, _>>()?;
        let array = self.array();
        let layout = self.layout;
        match op {
            Op::Constant(Constant { value, .. }) => {
                self.line(&format!("repeat<{elements}>({array}, {:?}f);", value.0 as f32));
            }
            Op::Unary(function) => {
                let name = match function {
                    Unary::Silu => "silu",
                    Unary::Gelu => "gelu",
                    Unary::GeluTanh => "gelu_tanh",
                    Unary::QuickGelu => "quick_gelu",
                };
                self.line(&format!("EACH({elements}) {array}[e] = {name}({}[e]);", operands[0]));
            }
            Op::Binary(op) => {
                let (a, b) = (&operands[0], &operands[1]);
                let value = match op {
                    Binary::Add => format!("{a}[e] + {b}[e]"),
                    Binary::Sub => format!("{a}[e] - {b}[e]"),
                    Binary::Mul => format!("{a}[e] * {b}[e]"),
                    Binary::Div => format!("{a}[e] / {b}[e]"),
                    Binary::Equal => format!("{a}[e] == {b}[e] ? 1.0f : 0.0f"),
                };
                self.line(&format!("EACH({elements}) {array}[e] = {value};"));
            }
            Op::Cast(Cast { dtype }) => {
                let round = rounding(*dtype)?;
                self.line(&format!("EACH({elements}) {array}[e] = {round}({}[e]);", operands[0]));
            }
            Op::LayerNorm(LayerNorm { eps }) => {
                self.line(&format!(
                    "standardize<{layout}>({array}, {}, {:?}f, lane);",
                    operands[0], eps.0 as f32
                ));
                if let [_, weight, bias] = &operands[..] {
                    self.line(&format!(
                        "EACH({elements}) {array}[e] = {array}[e] * {weight}[e] + {bias}[e];"
                    ));
                }
            }
            Op::RmsNorm(RmsNorm { eps }) => {
                self.line(&format!(
                    "divide_by_rms<{layout}>({array}, {}, {:?}f, lane);",
                    operands[0], eps.0 as f32
                ));
                self.line(&format!("EACH({elements}) {array}[e] *= {}[e];", operands[1]));
            }
            other => return unsupported(format!("`{}` has no kernel", other.name())),
        }
        Ok(array)
    }

    /// Rotations of neighbouring pairs; the table `[2, tokens, dim / 2]` is read where this row's token is.
    fn rope(&mut self, args: &[Arg]) -> Result<String, Unsupported> {
        let x = self.read(args[0])?;
        let Arg::Operand(table) = args[1] else { return unsupported("the table of a rotation is computed") };
        let table = self.operands[table].clone();
        let layout = self.layout;
        if layout.vector < 2 || self.shape.len() < 3 || table.strides.last() != Some(&1) {
            return unsupported("pairs to rotate do not lie next to each other");
        }
        let mut strides = vec![0; self.shape.len()];
        strides[self.shape.len() - 3] = table.strides[1];
        let array = self.array();
        let pointer = self.row_pointer(&table, &strides, false);
        let half = table.strides[0];
        self.line(&format!("rotate<{layout}>({array}, {x}, {pointer}, {pointer} + {half}, lane);"));
        Ok(array)
    }

    fn quantize(&mut self, op: &Quantize, x: &str) -> Result<(), Unsupported> {
        let Some(scales) = self.target.scales.clone() else {
            return unsupported("codes have no place for scales");
        };
        if op.scales.per != Granularity::Row {
            return unsupported(format!("{} scales are not quantized here", op.scales));
        }
        let least = f32::from(op.quant_min.unwrap_or(-128));
        let (code, largest) = match op.dtype {
            DType::I8 => (format!("ToI8{{{least:?}f}}"), (127.0 - least) / 2.0),
            DType::F8E4M3 => ("ToF8E4M3{}".to_owned(), f8e4m3::MAX),
            other => return unsupported(format!("{other} is not quantized here")),
        };
        let round = rounding(op.scales.dtype)?;
        let layout = self.layout;
        let target = self.target.data.clone();
        let codes = self.row_pointer(&target, &target.strides.clone(), true);
        let strides = [scales.broadcast(&self.shape[..self.shape.len() - 1]), vec![0]].concat();
        let scale = self.row_pointer(&scales, &strides, true);
        self.line(&format!(
            "quantize<{layout}>({codes}, {scale}, {x}, {largest:?}f, {:?}f, {round}, {code}, lane);",
            op.eps.0 as f32,
        ));
        Ok(())
    }

    fn finish(self) -> Kernel {
        let rows: usize = self.shape[..self.shape.len() - 1].iter().product();
        let per_block = self.layout.rows_per_block();
        let threads = self.layout.threads;
        let mut head = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(head, "  begin();\n  const int lane = threadIdx.x % {threads};");
        let _ = writeln!(head, "  const unsigned row = blockIdx.x * {per_block}u + threadIdx.x / {threads};");
        let _ = writeln!(head, "  if (row >= {rows}u) return;");
        head += &indices(&self.shape);
        let body = format!("({}) {{\n{head}{}}}\n", self.parameters.join(", "), self.code);
        let name = format!("rowwise_{:016x}", super::hash(&body));
        let block = u32::try_from(threads * per_block).expect("blocks are small");
        Kernel {
            text: format!("{PRELUDE}\nextern \"C\" __global__ void __launch_bounds__({block}) {name}{body}"),
            name,
            grid: [u32::try_from(rows).expect("rows are few").div_ceil(per_block as u32), 1, 1],
            block,
            shared: 0,
            maps: Vec::new(),
            pointers: self.pointers,
        }
    }
}

/// The type of C of an element.
pub fn c_type(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "float",
        DType::F16 => "f16",
        DType::BF16 => "bf16",
        DType::I32 => "int",
        DType::I8 => "signed char",
        DType::F8E4M3 | DType::U4 => "unsigned char",
    }
}

/// The function that rounds to a dtype and stays f32.
fn rounding(dtype: DType) -> Result<&'static str, Unsupported> {
    match dtype {
        DType::F32 => Ok("round_to_f32"),
        DType::BF16 => Ok("round_to_bf16"),
        DType::F16 => Ok("round_to_f16"),
        other => unsupported(format!("numbers are not rounded to {other}")),
    }
}
