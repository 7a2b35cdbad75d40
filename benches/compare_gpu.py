#!/usr/bin/env python3
"""FLUX.1-dev's transformer at 1024 x 1024 on one GPU, random weights: diffusers and Reflux in turn on the same card.

usage: benches/compare_gpu.py [--reflux BINARY] [--what eager,compile,int8] [--json]

- eager:   diffusers in bf16 as it comes, and with cuDNN's attention
- compile: the same by torch.compile, block by block
- int8:    what Pruna's combination does: torchao's int8 dynamic quantization of all linears but those of norms and embeddings,
           torch.compile, and FORA, which runs the blocks every third step only; minutes to warm up, so give it a call of its own

Beside each, Reflux with the passes that do the same. Needs torch and diffusers; int8 needs torchao. Times are medians in ms; a
"schedule" is 28 steps of denoising. What is not installed or does not run is said, and left out.
"""

import argparse
import gc
import json
import statistics
import subprocess
import sys
import time

STEPS, INTERVAL = 28, 3
INT8 = "quantize(int8dq,exclude=norm+embedding)"
REFLUX = {"bf16": "", "int8": f"{INT8},cache(fora,interval={INTERVAL})"}


def reflux(binary, passes, runs):
    command = [binary, "bench", "--config", "flux-dev", "--random-weights", "--device", "cuda", "--json"]
    command += ["--steps", str(STEPS), "--runs", str(runs), "--passes", passes]
    outcome = subprocess.run(command, capture_output=True, text=True)
    if outcome.returncode != 0:
        sys.exit(f"reflux bench failed: {outcome.stderr.strip()}")
    report = json.loads(outcome.stdout)
    variants = {variant["variant"]: variant for variant in report["variants"]}
    return {
        "step_ms": variants["full"]["median_ms"],
        "schedule_s": report["denoise_seconds"],
        "peak_gb": (report["peak_bytes"] or 0) / 1e9,
        "cold_s": report["cold_start_seconds"],
    }


class Fora:
    """FORA (Selvaraju et al., 2024) as Pruna has it for FLUX: what the blocks result in, kept for the next steps."""

    def __init__(self, model):
        import torch

        self.model, self.kept, self.reuses = model, None, False
        self.blocks = (model.transformer_blocks, model.single_transformer_blocks)
        self.none = torch.nn.ModuleList()
        model.norm_out.register_forward_pre_hook(self.swap)

    def swap(self, _module, arguments):
        if self.reuses:
            return (self.kept, *arguments[1:])
        self.kept = arguments[0]

    def step(self, reuses, inputs):
        self.reuses = reuses
        blocks = (self.none, self.none) if reuses else self.blocks
        self.model.transformer_blocks, self.model.single_transformer_blocks = blocks
        return self.model(**inputs)


class Diffusers:
    def __init__(self, runs):
        import torch

        self.torch, self.runs = torch, runs
        torch.manual_seed(0)
        rows = columns = 64
        ids = torch.zeros(rows, columns, 3)
        ids[..., 1] += torch.arange(rows)[:, None]
        ids[..., 2] += torch.arange(columns)[None]

        def noise(*shape):
            return torch.randn(*shape, device="cuda", dtype=torch.bfloat16)

        self.inputs = {
            "hidden_states": noise(1, rows * columns, 64),
            "encoder_hidden_states": noise(1, 512, 4096),
            "pooled_projections": noise(1, 768),
            "timestep": torch.tensor([0.7], device="cuda", dtype=torch.bfloat16),
            "img_ids": ids.reshape(-1, 3).to("cuda", torch.bfloat16),
            "txt_ids": torch.zeros(512, 3, device="cuda", dtype=torch.bfloat16),
            "guidance": torch.tensor([3.5], device="cuda"),
            "return_dict": False,
        }

    def model(self):
        from diffusers import FluxTransformer2DModel

        self.torch.set_default_dtype(self.torch.bfloat16)
        with self.torch.device("cuda"):
            model = FluxTransformer2DModel(guidance_embeds=True)
        self.torch.set_default_dtype(self.torch.float32)
        return model.eval().requires_grad_(False)

    def times(self, run, warmup):
        for _ in range(warmup):
            run()
        times = []
        for _ in range(self.runs):
            self.torch.cuda.synchronize()
            start = time.perf_counter()
            run()
            self.torch.cuda.synchronize()
            times.append((time.perf_counter() - start) * 1e3)
        return statistics.median(times)

    def measure(self, model):
        with self.torch.no_grad():
            self.torch.cuda.reset_peak_memory_stats()
            start = time.perf_counter()
            model(**self.inputs)
            self.torch.cuda.synchronize()
            cold = time.perf_counter() - start
            step = self.times(lambda: model(**self.inputs), 2)
        peak = self.torch.cuda.max_memory_allocated() / 1e9
        return {"step_ms": step, "schedule_s": STEPS * step / 1e3, "peak_gb": peak, "cold_s": cold}

    def release(self):
        gc.collect()
        self.torch.cuda.empty_cache()
        self.torch._dynamo.reset()

    def eager(self):
        model = self.model()
        yield "diffusers, eager", self.measure(model)
        model.set_attention_backend("_native_cudnn")
        yield "diffusers, eager, cuDNN attention", self.measure(model)

    def compile(self, mode):
        model = self.model()
        model.fuse_qkv_projections()
        model.compile_repeated_blocks(fullgraph=True, mode=mode, dynamic=False)
        yield f"diffusers, torch.compile ({mode})", self.measure(model)

    def int8(self, mode):
        from torchao.quantization import Int8DynamicActivationInt8WeightConfig, quantize_

        linear = self.torch.nn.Linear
        model = self.model()
        quantize_(
            model,
            Int8DynamicActivationInt8WeightConfig(),
            filter_fn=lambda module, name: isinstance(module, linear) and "norm" not in name and "embed" not in name,
        )
        model.compile_repeated_blocks(fullgraph=True, mode=mode, dynamic=False)
        measured = self.measure(model)
        fora = Fora(model)
        with self.torch.no_grad():
            full = self.times(lambda: fora.step(False, self.inputs), 2)
            reuse = self.times(lambda: fora.step(True, self.inputs), 2)
        computed = -(-STEPS // INTERVAL)
        measured["schedule_s"] = (computed * full + (STEPS - computed) * reuse) / 1e3
        yield f"torchao int8dq, torch.compile ({mode}), FORA", measured


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reflux", default="target/release/reflux")
    parser.add_argument("--what", default="eager,compile,int8")
    parser.add_argument("--mode", default="max-autotune-no-cudagraphs", help="of torch.compile")
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()

    rows = []
    for what in args.what.split(","):
        other = "int8" if what == "int8" else "bf16"
        try:
            peers = Diffusers(args.runs)
            kinds = {"eager": peers.eager, "compile": lambda: peers.compile(args.mode), "int8": lambda: peers.int8(args.mode)}
            measured = list(kinds[what]())
            peers.release()
        except KeyError:
            sys.exit(f"--what {what}: eager, compile and int8 are")
        except Exception as error:  # Whatever keeps a peer from running is its own affair.
            print(f"{what} does not run: {error!r}"[:400], file=sys.stderr)
            continue
        rows += [(name, values, other) for name, values in measured]
    own = {kind: reflux(args.reflux, REFLUX[kind], args.runs) for kind in sorted({row[2] for row in rows})}

    table = [(f"Reflux, {kind}", values, kind) for kind, values in own.items()] + rows
    if args.json:
        print(json.dumps([{"name": name, **values} for name, values, _ in table], indent=1))
        return
    print(f"{'':<58} {'ms/step':>8} {'28 steps':>9} {'peak GB':>8} {'cold s':>7}  Reflux is")
    for name, values, kind in table:
        ratio = values["schedule_s"] / own[kind]["schedule_s"]
        numbers = f"{values['step_ms']:>8.1f} {values['schedule_s']:>8.2f}s {values['peak_gb']:>8.2f} {values['cold_s']:>7.1f}"
        print(f"{name:<58} {numbers}  {ratio:.2f}× as fast")


if __name__ == "__main__":
    main()
