//! Code that the benches share.

use reflux::Request;

/// The picture that all benches draw with the bundled checkpoint.
pub fn request() -> Request {
    let request = Request::new("a red apple on a blue background").size(128, 128).steps(20);
    Request { guidance: Some(3.5), max_sequence_length: Some(32), ..request }
}
