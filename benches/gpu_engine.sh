#!/usr/bin/env bash
# The CUDA engine on an NVIDIA GPU. First the bundled model: how far its final latents are from the processor's f32 ones,
# fused and quantized. Then steps of FLUX.1-dev at 1024² with random weights: time per step, and the slowest ops.
# Needs python3 with numpy and safetensors.    usage: benches/gpu_engine.sh [REFLUX]
set -euo pipefail
cd "$(dirname "$0")/.."
reflux=${1:-target/release/reflux}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

before=canonicalize,hoist,canonicalize
int8dq="quantize(int8dq,exclude=norm+embedding)"

python3 - "$scratch" <<'PYTHON'
import sys
from safetensors.numpy import load_file, save_file
save_file({"latents": load_file("tests/fixtures/pipeline.safetensors")["0.initial"]}, f"{sys.argv[1]}/noise.safetensors")
PYTHON
draw() { # name device dtype passes
  "$reflux" generate "a red apple on a blue background" --device "$2" --dtype "$3" --out "$scratch/$1.png" --passes "$4" \
    --init-latents "$scratch/noise.safetensors" --save-latents "$scratch/$1.safetensors" 2>&1 | tail -n 2
}
draw f32 cpu f32 "$before,merge-linear,fuse,dce"
draw bf16 cuda bf16 "$before,merge-linear,fuse,dce"
draw bf16-unfused cuda bf16 "$before,dce"
draw int8dq cuda bf16 "$before,$int8dq,merge-linear,fuse,dce"
draw int8dq-f32 cpu f32 "$before,$int8dq,merge-linear,fuse,dce"
python3 - "$scratch" <<'PYTHON'
import sys
import numpy as np
from safetensors.numpy import load_file
names = ("f32", "bf16", "bf16-unfused", "int8dq", "int8dq-f32")
latents = {name: load_file(f"{sys.argv[1]}/{name}.safetensors")["latents"] for name in names}
for name, other in (("bf16", "f32"), ("bf16-unfused", "f32"), ("int8dq", "f32"), ("int8dq", "int8dq-f32")):
    distance = np.linalg.norm(latents[name] - latents[other]) / np.linalg.norm(latents[other])
    print(f"{name}: final latents {distance:.1e} from {other} (relative L2)")
PYTHON

for passes in "$before,merge-linear,fuse,dce" "$before,$int8dq,merge-linear,fuse,dce"; do
  "$reflux" bench --config flux-dev --random-weights --device cuda --passes "$passes" --profile
done
