//! Every kernel that the CUDA engine makes of FLUX compiles for every architecture, without a GPU.
//!
//! Needs NVRTC on the loader's path (PyPI's nvidia-cuda-nvrtc will do). Without it nothing is tested, unless
//! REFLUX_REQUIRE_NVRTC is set, as the gate does: then that is a failure.

use rayon::prelude::*;
use reflux_ir::op::{Binary, Op, Unary};
use reflux_ir::pass::{Driver, Pipeline};
use reflux_ir::{DType, Declaration, Fact, Program, Rate, text};
use reflux_models::scheduler::Levels;
use reflux_models::{ModelConfig, Net, Sizes, flux1};
use reflux_passes::{Adapters, Branch, LOSSLESS_ONCE, Lora, LoraMode, registry};
use reflux_runtime::Integral;
use reflux_runtime::backend::cuda::{Compiler, Gpu, Launch, LaunchPlan, Owner, fallback, plan};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// An A100, an L40S, an H100 and a B200.
const GPUS: [(&str, Gpu); 4] = [
    ("sm_80", Gpu { capability: (8, 0), processors: 108, rank: 0 }),
    ("sm_89", Gpu { capability: (8, 9), processors: 142, rank: 0 }),
    ("sm_90a", Gpu { capability: (9, 0), processors: 132, rank: 0 }),
    ("sm_100", Gpu { capability: (10, 0), processors: 148, rank: 0 }),
];

const PIPELINES: [&str; 14] = [
    "canonicalize,bound-attention,hoist,canonicalize,merge-linear,fuse,dce",
    "canonicalize,bound-attention,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),merge-linear,fuse,dce",
    "canonicalize,bound-attention,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),quantize-attention(int8,common_scale=true),merge-linear,fuse,dce",
    "canonicalize,bound-attention,hoist,canonicalize,quantize-attention(fp8),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(int8dq),cache(fora,interval=3),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(fp8dqrow),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(fp8dq),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(int8wo),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(fp8wo),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(int4wo),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,cache(pab),merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,lora,merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),lora,merge-linear,fuse,dce",
    "canonicalize,hoist,canonicalize,quantize(fp8dqrow),lora,merge-linear,fuse,dce",
];

/// What leaves ops as the network has them, with every scheme.
const UNFUSED: [&str; 11] = [
    "dce",
    "canonicalize,hoist,canonicalize",
    "quantize(int8dq)",
    "canonicalize,hoist,canonicalize,quantize(int8dq,exclude=norm+embedding),cache(fora,interval=2),dce",
    "quantize(fp8dqrow)",
    "quantize(fp8dq)",
    "quantize(int8wo)",
    "quantize(fp8wo)",
    "quantize(int4wo)",
    "quantize-attention(int8,smooth_k=true)",
    "quantize-attention(fp8)",
];

fn models() -> [(&'static str, ModelConfig, Sizes); 2] {
    let emoji = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/emoji");
    [
        (
            "FLUX.1-dev",
            ModelConfig::built_in("flux-dev").unwrap(),
            Sizes { batch: 1, steps: 28, text_tokens: 512, height: 1024, width: 1024, reference: None },
        ),
        (
            "the bundled model",
            ModelConfig::read(&emoji).unwrap(),
            Sizes { batch: 2, steps: 6, text_tokens: 30, height: 96, width: 160, reference: Some([48, 64]) },
        ),
    ]
}

/// Whether a GPU has kernels for what `passes` make.
fn is_for(passes: &str, gpu: Gpu) -> bool {
    !["fp8dq", "(fp8)"].iter().any(|fp8| passes.contains(fp8)) || gpu.capability >= (8, 9)
}

/// The plans of all variants of the transformer of `model` after `passes`, for `gpu`, and of what runs beside it; of the VAE on
/// Hopper only.
fn plans(model: &ModelConfig, sizes: &Sizes, passes: &str, gpu: Gpu) -> Vec<(Program, String, LaunchPlan)> {
    let mut plans = plans_of(&flux1::TRANSFORMER, model, sizes, passes, gpu);
    // What runs beside it has the same passes whatever the transformer has.
    if passes != PIPELINES[0] {
        return plans;
    }
    if gpu.capability == (9, 0) {
        for net in [&flux1::VAE, &flux1::VAE_ENCODER] {
            plans.extend(plans_of(net, model, sizes, LOSSLESS_ONCE, gpu));
        }
    }
    for net in [&flux1::T5, &flux1::CLIP] {
        plans.extend(plans_of(net, model, sizes, LOSSLESS_ONCE, gpu));
    }
    plans
}

fn plans_of(
    net: &'static Net,
    model: &ModelConfig,
    sizes: &Sizes,
    passes: &str,
    gpu: Gpu,
) -> Vec<(Program, String, LaunchPlan)> {
    let program = model.lower(net, sizes, DType::BF16).unwrap();
    let tokens = (sizes.height / 16) * (sizes.width / 16);
    let times = model.schedule(&Levels::even(sizes.steps), tokens).unwrap().timesteps;
    let pipeline = pipeline(passes, &program);
    let (program, _) =
        Driver { timesteps: Some(&times), ..Driver::default() }.run(program, &pipeline).unwrap();
    let variants: Vec<_> = program.variants.keys().map(ToString::to_string).collect();
    variants
        .into_iter()
        .map(|name| {
            let planned = plan(&program.variants[name.as_str()], gpu);
            (program.clone(), name, planned)
        })
        .collect()
}

/// `passes`, in which `lora` stands for branches of rank 32 beside all linears of the blocks of `program`.
fn pipeline(passes: &str, program: &Program) -> Pipeline {
    let parse = |passes| Pipeline::parse(passes, &registry()).unwrap();
    let Some((before, after)) = passes.split_once(",lora,") else { return parse(passes) };
    let graph = &program.variants["full"];
    let linears = graph.ids().filter(|&id| matches!(graph[id].op, Op::Linear(_)));
    let modules = linears.map(|id| graph[id].path.to_string()).filter(|module| module.contains("blocks."));
    let branch = |module: String| Branch {
        weight: format!("{module}.weight"),
        down: format!("{module}.lora_A.0.weight"),
        up: format!("{module}.lora_B.0.weight"),
        rank: 32,
        strength: Declaration {
            name: "lora_strength.0".into(),
            fact: Fact::new(DType::F32, []).at(Rate::Prompt),
        },
    };
    let adapters = Adapters { merged: Vec::new(), branches: modules.map(branch).collect() };
    let mut pipeline = parse(before);
    pipeline.push(Lora::new(Default::default(), LoraMode::Branch, adapters));
    pipeline.append(parse(after));
    pipeline
}

/// The engine has a kernel for everything that a step does, whatever passes and schemes are asked for, and its memory is laid
/// out well.
#[test]
fn steps_are_planned() {
    for (name, model, sizes) in models() {
        for passes in PIPELINES.into_iter().chain(UNFUSED) {
            let gpus = GPUS.iter().filter(|(_, gpu)| is_for(passes, *gpu));
            for (gpu, (program, variant, plan)) in gpus.flat_map(|(gpu, at)| {
                plans(&model, &sizes, passes, *at).into_iter().map(move |plan| (gpu, plan))
            }) {
                let graph = &program.variants[variant.as_str()];
                let launches: BTreeMap<String, usize> =
                    plan.launches.iter().fold(BTreeMap::new(), |mut counts, launch| {
                        *counts.entry(launch.value().to_string()).or_default() += 1;
                        counts
                    });
                let without: Vec<String> =
                    plan.foreign().map(|op| format!("%{}: {}", op.name, op.why)).collect();
                assert!(without.is_empty(), "{name}, {passes}, {gpu}: {without:?}");
                // What is executed is what is printed: every op but views has its launches, and nothing else has.
                for id in graph.ids().filter(|&id| !graph.is_leaf(id)) {
                    let is_run = [
                        "rowwise",
                        "gemm",
                        "attention",
                        "select",
                        "embedding",
                        "argmax",
                        "mean",
                        "conv2d",
                        "group_norm",
                    ]
                    .contains(&graph[id].op.name());
                    assert!(
                        !is_run || launches.contains_key(&*graph[id].name),
                        "{name}, {passes}: %{}",
                        graph[id].name
                    );
                }
                let known = |value: &String| graph.find(value).is_some();
                assert!(launches.keys().all(known), "{name}, {passes}");
                assert_disjoint(&plan);
                println!(
                    "{name}, {variant}, {passes}, {gpu}: {} launches, {} MiB",
                    plan.launches.len(),
                    plan.arena >> 20
                );
            }
        }
    }
}

/// No two buffers that are needed at one time share a byte.
fn assert_disjoint(plan: &LaunchPlan) {
    let lives = plan.lives();
    for (index, (first, last, bytes)) in lives.iter().enumerate() {
        for (other_first, other_last, other) in &lives[index + 1..] {
            let at_one_time = first <= other_last && other_first <= last;
            let apart = bytes.end <= other.start || other.end <= bytes.start;
            assert!(!at_one_time || apart, "{bytes:?} and {other:?}");
        }
    }
}

/// An op without a kernel leaves the others theirs, and is named with what it costs.
#[test]
fn an_op_without_a_kernel_does_not_take_the_step_with_it() {
    let source = "program p { input %x : bf16[1,24,64] latent input %y : bf16[1,64,40] latent
        variant main (%x, %y) -> (%out) {
            %n = layer_norm %x {eps=1e-6} : bf16[1,24,64]
            %between = matmul %n, %y : bf16[1,24,40]
            %out = gelu_tanh %between : bf16[1,24,40]
            return %out
        }
        schedule main }";
    let graph = &text::parse(source).unwrap().variants["main"];
    for (_, gpu) in GPUS {
        let plan = plan(graph, gpu);
        let values: Vec<_> = plan.launches.iter().map(|launch| launch.value().to_string()).collect();
        assert_eq!(values, ["n", "between", "out"]);
        assert_eq!(plan.foreign().map(|op| &*op.name).collect::<Vec<_>>(), ["between"]);
        assert_disjoint(&plan);
        let said = fallback(graph, &plan).unwrap();
        assert!(
            said.contains("no kernel for 1 of 3 ops") && said.contains("1 `matmul` (%between: "),
            "{said}"
        );
        assert!(said.contains("times as long: ") && said.contains("compute in bf16"), "{said}");
    }
    let source = source.replace("matmul %n, %y", "linear %n, @w bf16[40,64]");
    let graph = &text::parse(&source).unwrap().variants["main"];
    assert_eq!(fallback(graph, &plan(graph, GPUS[2].1)), None);
}

/// Pairs that are put together number by number lie two apart: what writes them must not take them for neighbours. And no kernel of
/// bf16 is given pictures in f32.
#[test]
fn kernels_fit_the_layouts_and_types_of_what_they_are_given() {
    let source = "program p {
           input %x : f32[2,17,8] latent
           input %y : f32[2,17,8] latent
           input %p : f32[1,32,12,20] latent
           variant main (%x, %y, %p) -> (%pairs, %c) {
             %a = mul %x, -1.0 : f32[2,17,8]
             %first = reshape %a {shape=[2, 17, 8, 1]} : f32[2,17,8,1]
             %second = reshape %y {shape=[2, 17, 8, 1]} : f32[2,17,8,1]
             %pairs = concat %first, %second {axis=3} : f32[2,17,8,2]
             %c = conv2d %p, @w f32[32,32,3,3] {padding=1} : f32[1,32,12,20]
             return %pairs, %c
           }
           schedule main
         }";
    let planned = plan(&text::parse(source).unwrap().variants["main"], GPUS[2].1);
    let foreign: Vec<_> = planned.foreign().map(|op| (op.name.to_string(), op.why.clone())).collect();
    assert_eq!(foreign.len(), 1, "{foreign:?}");
    assert!(foreign[0].0 == "c" && foreign[0].1.contains("products of f32"), "{foreign:?}");
    let scatters = |launch: &&Launch| match launch {
        Launch::Kernel { kernels, .. } => kernels[0].text.contains("scatter<8, "),
        _ => false,
    };
    // Both parts, each in its place of every pair.
    assert_eq!(planned.launches.iter().filter(scatters).count(), 2);
}

/// Codes of queries and keys of two streams are made where attention reads them, and older GPUs' kernels are given their numbers.
#[test]
fn codes_are_put_together_in_place() {
    let source = "program p {
           input %x : bf16[1,7,2,128] latent
           input %y : bf16[1,24,2,128] latent
           input %v : bf16[1,31,2,128] latent
           variant main (%x, %y, %v) -> (%a) {
             %first = rowwise quantize(%x * 2.0, dtype=i8, scales=row.f32, eps=1e-7) : i8.row.f32[1,7,2,128]
             %second = rowwise quantize(%y * 2.0, dtype=i8, scales=row.f32, eps=1e-7) : i8.row.f32[1,24,2,128]
             %codes = concat %first, %second {axis=1} : i8.row.f32[1,31,2,128]
             %a = attention %codes, %codes, %v {scale=0.1} : bf16[1,31,2,128]
             return %a
           }
           schedule main
         }";
    let graph = &text::parse(source).unwrap().variants["main"];
    for (name, gpu) in GPUS {
        let planned = plan(graph, gpu);
        assert_disjoint(&planned);
        let values: Vec<_> = planned.launches.iter().map(|launch| launch.value().to_string()).collect();
        let expected = if name == "sm_90a" {
            &["first", "second", "a"][..]
        } else {
            &["first", "second", "a", "a", "a"]
        };
        assert_eq!(values, expected, "{name}");
    }
}

/// A weight may be called like a value: where that has no kernel, the weight is a weight still.
#[test]
fn a_weight_called_like_what_has_no_kernel() {
    let source = "program p {
           input %x : bf16[1,24,2,32] latent
           variant main (%x) -> (%y) {
             %w = attention %x, %x, %x {scale=0.17677669529663687} : bf16[1,24,2,32]
             %y = mul %w, @w bf16[32] : bf16[1,24,2,32]
             return %y
           }
           schedule main
         }";
    let graph = &text::parse(source).unwrap().variants["main"];
    let planned = plan(graph, GPUS[2].1);
    let foreign: Vec<_> = planned.foreign().map(|op| op.name.to_string()).collect();
    assert_eq!(foreign, ["w"]);
    assert!(planned.foreign().all(|op| Some(op.value) == graph.find("w")));
}

/// Quantized weights lie on the device as what their bits promise, scales and zero points included.
#[test]
fn weights_take_what_their_bits_promise() {
    let (_, model, sizes) = &models()[0];
    for passes in ["quantize(int8wo)", "quantize(int4wo)", "quantize(fp8wo)", "quantize(fp8dq)"] {
        for (program, variant, plan) in plans_of(&flux1::TRANSFORMER, model, sizes, passes, GPUS[2].1) {
            let promised: u64 =
                program.variants[variant.as_str()].weights().map(|(_, fact)| fact.bytes()).sum();
            let taken: usize = plan
                .buffers
                .iter()
                .filter(|buffer| match buffer.place {
                    Owner::Given { value, .. } => {
                        matches!(program.variants[variant.as_str()][value].op, Op::Weight(_))
                    }
                    _ => false,
                })
                .map(|buffer| buffer.bytes)
                .sum();
            let share = taken as f64 / promised as f64;
            assert!((0.999..1.001).contains(&share), "{passes}: {taken} of {promised}");
        }
    }
}

/// What is prepared for a prompt and for a schedule runs on the engine as a whole: burn would compile its kernels in every process.
#[test]
fn prepare_stages_are_planned() {
    let (_, model, sizes) = &models()[0];
    for passes in [PIPELINES[0], PIPELINES[1]] {
        let (program, ..) = plans_of(&flux1::TRANSFORMER, model, sizes, passes, GPUS[2].1).remove(0);
        let stages: Vec<_> =
            program.prepares.iter().filter(|(_, graph)| !graph.inputs().is_empty()).collect();
        assert_eq!(stages.len(), 2, "{passes}");
        for (rate, graph) in stages {
            for (arch, gpu) in GPUS {
                let planned = plan(graph, gpu);
                assert_disjoint(&planned);
                let without: Vec<&str> = planned.foreign().map(|op| &*op.why).collect();
                assert!(without.is_empty(), "{rate} on {arch} after {passes}: {without:?}");
            }
        }
    }
}

/// What runs between steps is on the engine too, whatever latents and velocities are: else the host would take part in each.
#[test]
fn updates_of_latents_are_planned() {
    let fact = |dtype| Fact::new(dtype, [1, 4096, 64]).at(Rate::Latent);
    for (input, slope) in [(DType::BF16, DType::BF16), (DType::F32, DType::BF16), (DType::F32, DType::F32)] {
        let graph = Integral::update(&fact(input), &fact(slope)).unwrap();
        for (arch, gpu) in GPUS {
            let planned = plan(&graph, gpu);
            assert_disjoint(&planned);
            assert_eq!(planned.foreign().count(), 0, "{input} and {slope} on {arch}");
        }
    }
}

/// Whether NVRTC is there, which the gate requires.
fn can_compile() -> bool {
    if !Compiler::is_present() {
        assert!(std::env::var_os("REFLUX_REQUIRE_NVRTC").is_none(), "NVRTC cannot be loaded");
        println!("NVRTC is not there: nothing was compiled");
    }
    Compiler::is_present()
}

/// Every function of numbers, whether FLUX has it or not: some of them in one formula, by itself and behind a product.
#[test]
fn kernels_of_every_function_compile() {
    if !can_compile() {
        return;
    }
    /// With more, a formula is refused as too long.
    const IN_ONE: usize = 10;
    let functions: Vec<Op> =
        Unary::ALL.iter().copied().map(Op::from).chain(Binary::ALL.iter().copied().map(Op::from)).collect();
    let sum = |functions: &[Op], operands: [&str; 2]| {
        let of = |op: &Op| op.term(&operands.map(str::to_owned)[..*op.arity().start()]);
        functions.iter().map(of).collect::<Vec<_>>().join(" + ")
    };
    let (mut lines, mut names) = (String::new(), Vec::new());
    for (index, some) in functions.chunks(IN_ONE).enumerate() {
        let (alone, behind) = (sum(some, ["%x", "%y"]), sum(some, ["acc", "2.0"]));
        lines += &format!("%a{index} = rowwise {alone} : bf16[1,7,64]\n");
        lines += &format!("%b{index} = gemm linear(%x, @w bf16[136,64]) {{{behind}}} : bf16[1,7,136]\n");
        names.extend([format!("%a{index}"), format!("%b{index}")]);
    }
    let names = names.join(", ");
    let source = format!(
        "program p {{
           input %x : bf16[1,7,64] latent
           input %y : bf16[1,1,64] latent
           variant main (%x, %y) -> ({names}) {{
             {lines}
             return {names}
           }}
           schedule main
         }}"
    );
    let program = text::parse(&source).unwrap_or_else(|error| panic!("{error}"));
    for (arch, gpu) in GPUS {
        let planned = plan(&program.variants["main"], gpu);
        let without: Vec<&str> = planned.foreign().map(|op| &*op.why).collect();
        assert!(without.is_empty(), "{arch}: {without:?}");
        let compiler = Compiler::of_arch(arch);
        for launch in planned.launches {
            let Launch::Kernel { kernels, .. } = launch else { continue };
            for kernel in kernels {
                compiler.compile(&kernel.name, &kernel.text).unwrap_or_else(|error| panic!("{error}"));
            }
        }
    }
}

#[test]
fn every_kernel_compiles() {
    if !can_compile() {
        return;
    }
    // Architectures only gain features, so what was compiled for an older one need not be for a newer one.
    let mut compiled: BTreeSet<String> = BTreeSet::new();
    for (arch, gpu) in GPUS {
        let mut kernels: BTreeMap<String, String> = BTreeMap::new();
        // What is special on older GPUs are products with their epilogues, of which the large model and fused steps have all kinds.
        let (models, unfused) = match gpu.capability {
            (9, _) => (models().to_vec(), &UNFUSED[..]),
            _ => (models()[..1].to_vec(), &[][..]),
        };
        for (which, (_, model, sizes)) in models.into_iter().enumerate() {
            // Of the small model other sizes matter, which every scheme has alike.
            let tried = PIPELINES.iter().chain(unfused).copied().step_by(1 + 2 * which);
            for passes in tried.filter(|passes| is_for(passes, gpu)) {
                for (.., plan) in plans(&model, &sizes, passes, gpu) {
                    for launch in plan.launches {
                        if let Launch::Kernel { kernels: choices, .. } = launch {
                            kernels.extend(choices.into_iter().map(|kernel| (kernel.text, kernel.name)));
                        }
                    }
                }
            }
        }
        assert!(kernels.len() > 10);
        // Those that take the time are held to what ptxas says; the others are bound by memory whatever they do.
        let takes_time = |name: &str| ["gemm", "attention"].contains(&name);
        let mut kinds: BTreeSet<String> = BTreeSet::new();
        kernels.retain(|text, name| {
            let kind = kind(&text.replace(name.as_str(), "kernel"));
            if takes_time(name) { kinds.insert(kind) } else { compiled.insert(kind) }
        });
        println!("{arch}: {} kernels", kernels.len());
        let compiler = Compiler::of_arch(arch);
        // Found by many threads, told by the test's own, whose words are shown.
        let faults: Vec<String> = kernels
            .par_iter()
            .filter_map(|(text, name)| match compiler.report(name, text) {
                Err(error) => Some(format!("{name} for {arch}: {error}\n{text}")),
                Ok(report) => {
                    let is_bad = takes_time(name) && (spilled(&report) > 0 || report.contains("serialized"));
                    is_bad.then(|| format!("{name} for {arch}: {report}\n{text}"))
                }
            })
            .collect();
        let shown = faults.iter().take(3).map(String::as_str).collect::<Vec<_>>().join("\n\n");
        assert!(faults.is_empty(), "{} kernels are at fault:\n{shown}", faults.len());
    }
}

/// The text of a kernel but for the extents of what it computes: with numbers of four digits and more as one.
fn kind(text: &str) -> String {
    let mut kind = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let digits = rest[start..].bytes().take_while(u8::is_ascii_digit).count();
        let number = &rest[start..start + digits];
        kind.push_str(&rest[..start]);
        kind.push_str(if digits > 3 { "N" } else { number });
        rest = &rest[start + digits..];
    }
    kind + rest
}

/// Bytes that ptxas says are kept in memory for want of registers.
fn spilled(report: &str) -> u64 {
    let words: Vec<&str> = report.split_whitespace().collect();
    let bytes = words.windows(4).filter(|words| words[1..3] == ["bytes", "spill"]);
    let bytes: Vec<u64> = bytes.map(|words| words[0].parse().expect("a count")).collect();
    assert!(!bytes.is_empty(), "ptxas said nothing: {report}");
    bytes.into_iter().sum()
}

/// Every GPU of a divided step sends what the others receive, in the same order, and nothing is left to burn.
#[test]
fn what_one_device_sends_another_receives() {
    use reflux_runtime::backend::cuda::{Launch, Transfer};
    let cases = [
        (2, ""),
        (3, ""),
        (4, ""),
        (2, "quantize(int8dq),"),
        (2, "quantize-attention(int8),"),
        (4, "quantize-attention(fp8),"),
    ];
    for (devices, lossy) in cases {
        let before = "canonicalize,bound-attention,hoist,canonicalize";
        let passes = format!("{before},{lossy}shard({devices}),merge-linear,fuse,dce");
        let (program, _) = crate::common::passes::flux_dev_after(&passes);
        let graph = &program.variants["full"];
        let plans = (0..devices).map(|rank| plan(graph, Gpu { capability: (9, 0), processors: 132, rank }));
        let exchanges = plans.map(|plan| {
            assert_eq!(plan.foreign().count(), 0);
            let of = |launch: &Launch| match launch {
                Launch::Exchange { exchange, .. } => Some(exchange.clone()),
                _ => None,
            };
            plan.launches.iter().filter_map(of).collect::<Vec<_>>()
        });
        let exchanges: Vec<_> = exchanges.collect();
        // Queries, keys and values of a block go together.
        assert!(exchanges.iter().all(|own| own.len() == 57 * 2 + 1));
        let pairs = (0..devices).flat_map(|from| (0..devices).map(move |to| (from, to)));
        for (from, to) in pairs {
            for (sends, receives) in exchanges[from].iter().zip(&exchanges[to]) {
                let between = |transfers: &[Transfer], peer: usize| -> Vec<usize> {
                    let own = transfers.iter().filter(|transfer| transfer.peer == peer);
                    own.map(|transfer| transfer.bytes).collect()
                };
                let sent = between(&sends.sends, to);
                assert_eq!(sent, between(&receives.receives, from), "from {from} to {to} of {devices}");
                assert_eq!(sent.is_empty(), from == to);
            }
        }
        if 4096 % devices == 0 {
            let said: u64 = graph.ids().map(|id| graph[id].op.sent(&graph.operand_facts(id))).sum();
            let sent: usize =
                exchanges[0].iter().flat_map(|exchange| &exchange.sends).map(|transfer| transfer.bytes).sum();
            assert_eq!(sent as u64, said, "{devices} devices");
        }
    }
}
