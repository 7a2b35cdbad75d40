"""Runs exported ONNX models in onnxruntime, and compares them with what Reflux computes.

    pip install onnx onnxruntime safetensors numpy ml_dtypes
    cargo build --release && cargo build --release -p reflux-models --example export_onnx
    python tests/tools/onnx_export.py target/release/reflux target/release/examples/export_onnx [CASE...]

Each case is a program of the bundled model. Its model has to pass ONNX's checker with its types inferred, and to give within 1e-5
(relative L2) what `reflux run` gives on random inputs, by onnxruntime with all its optimizations of graphs. For bf16 onnxruntime has
hardly any ops on processors; ONNX's reference evaluator computes such cases, and the bound is what bf16 can tell apart.
"""

import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnxruntime
from onnx.reference import ReferenceEvaluator
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
    "bf16": ("transformer", "bf16", None, ["--inline"], 3e-2),
    "bf16-fuse": ("transformer", "bf16", "canonicalize,merge-linear,fuse,dce", ["--inline"], 3e-2),
}

# Where activations are quantized, codes that are on the edge between two go either way, since sums are in another order: such results
# may be no further from Reflux's than Reflux's own are from each other, if inputs differ in their last bits.
SCHEMES = {"int8dq": None, "int8wo": 1e-5, "fp8dq": None, "fp8dqrow": None, "fp8wo": 1e-5, "int4wo": 1e-5}
CASES |= {name: ("transformer", "f32", f"quantize({name})", [], bound) for name, bound in SCHEMES.items()}

# Programs of several variants: a model each, which hand on what is carried from step to step.
CACHES = {name: f"canonicalize,hoist,canonicalize,cache({name},{options}),dce" for name, options in
          {"fora": "interval=3", "taylorseer": "order=1", "fbcache": "threshold=0.2", "teacache": "threshold=0.2"}.items()}


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
    dtypes = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}
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


class ByOnnxruntime:
    """A model that onnxruntime runs, with all its optimizations of graphs."""

    def __init__(self, path):
        self.session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        self.inputs = [given.name for given in self.session.get_inputs()]
        self.outputs = [result.name for result in self.session.get_outputs()]

    def run(self, feeds):
        return self.session.run(self.outputs, feeds)


class Reference:
    """A model that ONNX's reference evaluator runs. Ops that ONNX defines by others are found by their types."""

    def __init__(self, path):
        model = onnx.shape_inference.infer_shapes(onnx.load(path))
        self.evaluator = ReferenceEvaluator(model)
        self.inputs = [given.name for given in model.graph.input]
        self.outputs = [result.name for result in model.graph.output]

    def run(self, feeds):
        return self.evaluator.run(None, feeds)


def computed(reflux, program, weights, inputs, folder):
    """What Reflux gives."""
    save_file(inputs, folder / "in.safetensors")
    run(reflux, "run", program, "--inputs", folder / "in.safetensors", "--weights", weights,
        "--outputs", folder / "out.safetensors", "--device", "cpu")
    return load_file(folder / "out.safetensors")


def feeds_of(session, inputs, step):
    feeds = {}
    for name in session.inputs:
        feeds[name] = np.array(step, dtype=np.int32) if name == "step" else inputs[name]
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
    session = (Reference if dtype == "bf16" else ByOnnxruntime)(model)
    loaded = time.time() - start
    names = session.outputs
    worst, start = 0.0, time.time()
    steps = sorted({int(step) for step in re.findall(r"\.step(\d+)", " ".join(expected))}) or [None]
    for step in {steps[0], steps[len(steps) // 2], steps[-1]}:
        for label, value in zip(names, session.run(feeds_of(session, inputs, step or 0))):
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


def caching_case(name, reflux, exporter, folder):
    """The steps of a cached program, each by the model of its variant."""
    program = folder / f"{name}.ir"
    run(reflux, "ir", "--model", EMOJI, "--dtype", "f32", "-o", program, "--passes-only", CACHES[name])
    text, weights = program.read_text(), EMOJI / "transformer"
    sessions = {}
    for variant in re.findall(r"^  (?:variant|probe) (\S+) ", text, re.M):
        model = folder / f"{name}-{variant}.onnx"
        run(exporter, program, model, "--weights", weights, "--variant", variant)
        check(model)
        sessions[variant] = ByOnnxruntime(model)
    choices = {probe: names.split(", ") for probe, names in re.findall(r"^  probe (\S+) .* chooses (.*) \{$", text, re.M)}
    scheduled = []
    for entry in re.search(r"^  schedule (.*)$", text, re.M)[1].split():
        variant, _, count = entry.partition("*")
        scheduled += [variant] * int(count or 1)
    carried = dict(re.findall(r"^  carry %(\S+) : f32\[([\d,]*)\]", text, re.M))
    inputs = random_inputs("\n".join(line for line in text.splitlines() if not line.startswith("  carry")),
                           np.random.default_rng(7), most=30)
    carried = {name: np.zeros([int(extent) for extent in shape.split(",") if extent], np.float32) for name, shape in carried.items()}
    expected, worst, ran = computed(reflux, program, weights, inputs, folder), 0.0, []
    for step, variant in enumerate(scheduled):
        while variant:
            ran.append(variant)
            session = sessions[variant]
            names = session.outputs
            results = dict(zip(names, session.run(feeds_of(session, inputs | carried, step))))
            carried |= {label.removesuffix(".next"): value for label, value in results.items() if label.endswith(".next")}
            variant = choices[variant][int(results["choice"])] if variant in choices else None
        worst = max(worst, relative(results["velocity"], expected[f"velocity.step{step}"]))
    counts = ", ".join(f"{ran.count(variant)} {variant}" for variant in sessions)
    print(f"{name:12} {counts}: {worst:.2e}", "" if worst <= 1e-5 else "  MORE THAN 1e-5", flush=True)
    return worst <= 1e-5


def main():
    reflux, exporter, *wanted = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        good = [(caching_case if name in CACHES else case)(name, reflux, exporter, Path(folder))
                for name in wanted or [*CASES, *CACHES]]
    sys.exit(0 if all(good) else 1)


if __name__ == "__main__":
    main()
