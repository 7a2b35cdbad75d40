//! Epilogues: what is computed from the sums of a product.

use super::PRELUDE;
use super::writer::{Accumulator, NEIGHBOURS, Scaling, StoredValue, Writer, indices};
use crate::backend::cuda::unsupported::Unsupported;
use crate::backend::cuda::view::{Pointer, View};
use reflux_ir::op::Body;
use std::fmt::Write;
use std::ops::Range;

/// The function that applies an epilogue to a product's sums and stores the results.
pub struct Epilogue {
    pub text: String,
    /// The parameters of its caller and itself, each after a comma.
    pub parameters: String,
    pub arguments: String,
    pub pointers: Vec<Pointer>,
}

/// The rows that [`epilogue`] computes at once.
const ROWS_AT_ONCE: usize = 4;

/// Some columns of a product, their epilogue, and where the result goes.
#[derive(Clone, Debug)]
pub struct PlacedSegment {
    pub columns: Range<usize>,
    pub body: Body,
    /// With the axes of the result; the last has these columns.
    pub target: View,
}

/// The source of the function `finish(sums, rows, first)`, which applies the epilogues of `parts` to eight neighbouring
/// columns of [`ROWS_AT_ONCE`] rows, from column `first` on. The parts are all columns of the product, in order. Values that
/// are the same for all rows are loaded once, and the loads of one row overlap with the computation of another. Formulas
/// read `operands`. The source uses ROWS, COLUMNS and IS_RAGGED.
pub fn epilogue(
    parts: &[PlacedSegment],
    scaling: &Scaling,
    operands: &[View],
) -> Result<Epilogue, Unsupported> {
    let mut epilogue = Epilogue {
        text: String::new(),
        parameters: String::new(),
        arguments: String::new(),
        pointers: Vec::new(),
    };
    let operands: Vec<StoredValue> = operands.iter().cloned().map(StoredValue::from).collect();
    let (mut functions, mut choice) = (String::new(), String::new());
    for (part, PlacedSegment { columns, body, target }) in parts.iter().enumerate() {
        let part_of = |view: &View| view.slice(0, columns.start, columns.end);
        let product = Accumulator::Registers(Box::new(scaling.part(part_of)));
        let target = StoredValue::from(target.clone());
        let first_pointer = epilogue.pointers.len();
        let mut writer = Writer::of_neighbours(&operands, &product, &target, first_pointer)?;
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
        epilogue.parameters += &parameters;
        epilogue.arguments += &arguments;
        epilogue.pointers.extend(writer.pointers);
    }
    epilogue.text = format!(
        "{PRELUDE}\n{functions}\n\
         __device__ __forceinline__ void finish(const float (&sums)[{ROWS_AT_ONCE}][{NEIGHBOURS}], const int (&rows)[{ROWS_AT_ONCE}], int first{}) {{\n  \
         if (first >= COLUMNS) return;\n{choice}}}\n",
        epilogue.parameters
    );
    Ok(epilogue)
}
