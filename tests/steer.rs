//! The pass `steer`: what it makes of a program, and what it leaves alone. `tests/tune.rs` has its numeric twin.

use crate::common::passes::{NET, NET_TIMES, program};
use reflux_ir::pass::{Driver, DriverError, Pipeline};
use reflux_ir::{Program, text};
use reflux_passes::Steer;

fn steered(program: Program) -> Result<Program, DriverError> {
    let mut pipeline = Pipeline::new();
    pipeline.push(Steer);
    let mut driver = Driver { timesteps: Some(&NET_TIMES), ..Driver::default() };
    driver.run(program, &pipeline).map(|(program, _)| program)
}

/// Steps become a probe that is told what to choose; what reuses has no block left.
#[test]
fn steps_are_told_what_to_do() {
    let steered = steered(program(NET)).unwrap();
    let printed = steered.to_string();
    assert_eq!(text::parse(&printed).unwrap(), steered);
    snapshot!("steer__net", printed);
}

#[test]
fn what_cannot_be_steered_stays() {
    let refused = |text: &str| {
        let before = program(text);
        steered(before).unwrap_err().to_string()
    };
    // Nothing adds to a stream.
    let plain = NET.replace("%s = add %s.prev, %gated", "%s = mul %s.prev, %gated");
    assert!(refused(&plain).contains("so there is nothing to reuse"), "{}", refused(&plain));
    // A name that is taken.
    let named = NET.replace("%words", "%reused");
    assert!(refused(&named).contains("has a `%reused` already; rename it"), "{}", refused(&named));
    // Steered already.
    let twice = steered(steered(program(NET)).unwrap()).unwrap_err().to_string();
    assert!(twice.contains("requires that every step runs the same graph"), "{twice}");
}
