//! Programs that no one wrote, and what must hold of them.
//!
//! - [`generate`] makes random programs that verify, over every op that there is.
//! - [`mutate`] makes texts that nearly are programs.
//! - [`pipelines`] makes pipelines of registered passes with random options.
//! - [`check`] says what must hold: texts are parsed or refused, programs survive being printed, pipelines run or are
//!   refused, and passes leave alone what they left.
//! - [`shrink`] makes what fails small.
//! - [`run`] does all of this for as many inputs as one likes, each from a seed of its own.
//!
//! `cargo run --release -p reflux-fuzz -- --count 1000000` runs on; the tests run a few thousand inputs. What results are
//! worth on a processor is compared in the tests of the `reflux` package, which can run programs.

pub mod check;
pub mod generate;
pub mod mutate;
pub mod pipelines;
pub mod run;
pub mod shrink;
