//! A table of times by kind of op.

use reflux_runtime::OpTime;
use std::fmt::Write;

/// A table of `times` with the heading `title`.
pub fn table(title: &str, times: &[OpTime]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(
        text,
        "{title:<20} {:>8} {:>10} {:>6} {:>9} {:>8}",
        "calls", "ms", "share", "GFLOP/s", "GB/s"
    );
    for time in times {
        let (ms, share) = (time.seconds * 1e3, time.share * 100.0);
        let (gflops, gigabytes) = (time.gflops_per_second, time.gigabytes_per_second);
        let _ = writeln!(
            text,
            "  {:<18} {:>8} {ms:>10.2} {share:>5.1}% {gflops:>9.1} {gigabytes:>8.1}",
            time.op, time.calls
        );
    }
    text
}
