//! `reflux passes`

use super::print;
use crate::Error;
use reflux_ir::pass::PassInfo;
use reflux_passes::registry;
use serde_json::{Map, Value};
use std::fmt::Write;

#[derive(clap::Args)]
pub struct Args {}

pub fn passes(_: &Args) -> Result<(), Error> {
    let mut text = String::new();
    for pass in registry().iter() {
        let PassInfo { name, summary, .. } = pass;
        let exactness = exactness(pass);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<14}{exactness:<15}{summary}");
        for option in options(pass) {
            let values = alternatives(pass, &option, Value::String(NO_SUCH.into())).join(", ");
            let values = if values.is_empty() { values } else { format!(": {values}") };
            let first = if pass.positional == Some(&option) {
                ", may be given as the first, without its name"
            } else {
                ""
            };
            let _ = writeln!(text, "{:14}{option}{values}{first}", "");
        }
    }
    print(&text)
}

/// A name that neither options nor their values have.
const NO_SUCH: &str = "?";

/// The names of a pass's options: it says them where it refuses one, so this list cannot be out of date.
fn options(pass: &PassInfo) -> Vec<String> {
    alternatives(pass, NO_SUCH, Value::Null)
}

/// What a pass says it would take instead of an option, or of its value.
fn alternatives(pass: &PassInfo, option: &str, value: Value) -> Vec<String> {
    let Err(error) = (pass.build)(Map::from_iter([(option.to_owned(), value)])) else { return Vec::new() };
    let message = error.to_string();
    let Some((_, alternatives)) = message.split_once(", expected ") else { return Vec::new() };
    alternatives.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// How exact a pass is, built with no more options than it needs.
fn exactness(pass: &PassInfo) -> String {
    let value = |option| alternatives(pass, option, Value::String(NO_SUCH.into())).into_iter().next();
    let needed =
        pass.positional.map(|option| (option.to_owned(), value(option).unwrap_or(NO_SUCH.into()).into()));
    let built = (pass.build)(Map::from_iter(needed));
    built.map(|pass| pass.exactness().to_string()).unwrap_or_default()
}
