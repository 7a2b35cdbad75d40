//! `reflux explore`

use crate::Error;
use crate::cli::console::{say, say_all};
use crate::cli::optimize::OptimizeArgs;
use crate::cli::passes::or_none;
use crate::cli::text_file::{read_text, write_result};
use crate::comparison::Comparison;
use crate::explore::Measured;
use crate::files::OutputFile;
use reflux_ir::Machine;
use reflux_ir::pass::counted;
use std::path::PathBuf;

#[derive(clap::Args)]
#[command(mut_arg("cost", |argument| argument.help("Estimate times for this device [default: h100]")))]
pub struct Args {
    #[command(flatten)]
    what: OptimizeArgs,
    /// Where to write the page: one HTML file that needs nothing else; - is standard output
    #[arg(long, short, value_name = "FILE|-", required_unless_present = "json")]
    out: Option<PathBuf>,
    /// Write the data of the page alone, as JSON; - is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
    /// Show measured times beside the estimated ones: what `reflux bench --profile --json` has printed of the same program
    #[arg(long, value_name = "FILE")]
    measured: Option<PathBuf>,
    /// Show the errors and times of modules: what `reflux compare --json` has printed of the same program
    #[arg(long, value_name = "FILE")]
    compared: Option<PathBuf>,
}

pub fn explore(args: &Args) -> Result<(), Error> {
    let open = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::named).transpose();
    let (mut page, mut json) = (open(&args.out)?, open(&args.json)?);
    for output in [&page, &json].into_iter().flatten() {
        args.what.refuse_program(output)?;
        output.refuse_inputs(args.measured.as_deref().into_iter().chain(args.compared.as_deref()))?;
    }
    if let (Some(page), Some(json)) = (&page, &json)
        && page.is_same(json)
    {
        return Err(Error::Usage("--out and --json are one file; name another for one of both".into()));
    }
    let read = |path: &PathBuf| Measured::read(path, &read_text(path)?);
    let measured = args.measured.as_ref().map(read).transpose()?;
    let read = |path: &PathBuf| Comparison::read(path, &read_text(path)?);
    let compared = args.compared.as_ref().map(read).transpose()?;
    let driven = args.what.run(Some(args.what.machine().unwrap_or_else(Machine::usual)), true)?;
    say_all(format_args!("{}{}", driven.report, driven.explanations()));
    let described = driven.described();
    if compared.as_ref().is_some_and(|compared| !compared.is_of(&described)) {
        say(format_args!("warning: the comparison is of other programs than this one, which is {described}"));
    }
    let expected = measured.as_ref().map(|measured| (measured.count(), measured.passes.clone()));
    let explored = driven.explored(args.what.input.display().to_string(), measured, compared)?;
    if let Some((count, passes)) = expected.filter(|(count, _)| explored.timed < *count) {
        say(format_args!(
            "warning: of {} that were measured, the program after these passes has {}, by name, op and size; measured was with the passes {}",
            counted(count, "value"),
            explored.timed,
            or_none(&passes)
        ));
    }
    if let Some(json) = &mut json {
        write_result(json, &format!("{}\n", explored.json()))?;
    }
    match &mut page {
        Some(page) => write_result(page, &explored.page()),
        None => Ok(()),
    }
}
