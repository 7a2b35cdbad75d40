//! Models in the local cache of the Hugging Face Hub, as its own library keeps them. Nothing is downloaded.
//!
//! The model `ORG/NAME` is in the folder `models--ORG--NAME` of the cache: `refs/main` names the commit last downloaded, and
//! `snapshots/COMMIT` holds its files, as links to where their contents are.

use crate::error::ModelError;
use crate::families;
use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

/// What the folder of a model in the cache begins with; the id's slash is replaced by [`SLASH`].
const FOLDER: &str = "models--";
const SLASH: &str = "--";

/// The folder of the model `model`: a folder, a folder of the cache, or a Hub id.
///
/// # Errors
/// If there is no such folder and no such model in the cache, or `model` is a file.
pub(crate) fn locate(model: &Path) -> Result<PathBuf, ModelError> {
    locate_in(model, cache(|variable| std::env::var_os(variable)).as_deref())
}

fn locate_in(model: &Path, cache: Option<&Path>) -> Result<PathBuf, ModelError> {
    if model.is_dir() {
        return match is_cached_model(model) {
            true => snapshot(model, model),
            false => Ok(model.to_owned()),
        };
    }
    if model.exists() {
        return Err(ModelError::File { path: model.to_owned(), options: families::part_options() });
    }
    let Some(id) = id(model) else {
        return Err(ModelError::NoFolder { folder: model.to_owned(), example: families::example_id() });
    };
    let Some(cache) = cache else { return Err(ModelError::NotCached { id, cache: None }) };
    let folder = cache.join(format!("{FOLDER}{}", id.replace('/', SLASH)));
    match folder.is_dir() {
        true => snapshot(&folder, model),
        false => Err(ModelError::NotCached { id, cache: Some(cache.to_owned()) }),
    }
}

/// The cache of the Hub's library, by its own rules; `None` if no home folder is known.
fn cache(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    let set = |name| variable(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || {
        set("XDG_CACHE_HOME")
            .or_else(|| Some(set("HOME")?.join(".cache")))
            .map(|cache| cache.join("huggingface"))
    };
    set("HF_HUB_CACHE")
        .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
        .or_else(|| Some(set("HF_HOME").or_else(home)?.join("hub")))
}

/// Extensions by which names are taken for files.
const FILES: [&str; 8] = [".safetensors", ".sft", ".gguf", ".json", ".ckpt", ".pt", ".pth", ".bin"];

/// `ORG/NAME`, if a path that does not exist looks like that. If there is a folder ORG, a path into it was meant.
fn id(path: &Path) -> Option<String> {
    let id = path.to_str()?;
    let (org, name) = id.split_once('/')?;
    let is_name = |part: &str| {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && part.chars().all(allowed) && !part.starts_with(['.', '-'])
    };
    let is_file = FILES.iter().any(|end| name.ends_with(end));
    (is_name(org) && is_name(name) && !is_file && !Path::new(org).exists()).then(|| id.to_owned())
}

fn is_cached_model(folder: &Path) -> bool {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    name.starts_with(FOLDER) && !folder.join("model_index.json").exists()
}

/// The snapshot of a model in the cache that `refs/main` names or, without one, the only one there is.
fn snapshot(folder: &Path, asked: &Path) -> Result<PathBuf, ModelError> {
    let incomplete = |why: String| {
        let id = id_of(folder).unwrap_or_else(|| asked.display().to_string());
        ModelError::Snapshot { folder: folder.to_owned(), why, id }
    };
    let snapshots = folder.join("snapshots");
    let main = folder.join("refs").join("main");
    match std::fs::read_to_string(&main) {
        Ok(commit) => {
            let commit = commit.trim();
            // What is read from a file is not to lead out of the folder.
            let is_name =
                matches!(Path::new(commit).components().collect::<Vec<_>>()[..], [Component::Normal(_)]);
            let named = snapshots.join(commit);
            match is_name && named.is_dir() {
                true => Ok(named),
                false => {
                    Err(incomplete(format!("refs/main names the snapshot {commit:?}, which does not exist")))
                }
            }
        }
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(ModelError::Read { path: main, error })
        }
        Err(_) => {
            let entries = std::fs::read_dir(&snapshots).into_iter().flatten().flatten();
            let mut found: Vec<PathBuf> =
                entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
            found.sort();
            match &found[..] {
                [one] => Ok(one.clone()),
                [] => Err(incomplete("it has no snapshot".into())),
                _ => Err(incomplete(format!(
                    "it has {} snapshots and no refs/main to choose one",
                    found.len()
                ))),
            }
        }
    }
}

/// The id of the model in the cache that a path leads into, if it does.
pub(crate) fn id_of(path: &Path) -> Option<String> {
    let folders = path.iter().filter_map(|part| part.to_str());
    let id = folders.filter_map(|part| part.strip_prefix(FOLDER)).next_back()?;
    Some(id.replacen(SLASH, "/", 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn cached(cache: &Path, commits: &[&str], main: Option<&str>) -> PathBuf {
        let model = cache.join("models--some-org--FLUX.1-x");
        for commit in commits {
            fs::create_dir_all(model.join("snapshots").join(commit)).unwrap();
        }
        fs::create_dir_all(model.join("refs")).unwrap();
        if let Some(main) = main {
            fs::write(model.join("refs/main"), main).unwrap();
        }
        model
    }

    #[test]
    fn an_id_and_a_folder_of_the_cache_are_the_snapshot_of_main() {
        let cache = tempfile::tempdir().unwrap();
        let model = cached(cache.path(), &["aaa", "bbb"], Some("bbb\n"));
        let wanted = model.join("snapshots/bbb");
        assert_eq!(locate_in(Path::new("some-org/FLUX.1-x"), Some(cache.path())).unwrap(), wanted);
        assert_eq!(locate_in(&model, None).unwrap(), wanted);
        // A snapshot, and any other folder, is itself.
        assert_eq!(locate_in(&model.join("snapshots/aaa"), None).unwrap(), model.join("snapshots/aaa"));
        assert_eq!(id_of(&wanted).unwrap(), "some-org/FLUX.1-x");
    }

    #[test]
    fn without_main_there_must_be_one_snapshot() {
        let cache = tempfile::tempdir().unwrap();
        let model = cached(cache.path(), &["aaa"], None);
        assert_eq!(locate_in(&model, None).unwrap(), model.join("snapshots/aaa"));
        fs::create_dir(model.join("snapshots/bbb")).unwrap();
        let message = locate_in(&model, None).unwrap_err().to_string();
        assert!(message.contains("2 snapshots and no refs/main"), "{message}");
        for main in ["ccc", "", "../..", "/", "."] {
            fs::write(model.join("refs/main"), main).unwrap();
            let message = locate_in(&model, None).unwrap_err().to_string();
            assert!(message.contains("which does not exist"), "{message}");
            assert!(message.contains("`hf download some-org/FLUX.1-x`"), "{message}");
        }
    }

    #[test]
    fn what_is_not_there_is_told_apart() {
        let cache = tempfile::tempdir().unwrap();
        let fails = |model: &str| locate_in(Path::new(model), Some(cache.path())).unwrap_err();
        for path in
            ["nowhere", "/no/such", "a/b/c", "./org/name", "org/", "org/na me", "org/t5.gguf", "org/t5.pt"]
        {
            assert!(matches!(fails(path), ModelError::NoFolder { .. }), "{path}: {}", fails(path));
        }
        // Tests run in the folder of the crate, which has this one: a path into it was meant.
        assert!(Path::new("tests").is_dir());
        assert!(matches!(fails("tests/nothing"), ModelError::NoFolder { .. }), "{}", fails("tests/nothing"));
        let message = fails("some-org/FLUX.1-x").to_string();
        assert!(message.contains(&cache.path().display().to_string()), "{message}");
        assert!(message.contains("`hf download some-org/FLUX.1-x`"), "{message}");
    }

    #[test]
    fn the_cache_is_where_the_hubs_library_has_it() {
        let with = |set: &'static [(&str, &str)]| {
            let found =
                cache(move |name| set.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()));
            found.map(|path| path.display().to_string()).unwrap_or_default()
        };
        assert_eq!(with(&[("HOME", "/h"), ("HF_HOME", "/f"), ("HF_HUB_CACHE", "/c")]), "/c");
        assert_eq!(with(&[("HOME", "/h"), ("HF_HOME", "/f"), ("HF_HUB_CACHE", "")]), "/f/hub");
        assert_eq!(with(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]), "/x/huggingface/hub");
        assert_eq!(with(&[("HOME", "/h")]), "/h/.cache/huggingface/hub");
        assert_eq!(with(&[]), "");
    }
}
