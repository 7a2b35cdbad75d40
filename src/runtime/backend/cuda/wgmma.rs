//! The source of products on Hopper's tensor cores.

use super::matmul::MatmulKind;

/// Where the left operand of a product is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// In shared memory, given by its descriptor.
    Shared,
    /// In four registers of each thread.
    Registers,
}

/// A kind of product in terms of PTX.
struct PtxProduct {
    /// The C type of the sums, and the constraint of a register that holds one.
    sum: &'static str,
    register: char,
    /// The end of the instruction's name: how many elements 32 bytes hold, and the types of result and operands.
    types: &'static str,
    /// The signs of the operands, if the instruction has them.
    signs: &'static str,
    /// Whether each operand that is in shared memory may be transposed.
    has_transpositions: bool,
}

impl PtxProduct {
    fn of(kind: MatmulKind) -> Self {
        let (sum, register, types, signs) = match kind {
            MatmulKind::Bf16 => ("float", 'f', "k16.f32.bf16.bf16", ", 1, 1"),
            MatmulKind::F8 => ("float", 'f', "k32.f32.e4m3.e4m3", ", 1, 1"),
            MatmulKind::I8 => ("int", 'r', "k32.s32.s8.s8", ""),
        };
        Self { sum, register, types, signs, has_transpositions: kind == MatmulKind::Bf16 }
    }
}

/// The C type of the sums of a product.
pub fn sum_type(kind: MatmulKind) -> &'static str {
    PtxProduct::of(kind).sum
}

/// The function `name(sums, x, weight, add)`, which starts a product of 64 rows by `width` columns, into `width / 2` numbers of
/// [`sum_type`] in each thread; without `add`, it overwrites them.
pub fn multiply(name: &str, kind: MatmulKind, left: Left, width: usize) -> String {
    let PtxProduct { sum, register, types, signs, has_transpositions } = PtxProduct::of(kind);
    let sums = width / 2;
    let list = |range: std::ops::Range<usize>, item: &dyn Fn(usize) -> String| {
        range.map(item).collect::<Vec<_>>().join(", ")
    };
    let placeholder = |index: usize| format!("%{index}");
    let (x_type, x, x_operands, x_count, in_shared) = match left {
        Left::Shared => ("unsigned long long x", placeholder(sums), "\"l\"(x)".to_owned(), 1, 2),
        Left::Registers => {
            let registers = list(0..4, &|index| format!("\"r\"(x[{index}])"));
            let x = format!("{{{}}}", list(sums..sums + 4, &placeholder));
            ("const unsigned* x", x, registers, 4, 1)
        }
    };
    let weight = sums + x_count;
    let transpositions = ", 0".repeat(if has_transpositions { in_shared } else { 0 });
    format!(
        "__device__ __forceinline__ void {name}({sum} (&d)[{sums}], {x_type}, unsigned long long weight, int add) {{\n  \
         asm volatile(\"{{.reg .pred p; setp.ne.b32 p, %{}, 0; wgmma.mma_async.sync.aligned.m64n{width}{types} {{{}}}, {x}, %{weight}, p{signs}{transpositions};}}\"\n      \
         : {}\n      : {x_operands}, \"l\"(weight), \"r\"(add));\n}}\n",
        weight + 1,
        list(0..sums, &placeholder),
        list(0..sums, &|index| format!("\"+{register}\"(d[{index}])")),
    )
}
