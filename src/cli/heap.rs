//! Settings of the C library for freed memory.

use reflux_runtime::Device;

/// While it lives, freed memory is kept for later allocations.
///
/// Weights for a GPU pass through this process one after the other, and page faults of new memory took two thirds of the loading
/// time. If weights stay in the process there is nothing to gain.
pub struct KeptHeap(bool);

impl KeptHeap {
    /// For a command that loads networks onto `device`.
    pub fn on(device: Device) -> Self {
        let keeps = !device.is_host();
        if keeps {
            keep_freed_memory();
        }
        Self(keeps)
    }
}

impl Drop for KeptHeap {
    fn drop(&mut self) {
        if self.0 {
            give_freed_memory_back();
        }
    }
}

fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: these settings may be changed at any time; they decide where memory comes from, not what it is.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 0);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
    }
}

/// Restores the limits to which the library would adapt when large blocks are freed.
fn give_freed_memory_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: as above; memory that is given back is not in use.
    unsafe {
        libc::mallopt(libc::M_MMAP_MAX, 65536);
        libc::mallopt(libc::M_MMAP_THRESHOLD, 32 << 20);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 64 << 20);
        libc::malloc_trim(0);
    }
}
