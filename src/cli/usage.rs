//! Messages for wrong arguments.

use super::commands::Cli;
use clap::builder::StyledStr;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Command, CommandFactory, Error};

/// Options that other programs have for what is asked for here otherwise.
const OTHER_NAMES: [(&[&str], &str); 7] = [
    (&["--prompt", "-p"], "prompts are given without an option, as in: reflux generate \"a red apple\""),
    (&["--size", "--resolution"], "the size is given by --width and --height"),
    (&["-W", "-w", "--w"], "the width is given by --width"),
    (&["-H", "--h"], "the height is given by --height"),
    (&["--output", "--outdir", "--output-dir"], "where to write is given by --out"),
    (
        &["--cfg", "--cfg-scale", "--guidance-scale"],
        "embedded guidance is --guidance, true classifier-free guidance --true-cfg-scale",
    ),
    (&["-n", "--batch-size", "--batch-count", "--n-iter"], "the number of pictures is given by --num-images"),
];

/// The message for `error`, with a hint for common mistakes.
pub fn explain(error: Error) -> StyledStr {
    better(error, &arguments()).render()
}

fn better(mut error: Error, arguments: &[String]) -> Error {
    // clap would have what it does not know taken for a value: of `--control`, that draws a picture of "--control".
    error.remove(ContextKind::Suggested);
    if let Some(tip) = tip(&error, arguments) {
        error.insert(ContextKind::Suggested, ContextValue::StyledStrs(vec![tip.into()]));
    }
    // Its usage lists what was given as if all of that were required.
    if error.get(ContextKind::Usage).is_some() {
        error.insert(ContextKind::Usage, ContextValue::StyledStr(usage(arguments)));
    }
    error
}

/// What was meant, if that can be told.
fn tip(error: &Error, arguments: &[String]) -> Option<String> {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        _ => None,
    };
    match error.kind() {
        ErrorKind::UnknownArgument => {
            let unknown = text(ContextKind::InvalidArg)?;
            let is_prompt =
                |argument: &&String| argument.starts_with(unknown) && argument.contains(char::is_whitespace);
            if arguments.iter().find(is_prompt).is_some() {
                return Some("a prompt that begins with a hyphen comes last, after `--`".into());
            }
            let (_, tip) = OTHER_NAMES.into_iter().find(|(names, _)| names.contains(&unknown))?;
            Some(tip.into())
        }
        ErrorKind::InvalidSubcommand => {
            let words = text(ContextKind::InvalidSubcommand)?;
            words.contains(char::is_whitespace).then(|| format!("to draw that: reflux generate \"{words}\""))
        }
        _ => None,
    }
}

/// How the command that was called is used.
fn usage(arguments: &[String]) -> StyledStr {
    command_of(arguments).render_usage()
}

/// The command that was called.
pub fn called() -> Command {
    command_of(&arguments())
}

/// The arguments of this process.
fn arguments() -> Vec<String> {
    std::env::args_os().skip(1).map(|argument| argument.to_string_lossy().into_owned()).collect()
}

/// The command that is called by `arguments`.
pub(super) fn command_of(arguments: &[String]) -> Command {
    let mut command = Cli::command();
    command.build();
    for argument in arguments {
        let Some(called) = command.find_subcommand(argument).cloned() else { break };
        command = called;
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    fn message(arguments: &[&str]) -> String {
        let error = Cli::try_parse_from([&["reflux"], arguments].concat()).err().expect("it is refused");
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        better(error, &arguments).render().to_string()
    }

    #[test]
    fn no_tip_makes_a_prompt_of_an_option() {
        let all = [
            &["generate", "owl", "--control", "x"][..],
            &["generate", "owl", "--width", "-x"],
            &["generate", "owl", "--seed", "-x"],
            &["ir", "--steps", "-5x"],
            &["opt", "flux-dev", "--fast"],
            &["passes", "explan", "cache"],
            &["run", "p.ir", "--input", "x", "-z"],
            &["-v"],
            &["--model", "x"],
        ];
        for arguments in all {
            let message = message(arguments);
            assert!(!message.contains("as a value") && !message.contains("'-- "), "{message}");
        }
    }

    #[test]
    fn what_was_meant_is_told() {
        assert!(message(&["generate", "-a red apple"]).contains("tip: a prompt that begins with a hyphen"));
        assert!(message(&["generate", "--style raw"]).contains("tip: a prompt that begins with a hyphen"));
        assert!(
            message(&["generate", "owl", "--size", "64x64"])
                .contains("tip: the size is given by --width and --height")
        );
        assert!(message(&["a red apple"]).contains("tip: to draw that: reflux generate \"a red apple\""));
        assert!(
            message(&["generate", "owl", "--widht", "64"]).contains("a similar argument exists: '--width'")
        );
    }

    #[test]
    fn usage_is_that_of_the_command() {
        let usage = |arguments: &[&str]| {
            let message = message(arguments);
            let line = message.lines().find_map(|line| line.strip_prefix("Usage: "));
            line.unwrap_or_default().to_owned()
        };
        assert_eq!(usage(&["generate", "--device", "cpu"]), "reflux generate [OPTIONS] [PROMPTS]...");
        assert_eq!(usage(&["ir", "diff", "a"]), "reflux ir diff [OPTIONS] <A> <B>");
        assert_eq!(usage(&["frobnicate"]), "reflux <COMMAND>");
    }
}
