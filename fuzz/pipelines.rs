//! Random pipelines, from the passes' descriptions of their options.

use fastrand::Rng;
use reflux_ir::pass::{OptionInfo, PassInfo, Pipeline, Registry};

/// Values for options that list none.
const VALUES: [&str; 14] =
    ["0", "1", "2", "3", "5", "0.5", "true", "false", "*", "v*", "[0,1000]", "10", "110", "cpu"];

/// The passes of a registry, with what they say of their options.
pub struct Passes {
    pub registry: Registry,
    known: Vec<(PassInfo, Vec<OptionInfo>)>,
}

impl Passes {
    pub fn of(registry: Registry) -> Self {
        let known = registry.iter().map(|info| (*info, (info.about)().options)).collect();
        Self { registry, known }
    }

    /// A pipeline of up to five passes.
    pub fn pipeline(&self, rng: &mut Rng) -> String {
        let passes: Vec<String> = (0..rng.usize(1..6)).map(|_| self.pass(rng)).collect();
        passes.join(",")
    }

    /// A pass with some of its options.
    fn pass(&self, rng: &mut Rng) -> String {
        let (info, options) = &self.known[rng.usize(..self.known.len())];
        let takes = |written: &[String]| Pipeline::parse(&call(info.name, written), &self.registry).is_ok();
        let mut written: Vec<String> = Vec::new();
        for option in options {
            if !option.is_required && rng.usize(0..3) > 0 {
                continue;
            }
            // What the pass does not take, it is not given, unless it cannot do without.
            for _ in 0..if option.is_required { 8 } else { 1 } {
                let text = format!("{}={}", option.name, value(rng, option));
                let tried = [&written[..], std::slice::from_ref(&text)].concat();
                let lacks_others = options.iter().any(|other| other.is_required && !has(&tried, &other.name));
                if lacks_others || takes(&tried) {
                    written.push(text);
                    break;
                }
            }
        }
        if takes(&written) { call(info.name, &written) } else { info.example.to_owned() }
    }
}

fn has(written: &[String], name: &str) -> bool {
    written.iter().any(|text| text.split_once('=').is_some_and(|(key, _)| key == name))
}

fn call(name: &str, options: &[String]) -> String {
    if options.is_empty() { name.to_owned() } else { format!("{name}({})", options.join(",")) }
}

fn value(rng: &mut Rng, option: &OptionInfo) -> String {
    match &option.values[..] {
        [] => VALUES[rng.usize(..VALUES.len())].to_owned(),
        values => values[rng.usize(..values.len())].name.clone(),
    }
}
