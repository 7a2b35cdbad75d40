//! Advice in terms of options: those that the command at hand has.

use super::usage;
use crate::Error;
use clap::Command;
use reflux_ir::{Advice, DType};

/// The message of `error`, with the options by which the command at hand follows its advice. Advice that it has no option for is
/// left out.
pub fn explain(mut error: Error) -> String {
    let command = usage::called();
    let options = error.advice_mut().map(|advice| followed(advice, &command)).unwrap_or_default();
    after(&error.to_string(), &options)
}

/// What to do if memory is all used up, in a sentence after what happened.
pub fn without_memory() -> String {
    let mut advice = vec![Advice::SmallerPicture, Advice::Dtype(&[DType::BF16]), Advice::LowMemory];
    let options = followed(&mut advice, &usage::called());
    let mut ways: Vec<String> = advice.iter().map(Advice::to_string).collect();
    ways.push("raise the limit that the process runs under".into());
    after(&reflux_ir::words::either(&ways), &options)
}

/// `message` with `options` in parentheses.
fn after(message: &str, options: &[String]) -> String {
    if options.is_empty() { message.to_owned() } else { format!("{message} ({})", options.join(", ")) }
}

/// Keeps of `advice` what `command` has an option for, or what takes none; gives the options, as they are written.
fn followed(advice: &mut Vec<Advice>, command: &Command) -> Vec<String> {
    let has = |name: &str| command.get_arguments().any(|argument| argument.get_long() == Some(name));
    advice.retain(|advice| {
        let options = options(advice);
        options.is_empty() || options.iter().any(|(name, _)| has(name))
    });
    let there = advice.iter().flat_map(options).filter(|(name, _)| has(name));
    there
        .map(|(name, value)| {
            format!("--{name}{}", value.map(|value| format!(" {value}")).unwrap_or_default())
        })
        .collect()
}

/// The options that follow `advice`, each with its value, if that is known.
fn options(advice: &Advice) -> Vec<(&'static str, Option<String>)> {
    match advice {
        Advice::Device(name) => vec![("device", Some((*name).to_owned()))],
        Advice::Dtype(dtypes) => dtypes.iter().map(|dtype| ("dtype", Some(dtype.to_string()))).collect(),
        Advice::LowMemory => vec![("memory", Some("low".to_owned()))],
        Advice::SmallerPicture => vec![("width", None), ("height", None)],
        Advice::SmallerProgram => Vec::new(),
        Advice::FewerModules => vec![("within", None)],
        Advice::Quantize(pass) => vec![("passes", Some(format!("\"{pass}\"")))],
        Advice::Passes(passes) => vec![("passes-only", Some(format!("\"{passes}\"")))],
        Advice::Model => vec![("model", None)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of `advice` for a command, and its options.
    fn left(command: &str, mut advice: Vec<Advice>) -> (Vec<Advice>, Vec<String>) {
        let options = followed(&mut advice, &usage::command_of(&[command.to_owned()]));
        (advice, options)
    }

    #[test]
    fn commands_name_the_options_that_they_have() {
        let of_memory =
            [Advice::SmallerPicture, Advice::Dtype(&[DType::BF16, DType::F16]), Advice::LowMemory];
        let (advice, options) = left("generate", of_memory.to_vec());
        assert_eq!(advice, of_memory);
        assert_eq!(options, ["--width", "--height", "--dtype bf16", "--dtype f16", "--memory low"]);
        let (advice, options) = left("bisect", of_memory.to_vec());
        assert_eq!(advice, of_memory[..2]);
        assert_eq!(options, ["--width", "--height", "--dtype bf16", "--dtype f16"]);
        assert_eq!(left("run", of_memory.to_vec()), (vec![], vec![]));
        let other = [Advice::Device("cpu"), Advice::Quantize("quantize(int8wo)"), Advice::Model];
        assert_eq!(
            left("generate", other.to_vec()).1,
            ["--device cpu", "--passes \"quantize(int8wo)\"", "--model"]
        );
        assert_eq!(left("run", other.to_vec()), (vec![Advice::Device("cpu")], vec!["--device cpu".into()]));
        let passes = vec![Advice::Passes("canonicalize,dce".into())];
        assert_eq!(left("opt", passes).1, ["--passes-only \"canonicalize,dce\""]);
        // What takes no option is advised by every command.
        let program = vec![Advice::SmallerProgram];
        assert_eq!(left("run", program.clone()), (program, vec![]));
    }
}
