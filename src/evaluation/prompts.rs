//! What is drawn: prompts with their seeds, and what the bundled model's own ask for.

use super::emoji::{BACKGROUNDS, SIZES, Wish};
use super::summary::Prompt;
use crate::json_lines::parse;
use serde::Deserialize;

/// Prompts, and the seed of each one's picture.
#[derive(Clone, Debug)]
pub struct PromptSet {
    pub prompts: Vec<Prompt>,
    /// For each, what it asks for, if that is known.
    wishes: Vec<Wish>,
}

/// A line of the bundled model's prompts.
#[derive(Deserialize)]
struct Bundled {
    prompt: String,
    seed: u64,
    /// The number of the emoji.
    emoji: usize,
    background: String,
    size: String,
}

impl PromptSet {
    /// These prompts.
    pub fn new(prompts: Vec<Prompt>) -> Self {
        Self { prompts, wishes: Vec::new() }
    }

    /// DrawBench's 200 prompts (Saharia et al. 2022, arXiv 2205.11487), with seeds from `seed` on.
    pub fn drawbench(seed: u64) -> Self {
        let lines = include_str!("prompts/drawbench.txt").lines().zip(0..);
        let prompt =
            |(line, index): (&str, u64)| Prompt { prompt: line.to_owned(), seed: seed.wrapping_add(index) };
        Self::new(lines.map(prompt).collect())
    }

    /// The 200 prompts on which the bundled model was measured after its training, with their seeds.
    pub fn bundled() -> Self {
        let lines: Vec<Bundled> =
            parse(include_str!("prompts/bundled.jsonl")).expect("the file in the sources is whole");
        fn number<T>(of: &[(&str, T)], name: &str) -> usize {
            of.iter().position(|(known, _)| *known == name).expect("the prompts name what there is")
        }
        let wish = |line: &Bundled| Wish {
            emoji: line.emoji,
            background: number(&BACKGROUNDS, &line.background),
            size: number(&SIZES, &line.size),
        };
        let wishes = lines.iter().map(wish).collect();
        let prompts = lines.into_iter().map(|line| Prompt { prompt: line.prompt, seed: line.seed });
        Self { prompts: prompts.collect(), wishes }
    }

    /// The first `count` of them.
    pub fn first(mut self, count: usize) -> Self {
        self.prompts.truncate(count);
        self.wishes.truncate(count);
        self
    }

    /// What the prompt with this number asks for, if that is known.
    pub(super) fn wish(&self, index: usize) -> Option<&Wish> {
        self.wishes.get(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluation::emoji::Emoji;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_200_different_prompts_of_either_kind() {
        let bench = PromptSet::drawbench(5);
        let distinct: BTreeSet<&str> = bench.prompts.iter().map(|prompt| &*prompt.prompt).collect();
        assert_eq!((bench.prompts.len(), distinct.len()), (200, 200));
        assert_eq!((bench.prompts[0].prompt.as_str(), bench.prompts[0].seed), ("A red colored car.", 5));
        assert_eq!(bench.prompts[199].seed, 204);
        assert!(bench.wish(0).is_none());
        let bundled = PromptSet::bundled();
        assert_eq!((bundled.prompts.len(), bundled.wishes.len()), (200, 200));
        assert_eq!(bundled.prompts[3].seed, 1003);
        assert_eq!(bundled.first(3).prompts.len(), 3);
    }

    /// Each prompt names its emoji, background and size.
    #[test]
    fn prompts_say_what_they_ask_for() {
        let (bundled, emoji) = (PromptSet::bundled(), Emoji::open());
        for (prompt, wish) in bundled.prompts.iter().zip(&bundled.wishes) {
            let text = prompt.prompt.to_lowercase();
            let (before, after) = text.split_once(&emoji.names()[wish.emoji]).expect(&text);
            // A name may have the word for a size in it.
            let text = format!("{before}{after}");
            let (background, _) = BACKGROUNDS[wish.background];
            assert!(text.contains(background) || background == "white", "{text}");
            for (size, (name, _)) in SIZES.iter().enumerate().skip(1) {
                assert_eq!(text.split(' ').any(|word| word == *name), size == wish.size, "{text}");
            }
        }
    }
}
