//! The last message of the process in cases that no code can recover from: failed allocations, and files that change while
//! they are mapped. One message and exit status 1, as for any other error.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::OnceLock;

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
    // SAFETY: an all-zero `sigaction` is a valid one, without flags and with an empty mask. The handler only calls `write`
    // and `_exit`, which are safe in signal handlers, and never returns to what was interrupted.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as usize;
        libc::sigaction(libc::SIGBUS, &raw const action, std::ptr::null_mut());
    }
}

#[cfg(not(unix))]
pub fn explain_bus_errors() {}

/// Writes the parts to standard error and exits with 1, without allocating, locking or running what is registered for
/// ordinary exits: any of these may be what was interrupted.
#[cfg(unix)]
fn exit_with(parts: &[&[u8]]) -> ! {
    for part in parts {
        // SAFETY: the pointer and the length are those of a slice. If the write fails, there is no one to tell.
        let _ = unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    // SAFETY: it ends the process, and touches nothing of it.
    unsafe { libc::_exit(1) }
}

#[cfg(not(unix))]
fn exit_with(parts: &[&[u8]]) -> ! {
    use std::io::Write;
    let mut out = std::io::stderr();
    for part in parts {
        let _ = out.write_all(part);
    }
    std::process::exit(1)
}
