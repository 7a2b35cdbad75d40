//! Detection of other programs' syntax in prompts.

/// The warning about a prompt that contains an instruction.
pub(super) fn warning(prompt: &str) -> Option<String> {
    let part: String = instruction(prompt)?.chars().take(60).collect();
    Some(format!("{part:?} is read as ordinary words: prompt weights and tags are not supported"))
}

/// The part of `prompt` that the web UIs follow as an instruction, if there is one: `(word:1.3)` for a weight, `<lora:name:1>`
/// for a network to load. Reflux reads them as ordinary words.
fn instruction(prompt: &str) -> Option<&str> {
    tag(prompt).or_else(|| weight(prompt))
}

fn tag(prompt: &str) -> Option<&str> {
    let lower = prompt.to_ascii_lowercase();
    let start = ["<lora:", "<lyco:", "<hypernet:"].iter().find_map(|tag| lower.find(tag))?;
    let length = prompt[start..].find('>')? + 1;
    Some(&prompt[start..start + length])
}

fn weight(prompt: &str) -> Option<&str> {
    prompt.match_indices(':').find_map(|(colon, _)| {
        let end = colon + prompt[colon..].find(')')?;
        prompt[colon + 1..end].trim().parse::<f32>().ok()?;
        let start = prompt[..colon].rfind('(')?;
        Some(&prompt[start..=end])
    })
}

#[cfg(test)]
mod tests {
    use super::instruction;

    #[test]
    fn instructions_are_found() {
        assert_eq!(instruction("a (red apple:1.3), blue"), Some("(red apple:1.3)"));
        assert_eq!(instruction("an owl <LoRA:style:0.8> at night"), Some("<LoRA:style:0.8>"));
        assert_eq!(instruction("((owl: 2 ))"), Some("(owl: 2 )"));
        for plain in ["", "a (red) apple", "at 10:30 (about)", "ratio 1:2)", "<lora:", "(a: b)", "größe:1) ("]
        {
            assert_eq!(instruction(plain), None, "{plain}");
        }
    }
}
