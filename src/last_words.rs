//! The last message of the process in cases that no code can recover from: failed allocations, and files that change while
//! they are mapped. One message and exit status 1, as for any other error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The system's allocator, except that a request which fails ends the process. Most code could only abort there.
pub struct OrExit;

// SAFETY: every call goes to `System` with the arguments it came with, and its results come back as they are or, where they
// are null, not at all; so whatever `System` guarantees holds here too. `or_exit` itself allocates nothing.
unsafe impl GlobalAlloc for OrExit {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps `alloc`'s contract, which is that of `System`.
        or_exit(unsafe { System.alloc(layout) }, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        or_exit(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: as above; `block` is one of `System`'s, as all are.
        or_exit(unsafe { System.realloc(block, layout, size) }, size)
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// What follows the message about a failed allocation, from its semicolon on.
static ADVICE: OnceLock<String> = OnceLock::new();

/// Has `advice` said where an allocation fails: then it is too late to make a text.
pub fn advise(advice: String) {
    // It is called once; of two calls the first would count.
    let _ = ADVICE.set(format!("; {advice}"));
}

fn or_exit(block: *mut u8, bytes: usize) -> *mut u8 {
    if block.is_null() {
        let mut digits = [0; 20];
        exit_with(&[
            b"error: out of memory: ",
            decimal(bytes, &mut digits),
            b" more bytes could not be allocated",
            ADVICE.get().map_or(&b""[..], |advice| advice.as_bytes()),
            b"\n",
        ]);
    }
    block
}

/// `number` in decimal, at the end of `digits`.
fn decimal(mut number: usize, digits: &mut [u8; 20]) -> &[u8] {
    let mut start = digits.len();
    loop {
        start -= 1;
        digits[start] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            return &digits[start..];
        }
    }
}

/// Has a file that became shorter than its mapping end the process with a message.
#[cfg(unix)]
pub fn explain_bus_errors() {
    extern "C" fn explain(_signal: libc::c_int) {
        exit_with(&[b"error: a file that is being read became shorter, or its disk failed; weights must not change while \
                      they are in use, so run again when they are whole\n"]);
    }
    let handler: extern "C" fn(libc::c_int) = explain;
    // SAFETY: an all-zero `sigaction` is a valid one, without flags and with an empty mask. The handler only makes the system
    // calls `write`, `_exit` and `nanosleep`, which are safe in signal handlers, and never returns to what was interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
pub fn explain_bus_errors() {}

/// Whether a thread is saying its last words.
static IS_SAID: AtomicBool = AtomicBool::new(false);

/// Writes the parts to standard error and exits with 1. Threads often fail together, such as the ranks of a program where memory is
/// short: the first one speaks for all, and the others wait for the end.
fn exit_with(parts: &[&[u8]]) -> ! {
    while IS_SAID.swap(true, Ordering::Relaxed) {
        // A system call and nothing else, as befits a signal handler.
        std::thread::sleep(Duration::from_secs(1));
    }
    write_and_exit(parts)
}

/// Does so without allocating, locking or running what is registered for ordinary exits: any of these may be what was interrupted.
#[cfg(unix)]
fn write_and_exit(parts: &[&[u8]]) -> ! {
    for part in parts {
        // SAFETY: the pointer and the length are those of a slice. If the write fails, there is no one to tell.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: it ends the process, and touches nothing of it.
    unsafe { libc::_exit(1) }
}

#[cfg(not(unix))]
fn write_and_exit(parts: &[&[u8]]) -> ! {
    use std::io::Write;
    let mut out = std::io::stderr();
    for part in parts {
        let _ = out.write_all(part);
    }
    std::process::exit(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;
    use std::sync::Barrier;

    /// Set in the process that ends.
    const ENDS: &str = "REFLUX_TEST_ENDS";

    const THREADS: usize = 16;

    /// This process would end, so the test runs itself in another one.
    #[test]
    fn threads_that_fail_together_say_it_once() {
        if std::env::var_os(ENDS).is_some() {
            let together = Barrier::new(THREADS);
            std::thread::scope(|scope| {
                for _ in 0..THREADS {
                    scope.spawn(|| {
                        together.wait();
                        or_exit(std::ptr::null_mut(), 64);
                    });
                }
            });
        }
        let own = std::env::current_exe().unwrap();
        let name = "last_words::tests::threads_that_fail_together_say_it_once";
        // Before only one spoke, some of these said it several times.
        for _ in 0..64 {
            let ended =
                Command::new(&own).args(["--exact", name, "--nocapture"]).env(ENDS, "1").output().unwrap();
            assert_eq!(ended.status.code(), Some(1));
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!(said, "error: out of memory: 64 more bytes could not be allocated\n");
        }
    }
}
