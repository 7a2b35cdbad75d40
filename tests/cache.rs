//! The cache pass: which steps reuse, which values, and what becomes of the step.

use crate::common::passes::{
    NET, NET_TIMES, assert_same, flux_dev_after, flux_dev_times, program, sketch, story_at, try_run_at,
};
use reflux_ir::pass::{DriverError, Pipeline, PipelineReport};
use reflux_ir::{Name, Program};
use reflux_passes::METHODS;
use std::fmt::Write;

/// The names of all methods.
fn methods() -> impl Iterator<Item = &'static str> {
    METHODS.iter().map(|method| method.name)
}

/// MagCache's ratios for FLUX.1-dev in 28 steps (ComfyUI-MagCache, diffusers).
const RATIOS: &str = "ratios=[1.0,1.21094,1.11719,1.07812,1.0625,1.03906,1.03125,1.03906,1.02344,1.03125,1.02344,0.98047,1.01562,\
                      1.00781,1.0,1.00781,1.0,1.00781,1.0,1.0,0.99609,0.99609,0.98047,0.98828,0.96484,0.95703,0.93359,0.89062]";

/// `method` with the options that it cannot do without.
fn spelled(method: &str) -> String {
    if method == "magcache" { format!("magcache,{RATIOS}") } else { method.to_owned() }
}

/// The methods that decide in each step whether it computes.
const GATED: [&str; 2] = ["fbcache", "teacache"];

/// The other methods, each with the options by which every step computes.
fn computing() -> Vec<String> {
    let options = |method: &str| match method {
        "magcache" => format!("{},retention_ratio=1", spelled(method)),
        "spectrum" => "spectrum,spacing=1,growth=0".to_owned(),
        _ => format!("{method},interval=1"),
    };
    methods().filter(|method| !GATED.contains(method)).map(options).collect()
}

/// Two residual updates, with an attention and without: both streams reach the result.
fn attending(steps: usize) -> Program {
    let text = sketch(
        &["%x : f32[1,4,2,8] latent"],
        "%a = attention %x, %x, %x {scale=1.0} : f32[1,4,2,8]
         %h = add %x, %a : f32[1,4,2,8]
         %f = linear %h, @w f32[8,8] : f32[1,4,2,8]
         %y = add %h, %f : f32[1,4,2,8]
         return %y",
    );
    program(&text.replace("main*4", &format!("main*{steps}")))
}

fn run_at(program: &Program, passes: &str, times: &[f32]) -> (Program, PipelineReport) {
    try_run_at(program, passes, Some(times)).unwrap_or_else(|error| panic!("{error}"))
}

/// Which steps of `cache(options)` compute, a digit each, at the times of FLUX.1-dev.
fn mask(options: &str, side: usize, steps: usize) -> String {
    let (after, _) = run_at(&attending(steps), &format!("cache({options})"), &flux_dev_times(side, steps));
    after.schedule.iter().map(|variant| if variant.starts_with("reuse") { '0' } else { '1' }).collect()
}

/// The schedules of Pruna and of diffusers.
#[test]
fn schedules() {
    let vectors = [
        ("fora,interval=2", 1024, "1110101010101010101010101010"),
        ("fora,interval=3", 1024, "1110010010010010010010010010"),
        ("fora,interval=4", 1024, "1110001000100010001000100010"),
        ("fora,interval=4,start_step=0", 1024, "1000100010001000100010001000"),
        ("fora,interval=5,start_step=10", 512, "1111111111100001000010000100"),
        ("fora-paper,interval=3", 1024, "1001001001001001001001001001"),
        ("fora-paper,interval=3,start_step=1", 1024, "1100100100100100100100100100"),
        ("pab,interval=2", 1024, "1111101010101010101010101010"),
        ("pab,interval=3", 1024, "1111001001001001001001001001"),
        ("pab,interval=4", 1024, "1111100010001000100010001000"),
        ("pab,interval=2", 512, "1110101010101010101010101011"),
        ("pab,interval=2,window=[100,900]", 1024, "1111111110101010101010101010"),
        ("pab,interval=5,window=[-1,1001]", 1024, "1000010000100001000010000100"),
        ("fastercache,interval=2,window=[100,900]", 1024, "1111111110101010101010101010"),
        (&spelled("magcache"), 1024, "1111110101000100010001001011"),
        ("magcache,ratios=[1],max_skip_steps=2,retention_ratio=0", 1024, "1001001001001001001001001001"),
        ("pab,steps=1100000000000000000000000001", 1024, "1100000000000000000000000001"),
        ("taylorseer,interval=3", 1024, "1110100100100100100100100100"),
        ("taylorseer,interval=5", 1024, "1110100001000010000100001000"),
        ("taylorseer,interval=4,initial_steps=4,order=2", 1024, "1111010001000100010001000100"),
        ("hicache,interval=3", 1024, "1110100100100100100100100100"),
        ("spectrum", 1024, "1111101010010001000010000100"),
        ("spectrum,initial_steps=2,spacing=4,growth=0", 1024, "1100010001000100010001000100"),
    ];
    for (options, side, expected) in vectors {
        assert_eq!(mask(options, side, 28), expected, "{options} {side}");
    }
    assert_eq!(mask(&spelled("magcache"), 1024, 50).matches('1').count(), 26);
    // As many as the paper has with growths of 0.75 and 3.
    assert_eq!(mask("spectrum", 1024, 50).matches('1').count(), 14);
    assert_eq!(mask("spectrum,growth=3", 1024, 50).matches('1').count(), 10);
    let published = [
        ("budcache-k29", "11110111000101101100100100001000100001000100101001", 29),
        ("budcache-k37", "11111010000100010000010000000100000000010000010001", 37),
    ];
    for (name, expected, reused) in published {
        let mask = mask(&format!("magcache,steps={name}"), 1024, 50);
        assert_eq!((&*mask, mask.matches('0').count()), (expected, reused), "{name}");
    }
    let counts = [
        ("fora", 1024, 28, [15, 11, 9]),
        ("fora", 512, 28, [15, 11, 9]),
        ("fora", 1024, 50, [26, 18, 14]),
        ("fora-paper", 1024, 28, [14, 10, 7]),
        ("pab", 1024, 28, [16, 12, 10]),
        ("pab", 1024, 50, [30, 23, 20]),
        ("pab", 512, 28, [16, 12, 10]),
        ("fastercache", 1024, 28, [16, 12, 10]),
        ("fastercache", 1024, 50, [28, 21, 17]),
        ("taylorseer", 1024, 28, [15, 11, 9]),
        ("taylorseer", 1024, 50, [26, 19, 15]),
    ];
    for (method, side, steps, expected) in counts {
        let computed =
            |interval| mask(&format!("{method},interval={interval}"), side, steps).matches('1').count();
        assert_eq!([2, 3, 4].map(computed), expected, "{method} {side} {steps}");
    }
}

/// The ratios of the bundled model choose the steps that diffusers computed with them.
#[test]
fn magcache_chooses_the_steps_of_diffusers() {
    let recorded = include_str!("fixtures/magcache.json");
    let recorded: serde_json::Value = serde_json::from_str(recorded).unwrap();
    for (name, setting) in recorded["settings"].as_object().unwrap() {
        let options = ["threshold", "max_skip_steps", "retention_ratio"]
            .map(|option| format!("{option}={}", setting[option]));
        let steps = setting["num_inference_steps"].as_u64().unwrap() as usize;
        let options = format!("magcache,ratios={},{}", recorded["ratios"], options.join(","));
        let mask = mask(&options, 1024, steps);
        let computed: Vec<serde_json::Value> = mask.match_indices('1').map(|(step, _)| step.into()).collect();
        for case in recorded["computed"][name].as_array().unwrap() {
            assert_eq!(case.as_array().unwrap(), &computed, "{name}");
        }
    }
}

/// Every second step, unless something else is said; and a mask that is said replays what was found out.
#[test]
fn options_replay() {
    let times = flux_dev_times(1024, 28);
    for method in methods() {
        let (after, report) = run_at(&attending(28), &format!("cache({})", spelled(method)), &times);
        if !["magcache", "spectrum"].contains(&method) && !GATED.contains(&method) {
            let (explicit, _) = run_at(&attending(28), &format!("cache({method},interval=2)"), &times);
            assert_same(method, &explicit, &after);
        }
        let (replayed, again) = try_run_at(&attending(28), &report.passes[0].pass, None).unwrap();
        assert_same(method, &replayed, &after);
        assert_eq!(again.passes[0].timeless().to_string(), report.passes[0].timeless().to_string());
    }
}

#[test]
fn where_every_step_computes_there_is_nothing_to_do() {
    let times = flux_dev_times(1024, 28);
    let all = "1".repeat(28);
    let mut cases: Vec<String> = computing().iter().map(|method| format!("cache({method})")).collect();
    cases.extend(methods().map(|method| format!("cache({method},steps={all})")));
    cases.push("cache(pab,window=[500,500])".into());
    for passes in cases {
        let error = try_run_at(&attending(28), &passes, Some(&times)).expect_err(&passes).to_string();
        assert!(error.contains("all 28 steps compute, so nothing is reused: "), "{error}");
        assert!(error.ends_with("; remove the pass, or add allow_nothing=true"), "{error}");
        let allowed = passes.replace(')', ",allow_nothing=true)");
        let (after, report) = run_at(&attending(28), &allowed, &times);
        assert_same(&allowed, &after, &attending(28));
        assert!(!report.passes[0].changed);
    }
    let few = try_run_at(&attending(3), "cache(fora,start_step=5)", Some(&times)).unwrap_err().to_string();
    assert!(
        few.contains("all 3 steps compute, so nothing is reused: with interval=2 and start_step=5"),
        "{few}"
    );
    let window =
        try_run_at(&attending(28), "cache(pab,window=[500,500])", Some(&times)).unwrap_err().to_string();
    assert!(window.contains("too few of their timesteps lie in the window, between 500 and 500"), "{window}");
}

/// [`NET`] without the words beside its stream, so that the stream after the first block is one of the same type.
fn alone() -> String {
    let is_of_words = |line: &&str| ["%hint =", "%start =", "%end ="].iter().any(|word| line.contains(word));
    let lines: Vec<_> = NET.lines().filter(|line| !is_of_words(line)).collect();
    let text = lines.join("\n").replace("= %start)", "= %x)").replace("%end,", "%s.1,");
    text.replace("[1,32,", "[1,24,").replace("[1, 32,", "[1, 24,")
}

#[test]
fn methods_on_another_network() {
    let alone = alone();
    for method in methods() {
        let net = if method == "fbcache" { &alone } else { NET };
        let text = story_at(net, &format!("cache({})", spelled(method)), Some(&NET_TIMES));
        snapshot!(format!("cache__net_{}", method.replace('-', "_")), text);
    }
}

/// A variant of each different weights, whichever steps have these; and no history that no step reads.
#[test]
fn steps_of_the_same_weights_share_a_variant() {
    let passes = "cache(taylorseer,interval=3,order=2)";
    let (after, report) = run_at(&attending(20), passes, &flux_dev_times(1024, 20));
    let steps: Vec<_> = after.schedule.iter().map(|variant| &**variant).collect();
    let expected = "first main main reuse main reuse_2 reuse_3 main reuse_4 reuse_5 main reuse_6 reuse_7 main \
                    reuse_6 reuse_7 main reuse_6 reuse_7 main";
    assert_eq!(steps.join(" "), expected);
    let notes = report.to_string();
    // One step after 0, 1, 2; and in the steady state `1 + k/3 + k²/18`, `−k/3 − k²/9`, `k²/18` with k = 1.
    assert!(
        notes.contains("reuse: weights 2.5, -2, 0.5 of the last values computed, newest first"),
        "{notes}"
    );
    assert!(notes.contains("reuse_6: weights 1.3888888, -0.44444445, 0.055555556 of"), "{notes}");
    let short = run_at(&attending(4), "cache(taylorseer,steps=1010,order=2)", &NET_TIMES[..4]).0;
    assert_eq!(short.carries.len(), 2, "two values are computed");
}

/// FORA outside, PAB inside: its steps are those that FORA leaves to compute.
#[test]
fn caches_compose() {
    snapshot!("cache__net_fora_pab", story_at(NET, "cache(fora),cache(pab),dce", Some(&NET_TIMES)));
    let (after, _) =
        run_at(&attending(28), "cache(fora,interval=3),cache(pab,interval=2)", &flux_dev_times(1024, 28));
    let steps: Vec<_> = after.schedule.iter().map(|variant| &**variant).collect();
    let computed: Vec<_> = steps.iter().filter(|variant| **variant != "reuse").copied().collect();
    // The fourth and the sixth of the eleven steps that FORA computes, and so on, are in PAB's window and odd.
    let expected = "main main main reuse_2 main reuse_2 main reuse_2 main reuse_2 main";
    assert_eq!(computed, expected.split(' ').collect::<Vec<_>>());
    let fora: String = steps.iter().map(|variant| if *variant == "reuse" { '0' } else { '1' }).collect();
    assert_eq!(fora, mask("fora,interval=3", 1024, 28));
}

/// Networks, what each method reuses of them, and what a step that reuses is then.
const SITES: [(&str, &str); 10] = [
    (
        "two streams, of which one goes on into the other",
        "%a = linear %x, @a f32[8,8] : f32[1,4,2,8]
         %p = add %x, %a : f32[1,4,2,8]
         %b = linear %z, @b f32[8,8] : f32[1,4,2,8]
         %q = add %z, %b : f32[1,4,2,8]
         %both = mul %p, %q : f32[1,4,2,8]
         %c = linear %both, @c f32[8,8] : f32[1,4,2,8]
         %r = add %p, %c : f32[1,4,2,8]
         %y = silu %r : f32[1,4,2,8]
         return %y",
    ),
    (
        "two streams that both reach a result, of which one is a result itself",
        "%a = linear %x, @a f32[8,8] : f32[1,4,2,8]
         %p = add %x, %a : f32[1,4,2,8]
         %b = linear %z, @b f32[8,8] : f32[1,4,2,8]
         %q = add %z, %b : f32[1,4,2,8]
         %y = silu %p : f32[1,4,2,8]
         return %y, %q",
    ),
    (
        "the stream on the right of the sum, a gate on the right of the update",
        "%f = gelu %x : f32[1,4,2,8]
         %g = silu %t : f32[1,4,2,8]
         %gated = mul %f, %g : f32[1,4,2,8]
         %y = add %gated, %x : f32[1,4,2,8]
         return %y",
    ),
    (
        "a gate that is made of the stream, so that nothing tells it from the update",
        "%f = gelu %x : f32[1,4,2,8]
         %g = silu %x : f32[1,4,2,8]
         %gated = mul %g, %f : f32[1,4,2,8]
         %y = add %x, %gated : f32[1,4,2,8]
         return %y",
    ),
    (
        "a residual within an update",
        "%a = silu %x : f32[1,4,2,8]
         %b = gelu %a : f32[1,4,2,8]
         %c = add %a, %b : f32[1,4,2,8]
         %y = add %x, %c : f32[1,4,2,8]
         return %y",
    ),
    (
        "sums that close no residual: of what is apart, of a value and itself, of two updates",
        "%a = silu %x : f32[1,4,2,8]
         %b = gelu %x : f32[1,4,2,8]
         %c = add %a, %b : f32[1,4,2,8]
         %d = add %c, %c : f32[1,4,2,8]
         %e = add %z, %d : f32[1,4,2,8]
         return %e",
    ),
    (
        "a sum that no step changes",
        "%a = silu %t : f32[1,4,2,8]
         %b = add %t, %a : f32[1,4,2,8]
         %c = gelu %x : f32[1,4,2,8]
         %d = add %x, %c : f32[1,4,2,8]
         %y = mul %d, %b : f32[1,4,2,8]
         return %y",
    ),
    (
        "an attention with its projection, of which two parts are read, and one that is a result",
        "%a = attention %x, %x, %x {scale=1.0} : f32[1,4,2,8]
         %flat = reshape %a {shape=[1, 4, 16]} : f32[1,4,16]
         %proj = linear %flat, @w f32[16,16], @b f32[16] : f32[1,4,16]
         %left = slice %proj {axis=1, start=0, end=2} : f32[1,2,16]
         %right = slice %proj {axis=1, start=2, end=4} : f32[1,2,16]
         %sum = add %left, %u : f32[1,2,16]
         %product = mul %right, %u : f32[1,2,16]
         %c = attention %z, %z, %z {scale=1.0} : f32[1,4,2,8]
         return %sum, %product, %c",
    ),
    (
        "attentions of which one is made of the other, and a value of both",
        "%a = attention %x, %x, %x {scale=1.0} : f32[1,4,2,8]
         %b = attention %a, %a, %a {scale=1.0} : f32[1,4,2,8]
         %c = add %a, %b : f32[1,4,2,8]
         %y = mul %c, %z : f32[1,4,2,8]
         return %y",
    ),
    (
        "an attention of the prompt, which is the same in every step",
        "%a = attention %t, %t, %t {scale=1.0} : f32[1,4,2,8]
         %y = mul %x, %a : f32[1,4,2,8]
         return %y",
    ),
];

#[test]
fn sites() {
    let inputs = [
        "%x : f32[1,4,2,8] latent",
        "%z : f32[1,4,2,8] latent",
        "%u : f32[1,2,16] latent",
        "%t : f32[1,4,2,8] prompt",
    ];
    let mut text = String::new();
    for (case, body) in SITES {
        let program = program(&sketch(&inputs, body));
        writeln!(text, "# {case}\n{}\n", body.lines().map(str::trim).collect::<Vec<_>>().join("\n")).unwrap();
        for method in ["fora", "fora-paper", "pab", "magcache"] {
            match try_run_at(&program, &format!("cache({method},steps=1010)"), None) {
                Ok((after, _)) => writeln!(text, "=> {method}\n{}", variant(&after, "reuse")).unwrap(),
                Err(DriverError::Refused { why, .. }) => writeln!(text, "=> {method}: {why}\n").unwrap(),
                Err(error) => panic!("{error}"),
            }
        }
    }
    snapshot!("cache__sites", text);
}

/// The variant `name` as it prints.
fn variant(program: &Program, name: &str) -> String {
    let text = program.to_string();
    let start = format!("  variant {name} (");
    let lines = text.lines().skip_while(|line| !line.starts_with(&start));
    lines.take_while(|line| *line != "  }").chain(["  }"]).map(|line| format!("{}\n", &line[2..])).collect()
}

/// A value that is a result already, and names that are taken, are carried under other names.
#[test]
fn names_that_are_taken() {
    let text = sketch(
        &["%x : f32[1,4,2,8] latent", "%a_before : f32[1,4,2,8] prompt"],
        "%a_last = mul %x, %a_before : f32[1,4,2,8]
         %a = attention %a_last, %x, %x {scale=1.0} : f32[1,4,2,8]
         %y = add %x, %a : f32[1,4,2,8]
         return %y, %a",
    );
    let mut snapshot = String::new();
    for (passes, variants) in [("cache(fora)", ["main", "reuse"]), ("cache(fastercache)", ["main", "reuse"])]
    {
        let (after, _) = run_at(&program(&text), passes, &[900.0, 800.0, 700.0, 600.0]);
        let carries =
            after.carries.iter().map(|carry| format!("carry %{}\n", carry.name)).collect::<String>();
        let variants = variants.map(|name| variant(&after, name)).concat();
        writeln!(snapshot, "# {passes}\n{carries}{variants}").unwrap();
    }
    snapshot!("cache__names", snapshot);
}

#[test]
fn refusals() {
    let texts = [
        "cache",
        "cache(foraa)",
        "cache(fora,interval=0)",
        "cache(fora,interval=6)",
        "cache(fora,interval=two)",
        "cache(fora,start_step=11)",
        "cache(pab,start_step=2)",
        "cache(fora,window=[0,1])",
        "cache(fora-paper,window=[0,1])",
        "cache(pab,window=[0])",
        "cache(pab,window=low)",
        "cache(pab,weight=0.5)",
        "cache(fora,weight=0.5)",
        "cache(fastercache,weight=half)",
        "cache(fastercache,weight=1e308)",
        "cache(taylorseer,order=4)",
        "cache(taylorseer,interval=6)",
        "cache(taylorseer,initial_steps=0)",
        "cache(taylorseer,start_step=2)",
        "cache(magcache,interval=2)",
        "cache(magcache,ratios=1.0)",
        "cache(magcache,ratios=[1.0,0.0])",
        "cache(magcache,threshold=-1)",
        "cache(magcache,max_skip_steps=0)",
        "cache(magcache,retention_ratio=1.5)",
        "cache(magcache,steps=10,threshold=0.1)",
        "cache(hicache,order=4)",
        "cache(hicache,scale=0)",
        "cache(spectrum,degree=0)",
        "cache(spectrum,ridge=0)",
        "cache(spectrum,blend=2)",
        "cache(spectrum,history=1)",
        "cache(spectrum,spacing=0.5)",
        "cache(spectrum,interval=2)",
        "cache(fbcache,threshold=-1)",
        "cache(fbcache,interval=2)",
        "cache(fbcache,steps=10,threshold=0.1)",
        "cache(teacache,coefficients=[])",
        "cache(teacache,coefficients=[1,inf])",
        "cache(teacache,coefficients=1)",
        "cache(fora,steps=budcache)",
        "cache(fora,steps=10x0)",
        "cache(fora,step=1010)",
    ];
    let mut text = String::new();
    for passes in texts {
        let error = Pipeline::parse(passes, &reflux_passes::registry()).expect_err(passes);
        writeln!(text, "# {passes}\n{error}\n").unwrap();
    }
    let with_two = NET.replace(
        "  schedule main*6",
        "  variant other (%x) -> (%out) {
    %heads = reshape %x {shape=[1, 24, 2, 16]} : f32[1,24,2,16]
    %attn = attention %heads, %heads, %heads {scale=0.25} : f32[1,24,2,16]
    %out = reshape %attn {shape=[1, 24, 32]} : f32[1,24,32]
    return %out
  }
  schedule main*3 other*3",
    );
    let plain = sketch(&["%x : f32[2] latent"], "%y = silu %x : f32[2]\nreturn %y");
    let two_streams = sketch(
        &["%x : f32[2,8] latent", "%z : f32[2,8] latent"],
        "%a = linear %x, @a f32[8,8] : f32[2,8]
         %p = add %x, %a : f32[2,8]
         %b = linear %z, @b f32[8,8] : f32[2,8]
         %q = add %z, %b : f32[2,8]
         return %p, %q",
    );
    let one_step = NET.replace("main*6", "main");
    let cases: [(&str, &str, Option<&[f32]>); 15] = [
        (NET, "cache(magcache,steps=budcache-k29)", None),
        (NET, "cache(fbcache)", None),
        (&plain, "cache(teacache)", None),
        (&two_streams, "cache(teacache)", None),
        (&one_step, "cache(teacache)", None),
        (NET, "cache(magcache)", None),
        (NET, "cache(pab)", None),
        (NET, "cache(fastercache,interval=3)", None),
        (NET, "cache(pab)", Some(&NET_TIMES[..5])),
        (NET, "cache(fora,steps=1010)", None),
        (NET, "cache(fora,steps=011111)", None),
        (&plain, "cache(fora)", None),
        (&plain, "cache(fora-paper)", None),
        (&plain, "cache(pab)", Some(&NET_TIMES)),
        (&with_two, "cache(pab)", Some(&NET_TIMES)),
    ];
    for (given, passes, times) in cases {
        let error = try_run_at(&program(given), passes, times).expect_err(passes);
        assert!(matches!(error, DriverError::Refused { .. }), "{error}");
        writeln!(text, "# {passes}\n{error}\n").unwrap();
    }
    snapshot!("cache__refusals", text);
}

/// How many values FLUX.1-dev carries by each method, and how many bytes that takes.
#[test]
fn flux_dev_carries() {
    // A value of all tokens; in double blocks, those of the text and of the image are one each.
    let whole = (512 + 4096) * 3072 * 2;
    let cases = [
        ("fora", 1, whole),
        ("fora-paper", 19 * 4 + 38, (19 * 2 + 38) * whole),
        ("pab", 19 * 2 + 38, (19 + 38) * whole),
        ("fastercache", (19 * 2 + 38) * 2, (19 + 38) * 2 * whole),
        ("taylorseer", (19 * 2 + 38) * 2, (19 + 38) * 2 * whole),
        ("magcache,ratios=[1.0]", 1, 4096 * 3072 * 2),
        ("taylorseer,order=2", (19 * 2 + 38) * 3, (19 + 38) * 3 * whole),
        ("hicache", (19 * 2 + 38) * 3, (19 + 38) * 3 * whole),
        // All that is computed before the last step that reuses.
        ("spectrum", 11, 11 * 4096 * 3072 * 2),
        ("spectrum,history=4", 4, 4 * 4096 * 3072 * 2),
    ];
    for (method, values, bytes) in cases {
        let (after, _) = flux_dev_after(&format!("cache({method})"));
        let carried: u64 = after.carries.iter().map(|carry| carry.fact.bytes()).sum();
        assert_eq!((after.carries.len(), carried), (values, bytes), "{method}");
        // What nothing of the latents is left in, the latents do not enter.
        let reuse = &after.variants["reuse"];
        let is_whole = method == "fora" || method.starts_with("spectrum");
        assert_eq!(reuse.find("latents").is_some(), !is_whole, "{method}");
        let attends = |name: &str| after.variants[name].op_counts().contains_key("attention");
        assert!(attends("full") && !attends("reuse"), "{method}");
    }
}

/// The ops of each kind in `variants` together, views left out, which are free.
fn products(program: &Program, variants: &[&str]) -> usize {
    let contractions = |graph: &reflux_ir::Graph| {
        graph.ids().filter(|&id| graph[id].op.kind() == reflux_ir::op::OpKind::Contraction).count()
    };
    variants.iter().map(|name| contractions(&program.variants[*name])).sum()
}

/// What the probe computes is not computed again: with what runs after it where the step computes, it has each product once.
#[test]
fn nothing_is_computed_twice() {
    let (whole, _) = flux_dev_after("canonicalize,hoist,canonicalize");
    let all = products(&whole, &["full"]);
    // Of the first block, the probe has the products that the picture's stream needs, its attention among them, and the
    // embedding of the latents; the text's output projection and MLP come after it. The other probe has that embedding alone.
    for (method, in_probe) in [("fbcache", 11), ("teacache", 1)] {
        let (after, report) = flux_dev_after(&format!("canonicalize,hoist,canonicalize,cache({method}),dce"));
        assert_eq!(products(&after, &["gate"]), in_probe, "{method}");
        assert_eq!(products(&after, &["gate", "full"]), all, "{method}");
        assert_eq!(products(&after, &["first"]), all, "{method}");
        assert_eq!(products(&after, &["reuse"]), 1, "{method}: the last projection");
        assert_eq!(after.variants.contains_key("last"), method == "teacache");
        println!("{report}");
    }
}

#[test]
fn flux_dev() {
    let before = "canonicalize,hoist,canonicalize";
    let (fora, _) =
        flux_dev_after(&format!("{before},quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3)"));
    snapshot!("cache__flux_dev", fora);
    let (pab, _) = flux_dev_after(&format!("{before},cache(pab)"));
    snapshot!("cache__flux_dev_pab", pab);
    assert_eq!(pab.steps_of(&Name::from("full")), 16);
}
