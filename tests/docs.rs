//! Files and what names them: documentation, imports, the lists of tests.

use std::path::{Path, PathBuf};

/// README and the pages of `docs`.
fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let docs = std::fs::read_dir(root.join("docs")).unwrap();
    let mut pages: Vec<_> = docs.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.push(root.join("README.md"));
    pages
}

/// Targets of Markdown links in `text` that are paths.
fn links(text: &str) -> impl Iterator<Item = &str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let paths = targets.map(|(target, _)| target.split('#').next().unwrap_or_default());
    paths.filter(|path| !path.is_empty() && !path.contains("://"))
}

#[test]
fn links_lead_to_files() {
    let mut seen = 0;
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for link in links(&text) {
            let target = page.parent().unwrap().join(link);
            assert!(target.exists(), "{} links to {link}, which does not exist", page.display());
            seen += 1;
        }
    }
    assert!(seen > 40, "only {seen} links were found");
}

/// A page that nothing links to is never found.
#[test]
fn every_page_is_linked_from_readme() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    for page in pages().iter().filter(|page| !page.ends_with("README.md")) {
        let name = page.file_name().unwrap().to_str().unwrap();
        assert!(readme.contains(&format!("docs/{name}")), "README does not link to docs/{name}");
    }
}

/// Sources of the crates, without the example.
fn sources() -> Vec<PathBuf> {
    let mut open: Vec<PathBuf> =
        ["src", "passes", "models"].map(|folder| Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).into();
    let mut sources = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(std::fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            sources.push(path);
        }
    }
    sources
}

/// The sibling modules that a file imports, by `use super::sibling` outside of its tests.
fn siblings(source: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(source).unwrap();
    let code = text.split("#[cfg(test)]").next().unwrap_or_default();
    let imports = code.split("\nuse super::").skip(1).filter_map(|rest| rest.split(';').next());
    let each = imports.flat_map(|import| match import.strip_prefix('{') {
        Some(several) => several.split(',').collect(),
        None => vec![import],
    });
    let first = |path: &str| path.trim().split([':', ' ', '}']).next().unwrap_or_default().to_owned();
    each.map(first).filter(|name| source.with_file_name(format!("{name}.rs")).is_file()).collect()
}

/// Sibling files import in one direction: of two, at most one reads the other.
#[test]
fn siblings_import_in_one_direction() {
    let mut seen = 0;
    for source in sources() {
        let stem = source.file_stem().unwrap().to_str().unwrap();
        for other in siblings(&source) {
            let back = siblings(&source.with_file_name(format!("{other}.rs")));
            assert!(
                !back.iter().any(|name| name == stem),
                "{} and {other}.rs import each other",
                source.display()
            );
            seen += 1;
        }
    }
    assert!(seen > 100, "only {seen} imports were found");
}

/// The tests of a crate are one program, which is linked once. A file that its list leaves out would never run.
#[test]
fn every_file_of_tests_is_listed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let lists =
        [("tests", &["ir", "passes", "reflux"][..]), ("models/tests", &["models"]), ("tests/cli", &["mod"])];
    for (folder, lists) in lists {
        let folder = root.join(folder);
        let list = |name: &&str| std::fs::read_to_string(folder.join(format!("{name}.rs"))).unwrap();
        let listed: String = lists.iter().map(list).collect();
        for entry in std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let stem = entry.file_stem().unwrap().to_str().unwrap();
            let is_source = entry.extension().is_some_and(|extension| extension == "rs");
            // The fuzzer's only file is a program by itself.
            let is_list = lists.contains(&stem) || stem == "generated";
            let is_listed = listed.lines().any(|line| line.trim() == format!("mod {stem};"));
            assert!(
                !is_source || is_list || is_listed,
                "nothing runs {}: list it beside its siblings",
                entry.display()
            );
        }
    }
}
