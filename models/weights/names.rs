//! Names of files.

use std::path::Path;

/// What `torch.save` and friends call their files.
const PICKLES: [&str; 6] = ["bin", "ckpt", "pickle", "pkl", "pt", "pth"];

/// Whether a file's name is that of a pickle.
pub(super) fn is_pickle(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    PICKLES.iter().any(|pickle| extension.eq_ignore_ascii_case(pickle))
}

/// The file name; that of a file whose name is no UTF-8 is of no interest here.
pub(super) fn file_name(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}
