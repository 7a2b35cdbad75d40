"""Runs each op that `tests/every_op.rs` has an example of as an exported ONNX model, and compares it with what Reflux computes.

    pip install onnx onnxruntime safetensors numpy ml_dtypes
    cargo build --release && cargo build --release -p reflux-models --example export_onnx
    python tests/tools/onnx_export_ops.py target/release/reflux target/release/examples/export_onnx [OP...]

In f32 by onnxruntime, and in f16 and bf16 by ONNX's reference evaluator, since onnxruntime computes some ops of f16 in f16 and has
hardly any for bf16 on processors. Weights are such that their codes do not depend on how a quotient is rounded.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
from safetensors.numpy import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]
NUMPY = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16, "i32": np.int32}
BOUNDS = {"f32": 1e-6, "f16": 2e-3, "bf16": 1.6e-2}
UNARY = "silu gelu gelu_tanh quick_gelu exp tanh sigmoid erf sqrt log sin cos".split()
BINARY = "add sub mul div equal less min max pow".split()
MORE = [
    (["f32[14,3]"], "%y = rope_table %a {axes=[16, 24, 24], theta=10000.0} : f32[2,14,32]"),
    (["bf16[2,9,64]"], "%y = linear %a, @w bf16[2,64,16], @b bf16[32] : bf16[2,9,32]"),
    (["bf16[1,7,2,8]"] * 3, "%y = attention %a, %b, %c {scale=0.5, causal=true} : bf16[1,7,2,8]"),
    (["bf16[1,7,2,8]", "bf16[1,5,2,8]", "bf16[2,7,5]"],
     "%y = attention %a, %b, %b, %c {scale=0.5} : bf16[1,7,2,8]"),
    (["f32[2,64]"], "%y = cast %a {dtype=i32} : i32[2,64]"),
    (["f32[2,64]"], "%y = cast %a {dtype=i8} : i8[2,64]\n%z = cast %y {dtype=f32} : f32[2,64]"),
    (["bf16[1,8,9,9]"], "%y = conv2d %a, @w bf16[16,4,3,3], @b bf16[16] {padding=1, stride=2, groups=2} : bf16[1,16,5,5]"),
    (["bf16[2,64]"], "%y = layer_norm %a {eps=1e-6} : bf16[2,64]"),
    (["f32[5,64]"], "%y = dequantize @w u4.group32.f32[48,64] {dtype=f32} : f32[48,64]\n%z = linear %a, %y : f32[5,48]"),
    (["f32[5,40]"], "%y = dequantize @w u4.group32.f32[48,40] {dtype=f32} : f32[48,40]\n%z = linear %a, %y : f32[5,48]"),
    (["f32[5,64]"], "%y = dequantize @w i8.tensor.f32[48,64] {dtype=f32} : f32[48,64]\n%z = linear %a, %y : f32[5,48]"),
    (["bf16[5,64]"], "%y = dequantize @w f8e4m3.row.bf16[48,64] {dtype=bf16} : bf16[48,64]\n%z = linear %a, %y : bf16[5,48]"),
    (["bf16[5,64]"],
     "%q = quantize %a {dtype=i8, scales=group16.bf16, eps=1e-5} : i8.group16.bf16[5,64]\n"
     "%y = dequantize %q {dtype=bf16} : bf16[5,64]"),
    (["bf16[5,64]"],
     "%q = quantize %a {dtype=f8e4m3, scales=tensor.f32, eps=1e-12} : f8e4m3.tensor.f32[5,64]\n"
     "%y = dequantize %q {dtype=bf16} : bf16[5,64]"),
    (["bf16[5,64]", "bf16[3,64]"],
     "%p = quantize %a {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[5,64]\n"
     "%q = quantize %b {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[3,64]\n"
     "%r = concat %p, %q {axis=0} : i8.row.f32[8,64]\n%y = dequantize %r {dtype=bf16} : bf16[8,64]"),
    (["bf16[2,9,64]", "bf16[2,1,64]"],
     "%q = rowwise quantize(layer_norm(%a, eps=1e-6) * (%b + 1.0), dtype=i8, scales=row.bf16, quant_min=-127, eps=1e-5)"
     " : i8.row.bf16[2,9,64]\n%y = dequantize %q {dtype=bf16} : bf16[2,9,64]"),
    (["bf16[2,9,64]", "bf16[2,9,16]"],
     "%y = gemm linear(%a, @w bf16[48,64], @b bf16[48]) {16: gelu(acc) * %b, 32: acc} : bf16[2,9,48]"),
    (["bf16[2,9,64]", "bf16[2,9,4]"],
     "%y = gemm linear(%a, @w bf16[48,64], @b bf16[48]) {silu(acc + linear(%b, @v bf16[48,4]))} : bf16[2,9,48]"),
    (["bf16[2,9,64]"],
     "%q = quantize %a {dtype=i8, scales=row.f32, eps=1e-5} : i8.row.f32[2,9,64]\n"
     "%y = gemm rescale(matmul_i8(%q, @w i8.row.f32[48,64]), %q, @w i8.row.f32[48,64], @b f32[48], dtype=f32) {silu(acc)}"
     " : bf16[2,9,48]"),
]


def examples():
    """Types of `%a`, `%b`, …, and lines of which the last is the result."""
    source = (REPOSITORY / "tests/every_op.rs").read_text()
    listed = source[source.index("const EXAMPLES"):source.index("];", source.index("const EXAMPLES"))]
    for types, lines in re.findall(r'\(\s*&\[([^"\]]*(?:"[^"]*"[^"\]]*)*)\],\s*"([^"]*)",?\s*\)', listed):
        yield re.findall(r'"([^"]*)"', types), lines
    for op in UNARY:
        yield ["bf16[2,64]"], f"%y = {op} %a : bf16[2,64]"
    for op in BINARY:
        yield ["bf16[2,64]", "bf16[64]"], f"%y = {op} %a, %b : bf16[2,64]"
    yield from MORE


def shape_of(fact):
    return [int(extent) for extent in fact[fact.index("[") + 1:-1].split(",") if extent]


def random_weight(fact, random):
    """A weight, and what a saved file has of it."""
    shape, (codes, *scales) = shape_of(fact), fact[:fact.index("[")].split(".")
    if not scales:
        array = (random.normal(size=shape) * 0.5).astype(NUMPY[codes])
        return array, {"": array}
    per, dtype = scales
    rows, columns = shape
    size = int(per[5:]) if per.startswith("group") else columns
    groups = -(-columns // size)
    grid = np.ones((rows, groups)) if per == "tensor" else np.exp2(random.integers(-6, -2, (rows, groups)))
    spread = np.repeat(grid, size, axis=1)[:, :columns]
    file = {}
    if codes == "u4":
        numbers = random.integers(0, 16, shape)
        for group in range(groups):
            numbers[:, group * size], numbers[:, group * size + 1] = 0, 15
        zero = random.integers(-8, 8, (rows, groups)) * grid
        dense = (numbers - 8) * spread + np.repeat(zero, size, axis=1)[:, :columns]
        file[""] = (numbers[:, 0::2] | numbers[:, 1::2] << 4).astype(np.uint8)
        file[".zeros"] = zero.astype(NUMPY[dtype])
    elif codes == "i8":
        numbers = random.integers(-126, 127, shape).astype(np.float64)
        numbers[:, 0] = 127.5
        dense = numbers * spread
        file[""] = np.minimum(numbers, 127).astype(np.int8)
    else:
        numbers = random.uniform(-400, 400, shape).astype(ml_dtypes.float8_e4m3fn)
        numbers[:, 0] = 448
        dense = numbers.astype(np.float64) * spread
        file[""] = numbers
    grid = grid[:1, :1] if per == "tensor" else grid
    file[".scales"] = grid.astype(NUMPY[dtype])
    return dense.astype(np.float32), file


def relative(a, b):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-30)


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{done.stdout}{done.stderr}".strip()[-600:])


def compare(reflux, exporter, folder, types, lines, dtype, extra):
    random = np.random.default_rng(3)
    inputs, declared = {}, ""
    for name, fact in zip("abc", types):
        kind, shape = fact[:fact.index("[")], shape_of(fact)
        declared += f"input %{name} : {fact} latent\n"
        array = random.integers(0, 3, shape) if kind == "i32" else random.normal(size=shape)
        if re.search(r"= (log|sqrt|pow|div) ", lines):
            array = abs(array) + 0.1
        inputs[name] = array.astype(NUMPY[kind])
    if not inputs:
        return None
    last = lines.strip().split("\n")[-1].split()[0]
    program = folder / "case.ir"
    program.write_text(f"program p {{ {declared} variant main ({', '.join('%' + name for name in inputs)}) -> (%out) {{\n"
                       f"{lines}\nreturn {last} }} schedule main }}")
    dense, saved, facts = {}, {}, {}
    for name, fact in re.findall(r"@(\w+) ([\w.]+\[[\d,]*\])", lines):
        if name not in dense:
            facts[name] = fact
            dense[name], pieces = random_weight(fact, random)
            saved |= {name + suffix: np.ascontiguousarray(array) for suffix, array in pieces.items()}
    (folder / "saved").mkdir(exist_ok=True)
    dense["unread"] = saved["unread"] = np.zeros(1, np.float32)
    save_file(dense, folder / "dense.safetensors")
    save_file(saved, folder / "saved/w.safetensors", metadata=facts | {"unread": "f32[1]"})
    save_file({name: np.ascontiguousarray(array) for name, array in inputs.items()}, folder / "in.safetensors")
    run(reflux, "run", program, "--inputs", folder / "in.safetensors", "--weights", folder / "dense.safetensors",
        "--outputs", folder / "out.safetensors", "--device", "cpu")
    expected = load_file(folder / "out.safetensors")["out"]
    run(exporter, program, folder / "case.onnx", "--saved", folder / "saved", *extra)
    onnx.checker.check_model(str(folder / "case.onnx"), full_check=True)
    if dtype == "f32":
        session = onnxruntime.InferenceSession(str(folder / "case.onnx"), providers=["CPUExecutionProvider"])
        [result] = session.run(None, {given.name: inputs[given.name] for given in session.get_inputs()})
    else:
        # Ops that ONNX defines by others are found by their types.
        model = onnx.shape_inference.infer_shapes(onnx.load(folder / "case.onnx"))
        [result] = ReferenceEvaluator(model).run(None, {given.name: inputs[given.name] for given in model.graph.input})
    assert result.shape == expected.shape, (result.shape, expected.shape)
    return relative(result, expected)


def main():
    reflux, exporter, *wanted = sys.argv[1:]
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        for types, lines in examples():
            op = lines.split("%y = ")[1].split()[0]
            if wanted and op not in wanted:
                continue
            for dtype in BOUNDS:
                if dtype != "bf16" and "bf16" not in str(types) + lines and dtype != "f32":
                    continue
                types_of, lines_of = [fact.replace("bf16", dtype) for fact in types], lines.replace("bf16", dtype)
                for extra in ([], ["--inline"]) if dtype == "f32" else (["--inline"],):
                    try:
                        distance = compare(Path(reflux).resolve(), Path(exporter).resolve(), Path(folder), types_of, lines_of, dtype, extra)
                    except Exception as error:
                        print(f"{op:20} {dtype:5} {' '.join(extra)} FAILS: {str(error)[-500:]}")
                        bad += 1
                        continue
                    if distance is not None:
                        is_bad = not distance <= BOUNDS[dtype]
                        bad += is_bad
                        print(f"{op:20} {dtype:5} {' '.join(extra):9} {distance:.1e}{'  TOO FAR' if is_bad else ''}", flush=True)
    print("all are near" if not bad else f"{bad} are not")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
