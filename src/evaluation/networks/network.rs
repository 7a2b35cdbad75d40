//! A metric's network: an ONNX file whose inputs are told apart by their types.

use super::metric::{NetworkMetric, Shown, Subject};
use super::picture::Reading;
use super::text::Prompts;
use crate::Error;
use crate::digest::of_file;
use crate::evaluation::metrics::cosine;
use crate::pipeline::{Memory, check_fits, lossless, registry, settle};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Name, Program};
use reflux_models::Role;
use reflux_models::onnx::{Dims, OnnxAxis, OnnxError, OnnxInput, OnnxModel, OnnxWeights};
use reflux_passes::RAISING;
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

/// What an input is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Given {
    Picture(Shown),
    Tokens,
    /// 1 where tokens are not padding.
    Mask,
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
        let mut passes = Pipeline::parse(RAISING, &registry()).expect("it is written well");
        passes.append(lossless(Role::Denoiser, Some(device)));
        settle(&mut passes, device, &device.probe().map_err(RunError::from)?);
        let (program, _) = Driver::default().run(program, &passes)?;
        let prompts = match length {
            None => None,
            Some(length) => Some(Prompts::beside(path, length)?.ok_or_else(|| {
                refused("it reads prompts, and there is no tokenizer.json, and no vocab.json, beside it or in the folder around it".into())
            })?),
        };
        let sha256 = of_file(path, u64::MAX).map_err(|error| Error::Read { path: path.to_owned(), error })?;
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

    /// The digest of its file, in hexadecimal.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// What it says of a picture.
    ///
    /// # Errors
    /// If it cannot be loaded or run, or says what the metric cannot be.
    pub fn judge(&mut self, subject: Subject) -> Result<f64, Error> {
        let results = self.results()?;
        let executor = match &mut self.loaded {
            Some(executor) => executor,
            None => {
                let (program, device) = (&self.program, self.device);
                check_fits(self.metric.title(), Memory::Resident.of(program, device), device, &[])?;
                self.loaded.insert(load(device, program.clone(), &self.weights)?)
            }
        };
        let tokens = self.prompts.as_ref().map(|prompts| prompts.tensors(subject.prompt)).transpose()?;
        for (name, given) in &self.inputs {
            // What has no use is not an input any more.
            if !executor.program().inputs.iter().any(|input| input.name == *name) {
                continue;
            }
            let value = match given {
                Given::Picture(shown) => shown.tensor(subject),
                Given::Tokens => tokens.as_ref().expect("it reads prompts")[0].clone(),
                Given::Mask => tokens.as_ref().expect("it reads prompts")[1].clone(),
            };
            executor.bind(name, &value)?;
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

/// What each of `inputs` is given, by its type: floats of four axes are pictures, and integers of two are tokens or, if they are
/// called so, a mask.
fn told_apart(metric: NetworkMetric, inputs: &[OnnxInput]) -> Result<Vec<Given>, String> {
    let is_picture = |input: &&OnnxInput| input.dtype == DType::F32 && input.axes.len() == 4;
    let pictures = metric.pictures(inputs.iter().filter(is_picture).count());
    let has_others = || format!("{} is made of {}; {}", metric.title(), metric.inputs(), listed(inputs));
    let mut pictures = pictures.ok_or_else(has_others)?.into_iter();
    let is_text = |input: &OnnxInput| input.dtype == DType::I32 && input.axes.len() == 2;
    let given = inputs.iter().map(|input| match input {
        input if is_picture(&input) => pictures.next().map(Given::Picture),
        input if is_text(input) && metric.tokens().is_some() => {
            Some(if input.name.contains("mask") { Given::Mask } else { Given::Tokens })
        }
        _ => None,
    });
    let given: Vec<Given> = given.collect::<Option<_>>().ok_or_else(has_others)?;
    let count = |wanted: Given| given.iter().filter(|given| **given == wanted).count();
    match count(Given::Tokens) == usize::from(metric.tokens().is_some()) && count(Given::Mask) <= 1 {
        true => Ok(given),
        false => Err(has_others()),
    }
}

/// The inputs that a file has, in words.
fn listed(inputs: &[OnnxInput]) -> String {
    let axis = |axis: &OnnxAxis| match axis {
        OnnxAxis::Fixed(extent) => extent.to_string(),
        OnnxAxis::Open(name) => name.clone(),
    };
    let input = |input: &OnnxInput| {
        let axes: Vec<String> = input.axes.iter().map(axis).collect();
        format!("`{}` {}[{}]", input.name, input.dtype, axes.join(", "))
    };
    let inputs: Vec<String> = inputs.iter().map(input).collect();
    format!("this file reads {}", inputs.join(", "))
}

/// What `input` is given, for pictures of `size`, with the shape of that, which the file must have or leave open.
fn fitted(
    metric: NetworkMetric,
    input: &OnnxInput,
    given: Given,
    size: [usize; 2],
) -> Result<(Given, Vec<usize>), String> {
    let fixed = |axis: usize| match input.axes[axis] {
        OnnxAxis::Fixed(extent) => Some(extent),
        OnnxAxis::Open(_) => None,
    };
    let (given, shape) = match given {
        Given::Picture(shown) => {
            let Reading { placing, scale } = shown.reading();
            let placing = match fixed(2) {
                Some(side) if placing.is_square() => placing.with_side(side),
                _ => placing,
            };
            let [height, width] = placing.size(size);
            (Given::Picture(shown.with(Reading { placing, scale })), vec![1, 3, height, width])
        }
        Given::Tokens | Given::Mask => {
            let length = fixed(1).or(metric.tokens()).expect("it reads prompts");
            (given, vec![1, length])
        }
    };
    let differs = (0..shape.len()).any(|axis| fixed(axis).is_some_and(|extent| extent != shape[axis]));
    match differs {
        false => Ok((given, shape)),
        true => Err(format!(
            "its input `{}` has to be of {shape:?}; export it with axes that are left open; {}",
            input.name,
            listed(std::slice::from_ref(input))
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::Image;
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
            let tokens = network.prompts.as_ref().map(|prompts| prompts.tensors(&prompt).unwrap());
            for (input, given) in &network.inputs {
                let found = match given {
                    Given::Picture(shown) => shown.tensor(subject),
                    Given::Tokens => tokens.as_ref().unwrap()[0].clone(),
                    Given::Mask => tokens.as_ref().unwrap()[1].clone(),
                };
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
