//! `--config NAME=PASSES` and `--config-file NAME=FILE`.

use crate::Error;
use crate::cli::passes::read_config;
use crate::evaluation::BASE;
use crate::pipeline::registry;
use reflux_ir::pass::Recipe;
use std::path::Path;

/// The configs by name: those that are written out, then those of files.
///
/// # Errors
/// If one has no name or one that is no folder's, two have the same, or passes are none.
pub fn read(written: &[String], files: &[String]) -> Result<Vec<(String, Recipe)>, Error> {
    let mut configs: Vec<(String, Recipe)> = Vec::new();
    let written = written.iter().map(|given| ("--config", "PASSES", given));
    let files = files.iter().map(|given| ("--config-file", "FILE", given));
    for (option, what, given) in written.chain(files) {
        let usage = |why: String| Error::Usage(format!("{option} {given}: {why}"));
        let (name, value) =
            given.split_once('=').ok_or_else(|| usage(format!("name it, as in {option} NAME={what}")))?;
        check(name).map_err(usage)?;
        let is_same = |(other, _): &&(String, Recipe)| other.eq_ignore_ascii_case(name);
        if let Some((other, _)) = configs.iter().find(is_same) {
            return Err(usage(format!("another config is called `{other}`; give each a name of its own")));
        }
        let passes = match option {
            "--config" => Recipe::parse(value, &registry()).map_err(Error::from),
            _ => read_config(Path::new(value)),
        };
        let of_config = |error| Error::Row { name: name.to_owned(), error: Box::new(error) };
        configs.push((name.to_owned(), passes.map_err(of_config)?));
    }
    Ok(configs)
}

/// Refuses a name that is no folder's on some system, or a row's that is not asked for.
fn check(name: &str) -> Result<(), String> {
    const MARKS: [char; 4] = ['-', '_', '.', '+'];
    const LONGEST: usize = 60;
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || MARKS.contains(&c);
    let is_name = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(is_allowed)
        && !name.ends_with('.')
        && name.len() <= LONGEST;
    if !is_name {
        return Err(format!(
            "`{name}` cannot be a config's name, since its pictures go to a folder of that name: use up to {LONGEST} letters, \
             digits and -_.+, beginning with a letter or digit"
        ));
    }
    let rest =
        name.get(..BASE.len()).filter(|start| start.eq_ignore_ascii_case(BASE)).map(|_| &name[BASE.len()..]);
    if rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-')) {
        return Err(format!("`{name}` is a name for what configs are compared with; give another one"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_folders() {
        for name in ["fora3", "int8dq+fora-3", "a.b_c", "baseline", "0"] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        let long = "x".repeat(61);
        for name in
            ["", ".", "..", "a/b", "a\\b", "-a", "a b", "é", "a.", "a:b", "base", "Base", "base-12", &long]
        {
            assert!(check(name).is_err(), "{name}");
        }
    }

    #[test]
    fn everything_behind_the_first_equals_sign_is_passes() {
        let configs = read(&["a=cache(fora,interval=3)".to_owned(), "b=".to_owned()], &[]).unwrap();
        let names: Vec<&str> = configs.iter().map(|(name, _)| &**name).collect();
        assert_eq!(names, ["a", "b"]);
        assert!(!configs[0].1.is_default() && configs[1].1.is_default());
    }
}
