//! Names of programs for what ONNX files call otherwise.

use super::node::Node;
use reflux_ir::ModulePath;
use std::collections::HashMap;

/// The module that `node` is in. `torch.export` writes it beside the node; torch's older exporter makes the node's name of it:
/// `/layers.0/q/MatMul` is in `layers.0.q`.
pub fn module(node: &Node) -> ModulePath {
    let segments: Vec<String> = match &node.scopes {
        // "['', 'layers.0', 'layers.0.q', 'linear_1']": the whole network, modules from the outermost on, the node itself.
        Some(scopes) => {
            let scopes: Vec<&str> = scopes.split('\'').skip(1).step_by(2).collect();
            let module = scopes.len().checked_sub(2).map_or("", |index| scopes[index]);
            module.split('.').map(path_segment).collect()
        }
        None => match node.name.strip_prefix('/').and_then(|name| name.rsplit_once('/')) {
            Some((module, _)) => module.split(['/', '.']).map(path_segment).collect(),
            None => Vec::new(),
        },
    };
    let segments: Vec<String> = segments.into_iter().filter(|segment| !segment.is_empty()).collect();
    // What shows programs by module nests as deep.
    const MOST_SEGMENTS: usize = 32;
    ModulePath::from(segments[..segments.len().min(MOST_SEGMENTS)].join("."))
}

/// `name` in the characters that a segment of a path has.
fn path_segment(name: &str) -> String {
    name.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '_' | '-') { c } else { '_' }).collect()
}

/// `name` as a name of a program: other characters than letters, digits, `_` and `.` become `_` or are left out.
pub fn sanitized(name: &str) -> String {
    let segments = name.split(['/', '.', ':']).filter(|segment| !segment.is_empty());
    let segments: Vec<String> = segments.map(|segment| path_segment(segment).replace('-', "_")).collect();
    match segments.is_empty() {
        true => "value".to_owned(),
        false => segments.join("."),
    }
}

/// Gives each value of a program its name.
///
/// A value is called after its module inside the block that it is in, or after its op, and counted; the index of the block comes
/// last, as in programs of networks that Reflux lowers itself: so blocks with the same nodes print as one.
#[derive(Debug, Default)]
pub struct Names {
    taken: HashMap<String, usize>,
}

impl Names {
    /// A free name for a value of the op `mnemonic` in `module`; the main op of a module has its name alone.
    pub fn of(&mut self, mnemonic: &str, is_main: bool, module: &ModulePath) -> String {
        let segments: Vec<&str> = module.segments().collect();
        let is_index = |segment: &&str| segment.bytes().all(|byte| byte.is_ascii_digit());
        let block = segments.iter().rposition(is_index);
        let inner = segments[block.map_or(0, |block| block + 1)..].last();
        let stem = match inner {
            Some(inner) if is_main => inner.replace('-', "_"),
            Some(inner) => format!("{}_{mnemonic}", inner.replace('-', "_")),
            None => mnemonic.to_owned(),
        };
        let index = block.and_then(|block| segments[block].parse::<usize>().ok());
        self.free(&stem, index)
    }

    /// `stem`, or if that is taken with a number; with the `index` of its block last.
    pub fn free(&mut self, stem: &str, index: Option<usize>) -> String {
        let named = |stem: &str| match index {
            Some(index) => format!("{stem}.{index}"),
            None => stem.to_owned(),
        };
        loop {
            let count = self.taken.entry(named(stem)).or_default();
            *count += 1;
            if *count == 1 {
                return named(stem);
            }
            let numbered = named(&format!("{stem}_{count}"));
            if !self.taken.contains_key(&numbered) {
                self.taken.insert(numbered.clone(), 1);
                return numbered;
            }
        }
    }
}
