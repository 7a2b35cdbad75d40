//! The tests of `reflux-ir` as one program: whatever file of this folder is listed here is a part of it.

#[macro_use]
mod common {
    pub mod graphs;
    pub mod programs;
    #[macro_use]
    pub mod snapshot;
}

mod export;
mod op;
mod patch;
mod text;
mod text_fuzz;
mod verify;
