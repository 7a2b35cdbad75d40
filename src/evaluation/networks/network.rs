//! A metric's network: an ONNX file whose inputs are told apart by their types.

use super::inputs::{Given, fitted, told_apart};
use super::metric::{NetworkMetric, Subject};
use super::text::Prompts;
use crate::Error;
use crate::digest::{of_bytes, of_file};
use crate::evaluation::metrics::cosine;
use crate::pipeline::{Image, Memory, check_fits, lossless, of_onnx, settle};
use reflux_ir::pass::Driver;
use reflux_ir::{HostTensor, Name, Program};
use reflux_models::Role;
use reflux_models::onnx::{Dims, OnnxAxis, OnnxError, OnnxModel, OnnxWeights};
use reflux_runtime::{Device, Execute, RunError, load};
use std::path::{Path, PathBuf};

/// The results in which a CLIP model has a picture and a prompt in one space.
const EMBEDDINGS: [&str; 2] = ["image_embeds", "text_embeds"];

/// A network that is ready to judge pictures of one size. It is loaded for the first.
pub struct MetricNetwork {
    metric: NetworkMetric,
    path: PathBuf,
    sha256: String,
    program: Program,
    weights: OnnxWeights,
    /// What its inputs are given.
    inputs: Vec<(Name, Given)>,
    /// What reads prompts, if it is given one.
    prompts: Option<Prompts>,
    device: Device,
    loaded: Option<Box<dyn Execute>>,
}

impl MetricNetwork {
    /// The network of `metric` in the file at `path`, for pictures of `size`, `[height, width]`, on `device`.
    ///
    /// # Errors
    /// [`Error::Metric`] if it is none of this metric; also if the file, or the tokenizer beside it, cannot be read, or passes fail.
    pub fn open(metric: NetworkMetric, path: &Path, size: [usize; 2], device: Device) -> Result<Self, Error> {
        let onnx = |error: OnnxError| Error::Onnx(Box::new(error));
        let refused = |why: String| Error::Metric { metric: metric.title(), path: path.to_owned(), why };
        let model = OnnxModel::open(path).map_err(onnx)?;
        let declared = model.inputs();
        let given = told_apart(metric, &declared).map_err(refused)?;
        let mut dims = Dims::default();
        let mut inputs = Vec::with_capacity(given.len());
        let mut length = None;
        for (input, given) in declared.iter().zip(given) {
            let (given, shape) = fitted(metric, input, given, size).map_err(refused)?;
            if given == Given::Tokens {
                length = Some(shape[1]);
            }
            for (axis, extent) in input.axes.iter().zip(shape) {
                let OnnxAxis::Open(name) = axis else { continue };
                match dims.extents.insert(name.clone(), extent) {
                    Some(other) if other != extent => {
                        let why = format!(
                            "its axis `{name}` would have to be {other} and {extent}; give them two names"
                        );
                        return Err(refused(why));
                    }
                    _ => {}
                }
            }
            inputs.push(given);
        }
        let (program, weights) = model.lower(&dims).map_err(onnx)?;
        // They are in the order of the file.
        let names = program.inputs.iter().map(|input| input.name.clone());
        let inputs = names.zip(inputs).collect();
        let mut passes = of_onnx(lossless(Role::Denoiser, Some(device)));
        settle(&mut passes, device, &device.probe().map_err(RunError::from)?);
        let (program, _) = Driver::default().run(program, &passes)?;
        let prompts = match length {
            None => None,
            Some(length) => Some(Prompts::beside(path, length)?.ok_or_else(|| {
                refused("it reads prompts, and there is no tokenizer.json, and no vocab.json, beside it or in the folder around it".into())
            })?),
        };
        let mut files = model.files();
        files.extend(prompts.iter().flat_map(Prompts::files));
        let sha256 = digest_of(&files)?;
        let network = Self {
            metric,
            path: path.to_owned(),
            sha256,
            program,
            weights,
            inputs,
            prompts,
            device,
            loaded: None,
        };
        network.results().map(drop)?;
        Ok(network)
    }

    /// What it computes.
    pub fn metric(&self) -> NetworkMetric {
        self.metric
    }

    /// The digest of its files, and those of its tokenizer, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it says of a picture.
    ///
    /// # Errors
    /// [`Error::Metric`] if it cannot be loaded or run, or says what the metric cannot be.
    pub fn judge(&mut self, subject: Subject) -> Result<f64, Error> {
        self.asked(subject).map_err(|error| match error {
            Error::Metric { .. } => error,
            error => self.refused(error.to_string()),
        })
    }

    /// Finds out whether it can judge pictures of `size`, `[height, width]`, for `prompts`, before any is drawn.
    ///
    /// # Errors
    /// As [`MetricNetwork::judge`].
    pub fn rehearse<'p>(
        &mut self,
        [height, width]: [usize; 2],
        prompts: impl Iterator<Item = &'p str>,
    ) -> Result<(), Error> {
        let white = Image::white(width, height);
        for (index, prompt) in prompts.enumerate() {
            if index == 0 {
                self.judge(Subject { picture: &white, base: &white, prompt })?;
            } else if let Some(tokens) = &self.prompts {
                tokens.tensors(prompt).map_err(|error| self.refused(error.to_string()))?;
            }
        }
        self.unload();
        Ok(())
    }

    fn asked(&mut self, subject: Subject) -> Result<f64, Error> {
        let (results, values) = (self.results()?, self.values(subject)?);
        let executor = match &mut self.loaded {
            Some(executor) => executor,
            None => {
                let (program, device) = (&self.program, self.device);
                check_fits(self.metric.title(), Memory::Resident.of(program, device), device, &[])?;
                self.loaded.insert(load(device, program.clone(), &self.weights)?)
            }
        };
        for (name, value) in values {
            // What has no use is not an input any more.
            if executor.program().inputs.iter().any(|input| input.name == name) {
                executor.bind(&name, &value)?;
            }
        }
        let found = executor.step(0)?;
        let values: Vec<Vec<f32>> = results.iter().map(|name| found[name].to_f32()).collect();
        let value = match &values[..] {
            [picture, prompt] => (100.0 * cosine(picture, prompt)).max(0.0),
            values => f64::from(values[0][0]),
        };
        if self.metric.range().holds(value) {
            return Ok(value);
        }
        let mut why = format!("it gives {value}, which is not {}", self.metric.range());
        if value.is_nan() {
            why += "; if onnxruntime gives the same, export it again with dynamo=False: torch's newer exporter leaves out additions of \
                    small numbers";
        }
        Err(self.refused(why))
    }

    /// What its inputs are given of `subject`.
    fn values(&self, subject: Subject) -> Result<Vec<(Name, HostTensor)>, Error> {
        let tokens = self.prompts.as_ref().map(|prompts| prompts.tensors(subject.prompt)).transpose()?;
        let value = |given: &Given| match (given, &tokens) {
            (Given::Picture(shown), _) => shown.tensor(subject),
            (Given::Tokens, Some([tokens, _])) => tokens.clone(),
            (Given::Mask, Some([_, mask])) => mask.clone(),
            (Given::Tokens | Given::Mask, None) => unreachable!("a network with tokens has a tokenizer"),
        };
        Ok(self.inputs.iter().map(|(name, given)| (name.clone(), value(given))).collect())
    }

    /// Frees its memory; it is loaded again for the next picture.
    pub fn unload(&mut self) {
        self.loaded = None;
        self.device.release_unused();
    }

    /// The results that the metric is made of: the one number, or the two vectors of CLIP.
    fn results(&self) -> Result<Vec<Name>, Error> {
        let outputs: Vec<(Name, usize)> = self
            .program
            .variants
            .iter()
            .flat_map(|(_, graph)| graph.outputs().iter().map(move |output| (output, graph)))
            .map(|(output, graph)| (output.label.clone(), graph[output.value].fact.shape.elements()))
            .collect();
        if self.metric == NetworkMetric::ClipScore {
            let named = EMBEDDINGS.map(|name| outputs.iter().find(|(output, _)| **output == *name));
            if let [Some((picture, a)), Some((prompt, b))] = named
                && a == b
            {
                return Ok(vec![picture.clone(), prompt.clone()]);
            }
            let [picture, prompt] = EMBEDDINGS;
            let why = format!(
                "it has no results `{picture}` and `{prompt}` of one length; export a whole CLIPModel"
            );
            return Err(self.refused(why));
        }
        match &outputs[..] {
            [(output, 1)] => Ok(vec![output.clone()]),
            _ => {
                let named = |(name, elements): &(Name, usize)| format!("`{name}` of {elements}");
                let found: Vec<String> = outputs.iter().map(named).collect();
                Err(self.refused(format!(
                    "its only result has to be one number, and its results are {}",
                    found.join(", ")
                )))
            }
        }
    }

    fn refused(&self, why: String) -> Error {
        Error::Metric { metric: self.metric.title(), path: self.path.clone(), why }
    }
}

/// The digest of the digests of `files`.
fn digest_of(files: &[PathBuf]) -> Result<String, Error> {
    let digest =
        |path: &PathBuf| of_file(path, u64::MAX).map_err(|error| Error::Read { path: path.clone(), error });
    Ok(of_bytes(files.iter().map(digest).collect::<Result<String, _>>()?.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tensors;
    use serde::Deserialize;
    use std::collections::BTreeMap;

    /// What `tests/tools/onnx_networks.py` has of the originals in Python.
    #[derive(Deserialize)]
    struct Expected {
        prompt: String,
        scores: BTreeMap<String, f64>,
    }

    fn folder() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/metrics")
    }

    /// The network in a folder of the fixtures; CLIP's has the bundled model's tokenizer.
    fn open(metric: NetworkMetric, name: &str, size: [usize; 2]) -> Result<MetricNetwork, Error> {
        let path = folder().join(name).join("model.onnx");
        if metric != NetworkMetric::ClipScore {
            return MetricNetwork::open(metric, &path, size, Device::host());
        }
        let around = tempfile::tempdir().unwrap();
        let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji/tokenizer");
        for file in std::fs::read_dir(tokenizer).unwrap() {
            let file = file.unwrap();
            std::fs::copy(file.path(), around.path().join(file.file_name())).unwrap();
        }
        // As in repositories of the Hub, whose tokenizers are in the folder around that of ONNX files.
        std::fs::create_dir(around.path().join("onnx")).unwrap();
        let copy = around.path().join("onnx/model.onnx");
        std::fs::copy(path, &copy).unwrap();
        MetricNetwork::open(metric, &copy, size, Device::host())
    }

    #[test]
    fn networks_judge_as_the_originals_do() {
        let expected = std::fs::read_to_string(folder().join("expected.json")).unwrap();
        let Expected { prompt, scores } = serde_json::from_str(&expected).unwrap();
        let inputs: BTreeMap<String, _> =
            tensors::read(&folder().join("inputs.safetensors")).unwrap().into_iter().collect();
        let [base, picture] =
            ["base.png", "picture.png"].map(|file| Image::open(folder().join(file)).unwrap());
        let subject = Subject { picture: &picture, base: &base, prompt: &prompt };
        let of = |name: &str| match name {
            "lpips" => NetworkMetric::Lpips,
            "clip_score" => NetworkMetric::ClipScore,
            "arniqa" | "arniqa_of_two" => NetworkMetric::Arniqa,
            "image_reward" => NetworkMetric::ImageReward,
            other => panic!("{other}"),
        };
        assert_eq!(scores.len(), 5);
        for (name, expected) in scores {
            let mut network = open(of(&name), &name, [picture.height(), picture.width()]).unwrap();
            // What a network is given is what the original gives it.
            for (input, found) in network.values(subject).unwrap() {
                let theirs = &inputs[&format!("{name}/{input}")];
                assert_eq!(found.shape, theirs.shape, "{name}: {input}");
                let pairs = found.to_f32().into_iter().zip(theirs.to_f32());
                let apart = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(apart <= 1e-6, "{name}: {input} is up to {apart} from theirs");
            }
            let found = network.judge(subject).unwrap();
            assert!(
                (found - expected).abs() <= 1e-5 * expected.abs().max(1.0),
                "{name}: {found}, not {expected}"
            );
        }
    }

    #[test]
    fn networks_of_other_metrics_are_refused() {
        let refused = |metric, name: &str, size| open(metric, name, size).err().unwrap().to_string();
        let cases = [
            (NetworkMetric::Lpips, "arniqa", [32, 48], "LPIPS is made of two pictures"),
            (
                NetworkMetric::Arniqa,
                "image_reward",
                [32, 48],
                "this file reads `image` f32[1, 3, 24, 24], `input_ids` i32[1, 35]",
            ),
            (NetworkMetric::ImageReward, "lpips", [32, 48], "a prompt's tokens and their mask"),
            (
                NetworkMetric::ClipScore,
                "image_reward",
                [32, 48],
                "no results `image_embeds` and `text_embeds`",
            ),
            // Its picture has a fixed size.
            (NetworkMetric::Arniqa, "arniqa", [64, 64], "its input `img` has to be of [1, 3, 64, 64]"),
        ];
        for (metric, name, size, expected) in cases {
            let error = refused(metric, name, size);
            assert!(error.contains(expected), "{error}");
        }
    }
}
