//! The cases of `tests/fixtures/cases.json`, of which diffusers' and its peers' latents are recorded.

use reflux::Request;
use reflux::models::read_json;
use serde_json::Value;
use std::path::Path;

pub fn cases() -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/cases.json");
    let cases: Value = read_json(&path).unwrap();
    cases["cases"].as_array().unwrap().clone()
}

pub fn request(case: &Value) -> Request {
    let number = |key: &str| case[key].as_u64().unwrap() as usize;
    Request {
        guidance: case["guidance"].as_f64().map(|guidance| guidance as f32),
        ..Request::new(case["prompt"].as_str().unwrap())
            .steps(number("steps"))
            .seed(number("seed") as u64)
            .size(number("width"), number("height"))
    }
}
