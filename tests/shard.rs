//! The shard pass: what each device has of a step, and what devices exchange. `tests/ranks.rs` runs it.

use crate::common::passes::{assert_settled, assert_unchanged, flux_dev_after, only, program, run, sketch, story};
use reflux_ir::op::Op;
use reflux_ir::text;
use reflux_ir::{Program, Stage};

const INPUTS: [&str; 4] =
    ["%x : f32[1,6,16] latent", "%text : f32[1,2,16] prompt", "%scale : f32[1,1,16] schedule", "%mask : f32[8,8] prompt"];

/// Attention of the tokens of two streams, between row by row work.
const JOINT: &str = "%rows = layer_norm %x {eps=1e-6} : f32[1,6,16]
     %moved = mul %rows, %scale : f32[1,6,16]
     %both = concat %text, %moved {axis=1} : f32[1,8,16]
     %proj = linear %both, @qkv f32[16,16] : f32[1,8,16] in block.to_q
     %heads = reshape %proj {shape=[1, 8, 4, 4]} : f32[1,8,4,4]
     %ids = position_ids {text=2, rows=2, columns=3} : f32[8,3]
     %table = rope_table %ids {axes=[0, 2, 2], theta=10000.0} : f32[2,8,2]
     %q = rope %heads, %table : f32[1,8,4,4]";

/// Ends with the rows of `%x`.
const REST: &str = "%flat = reshape %a {shape=[1, 8, 16]} : f32[1,8,16]
     %own = slice %flat {axis=1, start=2, end=8} : f32[1,6,16]
     %sum = add %x, %own : f32[1,6,16]
     return %sum";

#[test]
fn tokens_are_divided_and_heads_around_attention() {
    let text = sketch(&INPUTS, &format!("{JOINT} %a = attention %q, %q, %heads {{scale=0.5}} : f32[1,8,4,4] in block.attn {REST}"));
    assert_settled("joint", &program(&text), "shard(2)");
    snapshot!("shard__joint", story(&text, "shard(2)"));
}
