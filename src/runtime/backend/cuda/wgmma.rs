//! The source of products on Hopper's tensor cores.

use super::matmul::MatmulKind;

/// A kind of product in terms of PTX.
struct PtxProduct {
    /// The C type of the sums, and the constraint of a register that holds one.
    sum: &'static str,
    register: char,
    /// The end of the instruction's name: how many elements 32 bytes hold, and the types of result and operands.
    types: &'static str,
    /// Signs and transpositions, if the instruction has them.
    tail: &'static str,
}

impl PtxProduct {
    fn of(kind: MatmulKind) -> Self {
        match kind {
            MatmulKind::Bf16 => {
                Self { sum: "float", register: 'f', types: "k16.f32.bf16.bf16", tail: ", 1, 1, 0, 0" }
            }
            MatmulKind::F8 => {
                Self { sum: "float", register: 'f', types: "k32.f32.e4m3.e4m3", tail: ", 1, 1" }
            }
            MatmulKind::I8 => Self { sum: "int", register: 'r', types: "k32.s32.s8.s8", tail: "" },
        }
    }
}

/// The C type of the sums of a product.
pub fn sum_type(kind: MatmulKind) -> &'static str {
    PtxProduct::of(kind).sum
}

/// The function `name(sums, x, weight, add)`, which starts a product of 64 rows by `width` columns, into `width / 2` numbers of
/// [`sum_type`] in each thread; without `add`, it overwrites them.
pub fn multiply(name: &str, kind: MatmulKind, width: usize) -> String {
    let PtxProduct { sum, register, types, tail } = PtxProduct::of(kind);
    let sums = width / 2;
    let list = |item: &dyn Fn(usize) -> String| (0..sums).map(item).collect::<Vec<_>>().join(", ");
    format!(
        "__device__ __forceinline__ void {name}({sum} (&d)[{sums}], unsigned long long x, unsigned long long weight, int add) {{\n  \
         asm volatile(\"{{.reg .pred p; setp.ne.b32 p, %{}, 0; wgmma.mma_async.sync.aligned.m64n{width}{types} {{{}}}, %{sums}, %{}, p{tail};}}\"\n      \
         : {}\n      : \"l\"(x), \"l\"(weight), \"r\"(add));\n}}\n",
        sums + 2,
        list(&|index| format!("%{index}")),
        sums + 1,
        list(&|index| format!("\"+{register}\"(d[{index}])")),
    )
}
