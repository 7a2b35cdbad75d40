//! Schedules against those of diffusers 0.42, and runs that must be refused.

use reflux_models::scheduler::{Schedule, SchedulerConfig, SchedulerError};
use serde::Deserialize;
use std::fs;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[derive(Deserialize)]
struct Case {
    model: String,
    steps: usize,
    image_seq_len: usize,
    mu: f64,
    sigmas: Vec<f32>,
    timesteps: Vec<f32>,
}

fn dev() -> SchedulerConfig {
    SchedulerConfig { shift: 3.0, use_dynamic_shifting: true, ..Default::default() }
}

#[test]
fn schedules_are_those_of_diffusers_bit_for_bit() {
    let json = fs::read(format!("{ROOT}/tests/fixtures/sigmas.json")).unwrap();
    let cases: Vec<Case> = serde_json::from_slice(&json).unwrap();
    assert_eq!(cases.len(), 8);
    for case in cases {
        let config = match &*case.model {
            "dev" => dev(),
            "schnell" => SchedulerConfig::default(),
            other => panic!("{other}"),
        };
        let schedule = Schedule::new(&config, case.steps, case.image_seq_len).unwrap();
        // serde_json reads doubles to within one unit in the last place.
        assert!((config.mu(case.image_seq_len) - case.mu).abs() <= f64::EPSILON);
        assert_eq!(schedule, Schedule { sigmas: case.sigmas, timesteps: case.timesteps });
        assert_eq!(schedule.steps(), case.steps);
    }
}

#[test]
fn a_static_shift_bends_the_levels() {
    // 3σ / (1 + 2σ), as FluxPipeline would with a Stable Diffusion 3 configuration.
    let config = SchedulerConfig { shift: 3.0, ..Default::default() };
    let schedule = Schedule::new(&config, 4, 64).unwrap();
    assert_eq!(schedule.sigmas, [1.0, 0.9, 0.75, 0.5, 0.0]);
}

#[test]
fn one_step_goes_from_noise_to_image() {
    let schedule = Schedule::new(&dev(), 1, 64).unwrap();
    assert_eq!(schedule, Schedule { sigmas: vec![1.0, 0.0], timesteps: vec![1000.0] });
    let mut sample = [1.0, -2.0];
    schedule.step(0, &mut sample, &[0.25, 3.0]);
    assert_eq!(sample, [0.75, -5.0]);
}

#[test]
fn impossible_runs_are_refused() {
    for steps in [0, 1001, usize::MAX] {
        assert!(matches!(Schedule::new(&dev(), steps, 64), Err(SchedulerError::Steps { max: 1000, .. })));
    }
    assert!(matches!(Schedule::new(&dev(), 20, usize::MAX), Err(SchedulerError::Shift { .. })));
    let level = SchedulerConfig { max_image_seq_len: 256, ..dev() };
    assert!(matches!(Schedule::new(&level, 20, 256), Err(SchedulerError::Shift { .. })));
    let negative = SchedulerConfig { shift: -1.0, ..Default::default() };
    assert!(matches!(Schedule::new(&negative, 20, 64), Err(SchedulerError::Shift { .. })));
}
