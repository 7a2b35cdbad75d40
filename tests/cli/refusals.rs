//! What is refused, in which words.

use super::{SMALL, TINY, overwrite, refusals, succeed};
use crate::common::model::{changed, edit};
use crate::common::passes::without_lists;

#[test]
fn bad_input_is_one_message_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let vae = "vae/diffusion_pytorch_model.safetensors";
    changed(root, "truncated", |model| overwrite(model.join(vae), |bytes| bytes.truncate(bytes.len() / 2)));
    changed(root, "corrupt", |model| overwrite(model.join(vae), |bytes| bytes[9..40].fill(b'#')));
    changed(root, "shard", |model| {
        edit(
            &model.join("transformer/diffusion_pytorch_model.safetensors.index.json"),
            "00002-of",
            "00009-of",
        );
    });
    changed(root, "shapes", |model| {
        edit(&model.join("transformer/config.json"), "\"num_layers\": 2", "\"num_layers\": 3");
    });
    changed(root, "json", |model| {
        std::fs::write(model.join("vae/config.json"), "{\"out_channels\": ").unwrap()
    });
    changed(root, "heads", |model| {
        edit(
            &model.join("transformer/config.json"),
            "\"attention_head_dim\": 128",
            "\"attention_head_dim\": 0",
        );
    });
    std::fs::create_dir(root.join("empty")).unwrap();
    std::fs::write(root.join("bad.ir"), "program p {\n  variant main () -> () {\n    %x = linaer\n").unwrap();
    let program = "program p {\n  input %x : f32[2] latent\n  variant main (%x) -> (%y) {\n    \
                   %y = mul %x, @w f32[2] : f32[2]\n    return %y\n  }\n  schedule main\n}\n";
    std::fs::write(root.join("good.ir"), program).unwrap();
    std::fs::write(root.join("notes.txt"), "no tensors").unwrap();
    let prompt = "a red apple";
    let cases: &[&[&str]] = &[
        &["generate"],
        &["generate", prompt, "--colour", "red"],
        &["generate", prompt, "--width", "0"],
        &["generate", prompt, "--height", "7"],
        &["generate", prompt, "--width", "1000000", "--height", "1000000"],
        &["generate", prompt, "--steps", "0"],
        &["ir", "--config", "flux-dev", "--batch", "1000000000000000000"],
        &["ir", "--config", "flux-dev", "--net", "t5", "--max-sequence-length", "1000000000000000000"],
        &["ir", "--config", "flux-dev", "--reference", "1000000000000000000x16"],
        &["opt", "flux-dev", "--height", "1000000000000000000"],
        &["bench", "--random-weights", "--max-sequence-length", "1000000000000000000"],
        &["bench", "--random-weights", "--steps", "1000000000000000000"],
        &["generate", prompt, "--steps", "1001"],
        &["generate", prompt, "--num-images", "0"],
        &["generate", prompt, "--guidance", "NaN"],
        &["generate", prompt, "--max-sequence-length", "0"],
        &["generate", prompt, "--out", "nowhere/picture.png"],
        &["generate", prompt, "--out", "picture.gif"],
        &["generate", prompt, "--out", "empty"],
        &["generate", prompt, "--save-latents", "nowhere/latents.safetensors"],
        &["generate", prompt, "--negative-prompt", "blue"],
        &["generate", prompt, "--init-latents", "notes.txt"],
        &["generate", prompt, "--init-latents", "missing.safetensors"],
        &["generate", prompt, "--init-latents", "corrupt/vae/diffusion_pytorch_model.safetensors"],
        &["generate", prompt, "--model", "missing"],
        &["generate", prompt, "--model", "empty"],
        &["generate", prompt, "--model", "truncated"],
        &["generate", prompt, "--model", "corrupt"],
        &["generate", prompt, "--model", "shard"],
        &["generate", prompt, "--model", "shapes"],
        &["generate", prompt, "--model", "json"],
        &["generate", prompt, "--model", "heads"],
        &["generate", prompt, "--transformer", "notes.txt"],
        &["ir", "--config", "flux-max"],
        &["ir", "--model", "empty"],
        &["ir", "--width", "20"],
        &["ir", "--width", "18446744073709551600"],
        &["ir", "--out", "nowhere/flux.ir"],
        &["run", "bad.ir", "--outputs", "out.safetensors"],
        &["run", "missing.ir"],
        &["run", "good.ir"],
        &["run", "good.ir", "--weights", "notes.txt"],
        &["run", "good.ir", "--weights", "truncated/transformer"],
        &["frobnicate"],
    ];
    let report = refusals(root, cases).replace(prompt, "PROMPT");
    // The one number that depends on the machine.
    let report: Vec<_> = report
        .lines()
        .map(|line| match (line.find("and cpu has "), line.find("; make the picture")) {
            (Some(start), Some(end)) => format!("{}and cpu has N free{}", &line[..start], &line[end..]),
            _ => line.to_owned(),
        })
        .collect();
    snapshot!("cli__bad_input", report.join("\n"));
}

#[test]
fn bad_passes_are_one_message_and_exit_code_1() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let write = |name: &str, text: &str| std::fs::write(root.join(name), text).unwrap();
    write("small.ir", SMALL);
    write("bad.ir", "program p {\n  variant main () -> () {\n    %x = linaer\n");
    write("header.ir", &format!("// passes: dec\n{SMALL}"));
    write("notes.txt", "no passes");
    write("empty.json", "{}");
    write("version.toml", "version = 2\npasses = 'dce'");
    write("key.toml", "version = 1\npasses = 'dce'\npases = 'dce'");
    write("passes.toml", "version = 1\npasses = ['dce', { method = 'fora' }]");
    write("option.toml", "version = 1\npasses = [{ pass = 'cache', method = 'fora', intervall = 3 }]");
    write("smash.json", r#"{"cacher": "fora", "fora_intervall": 3}"#);
    write("int4dq.json", r#"{"torchao": {"quant_type": "int4dq"}}"#);
    succeed(root, &[&["ir", "--out", "flux.ir"], &TINY[..]].concat());
    let cases: &[&[&str]] = &[
        &["opt"],
        &["opt", "missing.ir"],
        &["opt", "flux-dve"],
        &["opt", "bad.ir"],
        &["opt", "."],
        &["opt", "header.ir"],
        &["opt", "small.ir", "--out", "nowhere/out.ir"],
        &["opt", "small.ir", "--out", "."],
        &["opt", "small.ir", "--dump-dir", "notes.txt"],
        &["opt", "small.ir", "--dump-dir", "notes.txt/dumps"],
        &["opt", "small.ir", "--preview", "--out", "out.ir"],
        &["opt", "small.ir", "--width", "32"],
        &["opt", "small.ir", "--config", "flux-dev"],
        &["opt", "flux-dev", "--config", "flux-dev"],
        &["opt", "flux-dev", "--width", "33"],
        &["opt", "flux-dev", "--steps", "1001"],
        &["opt", "small.ir", "--passes", "canonicalise"],
        &["opt", "small.ir", "--passes", "canonicalize,,dce"],
        &["opt", "small.ir", "--passes", "cache(fora,interval=9)"],
        &["opt", "small.ir", "--passes", "cache(flora)"],
        &["opt", "small.ir", "--passes", "quantize(int8dq,exlude=norm)"],
        &["opt", "small.ir", "--passes", "quantize(int8dq,skip=[up,x_embedder])"],
        &["opt", "small.ir", "--passes", "cache(fora)"],
        &["opt", "flux.ir", "--passes", "cache(pab),hoist,cache(fora)"],
        &["opt", "flux.ir", "--passes", "cache(pab)"],
        &["opt", "small.ir", "--passes", "dce", "--passes-config", "version.toml"],
        &["opt", "small.ir", "--passes-config", "missing.toml"],
        &["opt", "small.ir", "--passes-config", "notes.txt"],
        &["opt", "small.ir", "--passes-config", "empty.json"],
        &["opt", "small.ir", "--passes-config", "version.toml"],
        &["opt", "small.ir", "--passes-config", "key.toml"],
        &["opt", "small.ir", "--passes-config", "passes.toml"],
        &["opt", "small.ir", "--passes-config", "option.toml"],
        &["opt", "small.ir", "--passes-config", "smash.json"],
        &["opt", "small.ir", "--passes-config", "int4dq.json"],
        &["opt", "small.ir", "--print-after", "dcee"],
        &["opt", "small.ir", "--print-before", "quantize"],
        &["opt", "small.ir", "--stop-after", "all"],
        &["ir", "--passes", "canonicalise"],
        &["ir", "--print-after", "dce"],
        &["ir", "--net", "vae", "--passes", "quantize(skip=conv_in)"],
        &["generate", "owl", "--passes", "canonicalise"],
        &["generate", "owl", "--passes", "cache(fora),cache(fora)"],
        &["generate", "owl", "--dump-dir", "notes.txt"],
        &["opt", "small.ir", "--cost", "tpu"],
        &["opt", "small.ir", "--dump-format", "dot"],
        &["passes", "dce"],
        &["passes", "explain"],
        &["passes", "explain", "cashe"],
        &["passes", "why", "cse", "y"],
        &["passes", "why", "csee", "y", "small.ir"],
        &["passes", "why", "narrow-carry", "y", "small.ir"],
        &["passes", "why", "cse", "z", "small.ir"],
        &["passes", "why", "cse", "s_attn", "flux.ir"],
        &["passes", "why", "cse", "y", "small.ir", "--stage", "full"],
        &["passes", "why", "cse", "y", "small.ir", "--passes", "canonicalise"],
        &["passes", "why", "cse", "y", "small.ir", "--width", "32"],
        &["ir", "diff", "small.ir"],
        &["ir", "diff", "small.ir", "missing.ir"],
        &["ir", "diff", "bad.ir", "small.ir"],
        &["ir", "diff", "small.ir", "small.ir", "--passes-b", "cache(fora)"],
        &["ir", "diff", "small.ir", "small.ir", "--passes-a", "canonicalise"],
        &["ir", "diff", "small.ir", "small.ir", "--width", "32"],
        &["ir", "diff", "flux-dev", "flux-dev", "--width", "33"],
        &["ir", "--costs", "diff", "small.ir", "small.ir"],
        &["ir", "--costs", "--export", "dot"],
        &["ir", "--unrolled", "--export", "json"],
        &["bisect", "small.ir", "--prompt", "owl"],
        &["bisect", "flux-dev", "--prompt", "owl"],
        &["opt", "small.ir", "--passes", "tap(acr)"],
        &["opt", "small.ir", "--passes", "tap(unsued*)"],
        &["passes", "explain", "reshape-of-reshap"],
    ];
    snapshot!("cli__bad_passes", without_lists(&refusals(root, cases)));
}
