//! `reflux report`

use super::{files, refusals, succeed, text};
use crate::common::evaluation::{LARGE, PROMPTS, SMALL, noise, save, write};
use reflux::evaluation::{Evaluation, RowKind};
use std::fs;
use std::path::Path;

/// An evaluation of `SMALL` in `root/name`.
fn small(root: &Path, name: &str) -> Evaluation {
    fs::create_dir(root.join(name)).unwrap();
    write(&root.join(name), &SMALL, &PROMPTS, 32)
}

fn read(root: &Path, name: &str) -> String {
    fs::read_to_string(root.join(name)).unwrap()
}

#[test]
fn tables_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    small(root, "run");
    let all = ["report", "run", "--markdown", "t.md", "--csv", "t.csv", "--json", "t.json"];
    let said = text(&succeed(root, &all).stdout);
    snapshot!("report__small", format!("{said}\n{}\n{}", read(root, "t.md"), read(root, "t.csv")));
    let json: serde_json::Value = serde_json::from_str(&read(root, "t.json")).unwrap();
    assert_eq!(json["runs"][0]["headline"].as_str().unwrap(), said.trim_end());
    assert_eq!(json["runs"][0]["rows"][1]["psnr_median"], 31.5);
    assert_eq!(json["runs"][0]["rows"][0]["psnr_median"], serde_json::Value::Null);
    // What is printed is the text alone.
    let printed = text(&succeed(root, &["report", "run", "--csv", "-"]).stdout);
    assert_eq!(printed, read(root, "t.csv"));
}

#[test]
fn plots_are_written() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    small(root, "run");
    succeed(root, &["report", "run", "--plots", "plots"]);
    let names: Vec<String> = files(&root.join("plots"))
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    let all = [
        "memory.png",
        "memory.svg",
        "quality.png",
        "quality.svg",
        "stages.png",
        "stages.svg",
        "warm-up.png",
        "warm-up.svg",
    ];
    assert_eq!(names, all);
    let svg = read(root, "plots/quality.svg");
    assert!(svg.contains("fora 2: 620 ms, 31.5 dB") && !svg.contains("var("), "{svg}");
    let picture = image::open(root.join("plots/quality.png")).unwrap().into_rgb8();
    let dark = picture.pixels().filter(|pixel| pixel.0.iter().all(|level| *level < 100)).count();
    assert!(picture.width() == 1784 && dark > 2000, "{} {dark}", picture.width());
    // They are made anew into a folder that is there.
    fs::write(root.join("plots/other"), "").unwrap();
    succeed(root, &["report", "run", "--plots", "plots"]);
    assert!(root.join("plots/other").exists());
}

/// Rows that can be compared are in one table, others in sections of their own.
#[test]
fn runs_are_joined() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    small(root, "a");
    let mut b = small(root, "b");
    b.rows.retain(|row| ["base", "int8dq", "both"].contains(&&*row.name));
    b.rows[1].passes = "quantize(int8dq,exclude=[proj_out])".into();
    save(&root.join("b"), &b);
    let mut c = small(root, "c");
    c.steps = 28;
    save(&root.join("c"), &c);
    let output = succeed(root, &["report", "a", "b", "c", "-o", "page.html", "--markdown", "-"]);
    let markdown = text(&output.stdout);
    assert_eq!(markdown.matches("| | Passes |").count(), 2, "{markdown}");
    assert!(markdown.contains("| int8dq (b) |"), "{markdown}");
    let said = text(&output.stderr);
    assert!(said.contains("warning: b: 1 row with the passes and steps of rows of a left out"), "{said}");
    let page = read(root, "page.html");
    assert_eq!((page.matches("<article").count(), page.matches("<nav").count()), (2, 1));
    assert!(page.matches("<img src=\"data:").count() <= 24);
}

/// What is missing or damaged is left out of the page, which says so.
#[test]
fn a_page_says_what_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut run = small(root, "run");
    fs::remove_file(root.join("run/01/001.png")).unwrap();
    fs::write(root.join("run/01/002.png"), "no picture").unwrap();
    fs::copy(root.join("run/02/003.png"), root.join("run/01/003.png")).unwrap();
    fs::copy(root.join("run/01/000.png"), root.join("secret.png")).unwrap();
    run.rows[1].pictures[0].file = "../secret.png".into();
    run.rows[2].pictures.truncate(3);
    run.rows[3].median_seconds = 0.0;
    run.rows[3].peak_bytes = None;
    run.rows[4].quality = None;
    run.rows[4].adherence = None;
    run.rows[4].warnings.push("the device was <busy>".into());
    save(&root.join("run"), &run);
    let json = read(root, "run/evaluation.json").replacen("{", "{\"new\": 1, ", 1);
    fs::write(root.join("run/evaluation.json"), json).unwrap();
    let output = succeed(root, &["report", "run", "-o", "page.html"]);
    snapshot!("report__missing", text(&output.stderr));
    let page = read(root, "page.html");
    assert_eq!(page.matches("<img src=\"data:").count(), 15);
    assert_eq!(page.matches("class=\"absent\"").count(), 5);
    assert!(page.contains("the device was &lt;busy&gt;") && page.contains("`new` is not known here"));
}

#[test]
fn little_is_enough_for_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut run = small(root, "run");
    run.rows.truncate(1);
    save(&root.join("run"), &run);
    let said = text(&succeed(root, &["report", "run", "-o", "page.html", "--pictures", "1"]).stdout);
    assert!(said.starts_with("Only the base was evaluated"), "{said}");
    let page = read(root, "page.html");
    assert!(!page.contains("run-0-quality\"") && page.contains("run-0-stages\""));
    assert_eq!(page.matches("<img src=\"data:").count(), 1);
    // Nothing timed, no prompts, no pictures.
    run.prompts.clear();
    run.rows[0].pictures.clear();
    (run.rows[0].median_seconds, run.rows[0].cold_seconds, run.rows[0].weight_bytes) = (0.0, 0.0, 0);
    run.rows[0].peak_bytes = None;
    save(&root.join("run"), &run);
    let output = succeed(root, &["report", "run", "-o", "page.html", "--plots", "plots"]);
    assert!(text(&output.stderr).contains("nothing to plot"), "{}", text(&output.stderr));
    assert!(!root.join("plots").exists());
    let page = read(root, "page.html");
    assert!(!page.contains("<svg") && !page.contains("<img"));
}

#[test]
fn no_configuration_may_be_worth_it() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut run = small(root, "run");
    let mut headline = |change: &dyn Fn(&mut Evaluation)| {
        change(&mut run);
        save(&root.join("run"), &run);
        text(&succeed(root, &["report", "run", "--json", "t.json"]).stdout)
    };
    // None is near: the one that leads by most over fewer steps.
    let said = headline(&|run| run.rows[1].quality.as_mut().unwrap().psnr.median = 28.0);
    assert!(
        said.starts_with("Nothing that is faster reaches 30 dB; the best trade-off is `fora 2`"),
        "{said}"
    );
    // Equal pictures.
    let equal = |run: &mut Evaluation| {
        let psnr = &mut run.rows[1].quality.as_mut().unwrap().psnr;
        (psnr.median, psnr.worst) = (100.0, 100.0);
    };
    let said = headline(&equal);
    assert!(said.contains("1.9 times as fast, and every picture is the base's"), "{said}");
    // Fewer steps beat all.
    let said = headline(&|run| {
        run.rows[4].quality.as_mut().unwrap().psnr.median = 100.0;
        run.rows[4].median_seconds = 0.3;
    });
    assert!(said.starts_with("No configuration is worth it here"), "{said}");
    let said = headline(&|run| run.rows.iter_mut().for_each(|row| row.median_seconds = 2.0));
    assert!(said.starts_with("No configuration is faster"), "{said}");
    let said = headline(&|run| run.rows.retain(|row| row.kind != RowKind::Config));
    assert!(said.starts_with("No configuration was compared"), "{said}");
}

/// A page stays below 5 MB whatever its 24 pictures show: noise is the worst that can be.
#[test]
fn a_page_is_small() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut run = write(root, &LARGE, &PROMPTS[..1], 8);
    let (file, sha256) = noise(root, 640);
    let picture = run.rows[0].pictures[0].clone();
    let picture = reflux::evaluation::PictureResult { file, sha256, ..picture };
    run.prompts = vec![run.prompts[0].clone(); 1000];
    run.rows.iter_mut().for_each(|row| row.pictures = vec![picture.clone(); 1000]);
    save(root, &run);
    succeed(root, &["report", ".", "-o", "page.html"]);
    let page = read(root, "page.html");
    assert_eq!(page.matches("<img src=\"data:image/jpeg").count(), 24);
    assert!(page.len() > 1_500_000 && page.len() < 5_000_000, "{}", page.len());
    assert!(page.contains("3 of 1000 prompts and 8 of 14 rows"), "how much of it is shown is said");
    succeed(root, &["report", ".", "-o", "page.html", "--pictures", "0"]);
    assert!(read(root, "page.html").len() < 300_000);
}

/// Prompts and names are text, in whatever they are written.
#[test]
fn nothing_in_data_is_obeyed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    const EVIL: &str = "</script><script>alert(1)</script>{{title}}\"'|`\u{202e}\u{7}";
    let mut run = small(root, "run");
    run.model = EVIL.into();
    run.device = EVIL.into();
    run.prompts[0].prompt = EVIL.into();
    for row in &mut run.rows[1..] {
        row.name = format!("{}{EVIL}", row.name);
        row.passes = EVIL.into();
        row.warnings = vec![EVIL.into()];
        row.stages[0].stage = EVIL.into();
        row.graph[..].iter_mut().for_each(|pass| (pass.pass, pass.notes) = (EVIL.into(), vec![EVIL.into()]));
    }
    save(&root.join("run"), &run);
    let all = [
        "report",
        "run",
        "-o",
        "page.html",
        "--markdown",
        "t.md",
        "--csv",
        "t.csv",
        "--json",
        "t.json",
        "--plots",
        "plots",
    ];
    succeed(root, &all);
    let page = read(root, "page.html");
    assert_eq!((page.matches("<script>").count(), page.matches("</script>").count()), (1, 1));
    assert!(!page.contains('\u{202e}') && !page.contains('\u{7}'));
    assert!(page.matches("&lt;script&gt;alert(1)&lt;/script&gt;{{title}}&quot;&#39;|`").count() > 20);
    for name in ["quality", "stages"] {
        let svg = read(root, &format!("plots/{name}.svg"));
        assert!(!svg.contains("<script") && svg.contains("&lt;script"), "{svg}");
    }
    let markdown = read(root, "t.md");
    assert!(!markdown.contains("<script") && markdown.contains("\\|\\`"), "{markdown}");
    let json: serde_json::Value = serde_json::from_str(&read(root, "t.json")).unwrap();
    assert_eq!(json["runs"][0]["rows"][1]["passes"], EVIL);
}

#[test]
fn what_cannot_be_read_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    small(root, "run");
    let good = read(root, "run/evaluation.json");
    let bad = |name: &str, text: &str| {
        fs::create_dir(root.join(name)).unwrap();
        fs::write(root.join(name).join("evaluation.json"), text).unwrap();
    };
    let changed = |name: &str, change: &dyn Fn(&mut serde_json::Value)| {
        let mut value = serde_json::from_str(&good).unwrap();
        change(&mut value);
        bad(name, &value.to_string());
    };
    fs::create_dir(root.join("empty")).unwrap();
    fs::write(root.join("file"), "").unwrap();
    fs::create_dir_all(root.join("run/latents/base")).unwrap();
    fs::write(root.join("run/latents/base/000.safetensors"), "").unwrap();
    bad("cut", &good[..good.len() / 2]);
    bad("nothing", "");
    bad("list", "[1]");
    changed("rowless", &|value| value["rows"] = serde_json::json!([]));
    changed("null", &|value| value["rows"][2]["quality"]["psnr"]["median"] = serde_json::Value::Null);
    changed("negative", &|value| value["rows"][2]["p95_seconds"] = serde_json::json!(-1));
    changed("huge", &|value| value["rows"][1]["quality"]["psnr"]["worst"] = serde_json::json!(1e300));
    changed("nearer", &|value| value["rows"][1]["pictures"][2]["ssim"] = serde_json::json!(2.5));
    changed("timeless", &|value| value["rows"][1]["pictures"][0]["seconds"] = serde_json::json!(-0.5));
    changed("twice", &|value| value["rows"][2]["name"] = serde_json::json!("base"));
    changed("baseless", &|value| value["rows"][0]["kind"] = serde_json::json!("config"));
    changed("bases", &|value| value["rows"][1]["kind"] = serde_json::json!("base"));
    changed("many", &|value| value["prompts"].as_array_mut().unwrap().truncate(1));
    changed("newer", &|value| {
        value["version"] = serde_json::json!("99.0.0");
        value["rows"][1]["kind"] = serde_json::json!("variant");
    });
    let page = ["-o", "page.html"];
    let folders = [
        "absent", "empty", "file", "cut", "nothing", "list", "rowless", "null", "negative", "huge", "nearer",
        "timeless", "twice", "baseless", "bases", "many", "newer",
    ];
    let mut cases: Vec<Vec<&str>> =
        folders.iter().map(|folder| [&["report", folder][..], &page].concat()).collect();
    cases.extend([
        vec!["report"],
        vec!["report", "run"],
        vec!["report", "run", "empty", "-o", "page.html", "--plots", "plots"],
        vec!["report", "run", "-o", "page.html", "--csv", "page.html"],
        vec!["report", "run", "--csv", "-", "--json", "-"],
        vec!["report", "-", "--csv", "-"],
        vec!["report", "run", "--json", "run/evaluation.json"],
        vec!["report", "run", "--markdown", "run/latents/base/000.safetensors"],
        vec!["report", "run", "--csv", "t.csv", "--pictures", "5"],
        vec!["report", "run", "-o", "absent/page.html"],
        vec!["report", "run", "--plots", "file"],
        vec!["report", "run", "--plots", "absent/plots"],
        vec!["report", "run", "-o", "page.html", "--pictures", "241"],
    ]);
    let cases: Vec<&[&str]> = cases.iter().map(Vec::as_slice).collect();
    snapshot!("report__refusals", refusals(root, &cases));
}
