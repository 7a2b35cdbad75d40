// Cosines and sines of each of TIMES times, at HALF frequencies.
extern "C" __global__ void __launch_bounds__(256) timestep_embedding(const ELEMENT* __restrict__ times, float* __restrict__ to) {
  begin();
  const int index = blockIdx.x * 256 + threadIdx.x;
  if (index >= TIMES * HALF) return;
  const int time = index / HALF, at = index % HALF;
  const float angle = to_float(times[time]) * FREQUENCIES[at];
  to[time * 2 * HALF + at] = cosf(angle);
  to[time * 2 * HALF + HALF + at] = sinf(angle);
}
