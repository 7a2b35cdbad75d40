//! Files of named tensors.

use crate::Error;
use crate::files::OutputFile;
use reflux_ir::{DType, HostTensor};
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorView};
use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use std::io::Read;
use std::path::Path;

/// All tensors of a safetensors file.
pub fn read(path: &Path) -> Result<Vec<(String, HostTensor)>, Error> {
    let bad = |why: String| Error::Tensors { path: path.to_owned(), why };
    let bytes = read_whole(path).map_err(|error| Error::Read { path: path.to_owned(), error })?;
    let file = SafeTensors::deserialize(&bytes)
        .map_err(|error| bad(format!("not a valid safetensors file: {error}")))?;
    let mut tensors = Vec::new();
    for (name, view) in file.iter() {
        let host = host_tensor(&view).ok_or_else(|| {
            let (kind, read) = (view.dtype(), "bool, f64, f32, f16, bf16, i64, i32, u8 and i8 can be read");
            bad(match kind {
                Dtype::I64 => format!("tensor `{name}` has integers beyond 32 bits"),
                _ => format!("tensor `{name}` is {kind:?}; {read}"),
            })
        })?;
        tensors.push((name.to_owned(), host));
    }
    Ok(tensors)
}

/// Bytes of the number that a file begins with, which is the length of its header.
const LENGTH: usize = 8;

/// The format's limit on headers.
const LONGEST_HEADER: u64 = 100_000_000;

/// As much of a file as its header says that there is, and a byte more, which tells whether it is longer: a pipe says nothing of
/// its length, and a device may have no end.
fn read_whole(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(path)?;
    let mut bytes = Vec::new();
    file.by_ref().take(LENGTH as u64).read_to_end(&mut bytes)?;
    let Some(length) = bytes.first_chunk().map(|length| u64::from_le_bytes(*length)) else {
        return Ok(bytes);
    };
    // What is no header will be found to be none.
    file.by_ref().take(length.min(LONGEST_HEADER)).read_to_end(&mut bytes)?;
    let header = bytes.get(LENGTH..).map(serde_json::from_slice::<Metadata>);
    let data = header.and_then(Result::ok).map_or(0, |header| header.data_len());
    file.take(data as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn host_tensor(view: &TensorView) -> Option<HostTensor> {
    let shape = view.shape().to_vec();
    // Token ids come as i64 from most tools.
    if view.dtype() == Dtype::I64 {
        let id = |bytes: &[u8]| i32::try_from(i64::from_le_bytes(bytes.try_into().ok()?)).ok();
        let ids: Option<Vec<i32>> = view.data().chunks_exact(8).map(id).collect();
        return Some(HostTensor::from_i32(shape, &ids?));
    }
    // Programs have no such types: these hold what they say, or nearly.
    match view.dtype() {
        Dtype::BOOL => {
            let truth: Vec<f32> = view.data().iter().map(|&byte| f32::from(u8::from(byte != 0))).collect();
            return Some(HostTensor::from_f32(shape, &truth));
        }
        Dtype::U8 => {
            let numbers: Vec<i32> = view.data().iter().map(|&byte| i32::from(byte)).collect();
            return Some(HostTensor::from_i32(shape, &numbers));
        }
        Dtype::F64 => {
            let number = |bytes: &[u8]| Some(f64::from_le_bytes(bytes.try_into().ok()?) as f32);
            let numbers: Option<Vec<f32>> = view.data().chunks_exact(8).map(number).collect();
            return Some(HostTensor::from_f32(shape, &numbers?));
        }
        _ => {}
    }
    let dtype = DType::from_file_name(&view.dtype().to_string()).filter(|dtype| !dtype.is_code())?;
    Some(HostTensor::new(dtype, shape, view.data().to_vec()))
}

/// Writes a safetensors file to `output`.
pub fn write(output: &mut OutputFile, tensors: &[(String, HostTensor)]) -> Result<(), Error> {
    let views: Vec<(String, TensorView)> =
        tensors.iter().map(|(name, tensor)| (name.clone(), tensor_view(tensor))).collect();
    output.write(|out| {
        let bytes = safetensors::serialize(views, None).map_err(std::io::Error::other)?;
        out.write_all(&bytes)
    })
}

fn tensor_view(tensor: &HostTensor) -> TensorView<'_> {
    let name = tensor.dtype.codec().file_name.expect("files have all numbers; codes are no host tensors");
    let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
    let dtype = Dtype::deserialize(name).expect("it is a name of the format");
    TensorView::new(dtype, tensor.shape.clone(), &tensor.bytes)
        .expect("a host tensor is as long as its shape says")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_goes_to_a_file_and_back() {
        for &dtype in DType::ALL.iter().filter(|dtype| !dtype.is_code()) {
            let tensor = HostTensor::from_f32([2, 3], &[0.0, 1.0, -2.0, 3.0, 100.0, -7.0]).cast(dtype);
            let bytes = safetensors::serialize([("x", tensor_view(&tensor))], None).unwrap();
            let file = SafeTensors::deserialize(&bytes).unwrap();
            assert_eq!(host_tensor(&file.tensor("x").unwrap()), Some(tensor), "{dtype}");
        }
    }
}
