//! The files of a model: the model itself, and beside it its weights.

use super::error::ExportError;
use super::leaves::{LeafId, Leaves};
use super::message::{Bytes, GraphParts};
use super::{Exported, proto};
use onnx_ir::ModelProto;
use protobuf::Message;
use reflux_ir::files::Destination;
use reflux_ir::{NoWeights, WeightSource};
use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Tensors of weights begin at a multiple of this in their file, so that they can be mapped.
const ALIGNMENT: u64 = 4096;

/// Leaves with fewer bytes are in the model itself.
const LEAST_BESIDE: u64 = 1024;

/// What protobuf can hold, with room for the list of initializers.
const MOST_BYTES: u64 = (1 << 31) - 1;

/// Where the bytes of each leaf go: the leaves in the file beside the model, with the bytes up to each of their tensors.
struct Layout {
    beside: Vec<(LeafId, Vec<u64>)>,
    bytes: u64,
}

/// Writes the model at `path`; its weights, if there are any, beside it.
///
/// # Errors
/// If a weight cannot be read, or a file cannot be written. Neither file is there then, or both are what they were.
pub fn save(
    mut parts: GraphParts,
    leaves: &Leaves,
    weights: Option<&dyn WeightSource>,
    stage: &str,
    path: &Path,
) -> Result<Exported, ExportError> {
    let unwritable = |path: &Path, error| ExportError::Unwritable { path: path.to_owned(), error };
    let mut model_file = Destination::at(path).map_err(|error| unwritable(path, error))?;
    let layout = initializers(&mut parts, leaves, weights)?;
    let beside = match layout.beside.is_empty() {
        true => None,
        false => Some(
            beside(path)
                .filter(|_| model_file.is_file())
                .ok_or_else(|| ExportError::NoFile { path: path.to_owned() })?,
        ),
    };
    let model = message(&parts, stage, beside.as_ref().map_or("", |(_, name)| name))?;
    // Both files are complete before either takes its name: the model is written first, and takes its name last.
    let mut failed = None;
    let written = model_file.write(|out| {
        model.write_to_writer(&mut *out).map_err(io::Error::other)?;
        out.flush()?;
        let (Some((data_path, _)), Some(weights)) = (&beside, weights) else { return Ok(()) };
        let mut fail = |error: ExportError| {
            failed = Some(error);
            io::Error::other("the weights could not be written")
        };
        let mut data = Destination::at(data_path).map_err(|error| fail(unwritable(data_path, error)))?;
        let mut unread = None;
        let streamed = data.write(|out| {
            stream(&layout, leaves, weights, out).map_err(|error| match error {
                Streaming::Io(error) => error,
                Streaming::Export(error) => {
                    unread = Some(error);
                    io::Error::other("a weight could not be read")
                }
            })
        });
        streamed.map_err(|error| fail(unread.unwrap_or_else(|| unwritable(data_path, error))))
    });
    written.map_err(|error| failed.unwrap_or_else(|| unwritable(path, error)))?;
    let (functions, calls) = super::assembly::calls(&parts);
    let files = [Some(path.to_owned()), beside.map(|(path, _)| path)].into_iter().flatten().collect();
    Ok(Exported {
        inputs: parts.inputs.into_iter().map(|input| input.name).collect(),
        outputs: parts.outputs.into_iter().map(|output| output.name).collect(),
        nodes: parts.nodes.len(),
        functions,
        calls,
        weight_bytes: layout.bytes,
        files,
    })
}

/// A model without its weights, which are inputs.
///
/// # Errors
/// If it is too large.
pub fn without_weights(mut parts: GraphParts, leaves: &Leaves, stage: &str) -> Result<Vec<u8>, ExportError> {
    initializers(&mut parts, leaves, None)?;
    let model = message(&parts, stage, "")?;
    let mut bytes = Vec::new();
    // Of a message that is not too large, nothing else can fail in memory.
    model.write_to_vec(&mut bytes).map_err(|_| ExportError::TooLarge { bytes: model.compute_size() })?;
    Ok(bytes)
}

/// The model as a message. `beside` is what the file of its weights is called.
fn message(parts: &GraphParts, stage: &str, beside: &str) -> Result<ModelProto, ExportError> {
    let model = proto::model(parts, stage, beside);
    match model.compute_size() {
        0..=MOST_BYTES => Ok(model),
        bytes => Err(ExportError::TooLarge { bytes }),
    }
}

/// The file beside the model: its path, and its name, as the model says it.
fn beside(path: &Path) -> Option<(PathBuf, String)> {
    let mut name = OsString::from(path.file_name()?);
    name.push(".data");
    let text = name.to_str()?.to_owned();
    Some((path.with_file_name(name), text))
}

/// Adds the initializers of all leaves; without weights these are inputs.
fn initializers(
    parts: &mut GraphParts,
    leaves: &Leaves,
    weights: Option<&dyn WeightSource>,
) -> Result<Layout, ExportError> {
    let mut layout = Layout { beside: Vec::new(), bytes: 0 };
    for leaf in leaves.read_leaves() {
        let initializers = leaves.initializers(leaf).into_iter().map(|(_, typed)| typed);
        let source = match weights {
            Some(weights) => weights,
            None if leaves.is_known(leaf) => &NoWeights,
            None => {
                parts.inputs.extend(initializers);
                continue;
            }
        };
        let initializers: Vec<_> = initializers.collect();
        let size: u64 = initializers.iter().map(|typed| typed.bytes()).sum();
        if weights.is_none() || size < LEAST_BESIDE {
            let bytes = leaves.bytes(leaf, source)?;
            parts.initializers.extend(initializers.into_iter().zip(bytes.into_iter().map(Bytes::Here)));
            continue;
        }
        let mut offsets = Vec::with_capacity(initializers.len());
        for typed in initializers {
            let offset = layout.bytes.next_multiple_of(ALIGNMENT);
            layout.bytes = offset + typed.bytes();
            offsets.push(offset);
            parts.initializers.push((typed, Bytes::Beside(offset)));
        }
        layout.beside.push((leaf, offsets));
    }
    Ok(layout)
}

/// What ends the writing of weights.
enum Streaming {
    Io(io::Error),
    Export(ExportError),
}

/// Writes the weights one after the other: one is in memory at a time.
fn stream(
    layout: &Layout,
    leaves: &Leaves,
    weights: &dyn WeightSource,
    out: &mut dyn Write,
) -> Result<(), Streaming> {
    let mut place = 0;
    for (leaf, offsets) in &layout.beside {
        let tensors = leaves.bytes(*leaf, weights).map_err(Streaming::Export)?;
        for (&offset, bytes) in offsets.iter().zip(tensors) {
            let gap = vec![0; (offset - place) as usize];
            out.write_all(&gap).and_then(|()| out.write_all(&bytes)).map_err(Streaming::Io)?;
            place = offset + bytes.len() as u64;
        }
    }
    Ok(())
}
