//! Sizes in words.

use reflux_ir::pass::counted;
use reflux_models::Sizes;

/// The sizes as a user gives them: `1024×1024, 28 steps, 512 tokens`.
pub fn described(sizes: &Sizes) -> String {
    let Sizes { batch, steps, text_tokens, height, width, reference } = *sizes;
    let mut text = format!("{width}×{height}, {}, {}", counted(steps, "step"), counted(text_tokens, "token"));
    if batch > 1 {
        text += &format!(", a batch of {batch}");
    }
    if let Some([height, width]) = reference {
        text += &format!(", a reference of {width}×{height}");
    }
    text
}

/// The same in the name of a file.
pub fn file_name(network: &str, sizes: &Sizes) -> String {
    let Sizes { batch, steps, text_tokens, height, width, reference } = *sizes;
    let mut name = format!("{network}-{width}x{height}-{steps}steps-{text_tokens}tokens");
    if batch > 1 {
        name += &format!("-batch{batch}");
    }
    if let Some([height, width]) = reference {
        name += &format!("-reference{width}x{height}");
    }
    name + ".ir"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_a_program_is_specialised_to_is_named() {
        let sizes =
            Sizes { batch: 1, steps: 28, text_tokens: 512, height: 832, width: 1216, reference: None };
        assert_eq!(described(&sizes), "1216×832, 28 steps, 512 tokens");
        assert_eq!(file_name("transformer", &sizes), "transformer-1216x832-28steps-512tokens.ir");
        let sizes = Sizes { batch: 2, reference: Some([768, 1024]), ..sizes };
        assert_eq!(
            described(&sizes),
            "1216×832, 28 steps, 512 tokens, a batch of 2, a reference of 1024×768"
        );
        let name = "transformer-1216x832-28steps-512tokens-batch2-reference1024x768.ir";
        assert_eq!(file_name("transformer", &sizes), name);
    }
}
