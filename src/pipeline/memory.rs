//! Whether a network fits.

use crate::Error;
use reflux_ir::Program;
use reflux_runtime::{Device, peak_bytes};

/// Refuses a program that cannot run in the `free` bytes of `device`.
///
/// # Errors
/// [`Error::Memory`].
pub(crate) fn check_fits(program: &Program, device: Device, free: u64) -> Result<(), Error> {
    let needed = peak_bytes(program);
    if needed <= free {
        return Ok(());
    }
    Err(Error::Memory { network: program.name.to_string(), needed, free, device })
}
