//! Random programs and damaged files, and the properties that must hold for them.
//!
//! - [`generate`] makes random programs that verify, with every op.
//! - [`mutate`] makes texts that are almost programs.
//! - [`pipelines`] makes pipelines of registered passes with random options.
//! - [`check`] says what must hold: texts are parsed or refused, programs survive being printed, pipelines run or are
//!   refused, and passes leave alone what they left.
//! - [`shrink`] reduces failing inputs.
//! - [`run`] does all of this for any number of inputs, each with its own seed.
//! - [`files`] does the same for the files of models: weights, LoRAs, configurations and tokenizers, which [`damage`] makes almost right.
//!
//! `cargo run --release -p reflux-fuzz` tries programs until it is stopped, and with `--what files` files; with
//! `--count 1000000`, so many. The tests run a few thousand. The tests of the `reflux` package, which can run programs, also
//! compare results on the CPU.

pub mod check;
pub mod damage;
pub mod files;
pub mod generate;
pub mod mutate;
pub mod pipelines;
pub mod run;
pub mod shrink;
