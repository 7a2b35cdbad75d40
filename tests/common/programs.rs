//! Programs that are written well.

/// Programs in the very form in which they print. Between them they use every op and every piece of syntax.
pub const PROGRAMS: [&str; 7] = [
    // Prepare stages, carried values, variants, a schedule; outputs that are inputs, weights and numbers.
    "\
program stages-1.0 {
  input %ids : i32[7] prompt
  input %t : f32[4,1] schedule
  input %step : i32[] latent
  input %x : bf16[2,8] latent
  carry %h : bf16[2,8] latent
  prepare weights () -> (%table, %half, %scale) {
    %ids.0 = position_ids {text=3, rows=2, columns=2} : f32[7,3]
    %table = rope_table %ids.0 {axes=[2, 4, 2], theta=10000.0} : f32[2,7,4]
    return %table, 0.5 bf16, @scale.weight bf16[8]
  }
  prepare prompt (%ids) -> (%txt) {
    %txt = embedding %ids, @shared.weight f16[10,8] : f16[7,8]
    return %txt
  }
  prepare schedule (%t, %txt) -> (%emb, %pooled) {
    %flat = reshape %t {shape=[4]} : f32[4]
    %emb = timestep_embedding %flat {dim=8, max_period=10000.0} : f32[4,8]
    %wide = cast %txt {dtype=f32} : f32[7,8]
    %pooled = slice %wide {axis=0, start=6, end=7} : f32[1,8]
    return %emb, %pooled
  }
  variant full (%x, %step, %emb, %half) -> (%v, %h) {
    %e = select %emb, %step : f32[8]
    %e16 = cast %e {dtype=bf16} : bf16[8]
    %y = add %x, %e16 : bf16[2,8]
    %v = mul %y, %half : bf16[2,8]
    return %v, %y
  }
  variant reuse-1 (%h) -> (%v) {
    return %h
  }
  schedule full*2 reuse-1 full reuse-1*3
}
",
    // Element-wise ops, numbers with and without a dtype, scalars, ops below the root and in modules.
    "\
program elements {
  input %x : f32[2,3] latent
  input %s : f32[] latent
  input %i : i32[3] latent
  variant main (%x, %s, %i) -> (%a, %b) {
    %silu = silu %x : f32[2,3] in act
    %gelu = gelu %silu : f32[2,3] in act
    %gelu_tanh = gelu_tanh %gelu : f32[2,3] in act
    %quick = quick_gelu %gelu_tanh : f32[2,3] in act.1.fn-2
    %add = add %quick, %s : f32[2,3]
    %sub = sub 1.0, %add : f32[2,3]
    %mul = mul %sub, @a.b f32[3] : f32[2,3] in a.b
    %div = div %mul, @.b f32[3] : f32[2,3] in a
    %equal = equal %i, 2.0 : i32[3]
    %two = cast 2.0 f32 {dtype=i8} : i8[]
    %one = sub 3.0 i8, 2.0 i8 : i8[]
    %four = add %two, %one : i8[]
    %ids = cast %four {dtype=i32} : i32[]
    %b = add %ids, %equal : i32[3]
    %exp = exp %div : f32[2,3]
    %tanh = tanh %exp : f32[2,3]
    %min = min %tanh, 0.5 : f32[2,3]
    %max = max 0.25, %min : f32[2,3]
    %pow = pow %max, %s : f32[2,3]
    return %pow, %b
  }
  schedule main
}
",
    // Contractions, norms and look-ups, with every optional operand and attribute both ways.
    "\
program tensors {
  input %x : f32[1,4,2,8] latent
  input %image : f32[1,4,6,6] latent
  input %ids : i32[1,5] latent
  variant main (%x, %image, %ids) -> (%y, %z, %last, %means) {
    %pos = position_ids {text=0, rows=2, columns=2} : f32[4,3]
    %table = rope_table %pos {axes=[2, 4, 2], theta=10000.0} : f32[2,4,4]
    %q = rope %x, %table : f32[1,4,2,8]
    %buckets = relative_buckets {length=4, buckets=8, max_distance=128} : i32[4,4]
    %bias = embedding %buckets, @bias f32[8,2] : f32[4,4,2]
    %bias.t = transpose %bias {perm=[2, 0, 1]} : f32[2,4,4]
    %seen = attention %q, %q, %x, %bias.t {scale=0.35355339059327373} : f32[1,4,2,8]
    %causal = attention %q, %q, %x {scale=1.0, causal=true} : f32[1,4,2,8]
    %bound = score_bound @rms.weight f32[8], @key.weight f32[8] {queries=1, scale=0.5} : f32[]
    %near = attention %q, %q, %x, %bound {scale=0.5, bounded=true} : f32[1,4,2,8]
    %both = concat %seen, %causal, %near {axis=-1} : f32[1,4,2,24]
    %flat = reshape %both {shape=[1, 4, 48]} : f32[1,4,48]
    %up = linear %flat, @.weight f32[8,48], @.bias f32[8] : f32[1,4,8] in up
    %down = linear %up, @.weight f32[8,8] : f32[1,4,8] in down
    %norm = layer_norm %down {eps=1e-6} : f32[1,4,8]
    %norm.w = layer_norm %norm, @.weight f32[8], @.bias f32[8] {eps=1e-5} : f32[1,4,8] in norm
    %rms = rms_norm %norm.w, @.weight f32[8] {eps=1e-6} : f32[1,4,8] in rms
    %square = matmul @left f32[3,4], %rms : f32[1,3,8]
    %group = group_norm %image, @.weight f32[4], @.bias f32[4] {groups=2, eps=1e-6} : f32[1,4,6,6] in gn
    %conv = conv2d %group, @.weight f32[2,4,3,3], @.bias f32[2] {padding=1} : f32[1,2,6,6] in conv
    %valid = conv2d %conv, @.weight f32[2,2,3,3] {padding=0} : f32[1,2,4,4] in valid
    %big = upsample %valid {factor=2} : f32[1,2,8,8]
    %eos = argmax %ids : i32[1]
    %last = select %norm, %eos : f32[1,8]
    %means = mean %rms : f32[1,4]
    return %square, %big, %last, %means
  }
  schedule main
}
",
    // A block that carries two values, one of which it reads first; affine names, weights, attributes, operands.
    "\
program blocks {
  input %img0 : f32[4,6] latent
  input %txt0 : f32[4,6] latent
  input %all : f32[4,20] latent
  variant main (%img0, %txt0, %all) -> (%img, %img.first) {
    repeat %i in 0..3 {
      %mod = slice %all {axis=1, start={6*i}, end={6*i+6}} : f32[4,6]
    }
    repeat %i in 0..3 (%txt.prev = %txt0, %img.prev = %img0) in blocks.{i} {
      %n = add %txt.prev, %img.prev : f32[4,6] in .norm.1
      %txt = linear %n, @.weight f32[6,6], @blocks.{2*i+1}.bias f32[6] : f32[4,6] in .to.q
      %m = mul %mod.{i}, %mod.{-1*i+2} : f32[4,6]
      %s = layer_norm %m, @.w f32[6], @shared.w f32[6] {eps=1e-6} : f32[4,6] in .{3*i+2}
      %img = add %img.prev, %s : f32[4,6] in .out
      yield %txt, %img
    }
    %x = add %img.2, %txt.2 : f32[4,6] in out
    return %x, %img.0
  }
  schedule main*20
}
",
    // Blocks that do not start at 0, without a path, of one op, reading two rounds back.
    "\
program chains {
  input %x : f32[2] latent
  variant main (%x) -> (%y) {
    %a.0 = silu %x : f32[2] in net
    repeat %i in 1..6 (%a.prev = %a.0) in net {
      %a = gelu %a.prev : f32[2]
      yield %a
    }
    repeat %i in 7..9 {
      %b = add %a.{i-4}, %a.{i-6} : f32[2]
    }
    return %b.8
  }
  schedule main
}
",
    // Fused ops: formulas over their operands, alone and after products, by columns, down to codes.
    "\
program fused {
  input %x : bf16[4,8] latent
  input %gain : bf16[8] prompt
  variant main (%x, %gain) -> (%y, %z) {
    %n = rowwise layer_norm(%x, eps=1e-6) * (%gain + 1.0) + %gain : bf16[4,8] in norm
    %soft = rowwise max(exp(%n), pow(%n, 2.0)) - min(%n, tanh(%gain)) : bf16[4,8]
    %codes = rowwise quantize(silu(%n), dtype=i8, scales=row.bf16, eps=1e-5) : i8.row.bf16[4,8] in norm
    %g = gemm linear(%n, @.weight bf16[12,8], @.bias bf16[12]) {8: gelu_tanh(acc), 4: acc} : bf16[4,12] in up
    %part = slice %g {axis=1, start=0, end=8} : bf16[4,8]
    %y = gemm linear(%part, @.weight bf16[8,8]) {%x + %gain * acc} : bf16[4,8] in down
    %z = dequantize %codes {dtype=bf16} : bf16[4,8]
    return %y, %z
  }
  schedule main*2
}
",
    // A probe, which chooses which variant runs the rest of a step; names that stage names may have.
    "\
program probed {
  input %x : f32[2,4] latent
  carry %h : f32[2,4] latent
  probe gate.1 (%x) -> (%h, %choice) chooses reuse-1, full {
    %h = silu %x : f32[2,4]
    return %h, 1.0 i32
  }
  variant full (%h) -> (%y) {
    %y = gelu %h : f32[2,4]
    return %y
  }
  variant reuse-1 (%h) -> (%y) {
    return %h
  }
  schedule gate.1*2 full gate.1
}
",
];
