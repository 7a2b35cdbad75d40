#!/usr/bin/env bash
# The CUDA engine on an NVIDIA GPU, by what one types. First the bundled model: how far its final latents are from the
# processor's f32 ones, fused and quantized. Then steps of FLUX.1-dev at 1024² with random weights, for nothing asked, for a
# configuration of Pruna's, and for each scheme: time per step, memory, and the slowest ops of the first two.
# Needs python3 with numpy and safetensors.    usage: benches/gpu_engine.sh [REFLUX]
set -euo pipefail
cd "$(dirname "$0")/.."
reflux=${1:-target/release/reflux}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

int8dq="quantize(int8dq,exclude=norm+embedding)"

python3 - "$scratch" <<'PYTHON'
import sys
from safetensors.numpy import load_file, save_file
save_file({"latents": load_file("tests/fixtures/pipeline.safetensors")["0.initial"]}, f"{sys.argv[1]}/noise.safetensors")
PYTHON
draw() { # name device dtype passes…
  "$reflux" generate "a red apple on a blue background" --device "$2" --dtype "$3" --out "$scratch/$1.png" "${@:4}" \
    --init-latents "$scratch/noise.safetensors" --save-latents "$scratch/$1.safetensors" 2>&1 | tail -n 2
}
draw f32 cpu f32
draw bf16 cuda bf16
draw bf16-unfused cuda bf16 --passes-only canonicalize,hoist,canonicalize,dce
draw int8dq cuda bf16 --passes "$int8dq"
draw int8dq-f32 cpu f32 --passes "$int8dq"
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

cat > "$scratch/smash_config.json" <<'JSON'
{"cacher": "fora", "fora_interval": 2, "compiler": "torch_compile", "torch_compile_mode": "max-autotune-no-cudagraphs",
 "quantizer": "torchao", "torchao_quant_type": "int8dq", "torchao_excluded_modules": "norm+embedding"}
JSON
bench() { "$reflux" bench --config flux-dev --random-weights --device cuda "$@"; }
bench --profile
bench --profile --passes-config "$scratch/smash_config.json"
for scheme in int8wo fp8dq fp8dqrow fp8wo int4wo; do
  bench --passes "quantize($scheme,exclude=norm+embedding)"
done
bench --passes-only "canonicalize,hoist,canonicalize,$int8dq,dce"
