//! What is compared: cachers at several intervals, quantizers, both, and neither fused.

/// Names, and passes as `--passes` takes them.
pub const CONFIGS: [(&str, &str); 25] = [
    ("fora-2", "cache(fora,interval=2)"),
    ("fora-3", "cache(fora,interval=3)"),
    ("fora-4", "cache(fora,interval=4)"),
    ("fora-5", "cache(fora,interval=5)"),
    ("pab-2", "cache(pab,interval=2)"),
    ("pab-4", "cache(pab,interval=4)"),
    ("fastercache-2", "cache(fastercache,interval=2)"),
    ("taylorseer-3", "cache(taylorseer,interval=3)"),
    ("taylorseer-5", "cache(taylorseer,interval=5)"),
    ("hicache-3", "cache(hicache,interval=3)"),
    ("forecast-3", "cache(forecast,interval=3)"),
    ("spectrum", "cache(spectrum)"),
    ("fbcache-0.1", "cache(fbcache,threshold=0.1)"),
    ("fbcache-0.2", "cache(fbcache,threshold=0.2)"),
    ("teacache-0.25", "cache(teacache,threshold=0.25)"),
    // What `reflux tune --computed 8` and `--computed 5` find with the last eight of the model's prompts (`--prompts`).
    ("tuned-8", TUNED),
    ("tuned-5", "cache(fora,steps=10000000100000100101)"),
    ("int8dq", "quantize(int8dq,exclude=norm+embedding)"),
    ("int8dq-all", "quantize(int8dq)"),
    ("fp8dqrow", "quantize(fp8dqrow,exclude=norm+embedding)"),
    ("int8wo", "quantize(int8wo,exclude=norm+embedding)"),
    ("int4wo", "quantize(int4wo,exclude=norm+embedding)"),
    ("int8dq+fora-3", "quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3)"),
    ("int8dq+tuned-8", "quantize(int8dq,exclude=norm+embedding),cache(fora,steps=11000010000010010111)"),
    ("int4wo+tuned-8", "quantize(int4wo,exclude=norm+embedding),cache(fora,steps=11000010000010010111)"),
];

const TUNED: &str = "cache(fora,steps=11000010000010010111)";

/// Passes without those that fuse and hoist, as `--passes-only` takes them.
pub const UNFUSED: [(&str, &str); 2] =
    [("unfused", "canonicalize,dce"), ("unfused-fora-3", "canonicalize,cache(fora,interval=3),dce")];

/// Numbers of steps with which the plain model is measured too.
pub const FEWER: [usize; 5] = [14, 10, 8, 6, 5];
