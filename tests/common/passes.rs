//! Running passes: on programs written as text, and on FLUX.1-dev.

#![allow(dead_code)] // No test uses all of it.

use reflux_ir::pass::{Driver, DriverError, PassReport, Pipeline, PipelineReport};
use reflux_ir::text::parse;
use reflux_ir::{DType, Program};
use reflux_models::scheduler::Levels;
use reflux_models::{ModelConfig, Sizes, flux1};

/// A network that is not FLUX: two residual blocks of a linear and an attention, which a table of times modulates. The
/// words are known per prompt.
pub const NET: &str = "\
program net {
  input %x : f32[1,24,32] latent
  input %words : f32[1,8,32] prompt
  input %time : f32[6,1] schedule
  input %step : i32[] latent
  variant main (%x, %words, %time, %step) -> (%out) {
    %t = select %time, %step : f32[1]
    %wave = timestep_embedding %t {dim=32, max_period=10000.0} : f32[1,32]
    %hint = linear %words, @.weight f32[32,32] : f32[1,8,32] in hint
    %start = concat %hint, %x {axis=1} : f32[1,32,32]
    repeat %i in 0..2 (%s.prev = %start) in layers.{i} {
      %clock = silu %wave : f32[1,32]
      %mod = linear %clock, @.weight f32[96,32], @.bias f32[96] : f32[1,96] in .mod
      %shift = slice %mod {axis=1, start=0, end=32} : f32[1,32]
      %scale = slice %mod {axis=1, start=32, end=64} : f32[1,32]
      %gate = slice %mod {axis=1, start=64, end=96} : f32[1,32]
      %norm = layer_norm %s.prev {eps=1e-6} : f32[1,32,32]
      %scaled = mul %norm, %scale : f32[1,32,32]
      %in = add %scaled, %shift : f32[1,32,32]
      %lin = linear %in, @.weight f32[32,32] : f32[1,32,32] in .lin
      %heads = reshape %lin {shape=[1, 32, 2, 16]} : f32[1,32,2,16]
      %attn = attention %heads, %heads, %heads {scale=0.25} : f32[1,32,2,16] in .attn
      %flat = reshape %attn {shape=[1, 32, 32]} : f32[1,32,32]
      %back = linear %flat, @.weight f32[32,32] : f32[1,32,32] in .back
      %gated = mul %gate, %back : f32[1,32,32]
      %s = add %s.prev, %gated : f32[1,32,32]
      yield %s
    }
    %end = slice %s.1 {axis=1, start=8, end=32} : f32[1,24,32]
    %out = linear %end, @.weight f32[32,32] : f32[1,24,32] in head
    return %out
  }
  schedule main*6
}
";

/// The time of each step of [`NET`].
pub const NET_TIMES: [f32; 6] = [1000.0, 960.0, 800.0, 600.0, 400.0, 90.0];

/// The program that `text` is.
pub fn program(text: &str) -> Program {
    parse(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The text of a program of one variant `main`, from the lines of its body and the declarations of inputs, of which it
/// takes those that the lines read. What it returns are its results, under their own names.
pub fn sketch(inputs: &[&str], body: &str) -> String {
    let words: Vec<_> = body.split([' ', ',', '(', ')', '{', '}', '\n']).collect();
    let declared: Vec<_> = inputs.iter().filter_map(|input| input.split_once(" : ")).collect();
    let declared: Vec<_> = declared.into_iter().filter(|(name, _)| words.contains(name)).collect();
    let names: Vec<_> = declared.iter().map(|(name, _)| *name).collect();
    let declared: String = declared.iter().map(|(name, fact)| format!("  input {name} : {fact}\n")).collect();
    let lines: Vec<_> = body.trim().lines().map(|line| format!("    {}\n", line.trim())).collect();
    let results = lines.last().and_then(|line| line.trim().strip_prefix("return "));
    format!(
        "program p {{\n{declared}  variant main ({}) -> ({}) {{\n{}  }}\n  schedule main*4\n}}\n",
        names.join(", "),
        results.expect("a body returns something"),
        lines.concat()
    )
}

/// The pipeline that `text` is.
pub fn pipeline(text: &str) -> Pipeline {
    Pipeline::parse(text, &reflux_passes::registry()).unwrap_or_else(|error| panic!("{error}"))
}

/// Runs `passes` on `program`, whose steps are at `times`.
pub fn try_run_at(
    program: &Program,
    passes: &str,
    times: Option<&[f32]>,
) -> Result<(Program, PipelineReport), DriverError> {
    Driver { timesteps: times, ..Driver::default() }.run(program.clone(), &pipeline(passes))
}

/// Runs `passes` on `program`, the times of whose steps are unknown.
pub fn run(program: &Program, passes: &str) -> (Program, PipelineReport) {
    try_run_at(program, passes, None).unwrap_or_else(|error| panic!("{error}\n{program}"))
}

/// What `passes`, which do not fit `program`, are refused for.
pub fn refusal(program: &Program, passes: &str) -> String {
    match try_run_at(program, passes, None) {
        Err(error @ (DriverError::Refused { .. } | DriverError::Order(_))) => error.to_string(),
        Err(error) => panic!("not a refusal: {error}"),
        Ok((program, _)) => panic!("not refused:\n{program}"),
    }
}

/// `text` without the lists of all passes and of all rules, which grow: a new pass changes no snapshot but its own and the tables of all passes.
pub fn without_lists(text: &str) -> String {
    let registry = reflux_passes::registry();
    let names: Vec<_> = registry.iter().map(|pass| pass.name).collect();
    let examples: Vec<_> = registry.iter().map(|pass| pipeline(pass.example)).collect();
    let built =
        || examples.iter().flat_map(|example| example.passes()).filter(|pass| !pass.rules().is_empty());
    let mut asked: Vec<_> = built().map(|pass| pass.name()).collect();
    let mut rules: Vec<_> = built().flat_map(|pass| pass.rules()).map(|rule| rule.name).collect();
    asked.sort_unstable();
    rules.sort_unstable();
    rules.dedup();
    let lists = [(rules, "(all rules)"), (names, "(all passes)"), (asked, "(all passes with rules)")];
    lists.into_iter().fold(text.to_owned(), |text, (list, stands)| text.replace(&list.join(", "), stands))
}

/// The only pass of a report.
pub fn only(report: &PipelineReport) -> &PassReport {
    let [pass] = &report.passes[..] else { panic!("not one pass: {report}") };
    pass
}

/// A snapshot: the program, what each of `passes` says that it did to it, and the program that came of it.
pub fn story(text: &str, passes: &str) -> String {
    story_at(text, passes, None)
}

/// The [`story`] of a program whose steps are at `times`.
pub fn story_at(text: &str, passes: &str, times: Option<&[f32]>) -> String {
    let before = program(text);
    let (after, report) =
        try_run_at(&before, passes, times).unwrap_or_else(|error| panic!("{error}\n{before}"));
    assert_same("parsed", &program(&after.to_string()), &after);
    format!("{before}\n{}\n{after}", log(&report))
}

/// What each pass says, without times.
pub fn log(report: &PipelineReport) -> String {
    report.passes.iter().map(|pass| format!("=> {}\n", pass.timeless())).collect()
}

/// Asserts that the programs are equal; says in which lines they are not.
pub fn assert_same(case: &str, found: &Program, expected: &Program) {
    let (text, other) = (found.to_string(), expected.to_string());
    let lines = text.lines().zip(other.lines()).filter(|(a, b)| a != b).take(5);
    let lines: String = lines.map(|(a, b)| format!("found:    {a}\nexpected: {b}\n")).collect();
    assert!(found == expected, "{case}: the programs differ\n{lines}");
}

/// Asserts that `passes` leave the program alone, and say so.
pub fn assert_unchanged(case: &str, program: &Program, passes: &str) -> PipelineReport {
    let (after, report) = run(program, passes);
    assert_same(case, &after, program);
    assert!(!only(&report).changed, "{case}");
    report
}

/// Asserts that what `passes` leave they leave alone.
pub fn assert_settled(case: &str, program: &Program, passes: &str) {
    let (once, _) = run(program, passes);
    let (twice, report) = run(&once, passes);
    assert_same(case, &twice, &once);
    assert!(report.passes.iter().all(|pass| !pass.changed), "{case}\n{report}");
}

/// FLUX.1-dev for one square picture of 512 text tokens, in bf16.
pub fn flux_dev(side: usize, steps: usize) -> Program {
    let sizes = Sizes { batch: 1, steps, text_tokens: 512, height: side, width: side, reference: None };
    config().lower(&flux1::TRANSFORMER, &sizes, DType::BF16).unwrap()
}

/// The time of each of its steps.
pub fn flux_dev_times(side: usize, steps: usize) -> Vec<f32> {
    let tokens = (side / 16) * (side / 16);
    config().schedule(&Levels::even(steps), tokens).unwrap().timesteps
}

/// FLUX.1-dev at 1024 × 1024 in 28 steps, after `passes`.
pub fn flux_dev_after(passes: &str) -> (Program, PipelineReport) {
    let run = try_run_at(&flux_dev(1024, 28), passes, Some(&flux_dev_times(1024, 28)));
    let (program, report) = run.unwrap_or_else(|error| panic!("{error}"));
    assert_same("parsed", &parse(&program.to_string()).unwrap(), &program);
    (program, report)
}

fn config() -> ModelConfig {
    ModelConfig::built_in("flux-dev").unwrap()
}
