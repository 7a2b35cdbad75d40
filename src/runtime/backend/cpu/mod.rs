//! The CPU backend: burn-flex, with faster replacements for some ops. burn-flex makes a pass over memory per op; here
//! formulas are evaluated row by row, each row in the cache. Its products pack both matrices each time; here they are read
//! in place.

mod attention;
mod burn_backend;
mod conv2d;
mod data;
mod formula;
mod functions;
mod gemm;
mod group_norm;
mod host;
mod limits;
mod matrix;
mod panel;
mod product;
mod quantized;
mod rows;
mod rowwise;
mod tiles;
mod upsample;

pub use host::Host;

#[cfg(test)]
mod tests;
