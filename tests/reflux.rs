//! The tests of `reflux`, which need all crates, as one program: whatever file of this folder is listed here is a part of it.

#[macro_use]
mod common {
    pub mod cases;
    pub mod chromium;
    pub mod evaluation;
    pub mod fixtures;
    pub mod model;
    pub mod passes;
    #[macro_use]
    pub mod snapshot;
    pub mod variants;
}

mod attention_codes;
mod batch;
mod browser;
mod cli;
mod compiled;
mod differential;
mod docs;
mod every_op;
mod executor;
mod explorer;
mod family;
mod fidelity;
mod found_early;
#[cfg(feature = "cuda")]
mod kernels;
mod lora;
mod numeric;
mod onnx;
mod onnx_hostile;
mod pairs;
mod peers;
mod pictures;
mod pipeline;
mod probe_run;
mod programs;
mod quantized;
mod ranks;
mod tune;
