//! Programs on disk, between passes.

use crate::Program;
use crate::text::PrintOptions;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// What a dump says of itself, in the comments that it starts with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The passes to run on the program.
    pub passes: String,
}

const PASSES: &str = "// passes: ";

/// The header of a reproducer: what to run on the program that follows.
pub fn header(text: &str) -> Option<Header> {
    let comments = text.lines().take_while(|line| line.starts_with("//"));
    let passes = comments.filter_map(|line| line.strip_prefix(PASSES)).next()?;
    Some(Header { passes: passes.to_owned() })
}

/// Writes `NNN_pass.ir` files into a folder.
pub(super) struct Dumps {
    folder: PathBuf,
    /// The last file written: what the next pass replays from.
    last: String,
}

impl Dumps {
    /// Starts with the program before all passes.
    pub fn start(folder: &Path, program: &Program) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let last = "000_input.ir".to_owned();
        write(&folder.join(&last), &format!("// 000 input\n{}", text_of(program)))?;
        Ok(Self { folder: folder.to_owned(), last })
    }

    /// Writes the program that pass `number` made, with what made it.
    pub fn write(
        &mut self,
        number: usize,
        name: &str,
        pass: &str,
        summary: &str,
        program: &Program,
    ) -> io::Result<()> {
        let file = format!("{number:03}_{name}.ir");
        let mut text = String::new();
        for (index, line) in summary.lines().enumerate() {
            let prefix = if index == 0 { format!("{number:03} ") } else { String::new() };
            let _ = writeln!(text, "// {prefix}{}", line.trim_start());
        }
        let _ = writeln!(text, "// replay: reflux opt {} --passes '{pass}'", self.last);
        text += &text_of(program);
        write(&self.folder.join(&file), &text)?;
        self.last = file;
        Ok(())
    }
}

fn text_of(program: &Program) -> String {
    program.print(&PrintOptions { provenance: true, ..PrintOptions::default() })
}

/// Writes what `reflux opt FILE` fails on again, into `folder` or among the temporary files.
pub(super) fn reproducer(
    folder: Option<&Path>,
    program: &Program,
    pass: &str,
    failure: &str,
) -> io::Result<PathBuf> {
    let path = match folder {
        Some(folder) => {
            std::fs::create_dir_all(folder)?;
            folder.join("reproducer.ir")
        }
        None => std::env::temp_dir().join(format!("reflux-reproducer-{}.ir", std::process::id())),
    };
    let failure: String = failure.lines().map(|line| format!("// {line}\n")).collect();
    write(&path, &format!("{PASSES}{pass}\n// fails with:\n{failure}{program}"))?;
    Ok(path)
}

/// Writes a file whole or not at all.
fn write(path: &Path, text: &str) -> io::Result<()> {
    let unfinished = path.with_extension("ir.unfinished");
    std::fs::write(&unfinished, text)
        .and_then(|()| std::fs::rename(&unfinished, path))
        .inspect_err(|_| drop(std::fs::remove_file(&unfinished)))
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}
