//! Snapshots of all tests lie in `snapshots/`, named `<subject>__<case>.snap`.

/// Asserts that `text` is what `snapshots/<name>.snap` holds; `INSTA_UPDATE=always` writes it there.
#[macro_export]
macro_rules! snapshot {
    ($name:expr, $text:expr) => {
        insta::with_settings!({
            snapshot_path => "../snapshots",
            prepend_module_to_snapshot => false,
            omit_expression => true,
        }, { insta::assert_snapshot!($name, $text) })
    };
}
