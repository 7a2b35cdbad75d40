//! What the tests of this folder share.

use reflux_ir::{DType, HostTensor};
use reflux_models::weights::Weights;
use std::path::PathBuf;

/// A path below the repository's root.
pub fn repo(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The bundled checkpoint.
pub fn emoji() -> PathBuf {
    repo("models/emoji")
}

/// A fixture file of named tensors.
pub struct Fixture(Weights);

impl Fixture {
    pub fn open(name: &str) -> Self {
        Self(Weights::open(repo("tests/fixtures").join(name)).unwrap())
    }

    pub fn get(&self, name: &str) -> HostTensor {
        self.0.tensor(name).unwrap().cast(DType::F32)
    }
}

/// ‖a − b‖ / ‖b‖ in f64.
pub fn relative_l2(a: &HostTensor, b: &HostTensor) -> f64 {
    assert_eq!(a.shape, b.shape);
    let (a, b) = (a.to_f32(), b.to_f32());
    let square = |x: f64| x * x;
    let difference: f64 = a.iter().zip(&b).map(|(a, b)| square(f64::from(*a) - f64::from(*b))).sum();
    let norm: f64 = b.iter().map(|b| square(f64::from(*b))).sum();
    (difference / norm).sqrt()
}

/// Asserts that `a` is within `tolerance` of `b`, and prints how far it is.
pub fn assert_close(what: &str, a: &HostTensor, b: &HostTensor, tolerance: f64) {
    let distance = relative_l2(a, b);
    println!("{what}: relative L2 {distance:.2e} (at most {tolerance:.1e})");
    assert!(distance <= tolerance, "{what}: relative L2 {distance:.3e} exceeds {tolerance:.0e}");
}
