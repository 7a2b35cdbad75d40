//! `reflux calibrate`, and the files that it writes as options of `cache`

use super::{EMOJI, TINY, refusals, succeed, text};

const DEVICE: [&str; 4] = ["--model", EMOJI, "--device", "cpu"];

#[test]
fn what_is_measured_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let measure = |method: &str, file: &str| {
        let arguments = ["calibrate", method, "grinning face", "a red apple", "-o", file];
        let output = succeed(root, &[&arguments, &DEVICE[..], &TINY[..]].concat());
        let said = text(&output.stderr);
        let json: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(root.join(file)).unwrap()).unwrap();
        assert_eq!(
            (&json["method"], &json["steps"], &json["width"]),
            (&method.into(), &6.into(), &32.into())
        );
        assert_eq!(json["prompts"], serde_json::json!(["grinning face", "a red apple"]));
        assert_eq!((&json["model"], &json["version"]), (&"emoji".into(), &reflux::VERSION.into()));
        (json, said)
    };
    let (json, said) = measure("magcache", "ratios.json");
    assert_eq!((json["ratios"].as_array().unwrap().len(), &json["ratios"][0]), (6, &1.0.into()));
    assert!(said.contains("\"cache(magcache,ratios=ratios.json)\""), "{said}");
    let (json, _) = measure("teacache", "polynomial.json");
    assert_eq!(json["coefficients"].as_array().unwrap().len(), 5);
    for passes in [
        "cache(magcache,ratios=ratios.json,threshold=1,retention_ratio=0.1)",
        "cache(teacache,coefficients=polynomial.json)",
    ] {
        let drawn = ["generate", "grinning face", "--passes", passes];
        let output = succeed(root, &[&drawn, &DEVICE[..], &TINY[..]].concat());
        let said = text(&output.stderr);
        assert!(said.contains("cache("), "{said}");
    }
    // What it says can be pasted, whatever the file is called.
    let odd = "it's, my best ratios.json";
    let (_, said) = measure("magcache", odd);
    let typed = said.lines().find_map(|line| line.strip_prefix("read by --passes ")).unwrap();
    let opt = format!("{} opt flux-dev --preview --passes {typed}", env!("CARGO_BIN_EXE_reflux"));
    let pasted = std::process::Command::new("sh").args(["-c", &opt]).current_dir(root).output().unwrap();
    let said = text(&pasted.stderr);
    // They were read, whatever they say of so few steps.
    assert!(pasted.status.success() || said.contains("nothing is reused"), "{typed}: {said}");
    // Without a file it is printed, and nothing else is.
    let printed = ["calibrate", "magcache", "grinning face"];
    let printed = succeed(root, &[&printed, &DEVICE[..], &TINY[..]].concat());
    let json: serde_json::Value = serde_json::from_slice(&printed.stdout).unwrap();
    assert_eq!(json["method"], "magcache");
}

/// TeaCache's own coefficients are one checkpoint's.
#[test]
fn coefficients_of_another_checkpoint_are_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let warning = "teacache's coefficients are those of FLUX.1-dev, and this is another model";
    let said = |arguments: &[&str]| {
        let output = succeed(root, arguments);
        text(&output.stderr) + &text(&output.stdout)
    };
    let draw = |passes| [&["generate", "an owl", "--passes", passes], &DEVICE[..], &TINY[..]].concat();
    let drawn = said(&draw("cache(teacache,threshold=0.2)"));
    assert!(drawn.contains(warning) && drawn.contains("`reflux calibrate teacache` fits them"), "{drawn}");
    let fitted = said(&draw("cache(teacache,threshold=0.2,coefficients=[1.0,0.0])"));
    assert!(!fitted.contains(warning), "{fitted}");
    let other = said(&["opt", "flux-schnell", "--steps", "8", "--passes", "cache(teacache)"]);
    assert!(other.contains(warning), "{other}");
    let own = said(&["opt", "flux-dev", "--passes", "cache(teacache)"]);
    assert!(!own.contains(warning), "{own}");
}

#[test]
fn what_cannot_be_measured_or_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    std::fs::write(root.join("tea.json"), r#"{"method": "teacache", "coefficients": [1.0, 0.0]}"#).unwrap();
    std::fs::write(root.join("wrong.json"), r#"{"method": "magcache", "ratios": [1.0, 0.0]}"#).unwrap();
    std::fs::write(root.join("list.json"), "[1.0, 1.0]").unwrap();
    std::fs::write(root.join("other.json"), r#"{"steps": 28}"#).unwrap();
    let opt = |passes| ["opt", "flux-dev", "--preview", "--passes", passes];
    let cases = [
        opt("cache(magcache,ratios=none.json)"),
        opt("cache(magcache,ratios=tea.json)"),
        opt("cache(magcache,ratios=wrong.json)"),
        opt("cache(magcache,ratios=list.json)"),
        opt("cache(teacache,coefficients=other.json)"),
        ["calibrate", "magcache", "--steps", "1", "--model=nowhere"],
        ["calibrate", "fora", "--steps", "2", "--device=cpu"],
        ["calibrate", "teacache", "a red apple", "--steps=2", "--device=cpu"],
        ["calibrate", "magcache", "a red apple", "--steps=1", "--device=cpu"],
        ["calibrate", "magcache", "-o", "nowhere/ratios.json", "--device=cpu"],
    ];
    let cases: Vec<&[&str]> = cases.iter().map(|case| &case[..]).collect();
    snapshot!("cli__calibrate_refused", refusals(root, &cases));
}
