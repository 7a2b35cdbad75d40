//! Whether weights are those that a model's configuration calls for.

use super::{Weights, WeightsError, supported};
use reflux_ir::{Fact, Program};
use std::collections::BTreeSet;
use std::fmt;
use std::path::PathBuf;

/// At most this many tensors of a kind are listed in a message.
const LISTED: usize = 8;

/// Everything that tells weights from those of the model they were opened for.
#[derive(Debug)]
pub struct Mismatch {
    path: PathBuf,
    missing: Vec<String>,
    misshaped: Vec<String>,
    unsupported: Vec<String>,
    unexpected: Vec<String>,
}

impl Weights {
    /// Checks that every tensor of `expected` (its name and shape) is there and readable.
    ///
    /// Gives the names that nobody expected, which are worth a warning, except those under one of
    /// `ignored_prefixes`: an all-in-one file holds other networks' weights as well.
    ///
    /// # Errors
    /// [`WeightsError::Mismatch`], with all differences in one message.
    pub fn check(
        &self,
        expected: &[(String, Vec<usize>)],
        ignored_prefixes: &[&str],
    ) -> Result<Vec<String>, WeightsError> {
        let mut mismatch = Mismatch {
            path: self.path.clone(),
            missing: Vec::new(),
            misshaped: Vec::new(),
            unsupported: Vec::new(),
            unexpected: self.unexpected(expected, ignored_prefixes),
        };
        for (name, shape) in expected {
            match self.tensors.get(name) {
                None => mismatch.missing.push(format!("`{name}`")),
                Some(stored) if stored.shape != *shape => {
                    mismatch.misshaped.push(format!("`{name}` is {:?}, not {shape:?}", stored.shape));
                }
                Some(stored) if supported(stored.dtype).is_none() => {
                    mismatch.unsupported.push(format!("`{name}` is {:?}", stored.dtype));
                }
                Some(_) => {}
            }
        }
        if mismatch.is_fatal() { Err(Box::new(mismatch).into()) } else { Ok(mismatch.unexpected) }
    }

    /// [`Weights::check`] for the tensors that `program` reads.
    ///
    /// # Errors
    /// As [`Weights::check`].
    pub fn check_for(
        &self,
        program: &Program,
        ignored_prefixes: &[&str],
    ) -> Result<Vec<String>, WeightsError> {
        let tensor = |(name, fact): (&&str, &&Fact)| ((*name).to_owned(), fact.shape.to_vec());
        let expected: Vec<_> = program.weights().iter().map(tensor).collect();
        self.check(&expected, ignored_prefixes)
    }

    fn unexpected(&self, expected: &[(String, Vec<usize>)], ignored_prefixes: &[&str]) -> Vec<String> {
        let expected: BTreeSet<&str> = expected.iter().map(|(name, _)| name.as_str()).collect();
        self.names()
            .filter(|name| !expected.contains(name))
            .filter(|name| !ignored_prefixes.iter().any(|prefix| name.starts_with(prefix)))
            .map(str::to_owned)
            .collect()
    }
}

impl Mismatch {
    fn is_fatal(&self) -> bool {
        [&self.missing, &self.misshaped, &self.unsupported].iter().any(|tensors| !tensors.is_empty())
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the weights {} do not fit the model's configuration; give those that belong to it",
            self.path.display()
        )?;
        for (what, tensors) in [
            ("missing", &self.missing),
            ("of another shape", &self.misshaped),
            ("of an unsupported type (bf16, f16 and f32 are supported)", &self.unsupported),
            ("unexpected", &self.unexpected),
        ] {
            let Some(more) = tensors.len().checked_sub(1) else { continue };
            let listed = &tensors[..=more.min(LISTED - 1)];
            write!(f, "\n  {} {what}: {}", tensors.len(), listed.join(", "))?;
            if tensors.len() > LISTED {
                write!(f, ", … and {} more", tensors.len() - LISTED)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for Mismatch {}
