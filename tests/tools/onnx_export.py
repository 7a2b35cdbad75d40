"""Runs exported ONNX models in onnxruntime, and compares them with what Reflux computes.

    pip install onnx onnxruntime safetensors numpy ml_dtypes
    cargo build --release && cargo build --release -p reflux-models --example export_onnx
    python tests/tools/onnx_export.py target/release/reflux target/release/examples/export_onnx [CASE...]

Each case is a program of the bundled model. Its model has to pass ONNX's checker with its types inferred, and to give within 1e-5
(relative L2) what `reflux run` gives on random inputs, by onnxruntime with all its optimizations of graphs. `--dtype bf16` cases have
no kernels in onnxruntime on processors; ONNX's reference evaluator runs these, for which the bound is what bf16 can tell apart.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from safetensors.numpy import load_file, save_file

REPOSITORY = Path(__file__).resolve().parents[2]
EMOJI = REPOSITORY / "models/emoji"
FOLDERS = {"transformer": "transformer", "clip": "text_encoder", "t5": "text_encoder_2", "vae": "vae", "vae-encoder": "vae"}

# Name: network, type, what makes the program, options of the exporter, the bound.
CASES = {
    "plain": ("transformer", "f32", None, [], 1e-5),
    "inline": ("transformer", "f32", None, ["--inline"], 1e-5),
    "hoist": ("transformer", "f32", "canonicalize,hoist,canonicalize,dce", [], 1e-5),
    "merge": ("transformer", "f32", "canonicalize,merge-linear,dce", [], 1e-5),
    "fuse": ("transformer", "f32", "canonicalize,merge-linear,fuse,dce", [], 1e-5),
    "default": ("transformer", "f32", "canonicalize,bound-attention,hoist,canonicalize,merge-linear,fuse,dce", [], 1e-5),
    "pack": ("transformer", "f32", "canonicalize,merge-linear,fuse,pack,dce", [], 1e-5),
    "t5": ("t5", "f32", None, [], 1e-5),
    "clip": ("clip", "f32", None, [], 1e-5),
    "vae": ("vae", "f32", None, [], 1e-5),
    "vae-encoder": ("vae-encoder", "f32", None, [], 1e-5),
    "t5-default": ("t5", "f32", "canonicalize,bound-attention,hoist,canonicalize,merge-linear,fuse,dce", [], 1e-5),
    "clip-f16": ("clip", "f16", None, [], 5e-3),
    "vae-f16": ("vae", "f16", None, [], 5e-3),
}

# Where activations are quantized, codes that are on the edge between two go either way, since sums are in another order: such results
# may be no further from Reflux's than Reflux's own are from each other, if inputs differ in their last bits.
SCHEMES = {"int8dq": None, "int8wo": 1e-5, "fp8dq": None, "fp8dqrow": None, "fp8wo": 1e-5, "int4wo": 1e-5}
CASES |= {name: ("transformer", "f32", f"quantize({name})", [], bound) for name, bound in SCHEMES.items()}


def run(*command):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout


def declared(program):
    """The inputs of a program in IR text: name, type, shape."""
    for name, dtype, shape in re.findall(r"^  (?:input|carry) %(\S+) : (\w+)\[([\d,]*)\]", program, re.M):
        yield name, dtype, [int(extent) for extent in shape.split(",") if extent]


def random_inputs(program, random, most):
    dtypes = {"f32": np.float32, "f16": np.float16}
    inputs = {}
    for name, dtype, shape in declared(program):
        if name == "step":
            continue
        if dtype == "i32":
            inputs[name] = random.integers(0, most, shape, dtype=np.int32)
        elif name in ("timesteps", "guidance"):
            inputs[name] = random.uniform(0.1, 1.0, shape).astype(np.float32)
        else:
            inputs[name] = random.normal(size=shape).astype(dtypes[dtype])
    return inputs


def relative(a, b):
    a, b = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def check(path):
    onnx.checker.check_model(str(path), full_check=True)
    model = onnx.load(path, load_external_data=False)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    return model


def computed(reflux, program, weights, inputs, folder):
    """What Reflux gives."""
    save_file(inputs, folder / "in.safetensors")
    run(reflux, "run", program, "--inputs", folder / "in.safetensors", "--weights", weights,
        "--outputs", folder / "out.safetensors", "--device", "cpu")
    return load_file(folder / "out.safetensors")


def feeds_of(session, inputs, step):
    feeds = {}
    for given in session.get_inputs():
        feeds[given.name] = np.array(step, dtype=np.int32) if given.name == "step" else inputs[given.name]
    return feeds


def case(name, reflux, exporter, folder):
    net, dtype, passes, options, bound = CASES[name]
    program, model = folder / f"{name}.ir", folder / f"{name}.onnx"
    weights = EMOJI / FOLDERS[net]
    if name in SCHEMES:
        # Codes are made by `compile`; Reflux itself makes the same of the checkpoint when it runs.
        compiled = folder / name
        run(reflux, "compile", "--model", EMOJI, "--dtype", dtype, "--device", "cpu", "--passes", passes, "-o", compiled)
        [path] = (compiled / "reflux").glob("transformer-*.ir")
        program.write_text(path.read_text())
        run(exporter, program, model, "--saved", compiled / "reflux", *options)
    else:
        passes = ["--passes-only", passes] if passes else []
        run(reflux, "ir", "--model", EMOJI, "--net", net, "--dtype", dtype, "-o", program, *passes)
        run(exporter, program, model, "--weights", weights, *options)
    checked = check(model)
    inputs = random_inputs(program.read_text(), np.random.default_rng(7), most=30)
    expected = computed(reflux, program, weights, inputs, folder)
    if bound is None:
        nudged = {name: array * np.float32(1 + 2e-7) if array.dtype == np.float32 else array for name, array in inputs.items()}
        moved = computed(reflux, program, weights, nudged, folder)
        bound = 2 * max(relative(moved[label], expected[label]) for label in expected)
    start = time.time()
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    loaded = time.time() - start
    names = [result.name for result in session.get_outputs()]
    worst, start = 0.0, time.time()
    steps = sorted({int(step) for step in re.findall(r"\.step(\d+)", " ".join(expected))}) or [None]
    for step in {steps[0], steps[len(steps) // 2], steps[-1]}:
        for label, value in zip(names, session.run(names, feeds_of(session, inputs, step or 0))):
            wanted = expected[label if step is None else f"{label}.step{step}"]
            assert value.shape == wanted.shape, (label, value.shape, wanted.shape)
            worst = max(worst, relative(value, wanted))
    took = (time.time() - start) / len({steps[0], steps[len(steps) // 2], steps[-1]})
    # Steps that give the same are no proof that the number of the step is read.
    if len(steps) > 1:
        assert relative(expected[f"{names[0]}.step{steps[0]}"], expected[f"{names[0]}.step{steps[-1]}"]) > 1e-3
    print(f"{name:12} {len(checked.graph.node):5} nodes {len(checked.functions):3} functions  {worst:.2e}  "
          f"of {bound:.1e}, load {loaded:.1f} s, run {took:.2f} s", "" if worst <= bound else f"  MORE THAN {bound}", flush=True)
    return worst <= bound


def main():
    reflux, exporter, *wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        good = [case(name, reflux, exporter, Path(folder)) for name in wanted or CASES]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
