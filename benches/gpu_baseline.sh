#!/usr/bin/env bash
# burn's own kernels on an NVIDIA GPU. First the bundled model: how far its final latents are from the processor's, in
# f32 and bf16. Then four steps of FLUX.1-dev at 1024² with random weights: time per step and peak device memory.
# Needs python3 with numpy and safetensors.    usage: benches/gpu_baseline.sh [REFLUX]
set -euo pipefail
cd "$(dirname "$0")/.."
reflux=${1:-target/release/reflux}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"; kill "${sampler:-0}" 2> /dev/null || true' EXIT

python3 - "$scratch" <<'PYTHON'
import sys
from safetensors.numpy import load_file, save_file
save_file({"latents": load_file("tests/fixtures/pipeline.safetensors")["0.initial"]}, f"{sys.argv[1]}/noise.safetensors")
PYTHON
draw() { # device dtype
  "$reflux" generate "a red apple on a blue background" --device "$1" --dtype "$2" --out "$scratch/$1-$2.png" \
    --init-latents "$scratch/noise.safetensors" --save-latents "$scratch/$1-$2.safetensors"
}
draw cpu f32
draw cuda f32
draw cuda bf16
python3 - "$scratch" <<'PYTHON'
import sys
import numpy as np
from safetensors.numpy import load_file
latents = {name: load_file(f"{sys.argv[1]}/{name}.safetensors")["latents"] for name in ("cpu-f32", "cuda-f32", "cuda-bf16")}
for name in ("cuda-f32", "cuda-bf16"):
    distance = np.linalg.norm(latents[name] - latents["cpu-f32"]) / np.linalg.norm(latents["cpu-f32"])
    print(f"{name}: final latents {distance:.1e} from cpu-f32 (relative L2)")
PYTHON

"$reflux" ir --config flux-dev --steps 4 --out "$scratch/flux-dev.ir"
while sleep 0.2; do nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits; done > "$scratch/memory" &
sampler=$!
"$reflux" run "$scratch/flux-dev.ir" --random 0 --device cuda
kill "$sampler"
echo "FLUX.1-dev, 1024²: peak device memory $(sort -n "$scratch/memory" | tail -n 1) MiB"
