//! `--out` with placeholders: `pictures/{index}-{prompt}.png`.

use crate::Error;
use crate::pipeline::Request;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Characters of a prompt in a name.
const LONGEST_PROMPT: usize = 60;

/// What a name can have of a picture.
#[derive(Clone, Copy, Debug)]
pub struct Named<'p> {
    pub prompt: &'p str,
    pub seed: u64,
    /// Its number among all pictures.
    pub index: usize,
}

impl<'p> Named<'p> {
    /// Those of `request`, numbered among these alone.
    ///
    /// # Errors
    /// If it asks for too many, or for none.
    pub fn of(request: &'p Request) -> Result<Vec<Self>, Error> {
        let (count, images) = (request.pictures()?, request.num_images.unwrap_or(1));
        let first = request.image_index.unwrap_or(0);
        let of = |index: usize| Self {
            // A picture beyond the requested ones is of the only prompt.
            prompt: &request.prompts[(index / images).min(request.prompts.len() - 1)],
            seed: request.seed,
            index,
        };
        Ok((first..first + count).map(of).collect())
    }
}

/// What stands for a part of a name.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Part<'t> {
    Text(&'t str),
    Prompt,
    Seed,
    Index,
}

/// Whether `out` has placeholders.
pub fn is_template(out: &Path) -> bool {
    out.to_str().is_some_and(|text| text.contains('{'))
}

/// A name for each of `pictures`, from `out`.
///
/// # Errors
/// [`Error::Usage`] for a placeholder that is none, or if two pictures would have one name.
pub fn names(out: &Path, pictures: &[Named<'_>]) -> Result<Vec<PathBuf>, Error> {
    let usage = |why: String| Error::Usage(format!("--out {}: {why}", out.display()));
    let text = out.to_str().ok_or_else(|| usage("placeholders need a name in UTF-8".into()))?;
    let parts = parts(text).map_err(usage)?;
    let mut first: HashMap<PathBuf, usize> = HashMap::new();
    let mut names = Vec::with_capacity(pictures.len());
    for picture in pictures {
        let name = PathBuf::from(parts.iter().map(|part| part.of(picture)).collect::<String>());
        if let Some(other) = first.insert(name.clone(), picture.index) {
            let (own, name) = (picture.index, name.display());
            return Err(usage(format!("pictures {other} and {own} would both be {name}; add {{index}}")));
        }
        names.push(name);
    }
    Ok(names)
}

fn parts(text: &str) -> Result<Vec<Part<'_>>, String> {
    let (mut parts, mut rest) = (Vec::new(), text);
    while let Some((before, behind)) = rest.split_once('{') {
        let (name, after) = behind.split_once('}').ok_or("a `{` has no `}` behind it")?;
        parts.push(Part::Text(before));
        parts.push(match name {
            "prompt" => Part::Prompt,
            "seed" => Part::Seed,
            "index" => Part::Index,
            _ => return Err(format!("`{{{name}}}` is none of {{prompt}}, {{seed}} and {{index}}")),
        });
        rest = after;
    }
    parts.push(Part::Text(rest));
    Ok(parts)
}

impl Part<'_> {
    fn of(self, picture: &Named) -> String {
        match self {
            Self::Text(text) => text.to_owned(),
            Self::Prompt => slug(picture.prompt),
            Self::Seed => picture.seed.to_string(),
            Self::Index => picture.index.to_string(),
        }
    }
}

/// `prompt` as a part of a name on any system: letters and digits, and one dash for anything between them.
fn slug(prompt: &str) -> String {
    let mut slug = String::new();
    for c in prompt.chars() {
        match c {
            c if c.is_alphanumeric() => slug.extend(c.to_lowercase()),
            _ if slug.ends_with('-') || slug.is_empty() => {}
            _ => slug.push('-'),
        }
    }
    let slug: String = slug.chars().take(LONGEST_PROMPT).collect();
    match slug.trim_end_matches('-') {
        "" => "untitled".to_owned(),
        slug => slug.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(index: usize, prompt: &str) -> Named<'_> {
        Named { prompt, seed: 7, index }
    }

    #[test]
    fn placeholders_stand_for_what_is_known_of_a_picture() {
        let names = |out: &str, pictures: &[Named<'_>]| names(Path::new(out), pictures);
        let two = [picture(0, "A red apple, on blue!"), picture(1, "../etc/passwd")];
        let found = names("{index}/{seed}-{prompt}.png", &two).unwrap();
        assert_eq!(found, [Path::new("0/7-a-red-apple-on-blue.png"), Path::new("1/7-etc-passwd.png")]);
        assert_eq!(names("{prompt}.png", &[picture(0, "…")]).unwrap(), [Path::new("untitled.png")]);
        let long = "x".repeat(400);
        let found = names("{prompt}", &[picture(0, &long)]).unwrap();
        assert_eq!(found[0].as_os_str().len(), LONGEST_PROMPT);
        for (out, part) in [
            ("{seed}.png", "pictures 0 and 1 would both be 7.png; add {index}"),
            ("{number}.png", "`{number}` is none of {prompt}, {seed} and {index}"),
            ("{index.png", "a `{` has no `}`"),
        ] {
            let said = names(out, &two).unwrap_err().to_string();
            assert!(said.contains(part), "{said}");
        }
    }
}
