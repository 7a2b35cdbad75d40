//! The lora pass: what becomes of products with adapters, in which order with other passes, and what it leaves alone.

use crate::common::passes::{assert_same, flux_dev, flux_dev_times, log, program, sketch};
use reflux_ir::pass::{Driver, Pipeline, PipelineReport, Recipe};
use reflux_ir::{DType, Declaration, Fact, Op, Program, Rate, text};
use reflux_passes::{Adapters, Branch, LOSSLESS, Lora, LoraMode, registry};

const INPUTS: [&str; 1] = ["%x : bf16[1,32,128] latent"];

/// Two products of one input, and one that has no adapter.
const BLOCK: &str = "
    %q = linear %x, @.weight bf16[128,128], @.bias bf16[128] : bf16[1,32,128] in block.q
    %k = linear %x, @.weight bf16[128,128], @.bias bf16[128] : bf16[1,32,128] in block.k
    %v = linear %x, @.weight bf16[128,128] : bf16[1,32,128] in block.v
    return %q, %k, %v";

/// A branch of rank `rank`, with its own `A` or that of the module `shared`.
fn branch(module: &str, shared: &str, rank: usize) -> Branch {
    Branch {
        weight: format!("{module}.weight"),
        down: format!("{shared}.lora_A.0.weight"),
        up: format!("{module}.lora_B.0.weight"),
        rank,
        strength: strength("lora_strength.0", &[]),
    }
}

fn strength(name: &str, shape: &[usize]) -> Declaration {
    Declaration { name: name.into(), fact: Fact::new(DType::F32, shape.to_vec()).at(Rate::Prompt) }
}

/// The pass, alone in a pipeline.
fn lora(adapters: Adapters, mode: LoraMode) -> Pipeline {
    let mut pipeline = Pipeline::new();
    pipeline.push(Lora::new(Default::default(), mode, adapters));
    pipeline
}

fn beside(branches: Vec<Branch>) -> Pipeline {
    lora(Adapters { branches, merged: Vec::new() }, LoraMode::Branch)
}

fn drive(program: &Program, pipeline: &Pipeline, times: Option<&[f32]>) -> (Program, PipelineReport) {
    let run = Driver { timesteps: times, ..Driver::default() }.run(program.clone(), pipeline);
    let (after, report) = run.unwrap_or_else(|error| panic!("{error}\n{program}"));
    assert_same("parsed", &text::parse(&after.to_string()).unwrap(), &after);
    (after, report)
}

/// The passes `wanted`, with the default ones, and a LoRA beside products.
fn with_lora(wanted: &str, lora: Pipeline) -> Pipeline {
    let default = Pipeline::parse(LOSSLESS, &registry()).unwrap();
    Recipe::parse(wanted, &registry()).unwrap().and(lora).pipeline(&default)
}

#[test]
fn low_rank_products_stand_beside_linears() {
    let before = program(&sketch(&INPUTS, BLOCK));
    let pipeline = beside(vec![branch("block.q", "block.q", 4), branch("block.k", "block.q", 4)]);
    let (after, report) = drive(&before, &pipeline, None);
    snapshot!("lora_pass__branch", format!("{before}\n{}\n{after}", log(&report)));
    let (again, report) = drive(&after, &pipeline, None);
    assert_same("again", &again, &after);
    assert!(!report.passes[0].changed);
}

/// A branch reads what the product reads: its `A` has codes where that is codes, and numbers where only the weight has codes.
#[test]
fn branches_read_what_products_read() {
    let before = program(&sketch(&INPUTS, BLOCK));
    for (scheme, reads_codes) in [("int8dq", true), ("int8wo", false), ("fp8dq", true), ("int4wo", false)] {
        let pipeline =
            with_lora(&format!("quantize({scheme})"), beside(vec![branch("block.q", "block.q", 4)]));
        let text = pipeline.to_string();
        assert!(text.find("quantize") < text.find("lora") && text.find("lora") < text.find("fuse"), "{text}");
        let (after, _) = drive(&before, &pipeline, None);
        let facts = after.weights();
        let is_dense = |name: &str| !facts[name].is_quantized();
        assert_eq!(is_dense("block.q.lora_A.0.weight"), !reads_codes, "{scheme}\n{after}");
        assert!(is_dense("block.q.lora_B.0.weight"), "{scheme}\n{after}");
        assert!(!is_dense("block.q.weight"), "{scheme}\n{after}");
    }
    // In the order of a list the LoRA goes where it can.
    let listed = Recipe::parse("quantize(int8dq),merge-linear,fuse", &registry()).unwrap().only();
    let text =
        listed.and(beside(vec![branch("block.q", "block.q", 4)])).pipeline(&Pipeline::new()).to_string();
    assert_eq!(text, "quantize(int8dq),lora,merge-linear,fuse(device=h100)");
    // Which is refused where a list says otherwise.
    let mut wrong = beside(vec![branch("block.q", "block.q", 4)]);
    wrong.append(Pipeline::parse("quantize(int8dq)", &registry()).unwrap());
    let error = Driver::default().run(before, &wrong).unwrap_err().to_string();
    assert!(
        error.contains("that all linears are the model's own") && error.contains("put `quantize(int8dq)`"),
        "{error}"
    );
}

#[test]
fn merged_weights_are_called_so() {
    let before = program(&sketch(&INPUTS, BLOCK));
    let merged = ["block.q.weight", "block.k.bias", "other.weight"];
    let merged = merged.iter().map(|name| ((*name).to_owned(), format!("{name}.lora"))).collect();
    let pipeline = lora(Adapters { merged, branches: Vec::new() }, LoraMode::Merge);
    let (after, report) = drive(&before, &pipeline, None);
    snapshot!("lora_pass__merged", format!("{}\n{after}", log(&report)));
    let (again, _) = drive(&after, &pipeline, None);
    assert_same("again", &again, &after);
}

/// A branch of a file of number `file`, beside a module of the block.
fn branch_of(file: usize, module: &str) -> Branch {
    let name = |which: &str| format!("block.{module}.lora_{which}.{file}.weight");
    let strength = strength(&format!("lora_strength.{file}"), &[]);
    Branch { down: name("A"), up: name("B"), strength, ..branch(&format!("block.{module}"), "", 8) }
}

/// Files of the same modules, of some of them, and of one: whatever is beside which of the merged products, it is part of them.
#[test]
fn branches_of_several_files_are_part_of_merged_products() {
    let before = program(&sketch(&INPUTS, &BLOCK.replace(", @.bias bf16[128]", "")));
    let all = ["q", "k", "v"];
    for second in [&all[..], &all[..2], &all[1..], &["q"], &["k"], &["v"]] {
        let branches = all.iter().map(|module| branch_of(0, module));
        let branches = branches.chain(second.iter().map(|module| branch_of(1, module)));
        for wanted in ["merge-linear", "quantize(int8dq),merge-linear"] {
            let (after, _) = drive(&before, &with_lora(wanted, beside(branches.clone().collect())), None);
            let text = after.to_string();
            let sums = text.lines().filter(|line| line.contains("acc + linear(")).count();
            let added = text.matches("+ linear(").count();
            // Where the second file has fewer modules, a product may be computed for each.
            let is_one = second.len() == all.len();
            assert!(sums == 1 || !is_one, "{second:?} after {wanted}\n{text}");
            assert!(added >= 3 + second.len(), "{second:?} after {wanted}\n{text}");
        }
    }
}

/// Files of one pass are one product beside each linear, whichever of them change it: the strength is a number for each row of `A`,
/// and what `fuse` has to choose from is no more than for one file.
#[test]
fn files_of_one_pass_are_one_branch() {
    let before = program(&sketch(&INPUTS, &BLOCK.replace(", @.bias bf16[128]", "")));
    let of_both = |module: &str, rank: usize, name: &str| Branch {
        strength: strength(name, &[rank]),
        rank,
        ..branch(&format!("block.{module}"), &format!("block.{module}"), rank)
    };
    let branches = vec![
        of_both("q", 24, "lora_strengths.0x8_1x16"),
        of_both("k", 24, "lora_strengths.0x8_1x16"),
        branch("block.v", "block.v", 8),
    ];
    for wanted in ["merge-linear", "quantize(int8dq),merge-linear"] {
        let (after, _) = drive(&before, &with_lora(wanted, beside(branches.clone())), None);
        let text = after.to_string();
        let sums = text.lines().filter(|line| line.contains("acc + linear(")).count();
        assert_eq!(sums, 1, "after {wanted}\n{text}");
        assert_eq!(text.matches("+ linear(").count(), 3, "after {wanted}\n{text}");
    }
}

/// What one file merges into a weight does not take the branches of another from beside it.
#[test]
fn branches_stand_beside_merged_weights() {
    let before = program(&sketch(&INPUTS, BLOCK));
    let merged = vec![("block.q.weight".to_owned(), "block.q.weight.lora".to_owned())];
    let both = Adapters { merged: merged.clone(), branches: vec![branch("block.q", "block.q", 4)] };
    let (at_once, _) = drive(&before, &lora(both.clone(), LoraMode::Branch), None);
    let mut one_by_one = lora(Adapters { merged, branches: Vec::new() }, LoraMode::Merge);
    one_by_one.append(lora(both, LoraMode::Branch));
    let (one_by_one, _) = drive(&before, &one_by_one, None);
    assert_eq!(at_once.to_string(), one_by_one.to_string());
    for name in ["block.q.weight.lora", "block.q.lora_A.0.weight", "block.q.lora_B.0.weight"] {
        assert!(at_once.weights().contains_key(name), "no {name} in\n{at_once}");
    }
}

#[test]
fn other_modules_are_refused() {
    let before = program(&sketch(&INPUTS, BLOCK));
    let error = Driver::default()
        .run(before.clone(), &beside(vec![branch("block.q", "block.q", 4), branch("q", "q", 4)]))
        .unwrap_err()
        .to_string();
    assert!(error.contains("no product reads `q.weight`"), "{error}");
    // Fused and merged products are not what a branch goes beside.
    let mut late = Pipeline::parse("fuse", &registry()).unwrap();
    late.append(beside(vec![branch("block.q", "block.q", 4)]));
    let error = Driver::default().run(before, &late).unwrap_err().to_string();
    assert!(error.contains("no ops are fused"), "{error}");
}

/// Branches on every linear of FLUX.1-dev's blocks, after hoisting, with a cache, quantized and fused.
#[test]
fn flux_dev_with_all_passes() {
    let before = flux_dev(256, 6);
    let linears = before.variants["full"].ids().map(|id| (&before.variants["full"][id].op, id));
    let linears = linears.filter(|(op, _)| matches!(op, Op::Linear(_)));
    let modules: Vec<String> = linears
        .map(|(_, id)| before.variants["full"][id].path.to_string())
        .filter(|path| path.contains("blocks."))
        .collect();
    assert_eq!(modules.len(), 19 * 14 + 38 * 6);
    let branches: Vec<Branch> = modules.iter().map(|module| branch(module, module, 16)).collect();
    let wanted = "quantize(int8dq,exclude=norm+embedding),cache(fora,interval=2)";
    let pipeline = with_lora(wanted, beside(branches));
    let (after, report) = drive(&before, &pipeline, Some(&flux_dev_times(256, 6)));
    let facts = after.weights();
    for module in &modules {
        assert!(!facts[format!("{module}.lora_B.0.weight").as_str()].is_quantized(), "{module}");
    }
    let hoisted = |graph: &reflux_ir::Graph| {
        graph.weights().filter(|(name, _)| name.contains("norm1.linear.lora_B")).count()
    };
    assert_eq!(
        after.variants.values().map(hoisted).sum::<usize>(),
        0,
        "modulations are hoisted, with their branches"
    );
    // The block as it runs: the branch is part of the products beside which it stands.
    let printed = after.to_string();
    let is_block =
        |part: &&str| part.contains("single_transformer_blocks.{i} {") && part.contains("attention");
    let block = printed.split("repeat").find(is_block).unwrap();
    let block = block.split("\n    }").next().unwrap();
    let fuse =
        report.passes.iter().find(|pass| pass.pass.starts_with("fuse")).unwrap().timeless().to_string();
    assert!(!fuse.contains("NOT SATURATED"), "{fuse}");
    // Every up projection is part of the product beside which it stands, and no product is computed twice.
    let products = |part: &str| block.matches(part).count();
    assert_eq!((products("gemm rescale"), products("gemm linear")), (4, 0), "{block}");
    snapshot!(
        "lora_pass__flux_dev",
        format!(
            "{pipeline}\n\n{}\n{block}\n",
            report.passes.iter().find(|pass| pass.pass.starts_with("lora")).unwrap().timeless()
        )
    );
}
