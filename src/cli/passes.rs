//! Options for passes: which to run, and what to show of them.

use super::console::{say, say_all};
use super::lora::LoraArgs;
use super::number;
use crate::Error;
use crate::comparison::Comparison;
use crate::explore::{self, Exploration, Explored, Measured};
use crate::files::OutputFile;
use crate::pipeline::registry;
use clap::builder::{NonEmptyStringValueParser, PossibleValuesParser, TypedValueParser};
use reflux_ir::pass::{
    ConfigError, Driver, DumpFormat, DumpPoints, PassConfig, PassReport, Pipeline, PipelineReport, Recipe,
    Trace,
};
use reflux_ir::{Machine, Program};
use reflux_models::FAMILIES;
use reflux_passes::pruna;
use std::path::{Path, PathBuf};

/// Which passes.
#[derive(clap::Args)]
pub struct PassArgs {
    /// Passes to run, as in 'quantize(int8dq),cache(fora,interval=3)'. The default passes, which are lossless, run before and
    /// after them, and a pass moves forward where it could not run at its place. If the list contains the word 'default', the
    /// default passes run at that place, and all passes in the order given
    #[arg(long, value_name = "TEXT")]
    passes: Option<String>,
    /// Run exactly these passes in this order, without the default ones; '' for none
    #[arg(long, value_name = "TEXT", conflicts_with = "passes")]
    passes_only: Option<String>,
    /// Read the passes from a TOML or JSON file, in Reflux's format or a SmashConfig of Pruna
    #[arg(long, value_name = "FILE", conflicts_with_all = ["passes", "passes_only"])]
    passes_config: Option<PathBuf>,
    #[command(flatten)]
    lora: LoraArgs,
}

impl PassArgs {
    /// The files that they, and what they apply, are read from.
    pub fn read(&self) -> impl Iterator<Item = &Path> {
        self.passes_config.as_deref().into_iter().chain(self.lora.paths())
    }

    /// Whether LoRAs are asked for by options of their own.
    pub fn has_loras(&self) -> bool {
        !self.lora.passes().is_empty()
    }

    /// The passes asked for, if any. Notes on the translation of a Pruna configuration go to standard error.
    pub fn recipe(&self) -> Result<Option<Recipe>, Error> {
        self.recipe_over(None)
    }

    /// As [`PassArgs::recipe`], where without a list of passes those of `recorded` hold.
    pub fn recipe_over(&self, recorded: Option<Recipe>) -> Result<Option<Recipe>, Error> {
        let parse = |text: &str| Recipe::parse(text, &registry());
        let listed = match (&self.passes, &self.passes_only, &self.passes_config) {
            (Some(text), ..) => Some(parse(text)?),
            (None, Some(text), _) => Some(parse(text)?.only()),
            (None, None, Some(path)) => Some(read_config(path)?),
            (None, None, None) => recorded,
        };
        let loras = self.lora.passes();
        Ok(if loras.is_empty() { listed } else { Some(listed.unwrap_or_default().and(loras)) })
    }
}

/// A pipeline as text; `none` if it has no passes.
pub fn or_none(passes: &str) -> &str {
    if passes.is_empty() { "none" } else { passes }
}

/// Modules outside the blocks of any family's denoiser: which model is meant, a configuration of passes does not say.
fn outside_blocks() -> Vec<&'static str> {
    FAMILIES.iter().flat_map(|family| family.outside_blocks).copied().collect()
}

/// The passes of a file as `--passes-config` names it.
///
/// # Errors
/// If it cannot be read, or is no list of passes.
pub fn read_config(path: &Path) -> Result<Recipe, Error> {
    let failed = |error: ConfigError| Error::Config { path: path.to_owned(), error };
    let table = PassConfig::table(&super::text_file::read_text(path)?).map_err(failed)?;
    if PassConfig::is_own(&table) {
        return PassConfig::read(&table, &registry()).map(|config| config.recipe).map_err(failed);
    }
    let translation = pruna::translate(&table, &outside_blocks())
        .map_err(|error| Error::Pruna { path: path.to_owned(), error })?;
    for note in &translation.notes {
        say(format_args!("note: {note}"));
    }
    Ok(translation.recipe)
}

/// Which passes, and what to see of them while they run.
#[derive(clap::Args)]
pub struct DriveArgs {
    #[command(flatten)]
    pub passes: PassArgs,
    /// Write the program into this folder, before the first pass and after each that changes it
    #[arg(long, value_name = "DIR")]
    dump_dir: Option<PathBuf>,
    /// Format of these files; may be repeated [default: ir]
    #[arg(long, value_enum, value_name = "FORMAT", requires = "dump_dir")]
    dump_format: Vec<DumpFormatArg>,
    /// Report the time of a picture on this device before and after each pass, estimated from shapes alone; also in
    /// dumps, exports and --costs
    #[arg(long, value_name = "DEVICE", value_parser = machines())]
    cost: Option<&'static Machine>,
    /// Print the program before a pass to standard error; may be repeated
    #[arg(long, value_name = "PASS|all", value_parser = NonEmptyStringValueParser::new())]
    print_before: Vec<String>,
    /// Print the program after a pass to standard error; may be repeated
    #[arg(long, value_name = "PASS|all", value_parser = NonEmptyStringValueParser::new())]
    print_after: Vec<String>,
    /// Also print, for each value that rules made of others, the proof: which rules show that it is equal
    #[arg(long)]
    explain: bool,
    /// Run only the first N passes
    #[arg(long, value_name = "N", value_parser = number::count, allow_negative_numbers = true)]
    stop_after: Option<usize>,
}

/// `--dump-format`
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum DumpFormatArg {
    /// IR text
    Ir,
    /// Graphviz: render it with `dot -Tsvg`
    Dot,
    /// Model Explorer's graph
    Json,
}

impl From<DumpFormatArg> for DumpFormat {
    fn from(arg: DumpFormatArg) -> Self {
        match arg {
            DumpFormatArg::Ir => Self::Ir,
            DumpFormatArg::Dot => Self::Dot,
            DumpFormatArg::Json => Self::Json,
        }
    }
}

/// Reads the name of a device.
fn machines() -> impl TypedValueParser<Value = &'static Machine> {
    PossibleValuesParser::new(Machine::NAMES).map(|name| Machine::named(&name).expect("clap knows the names"))
}

impl DriveArgs {
    /// The first of the flags that is given and is about what passes do.
    pub fn given(&self) -> Option<&'static str> {
        let flags = [
            ("--dump-dir", self.dump_dir.is_some()),
            ("--print-before", !self.print_before.is_empty()),
            ("--print-after", !self.print_after.is_empty()),
            ("--explain", self.explain),
            ("--stop-after", self.stop_after.is_some()),
        ];
        flags.into_iter().find_map(|(flag, is_given)| is_given.then_some(flag))
    }

    /// Refuses an output in the folder of dumps.
    pub fn refuse_dumped(&self, out: &OutputFile) -> Result<(), Error> {
        let parent = |path: &Path| {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            parent.canonicalize().ok()
        };
        let folder = self.dump_dir.as_ref().and_then(|folder| folder.canonicalize().ok());
        match !out.is_stdout() && folder.is_some() && parent(out.path()) == folder {
            true => Err(Error::Usage(format!(
                "{} is in the folder of --dump-dir, whose files it could replace; write it elsewhere",
                out.path().display()
            ))),
            false => Ok(()),
        }
    }

    /// The device to estimate times on, if one is given.
    pub fn machine(&self) -> Option<&'static Machine> {
        self.cost
    }

    /// Runs `pipeline` on `program`; passes that decide by a machine do so by that of `--cost`.
    pub fn run(
        &self,
        program: Program,
        pipeline: Pipeline,
        timesteps: Option<&[f32]>,
    ) -> Result<(Program, PipelineReport), Error> {
        let Driven { program, report, .. } = self.drive(program, pipeline, timesteps, self.cost, false)?;
        Ok((program, report))
    }

    /// The same, where passes decide by `machine`; keeps a trace if it `traces`, or for the page of a folder of dumps.
    pub fn drive(
        &self,
        program: Program,
        mut pipeline: Pipeline,
        timesteps: Option<&[f32]>,
        machine: Option<&'static Machine>,
        traces: bool,
    ) -> Result<Driven, Error> {
        check_dump_dir(self.dump_dir.as_deref())?;
        if let Some(machine) = machine {
            pipeline.settle(machine);
        }
        let mut trace = (traces || self.dump_dir.is_some()).then(|| Trace::of(program.clone()));
        let dump_formats: Vec<_> = self.dump_format.iter().copied().map(DumpFormat::from).collect();
        let mut driver = Driver {
            timesteps,
            dump_dir: self.dump_dir.as_deref(),
            dump_formats: &dump_formats,
            machine,
            print_before: points("--print-before", &self.print_before, &pipeline)?,
            print_after: points("--print-after", &self.print_after, &pipeline)?,
            print: Some(&mut |text| say_all(text)),
            stop_after: self.stop_after,
            explain: self.explain,
            trace: trace.as_mut(),
            ..Driver::default()
        };
        let (program, report) = driver.run(program, &pipeline)?;
        let driven = Driven { program, report, pipeline, machine, trace };
        if let (Some(folder), Some(trace)) = (&self.dump_dir, &driven.trace) {
            explore::write_beside_dumps(folder, &driven.pipeline, trace, &driven.report)?;
        }
        Ok(driven)
    }
}

/// What running a pipeline has given.
pub struct Driven {
    pub program: Program,
    pub report: PipelineReport,
    pub pipeline: Pipeline,
    /// What times are estimated for.
    machine: Option<&'static Machine>,
    trace: Option<Trace>,
}

/// A program and its passes, in a line.
pub fn described(program: &Program, passes: &str) -> String {
    format!("{}, {}", program.name, or_none(passes))
}

impl Driven {
    /// The program and its passes, in a line.
    pub fn described(&self) -> String {
        described(&self.program, &self.pipeline.to_string())
    }

    /// Why the passes did what they did, as text: for those that were asked.
    pub fn explanations(&self) -> String {
        let explanations = self.report.passes.iter().flat_map(|pass| &pass.explanations);
        explanations.map(|explanation| format!("{explanation}\n")).collect()
    }

    /// What there is to see of it; it must have been traced.
    pub fn explored(
        &self,
        title: String,
        measured: Option<Measured>,
        compared: Option<Comparison>,
    ) -> Result<Exploration, Error> {
        let trace = self.trace.as_ref().expect("it was traced");
        let (pipeline, report, machine) = (&self.pipeline, &self.report, self.machine);
        let explored =
            Exploration::of(Explored { title, pipeline, trace, report, machine, measured, compared });
        // It has run without that bug.
        explored.map_err(|error| Error::Usage(format!("a pass cannot say what it did: {error}")))
    }
}

/// The passes of `pipeline` that are called by `names`.
fn points(flag: &str, names: &[String], pipeline: &Pipeline) -> Result<DumpPoints, Error> {
    let registry = registry();
    let there: Vec<_> = pipeline.passes().map(|pass| pass.name()).collect();
    let mut of = Vec::new();
    for name in names {
        if name.eq_ignore_ascii_case("all") {
            return Ok(DumpPoints::All);
        }
        // The error says which name was meant.
        let known = registry.get(name)?.name;
        if !there.contains(&known) {
            let there = if there.is_empty() { "none".to_owned() } else { there.join(", ") };
            return Err(Error::Usage(format!(
                "{flag} {name}: this pass does not run here; these do: {there}"
            )));
        }
        of.push(known.to_owned());
    }
    Ok(if of.is_empty() { DumpPoints::None } else { DumpPoints::Of(of) })
}

/// Finds out before any work whether a folder for dumps could be there.
pub fn check_dump_dir(folder: Option<&Path>) -> Result<(), Error> {
    let Some(there) = folder.and_then(|folder| folder.ancestors().find(|path| path.exists())) else {
        return Ok(());
    };
    if there.is_dir() {
        return Ok(());
    }
    let error = std::io::Error::other("it is a file; --dump-dir needs a folder");
    Err(Error::Write { path: there.to_owned(), error })
}

/// What a pass did, in a line: its summary and the first of its notes.
pub fn in_a_line(report: &PassReport) -> String {
    let text = report.to_string();
    let lines: Vec<_> = text.lines().take(2).map(str::trim).collect();
    lines.join("; ")
}
