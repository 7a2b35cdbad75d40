//! Copies of the bundled model with something changed.

use std::path::{Path, PathBuf};

/// A copy of the bundled model, `folder/name`, after `change`.
pub fn changed(folder: &Path, name: &str, change: impl FnOnce(&Path)) -> PathBuf {
    let model = folder.join(name);
    copy(&Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji"), &model);
    change(&model);
    model
}

/// Replaces a text that the file must hold.
pub fn edit(path: &Path, from: &str, to: &str) {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{} does not hold {from}", path.display());
    std::fs::write(path, text.replace(from, to)).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(|entry| entry.unwrap().path()) {
        let target = to.join(entry.file_name().unwrap());
        if entry.is_dir() {
            copy(&entry, &target);
        } else {
            std::fs::copy(&entry, &target).unwrap();
        }
    }
}
