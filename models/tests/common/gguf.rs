//! GGUF files, written.

use std::path::Path;

pub const F32: u32 = 0;
pub const F16: u32 = 1;
pub const BF16: u32 = 30;

const ALIGNMENT: usize = 32;

/// A file in the making.
pub struct Gguf {
    architecture: String,
    infos: Vec<u8>,
    data: Vec<u8>,
    tensors: u64,
    keys: Vec<u8>,
    keyed: u64,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

impl Gguf {
    pub fn new(architecture: &str) -> Self {
        Self {
            architecture: architecture.to_owned(),
            infos: Vec::new(),
            data: Vec::new(),
            tensors: 0,
            keys: Vec::new(),
            keyed: 0,
        }
    }

    /// Adds a tensor whose slowest extent comes first in `shape`, of the type `id`.
    pub fn tensor(&mut self, name: &str, shape: &[usize], id: u32, bytes: &[u8]) {
        self.infos.extend(text(name));
        self.infos.extend((shape.len() as u32).to_le_bytes());
        shape.iter().rev().for_each(|&extent| self.infos.extend((extent as u64).to_le_bytes()));
        self.infos.extend(id.to_le_bytes());
        self.infos.extend((self.data.len() as u64).to_le_bytes());
        self.data.extend(bytes);
        self.data.resize(self.data.len().next_multiple_of(ALIGNMENT), 0);
        self.tensors += 1;
    }

    /// Says that the tensor `name` really has this shape.
    pub fn shaped(&mut self, name: &str, shape: &[u32]) {
        const LIST: u32 = 9;
        const I32: u32 = 5;
        self.keyed += 1;
        self.keys.extend(text(&format!("comfy.gguf.orig_shape.{name}")));
        self.keys.extend([LIST, I32].map(u32::to_le_bytes).concat());
        self.keys.extend((shape.len() as u64).to_le_bytes());
        shape.iter().for_each(|extent| self.keys.extend(extent.to_le_bytes()));
    }

    fn header(&self) -> Vec<u8> {
        const STRING: u32 = 8;
        const LIST: u32 = 9;
        const U32: u32 = 4;
        let mut header = b"GGUF\x03\0\0\0".to_vec();
        header.extend(self.tensors.to_le_bytes());
        header.extend((2 + self.keyed).to_le_bytes());
        header.extend(
            [text("general.architecture"), STRING.to_le_bytes().to_vec(), text(&self.architecture)].concat(),
        );
        header.extend([text("some.list"), LIST.to_le_bytes().to_vec(), U32.to_le_bytes().to_vec()].concat());
        header.extend([&1u64.to_le_bytes()[..], &7u32.to_le_bytes()].concat());
        header.extend(&self.keys);
        header.extend(&self.infos);
        header
    }

    /// How many bytes come before the tensors.
    pub fn header_bytes(&self) -> usize {
        self.header().len()
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.header();
        bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
        bytes.extend(&self.data);
        bytes
    }

    pub fn write(&self, path: &Path) {
        std::fs::write(path, self.bytes()).unwrap();
    }
}
