//! The tests of `reflux-models` as one program: whatever file of this folder is listed here is a part of it.

mod common;

mod bfl;
mod codes;
mod config;
mod files;
mod foreign;
mod ir_text;
mod layouts;
mod lora;
mod noise;
mod onnx_export;
mod onnx_functions;
mod saved;
mod scheduler;
mod single_file;
mod tokenizer;
mod weights;
