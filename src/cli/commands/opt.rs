//! `reflux opt`

use crate::Error;
use crate::cli::console::{print, say_all};
use crate::cli::optimize::OptimizeArgs;
use crate::cli::pager;
use crate::cli::passes::Driven;
use crate::cli::text_file::{text_output, write_result};
use crate::files::OutputFile;
use std::path::PathBuf;

#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    what: OptimizeArgs,
    /// Where to write the program [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Print the report as JSON to standard output, instead of the program
    #[arg(long)]
    json: bool,
    /// Also print how often each rule was tried and applied, and how long that took
    #[arg(long)]
    rules: bool,
    /// Print what the passes would do, with --json as JSON, and write nothing
    #[arg(long, conflicts_with_all = ["out", "dump_dir"])]
    preview: bool,
    /// Also write a page on which to see the program go through the passes, as `reflux explore` does
    #[arg(long, value_name = "FILE", conflicts_with = "preview")]
    explore: Option<PathBuf>,
}

pub fn opt(args: &Args) -> Result<(), Error> {
    let mut out = text_output(args.out.as_deref())?;
    args.what.refuse_inputs(&out)?;
    if args.json && args.out.is_some() && out.is_stdout() {
        let message = "--json prints the report to standard output, so --out must name something else";
        return Err(Error::Usage(message.into()));
    }
    let mut page = args.explore.as_deref().map(OutputFile::named).transpose()?;
    if let Some(page) = &page {
        args.what.refuse_program(page)?;
        if page.is_same(&out) {
            let message = "--explore and --out are one file; name another for one of both";
            return Err(Error::Usage(message.into()));
        }
    }
    let driven = args.what.run(args.what.machine(), page.is_some())?;
    let Driven { program, report, .. } = &driven;
    let mut more = if args.rules { report.rules().to_string() } else { String::new() };
    more += &driven.explanations();
    if args.preview && !args.json {
        return print(&format!("{report}{more}"));
    }
    say_all(format_args!("{report}{more}"));
    if let Some(page) = &mut page {
        let explored = driven.explored(args.what.input.display().to_string(), None, None)?;
        write_result(page, &explored.page())?;
    }
    if args.json {
        if args.out.is_some() {
            write_result(&mut out, &program.to_string())?;
        }
        let json = serde_json::to_string_pretty(&report).expect("a report is plain data");
        return print(&format!("{json}\n"));
    }
    let text = program.to_string();
    if out.is_stdout() { pager::show(&text) } else { write_result(&mut out, &text) }
}
