//! `FILE:STRENGTH`, as LoRAs are written in pipelines and on the command line.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A file of a LoRA, and how much of it is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct LoraSpec {
    pub path: PathBuf,
    /// 1 is what it was trained for.
    pub strength: f32,
}

impl FromStr for LoraSpec {
    type Err = String;

    /// Behind the last colon is a strength, if it is a number and there is no file with the whole name.
    fn from_str(text: &str) -> Result<Self, String> {
        let whole = || Self { path: text.into(), strength: 1.0 };
        let Some((path, number)) = text.rsplit_once(':').filter(|_| !Path::new(text).exists()) else {
            return Ok(whole());
        };
        match number.trim().parse::<f32>() {
            Ok(strength) if strength.is_finite() && !path.is_empty() => {
                Ok(Self { path: path.into(), strength })
            }
            Ok(strength) if !path.is_empty() => {
                Err(format!("{strength} is no strength; give a number, such as 0.8"))
            }
            _ => Ok(whole()),
        }
    }
}

impl fmt::Display for LoraSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, strength } = self;
        write!(f, "{}:{strength}", path.display())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> (String, f32) {
        let LoraSpec { path, strength } = text.parse().unwrap();
        (path.display().to_string(), strength)
    }

    #[test]
    fn a_number_behind_the_last_colon_is_a_strength() {
        assert_eq!(spec("style.safetensors"), ("style.safetensors".into(), 1.0));
        assert_eq!(spec("style.safetensors:0.8"), ("style.safetensors".into(), 0.8));
        assert_eq!(spec("a:b/style.safetensors:-1"), ("a:b/style.safetensors".into(), -1.0));
        assert_eq!(spec("a:b/style.safetensors"), ("a:b/style.safetensors".into(), 1.0));
        assert!("style:inf".parse::<LoraSpec>().unwrap_err().contains("no strength"));
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("style:0.5");
        std::fs::write(&odd, "").unwrap();
        let odd = odd.display().to_string();
        assert_eq!(spec(&odd), (odd.clone(), 1.0));
        assert_eq!(spec(&format!("{odd}:2")), (odd, 2.0));
    }
}
