//! How steps that reuse forecast what they do not compute: the methods of `cache` that are searched.

use crate::Error;
use reflux_passes::{Cache, StepMask};
use serde_json::{Map, Value};

/// A method of `cache`, and its options, as text.
struct Known {
    method: &'static str,
    options: &'static [(&'static str, usize)],
}

/// All reuse the end of the stream of blocks, or what these add to it, so that a step which reuses costs next to nothing, and one
/// network runs them all.
const KNOWN: [Known; 4] = [
    Known { method: "fora", options: &[] },
    Known { method: "magcache", options: &[] },
    Known { method: "forecast", options: &[("order", 1)] },
    Known { method: "forecast", options: &[("order", 2)] },
];

/// The methods whose predictors are searched.
pub const PREDICTORS: [&str; 3] = ["fora", "magcache", "forecast"];

/// A way to forecast.
pub struct Predictor {
    /// The method and its options, as they are written in a pipeline.
    text: String,
    cache: Cache,
}

impl Predictor {
    /// Those of `methods`; all if there are none.
    ///
    /// # Errors
    /// If one of them is not searched.
    pub fn named(methods: &[String]) -> Result<Vec<Self>, Error> {
        if let Some(other) = methods.iter().find(|method| !PREDICTORS.contains(&method.as_str())) {
            let known = PREDICTORS.join(", ");
            return Err(Error::Usage(format!("`{other}` is not searched: these are: {known}")));
        }
        let wanted = KNOWN
            .iter()
            .filter(|known| methods.is_empty() || methods.iter().any(|name| name == known.method));
        Ok(wanted.map(Self::of).collect())
    }

    fn of(known: &Known) -> Self {
        let options: Map<String, Value> =
            known.options.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        let written = known.options.iter().map(|(name, value)| format!(",{name}={value}"));
        let text = format!("{}{}", known.method, written.collect::<String>());
        let cache = Cache::of(known.method, &options).expect("the list has methods with their options");
        Self { text, cache }
    }

    /// Whether it forecasts what blocks add to the stream, and not its end.
    pub fn is_relative(&self) -> bool {
        self.cache.is_relative()
    }

    /// The pass that reuses so in the steps that do not compute.
    pub fn pass(&self, computes: &StepMask) -> String {
        format!("cache({},steps={computes})", self.text)
    }

    /// What each step takes for what it does not compute: the weights of the last values that were computed, newest first.
    pub fn weights(&self, computes: &StepMask) -> Vec<Option<Vec<f32>>> {
        self.cache.weights(computes).expect("the list has methods that forecast by such sums")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::registry;
    use reflux_ir::pass::Pipeline;

    #[test]
    fn passes_are_read_as_they_are_written() {
        let mask: StepMask = "110100".parse().unwrap();
        for predictor in Predictor::named(&[]).unwrap() {
            let pass = predictor.pass(&mask);
            assert_eq!(Pipeline::parse(&pass, &registry()).unwrap().to_string(), pass);
            assert_eq!(predictor.weights(&mask).len(), 6);
        }
        assert!(KNOWN.iter().all(|known| PREDICTORS.contains(&known.method)));
        let error = Predictor::named(&["pab".into()]).err().expect("it is no forecast").to_string();
        assert!(error.contains("fora, magcache, forecast"), "{error}");
    }
}
