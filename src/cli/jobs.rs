//! `--prompts FILE`: what to draw, line by line.

use crate::Error;
use crate::cli::text_file::read_text;
use crate::pipeline::Request;
use serde::Deserialize;
use std::path::Path;

/// A line of the file: a prompt, and what is different about its pictures.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Job {
    pub prompt: String,
    pub negative_prompt: Option<String>,
    pub true_cfg_scale: Option<f32>,
    pub seed: Option<u64>,
    pub steps: Option<usize>,
    pub guidance: Option<f32>,
    pub width: Option<usize>,
    pub height: Option<usize>,
    pub num_images: Option<usize>,
    pub max_sequence_length: Option<usize>,
    /// The number of the line.
    #[serde(skip)]
    pub line: usize,
}

impl Job {
    /// The jobs of the file at `path`: objects of JSON, one a line, if it begins with one, else prompts, one a line. Empty lines
    /// are none.
    ///
    /// # Errors
    /// If it cannot be read, has no job, or a line is not one.
    pub fn read(path: &Path) -> Result<Vec<Self>, Error> {
        let text = read_text(path)?;
        let refused = |why: String| Error::Usage(format!("--prompts {}: {why}", path.display()));
        let jobs = parse(&text).map_err(refused)?;
        if jobs.is_empty() {
            return Err(refused("it has no prompt; write one a line".to_owned()));
        }
        Ok(jobs)
    }

    /// The request of this job, where `common` is what all have in common.
    pub fn request(&self, common: &Request) -> Request {
        let Self { prompt, negative_prompt, true_cfg_scale, seed, steps, guidance, .. } = self.clone();
        Request {
            prompts: vec![prompt],
            negative_prompt: negative_prompt.or_else(|| common.negative_prompt.clone()),
            true_cfg_scale: true_cfg_scale.or(common.true_cfg_scale),
            seed: seed.unwrap_or(common.seed),
            // Its own number of steps takes the place of noise levels that all have in common.
            sigmas: if steps.is_some() { None } else { common.sigmas.clone() },
            steps: steps.or(common.steps),
            guidance: guidance.or(common.guidance),
            width: self.width.or(common.width),
            height: self.height.or(common.height),
            num_images: self.num_images.or(common.num_images),
            max_sequence_length: self.max_sequence_length.or(common.max_sequence_length),
            ..common.clone()
        }
    }
}

fn parse(text: &str) -> Result<Vec<Job>, String> {
    // Editors on Windows begin a file with a mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = text.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty());
    if text.trim_start().starts_with('[') && serde_json::from_str::<serde_json::Value>(text).is_ok() {
        return Err("it is one array of JSON; write an object a line, as in {\"prompt\": \"a cat\"}".into());
    }
    if !text.trim_start().starts_with('{') {
        let is_object =
            |line: &str| serde_json::from_str::<serde_json::Map<_, serde_json::Value>>(line).is_ok();
        if let Some((number, _)) = lines.clone().find(|(_, line)| is_object(line)) {
            return Err(format!(
                "line {number} is an object of JSON, but the first line is a prompt; write all lines one way or the other"
            ));
        }
        let job = |(line, prompt): (usize, &str)| Job { prompt: prompt.to_owned(), line, ..Job::default() };
        return Ok(lines.map(job).collect());
    }
    let job = |(number, line): (usize, &str)| {
        let json = &mut serde_json::Deserializer::from_str(line);
        let job: Result<Job, String> = serde_path_to_error::deserialize(&mut *json).map_err(|error| {
            let at = error.path().to_string();
            let place = if at == "." { String::new() } else { format!(", `{at}`") };
            let said = error.into_inner().to_string();
            // Each line is read by itself.
            let said = said.rsplit_once(" at line ").map_or(said.as_str(), |(said, _)| said);
            format!("line {number}{place}: {said}")
        });
        let job = Job { line: number, ..job? };
        json.end().map(|()| job).map_err(|error| format!("line {number}: {error}"))
    };
    lines.map(job).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_prompts_or_objects() {
        let prompts = |text: &str| parse(text).map(|jobs| jobs.into_iter().map(|job| job.prompt).collect());
        assert_eq!(prompts("a cat\r\n\n  a {dog} \n"), Ok(vec!["a cat".to_owned(), "a {dog}".to_owned()]));
        assert_eq!(prompts("\u{feff}an owl"), Ok(vec!["an owl".to_owned()]));
        assert_eq!(prompts("\n \n"), Ok(Vec::new()));
        let jobs =
            parse("\n{\"prompt\": \"a cat\", \"seed\": 7, \"width\": 64}\n{\"prompt\": \"\"}").unwrap();
        assert_eq!((jobs[0].seed, jobs[0].width, jobs[1].seed), (Some(7), Some(64), None));
        assert_eq!((jobs[0].line, jobs[1].line), (2, 3));
        for (text, part) in [
            ("{\"prompt\": \"a\"}\na dog", "line 2"),
            ("{\"prompt\": \"a\", \"sed\": 1}", "line 1, `sed`: unknown field `sed`"),
            ("{\"prompt\": \"a\", \"seed\": -1}", "line 1, `seed`"),
            ("{\"seed\": 1}", "missing field `prompt`"),
            ("a dog\n{\"prompt\": \"a\"}", "line 2 is an object of JSON, but the first line is a prompt"),
            ("[{\"prompt\": \"a\"}]", "it is one array of JSON"),
            ("{\"prompt\": \"a\"} {\"prompt\": \"b\"}", "line 1: trailing characters"),
        ] {
            let said = parse(text).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    #[test]
    fn what_a_line_says_takes_the_place_of_what_all_have() {
        let common = Request {
            seed: 3,
            steps: Some(9),
            sigmas: Some(vec![1.0]),
            guidance: Some(2.0),
            ..Request::new("")
        };
        let own =
            Job { prompt: "x".into(), seed: Some(5), steps: Some(4), ..Job::default() }.request(&common);
        assert_eq!((own.seed, own.steps, own.guidance, own.sigmas), (5, Some(4), Some(2.0), None));
        let other = Job { prompt: "x".into(), ..Job::default() }.request(&common);
        assert_eq!((other.seed, other.steps, other.sigmas), (3, Some(9), Some(vec![1.0])));
    }
}
