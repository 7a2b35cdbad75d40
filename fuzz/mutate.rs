//! Texts that are almost programs.

#[path = "../tests/common/programs.rs"]
mod programs;

use fastrand::Rng;

/// Programs that passes once did not know what to make of, each with its pipeline as a comment.
pub const SEEDS: [&str; 17] = [
    include_str!("seeds/cache_codes.ir"),
    include_str!("seeds/cache_one_attention_in_the_end.ir"),
    include_str!("seeds/cache_sites_unread.ir"),
    include_str!("seeds/canonicalize_operands_that_become_one.ir"),
    include_str!("seeds/dce_slice_of_all_that_is_carried.ir"),
    include_str!("seeds/fuse_long_chain.ir"),
    include_str!("seeds/fuse_many_ways.ir"),
    include_str!("seeds/fuse_norms_and_products.ir"),
    include_str!("seeds/fuse_products_of_broadcast_tables.ir"),
    include_str!("seeds/hoist_codes_of_all_steps.ir"),
    include_str!("seeds/hoist_made_of_what_is_prepared_late.ir"),
    include_str!("seeds/hoist_names_of_two_stages.ir"),
    include_str!("seeds/merge_linear_one_after_another.ir"),
    include_str!("seeds/merge_linear_panels.ir"),
    include_str!("seeds/merge_linear_scales_of_other_codes.ir"),
    include_str!("seeds/merge_linear_weights_of_two_inputs.ir"),
    include_str!("seeds/tap_values_of_other_types.ir"),
];

/// Programs to start from, besides those that are generated.
pub fn programs() -> Vec<&'static str> {
    [&programs::PROGRAMS[..], &SEEDS].concat()
}

/// Words of the format, and numbers that it should not take at their word.
pub const WORDS: &[&str] = &[
    "program",
    "input",
    "carry",
    "prepare",
    "variant",
    "probe",
    "chooses",
    "schedule",
    "repeat",
    "return",
    "yield",
    "in",
    "weights",
    "prompt",
    "latent",
    "main",
    "p",
    "%",
    "@",
    ":",
    ",",
    "=",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    "*",
    "->",
    "//",
    "\n",
    "\t",
    "%i in",
    "%x",
    "%y",
    "%a.prev",
    "%a.0",
    "@w",
    "@.w",
    "@m.{i}.w",
    "{i}",
    "{2*i+1}",
    "{-1*i-7}",
    "{9223372036854775807*i+1}",
    "{x=",
    "0..2",
    "0..4294967296",
    "3..1",
    "0..100000",
    "%a.{0..2}",
    "%x.{0..2}",
    "x.{0..100001}",
    "y.{0..99999}",
    "a.{4294967294..4294967296}",
    ".{5..5}",
    ".{1..3}",
    ".{a..b}",
    "{0..2}",
    "f32[2]",
    "f32[]",
    "bf16[2,4]",
    "i32[4]",
    "f32",
    "0",
    "1",
    "-0.0",
    "1e-6",
    "1e999",
    "nan",
    "2147483648",
    "99999999",
    "9223372036854775807",
    "18446744073709551615",
    "99999999999999999999",
    "[0]",
    "[2,0]",
    "f32[1,0,4]",
    "1",
    "2",
    "4",
    "i8.row.f32[2]",
    "u4.group2.bf16[2,4]",
    "f8e4m3.tensor.f32[2]",
    "f8e4m3[2]",
    "i8.row[2]",
    "bf16.row.f32[2]",
    "i8.group65535.f32[0]",
    "f32[4294967296,4294967296]",
    "f32[0,9223372036854775807]",
    "i8[9223372036854775807]",
    "add",
    "silu",
    "linear",
    "reshape",
    "slice",
    "rope_table",
    "conv2d",
    "constant",
    "weight",
    "{eps=1e-6}",
    "quantize",
    "dequantize",
    "{dtype=f32}",
    "{dtype=i8, scales=row.f32, eps=1e-5}",
    "{shape=[2]}",
    "{axes=[18446744073709551614, 4], theta=1.0}",
    "{padding=9223372036854775807}",
    "é",
    "😀",
    "\u{2028}",
    "a..b",
    ".",
    "+",
    "-",
];

/// `text` after a few edits of its tokens.
pub fn mutated(rng: &mut Rng, text: &str) -> String {
    let edits = (0..rng.usize(1..5)).map(|_| (rng.usize(..), rng.u8(..), rng.usize(..)));
    mutate(text, edits.collect())
}

/// `text` after some of its tokens were dropped, doubled, swapped, or replaced by words: each edit says which token, what
/// becomes of it, and which other one or which word comes in.
pub fn mutate(text: &str, edits: Vec<(usize, u8, usize)>) -> String {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '-');
    let mut tokens: Vec<String> = Vec::new();
    for c in text.chars() {
        match tokens.last_mut() {
            Some(last) if is_word(c) && last.ends_with(is_word) => last.push(c),
            _ => tokens.push(c.to_string()),
        }
    }
    for (at, edit, other) in edits {
        let (at, other_at) = (at % tokens.len(), other % tokens.len());
        match edit % 6 {
            0 => tokens[at].clear(),
            1 => tokens[at] = tokens[at].repeat(2),
            2 => tokens.swap(at, other_at),
            3 => tokens[at] = tokens[other_at].clone(),
            4 => tokens[at] = WORDS[other % WORDS.len()].to_owned(),
            _ => tokens[at] += &format!(" {} ", WORDS[other % WORDS.len()]),
        }
    }
    tokens.concat()
}
