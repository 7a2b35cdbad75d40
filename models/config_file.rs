//! Reading of a model's config files, in the same way for all of them.

use crate::net::Net;
use crate::settings::{Component, check_fixed, describes};
use crate::{ModelError, first_bytes, json};
use reflux_ir::words;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// What to do about an invalid file.
const ADVICE: &str = "fix it, or download it again";

/// A JSON file that configures a model or part of it. All its errors name its path.
#[derive(Debug)]
pub struct ConfigFile {
    path: PathBuf,
    bytes: Vec<u8>,
}

/// Reads a JSON file; errors name the file and the place in it.
///
/// # Errors
/// As [`ConfigFile::open`] and [`ConfigFile::json`].
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, ModelError> {
    ConfigFile::open(path)?.json()
}

impl ConfigFile {
    /// Reads the file. It must be a regular file, of a size that configurations have.
    ///
    /// # Errors
    /// [`ModelError::Read`].
    pub fn open(path: &Path) -> Result<Self, ModelError> {
        let bytes =
            first_bytes::read(path).map_err(|error| ModelError::Read { path: path.to_owned(), error })?;
        Ok(Self { path: path.to_owned(), bytes })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Its value.
    ///
    /// # Errors
    /// [`ModelError::Json`], with the place in the file.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, ModelError> {
        json::parse(&self.bytes, ADVICE).map_err(|why| self.malformed(why))
    }

    /// Reads the settings of the network `net`, or of a part that is not a network. Unknown settings are added to `warnings`.
    ///
    /// # Errors
    /// If it is not JSON, lacks a setting, is of another network, or asks for something that Reflux does not compute.
    pub fn component<P: Component>(
        &self,
        net: Option<&Net>,
        warnings: &mut Vec<String>,
    ) -> Result<P, ModelError> {
        let settings: Map<String, Value> = self.json()?;
        if let Some(net) = net {
            let other = net.family.iter().map(|other| other.architecture);
            let mut other = other.filter(|other| *other != net.architecture);
            if let Some(other) = other.find(|other| describes(&settings, other)) {
                return Err(self.refused(format!("it describes {}", net.instead(other))));
            }
        }
        check_fixed(&settings, &P::SETTINGS).map_err(|why| self.refused(why))?;
        let mut unread = Vec::new();
        // From the text once more, so that errors say in which line.
        let part: P = json::parse_with(&self.bytes, ADVICE, |source| {
            serde_ignored::deserialize(source, |setting| unread.push(setting.to_string()))
        })
        .map_err(|why| self.malformed(why))?;
        part.check().map_err(|why| self.refused(why))?;
        // `null` asks for nothing.
        let says = |name: &String| settings.get(name).is_none_or(|value| !value.is_null());
        unread.retain(|name| P::SETTINGS.is_unknown(name) && says(name));
        warnings.extend(self.unknown(&unread));
        Ok(part)
    }

    /// The warning about unknown settings, if there are any.
    pub(crate) fn unknown(&self, names: &[String]) -> Option<String> {
        let path = self.path.display();
        let names = (!names.is_empty()).then(|| names.join("`, `"))?;
        Some(format!("{path}: `{names}` is unknown and ignored"))
    }

    /// The error for a valid file that cannot be used.
    pub(crate) fn refused(&self, why: String) -> ModelError {
        ModelError::Setting { path: self.path.clone(), why: words::shortened(why) }
    }

    fn malformed(&self, why: String) -> ModelError {
        ModelError::Json { path: self.path.clone(), why }
    }
}
