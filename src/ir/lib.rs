//! The Reflux IR: a typed dataflow graph that reads like a program.
//!
//! - [`dtype`]: the table of element types.
//! - [`Graph`]: ops ([`op`]) in SSA form, each with a [`Fact`], a [`ModulePath`] and a [`Provenance`].
//! - [`Program`]: the variants of a step, what they carry over, and the schedule that runs them.
//! - [`text`]: `parse(print(program)) == program`, repeated blocks printed once.
//! - [`GraphBuilder`]: builds new graphs; [`Scope`] does so module by module.
//! - [`Patch`]: the only way to edit a graph, type-checked.
//! - [`pass`]: passes over programs, pipelines of them, and the driver that runs them.
//! - [`verify()`]: checks the invariants of a program.
//! - [`Machine`]: estimated times of ops on known devices.
//! - [`ProgramDiff`]: what differs between two programs.
//! - [`files`]: outputs that are complete or absent.
//! - [`Advice`]: what errors advise.
//! - [`export`]: Graphviz DOT and Model Explorer JSON.
//!
//! ```
//! let text = "
//! program double {
//!   input %x : f32[2,3] latent
//!   variant main (%x) -> (%y) {
//!     %y = mul %x, 2.0 : f32[2,3]
//!     return %y
//!   }
//!   schedule main
//! }";
//! let program = reflux_ir::text::parse(text)?;
//! reflux_ir::verify(&program)?;
//! assert_eq!(program.variants["main"].total_cost().flops, 6);
//! assert_eq!(reflux_ir::text::parse(&program.to_string())?, program);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod advice;
mod attribute;
mod builder;
mod cost;
mod diff;
pub mod dtype;
mod edits;
pub mod export;
mod fact;
pub mod files;
mod fused;
mod graph;
mod hash;
mod host;
mod machine;
mod name;
pub mod op;
pub mod pass;
mod patch;
mod program;
mod quantized;
mod rebuild;
mod scales;
mod scope;
mod shape;
pub mod text;
mod verify;
mod weight_rows;
pub mod words;

pub use advice::Advice;
pub use builder::GraphBuilder;
pub use cost::{Cost, duration, si};
pub use diff::{DiffLayout, DiffOptions, DiffRow, ProgramDiff, ValueChange, ValueCounts, value_changes};
pub use dtype::{BlockFormat, DType, UnknownDType};
pub use edits::{Edit, EditedValue};
pub use fact::{Fact, Rate};
pub use graph::{Graph, GraphError, Node, Output, Provenance, ValueId};
pub use host::{HostTensor, NoWeights, WeightData, WeightError, WeightSource};
pub use machine::Machine;
pub use name::{ModulePath, Name};
pub use op::Op;
pub use patch::{Patch, PatchError};
pub use program::{Declaration, Program, Stage};
pub use quantized::{QuantizedError, QuantizedTensor};
pub use scales::{Granularity, Scales, UnknownScales};
pub use scope::{Builder, Scope};
pub use shape::Shape;
pub use verify::{VerifyError, Violation, verify};
pub use weight_rows::WeightRows;
