//! The programs that check kernels.

use reflux_ir::text::parse;
use reflux_ir::{DType, Graph, Name, Patch, Program};

/// Programs in bf16, as models are lowered, before any pass. Every result is a case.
const FILES: [&str; 24] = [
    include_str!("ir/norm.ir"),
    include_str!("ir/functions.ir"),
    include_str!("ir/rope.ir"),
    include_str!("ir/gemm.ir"),
    include_str!("ir/tiles.ir"),
    include_str!("ir/long.ir"),
    include_str!("ir/segments.ir"),
    include_str!("ir/branch.ir"),
    include_str!("ir/int8.ir"),
    include_str!("ir/fp8.ir"),
    include_str!("ir/tensor.ir"),
    include_str!("ir/weights.ir"),
    include_str!("ir/codes.ir"),
    include_str!("ir/blocks.ir"),
    include_str!("ir/unfused.ir"),
    include_str!("ir/regions.ir"),
    include_str!("ir/attention.ir"),
    include_str!("ir/bounds.ir"),
    include_str!("ir/pieces.ir"),
    include_str!("ir/scores.ir"),
    include_str!("ir/select.ir"),
    include_str!("ir/text.ir"),
    include_str!("ir/pictures.ir"),
    include_str!("ir/layouts.ir"),
];

/// One result of a file.
pub struct Case {
    /// For example `gemm.bias_7x64x136`.
    pub name: String,
    /// The program, in bf16, with this result only.
    pub program: Program,
    /// The same in f32.
    pub in_f32: Program,
}

/// The cases of a file, and its whole program, for which weights and inputs are drawn.
pub struct CaseFile {
    pub program: Program,
    pub cases: Vec<Case>,
}

impl CaseFile {
    pub fn all() -> impl Iterator<Item = Self> {
        FILES.into_iter().map(Self::read)
    }

    fn read(source: &str) -> Self {
        let parsed = |source: &str| parse(source).expect("a test reads every file");
        let program = parsed(source);
        // The text of these programs names every dtype explicitly, so replacing bf16 in it replaces all of them.
        let in_f32 = parsed(&source.replace(DType::BF16.name(), DType::F32.name()));
        let mut results: Vec<Name> = Vec::new();
        for graph in program.variants.values() {
            results.extend(graph.outputs().iter().map(|output| output.label.clone()));
        }
        let case = |result: &Name| Case {
            name: format!("{}.{result}", program.name),
            program: narrowed(&program, result),
            in_f32: narrowed(&in_f32, result),
        };
        let cases = results.iter().map(case).collect();
        Self { program, cases }
    }
}

impl Case {
    /// The dtype of the codes that the case computes with, if any.
    pub fn codes(&self) -> Option<DType> {
        let facts = self.program.variants.values().flat_map(|graph| graph.ids().map(|id| &graph[id].fact));
        facts.into_iter().find(|fact| fact.is_coded()).map(|fact| fact.dtype)
    }
}

/// The part of `program` that computes `result`.
fn narrowed(program: &Program, result: &Name) -> Program {
    let mut program = program.clone();
    for graph in program.variants.values_mut() {
        let mut patch = Patch::new(graph, "narrow");
        patch.retain_outputs(|label| label == result);
        patch.remove_unread();
        patch.remove_unread_inputs();
        patch.apply().expect("what leads to no result can be dropped");
    }
    let reads = |graph: &Graph, name: &Name| graph.inputs().iter().any(|&id| graph[id].name == *name);
    let variants = program.variants.clone();
    let is_read = |name: &Name| variants.values().any(|graph| reads(graph, name));
    program.prepares.retain(|_, graph| graph.outputs().iter().any(|output| is_read(&output.label)));
    let prepares = &program.prepares;
    let is_read = |name: &Name| is_read(name) || prepares.values().any(|graph| reads(graph, name));
    program.inputs.retain(|input| is_read(&input.name));
    program
}

#[cfg(test)]
mod tests {
    use super::*;
    use reflux_ir::verify;

    /// A case is a valid program, and declares nothing that it does not read.
    #[test]
    fn cases_are_programs_of_one_result() {
        let files: Vec<_> = CaseFile::all().collect();
        let cases: Vec<_> = files.iter().flat_map(|file| &file.cases).collect();
        assert!(cases.len() > 50);
        for Case { name, program, in_f32 } in cases {
            for program in [program, in_f32] {
                verify(program).unwrap_or_else(|error| panic!("{name}: {error}"));
                let graph = &program.variants["main"];
                assert_eq!(
                    (graph.outputs().len(), graph.inputs().len()),
                    (1, program.inputs.len()),
                    "{name}"
                );
                assert!(graph.op_count() < 30, "{name}");
            }
            assert!(!in_f32.to_string().contains("bf16"), "{name}");
        }
    }
}
