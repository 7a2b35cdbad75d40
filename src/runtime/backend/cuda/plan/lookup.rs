//! What is one number of a row, and rows by number: argmax, means, and lookups in tables.

use crate::backend::cuda::source::{Kernel, PRELUDE, c_type};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::DType;

/// A kernel that copies to `to`, for each number in `index`, that row of `table`. If `rows_apart` is not 0, each number
/// selects from a table of its own, with this many rows.
pub(super) fn gather(
    table: &View,
    index: &View,
    rows_apart: usize,
    to: &View,
) -> Result<Kernel, Unsupported> {
    let rows = index.shape.iter().product::<usize>();
    let bytes = to.shape.iter().product::<usize>() / rows * to.dtype.bytes();
    if ![table, index, to].into_iter().all(View::is_contiguous) || !bytes.is_multiple_of(4) {
        return Err(Unsupported("the table is not contiguous".into()));
    }
    let words = bytes / 4;
    let table_rows = if rows_apart == 0 { table.shape[0] } else { rows_apart };
    let constants =
        format!("#define ROWS_APART {rows_apart}\n#define TABLE_ROWS {table_rows}\n#define WORDS {words}\n");
    Ok(Kernel {
        name: "gather".into(),
        text: format!("{PRELUDE}{constants}{}", include_str!("../kernels/gather.cuh")),
        grid: [rows as u32, words.div_ceil(256) as u32, 1],
        block: 256,
        shared: 0,
        maps: Vec::new(),
        pointers: [table, index, to].map(Pointer::to).to_vec(),
    })
}

/// A kernel that writes to `to` the index of the largest element of each row of `x`.
pub(super) fn argmax(x: &View, to: &View) -> Result<Kernel, Unsupported> {
    let columns = x.shape.last().copied().unwrap_or(1);
    if x.dtype != DType::I32 || !x.is_contiguous() || !to.is_contiguous() {
        return Err(Unsupported("argmax has a kernel for rows of i32 only".into()));
    }
    Ok(Kernel {
        name: "argmax".into(),
        text: format!("{PRELUDE}#define COLUMNS {columns}\n{}", include_str!("../kernels/argmax.cuh")),
        grid: [to.shape.iter().product::<usize>() as u32, 1, 1],
        block: 32,
        shared: 0,
        maps: Vec::new(),
        pointers: [x, to].map(Pointer::to).to_vec(),
    })
}

/// A kernel that writes to `to` the mean of each row of `x`.
pub(super) fn mean(x: &View, to: &View) -> Result<Kernel, Unsupported> {
    const THREADS: u32 = 256;
    let columns = x.shape.last().copied().unwrap_or(1);
    if !x.dtype.is_float() || !x.is_contiguous() || !to.is_contiguous() {
        return Err(Unsupported(
            "mean has a kernel for rows of numbers that lie one after the other only".into(),
        ));
    }
    let constants = format!(
        "#define ELEMENT {}\n#define COLUMNS {columns}\n#define THREADS {THREADS}\n",
        c_type(x.dtype)
    );
    Ok(Kernel {
        name: "mean".into(),
        text: format!("{PRELUDE}{constants}{}", include_str!("../kernels/mean.cuh")),
        grid: [to.shape.iter().product::<usize>() as u32, 1, 1],
        block: THREADS,
        shared: 0,
        maps: Vec::new(),
        pointers: [x, to].map(Pointer::to).to_vec(),
    })
}
