//! Arguments as they are typed, for advice that can be pasted.

use std::borrow::Cow;

/// `argument` as a shell takes it for one: in quotes where it would take it for something else.
pub fn quoted(argument: &str) -> Cow<'_, str> {
    let is_plain = |c: char| c.is_alphanumeric() || "_-./:=,+%@".contains(c);
    if !argument.is_empty() && argument.chars().all(is_plain) {
        return argument.into();
    }
    // Between double quotes some characters still mean something.
    match argument.contains(['"', '$', '`', '\\', '!']) {
        false => format!("\"{argument}\"").into(),
        true => format!("'{}'", argument.replace('\'', "'\\''")).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        for (argument, typed) in [
            ("ratios.json", "ratios.json"),
            ("cache(a,b=c)", "\"cache(a,b=c)\""),
            ("a b", "\"a b\""),
            ("", "\"\""),
            ("cache(a,b=\"c d\")", "'cache(a,b=\"c d\")'"),
            ("it's $5", "'it'\\''s $5'"),
        ] {
            assert_eq!(quoted(argument), typed);
        }
    }
}
