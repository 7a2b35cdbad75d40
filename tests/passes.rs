//! The tests of `reflux-passes` as one program: whatever file of this folder is listed here is a part of it.

#[macro_use]
mod common {
    pub mod passes;
    #[macro_use]
    pub mod snapshot;
}

mod bisect;
mod bound_attention;
mod cache;
mod canonicalize;
mod dce;
mod diff;
mod driver;
mod explain;
mod fuse;
mod hoist;
mod lora_pass;
mod merge_linear;
mod options;
mod pack;
mod probe;
mod pruna;
mod quantize;
mod quantize_attention;
mod raise;
mod recipe;
mod shard;
mod steer;
mod tap;
