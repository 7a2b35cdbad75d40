#!/usr/bin/env python3
"""Compares diffusers and Reflux on the bundled checkpoint: one image, on the processor, in f32.

Needs `pip install torch diffusers transformers safetensors numpy pillow`, and cargo. See README.md beside this file.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

# Nothing large may be imported while processes are measured: Linux counts the memory of the process that starts
# another one towards the other one's peak.

REPO = Path(__file__).resolve().parent.parent
MODEL = REPO / "models/emoji"
PACKAGES = ("torch", "diffusers", "transformers", "safetensors", "numpy", "PIL")

PROMPT = "a red apple on a blue background"
SIZE, STEPS, GUIDANCE, TOKENS, SEED = 128, 20, 3.5, 32, 0


class Failure(Exception):
    """Something could not be run."""


@dataclass
class Samples:
    """One number measured several times."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def text(self, unit: str) -> str:
        digits = 0 if unit == "MB" else 3
        low, middle, high = (
            f"{value:.{digits}f}" for value in (min(self.values), self.median, max(self.values))
        )
        return f"{middle} {unit} ({low}–{high})"

    def json(self) -> dict[str, float]:
        return {"median": self.median, "min": min(self.values), "max": max(self.values)}


@dataclass
class Metric:
    """A row of the table; `limit` bounds Reflux's median, absolutely or as a multiple of diffusers'."""

    name: str
    unit: str
    diffusers: Samples | None
    reflux: Samples
    limit: float
    relative: bool
    target: str

    @property
    def ratio(self) -> float | None:
        """Diffusers' median in Reflux's: above 1, Reflux does better."""
        return self.diffusers.median / self.reflux.median if self.diffusers else None

    @property
    def met(self) -> bool:
        bound = self.limit * self.diffusers.median if self.relative and self.diffusers else self.limit
        return self.reflux.median <= bound

    def row(self) -> list[str]:
        better, worse = ("less", "more") if self.unit == "MB" else ("faster", "slower")
        ratio = "–"
        if self.ratio:
            ratio = f"{self.ratio:.1f}× {better}" if self.ratio >= 1 else f"{1 / self.ratio:.1f}× {worse}"
        diffusers = self.diffusers.text(self.unit) if self.diffusers else "–"
        target = f"{self.target}: {'met' if self.met else 'missed'}"
        return [self.name, diffusers, self.reflux.text(self.unit), ratio, target]

    def json(self) -> dict[str, object]:
        return {
            "metric": self.name,
            "unit": self.unit,
            "diffusers": self.diffusers.json() if self.diffusers else None,
            "reflux": self.reflux.json(),
            "ratio": self.ratio,
            "target": self.target,
            "met": self.met,
        }


@dataclass
class Process:
    """What processes of one kind took, from start to end."""

    seconds: Samples = field(default_factory=Samples)
    megabytes: Samples = field(default_factory=Samples)

    def run(self, command: Sequence[str], **environment: str) -> str:
        """Runs one more and returns what it printed."""
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            start = time.perf_counter()
            try:
                child = subprocess.Popen(command, stdout=out, stderr=err, env=os.environ | environment)
            except OSError as error:
                raise Failure(f"{command[0]} could not be started: {error.strerror}") from error
            _, status, usage = os.wait4(child.pid, 0)
            self.seconds.values.append(time.perf_counter() - start)
            child.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0), err.seek(0)
            if child.returncode:
                last = "\n".join(err.read().decode(errors="replace").strip().splitlines()[-10:])
                raise Failure(f"`{' '.join(command[:3])} …` ended with {child.returncode}:\n{last}")
            # In KiB, on macOS in bytes.
            peak = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
            self.megabytes.values.append(peak / 1e6)
            return out.read().decode()


def diffusers_worker(out: str, images: int) -> None:
    """What the processes of diffusers do: load, make the same image several times, save it, print the seconds."""
    import torch
    from diffusers import FluxPipeline

    pipe = FluxPipeline.from_pretrained(MODEL, dtype=torch.float32, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    seconds = []
    for _ in range(images):
        start = time.perf_counter()
        image = pipe(
            PROMPT,
            height=SIZE,
            width=SIZE,
            num_inference_steps=STEPS,
            guidance_scale=GUIDANCE,
            max_sequence_length=TOKENS,
            generator=torch.Generator("cpu").manual_seed(SEED),
        ).images[0]
        seconds.append(time.perf_counter() - start)
    image.save(out)
    print(json.dumps(seconds))


def diffusers_command(out: Path, images: int) -> list[str]:
    return [sys.executable, str(Path(__file__).resolve()), "--worker", str(out), str(images)]


def reflux_command(binary: Path, out: Path) -> list[str]:
    options = {
        "model": MODEL,
        "out": out,
        "device": "cpu",
        "dtype": "f32",
        "width": SIZE,
        "height": SIZE,
        "steps": STEPS,
        "guidance": GUIDANCE,
        "max-sequence-length": TOKENS,
        "seed": SEED,
    }
    flags = [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return [str(binary), "generate", PROMPT, *flags, "--json"]


def build(*arguments: str) -> Path:
    """Builds with cargo, its progress going to stderr, and returns the executable."""
    command = ["cargo", *arguments, "--message-format=json-render-diagnostics"]
    try:
        out = subprocess.run(command, cwd=REPO, check=True, text=True, stdout=subprocess.PIPE).stdout
    except FileNotFoundError as error:
        raise Failure("cargo was not found; it comes with Rust") from error
    except subprocess.CalledProcessError as error:
        raise Failure(f"`{' '.join(command[:-1])}` failed; what it says is above") from error
    executables = [message.get("executable") for message in map(json.loads, out.splitlines())]
    return Path(next(path for path in reversed(executables) if path))


def criterion_samples(folder: Path, bench: str) -> Samples:
    """The seconds per iteration that criterion measured."""
    path = folder / bench / "new/sample.json"
    try:
        sample = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise Failure(f"criterion measured no {bench}") from error
    return Samples([time / count / 1e9 for time, count in zip(sample["times"], sample["iters"], strict=True)])


class Others:
    """How many cores processes other than those started here kept busy, where Linux tells."""

    def __init__(self) -> None:
        self.start = self.now()

    def cores(self) -> float | None:
        if self.start is None or (now := self.now()) is None:
            return None
        (used, at), (used_before, before) = now, self.start
        return max(0.0, (used - used_before) / (at - before))

    @staticmethod
    def now() -> tuple[float, float] | None:
        """The others' processor time until now, and when that is."""
        try:
            user, nice, system, _, _, irq, softirq, steal = map(
                int, Path("/proc/stat").read_text().split(maxsplit=9)[1:9]
            )
        except OSError:
            return None
        busy = (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")
        own = os.times()
        return busy - own.user - own.system - own.children_user - own.children_system, own.elapsed


def compare_pictures(first: Path, second: Path) -> tuple[int, float]:
    """The largest difference of two pixels' channels, of 255, and the PSNR in dB."""
    import numpy as np
    from PIL import Image

    a, b = (np.asarray(Image.open(path).convert("RGB"), dtype=np.int64) for path in (first, second))
    if a.shape != b.shape:
        raise Failure(f"the pictures' shapes differ: {a.shape} and {b.shape}")
    error = float(np.mean((a - b) ** 2))
    return int(np.abs(a - b).max()), 10 * math.log10(255**2 / error) if error else math.inf


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def measure(runs: int, warm: bool, folder: Path) -> tuple[list[Metric], float | None]:
    """The table's rows, and how many cores others kept busy meanwhile; leaves both pictures in `folder`."""
    say("building Reflux")
    binary = build("build", "--release", "--bin", "reflux")
    bench = build("bench", "--no-run", "-p", "reflux-benches", "--bench", "warm_image") if warm else None

    others = Others()
    commands = (
        diffusers_command(folder / "diffusers.png", 1),
        reflux_command(binary, folder / "reflux.png"),
    )
    diffusers, reflux = Process(), Process()
    for run in range(runs + 1):
        say(f"whole processes, run {run} of {runs}" if run else "whole processes, once unmeasured")
        for process, command in zip((diffusers, reflux), commands, strict=True):
            # The first run fills the system's file cache.
            (process if run else Process()).run(command)
    metrics = [
        Metric("whole process", "s", diffusers.seconds, reflux.seconds, 1 / 5, True, "≥ 5× faster"),
        Metric("its peak memory", "MB", diffusers.megabytes, reflux.megabytes, 300, False, "< 300 MB"),
    ]
    if bench:
        say("warm images and the IR")
        _, *seconds = json.loads(Process().run(diffusers_command(folder / "warm.png", 11)))
        Process().run([str(bench), "--bench"], CRITERION_HOME=str(folder))
        image = criterion_samples(folder, "image_128x128_20_steps/warm")
        ir = criterion_samples(folder, "print_flux_dev_ir")
        metrics += [
            Metric("warm image", "s", Samples(seconds), image, 1.5, True, "≤ 1.5× slower"),
            Metric("FLUX.1-dev's IR as text", "s", None, ir, 0.2, False, "< 0.2 s"),
        ]
    return metrics, others.cores()


def table(metrics: Sequence[Metric]) -> str:
    rows = [["metric", "diffusers", "Reflux", "Reflux is", "target"], *(metric.row() for metric in metrics)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare diffusers and Reflux on the processor, in f32.")
    parser.add_argument("--runs", type=int, default=5, help="measured processes of each [default: 5]")
    parser.add_argument("--skip-warm", action="store_true", help="measure whole processes only")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the two pictures here")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    options = parser.parse_args()
    if options.runs < 1:
        parser.error("--runs must be at least 1")
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        wanted = " ".join("pillow" if name == "PIL" else name for name in missing)
        raise Failure(f"this Python lacks packages that diffusers needs: pip install {wanted}")

    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        metrics, others = measure(options.runs, not options.skip_warm, folder)
        difference, psnr = compare_pictures(folder / "diffusers.png", folder / "reflux.png")
        if options.keep:
            options.keep.mkdir(parents=True, exist_ok=True)
            for name in ("diffusers.png", "reflux.png"):
                shutil.copy(folder / name, options.keep)
    versions = {name: importlib.metadata.version(name) for name in ("diffusers", "transformers")}
    versions["torch"] = importlib.import_module("torch").__version__  # Says whether it has CUDA.
    if options.json:
        pictures = {"max_difference": difference, "psnr_db": psnr if math.isfinite(psnr) else None}
        report = {
            "runs": options.runs,
            "cores": os.cpu_count(),
            "cores_others_kept_busy": others,
            "versions": versions,
            "metrics": [metric.json() for metric in metrics],
            "pictures": pictures,
        }
        print(json.dumps(report, indent=2))
    else:
        print(f"{PROMPT!r}, {SIZE}×{SIZE}, {STEPS} steps, f32, {os.cpu_count()} cores; median (min–max)")
        print(", ".join(f"{name} {version}" for name, version in versions.items()), end="\n\n")
        print(table(metrics), end="\n\n")
        verdict = "agree" if psnr >= 50 else "DIFFER"
        print(f"the pictures {verdict}: largest difference {difference} of 255, PSNR {psnr:.1f} dB")
        if others and others > 0.1:
            print(f"other processes kept {others:.1f} cores busy: repeat this on an idle machine")


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["--worker"]:
            diffusers_worker(sys.argv[2], int(sys.argv[3]))
        else:
            main()
    except Failure as failure:
        sys.exit(f"compare_diffusers: {failure}")
