//! What rules did, equal applications in several blocks as one.

use indexmap::IndexMap;
use reflux_ir::{Edit, EditedValue, Stage};
use serde::Serialize;

/// An application of a rule, or the same in several blocks.
#[derive(Debug, Serialize)]
pub struct RolledEdit {
    rule: &'static str,
    stage: String,
    /// How many blocks it was done in.
    count: usize,
    /// The lines of the values that it replaced; where it was done in several blocks, the block's number is `{i}`.
    before: Vec<String>,
    /// The lines of the new values.
    after: Vec<String>,
}

/// What edits have in common that are one: stage, rule, and the lines before and after with the number of the block and those of
/// attributes left open.
type Kind<'e> = (&'e Stage, &'e str, [Vec<String>; 2]);

/// An edit, the number of its block, and the numbers of its attributes.
struct Numbered<'e> {
    edit: &'e Edit,
    block: Option<usize>,
    numbers: Vec<i64>,
}

/// `edits` in the order in which they were done first.
pub fn rolled(edits: &[(Stage, Edit)]) -> Vec<RolledEdit> {
    let mut rolls: IndexMap<Kind, Vec<Numbered>> = IndexMap::new();
    for (stage, edit) in edits {
        let block = block_of(edit);
        let mut numbers = Vec::new();
        let lines = [&edit.before, &edit.after].map(|values| templates(values, block, &mut numbers));
        rolls.entry((stage, edit.rule, lines)).or_default().push(Numbered { edit, block, numbers });
    }
    rolls.into_iter().flat_map(|(kind, edits)| roll(kind, edits)).collect()
}

/// The edits of one kind as one, if their numbers are the same or advance evenly with the block; else those with the same numbers.
fn roll((stage, rule, lines): Kind, edits: Vec<Numbered>) -> Vec<RolledEdit> {
    let Some(written) = written(&edits) else {
        let mut alike: IndexMap<Vec<i64>, Vec<Numbered>> = IndexMap::new();
        edits.into_iter().for_each(|edit| alike.entry(edit.numbers.clone()).or_default().push(edit));
        return alike.into_values().flat_map(|edits| roll((stage, rule, lines.clone()), edits)).collect();
    };
    let [before, after] = match &edits[..] {
        [only] => [merged(&only.edit.before), merged(&only.edit.after)],
        _ => {
            let mut written = written.into_iter();
            lines.map(|lines| lines.iter().map(|line| filled(line, &mut written)).collect())
        }
    };
    vec![RolledEdit { rule: edits[0].edit.rule, stage: stage.to_string(), count: edits.len(), before, after }]
}

/// How each number is written that stands for those of all `edits`: as it is, or by the block's number, as in `{768*i+1}`.
fn written(edits: &[Numbered]) -> Option<Vec<String>> {
    let number = |at: usize| {
        let first = edits[0].numbers[at];
        if edits.iter().all(|edit| edit.numbers[at] == first) {
            return Some(first.to_string());
        }
        let points: Vec<(i64, i64)> = edits
            .iter()
            .map(|edit| Some((i64::try_from(edit.block?).ok()?, edit.numbers[at])))
            .collect::<Option<_>>()?;
        let &(start, _) = points.first()?;
        let &(next, other) = points.iter().find(|(block, _)| *block != start)?;
        let by = (other - first).checked_div(next - start)?;
        let offset = first - by * start;
        let is_even = points.iter().all(|&(block, number)| by * block + offset == number);
        is_even.then(|| match offset {
            0 => format!("{{{by}*i}}"),
            offset => format!("{{{by}*i{offset:+}}}"),
        })
    };
    (0..edits[0].numbers.len()).map(number).collect()
}

/// Stands for a number of an attribute.
const OPEN: char = '\u{fffc}';

/// `line` with the next of `numbers` wherever one is left open.
fn filled(line: &str, numbers: &mut impl Iterator<Item = String>) -> String {
    let mut parts = line.split(OPEN);
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |line, part| line + &numbers.next().unwrap_or_default() + part)
}

/// The lines of `values`, those that are the same but for the number of their block as one: with `{i}`, and how many they are.
fn merged(values: &[EditedValue]) -> Vec<String> {
    let mut lines: IndexMap<String, Vec<&EditedValue>> = IndexMap::new();
    for value in values {
        let block = value.name.split_index().map(|(_, index)| index);
        let open = block.map_or_else(|| value.line.clone(), |block| template(&value.line, block));
        lines.entry(open).or_default().push(value);
    }
    let line = |(open, values): (String, Vec<&EditedValue>)| match values[..] {
        [only] => only.line.clone(),
        _ => format!("{open}  // {} ×", values.len()),
    };
    lines.into_iter().map(line).collect()
}

/// The number of the block that an edit was done in, by the names of its values.
fn block_of(edit: &Edit) -> Option<usize> {
    let mut names = edit.before.iter().chain(&edit.after).map(|value| &value.name);
    names.find_map(|name| name.split_index()).map(|(_, index)| index)
}

/// The lines of `values` with the number of their `block` left open, and those of attributes, which go to `numbers`.
fn templates(values: &[EditedValue], block: Option<usize>, numbers: &mut Vec<i64>) -> Vec<String> {
    let open = |line: &str| block.map_or_else(|| line.to_owned(), |block| template(line, block));
    values.iter().map(|value| without_numbers(&open(&value.line), numbers)).collect()
}

/// `line` without the whole numbers that attributes have, which go to `numbers`: in `{axis=-1, start=768}` all of both.
fn without_numbers(line: &str, numbers: &mut Vec<i64>) -> String {
    let mut parts = line.split('=');
    let mut open = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find([',', '}']).unwrap_or(part.len());
        open.push('=');
        match part[..end].parse() {
            Ok(number) => {
                numbers.push(number);
                open.push(OPEN);
                open += &part[end..];
            }
            Err(_) => open += part,
        }
    }
    open
}

/// `line` with `{i}` for the number `block`, and for its neighbours `{i-1}` and `{i+1}`: at the end of values' names, and as the first
/// number in the paths of modules and weights.
fn template(line: &str, block: usize) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '%' | '@' | '-');
    let mut opened = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(start) = rest.find(is_of_word) {
        let end = rest[start..].find(|c| !is_of_word(c)).map_or(rest.len(), |length| start + length);
        opened += &rest[..start];
        opened += &opened_word(&rest[start..end], block);
        rest = &rest[end..];
    }
    opened + rest
}

fn opened_word(word: &str, block: usize) -> String {
    if !word.starts_with(|c: char| c.is_alphabetic() || matches!(c, '%' | '@')) {
        return word.to_owned();
    }
    let segments: Vec<&str> = word.split('.').collect();
    let number = |segment: &&str| segment.parse::<usize>().ok();
    let at = match word.starts_with('%') {
        true => segments.len() - 1,
        false => segments.iter().position(|segment| number(segment).is_some()).unwrap_or(0),
    };
    let written = match number(&segments[at]) {
        Some(found) if found == block => "{i}",
        Some(found) if found == block + 1 => "{i+1}",
        Some(found) if found + 1 == block => "{i-1}",
        _ => return word.to_owned(),
    };
    let opened =
        segments.iter().enumerate().map(|(place, segment)| if place == at { written } else { segment });
    opened.collect::<Vec<_>>().join(".")
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::Name;

    fn edit(at: usize) -> (Stage, Edit) {
        let value = |name: String, line: String| EditedValue { name: Name::from(name), line };
        let line = |op: &str| {
            format!(
                "%y.{at} = {op} %x.{}, 1.0, @blocks.{at}.ff.net.0.weight f32[4] : f32[4] in blocks.{at}.ff.net.0",
                at.wrapping_sub(1)
            )
        };
        let [before, after] = ["mul", "add"].map(|op| vec![value(format!("y.{at}"), line(op))]);
        (Stage::Variant("full".into()), Edit { rule: "mul-to-add", before, after })
    }

    #[test]
    fn equal_edits_of_several_blocks_are_one() {
        let edits: Vec<_> = (1..4).map(edit).collect();
        let rolled = rolled(&edits);
        assert_eq!(rolled.len(), 1);
        assert_eq!((rolled[0].count, rolled[0].rule), (3, "mul-to-add"));
        assert_eq!(
            rolled[0].before,
            [
                "%y.{i} = mul %x.{i-1}, 1.0, @blocks.{i}.ff.net.0.weight f32[4] : f32[4] in blocks.{i}.ff.net.0"
            ]
        );
    }

    /// A slice of what belongs to its block, in a tensor of all.
    fn part(at: usize, start: usize) -> (Stage, Edit) {
        let value = |line: String| EditedValue { name: Name::from(format!("y.{at}")), line };
        let line = |op: &str| format!("%y.{at} = {op} %x {{axis=-1, start={start}}} : f32[4]");
        let [before, after] = ["slice", "view"].map(|op| vec![value(line(op))]);
        (Stage::Variant("full".into()), Edit { rule: "slice-to-view", before, after })
    }

    #[test]
    fn numbers_that_advance_with_the_block_are_one() {
        let rolled_of = |starts: [usize; 3]| -> Vec<(usize, String)> {
            let edits: Vec<_> = starts.into_iter().enumerate().map(|(at, start)| part(at, start)).collect();
            rolled(&edits).into_iter().map(|edit| (edit.count, edit.after[0].clone())).collect()
        };
        let line = |start: &str| format!("%y.{{i}} = view %x {{axis=-1, start={start}}} : f32[4]");
        assert_eq!(rolled_of([1, 769, 1537]), [(3, line("{768*i+1}"))]);
        assert_eq!(rolled_of([0, 768, 1536]), [(3, line("{768*i}"))]);
        assert_eq!(rolled_of([4, 4, 4]), [(3, line("4"))]);
        // Without any order, those are one that are the same.
        assert_eq!(rolled_of([5, 9, 5]).iter().map(|(count, _)| *count).collect::<Vec<_>>(), [2, 1]);
    }

    #[test]
    fn a_single_edit_of_several_blocks_has_each_line_once() {
        let (stage, first) = edit(1);
        let of_all = |part: fn(Edit) -> Vec<EditedValue>| (1..4).flat_map(|at| part(edit(at).1)).collect();
        let whole = Edit { before: of_all(|edit| edit.before), after: of_all(|edit| edit.after), ..first };
        let rolled = rolled(&[(stage, whole)]);
        assert_eq!((rolled[0].count, rolled[0].before.len()), (1, 1));
        assert!(rolled[0].before[0].starts_with("%y.{i} = mul %x.{i-1}, 1.0"), "{:?}", rolled[0].before);
        assert!(rolled[0].before[0].ends_with("  // 3 ×"), "{:?}", rolled[0].before);
    }

    #[test]
    fn a_single_edit_keeps_its_numbers() {
        let rolled = rolled(&[edit(1)]);
        assert!(rolled[0].before[0].starts_with("%y.1 = mul %x.0, 1.0"), "{:?}", rolled[0].before);
    }
}
