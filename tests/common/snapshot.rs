//! Snapshots of all tests lie in `snapshots/`, named `<subject>__<case>.snap`.

/// Asserts that `text` is what `snapshots/<name>.snap` holds; `INSTA_UPDATE=always` writes it there.
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            snapshot_path => $crate::common::snapshot::folder(),
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!($name, $text) })
    };
}

/// The folder of snapshots, wherever in the workspace the test's crate and file lie.
pub fn folder() -> std::path::PathBuf {
    let crate_folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = crate_folder.ancestors().map(|folder| folder.join("snapshots"));
    folders.into_iter().find(|folder| folder.is_dir()).expect("the workspace has snapshots")
}
