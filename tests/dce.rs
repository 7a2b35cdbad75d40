//! The dce pass: what is dropped, and what stays.

use crate::common::passes::{
    NET, assert_same, assert_settled, assert_unchanged, flux_dev_after, program, run, story,
};

/// Something that nothing reads, of each kind.
const UNREAD: [(&str, &str); 7] = [
    (
        "ops",
        "\
program p {
  input %x : f32[2,4] latent
  input %p : f32[2,4] prompt
  variant main (%x, %p) -> (%y) {
    %a = silu %p : f32[2,4]
    %b = linear %a, @w f32[4,4] : f32[2,4]
    %y = mul %x, 2.0 : f32[2,4]
    return %y
  }
  schedule main
}
",
    ),
    (
        // One stage at a time: what the step does not read is not prepared, and neither is what only that was made of.
        "prepared",
        "\
program p {
  input %x : f32[2,4] latent
  input %p : f32[2,4] prompt
  prepare weights () -> (%w, %v) {
    return @w f32[4,4], @v f32[4,4]
  }
  prepare prompt (%p, %w) -> (%q) {
    %q = linear %p, %w : f32[2,4]
    return %q
  }
  prepare schedule (%q) -> (%s) {
    %s = silu %q : f32[2,4]
    return %s
  }
  variant main (%x, %v, %s) -> (%y) {
    %y = linear %x, %v : f32[2,4]
    return %y
  }
  schedule main
}
",
    ),
    (
        "variants",
        "\
program p {
  input %x : f32[2,4] latent
  carry %h : f32[2,4] latent
  carry %g : f32[2,4] latent
  variant full (%x) -> (%y, %h, %g) {
    %h = silu %x : f32[2,4]
    %g = gelu %h : f32[2,4]
    return %g, %h, %g
  }
  variant never (%g) -> (%y) {
    return %g
  }
  variant reuse (%h) -> (%y) {
    %y = silu %h : f32[2,4]
    return %y
  }
  schedule full reuse
}
",
    ),
    (
        // The value that is carried has a slice already, under the name of the other's.
        "slices",
        "\
program p {
  input %x : f32[4,4] latent
  carry %h : f32[4,4] latent
  variant full (%x) -> (%y, %h) {
    %h = linear %x, @w f32[4,4] : f32[4,4]
    %part = slice %h {axis=0, start=1, end=4} : f32[3,4]
    %y = silu %part : f32[3,4]
    return %y, %h
  }
  variant reuse (%h) -> (%y) {
    %part = slice %h {axis=0, start=1, end=4} : f32[3,4]
    %y = gelu %part : f32[3,4]
    return %y
  }
  schedule full reuse*3
}
",
    ),
    (
        // Several readers of one slice, in several variants that have other values of its name, and a writer without one.
        "slices_of_several",
        "\
program p {
  input %x : f32[4,4] latent
  carry %h : f32[4,4] latent
  variant full (%x) -> (%y, %h) {
    %h = linear %x, @w f32[4,4] : f32[4,4] in net
    %y = slice %x {axis=0, start=0, end=1} : f32[1,4]
    return %y, %h
  }
  variant one (%h) -> (%y) {
    %a = slice %h {axis=0, start=0, end=1} : f32[1,4]
    %b = slice %h {axis=0, start=0, end=1} : f32[1,4]
    %y = add %a, %b : f32[1,4]
    return %y
  }
  variant other (%h) -> (%y) {
    %c = slice %h {axis=0, start=0, end=1} : f32[1,4]
    %b = gelu %c : f32[1,4]
    %y = silu %b : f32[1,4]
    return %y
  }
  schedule full one other
}
",
    ),
    (
        // A slice that is a result is carried beside it.
        "slices_of_results",
        "\
program p {
  input %x : f32[2,4] latent
  carry %h : f32[2,4] latent
  variant full (%x) -> (%y, %h) {
    %h = linear %x, @w f32[4,4] : f32[2,4]
    %y = slice %h {axis=0, start=0, end=1} : f32[1,4]
    return %y, %h
  }
  variant reuse (%h) -> (%y) {
    %y = slice %h {axis=0, start=0, end=1} : f32[1,4]
    return %y
  }
  schedule full reuse
}
",
    ),
    (
        // A slice of a slice is one, once the first of them is what is carried.
        "slices_of_slices",
        "\
program p {
  input %x : f32[4,4] latent
  carry %h : f32[4,4] latent
  variant full (%x) -> (%y, %h) {
    %h = linear %x, @w f32[4,4] : f32[4,4]
    %y = slice %x {axis=0, start=0, end=1} : f32[1,4]
    return %y, %h
  }
  variant reuse (%h) -> (%y) {
    %a = slice %h {axis=0, start=1, end=4} : f32[3,4]
    %b = slice %a {axis=0, start=1, end=2} : f32[1,4]
    %y = silu %b : f32[1,4]
    return %y
  }
  schedule full reuse
}
",
    ),
];

#[test]
fn what_goes() {
    for (case, text) in UNREAD {
        snapshot!(format!("dce__{case}"), story(text, "dce"));
        assert_settled(case, &program(text), "dce");
    }
}

#[test]
fn what_stays() {
    // What a step makes of the value that it carries, or reads of it.
    let cases = [
        ("a carried value that is read whole", "return %x, %h", "(%y)", "return %h"),
        (
            "one that is read both whole and in part",
            "%y = slice %x {axis=0, start=0, end=1} : f32[1,4]
             return %y, %h",
            "(%y)",
            "%a = slice %h {axis=0, start=0, end=1} : f32[1,4]
             %y = matmul %a, %h : f32[1,4]
             return %y",
        ),
        (
            "one of which two parts are read",
            "%y = slice %x {axis=0, start=0, end=1} : f32[1,4]
             return %y, %h",
            "(%y)",
            "%a = slice %h {axis=0, start=0, end=1} : f32[1,4]
             %b = slice %h {axis=0, start=1, end=2} : f32[1,4]
             %y = add %a, %b : f32[1,4]
             return %y",
        ),
        (
            "one that is handed on",
            "%y = slice %x {axis=0, start=0, end=1} : f32[1,4]
             return %y, %h",
            "(%y, %h)",
            "%y = slice %h {axis=0, start=0, end=1} : f32[1,4]
             return %y, %h",
        ),
    ];
    for (case, computes, reuse, reads) in cases {
        let text = format!(
            "program p {{
               input %x : f32[4,4] latent
               input %unread : f32[4,4] prompt
               carry %h : f32[4,4] latent
               variant full (%x) -> (%y, %h) {{
                 %h = linear %x, @w f32[4,4] : f32[4,4]
                 {computes}
               }}
               variant reuse (%h) -> {reuse} {{
                 {reads}
               }}
               schedule full reuse
             }}"
        );
        let report = assert_unchanged(case, &program(&text), "dce");
        assert!(report.passes[0].rules["narrow-carry"].tries > 0, "{case}");
    }
    assert_unchanged("a network", &program(NET), "dce");
}

/// Of a step of Pruna's FORA that reuses, only what follows the last block is left, and nothing but the image is carried.
#[test]
fn flux_dev() {
    let passes =
        "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),cache(fora,interval=3),dce";
    let (program, _) = flux_dev_after(passes);
    snapshot!("dce__flux_dev", program);
    let carried: Vec<_> = program.carries.iter().map(|carry| carry.fact.bytes()).collect();
    assert_eq!(carried, [4096 * 3072 * 2]);
    let reuse = &program.variants["reuse"];
    let inputs: Vec<_> = reuse.inputs().iter().map(|&id| reuse[id].name.to_string()).collect();
    assert_eq!(inputs, ["step", "out_mod_steps", "img_out"]);
    assert_eq!(
        reuse.weights().map(|(name, _)| name).collect::<Vec<_>>(),
        ["proj_out.weight", "proj_out.bias"]
    );
    // Without hoisting it is the modulation that is left besides.
    let (unhoisted, _) = flux_dev_after("cache(fora),dce");
    assert_eq!(unhoisted.carries.len(), 1);
    assert!(unhoisted.variants["reuse"].find("latents").is_none());
    assert_same("again", &run(&program, "dce").0, &program);
}
