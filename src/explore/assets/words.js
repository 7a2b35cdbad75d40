// Numbers and kinds in words, as the command line writes them.

/** `count` in the first of `units` that keeps it below a thousand, with three digits. */
function threeDigits(count, units) {
  let unit = 0;
  while (count >= 999.5 && unit + 1 < units.length) {
    count /= 1000;
    unit += 1;
  }
  const decimals = unit === 0 || count >= 99.95 ? 0 : count >= 9.995 ? 1 : 2;
  return `${count.toFixed(decimals)}\u00a0${units[unit]}`;
}

const UNKNOWN = "–";
const known = (value) => value !== null && value !== undefined;
const duration = (nanoseconds) => (known(nanoseconds) ? threeDigits(nanoseconds, ["ns", "µs", "ms", "s"]) : UNKNOWN);
const milliseconds = (time) => (known(time) ? duration(time * 1e6) : UNKNOWN);
const seconds = (time) => (known(time) ? duration(time * 1e9) : UNKNOWN);
const sizeOf = (bytes) => (known(bytes) ? threeDigits(bytes, ["B", "kB", "MB", "GB", "TB"]) : UNKNOWN);
const operations = (flops) => (known(flops) ? threeDigits(flops, ["FLOP", "kFLOP", "MFLOP", "GFLOP", "TFLOP", "PFLOP"]) : UNKNOWN);
const integer = (count) => (known(count) ? count.toLocaleString("en") : UNKNOWN);
const counted = (count, noun) => `${integer(count)} ${noun}${count === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
const percent = (part, whole) => (whole > 0 ? `${((100 * part) / whole).toFixed(part < whole / 10 ? 1 : 0)}\u00a0%` : UNKNOWN);

/** `3.24 s → 2.35 s`, or one of them if both read the same. */
function fromTo(before, after) {
  return before === after ? before : `${before} → ${after}`;
}

const EXACTNESS = {
  exact: "made with the same bits",
  reassociating: "made equal to rounding",
  lossy: "made by approximation",
};
