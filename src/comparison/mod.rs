//! Two programs of one network on the same inputs, module by module, however differently they are fused: what each module takes in
//! both, how far its result is off in the second, and how much of that the module itself makes.

mod distance;
mod isolated;
mod lineage;
mod lockstep;
mod modules;
mod padded;
mod recompute;
mod report;
mod side;

pub use lockstep::{Compared, Inputs, compare, several_devices};
pub use report::Comparison;
pub use side::Side;
