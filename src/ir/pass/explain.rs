//! Descriptions of passes, for `reflux passes`.

use super::{About, OptionInfo, Pass, PassInfo, Pipeline, Registry};
use std::fmt::{self, Formatter};

impl Registry {
    /// One line per pass, with its options.
    pub fn list(&self) -> impl fmt::Display + '_ {
        fmt::from_fn(|f| self.iter().try_for_each(|pass| self.write_line(f, pass)))
    }

    fn write_line(&self, f: &mut Formatter<'_>, pass: &PassInfo) -> fmt::Result {
        let exactness = self.example(pass).map(|pass| pass.exactness().to_string()).unwrap_or_default();
        writeln!(f, "{:<14}{exactness:<15}{}", pass.name, pass.summary)?;
        for option in (pass.about)().options {
            let values: Vec<_> = option.values.iter().map(|value| value.name.as_str()).collect();
            let values = if values.is_empty() { String::new() } else { format!(": {}", values.join(", ")) };
            let first = if pass.positional == Some(&*option.name) {
                ", may be given first, without its name"
            } else {
                ""
            };
            writeln!(f, "{:14}{}{values}{first}", "", option.name)?;
        }
        Ok(())
    }

    /// The full description of `pass`.
    pub fn explain<'a>(&'a self, pass: &'a PassInfo) -> impl fmt::Display + 'a {
        fmt::from_fn(|f| self.write_explanation(f, pass))
    }

    fn write_explanation(&self, f: &mut Formatter<'_>, pass: &PassInfo) -> fmt::Result {
        let About { doc, options } = (pass.about)();
        let example = self.example(pass);
        let exactness = example.as_ref().map(|pass| format!(" | {}", pass.exactness())).unwrap_or_default();
        writeln!(f, "{}{exactness}\n{}\n\n{doc}", pass.name, pass.summary)?;
        if !options.is_empty() {
            writeln!(f, "\noptions")?;
            options.iter().try_for_each(|option| write_option(f, option, pass.positional))?;
        }
        if let Some(built) = example.as_ref().and_then(|example| example.passes().next()) {
            let rules = built.rules();
            if !rules.is_empty() {
                writeln!(f, "\nrules")?;
                let width = rules.iter().map(|rule| rule.name.len()).max().unwrap_or(0);
                rules.iter().try_for_each(|rule| writeln!(f, "  {:<width$}  {}", rule.name, rule.pattern))?;
            }
            writeln!(f, "\nexample\n  {}", pass.example)?;
            write_order(f, built)?;
        }
        Ok(())
    }

    /// The pass of its example, if that parses.
    pub(super) fn example(&self, pass: &PassInfo) -> Option<Pipeline> {
        Pipeline::parse(pass.example, self).ok().filter(|example| example.passes().len() == 1)
    }
}

/// What the order of passes follows from.
fn write_order(f: &mut Formatter<'_>, pass: &dyn Pass) -> fmt::Result {
    let verbs = [
        ("requires", pass.requires()),
        ("afterwards it may no longer hold", pass.ends()),
        ("afterwards it holds again", pass.brings()),
    ];
    if verbs.iter().any(|(_, properties)| !properties.is_empty()) {
        writeln!(f, "\norder")?;
    }
    verbs.iter().try_for_each(|(verb, properties)| {
        properties.iter().try_for_each(|property| writeln!(f, "  {verb} {property}"))
    })
}

fn write_option(f: &mut Formatter<'_>, option: &OptionInfo, positional: Option<&str>) -> fmt::Result {
    let first = (positional == Some(&*option.name)).then(|| "may be given first, without its name".into());
    let default = option.default.as_ref().map(|value| format!("{value} if not given"));
    let required = option.is_required.then(|| "must be given".to_owned());
    let notes: Vec<String> = first.into_iter().chain(default).chain(required).collect();
    let notes = if notes.is_empty() { String::new() } else { format!(" ({})", notes.join("; ")) };
    writeln!(f, "  {}{notes}", option.name)?;
    option.doc.lines().try_for_each(|line| writeln!(f, "      {line}"))?;
    let width = option.values.iter().map(|value| value.name.len()).max().unwrap_or(0);
    for value in &option.values {
        // The lines of a doc comment belong together.
        let doc = value.doc.lines().collect::<Vec<_>>().join(" ");
        writeln!(f, "      {}", format!("{:<width$}  {doc}", value.name).trim_end())?;
    }
    Ok(())
}
