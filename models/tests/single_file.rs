//! Models that are one file of weights.

use crate::common::{emoji, read, renamed, write};
use reflux_ir::{DType, Fact};
use reflux_models::tokenizer::built_in;
use reflux_models::{Family, ModelConfig, ModelError, ModelFiles, Net, Parts, Sizes};
use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

/// ComfyUI's prefix for each network.
fn prefix(net: &Net) -> &'static str {
    match net.name {
        "transformer" => "model.diffusion_model.",
        "t5" => "text_encoders.t5xxl.transformer.",
        "clip" => "text_encoders.clip_l.transformer.",
        _ => "vae.",
    }
}

fn smallest(model: &ModelConfig) -> Sizes {
    model.family().geometry.smallest()
}

/// Writes a file in the shape of a published model, all of whose numbers are a hole in the file.
fn write_hollow(path: &Path, model: &ModelConfig, nets: &[&'static Net]) {
    let mut at = 0;
    let mut entries = Vec::new();
    for &net in nets {
        let program = model.lower(net, &smallest(model), DType::BF16).unwrap();
        for (name, fact) in program.weights() {
            let end = at + fact.bytes();
            let (prefix, shape) = (prefix(net), &fact.shape[..]);
            entries.push(format!(
                r#""{prefix}{name}":{{"dtype":"BF16","shape":{shape:?},"data_offsets":[{at},{end}]}}"#
            ));
            at = end;
        }
    }
    let header = format!("{{{}}}", entries.join(","));
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes()).unwrap();
    file.write_all(header.as_bytes()).unwrap();
    file.set_len(8 + header.len() as u64 + at).unwrap();
}

fn find(path: &Path, parts: Parts) -> Result<(ModelFiles, ModelConfig), ModelError> {
    let files = ModelFiles::find(path, parts)?;
    let config = ModelConfig::of(&files)?;
    Ok((files, config))
}

#[test]
fn a_file_with_all_networks_is_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux1-all-in-one.safetensors");
    for name in ModelConfig::built_in_names() {
        let published = ModelConfig::built_in(name).unwrap();
        let family: &Family = published.family();
        write_hollow(&path, &published, family.nets);
        let (files, found) = find(&path, Parts::default()).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(files.name().unwrap(), "flux1-all-in-one");
        for &net in family.nets {
            let lowered = |model: &ModelConfig| model.lower(net, &smallest(model), DType::BF16).unwrap();
            assert_eq!(lowered(&found), lowered(&published), "{name}: {}", net.name);
            let tensors: Vec<_> = lowered(&found)
                .weights()
                .into_iter()
                .map(|(name, fact): (&str, &Fact)| (name.to_owned(), fact.shape.to_vec()))
                .collect();
            let unused =
                files.weights(net).unwrap().check(&tensors, &[]).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(unused, Vec::<String>::new(), "{name}: {}", net.name);
        }
        assert_eq!(found.scheduler(), published.scheduler(), "{name}");
        assert_eq!(found.defaults(), published.defaults(), "{name}");
    }
}

#[test]
fn networks_that_are_not_in_the_file_are_named_with_their_options() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("flux.safetensors");
    let published = ModelConfig::built_in("flux-dev").unwrap();
    let denoiser = published.family().denoiser();
    write_hollow(&path, &published, &[denoiser]);
    let error = find(&path, Parts::default()).unwrap_err().to_string();
    for part in ["--t5", "--clip", "--vae", "--transformer", "flux.safetensors"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let others = published.family().nets.iter().filter(|net| **net != denoiser);
    let parts = others.fold(Parts::default(), |parts, net| {
        let path = folder.path().join(format!("{}.safetensors", net.name));
        write_hollow(&path, &published, &[net]);
        parts.with(net.name, path)
    });
    let (_, found) = find(&path, parts).unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(found.defaults(), published.defaults());
    let error = find(&folder.path().join("t5.safetensors"), Parts::default()).unwrap_err().to_string();
    assert!(error.contains("a T5 text encoder"), "{error}");
}

/// The bundled model's autoencoder scales latents by other factors than FLUX.1's, which no tensor tells.
#[test]
fn what_shapes_do_not_tell_is_read_beside_the_file_or_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("emoji.safetensors");
    let bundled = ModelConfig::read(&emoji("")).unwrap();
    let nets = bundled.family().nets;
    let tensors =
        nets.iter().flat_map(|net| renamed(&read(&emoji(net.folder)), |name| prefix(net).to_owned() + name));
    write(&path, &tensors.collect());
    let error = find(&path, Parts::default()).unwrap_err().to_string();
    assert!(error.contains("FLUX.1's autoencoder") && error.contains("vae/"), "{error}");
    for net in nets {
        fs::create_dir(folder.path().join(net.folder)).unwrap();
        let config = format!("{}/config.json", net.folder);
        fs::copy(emoji(&config), folder.path().join(&config)).unwrap();
    }
    let (_, found) = find(&path, Parts::default()).unwrap_or_else(|error| panic!("{error}"));
    for &net in nets {
        let lowered = |model: &ModelConfig| model.lower(net, &smallest(model), DType::F32).unwrap();
        assert_eq!(lowered(&found), lowered(&bundled), "{}", net.name);
    }
}

/// Ids as transformers' documentation shows them.
#[test]
fn built_in_tokenizers_are_those_of_clip_and_t5() {
    let clip = built_in::clip().unwrap().encode("a photo of a cat", 77).unwrap();
    assert_eq!(clip.ids[..7], [49406, 320, 1125, 539, 320, 2368, 49407]);
    assert_eq!((clip.tokens, clip.ids[76]), (7, 49407));
    let prompt = "translate English to German: The house is wonderful.";
    let t5 = built_in::t5().unwrap().encode(prompt, 16).unwrap();
    assert_eq!(t5.ids[..11], [13959, 1566, 12, 2968, 10, 37, 629, 19, 1627, 5, 1]);
    assert_eq!(t5.ids[11..], [0; 5]);
}
