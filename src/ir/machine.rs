//! How long ops take on known devices, estimated from shapes alone: a roofline.
//!
//! The estimate ranks what can be computed in several ways, and says where a step spends its time. It knows nothing of
//! caches, of tails of a grid, of clocks that drop.

mod work;

use crate::op::Op;
use crate::{Cost, DType, Fact, Graph, Name, Program, Rate, Stage, ValueId};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::num::NonZeroU64;
use std::sync::LazyLock;
use work::{Contraction, Units, contractions};

/// A device: a table of `src/ir/machine/`, which says where each number is from.
///
/// GFLOP/s are FLOP per nanosecond, GB/s are bytes per nanosecond.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Machine {
    /// One of [`Machine::NAMES`].
    #[serde(skip)]
    pub name: &'static str,
    /// What the device is, for people.
    pub description: String,
    /// What the names of devices have in them that the table is for.
    #[serde(default)]
    cards: Vec<String>,
    /// Of a GPU, major and minor.
    pub compute_capability: Option<(u32, u32)>,
    /// The least time of an op, in ns.
    launch: u64,
    /// The ops, by name, whose kernels can write their result with any stride, into a part of a larger tensor.
    #[serde(deserialize_with = "ops")]
    strided: Vec<String>,
    /// How several of them are linked.
    link: Option<Link>,
    /// What kernels reach on it.
    reached: Rates,
    /// What the maker says of it, if it does.
    datasheet: Option<Rates>,
}

/// As options of passes name it.
impl Serialize for Machine {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name)
    }
}

impl<'de> Deserialize<'de> for &'static Machine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Machine::named(&name).ok_or_else(|| de::Error::unknown_variant(&name, Machine::NAMES))
    }
}

/// The names that there are, with what they stand for.
impl JsonSchema for Machine {
    fn schema_name() -> Cow<'static, str> {
        "Machine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let known = MACHINES
            .iter()
            .map(|machine| json_schema!({ "const": machine.name, "description": machine.description }));
        json_schema!({ "oneOf": known.collect::<Vec<_>>() })
    }
}

/// What a device reaches other devices by.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Link {
    /// GB/s that a device sends, while it receives as much.
    bandwidth: NonZeroU64,
    /// What an exchange takes besides, in ns.
    latency: u64,
}

/// How fast a device moves and computes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rates {
    /// GB/s, read and written.
    bandwidth: NonZeroU64,
    /// GFLOP/s of all ops but contractions.
    vector: NonZeroU64,
    product: Products,
    /// By what queries and keys are; values of codes are bf16.
    attention: Products,
}

/// GFLOP/s of products by what they multiply.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Products {
    f32: NonZeroU64,
    /// f16 and bf16.
    half: NonZeroU64,
    i8: NonZeroU64,
    f8e4m3: NonZeroU64,
}

impl Rates {
    /// GFLOP/s of `part`.
    fn of(&self, part: &Contraction) -> NonZeroU64 {
        let rates = match part.units {
            Units::Product => &self.product,
            Units::Attention => &self.attention,
        };
        match part.dtype {
            DType::I8 => rates.i8,
            DType::F8E4M3 => rates.f8e4m3,
            DType::F16 | DType::BF16 => rates.half,
            DType::F32 | DType::I32 | DType::U4 | DType::Block(_) => rates.f32,
        }
    }
}

/// Declares the tables that there are, each a file of its name.
macro_rules! tables {
    ($($name:literal),*) => {
        static MACHINES: LazyLock<Vec<Machine>> = LazyLock::new(|| {
            let tables = [$(($name, include_str!(concat!("machine/", $name, ".toml")))),*];
            let machines = tables.map(|(name, table)| {
                let machine = toml::from_str(table).expect("a test reads every table");
                Machine { name, ..machine }
            });
            machines.into()
        });

        impl Machine {
            /// The devices that there are tables of.
            pub const NAMES: &[&str] = &[$($name),*];
        }
    };
}

tables!("h100", "l40s", "cpu");

impl Machine {
    /// The table of the device `name`, one of [`Machine::NAMES`].
    pub fn named(name: &str) -> Option<&'static Self> {
        MACHINES.iter().find(|machine| machine.name == name)
    }

    /// The device that is meant where none is named: what most large networks run on is like it.
    pub fn usual() -> &'static Self {
        Self::named("h100").expect("there is a table of it")
    }

    /// Whether the table is for the device that calls itself `name`.
    pub fn is_of(&self, name: &str) -> bool {
        self.cards.iter().any(|card| name.contains(card))
    }

    /// The device as its datasheet has it, which starts ops in no time: a roofline that knows of no caches. Without a
    /// datasheet, the device itself.
    pub fn ideal(&self) -> Self {
        match &self.datasheet {
            Some(datasheet) => Self { launch: 0, reached: datasheet.clone(), ..self.clone() },
            None => self.clone(),
        }
    }

    /// The time in ns that `op` takes by itself, saturating: the longest of its contractions, its other arithmetic and its
    /// memory traffic, which overlap, and the launch.
    ///
    /// Views and leaves take none, nor does what depends on the weights only: it runs before the first picture.
    pub fn nanoseconds(&self, op: &Op, inputs: &[&Fact], output: &Fact) -> u64 {
        match op.kind().is_free() || output.rate == Rate::Weights {
            true => 0,
            false => {
                let [computing, moving] = self.sides(op, inputs, output);
                computing.max(moving).saturating_add(self.launch)
            }
        }
    }

    /// The two sides of the roofline: the time in ns that the arithmetic of `op` takes, and its traffic with memory and with other
    /// devices.
    fn sides(&self, op: &Op, inputs: &[&Fact], output: &Fact) -> [u64; 2] {
        let Cost { flops, bytes } = op.cost(inputs, output);
        let contractions = contractions(op, inputs, output);
        let contracting =
            sum(contractions.iter().map(|part| part.flops.div_ceil(self.reached.of(part).get())));
        let elementwise = flops.saturating_sub(sum(contractions.iter().map(|part| part.flops)));
        let computing = contracting.max(elementwise.div_ceil(self.reached.vector.get()));
        let moving = bytes.div_ceil(self.reached.bandwidth.get());
        [computing, moving.max(self.exchanging(op.sent(inputs)))]
    }

    /// The time in ns in which a device sends `bytes` to others and receives as many; nothing where no link is known.
    fn exchanging(&self, bytes: u64) -> u64 {
        let sending = |link: &Link| link.latency.saturating_add(bytes.div_ceil(link.bandwidth.get()));
        self.link.as_ref().filter(|_| bytes > 0).map_or(0, sending)
    }

    /// Whether a kernel of `op` can write its result with any stride, into a part of a larger tensor.
    pub fn writes_strided(&self, op: &Op) -> bool {
        self.strided.iter().any(|name| name == op.name())
    }

    /// The time in ns that the value `id` of `graph` takes: as [`Machine::nanoseconds`], but nothing for a `concat` whose
    /// parts are all made by ops that can write them where they belong.
    pub fn of_value(&self, graph: &Graph, id: ValueId) -> u64 {
        let in_place = || graph.operands(id).into_iter().all(|part| self.writes_in_place(graph, part));
        match graph[id].op {
            Op::Concat(_) if in_place() => 0,
            ref op => self.nanoseconds(op, &graph.operand_facts(id), &graph[id].fact),
        }
    }

    /// Of the value `id` of `graph`, the time in ns that its arithmetic takes, and its memory traffic; nothing where
    /// [`Machine::of_value`] is nothing.
    pub fn sides_of_value(&self, graph: &Graph, id: ValueId) -> [u64; 2] {
        match self.of_value(graph, id) {
            0 => [0; 2],
            _ => self.sides(&graph[id].op, &graph.operand_facts(id), &graph[id].fact),
        }
    }

    /// The time in ns that all ops of `graph` take, one after the other.
    pub fn of_graph(&self, graph: &Graph) -> u64 {
        sum(graph.ids().map(|id| self.of_value(graph, id)))
    }

    /// The most time in ns that a step takes for which the schedule has `name`: of a probe, with the dearest of its choices.
    pub fn of_step(&self, program: &Program, name: &Name) -> u64 {
        let time = |name: &Name| program.variants.get(name).map_or(0, |graph| self.of_graph(graph));
        let dearest = program.choices(name).iter().map(time).max().unwrap_or(0);
        time(name).saturating_add(dearest)
    }

    /// The time in ns of one picture: prepare stages once, each variant as often as the schedule runs it; at most, if there are
    /// [choices](Program::has_choices).
    pub fn of_schedule(&self, program: &Program) -> u64 {
        sum(program.stages().map(|(stage, graph)| match stage {
            Stage::Prepare(_) => self.of_graph(graph),
            Stage::Variant(name) => match program.steps_of(&name) as u64 {
                0 => 0,
                steps => self.of_step(program, &name).saturating_mul(steps),
            },
        }))
    }

    /// Whether what makes `id`, seen through views, can write it with any stride.
    fn writes_in_place(&self, graph: &Graph, id: ValueId) -> bool {
        let op = &graph[id].op;
        self.writes_strided(op) || op.is_view() && self.writes_in_place(graph, graph.operands(id)[0])
    }
}

/// Names of ops, refusing those of none.
fn ops<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let names = Vec::<String>::deserialize(deserializer)?;
    match names.iter().find(|name| Op::kind_of(name).is_none()) {
        None => Ok(names),
        Some(name) => Err(de::Error::custom(format_args!("`{name}` is not an op"))),
    }
}

fn sum(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0, u64::saturating_add)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::parse;

    /// The time on `machine` of each value of a variant `main`, in program order.
    fn times(machine: &str, inputs: &str, lines: &str, result: &str) -> Vec<(String, u64)> {
        let names: Vec<_> = inputs.split(' ').filter(|word| word.starts_with('%')).collect();
        let text = format!(
            "program p {{ {inputs} variant main ({}) -> (%out) {{ {lines} return {result} }} schedule main }}",
            names.join(", ")
        );
        let program = parse(&text).unwrap_or_else(|error| panic!("{error}"));
        let (graph, machine) = (&program.variants["main"], Machine::named(machine).unwrap());
        let time = |id| (graph.operand(id).to_string(), machine.of_value(graph, id));
        let ops = graph.order().into_iter().filter(|&id| !graph.is_leaf(id));
        ops.map(time).filter(|(name, _)| !names.contains(&name.as_str())).collect()
    }

    /// The time on the H100 of one op.
    fn time(inputs: &str, line: &str) -> u64 {
        match &times("h100", inputs, &format!("%y = {line}"), "%y")[..] {
            [(_, time)] => *time,
            several => panic!("{several:?}"),
        }
    }

    const X: &str = "input %x : bf16[1,4608,3072] latent";

    #[test]
    fn every_device_has_a_table() {
        for name in Machine::NAMES {
            assert_eq!(Machine::named(name).unwrap().name, *name);
        }
        assert_eq!(Machine::named("tpu"), None);
    }

    #[test]
    fn products_take_what_the_tensor_cores_take() {
        // 2 · 4608 · 3072 · 12288 = 347 892 350 976 FLOP: 511 607 ns at 680 TFLOP/s.
        let line = "linear %x, @w bf16[12288,3072] : bf16[1,4608,12288]";
        assert_eq!(time(X, line), 511_607 + 1_500);
        // In f32, 6 957 848 ns at 50.
        let x = "input %x : f32[1,4608,3072] latent";
        let line = "linear %x, @w f32[12288,3072] : f32[1,4608,12288]";
        assert_eq!(time(x, line), 6_957_848 + 1_500);
        // Of codes 285 158 ns at 1220.
        let x = "input %x : f8e4m3.row.f32[1,4608,3072] latent";
        let line = "matmul_f8 %x, @w f8e4m3.row.f32[12288,3072] : f32[1,4608,12288]";
        assert_eq!(time(x, line), 285_158 + 1_500);
        // A weight's codes are widened: as in bf16.
        let line = "matmul_w8 %x, @w i8.row.bf16[12288,3072] : bf16[1,4608,12288]";
        assert_eq!(time(X, line), 511_607 + 1_500);
    }

    #[test]
    fn nothing_is_faster_than_the_ideal() {
        let ops =
            "%y = linear %x, @w bf16[12288,3072] : bf16[1,4608,12288] %out = silu %y : bf16[1,4608,12288]";
        let program = parse(&format!(
            "program p {{ {X} variant main (%x) -> (%out) {{ {ops} return %out }} schedule main }}"
        ));
        let graph = &program.unwrap().variants["main"];
        for name in Machine::NAMES {
            let machine = Machine::named(name).unwrap();
            assert!(machine.ideal().of_graph(graph) <= machine.of_graph(graph), "{name}");
        }
        // 347 892 350 976 FLOP at 989 TFLOP/s, and 226 492 416 bytes at 3.35 TB/s.
        assert_eq!(Machine::named("h100").unwrap().ideal().of_graph(graph), 351_762 + 67_610);
    }

    #[test]
    fn thin_products_take_what_reading_the_weight_takes() {
        // 2 · (18432 · 3072 + 3072 + 18432) = 113 289 216 bytes: 37 764 ns at 3 TB/s.
        let line = "linear %x, @w bf16[18432,3072] : bf16[1,1,18432]";
        assert_eq!(time("input %x : bf16[1,1,3072] latent", line), 37_764 + 1_500);
    }

    #[test]
    fn attention_has_a_peak_of_its_own() {
        // 4 · 4608² · 3072 = 260 919 263 232 FLOP: 447 546 ns at 583 TFLOP/s.
        let x = "input %x : bf16[1,4608,24,128] latent";
        assert_eq!(time(x, "attention %x, %x, %x {scale=0.1} : bf16[1,4608,24,128]"), 447_546 + 1_500);
        // Over codes, 347 893 ns at 750.
        let x = "input %x : i8.row.f32[1,4608,24,128] latent input %v : bf16[1,4608,24,128] latent";
        assert_eq!(time(x, "attention %x, %x, %v {scale=0.1} : bf16[1,4608,24,128]"), 347_893 + 1_500);
    }

    #[test]
    fn the_rest_takes_what_memory_takes() {
        // 2 · 2 · 4608 · 3072 = 56 623 104 bytes: 18 875 ns.
        assert_eq!(time(X, "silu %x : bf16[1,4608,3072]"), 18_875 + 1_500);
        assert_eq!(time(X, "transpose %x {perm=[0, 2, 1]} : bf16[1,3072,4608]"), 18_875 + 1_500);
        assert_eq!(time(X, "rowwise silu(%x) * 2.0 : bf16[1,4608,3072]"), 18_875 + 1_500);
    }

    #[test]
    fn views_and_what_depends_on_weights_only_take_nothing() {
        assert_eq!(time(X, "reshape %x {shape=[4608, 3072]} : bf16[4608,3072]"), 0);
        assert_eq!(time(X, "slice %x {axis=2, start=0, end=64} : bf16[1,4608,64]"), 0);
        assert_eq!(time(X, "concat @a bf16[64,8], @b bf16[64,8] {axis=0} : bf16[128,8]"), 0);
    }

    #[test]
    fn the_epilogue_of_a_gemm_overlaps_with_its_product() {
        // As the linear; the activation of 4608 · 12288 elements is far less than the product.
        let line = "gemm linear(%x, @w bf16[12288,3072]) {gelu_tanh(acc)} : bf16[1,4608,12288]";
        assert_eq!(time(X, line), 511_607 + 1_500);
        // 347 892 350 976 FLOP of codes are 269 684 ns at 1290 TFLOP/s, the scales are the epilogue's.
        let x = "input %x : i8.row.f32[1,4608,3072] latent";
        let codes =
            "rescale(matmul_i8(%x, @w i8.row.f32[12288,3072]), %x, @w i8.row.f32[12288,3072], dtype=f32)";
        let line = format!("gemm {codes} {{gelu_tanh(acc)}} : bf16[1,4608,12288]");
        assert_eq!(time(x, &line), 269_684 + 1_500);
    }

    #[test]
    fn a_concat_takes_nothing_where_its_parts_can_be_written_in_place() {
        let x = "input %x : bf16[64,64] latent input %z : bf16[64,64] latent";
        let time = |machine: &str, parts: &str| {
            let lines = format!(
                "%a = rowwise silu(%x) : bf16[64,64]
                 %b = slice %a {{axis=1, start=0, end=32}} : bf16[64,32]
                 %c = gemm linear(%z, @w bf16[64,64]) {{acc}} : bf16[64,64]
                 %d = silu %z : bf16[64,64]
                 %y = concat {parts} : bf16[64,96]"
            );
            let times = times(machine, x, &lines, "%y");
            times.into_iter().find(|(name, _)| name == "%y").unwrap().1
        };
        assert_eq!(time("h100", "%b, %c {axis=1}"), 0);
        // 2 · 2 · 64 · 96 = 24 576 bytes.
        assert_eq!(time("h100", "%b, %d {axis=1}"), 9 + 1_500);
        assert_eq!(time("h100", "%b, %z {axis=1}"), 9 + 1_500);
        // A processor copies what it concatenates, whoever made it.
        assert_eq!(time("cpu", "%b, %c {axis=1}"), 1_639 + 1_000);
    }

    #[test]
    fn a_schedule_takes_its_prepares_once_and_its_variants_as_often_as_they_run() {
        let text = "
            program p {
              input %x : f32[1000,1000] latent
              input %t : f32[1000,1000] prompt
              prepare prompt (%t) -> (%s) {
                %s = silu %t : f32[1000,1000]
                return %s
              }
              variant full (%x, %s) -> (%y) {
                %y = add %x, %s : f32[1000,1000]
                return %y
              }
              variant reuse (%x) -> (%y) {
                return %x
              }
              schedule full reuse*3 full
            }";
        let program = parse(text).unwrap_or_else(|error| panic!("{error}"));
        let h100 = Machine::named("h100").unwrap();
        // 8 MB for silu, 12 MB for add.
        assert_eq!(h100.of_graph(&program.variants["full"]), 4_000 + 1_500);
        assert_eq!(h100.of_schedule(&program), (2_667 + 1_500) + 2 * (4_000 + 1_500));
        assert_eq!(Machine::named("cpu").unwrap().of_schedule(&program), (533_334 + 1_000) + 2 * 801_000);
    }
}
