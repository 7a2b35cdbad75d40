//! `reflux report`

use crate::Error;
use crate::cli::console::{print, say};
use crate::cli::text_file::write_result;
use crate::evaluation::{Report, USUAL_PICTURES};
use crate::files::OutputFile;
use reflux_ir::pass::counted;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// Folders that `reflux eval` has written; rows of those that can be compared are shown together
    #[arg(required = true, value_name = "DIR")]
    folders: Vec<PathBuf>,
    /// Where to write the page: one HTML file that needs nothing else
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The most pictures on the page, up to 240; 0 for none
    #[arg(long, value_name = "N", requires = "out", default_value_t = USUAL_PICTURES as u64, value_parser = clap::value_parser!(u64).range(..=240), allow_negative_numbers = true)]
    pictures: u64,
    /// Write each plot as SVG and as PNG into this folder, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Write the tables in Markdown; - is standard output
    #[arg(long, value_name = "FILE|-")]
    markdown: Option<PathBuf>,
    /// Write all rows as CSV; - is standard output
    #[arg(long, value_name = "FILE|-")]
    csv: Option<PathBuf>,
    /// Write all rows as JSON; - is standard output
    #[arg(long, value_name = "FILE|-")]
    json: Option<PathBuf>,
}

pub fn report(args: &Args) -> Result<(), Error> {
    let mut outputs = Outputs::of(args)?;
    let report = Report::read(&args.folders)?;
    report.warnings().for_each(|warning| say(format_args!("warning: {warning}")));
    // Everything is made before anything is written.
    let mut texts: Vec<(&mut OutputFile, String)> = Vec::new();
    if let Some(output) = &mut outputs.page {
        let (html, warnings) = report.page(args.pictures as usize);
        warnings.iter().for_each(|warning| say(format_args!("warning: {warning}")));
        texts.push((output, html));
    }
    for (output, text) in [
        (&mut outputs.markdown, Report::markdown as fn(&Report) -> String),
        (&mut outputs.csv, Report::csv),
        (&mut outputs.json, Report::json),
    ] {
        texts.extend(output.as_mut().map(|output| (output, text(&report))));
    }
    let mut is_printed = false;
    if let Some(folder) = &args.plots {
        write_plots(&report, folder)?;
    }
    for (output, text) in texts {
        is_printed |= output.is_stdout();
        write_result(output, &text)?;
    }
    if !is_printed {
        print(&report.headlines().iter().map(|headline| format!("{headline}\n")).collect::<String>())?;
    }
    Ok(())
}

/// Where each text goes.
struct Outputs {
    page: Option<OutputFile>,
    markdown: Option<OutputFile>,
    csv: Option<OutputFile>,
    json: Option<OutputFile>,
}

impl Outputs {
    /// # Errors
    /// If there is none, two are one file, or one cannot be written.
    fn of(args: &Args) -> Result<Self, Error> {
        let open = |path: &Option<PathBuf>| path.as_deref().map(OutputFile::named).transpose();
        refuse_two_printed(args)?;
        let outputs = Self {
            page: open(&args.out)?,
            markdown: open(&args.markdown)?,
            csv: open(&args.csv)?,
            json: open(&args.json)?,
        };
        let all = [&outputs.page, &outputs.markdown, &outputs.csv, &outputs.json];
        let all: Vec<&OutputFile> = all.into_iter().flatten().collect();
        if all.is_empty() && args.plots.is_none() {
            let message =
                "name what to write: -o page.html for the page, or --plots, --markdown, --csv, --json";
            return Err(Error::Usage(message.into()));
        }
        for (at, output) in all.iter().enumerate() {
            if let Some(other) = all[..at].iter().find(|other| other.is_same(output)) {
                let (one, two) = (other.path().display(), output.path().display());
                return Err(Error::Usage(format!(
                    "{one} and {two} are one file; name another for one of both"
                )));
            }
            let read: Vec<PathBuf> = args.folders.iter().flat_map(|folder| made_by_eval(folder)).collect();
            output.refuse_inputs(read.iter().map(PathBuf::as_path))?;
        }
        if let Some(folder) = args.plots.as_deref().filter(|folder| !folder.is_dir()) {
            check_new(folder)?;
        }
        Ok(outputs)
    }
}

/// Refuses to print two texts, which nobody could tell apart.
fn refuse_two_printed(args: &Args) -> Result<(), Error> {
    let options =
        [("--out", &args.out), ("--markdown", &args.markdown), ("--csv", &args.csv), ("--json", &args.json)];
    let is_printed = |path: &&PathBuf| path.as_os_str() == "-";
    let printed = options.into_iter().filter(|(_, path)| path.as_ref().is_some_and(|path| is_printed(&path)));
    let printed: Vec<&str> = printed.map(|(option, _)| option).collect();
    match printed[..] {
        [] | [_] => Ok(()),
        _ => Err(Error::Usage(format!(
            "{} would go to standard output (-) one after the other; name a file for all but one",
            printed.join(" and ")
        ))),
    }
}

/// The files of an evaluation, without which it cannot be shown, or cannot go on.
fn made_by_eval(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![folder.join("evaluation.json"), folder.join("journal.jsonl")];
    let mut open = ["pictures", "latents"].map(|name| folder.join(name)).to_vec();
    while let Some(folder) = open.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            // A link is no folder here, so that none leads in a circle.
            let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
            if is_folder { &mut open } else { &mut files }.push(entry.path());
        }
    }
    files
}

/// Whether a folder can be made at `path`.
fn check_new(path: &Path) -> Result<(), Error> {
    let refuse = |error| Err(Error::Write { path: path.to_owned(), error });
    if path.symlink_metadata().is_ok() {
        return refuse(std::io::Error::other("it is not a folder"));
    }
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match parent.metadata() {
        Ok(parent) if parent.is_dir() => Ok(()),
        Ok(_) => refuse(std::io::Error::other("a part of its path is not a folder")),
        Err(error) => refuse(error),
    }
}

fn write_plots(report: &Report, folder: &Path) -> Result<(), Error> {
    let plots = report.plots();
    if plots.is_empty() {
        say("warning: there is nothing to plot: no row has times or weights");
        return Ok(());
    }
    if !folder.is_dir() {
        std::fs::create_dir(folder).map_err(|error| Error::Write { path: folder.to_owned(), error })?;
    }
    for plot in &plots {
        OutputFile::at(&folder.join(format!("{}.svg", plot.name)))?.write_text(&plot.svg)?;
        OutputFile::at(&folder.join(format!("{}.png", plot.name)))?.write(|out| out.write_all(&plot.png))?;
    }
    say(format_args!("{} in {}, as SVG and PNG", counted(plots.len(), "plot"), folder.display()));
    Ok(())
}
