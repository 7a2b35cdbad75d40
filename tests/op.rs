//! Every op: what it accepts, what it makes of it, what it refuses and how, and what it costs.

use reflux_ir::op::{Binary, Cast, InferError, OpKind, Unary};
use reflux_ir::text::{ParseError, parse};
use reflux_ir::{Cost, DType, Fact, Op, Program, Rate};
use serde_json::Map;
use std::collections::BTreeSet;
use std::fmt::Write;

/// The op of the line `text`, which gives its operands as weights, if it is accepted.
fn line(text: &str) -> Result<Program, ParseError> {
    parse(&format!("program p {{ variant main () -> (%y) {{\n%y = {text}\nreturn %y }} schedule main }}"))
}

fn names<'t>(lines: impl IntoIterator<Item = &'t str>) -> BTreeSet<&'t str> {
    lines.into_iter().map(|line| line.split(' ').next().unwrap()).collect()
}

/// Every op that is written as a line.
fn all() -> BTreeSet<&'static str> {
    Op::kinds().filter(|(_, kind)| kind.is_computed()).map(|(name, _)| name).collect()
}

/// The ops that have no attributes and work element by element, with the number of their operands: functions of numbers.
fn functions() -> Vec<(&'static str, usize)> {
    let elementwise = Op::kinds().filter(|(_, kind)| *kind == OpKind::Elementwise);
    let arity = |name| Some(*Op::from_text(name, Map::new())?.ok()?.arity().start());
    elementwise.filter_map(|(name, _)| Some((name, arity(name)?))).collect()
}

/// The ops of `lines`, and the functions, for which lines are made.
fn names_with_functions(lines: &'static [&'static str]) -> BTreeSet<&'static str> {
    names(lines.iter().copied()).into_iter().chain(functions().into_iter().map(|(name, _)| name)).collect()
}

/// Lines that are well typed: the type at the end is what is inferred.
const GOOD: &[&str] = &[
    "position_ids {text=2, rows=3, columns=4} : f32[14,3]",
    "position_ids {text=0, rows=1, columns=1} : f32[1,3]",
    "position_ids {text=0, rows=2, columns=1, time=1} : f32[2,3]",
    "relative_buckets {length=5, buckets=32, max_distance=128} : i32[5,5]",
    "silu @x f32[2,3] : f32[2,3]",
    "gelu @x f16[] : f16[]",
    "gelu_tanh @x bf16[4] : bf16[4]",
    "quick_gelu @x f32[1,3] : f32[1,3]",
    "exp @x bf16[2] : bf16[2]",
    "tanh @x f16[2,1] : f16[2,1]",
    "add @a f32[2,1,4], @b f32[3,1] : f32[2,3,4]",
    "sub @a bf16[3], @b bf16[] : bf16[3]",
    "mul @a i32[1], @b i32[7] : i32[7]",
    "div @a f16[2,3], 2.0 : f16[2,3]",
    "equal @a i8[2,3], @b i8[3] : i8[2,3]",
    "min @a i32[2,1], @b i32[3] : i32[2,3]",
    "max 0.0, @b bf16[3] : bf16[3]",
    "pow @a f16[2,3], 2.0 : f16[2,3]",
    "cast @x f32[2,3] {dtype=i8} : i8[2,3]",
    "linear @x f32[2,3,4], @w f32[5,4] : f32[2,3,5]",
    "linear @x bf16[4], @w bf16[5,4], @b bf16[5] : bf16[5]",
    "linear @x f32[2,3,4], @w f32[5,4,16], @b f32[80] : f32[2,3,80]",
    "matmul @a f32[2,3], @b f32[3,4] : f32[2,4]",
    "matmul @a f16[5,1,2,3], @b f16[6,3,4] : f16[5,6,2,4]",
    "attention @q f32[1,6,2,8], @k f32[1,10,2,8], @v f32[1,10,2,8] {scale=0.125} : f32[1,6,2,8]",
    "attention @q f32[3,4,2,8], @q f32[3,4,2,8], @q f32[3,4,2,8], @m f32[4,4] {scale=1.0, causal=true} : f32[3,4,2,8]",
    "attention @q f16[1,6,2,8], @k f16[1,10,2,8], @v f16[1,10,2,8], @b f32[] {scale=1.0, bounded=true} : f16[1,6,2,8]",
    "attention @q i8.row.f32[1,6,2,8], @k i8.row.f32[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0} : bf16[1,6,2,8]",
    "attention @q f8e4m3.row.f32[1,6,2,8], @k f8e4m3.row.f32[1,10,2,8], @v f32[1,10,2,8], @b f32[] {scale=1.0, bounded=true} : f32[1,6,2,8]",
    "attention @q i8.row.f32[1,6,2,8], @q i8.row.f32[1,6,2,8], @v f16[1,6,2,8], @m f16[6,6] {scale=1.0, causal=true} : f16[1,6,2,8]",
    "score_bound @q bf16[8], @p f32[8], @k f16[8] {queries=2, scale=0.35} : f32[]",
    "score_bound @q bf16[8], @k bf16[8] {queries=1, scale=0.35, codes=f8e4m3} : f32[]",
    "quantize @x f32[2,3] {dtype=i8, scales=row.f32, quant_min=-127, eps=1e-5} : i8.row.f32[2,3]",
    "quantize @x bf16[7] {dtype=i8, scales=tensor.bf16, eps=1e-5} : i8.tensor.bf16[7]",
    "quantize @x bf16[2,5,300] {dtype=f8e4m3, scales=group128.f32, eps=1e-12} : f8e4m3.group128.f32[2,5,300]",
    "dequantize @x i8.row.f32[2,3] {dtype=bf16} : bf16[2,3]",
    "dequantize @x u4.group128.bf16[3,300] {dtype=f32} : f32[3,300]",
    "dequantize @x f8e4m3.tensor.f32[] {dtype=f16} : f16[]",
    "matmul_i8 @x i8.row.f32[2,3,4], @w i8.row.f32[5,4] : i32[2,3,5]",
    "matmul_i8 @x i8.tensor.bf16[4], @w i8.group2.f16[5,4] : i32[5]",
    "matmul_f8 @x f8e4m3.row.f32[2,4], @w f8e4m3.tensor.f32[5,4] : f32[2,5]",
    "matmul_w8 @x bf16[1,3,4], @w i8.row.bf16[5,4] : bf16[1,3,5]",
    "rescale @y i32[1,2,5], @x i8.row.f32[1,2,4], @w i8.row.f32[5,4], @b bf16[5] {dtype=bf16} : bf16[1,2,5]",
    "rescale @y f32[2,5], @x f8e4m3.tensor.f32[2,4], @w f8e4m3.tensor.f32[5,4] {dtype=f32} : f32[2,5]",
    "rescale @y f16[2,5], @w i8.row.f16[5,4], @b f16[5] {dtype=f16} : f16[2,5]",
    "rescale @y i32[5], @x i8.row.f32[4], @w i8.tensor.bf16[5,4] {dtype=f32} : f32[5]",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=0} : f32[1,4,6,6]",
    "conv2d @x f32[2,3,8,6], @w f32[4,3,3,3], @b f32[4] {padding=1} : f32[2,4,8,6]",
    "conv2d @x f32[2,3,2,2], @w f32[4,3,6,6] {padding=2} : f32[2,4,1,1]",
    "conv2d @x f32[2,4,9,8], @w f32[6,2,3,3] {padding=1, stride=2, dilation=2, groups=2} : f32[2,6,4,3]",
    "layer_norm @x f32[2,4] {eps=1e-6} : f32[2,4]",
    "layer_norm @x bf16[2,4], @w bf16[4], @b bf16[4] {eps=1e-6} : bf16[2,4]",
    "rms_norm @x f16[2,4], @w f16[4] {eps=0.0} : f16[2,4]",
    "group_norm @x f32[2,6,5,5], @w f32[6], @b f32[6] {groups=3, eps=1e-6} : f32[2,6,5,5]",
    "timestep_embedding @t f16[3] {dim=256, max_period=10000.0} : f32[3,256]",
    "timestep_embedding @t f32[20,2] {dim=256, max_period=10000.0} : f32[20,2,256]",
    "timestep_embedding @t f32[] {dim=8, max_period=10000.0} : f32[8]",
    "rope_table @ids f32[7,3] {axes=[16, 56, 56], theta=10000.0} : f32[2,7,64]",
    "rope @x bf16[1,7,2,8], @table f32[2,7,4] : bf16[1,7,2,8]",
    "embedding @ids i32[2,7], @table f16[100,8] : f16[2,7,8]",
    "embedding @id i32[], @table f32[100,8] : f32[8]",
    "argmax @x i32[2,7] : i32[2]",
    "mean @x bf16[2,7] : f32[2]",
    "mean @x f32[4] : f32[]",
    "sum @x bf16[2,7] : bf16[2]",
    "amax @x f32[4] : f32[]",
    "softmax @x f16[2,7] : f16[2,7]",
    "where @c bf16[2,1], @a f32[3], @b f32[2,3] : f32[2,3]",
    "where @c f32[2], @a i32[2], @b i32[] : i32[2]",
    "max_pool2d @x f32[1,3,7,8] {kernel=3, stride=2} : f32[1,3,3,3]",
    "avg_pool2d @x f32[1,3,4,4] {kernel=4, stride=1} : f32[1,3,1,1]",
    "select @x f32[3,4,5], @i i32[] : f32[4,5]",
    "select @x f32[3,4,5], @i i32[3] : f32[3,5]",
    "select @x bf16[3,4,5], @i i32[3,4] : bf16[3,4]",
    "reshape @x f32[2,6] {shape=[3, 2, 2]} : f32[3,2,2]",
    "reshape @x f32[1,1] {shape=[]} : f32[]",
    "transpose @x f32[2,3,4] {perm=[2, 0, 1]} : f32[4,2,3]",
    "concat @a f32[2,3], @b f32[2,1], @a f32[2,3] {axis=1} : f32[2,7]",
    "concat @a i32[2,3], @b i32[4,3] {axis=-2} : i32[6,3]",
    "shard @x f32[2,8] {devices=4, axis=-1} : f32[2,2]",
    "shard @x bf16[2,9] {devices=4, axis=1, parts=[1, 8]} : bf16[2,3]",
    "shard @x i8.row.f32[8,4] {devices=2, axis=0} : i8.row.f32[4,4]",
    "all_gather @x f32[2,3] {devices=4, axis=1} : f32[2,12]",
    "all_gather @x f32[2,3] {devices=4, axis=1, parts=[1, 8]} : f32[2,9]",
    "all_to_all @x bf16[1,3,8,4] {devices=4, split=2, concat=1} : bf16[1,12,2,4]",
    "all_to_all @x bf16[1,12,3,4] {devices=4, split=1, concat=2, split_parts=[2, 10], concat_parts=[9]} : bf16[1,4,9,4]",
    "slice @x f32[2,8] {axis=-1, start=2, end=7} : f32[2,5]",
    "upsample @x f32[1,2,3,4] {factor=3} : f32[1,2,9,12]",
    "rowwise silu(@x bf16[2,8]) * @g bf16[8] : bf16[2,8]",
    "rowwise quantize(@x bf16[2,8], dtype=i8, scales=row.f32, eps=1e-5) : i8.row.f32[2,8]",
    "gemm linear(@x bf16[2,8], @w bf16[4,8]) {acc} : bf16[2,4]",
    "gemm rescale(matmul_i8(@x i8.row.f32[2,8], @w i8.row.f32[4,8]), @x i8.row.f32[2,8], @w i8.row.f32[4,8], dtype=f32) {1: acc, 3: silu(acc)} : f32[2,4]",
    "gemm linear(@x bf16[2,8], @w bf16[4,8]) {silu(acc + linear(@h bf16[2,3], @b bf16[4,3]))} : bf16[2,4]",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {1: acc, 3: acc + linear(@h f32[2,3], @b f32[3,3]) + linear(@g f32[2,5], @c f32[3,5])} : f32[2,4]",
];

/// Lines that are not, whatever type they give.
const BAD: &[&str] = &[
    "position_ids {text=0, rows=0, columns=4}",
    "position_ids {text=0, rows=4294967296, columns=4294967296}",
    "position_ids @x f32[2] {text=0, rows=1, columns=4}",
    "relative_buckets {length=0, buckets=32, max_distance=128}",
    "relative_buckets {length=5, buckets=6, max_distance=128}",
    "relative_buckets {length=5, buckets=32, max_distance=8}",
    "relative_buckets {length=9223372036854775807, buckets=32, max_distance=128}",
    "silu @x i32[2]",
    "gelu @x i8[2]",
    "gelu_tanh @x f32[2], @y f32[2]",
    "quick_gelu",
    "exp @x i32[2]",
    "tanh @x f32[2] {fast=true}",
    "add @a f32[2,3], @b f32[2]",
    "sub @a f32[2], @b bf16[2]",
    "mul @a f32[2]",
    "div @a f32[2], 2.0 bf16",
    "equal @a i32[2], 3000000000.0",
    "min @a f32[2,3], @b f32[2]",
    "max @a f32[2], @b bf16[2]",
    "pow @a i32[2], 2",
    "pow @a f32[2], @b i32[2]",
    "cast @x f32[2], @y f32[2] {dtype=bf16}",
    "cast @x f32[2] {dtype=u4}",
    "cast @x i8.row.f32[2] {dtype=f32}",
    "linear @x i32[2,4], @w f32[5,4]",
    "linear @x f32[2,4], @w f32[4]",
    "linear @x f32[2,4], @w f32[2,5,4]",
    "linear @x f32[2,4], @w f32[2,4,3], @b f32[2]",
    "linear @x f32[2,4], @w f32[1,2,4,3]",
    "linear @x f32[2,4], @w f32[5,3]",
    "linear @x f32[], @w f32[5,3]",
    "linear @x f32[2,4], @w bf16[5,4]",
    "linear @x f32[2,4], @w f32[5,4], @b f32[4]",
    "linear @x f32[2,4], @w f32[5,4], @b f32[1,5]",
    "matmul @a f32[2,3], @b f32[4,3]",
    "matmul @a f32[3], @b f32[3,4]",
    "matmul @a f32[2,5,3], @b f32[3,3,4]",
    "matmul @a f32[2,3], @b f16[3,4]",
    "matmul @a i8[2,3], @b i8[3,4]",
    "matmul @a f32[4294967296,1], @b f32[1,4294967296]",
    "attention @q f32[6,2,8], @k f32[6,2,8], @v f32[6,2,8] {scale=1.0}",
    "attention @q f32[1,6,2,8], @k f32[1,10,2,8], @v f32[1,9,2,8] {scale=1.0}",
    "attention @q f32[1,6,2,8], @k f32[1,10,4,8], @v f32[1,10,4,8] {scale=1.0}",
    "attention @q f32[1,6,2,8], @k f32[10], @v f32[10] {scale=1.0}",
    "attention @q f32[1,6,2,8], @k f16[1,6,2,8], @k f16[1,6,2,8] {scale=1.0}",
    "attention @q f32[1,6,2,8], @k f32[1,10,2,8], @k f32[1,10,2,8] {scale=1.0, causal=true}",
    "attention @q f32[1,6,2,8], @q f32[1,6,2,8], @q f32[1,6,2,8], @m f32[2,6,6,6] {scale=1.0}",
    "attention @q f32[1,6,2,8], @q f32[1,6,2,8], @q f32[1,6,2,8], @m f32[1,1,1,6,6] {scale=1.0}",
    "attention @q f32[1,6,2,8], @q f32[1,6,2,8], @q f32[1,6,2,8] {scale=1.0, bounded=true}",
    "attention @q f32[1,6,2,8], @q f32[1,6,2,8], @q f32[1,6,2,8], @b f32[1] {scale=1.0, bounded=true}",
    "attention @q f16[1,6,2,8], @q f16[1,6,2,8], @q f16[1,6,2,8], @b f16[] {scale=1.0, bounded=true}",
    "attention @q f32[1,6,2,8], @q f32[1,6,2,8], @q f32[1,6,2,8], @b f32[] {scale=1.0, causal=true, bounded=true}",
    "attention @q i8.row.f32[1,6,2,8], @k bf16[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0}",
    "attention @q bf16[1,6,2,8], @k i8.row.f32[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0}",
    "attention @q i8.row.f32[1,6,2,8], @k f8e4m3.row.f32[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0}",
    "attention @q i8.tensor.f32[1,6,2,8], @k i8.tensor.f32[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0}",
    "attention @q i8.row.bf16[1,6,2,8], @k i8.row.bf16[1,10,2,8], @v bf16[1,10,2,8] {scale=1.0}",
    "attention @q bf16[1,6,2,8], @k bf16[1,10,2,8], @v i8.row.f32[1,10,2,8] {scale=1.0}",
    "attention @q i8.row.f32[1,6,2,8], @k i8.row.f32[1,10,2,8], @k i8.row.f32[1,10,2,8] {scale=1.0}",
    "attention @q i8.row.f32[1,6,2,8], @k i8.row.f32[1,10,2,8], @v bf16[1,10,2,8], @m i8.row.f32[6,10] {scale=1.0}",
    "score_bound @q f32[8], @k f32[8] {queries=1, scale=1.0, codes=bf16}",
    "score_bound @q f32[8] {queries=1, scale=1.0}",
    "score_bound @q f32[8], @k f32[8] {queries=2, scale=1.0}",
    "score_bound @q f32[8], @k f32[8] {queries=0, scale=1.0}",
    "score_bound @q f32[8], @k f32[6] {queries=1, scale=1.0}",
    "score_bound @q f32[7], @k f32[7] {queries=1, scale=1.0}",
    "score_bound @q f32[2,8], @k f32[2,8] {queries=1, scale=1.0}",
    "score_bound @q f32[], @k f32[] {queries=1, scale=1.0}",
    "score_bound @q i32[8], @k i32[8] {queries=1, scale=1.0}",
    "quantize @x i32[2,3] {dtype=i8, scales=row.f32, eps=1e-5}",
    "quantize @x f32[] {dtype=i8, scales=tensor.f32, eps=1e-5}",
    "quantize @x i8.row.f32[2,3] {dtype=i8, scales=row.f32, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=u4, scales=group32.f32, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=bf16, scales=row.f32, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=i8, scales=row.i8, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=i8, scales=group0.f32, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=i8, scales=row.f32, quant_min=-126, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=f8e4m3, scales=row.f32, quant_min=-128, eps=1e-5}",
    "quantize @x f32[2,3] {dtype=i8, scales=row.f32, eps=0.0}",
    "quantize @x f32[2,3] {dtype=i8, scales=row.f32}",
    "quantize @x f32[2,3], @y f32[2,3] {dtype=i8, scales=row.f32, eps=1e-5}",
    "dequantize @x i8[2,3] {dtype=f32}",
    "dequantize @x i8.row.f32[2,3] {dtype=i8}",
    "dequantize @x i8.row.f32[2,3] {dtype=f8e4m3}",
    "matmul_i8 @x i8[2,4], @w i8.row.f32[5,4]",
    "matmul_i8 @x i8.row.f32[2,4], @w i8[5,4]",
    "matmul_i8 @x f32[2,4], @w i8.row.f32[5,4]",
    "matmul_i8 @x i8.row.f32[2,4], @w f8e4m3.row.f32[5,4]",
    "matmul_i8 @x i8.row.f32[2,4], @w u4.group32.f32[5,4]",
    "matmul_i8 @x i8.row.f32[2,3], @w i8.row.f32[5,4]",
    "matmul_i8 @x i8.tensor.f32[], @w i8.row.f32[5,4]",
    "matmul_i8 @x i8.row.f32[2,4], @w i8.row.f32[2,5,4]",
    "matmul_i8 @x i8.row.f32[2,4], @w i8.row.f32[5,4], @b f32[5]",
    "matmul_i8 @x i8.row.f32[2,4], @w i8.row.f32[5,4] {dtype=i32}",
    "matmul_f8 @x i8.row.f32[2,4], @w f8e4m3.row.f32[5,4]",
    "matmul_f8 @x f8e4m3.row.f32[2,4], @w i8.row.f32[5,4]",
    "matmul_w8 @x i8.row.f32[2,4], @w i8.row.f32[5,4]",
    "matmul_w8 @x f32[2,4], @w f32[5,4]",
    "matmul_w8 @x f32[2,4], @w i8.row.f32[4]",
    "rescale @y i32[2,5] {dtype=f32}",
    "rescale @y i32[2,5], @b f32[5] {dtype=f32}",
    "rescale @y i32[2,5], @w i8.row.f32[5,4] {dtype=i32}",
    "rescale @y i8.row.f32[2,5], @w i8.row.f32[5,4] {dtype=f32}",
    "rescale @y i32[], @w i8.tensor.f32[5,4] {dtype=f32}",
    "rescale @y i32[2,5], @w i8.group2.f32[5,4] {dtype=f32}",
    "rescale @y i32[2,5], @x i8.group2.f32[2,4], @w i8.row.f32[5,4] {dtype=f32}",
    "rescale @y i32[2,5], @x i8.row.f32[2,4], @w i8.row.f32[6,4] {dtype=f32}",
    "rescale @y i32[2,5], @x i8.row.f32[3,4], @w i8.row.f32[5,4] {dtype=f32}",
    "rescale @y i32[2,5], @x i8.row.f32[2,4], @w i8.row.f32[5,4], @b f32[2] {dtype=f32}",
    "rescale @y i32[2,5], @x i8.row.f32[2,4], @w i8.row.f32[5,4], @b f32[5] {dtype=bf16}",
    "rescale @y i32[2,5], @x i8.row.f32[2,4], @w i8.row.f32[5,4], @w i8.row.f32[5,4] {dtype=f32}",
    "rescale @y i32[2,5], @w i8.row.f32[5,4], @b f32[5], @b f32[5] {dtype=f32}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=0, groups=3}",
    "conv2d @x f32[1,4,8,8], @w f32[3,2,3,3] {padding=0, groups=2}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=0, stride=0}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=0, dilation=4}",
    "conv2d @x f32[3,8,8], @w f32[4,3,3,3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,2,3,3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,9] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,11,3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,0,3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=18446744073709551615}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3], @b f32[3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f16[4,3,3,3] {padding=1}",
    "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3] {padding=-1}",
    "layer_norm @x f32[] {eps=1e-6}",
    "layer_norm @x i32[4] {eps=1e-6}",
    "layer_norm @x f32[2,4], @w f32[4] {eps=1e-6}",
    "layer_norm @x f32[2,4], @w f32[2], @b f32[2] {eps=1e-6}",
    "layer_norm @x f32[2,4], @w bf16[4], @b bf16[4] {eps=1e-6}",
    "rms_norm @x f32[2,4] {eps=1e-6}",
    "rms_norm @x f32[2,4], @w f32[2,4] {eps=1e-6}",
    "group_norm @x f32[6], @w f32[6], @b f32[6] {groups=3, eps=1e-6}",
    "group_norm @x f32[2,6], @w f32[6], @b f32[6] {groups=4, eps=1e-6}",
    "group_norm @x f32[2,6], @w f32[6], @b f32[6] {groups=0, eps=1e-6}",
    "group_norm @x f32[2,6], @w f32[6], @b f32[2] {groups=3, eps=1e-6}",
    "group_norm @x f32[2,6], @w f32[6], @b f16[6] {groups=3, eps=1e-6}",
    "timestep_embedding @t i32[3] {dim=256, max_period=10000.0}",
    "timestep_embedding @t f32[3] {dim=255, max_period=10000.0}",
    "rope_table @ids f32[7,2] {axes=[16, 56, 56], theta=10000.0}",
    "rope_table @ids bf16[7,1] {axes=[16], theta=10000.0}",
    "rope_table @ids f32[7,1] {axes=[15], theta=10000.0}",
    "rope_table @ids f32[7,2] {axes=[18446744073709551614, 18446744073709551614], theta=10000.0}",
    "rope @x f32[7,2,8], @table f32[2,7,4]",
    "rope @x f32[1,7,2,7], @table f32[2,7,4]",
    "rope @x bf16[1,7,2,8], @table bf16[2,7,4]",
    "rope @x f32[1,7,2,8], @table f32[2,6,4]",
    "embedding @ids f32[2], @table f32[100,8]",
    "embedding @ids i32[2], @table f32[100]",
    "argmax @x f32[2,7]",
    "mean @x i32[2,7]",
    "mean @x f32[]",
    "sum @x i32[2,7]",
    "amax @x f32[]",
    "softmax @x f32[]",
    "softmax @x i32[2]",
    "where @c i32[2], @a f32[2], @b f32[2]",
    "where @c f32[2], @a f32[2], @b f16[2]",
    "where @c f32[2], @a f32[3], @b f32[1]",
    "max_pool2d @x f32[1,3,7,8] {kernel=8, stride=1}",
    "avg_pool2d @x f32[1,3,7,8] {kernel=2, stride=0}",
    "max_pool2d @x f32[3,7,8] {kernel=2, stride=1}",
    "argmax @x i32[]",
    "argmax @x i32[2,0]",
    "select @x f32[3,4], @i f32[]",
    "select @x f32[3,4], @i i32[4]",
    "select @x f32[3,4], @i i32[3,4]",
    "reshape @x f32[2,6] {shape=[3, 5]}",
    "reshape @x f32[2,6] {shape=[-1]}",
    "transpose @x f32[2,3] {perm=[0]}",
    "transpose @x f32[2,3] {perm=[0, 0]}",
    "transpose @x f32[2,3] {perm=[1, 2]}",
    "shard @x f32[2,8] {devices=1, axis=1}",
    "shard @x f32[2,8] {devices=2, axis=2}",
    "shard @x f32[2,8] {devices=2, axis=1, parts=[3, 4]}",
    "shard @x f32[2,8] {devices=2, axis=1, parts=[8, 0]}",
    "shard @x f32[2,8] {devices=65, axis=1}",
    "shard @x i8.row.f32[2,8] {devices=2, axis=1}",
    "shard @x i8.tensor.f32[2,8] {devices=2, axis=0}",
    "all_gather @x f32[2,8] {devices=0, axis=1}",
    "all_gather @x f32[2,8] {devices=2, axis=1, parts=[20]}",
    "all_to_all @x f32[2,8] {devices=2, split=1, concat=1}",
    "all_to_all @x f32[2,8] {devices=2, split=0, concat=1, concat_parts=[9]}",
    "concat {axis=0}",
    "concat @a f32[2,3], @b f32[2,4] {axis=0}",
    "concat @a f32[2,3], @b f16[2,3] {axis=0}",
    "concat @a f32[2,3], @b f32[3] {axis=0}",
    "concat @a f32[2,3] {axis=2}",
    "concat @a i8[9223372036854775807], @a i8[9223372036854775807] {axis=0}",
    "slice @x f32[2,8] {axis=1, start=2, end=9}",
    "slice @x f32[2,8] {axis=1, start=3, end=3}",
    "slice @x f32[2,8] {axis=-3, start=0, end=1}",
    "upsample @x f32[2,3,4] {factor=2}",
    "upsample @x f32[1,2,3,4] {factor=0}",
    "upsample @x f32[1,2,3,4] {factor=18446744073709551615}",
    "rowwise silu(@x bf16[2,8]) * @g bf16[3]",
    "rowwise linear(@x f32[2,8], @w f32[4,8])",
    "rowwise quantize(@x f32[2,8], dtype=i8, scales=tensor.f32, eps=1e-5)",
    "rowwise @x i32[2]",
    "gemm linear(@x bf16[2,8], @w bf16[4,7]) {acc}",
    "gemm silu(@x f32[2,8]) {acc}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {1: acc, 2: acc}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: layer_norm(acc, eps=1e-6)}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: acc + @g f32[3,1,1]}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: silu(acc) + linear(@h f32[2,3], @b f32[4,3])}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: acc * linear(@h f32[2,3], @b f32[4,3])}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: acc + linear(@h f32[2,3], @b f32[4,3], @c f32[4])}",
    "gemm linear(@x f32[2,8], @w f32[4,8]) {4: acc + linear(@h f32[1,3], @b f32[4,3])}",
];

#[test]
fn good_operands() {
    for text in GOOD {
        line(text).unwrap_or_else(|error| panic!("{error}"));
    }
    for (name, operands) in functions() {
        let operands = ["@a bf16[2,3]", "@b bf16[2,3]"][..operands].join(", ");
        line(&format!("{name} {operands} : bf16[2,3]")).unwrap_or_else(|error| panic!("{error}"));
    }
    assert_eq!(names_with_functions(GOOD), all());
}

#[test]
fn bad_operands() {
    let mut report = String::new();
    for text in BAD {
        let error = line(&format!("{text} : f32[]")).expect_err(text);
        // The op and its operands are what is printed above.
        let message = error.message.split_once("`: ").map_or(&*error.message, |(_, message)| message);
        writeln!(report, "{text}\n    {message}").unwrap();
    }
    for (name, operands) in functions() {
        let given = ["@a bf16[2,3]", "@b bf16[2,3]", "@c bf16[2,3]"].map(str::to_owned);
        for wrong in [&given[..operands - 1], &given[..operands + 1]] {
            line(&format!("{name} {} : bf16[2,3]", wrong.join(", "))).expect_err(name);
        }
        let operands = given[..operands].join(", ");
        let error = line(&format!("{name} {operands} {{fast=true}} : bf16[2,3]")).expect_err(name);
        assert!(error.message.contains("`fast` is not known"), "{error}");
    }
    assert_eq!(names_with_functions(BAD), all());
    snapshot!("op__errors", report);
}

/// Leaves have no type of their own but for numbers.
#[test]
fn leaves_are_not_inferred() {
    let infer = |name: &str, attributes: serde_json::Value| {
        Op::from_text(name, attributes.as_object().unwrap().clone()).unwrap().unwrap().infer(&[])
    };
    let number =
        |value: f64, dtype: &str| infer("constant", serde_json::json!({ "value": value, "dtype": dtype }));
    assert_eq!(number(-128.0, "i8"), Ok(Fact::new(DType::I8, [])));
    assert_eq!(number(0.1, "f16"), Ok(Fact::new(DType::F16, [])));
    for (value, dtype) in [(128.0, "i8"), (0.5, "i32"), (2_147_483_648.0, "i32")] {
        assert_eq!(
            number(value, dtype),
            Err(InferError(format!("the constant is not a whole number that {dtype} can hold")))
        );
    }
    infer("input", serde_json::json!({})).unwrap_err();
    infer("weight", serde_json::json!({ "tensor": "w" })).unwrap_err();
}

/// A result changes as often as the fastest of what it is made of.
#[test]
fn rates_join() {
    for a in Rate::ALL {
        for b in Rate::ALL {
            let (x, y) = (Fact::new(DType::F32, [2]).at(a), Fact::new(DType::F32, [2]).at(b));
            assert_eq!(Op::from(Binary::Add).infer(&[&x, &y]).unwrap().rate, a.max(b));
            assert_eq!(Op::from(Unary::Silu).infer(&[&x]).unwrap().rate, a);
            assert_eq!(Op::from(Cast { dtype: DType::I8 }).infer(&[&x]).unwrap().rate, a);
        }
    }
    assert!(Rate::ALL.is_sorted());
}

/// FLOP and bytes, counted by hand.
#[test]
fn costs() {
    let cases = [
        // 2·3 rows of 5 dot products of length 4; 24 + 20 + 5 in, 30 out, 4 bytes each. A bias is not counted.
        ("linear @x f32[2,3,4], @w f32[5,4], @b f32[5] : f32[2,3,5]", 2 * 6 * 5 * 4, (24 + 20 + 5 + 30) * 4),
        ("matmul @a bf16[2,3,4], @b bf16[4,5] : bf16[2,3,5]", 2 * 6 * 5 * 4, (24 + 20 + 30) * 2),
        // 2 heads, 6 queries, 10 keys, length 8, twice: scores, and values by them.
        (
            "attention @q f16[1,6,2,8], @k f16[1,10,2,8], @v f16[1,10,2,8], @m f16[6,10] {scale=1.0} : f16[1,6,2,8]",
            2 * (2 * 2 * 6 * 10 * 8),
            (96 + 160 + 160 + 60 + 96) * 2,
        ),
        // 4 channels of 6 × 6, each from 3 channels of 3 × 3.
        (
            "conv2d @x f32[1,3,8,8], @w f32[4,3,3,3], @b f32[4] {padding=0} : f32[1,4,6,6]",
            2 * 4 * 36 * 27,
            (192 + 108 + 4 + 144) * 4,
        ),
        ("add @a f32[2,1], @b f32[3] : f32[2,3]", 6, (2 + 3 + 6) * 4),
        ("mul @a bf16[8], 2.0 : bf16[8]", 8, (8 + 1 + 8) * 2),
        ("max @a bf16[8], 2.0 : bf16[8]", 8, (8 + 1 + 8) * 2),
        // A logarithm, a product, and e to it.
        ("pow @a f32[8], @b f32[8] : f32[8]", 3 * 8, 3 * 8 * 4),
        ("exp @a f32[8] : f32[8]", 8, 2 * 8 * 4),
        ("tanh @a f32[8] : f32[8]", 4 * 8, 2 * 8 * 4),
        // Codes, a scale per row, and where codes are unsigned a zero point for every scale.
        (
            "quantize @x f32[2,3] {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,3]",
            4 * 6,
            6 * 4 + (6 + 2 * 4),
        ),
        ("dequantize @x u4.group128.bf16[3,300] {dtype=f32} : f32[3,300]", 900, (450 + 9 * 2 * 2) + 900 * 4),
        (
            "matmul_i8 @x i8.row.f32[2,3], @w i8.row.f32[5,3] : i32[2,5]",
            2 * 10 * 3,
            (6 + 2 * 4) + (15 + 5 * 4) + 10 * 4,
        ),
        (
            "matmul_f8 @x f8e4m3.tensor.f32[2,3], @w f8e4m3.row.f32[5,3] : f32[2,5]",
            2 * 10 * 3,
            (6 + 4) + (15 + 5 * 4) + 10 * 4,
        ),
        (
            "matmul_w8 @x bf16[2,3], @w i8.row.bf16[5,3] : bf16[2,5]",
            2 * 10 * 3,
            6 * 2 + (15 + 5 * 2) + 10 * 2,
        ),
        // Two products and a sum; of the operands that are quantized only the scales are read.
        (
            "rescale @y i32[2,5], @x i8.row.f32[2,3], @w i8.row.f32[5,3], @b f32[5] {dtype=f32} : f32[2,5]",
            3 * 10,
            10 * 4 + 2 * 4 + 5 * 4 + 5 * 4 + 10 * 4,
        ),
        ("rescale @y bf16[2,5], @w i8.row.bf16[5,3] {dtype=bf16} : bf16[2,5]", 10, (10 + 5 + 10) * 2),
        // Four FLOP of an activation and two to an element; each operand is read once, wherever the formula names it.
        ("rowwise silu(@x bf16[2,8]) * @x bf16[2,8] + @g bf16[8] : bf16[2,8]", 6 * 16, (16 + 8 + 16) * 2),
        // The product, and an activation of three of its four columns.
        (
            "gemm linear(@x bf16[2,8], @w bf16[4,8]) {1: acc, 3: silu(acc)} : bf16[2,4]",
            2 * 8 * 8 + 4 * 6,
            (16 + 32 + 8) * 2,
        ),
        // Two products and their sum.
        (
            "gemm linear(@x bf16[2,8], @w bf16[4,8]) {acc + linear(@h bf16[2,3], @b bf16[4,3])} : bf16[2,4]",
            2 * 8 * 8 + 2 * 3 * 8 + 8,
            (16 + 32 + 6 + 12 + 8) * 2,
        ),
        // Look-ups read the index and what it chooses.
        ("select @x f32[30,4,5], @i i32[] : f32[4,5]", 0, 4 + 2 * 20 * 4),
        ("embedding @ids i32[2,7], @table f16[100,8] : f16[2,7,8]", 0, 14 * 4 + 2 * 112 * 2),
        // Data that moves, and data that is only seen differently.
        ("transpose @x f32[2,3] {perm=[1, 0]} : f32[3,2]", 0, 48),
        ("shard @x f32[2,8] {devices=4, axis=1} : f32[2,2]", 0, 32),
        ("all_to_all @x f32[2,8] {devices=4, split=1, concat=0} : f32[8,2]", 0, 128),
        ("concat @a i8[2], @a i8[2] {axis=0} : i8[4]", 0, 8),
        ("reshape @x f32[2,3] {shape=[6]} : f32[6]", 0, 0),
        ("slice @x f32[6] {axis=0, start=0, end=2} : f32[2]", 0, 0),
        // More than can be counted.
        (
            "matmul @a f16[1073741824,1073741824], @a f16[1073741824,1073741824] : f16[1073741824,1073741824]",
            u64::MAX,
            3 << 61,
        ),
    ];
    for (text, flops, bytes) in cases {
        let program = line(text).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(program.variants["main"].total_cost(), Cost { flops, bytes }, "{text}");
    }
}
