use reflux_ir::pass::counted;
use reflux_ir::{Advice, Fact, Name, VerifyError, WeightError};

/// Why a device cannot be used, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", Advice::after(.why, ", or ", .instead))]
pub struct DeviceError {
    /// Why, and what to do to use it.
    pub why: String,
    /// What to do instead.
    pub instead: Vec<Advice>,
}

impl DeviceError {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self { why: why.into(), instead: Vec::new() }
    }
}

/// Why a program did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error(transparent)]
    Verify(#[from] VerifyError),
    #[error(transparent)]
    Weight(#[from] WeightError),
    #[error(transparent)]
    Device(#[from] DeviceError),
    #[error("weight `{name}` is {found}, but the program expects {expected}")]
    WeightShape { name: String, expected: Fact, found: Fact },
    #[error(
        "weight `{name}` is stored quantized, as {found}, but the program reads it as {expected}: quantize the program in the \
         same way, or give unquantized weights"
    )]
    WeightCodes { name: String, expected: Fact, found: Fact },
    #[error("the program has no input `%{name}`; it has {}", list(.inputs))]
    UnknownInput { name: String, inputs: Vec<Name> },
    #[error("input `%{name}` must be {expected}, not {found}")]
    InputType { name: Name, expected: Fact, found: Fact },
    #[error("input `%{0}` is missing")]
    MissingInput(Name),
    #[error("input `%{0}` is the number of the step, which the executor sets itself; leave it out")]
    StepBound(Name),
    #[error("there is no step {step}: the program has {}, counted from 0", counted(*.steps, "step"))]
    NoSuchStep { step: usize, steps: usize },
    #[error(
        "step {step}: the probe `{probe}` chooses {index}, which is not one of its choices ({}): check the ops that \
         compute its `%choice`", numbered(.choices)
    )]
    NoSuchChoice { step: usize, probe: Name, index: i32, choices: Vec<Name> },
    #[error(
        "`{op}` is to take number {index} of {entries}, counted from 0, of `{table}`; see what gives it such a number"
    )]
    NoSuchEntry { op: &'static str, index: i32, entries: usize, table: Fact },
    #[error("{}: {source}", device(*.rank))]
    Rank { rank: usize, source: Box<RunError> },
    /// Of a rank that did not fail itself.
    #[error("another device has failed")]
    Abandoned,
    #[error(
        "the program is for {}, but {given} are named: give it the pass `shard(devices={given})`, or name as many devices \
         as it is for, as in --device {example}", counted(*.program, "device")
    )]
    Devices { program: usize, given: usize, example: String },
    #[error(
        "the program is for {devices} devices, and this command runs programs of one: leave out the pass `shard`, or name one device"
    )]
    Sharded { devices: usize },
    #[error("the backend failed at `{line}`: {message}")]
    Backend { line: String, message: String },
}

impl RunError {
    /// That it happened on the device of this rank.
    pub(crate) fn rank(rank: usize, source: Self) -> Self {
        Self::Rank { rank, source: Box::new(source) }
    }
}

fn device(rank: usize) -> String {
    format!("on device {rank}")
}

fn list(names: &[Name]) -> String {
    names.iter().map(|name| format!("`%{name}`")).collect::<Vec<_>>().join(", ")
}

fn numbered(names: &[Name]) -> String {
    let names = names.iter().enumerate();
    names.map(|(index, name)| format!("{index} for `{name}`")).collect::<Vec<_>>().join(", ")
}
