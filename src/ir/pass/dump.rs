//! Dumps of programs between passes.

use crate::export::DotOptions;
use crate::files::{write_in_folder, write_new};
use crate::text::PrintOptions;
use crate::{Machine, Program, export};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// The header of a dump, in comments at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The passes to run on the program.
    pub passes: String,
}

const PASSES: &str = "// passes: ";

/// The reproducer in a folder of dumps.
const REPRODUCER: &str = "reproducer.ir";

/// The header of a reproducer: what to run on the program that follows.
pub fn header(text: &str) -> Option<Header> {
    let comments = text.lines().take_while(|line| line.starts_with("//"));
    let passes = comments.filter_map(|line| line.strip_prefix(PASSES)).next()?;
    Some(Header { passes: passes.to_owned() })
}

/// The format of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DumpFormat {
    /// IR text, with the provenance of values and the command line that replays the pass.
    Ir,
    /// Graphviz.
    Dot,
    /// Model Explorer's graph.
    Json,
}

impl DumpFormat {
    /// The extension of its files.
    const fn extension(self) -> &'static str {
        match self {
            Self::Ir => "ir",
            Self::Dot => "dot",
            Self::Json => "json",
        }
    }
}

/// Writes `NNN_pass.ir` files and the like into a folder.
pub(super) struct Dumps<'a> {
    folder: &'a Path,
    formats: &'a [DumpFormat],
    machine: Option<&'a Machine>,
    /// The last file of IR text, from which the next pass is replayed.
    last: String,
}

impl<'a> Dumps<'a> {
    /// Starts with the program before all passes.
    pub fn start(
        folder: &'a Path,
        formats: &'a [DumpFormat],
        machine: Option<&'a Machine>,
        program: &Program,
    ) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let formats = if formats.is_empty() { &[DumpFormat::Ir] } else { formats };
        let mut dumps = Self { folder, formats, machine, last: String::new() };
        dumps.write_formats("000_input", "// 000 input\n", program)?;
        Ok(dumps)
    }

    /// Writes the program after pass `number`, with the text of that pass.
    pub fn write(
        &mut self,
        number: usize,
        name: &str,
        pass: &str,
        summary: &str,
        program: &Program,
    ) -> io::Result<()> {
        let mut text = String::new();
        for (index, line) in summary.lines().enumerate() {
            let prefix = if index == 0 { format!("{number:03} ") } else { String::new() };
            let _ = writeln!(text, "// {prefix}{}", line.trim_start());
        }
        let _ = writeln!(text, "// replay: reflux opt {} --passes '{pass}'", self.last);
        self.write_formats(&format!("{number:03}_{name}"), &text, program)
    }

    /// Writes `program` in every format; `comments` go with the text.
    fn write_formats(&mut self, name: &str, comments: &str, program: &Program) -> io::Result<()> {
        for format in self.formats {
            let file = format!("{name}.{}", format.extension());
            let text = match format {
                DumpFormat::Ir => format!("{comments}{}", text_of(program)),
                DumpFormat::Dot => {
                    export::dot(program, DotOptions { machine: self.machine, unrolled: false })
                }
                DumpFormat::Json => format!("{:#}\n", export::model_explorer(program, self.machine)),
            };
            write_in_folder(self.folder, &file, &text)?;
            if *format == DumpFormat::Ir {
                self.last = file;
            }
        }
        Ok(())
    }
}

fn text_of(program: &Program) -> String {
    program.print(&PrintOptions { provenance: true, ..PrintOptions::default() })
}

/// Writes a reproducer, on which `reflux opt FILE` fails again, into `folder` or the folder of temporary files.
pub(super) fn reproducer(
    folder: Option<&Path>,
    program: &Program,
    pass: &str,
    failure: &str,
) -> io::Result<PathBuf> {
    let failure: String = failure.lines().map(|line| format!("// {line}\n")).collect();
    let text = format!("{PASSES}{pass}\n// fails with:\n{failure}{program}");
    let Some(folder) = folder else {
        return write_new("reflux-reproducer-", ".ir", &text);
    };
    std::fs::create_dir_all(folder)?;
    write_in_folder(folder, REPRODUCER, &text)?;
    Ok(folder.join(REPRODUCER))
}
