//! Names of an ONNX graph: inputs, values and weights share one space.

use std::collections::HashSet;

/// The names that are taken.
#[derive(Debug, Default)]
pub struct Names(HashSet<String>);

impl Names {
    /// `name`, or if that is taken, the first of `name_2`, `name_3`, … that is not.
    pub fn free(&mut self, name: &str) -> String {
        let numbered = (2..).map(|number| format!("{name}_{number}"));
        let mut names = std::iter::once(name.to_owned()).chain(numbered);
        let free = names.find(|name| !self.0.contains(name)).expect("some name is free");
        self.0.insert(free.clone());
        free
    }
}
