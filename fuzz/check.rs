//! Properties that must hold for every input.

use reflux_ir::export::DotOptions;
use reflux_ir::pass::{self, Driver, DriverError, Exactness, Pipeline, Registry};
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{Machine, Program, export, verify, words};
use reflux_models::onnx::export::{ExportOptions, Part, to_bytes};
use reflux_models::onnx::{Dims, parse as parse_onnx};
use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

/// Something that does not hold.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What is wrong, without what differs from input to input: failures of one kind have one cause, most likely.
    pub kind: String,
    pub message: String,
    /// Whether nothing is wrong but the time that it takes.
    pub is_slowness: bool,
}

impl Failure {
    /// That `message`, which starts with what is wrong.
    pub fn new(message: impl Into<String>) -> Self {
        let message = message.into();
        Self { kind: kind(&message), message, is_slowness: false }
    }

    /// That it takes so long.
    pub fn slowness(time: Duration) -> Self {
        Self { is_slowness: true, ..Self::new(format!("it takes {:.1} s", time.as_secs_f64())) }
    }
}

/// The beginning of a message without numbers and names.
fn kind(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default();
    let words = line
        .split_whitespace()
        .filter(|word| !word.contains(['%', '@', '[', '`', '.']) || word.contains(".rs"));
    let text: String = words.take(14).collect::<Vec<_>>().join(" ");
    text.chars().map(|c| if c.is_ascii_digit() { '#' } else { c }).take(120).collect()
}

/// What a pipeline makes of a program.
pub enum Outcome {
    Ran {
        program: Box<Program>,
        exactness: Exactness,
        /// Whether a pass says that a limit kept it from looking at all that there is.
        is_cut_short: bool,
    },
    Refused(String),
}

thread_local! {
    /// Where the last panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// Keeps panics from printing; [`quietly`] says what they were.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(|place| format!(" at {}:{}", place.file(), place.line()));
        PLACE.with(|known| *known.borrow_mut() = place.unwrap_or_default());
    }));
}

/// Runs `body`; a panic of it is a failure.
pub fn quietly<T>(what: &str, body: impl FnOnce() -> T) -> Result<T, Failure> {
    catch_unwind(AssertUnwindSafe(body)).map_err(|panic| {
        let message = words::of_panic(&*panic);
        let place = PLACE.with(|place| place.borrow().clone());
        Failure::new(format!("{what} panics{place}: {message}"))
    })
}

/// What must hold of every text: it is parsed or refused, and what is a program survives being printed. The program, if
/// it verifies.
pub fn text(text: &str) -> Result<Option<Program>, Failure> {
    let parsed = quietly("parse", || parse(text))?;
    match parsed {
        Ok(program) => {
            round_trip(&program)?;
            exports(&program)?;
            let verified = quietly("verify", || verify(&program).map_err(|error| error.to_string()))?;
            Ok(verified.is_ok().then_some(program))
        }
        Err(error) => quietly("an error's text", || {
            let shown = error.to_string();
            let longest = shown.lines().map(|line| line.chars().count()).max().unwrap_or(0);
            (longest < 2000)
                .then_some(None)
                .ok_or_else(|| Failure::new(format!("the error is long: {longest} characters")))
        })?,
    }
}

/// What must hold of every program: its text, rolled and unrolled, parses as it.
pub fn round_trip(program: &Program) -> Result<(), Failure> {
    let unrolled = PrintOptions {
        unrolled: true,
        blocks: None,
        costs: true,
        provenance: true,
        machine: Machine::named("cpu"),
    };
    let texts = quietly("printing", || [program.to_string(), program.print(&unrolled)])?;
    for (form, text) in ["the text", "the unrolled text"].iter().zip(&texts) {
        match quietly("parse", || parse(text))? {
            Err(error) => return Err(Failure::new(format!("{form} does not parse: {error}\n{text}"))),
            Ok(parsed) if parsed != *program => {
                return Err(Failure::new(format!("{form} parses as another program\n{text}\n{parsed}")));
            }
            Ok(parsed) if parsed.to_string() != texts[0] => {
                return Err(Failure::new(format!("{form} prints as another text\n{text}\n{parsed}")));
            }
            Ok(parsed) if parsed.structural_hash() != program.structural_hash() => {
                return Err(Failure::new(format!("{form} parses as a program of another hash\n{text}")));
            }
            Ok(_) => {}
        }
    }
    Ok(())
}

/// That the program can be exported.
pub fn exports(program: &Program) -> Result<(), Failure> {
    quietly("export", || {
        for unrolled in [false, true] {
            export::dot(program, DotOptions { machine: None, unrolled });
        }
        export::model_explorer(program, None);
        export::diff_data([program, program]);
    })?;
    quietly("export as ONNX", || onnx(program))
}

/// Exports every stage as ONNX, alone and with what it needs, and reads it back. Either may be refused.
fn onnx(program: &Program) {
    let steps = program.variants.keys().map(|name| Part::Step(Some(name.clone())));
    let parts = steps.chain(program.stages().map(|(stage, _)| Part::Stage(stage)));
    for part in parts {
        for functions in [false, true] {
            if let Ok(bytes) = to_bytes(program, &ExportOptions { part: part.clone(), functions }) {
                let _ = parse_onnx(Path::new("export.onnx"), bytes, &Dims::default());
            }
        }
    }
}

/// What must hold of a program that verifies, and of a pipeline: it runs, or is refused; what it leaves survives being
/// printed; and its passes explain what they would make of the program, and leave alone what they have just left, or say why
/// they do not. The pass number `which` is held to that.
pub fn passes(
    program: &Program,
    pipeline: &str,
    registry: &Registry,
    times: bool,
    which: usize,
) -> Result<Outcome, Failure> {
    explains(program, pipeline, registry, which)?;
    let outcome = run(program, pipeline, registry, times)?;
    let Outcome::Ran { program: after, .. } = &outcome else { return Ok(outcome) };
    round_trip(after).map_err(|failure| Failure::new(format!("after {pipeline}, {}", failure.message)))?;
    settles(after, pipeline, registry, times, which)?;
    Ok(outcome)
}

/// Whether the pass number `which` of `pipeline` explains what it would make of `program`, or refuses to.
fn explains(program: &Program, pipeline: &str, registry: &Registry, which: usize) -> Result<(), Failure> {
    let Ok(parsed) = Pipeline::parse(pipeline, registry) else { return Ok(()) };
    let Some(pass) = parsed.passes().nth(which % parsed.passes().len().max(1)) else { return Ok(()) };
    quietly("explaining", || drop(pass.explain(program)))
}

fn run(program: &Program, pipeline: &str, registry: &Registry, times: bool) -> Result<Outcome, Failure> {
    let parsed = Pipeline::parse(pipeline, registry);
    let parsed = parsed.map_err(|error| Failure::new(format!("the pipeline does not parse: {error}")))?;
    let times: Option<Vec<f32>> =
        times.then(|| (0..program.schedule.len()).map(|step| 1000.0 - 180.0 * step as f32).collect());
    let mut driver = Driver { timesteps: times.as_deref(), ..Driver::default() };
    match quietly("the driver", || driver.run(program.clone(), &parsed))? {
        Ok((program, report)) => Ok(Outcome::Ran {
            program: program.into(),
            exactness: parsed.exactness(),
            is_cut_short: report.is_cut_short(),
        }),
        Err(DriverError::Broken { name, failure, .. }) => {
            let place = PLACE.with(|place| place.borrow().clone());
            Err(Failure::new(format!(
                "{name} {failure}{}",
                if matches!(*failure, pass::Failure::Panic(_)) { place } else { String::new() }
            )))
        }
        Err(DriverError::Input(error)) => {
            Err(Failure::new(format!("the program given does not verify: {error}")))
        }
        Err(refused) => Ok(Outcome::Refused(refused.to_string())),
    }
}

/// Whether the pass number `which` of `pipeline` leaves alone what it makes of `program`.
fn settles(
    program: &Program,
    pipeline: &str,
    registry: &Registry,
    times: bool,
    which: usize,
) -> Result<(), Failure> {
    let parsed = Pipeline::parse(pipeline, registry).expect("it has been run");
    let index = which % parsed.passes().len();
    let pass = parsed.passes().nth(index).expect("it is one of them");
    if pass.why_not_idempotent().is_some() {
        return Ok(());
    }
    let text = parsed.text_of(index);
    let run = |program| run(program, &text, registry, times);
    let Outcome::Ran { program: once, is_cut_short, .. } = run(program)? else { return Ok(()) };
    let Outcome::Ran { program: twice, .. } = run(&once)? else { return Ok(()) };
    if once == twice || is_cut_short {
        return Ok(());
    }
    Err(Failure::new(format!("{} is not idempotent: {text}\n{once}\n{twice}", pass.name())))
}
