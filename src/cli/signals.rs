//! Handling of signals that end this process.

use super::console::say;
use reflux_ir::files::abandon_unfinished;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use signal_hook::low_level::emulate_default_handler;
use std::sync::Arc;

/// Has no temporary files stay behind where this process is told to end.
pub fn install() {
    let ignored = ignored();
    let obeyed = [SIGHUP, SIGINT, SIGTERM].into_iter().filter(|signal| ignored & (1 << (signal - 1)) == 0);
    let waiting = Signals::new(obeyed).and_then(|mut signals| {
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            if let Some(signal) = signals.forever().next() {
                abandon_unfinished();
                // The process ends by the same signal, so that its parent sees which one.
                let _ = emulate_default_handler(signal);
            }
        })
    });
    let waiting = waiting.map(drop);
    // Where a file may not become as long, writing fails, and that is told like any other failure.
    #[cfg(unix)]
    let waiting = waiting.and(signal_hook::flag::register(libc::SIGXFSZ, Arc::default()).map(drop));
    if let Err(error) = waiting {
        say(format_args!("warning: a temporary file may stay behind if this is interrupted: {error}"));
    }
}

/// The signals that the parent made this process ignore, as `nohup` does: one bit each, from the lowest.
fn ignored() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}
