//! Where results go: whatever is named, nothing is harmed.

use super::{EMOJI, files, reflux, succeed, text};
use crate::common::model;
use std::fs;
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, symlink};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};

/// What prints a program in a moment.
const IR: [&str; 5] = ["ir", "--net", "clip", "--config", "flux-dev"];
/// A picture in a moment.
const DRAW: [&str; 11] =
    ["generate", "owl", "--device", "cpu", "--steps", "1", "--width", "32", "--height", "16", "--model"];

fn draw<'a>(more: &[&'a str]) -> Vec<&'a str> {
    [&DRAW[..], &[EMOJI], more].concat()
}

/// Every command that writes files, each as one that names its file last.
fn writers(root: &Path) -> Vec<Vec<&'static str>> {
    fs::write(root.join("p.ir"), super::SMALL).unwrap();
    vec![
        [&IR[..], &["-o"]].concat(),
        vec!["opt", "p.ir", "--passes", "dce", "-o"],
        vec!["run", "p.ir", "--random", "1", "--device", "cpu", "--outputs"],
        draw(&["-o", "own.png", "--save-latents"]),
        draw(&["-o"]),
    ]
}

#[test]
fn links_are_followed_and_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir(root.join("far")).unwrap();
    for (number, writer) in writers(root).into_iter().enumerate() {
        let name = |stem: &str| format!("{stem}{number}.png");
        fs::write(root.join("far").join(name("old")), "old").unwrap();
        symlink(Path::new("far").join(name("old")), root.join(name("link"))).unwrap();
        symlink(name("link"), root.join(name("second"))).unwrap();
        symlink(Path::new("far").join(name("new")), root.join(name("dangling"))).unwrap();
        for (link, target) in [("second", "old"), ("dangling", "new")] {
            succeed(root, &[&writer[..], &[&name(link)]].concat());
            assert!(root.join(name(link)).is_symlink(), "{writer:?}");
            let target = root.join("far").join(name(target));
            assert!(target.symlink_metadata().unwrap().len() > 100, "{writer:?}");
        }
        assert!(root.join(name("link")).is_symlink());
    }
    symlink("round", root.join("round")).unwrap();
    let refused = reflux(root, &[&IR[..], &["-o", "round"]].concat());
    assert!(text(&refused.stderr).contains("a link in a cycle"), "{}", text(&refused.stderr));
    symlink("nowhere/x.ir", root.join("astray")).unwrap();
    let refused = reflux(root, &[&IR[..], &["-o", "astray"]].concat());
    assert_eq!(text(&refused.stderr), "error: cannot write astray: there is no such folder\n");
}

#[test]
fn pipes_and_devices_are_written_to() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for writer in writers(root) {
        let pipe = root.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let reader = {
            let pipe = pipe.clone();
            std::thread::spawn(move || fs::read(pipe).unwrap())
        };
        succeed(root, &[&writer[..], &["pipe"]].concat());
        assert!(reader.join().unwrap().len() > 100, "{writer:?}");
        assert!(pipe.metadata().unwrap().file_type().is_fifo(), "{writer:?}");
        fs::remove_file(pipe).unwrap();
        // A copy of /dev/null, which only root can make, and only root could replace.
        if Command::new("mknod")
            .current_dir(root)
            .args(["null", "c", "1", "3"])
            .output()
            .unwrap()
            .status
            .success()
        {
            succeed(root, &[&writer[..], &["null"]].concat());
            assert!(root.join("null").metadata().unwrap().file_type().is_char_device(), "{writer:?}");
            fs::remove_file(root.join("null")).unwrap();
        }
        symlink("/dev/full", root.join("full")).unwrap();
        let full = reflux(root, &[&writer[..], &["full"]].concat());
        assert_eq!(full.status.code(), Some(1), "{writer:?}");
        assert!(
            text(&full.stderr).contains("cannot write full: no space is left on the device"),
            "{writer:?}"
        );
        fs::remove_file(root.join("full")).unwrap();
    }
}

/// Descriptors are written to where they are, not by the name of what they lead to.
#[test]
fn standard_output_has_several_names() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let expected = text(&succeed(root, &IR).stdout);
    symlink("/proc/self/fd/1", root.join("link")).unwrap();
    for name in ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"] {
        assert_eq!(text(&succeed(root, &[&IR[..], &["-o", name]].concat()).stdout), expected, "{name}");
        let log = root.join("log");
        fs::write(&log, "before\n").unwrap();
        let inode = log.metadata().unwrap().ino();
        let appended = fs::OpenOptions::new().append(true).open(&log).unwrap();
        let run = Command::new(env!("CARGO_BIN_EXE_reflux"))
            .args(IR)
            .args(["-o", name])
            .current_dir(root)
            .stdout(appended)
            .status()
            .unwrap();
        assert!(run.success());
        assert_eq!(fs::read_to_string(&log).unwrap(), format!("before\n{expected}"), "{name}");
        assert_eq!(log.metadata().unwrap().ino(), inode, "{name}");
        fs::remove_file(log).unwrap();
    }
    // A descriptor of somebody else's making, as from a shell's `>(…)`.
    let shell = format!("{} {} -o /dev/fd/7 7>>log", env!("CARGO_BIN_EXE_reflux"), IR.join(" "));
    fs::write(root.join("log"), "before\n").unwrap();
    assert!(Command::new("sh").args(["-c", &shell]).current_dir(root).status().unwrap().success());
    assert_eq!(fs::read_to_string(root.join("log")).unwrap(), format!("before\n{expected}"));
    assert_eq!(files(root), ["link", "log"].map(|name| root.join(name)));
}

#[test]
fn binary_results_go_to_standard_output_alone() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    succeed(root, &draw(&["apple", "-o", "p.png", "--save-latents", "l.safetensors"]));
    let bytes = |name: &str| fs::read(root.join(name)).unwrap();
    let pixels = |bytes: &[u8]| png_pixels(bytes);
    let printed = succeed(root, &draw(&["-o", "-"]));
    assert_eq!(pixels(&printed.stdout), pixels(&bytes("p-0.png")));
    let both = succeed(root, &draw(&["apple", "-o", "/dev/stdout"])).stdout;
    let second = both.windows(8).rposition(|window| window == b"\x89PNG\r\n\x1a\n").unwrap();
    assert_eq!(pixels(&both[..second]), pixels(&bytes("p-0.png")));
    assert_eq!(pixels(&both[second..]), pixels(&bytes("p-1.png")));
    let latents = succeed(root, &draw(&["apple", "-o", "/dev/null", "--save-latents", "-"])).stdout;
    assert_eq!(latents, bytes("l.safetensors"));
    for (mixed, message) in [
        (&["-o", "-", "--json"][..], "--json prints to standard output"),
        (&["--save-latents", "/dev/stdout", "--json"], "--json prints to standard output"),
        (&["-o", "-", "--save-latents", "-"], "--out and --save-latents name the same file"),
        (&["-o", "x.png", "--save-latents", "./x.png"], "--out and --save-latents name the same file"),
    ] {
        let refused = reflux(root, &draw(mixed));
        assert!(text(&refused.stderr).contains(message), "{}", text(&refused.stderr));
        assert!(refused.status.code() == Some(1) && refused.stdout.is_empty());
    }
    assert_eq!(files(root), ["l.safetensors", "p-0.png", "p-1.png"].map(|name| root.join(name)));
}

/// The pixels of a PNG.
fn png_pixels(bytes: &[u8]) -> Vec<u8> {
    let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    pixels
}

#[test]
fn permissions_stay() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let out = root.join("private.ir");
    fs::write(&out, "old").unwrap();
    fs::set_permissions(&out, fs::Permissions::from_mode(0o600)).unwrap();
    succeed(root, &[&IR[..], &["-o", "private.ir"]].concat());
    assert_eq!(out.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert!(out.metadata().unwrap().len() > 100);
    // Protection holds for all but root: a file may not be replaced that may not be written.
    fs::set_permissions(&out, fs::Permissions::from_mode(0o400)).unwrap();
    let is_root = fs::OpenOptions::new().write(true).open(&out).is_ok();
    let outcome = reflux(root, &[&IR[..], &["-o", "private.ir"]].concat());
    assert_eq!(outcome.status.success(), is_root, "{}", text(&outcome.stderr));
    if !is_root {
        assert_eq!(
            text(&outcome.stderr),
            "error: cannot write private.ir: it may not be accessed by this user (permission denied)\n"
        );
        // One that may be written is, even where nothing can be made beside it.
        fs::set_permissions(&out, fs::Permissions::from_mode(0o600)).unwrap();
        fs::set_permissions(root, fs::Permissions::from_mode(0o500)).unwrap();
        let outcome = reflux(root, &[&IR[..], &["-o", "private.ir"]].concat());
        fs::set_permissions(root, fs::Permissions::from_mode(0o700)).unwrap();
        assert!(outcome.status.success(), "{}", text(&outcome.stderr));
    }
}

#[test]
fn a_lost_reader_of_messages_loses_no_result() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (number, writer) in writers(root).into_iter().enumerate() {
        for closed in [false, true] {
            let name = format!("{number}{closed}.png");
            let mut run = Command::new(env!("CARGO_BIN_EXE_reflux"));
            run.args([&writer[..], &[&name]].concat()).current_dir(root).stdout(Stdio::null());
            let status = if closed {
                let mut child = run.stderr(Stdio::piped()).spawn().unwrap();
                drop(child.stderr.take());
                child.wait().unwrap()
            } else {
                let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
                run.stderr(full).status().unwrap()
            };
            assert_eq!(status.code(), Some(0), "{writer:?}, closed: {closed}");
            assert!(root.join(&name).metadata().unwrap().len() > 100, "{writer:?}, closed: {closed}");
        }
    }
    // What fails still says so in the one way that is left.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let run =
        Command::new(env!("CARGO_BIN_EXE_reflux")).args(["opt", "nowhere.ir"]).stderr(full).status().unwrap();
    assert_eq!(run.code(), Some(1));
}

/// A program whose result takes a while to write.
const LARGE: &str = "program large {
  input %x : f32[1024,8192] latent
  variant main (%x) -> (%y) {
    %y = mul %x, 2.0 : f32[1024,8192]
    return %y
  }
  schedule main
}";

/// Runs [`LARGE`] by a shell after `setup`, sends it `signal` while it writes, and says how it ended; nothing if it was done before.
fn interrupted(root: &Path, setup: &str, signal: &str) -> Option<ExitStatus> {
    fs::write(root.join("large.ir"), LARGE).unwrap();
    fs::write(root.join("out.safetensors"), "old").unwrap();
    let run = "run large.ir --random 1 --device cpu --outputs out.safetensors";
    let mut child = Command::new("sh")
        .args(["-c", &format!("{setup} exec {} {run}", env!("CARGO_BIN_EXE_reflux"))])
        .current_dir(root)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let is_writing = || unfinished(root).is_some_and(|path| path.metadata().is_ok_and(|file| file.len() > 0));
    while !is_writing() {
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::sleep(std::time::Duration::from_micros(200));
    }
    Command::new("kill").args(["-s", signal, &child.id().to_string()]).status().unwrap();
    Some(child.wait().unwrap())
}

fn unfinished(root: &Path) -> Option<PathBuf> {
    let is_unfinished = |path: &PathBuf| path.file_name().unwrap().to_string_lossy().starts_with(".reflux-");
    files(root).into_iter().find(is_unfinished)
}

/// The signals that end a process, but for those that these tests, and so all that they start, were told to ignore: `nohup`
/// and shells in the background do that.
fn signals() -> impl Iterator<Item = (&'static str, i32)> {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.map_or(0, |mask| u64::from_str_radix(mask.trim(), 16).unwrap());
    [("HUP", 1), ("INT", 2), ("TERM", 15)]
        .into_iter()
        .filter(move |(_, signal)| ignored & (1 << (signal - 1)) == 0)
}

/// One that is sure to be at work when it is told to end.
#[cfg(target_os = "linux")]
#[test]
fn a_run_that_is_told_to_end_ends_by_that() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("owl.png"), "old").unwrap();
    let long = ["generate", "owl", "--device", "cpu", "--steps", "1000", "--model", EMOJI, "-o", "owl.png"];
    for (name, signal) in signals() {
        let mut command = Command::new(env!("CARGO_BIN_EXE_reflux"));
        let command = command.args(long).current_dir(root).stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        // Weights are mapped after all that is prepared for an end.
        let maps = format!("/proc/{}/maps", child.id());
        while !fs::read_to_string(&maps).unwrap_or_default().contains(".safetensors") {
            assert_eq!(child.try_wait().unwrap(), None, "it ends before it has begun");
            std::thread::yield_now();
        }
        Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).output().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(signal));
        assert_eq!(fs::read(root.join("owl.png")).unwrap(), b"old");
        assert_eq!(files(root), [root.join("owl.png")]);
    }
}

/// What is told to end while it writes leaves the file as it was, and nothing beside it; on a busy machine every run may be through before it is caught.
#[test]
fn signals_leave_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for (name, signal) in signals() {
        let ends = (0..20)
            .filter_map(|_| interrupted(root, "", name))
            .inspect(|_| assert_eq!(unfinished(root), None));
        let mut ends = ends.filter(|status| !status.success());
        let Some(end) = ends.next() else { continue };
        // Its parent sees by what it ended.
        assert_eq!(end.signal(), Some(signal));
        assert!(fs::read(root.join("out.safetensors")).unwrap() == b"old", "it is half written");
    }
    // What whoever started it does not want it to hear, as `nohup` does, it does not hear.
    let status = (0..20).find_map(|_| interrupted(root, "trap '' HUP;", "HUP"));
    assert!(status.is_none_or(|status| status.code() == Some(0)), "{status:?}");
    assert!(root.join("out.safetensors").metadata().unwrap().len() > 1_000_000);
}

/// What is killed cannot remove what it has begun; the next run that writes there does, and leaves alone what another is writing.
#[cfg(target_os = "linux")]
#[test]
fn leftovers_of_killed_runs_are_removed() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let mut kills = (0..20).filter_map(|_| interrupted(root, "", "KILL"));
    // On a busy machine every run may be through before it is caught.
    if kills.all(|status| status.success()) {
        return;
    }
    let left = unfinished(root).unwrap();
    // As if another process had it.
    let held = fs::File::open(&left).unwrap();
    held.lock().unwrap();
    let run = ["run", "large.ir", "--random", "1", "--device", "cpu", "--outputs", "out.safetensors"];
    succeed(root, &run);
    assert_eq!(unfinished(root), Some(left));
    drop(held);
    succeed(root, &run);
    assert_eq!(unfinished(root), None);
}

#[test]
fn pictures_are_kept_when_a_later_one_fails() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    symlink("/dev/full", root.join("p-1.png")).unwrap();
    let output = reflux(root, &draw(&["apple", "--num-images", "2", "-o", "p.png", "--seed", "3"]));
    assert_eq!((output.status.code(), text(&output.stdout)), (Some(1), "p-0.png\n".into()));
    let message = text(&output.stderr);
    assert!(message.contains("cannot write p-1.png: no space is left on the device"), "{message}");
    assert!(message.ends_with("; 1 picture before it is written\n"), "{message}");
    assert_eq!(files(root), ["p-0.png", "p-1.png"].map(|name| root.join(name)));
}

#[test]
fn names_of_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("ein Ordner/ünï 🍎")).unwrap();
    let drawn = |out: &str| text(&succeed(root, &draw(&["-o", out])).stdout);
    for (out, written) in [
        ("out", "out.png"),
        ("out.PNG", "out.PNG"),
        ("ein Ordner/ünï 🍎/apple 1.png", "ein Ordner/ünï 🍎/apple 1.png"),
        ("{seed}-%03d.png", "0-%03d.png"),
        ("C:\\out.png", "C:\\out.png"),
        ("./-.png", "./-.png"),
    ] {
        assert_eq!(drawn(out), format!("{written}\n"));
        assert!(root.join(written).metadata().unwrap().len() > 100);
    }
    let long = format!("{}.png", "x".repeat(300));
    for (out, why) in [
        (".png", "has no name before the dot"),
        ("apple.v2", "must end in .png, .jpg or .webp"),
        ("out.", "must end in .png, .jpg or .webp"),
        ("ein Ordner", "is a folder; name a file in it"),
        ("ein Ordner/", "names a folder; name a file in it"),
        ("neu/", "names a folder; name a file in it"),
        ("..", "names a folder; name a file in it"),
        ("~/x.png", "there is no such folder"),
        ("out.png/x.png", "there is no such folder"),
        (&long, "its name is too long"),
    ] {
        let refused = reflux(root, &draw(&["-o", out]));
        let message = text(&refused.stderr);
        assert!(refused.status.code() == Some(1) && message.to_lowercase().contains(why), "{out}: {message}");
    }
}

/// What is read from a pipe to its end when the writer is done, several pictures included.
#[test]
fn several_pictures_go_through_one_pipe() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    assert!(Command::new("mkfifo").arg(root.join("pipe")).status().unwrap().success());
    let pipe = root.join("pipe");
    let reader = std::thread::spawn(move || {
        let mut bytes = Vec::new();
        fs::File::open(pipe).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    });
    succeed(root, &draw(&["--num-images", "3", "-o", "pipe"]));
    let bytes = reader.join().unwrap();
    assert_eq!(bytes.windows(8).filter(|window| window == b"\x89PNG\r\n\x1a\n").count(), 3);
}

#[test]
fn sizes_of_formats_are_known_before_anything_is_drawn() {
    let folder = tempfile::tempdir().unwrap();
    for (out, width, why) in
        [("a.webp", "16400", "a WebP has at most 16384"), ("a.jpg", "65536", "a JPEG has at most 65535")]
    {
        let arguments = ["generate", "owl", "--device", "cpu", "--height", "16", "--width", width, "-o", out];
        let refused = reflux(folder.path(), &arguments);
        assert!(text(&refused.stderr).contains(why), "{}", text(&refused.stderr));
    }
}

/// What is read is not written over, whatever the names that it goes by.
#[test]
fn inputs_are_no_outputs() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    fs::write(root.join("p.ir"), super::SMALL).unwrap();
    fs::write(root.join("passes.toml"), "version = 1\npasses = 'dce'\n").unwrap();
    succeed(root, &["run", "p.ir", "--random", "1", "--device", "cpu", "--outputs", "given.safetensors"]);
    model::changed(root, "model", |_| {});
    symlink("model/vae/diffusion_pytorch_model.safetensors", root.join("link.safetensors")).unwrap();
    let vae = "model/vae/diffusion_pytorch_model.safetensors";
    let drawn = ["generate", "owl", "--device", "cpu", "--model", "model", "--save-latents"];
    let run = ["run", "p.ir", "--random", "1", "--device", "cpu"];
    let before =
        files(root).into_iter().filter(|path| path.is_file()).map(|path| (fs::read(&path).unwrap(), path));
    let before: Vec<_> = before.collect();
    for (command, read) in [
        ([&drawn[..], &[vae]].concat(), "as part of model"),
        ([&drawn[..], &["model/scheduler/scheduler_config.json"]].concat(), "as part of model"),
        ([&drawn[..], &["link.safetensors", "--vae", vae]].concat(), vae),
        ([&run[..], &["--outputs", "p.ir"]].concat(), "p.ir is an input and"),
        (
            [&run[..], &["--inputs", "given.safetensors", "--outputs", "./given.safetensors"]].concat(),
            "is an input as part of given.safetensors",
        ),
        (
            vec!["opt", "p.ir", "--passes-config", "passes.toml", "-o", "passes.toml"],
            "passes.toml is an input and",
        ),
    ] {
        let refused = reflux(root, &command);
        let message = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(1), "{command:?}: {message}");
        assert!(message.contains(read) && message.contains("would be overwritten"), "{command:?}: {message}");
    }
    for (bytes, path) in before {
        assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
    }
    // A program is edited in place, and a picture may lie with the model.
    succeed(root, &["opt", "p.ir", "--passes-only", "canonicalize", "-o", "p.ir"]);
    fs::write(root.join("model/owl.png"), "old").unwrap();
    succeed(root, &draw(&["-o", "model/owl.png"]));
}

/// A picture of which nobody has read the whole was not delivered.
#[test]
fn a_reader_that_leaves_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_reflux"));
    let command = command.args(draw(&["-o", "-"])).current_dir(folder.path());
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(text(&output.stderr), "error: cannot write -: its reader has closed it\n");
}

/// Where files may not become as long, there is a message and nothing is left.
#[test]
fn a_limit_of_file_sizes_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let script =
        format!("ulimit -f 1; exec {} {}", env!("CARGO_BIN_EXE_reflux"), draw(&["-o", "owl.png"]).join(" "));
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.starts_with("error: cannot write owl.png: ") && message.contains("ulimit -f"),
        "{message}"
    );
    assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
}
