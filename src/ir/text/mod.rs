//! IR text: one line per op, repeated blocks rolled, `parse(print(program)) == program`.
//!
//! ```text
//! program flux {
//!   input %latents : bf16[1,4096,64] latent
//!   carry %h.{0..38} : bf16[1,4608,3072] latent
//!   prepare prompt (%t5) -> (%txt) { … }
//!   variant full (%latents, %txt) -> (%velocity, %h.{0..38}) {
//!     %x = linear %latents, @.weight bf16[3072,64], @.bias bf16[3072] : bf16[1,4096,3072] in x_embedder
//!     repeat %i in 0..38 (%h.prev = %x) in single_transformer_blocks.{i} {
//!       %n = layer_norm %h.prev {eps=1e-6} : bf16[1,4608,3072] in .norm.norm
//!       …
//!       yield %h
//!     }
//!     return %velocity, %h.{0..38}
//!   }
//!   schedule full full*3
//! }
//! ```
//!
//! - A line is `%name = op operands {attributes} : type in module.path`. An operand is a value `%x`, a weight
//!   `@tensor type` (`@.bias` stands for `@module.path.bias`), or a number, typed like the first value of its line.
//! - A fused op is written as its formula, which names the operands where it reads them:
//!   `%n = rowwise layer_norm(%x, eps=1e-6) * (%scale + 1.0) + %shift : type`, and `%y = gemm PRODUCT {FORMULA} : type` with
//!   `acc` for the product; several segments are `{columns: FORMULA, columns: FORMULA}`. `+` and `-` stand between spaces.
//! - A type is `dtype[extents]`; that of codes names their scales too, as in `i8.row.bf16[3072,64]`.
//! - In `repeat %i in a..b`, a value `%n` of the body is `%n.a`, …, `%n.(b-1)` outside it; `%h.prev` is the value `%h`
//!   of the previous round, or the one given in parentheses in the first. Paths of the body start with the block's.
//!   `{i}`, `{i+1}`, `{2*i}`, `{2*i+1}` stand for integers that advance with the round, in tensor names, module paths,
//!   value names and attributes.
//! - `%n.{a..b}` is short for `%n.a, …, %n.(b-1)` in the inputs and outputs of a stage, after `return`, among operands,
//!   and in a declaration, which then declares each of them. Everywhere else a name is one name.
//! - `probe gate (%x) -> (%choice, %h) chooses reuse, full { … }` is a variant that is a probe: a step for which the schedule has
//!   `gate` runs it first, and then `reuse` where `%choice : i32[]` is 0, `full` where it is 1. It gives no results, and what
//!   the chosen variant needs of it is carried, as `%h` here; what that reads must have been written whatever was chosen
//!   before.
//! - The input's rate (`weights`, `prompt`, `schedule`, `latent`) follows its type; other rates are inferred.
//! - `//` starts a comment: costs and provenance, which parsing ignores.

mod ast;
mod blocks;
mod build;
mod formula;
mod lexer;
mod lines;
mod options;
mod parse;
mod parser;
mod print;
mod printed;
mod range;
mod roll;
mod write;

pub use lexer::{ParseError, Span};
pub use options::PrintOptions;
pub use parse::{parse, parse_type};

pub(crate) use blocks::blocks;
pub(crate) use lines::line_of;
pub(crate) use printed::{Part, Printed, Section, Topic};
pub(crate) use range::{follows, written as range_of};
