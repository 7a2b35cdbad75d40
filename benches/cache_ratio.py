#!/usr/bin/env python3
"""How much less time pictures take for passes and for a cache: four in turn, their loading not counted.

Rounds take turns, so that both see the same machine; read the median of the rounds' ratios.
"""

import argparse
import json
import statistics
import subprocess
import tempfile
from pathlib import Path

PICTURES = 4
DENOISE, PICTURE = ("denoise",), ("denoise", "decode", "encode with CLIP", "encode with T5")


def measured(reflux: str, passes: list[str]) -> dict[str, float]:
    """Seconds of each stage per picture."""
    with tempfile.TemporaryDirectory() as folder:
        command = [reflux, "generate", "a red apple on a blue background", "--json", "--num-images", str(PICTURES)]
        command += ["--device", "cpu", *passes, "--out", str(Path(folder) / "out.png")]
        report = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return {stage["stage"]: stage["seconds"] / PICTURES for stage in report["stages"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--reflux", default="target/release/reflux", help="the binary")
    parser.add_argument("--cache", default="cache(fora,interval=3)", help="the cache, as in pipeline text")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()

    pipelines = {
        "no passes": ["--passes-only", ""],
        "hoisted": ["--passes-only", "canonicalize,hoist,canonicalize,dce"],
        "lossless": [],
        "cached": ["--passes", arguments.cache],
    }
    rounds = [
        {name: measured(arguments.reflux, passes) for name, passes in pipelines.items()}
        for _ in range(arguments.rounds)
    ]
    for what, stages in (("denoising", DENOISE), ("warm picture", PICTURE)):
        seconds = {name: [sum(each[name][stage] for stage in stages) for each in rounds] for name in pipelines}
        for name, values in seconds.items():
            print(f"{what}, {name}: median {statistics.median(values):.3f} s, least {min(values):.3f} s")
        for slow, fast in (("no passes", "lossless"), ("no passes", "cached"), ("lossless", "cached")):
            ratios = [plain / optimized for plain, optimized in zip(seconds[slow], seconds[fast])]
            print(f"{what}, {slow} / {fast}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    main()
