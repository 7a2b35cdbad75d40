//! Pipelines and the driver that runs them: what is accepted, what is refused, what is left behind.

use crate::common::passes::{
    self, NET, NET_TIMES, assert_same, pipeline, program, refusal, run, try_run_at, without_lists,
};
use reflux_ir::op::{Cast, Concat, Op, Unary};
use reflux_ir::pass::{
    About, Changed, Driver, DriverError, DumpFormat, DumpPoints, Exactness, Failure, ONE_VARIANT, Pass,
    PassConfig, PassContext, PassError, PassInfo, Pipeline, Property, Rule, RuleError, apply_rules, header,
};
use reflux_ir::text::{PrintOptions, parse};
use reflux_ir::{DType, Graph, Machine, ModulePath, Patch, PatchError, Program, ValueId};
use reflux_passes::registry;
use serde_json::{Map, Value};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// What is written, and how it prints: every option of which there is a value, the positional one first and by itself.
#[test]
fn pipelines_print_as_they_parse() {
    let cases = [
        ("", ""),
        ("canonicalize", "canonicalize"),
        (" canonicalize ,\n hoist", "canonicalize,hoist"),
        ("dce()", "dce"),
        ("quantize", "quantize(int8dq)"),
        ("quantize( fp8dq , exclude = norm+embedding )", "quantize(fp8dq,exclude=norm+embedding)"),
        ("quantize(rule=f32,scheme=int8wo,keep_rows=16)", "quantize(int8wo,rule=f32,keep_rows=16)"),
        ("quantize(include=a.b)", "quantize(int8dq,include=[a.b])"),
        ("quantize(int4wo,skip=[a.*, b?])", "quantize(int4wo,skip=[a.*,b?])"),
        ("quantize(include=*.to_[qk])", "quantize(int8dq,include=[*.to_[qk]])"),
        ("quantize(include=[a.[!b],[ab],{a,b}.c])", "quantize(int8dq,include=[a.[!b],[ab],{a,b}.c])"),
        ("quantize(include=[])", "quantize(int8dq)"),
        ("cache(method=fora-paper,interval=3)", "cache(fora-paper,interval=3)"),
        ("cache(fora,start_step=0)", "cache(fora,interval=2,start_step=0)"),
        ("cache(pab,window=[100, 950.5])", "cache(pab,interval=2,window=[100.0,950.5])"),
        ("cache(pab,window=[-1,961])", "cache(pab,interval=2,window=[-1.0,961.0])"),
        ("cache(fastercache,weight=1)", "cache(fastercache,interval=2,weight=1.0)"),
        // Masks of steps stay what they are, whatever numbers they look like.
        ("cache(fora,steps=110)", "cache(fora,steps=110)"),
        ("cache(fora,steps=0110)", "cache(fora,steps=0110)"),
        ("cache(fora,steps=11111111111111111111)", "cache(fora,steps=11111111111111111111)"),
        ("cache(fora,steps=1110101010101010101010101010)", "cache(fora,steps=1110101010101010101010101010)"),
        ("tap(h.*),tap(values=x)", "tap(h.*),tap(x)"),
    ];
    for (text, printed) in cases {
        assert_eq!(pipeline(text).to_string(), printed, "{text}");
        assert_eq!(pipeline(printed).to_string(), printed, "{text}");
    }
    assert!(pipeline(" ").is_empty());
    assert_eq!(pipeline("canonicalize,dce").exactness(), Exactness::Exact);
    assert_eq!(pipeline("canonicalize,hoist").exactness(), Exactness::Reassociating);
    assert_eq!(pipeline("cache(fora),hoist").exactness(), Exactness::Lossy);
}

#[test]
fn pipelines_that_are_none() {
    let texts = [
        "canonicalise",
        "Hoost",
        "cashe(fora)",
        "vectorize",
        "canonicalize,",
        ",dce",
        "canonicalize hoist",
        "canonicalize)",
        "canonicalize;hoist",
        "cache(fora",
        "cache(fora,",
        "cache(fora,interval",
        "cache(fora,interval=",
        "cache(fora,interval=)",
        "cache(fora,=3)",
        "cache(fora interval=3)",
        "cache(fora)dce",
        "cache(interval=3,fora)",
        "cache(fora,pab)",
        "cache(fora,method=pab)",
        "cache(fora,interval=2,interval=3)",
        "cache(fora,interval=[3])",
        "cache(pab,window=[0,1)",
        "cache(pab,window=[0 1])",
        "cache(fora,interval=2.5)",
        "cache(fora,interval=true)",
        "quantize(int8)",
        "quantize(exclude=norms)",
        "quantize(include=a[b)",
        "quantize(include=[a[b])",
        "quantize(skip=a[])",
        "quantize(keep_rows=-1)",
        "tap",
        "hoist(x)",
        "hoist(x=1)",
        "größer(",
    ];
    let mut text = String::new();
    for passes in texts {
        let error = Pipeline::parse(passes, &registry()).expect_err(passes);
        writeln!(text, "# {passes}\n{error}\n").unwrap();
    }
    snapshot!("driver__pipelines", without_lists(&text));
}

/// A pass of the registry may be replaced, and others added.
#[test]
fn registries_grow() {
    /// A pass with one option.
    #[derive(schemars::JsonSchema)]
    #[allow(dead_code, reason = "it is there for its schema")]
    struct How {
        how: String,
    }
    fn build(options: Map<String, Value>) -> reflux_ir::pass::Built {
        assert_eq!(options.keys().collect::<Vec<_>>(), ["how"]);
        Ok(Box::new(Acts { deed: "nothing", act: |_, _| Ok(Changed::No) }))
    }
    let acts = PassInfo {
        name: "acts",
        summary: "",
        positional: Some("how"),
        example: "acts(well)",
        about: About::of::<How>,
        build,
    };
    let hoist = PassInfo { name: "hoist", ..acts };
    let registry = registry().with(acts).with(hoist);
    let names: Vec<_> = registry.iter().map(|pass| pass.name).collect();
    assert_eq!(names.iter().filter(|name| **name == "hoist").count(), 1);
    assert_eq!(Pipeline::parse("acts(well),hoist(well)", &registry).unwrap().passes().len(), 2);
    let error = Pipeline::parse("act", &registry).unwrap_err().to_string();
    assert!(
        error
            .starts_with("there is no pass `act` (did you mean `acts`?); the passes are raise, canonicalize"),
        "{error}"
    );
}

/// What cannot run in the order given is refused before anything runs, with what to do instead.
#[test]
fn orders() {
    let net = program(NET);
    let mut text = String::new();
    for passes in [
        "cache(pab),cache(fora)",
        "canonicalize,cache(pab,interval=3),dce,cache(fora)",
        "cache(fora),hoist",
        "cache(pab),canonicalize,hoist",
        "cache(fora),cache(fora,interval=3)",
        "cache(fora),cache(fora-paper)",
        "cache(fora-paper),cache(fora)",
        "cache(fora-paper),cache(pab)",
        "cache(pab),cache(fora-paper)",
        "cache(pab),cache(fastercache)",
        "cache(fora),cache(pab),hoist",
        "cache(fora),cache(pab),cache(pab)",
        "fuse,quantize(int8dq)",
        "merge-linear,quantize(int8dq)",
        "fuse,cache(fora)",
        "merge-linear,cache(pab)",
        "pack,quantize(int8dq)",
        "fuse,merge-linear",
        "fuse,hoist",
        "pack,fuse,merge-linear",
    ] {
        writeln!(text, "# {passes}\n{}\n", refusal(&net, passes)).unwrap();
    }
    let (halved, _) = run(&net, "cache(fora)");
    let (attended, _) = run(&net, "cache(pab,steps=101010)");
    for (given, passes) in [(&halved, "hoist"), (&halved, "cache(fora)"), (&attended, "dce,cache(pab)")] {
        writeln!(text, "# {passes}, of a program with a cache\n{}\n", refusal(given, passes)).unwrap();
    }
    snapshot!("driver__orders", text);
    for passes in ["cache(fora),cache(pab)", "hoist,hoist", "cache(fora),quantize,canonicalize,dce", ""] {
        pipeline(passes).check_order(&net).unwrap();
    }
    pipeline("cache(pab),dce").check_order(&halved).unwrap();
}

/// A property that no one but this file knows: nothing is a SiLU.
const HUSHED: Property = Property {
    name: "hushed",
    says: "that nothing is a SiLU",
    holds: |program| !program.variants[0].ids().any(|id| program.variants[0][id].op == Op::from(Unary::Silu)),
};

/// A pass that declares what a test is about, and turns one op into another if it is told to.
#[derive(Debug, Default)]
struct Declares {
    name: &'static str,
    requires: &'static [Property],
    ends: &'static [Property],
    brings: &'static [Property],
    turns: Option<(Unary, Unary)>,
}

impl Pass for Declares {
    fn name(&self) -> &'static str {
        self.name
    }

    fn exactness(&self) -> Exactness {
        Exactness::Lossy
    }

    fn requires(&self) -> &'static [Property] {
        self.requires
    }

    fn ends(&self) -> &'static [Property] {
        self.ends
    }

    fn brings(&self) -> &'static [Property] {
        self.brings
    }

    fn run(&self, program: &mut Program, _: &mut PassContext) -> Result<Changed, PassError> {
        let Some((from, to)) = self.turns else { return Ok(Changed::No) };
        let graph = &mut program.variants[0];
        for id in graph.order().into_iter().filter(|&id| graph[id].op == Op::from(from)).collect::<Vec<_>>() {
            let mut patch = Patch::new(graph, "turn");
            turn(&mut patch, id, to).unwrap();
            patch.apply()?;
        }
        Ok(Changed::Yes)
    }
}

/// Orders follow from properties that other crates declare as they do from those of Reflux.
#[test]
fn properties_are_open() {
    let hush = || Declares {
        name: "hush",
        brings: &[HUSHED],
        turns: Some((Unary::Silu, Unary::Gelu)),
        ..Declares::default()
    };
    let whisper = || Declares { name: "whisper", requires: &[HUSHED], ..Declares::default() };
    let shout = |ends| Declares {
        name: "shout",
        ends,
        turns: Some((Unary::Gelu, Unary::Silu)),
        ..Declares::default()
    };
    let run = |passes: Vec<Declares>| {
        let mut pipeline = Pipeline::new();
        passes.into_iter().for_each(|pass| pipeline.push(pass));
        Driver::default().run(program(NET), &pipeline)
    };
    let refused = |passes| match run(passes) {
        Err(DriverError::Order(error)) => error.to_string(),
        other => panic!("{other:?}"),
    };
    run(vec![hush(), whisper()]).unwrap();
    run(vec![hush(), whisper(), shout(&[HUSHED])]).unwrap();
    run(vec![hush(), shout(&[HUSHED]), Declares { turns: None, brings: &[], ..hush() }]).unwrap();
    assert_eq!(
        refused(vec![whisper()]),
        "`whisper` requires that nothing is a SiLU, but this is not so in the input program; run `whisper` on an \
         earlier form of the program"
    );
    assert_eq!(
        refused(vec![whisper(), hush()]),
        "`whisper` requires that nothing is a SiLU, but this is not so in the input program; put `hush` before `whisper`"
    );
    assert_eq!(
        refused(vec![hush(), shout(&[HUSHED]), whisper()]),
        "`whisper` requires that nothing is a SiLU, but this no longer holds after `shout`; put `whisper` before `shout`"
    );
    let broken = |passes| match run(passes) {
        Err(DriverError::Broken { failure, .. }) => *failure,
        other => panic!("{other:?}"),
    };
    let failure = broken(vec![Declares { turns: None, ..hush() }]);
    assert!(matches!(failure, Failure::NotBrought(property) if property == HUSHED), "{failure}");
    let failure = broken(vec![hush(), whisper(), shout(&[])]);
    assert!(matches!(failure, Failure::Ended(property) if property == HUSHED), "{failure}");
}

type IsIt = fn(&Failure) -> bool;
type Act = fn(&mut Program, &mut PassContext) -> Result<Changed, PassError>;

/// A pass that does what a test is about.
#[derive(Debug)]
struct Acts {
    deed: &'static str,
    act: Act,
}

impl Pass for Acts {
    fn name(&self) -> &'static str {
        "acts"
    }

    fn options(&self) -> Map<String, Value> {
        Map::from_iter([("deed".to_owned(), self.deed.into())])
    }

    fn exactness(&self) -> Exactness {
        Exactness::Exact
    }

    fn run(&self, program: &mut Program, cx: &mut PassContext) -> Result<Changed, PassError> {
        (self.act)(program, cx)
    }
}

/// `from` of its operand becomes `to`.
fn turn(patch: &mut Patch, root: ValueId, to: Unary) -> Result<(), RuleError> {
    let node = &patch.graph()[root];
    let (name, path, x) = (node.name.clone(), node.path.clone(), patch.graph().operands(root)[0]);
    let new = patch.add(to, &[x], &name, path)?;
    patch.shunt(root, new);
    Ok(())
}

/// Rules that undo each other.
const TURNS: [Rule; 2] = [
    Rule {
        name: "there",
        pattern: "silu → gelu",
        roots: &["silu"],
        rewrite: |patch, root| turn(patch, root, Unary::Gelu),
    },
    Rule {
        name: "back",
        pattern: "gelu → silu",
        roots: &["gelu"],
        rewrite: |patch, root| turn(patch, root, Unary::Silu),
    },
];

/// A rule that says it fits, and makes something of another type.
const NARROWS: Rule = Rule {
    name: "narrows",
    pattern: "silu → f16",
    roots: &["silu"],
    rewrite: |patch, root| Ok(patch.replace(root, Cast { dtype: DType::F16 }, &[root])?),
};

/// What a pass does that it must not, and what is said of it.
const BROKEN: [(&str, Act, IsIt); 9] = [
    (
        "mistypes",
        |program, cx| apply_rules(&mut program.variants[0], &[NARROWS], cx),
        |failure| matches!(failure, Failure::Error(PassError::Patch(PatchError::Type { .. }))),
    ),
    (
        "says-yes",
        |_, _| Ok(Changed::Yes),
        |failure| matches!(failure, Failure::Lied { said: "something", did: "nothing" }),
    ),
    (
        "says-no",
        |program, _| {
            program.name = "renamed".into();
            Ok(Changed::No)
        },
        |failure| matches!(failure, Failure::Lied { said: "nothing", did: "something" }),
    ),
    (
        "panics",
        |program, _| {
            program.schedule.clear();
            panic!("no luck")
        },
        |failure| matches!(failure, Failure::Panic(message) if message == "no luck"),
    ),
    (
        "panics-with-a-number",
        |program, _| panic!("{} steps", program.schedule.len()),
        |failure| matches!(failure, Failure::Panic(message) if message == "6 steps"),
    ),
    (
        "breaks-the-program",
        |program, _| {
            program.schedule.clear();
            program.name = "not a name".into();
            Ok(Changed::Yes)
        },
        |failure| matches!(failure, Failure::Invalid(error) if error.violations.len() == 2),
    ),
    (
        "fails",
        |program, _| {
            let graph: &mut Graph = &mut program.variants[0];
            let x = graph.find("x").unwrap();
            Patch::new(graph, "test").add(Concat { axis: 9 }, &[x], &"wave".into(), ModulePath::root())?;
            Ok(Changed::Yes)
        },
        |failure| matches!(failure, Failure::Error(PassError::Patch(_))),
    ),
    (
        "ends-one-variant",
        |program, _| {
            let graph = program.variants[0].clone();
            program.variants.insert("other".into(), graph);
            Ok(Changed::Yes)
        },
        |failure| matches!(failure, Failure::Ended(property) if *property == ONE_VARIANT),
    ),
    (
        "diverges",
        |program, cx| apply_rules(&mut program.variants[0], &TURNS, cx),
        |failure| matches!(failure, Failure::Error(PassError::Diverging(rules)) if rules == "there, back"),
    ),
];

/// An empty folder for a test.
fn folder(test: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("driver").join(test);
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).unwrap();
    let mut files: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    files.sort();
    files
}

/// A pass that breaks its word is named, and leaves what it takes to see it do so again: the program that it was given,
/// and itself with its options.
#[test]
fn broken_passes_leave_reproducers() {
    let (given, _) = run(&program(NET), "canonicalize");
    let mut text = String::new();
    for (deed, act, is_it) in BROKEN {
        let folder = folder(deed);
        let mut pipeline = pipeline("canonicalize");
        pipeline.push(Acts { deed, act });
        let mut driver = Driver { dump_dir: Some(&folder), ..Driver::default() };
        let error = driver.run(program(NET), &pipeline).expect_err(deed);
        let message = error.to_string().replace(&folder.display().to_string(), "DUMPS");
        writeln!(text, "# {deed}\n{message}\n").unwrap();
        let DriverError::Broken { pass, failure, reproducer, .. } = error else { panic!("{deed}: {error}") };
        assert!(is_it(&failure), "{deed}: {failure:?}");
        assert_eq!(pass, format!("acts(deed={deed})"));
        assert_eq!(reproducer, Some(folder.join("reproducer.ir")));
        assert_eq!(files(&folder), ["000_input.ir", "001_canonicalize.ir", "reproducer.ir"]);
        let reproducer = std::fs::read_to_string(folder.join("reproducer.ir")).unwrap();
        assert_eq!(header(&reproducer).unwrap().passes, pass);
        assert_same(deed, &parse(&reproducer).unwrap(), &given);
        let first = failure.to_string().lines().next().unwrap().to_owned();
        assert!(reproducer.contains(&format!("\n// fails with:\n// {first}\n")), "{reproducer}");
    }
    snapshot!("driver__broken", text);
}

/// Without a folder for dumps, it is among the temporary files.
#[test]
fn reproducers_have_a_place_without_dumps() {
    let mut pipeline = Pipeline::new();
    pipeline.push(Acts { deed: "says-yes", act: BROKEN[0].1 });
    let reproduce = || {
        let error = Driver::default().run(program(NET), &pipeline).unwrap_err();
        let DriverError::Broken { reproducer: Some(path), .. } = error else { panic!("{error}") };
        path
    };
    let path = reproduce();
    let text = std::fs::read_to_string(&path).unwrap();
    assert_same("reproducer", &parse(&text).unwrap(), &program(NET));
    // Others write there too: nobody can know its name before, and nobody else reads it.
    let second = reproduce();
    assert_ne!(path, second);
    #[cfg(unix)]
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777, 0o600);
    [path, second].iter().for_each(|path| std::fs::remove_file(path).unwrap());
}

/// The names of dumps are nobody's wish: what is in their way is neither followed nor replaced, unless it is an older dump.
#[test]
#[cfg(unix)]
fn dumps_follow_no_links() {
    for name in ["000_input.ir", "001_canonicalize.ir", "reproducer.ir"] {
        let folder = folder("links");
        let precious = folder.join("precious");
        std::fs::write(&precious, "precious").unwrap();
        std::os::unix::fs::symlink(&precious, folder.join(name)).unwrap();
        let mut pipeline = pipeline("canonicalize");
        pipeline.push(Acts { deed: "says-yes", act: BROKEN[0].1 });
        let mut driver = Driver { dump_dir: Some(&folder), ..Driver::default() };
        let error = driver.run(program(NET), &pipeline).unwrap_err();
        match &error {
            DriverError::Dump(error) => {
                assert!(error.to_string().contains("is not a regular file"), "{error}")
            }
            DriverError::Broken { reproducer, .. } => assert_eq!(*reproducer, None),
            error => panic!("{error}"),
        }
        assert_eq!(std::fs::read_to_string(&precious).unwrap(), "precious");
        assert!(folder.join(name).is_symlink());
        std::fs::remove_file(folder.join(name)).unwrap();
        for _ in 0..2 {
            driver.run(program(NET), &pipeline).unwrap_err();
        }
        assert_eq!(files(&folder), ["000_input.ir", "001_canonicalize.ir", "precious", "reproducer.ir"]);
    }
}

/// Options and programs that do not fit are no bugs of a pass.
#[test]
fn refusals_are_no_bugs() {
    let folder = folder("refusals");
    let mut driver = Driver { dump_dir: Some(&folder), ..Driver::default() };
    let error = driver.run(program(NET), &pipeline("canonicalize,tap(nothing)")).unwrap_err();
    assert!(matches!(&error, DriverError::Refused { pass, .. } if pass == "tap(nothing)"), "{error}");
    assert_eq!(files(&folder), ["000_input.ir", "001_canonicalize.ir"]);
    let mut broken = program(NET);
    broken.schedule.clear();
    let error = Driver::default().run(broken, &pipeline("canonicalize")).unwrap_err();
    assert!(matches!(error, DriverError::Input(_)), "{error}");
    // Where dumps cannot be written, nothing runs.
    let file = folder.join("000_input.ir");
    let mut driver = Driver { dump_dir: Some(&file), ..Driver::default() };
    let error = driver.run(program(NET), &pipeline("canonicalize")).unwrap_err();
    assert!(matches!(error, DriverError::Dump(_)), "{error}");
}

const LONG: &str =
    "canonicalize,dce,hoist,canonicalize,quantize(int8dq,keep_rows=1),tap(s.1),cache(pab),tap(out),dce";

/// Each file says how to make it of the one before, also where the pass found something out for itself.
#[test]
fn dumps_replay() {
    let folder = folder("replay");
    let mut driver = Driver { dump_dir: Some(&folder), timesteps: Some(&NET_TIMES), ..Driver::default() };
    let (last, report) = driver.run(program(NET), &pipeline(LONG)).unwrap();
    let files = files(&folder);
    let changed = report.passes.iter().enumerate().filter(|(_, pass)| pass.changed);
    let expected = changed.map(|(index, _)| format!("{:03}_{}.ir", index + 1, pass_name(LONG, index)));
    assert_eq!(files[1..], expected.collect::<Vec<_>>());
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    let mut headers = String::new();
    for pair in files.windows(2) {
        let text = read(&pair[1]);
        let header: Vec<_> = text.lines().take_while(|line| line.starts_with("//")).collect();
        let replay = header.last().unwrap().strip_prefix("// replay: reflux opt ").unwrap();
        let (of, passes) = replay.split_once(" --passes ").unwrap();
        assert_eq!(of, pair[0]);
        let (again, _) = try_run_at(&parse(&read(of)).unwrap(), passes.trim_matches('\''), None).unwrap();
        assert_same(&pair[1], &again, &parse(&text).unwrap());
        assert_same(&pair[1], &parse(&again.to_string()).unwrap(), &parse(&text).unwrap());
        writeln!(headers, "{}", header.join("\n")).unwrap();
    }
    assert_same("last", &parse(&read(files.last().unwrap())).unwrap(), &last);
    assert!(headers.contains("--passes 'cache(pab,steps=111011)'"), "{headers}");
    assert!(read("003_hoist.ir").contains("// <- "), "what became of what is in dumps");
    snapshot!("driver__dumps", headers);
}

/// Programs are drawn beside their text, or instead of it.
#[test]
fn dumps_have_formats() {
    let folder = folder("formats");
    let run = |formats: &[DumpFormat]| {
        let mut driver = Driver {
            dump_dir: Some(&folder),
            dump_formats: formats,
            machine: Machine::named("h100"),
            ..Driver::default()
        };
        driver.run(program(NET), &pipeline("dce,canonicalize,hoist")).unwrap();
    };
    run(&[DumpFormat::Dot]);
    assert_eq!(files(&folder), ["000_input.dot", "002_canonicalize.dot", "003_hoist.dot"]);
    run(&[DumpFormat::Json, DumpFormat::Ir]);
    let stems = ["000_input", "002_canonicalize", "003_hoist"];
    let all = stems.iter().flat_map(|stem| ["dot", "ir", "json"].map(|kind| format!("{stem}.{kind}")));
    assert_eq!(files(&folder), all.collect::<Vec<_>>());
    let read = |file: &str| std::fs::read_to_string(folder.join(file)).unwrap();
    assert!(read("003_hoist.ir").contains("// replay: reflux opt 002_canonicalize.ir --passes 'hoist'"));
    assert!(read("003_hoist.dot").contains("\\nattention\\n3.01 µs\""), "{}", read("003_hoist.dot"));
    let json: Value = serde_json::from_str(&read("003_hoist.json")).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
}

fn pass_name(passes: &str, index: usize) -> String {
    pipeline(passes).passes().nth(index).unwrap().name().to_owned()
}

#[test]
fn pipelines_stop_where_told() {
    let folder = folder("stop");
    for (count, expected) in [(0, ""), (1, "canonicalize"), (3, "canonicalize,dce,hoist"), (99, LONG)] {
        let mut driver = Driver {
            stop_after: Some(count),
            dump_dir: Some(&folder),
            timesteps: Some(&NET_TIMES),
            ..Driver::default()
        };
        let (stopped, report) = driver.run(program(NET), &pipeline(LONG)).unwrap();
        let (whole, _) = try_run_at(&program(NET), expected, Some(&NET_TIMES)).unwrap();
        assert_same(expected, &stopped, &whole);
        assert_eq!(report.passes.len(), pipeline(expected).passes().len());
        if count == 3 {
            assert_eq!(files(&folder), ["000_input.ir", "001_canonicalize.ir", "003_hoist.ir"]);
        }
    }
    // The order of all passes is checked all the same.
    let mut driver = Driver { stop_after: Some(1), ..Driver::default() };
    let error = driver.run(program(NET), &pipeline("canonicalize,cache(fora),hoist")).unwrap_err();
    assert!(matches!(error, DriverError::Order(_)), "{error}");
}

#[test]
fn programs_print_where_told() {
    let of = |names: &[&str]| DumpPoints::Of(names.iter().map(|name| (*name).to_owned()).collect());
    let cases = [
        (DumpPoints::None, DumpPoints::None, vec![]),
        (of(&["hoist"]), DumpPoints::None, vec!["before hoist"]),
        (DumpPoints::None, of(&["dce", "tap"]), vec!["after dce", "after tap(s.1)"]),
        (
            DumpPoints::All,
            of(&["cache"]),
            vec![
                "before canonicalize",
                "before dce",
                "before hoist",
                "before cache(pab,interval=2)",
                // With what it has found out.
                "after cache(pab,steps=111011)",
                "before tap(s.1)",
            ],
        ),
    ];
    let passes = pipeline("canonicalize,dce,hoist,cache(pab),tap(s.1)");
    for (print_before, print_after, expected) in cases {
        let mut printed: Vec<String> = Vec::new();
        let mut print = |text: &str| printed.push(text.to_owned());
        let mut driver = Driver {
            timesteps: Some(&NET_TIMES),
            print_before,
            print_after,
            print: Some(&mut print),
            ..Driver::default()
        };
        driver.run(program(NET), &passes).unwrap();
        let first = |text: &String| text.lines().next().unwrap().strip_prefix("// ").unwrap().to_owned();
        assert_eq!(printed.iter().map(first).collect::<Vec<_>>(), expected);
        for text in printed {
            let (when, pass) =
                first(&text).split_once(' ').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
            let index = passes.passes().position(|known| pass.starts_with(known.name())).unwrap();
            let count = index + usize::from(when == "after");
            let mut driver =
                Driver { timesteps: Some(&NET_TIMES), stop_after: Some(count), ..Driver::default() };
            assert_same(&pass, &parse(&text).unwrap(), &driver.run(program(NET), &passes).unwrap().0);
        }
    }
}

const HASHED: &str = "\
program p {
  input %x : f32[2,2] latent
  input %p : f32[2,2] prompt
  input %u : f32[2] prompt
  carry %h : f32[2,2] latent
  carry %g : f32[2,2] latent
  carry %f : i8.row.f32[2] latent
  prepare prompt (%p) -> (%q) {
    %q = silu %p : f32[2,2] in prepared
    return %q
  }
  variant full (%x, %q) -> (%y, %h, %g) {
    %a = sub %x, %q : f32[2,2] in net.0
    %b = layer_norm %x {eps=1e-6} : f32[2,2]
    %c = linear %a, @w f32[2,2] : f32[2,2]
    %d = mul %b, 2.0 : f32[2,2]
    %e = dequantize @v i8.row.f32[2,2] {dtype=f32} : f32[2,2]
    return %d, %c, %a
  }
  variant reuse (%h, %g) -> (%y) {
    %y = add %h, %g : f32[2,2]
    return %y
  }
  schedule full reuse*2 full reuse
}
";

/// What makes another program, and another hash.
const EDITS: [(&str, &str, &str); 29] = [
    ("the program's name", "program p", "program q"),
    ("an input's name", "%x", "%xx"),
    ("an input's element type", "%u : f32[2]", "%u : f16[2]"),
    ("an input's shape", "%u : f32[2]", "%u : f32[2,1]"),
    ("an input's rate", "%u : f32[2] prompt", "%u : f32[2] weights"),
    ("an input less", "  input %u : f32[2] prompt\n", ""),
    (
        "the order of inputs",
        "%p : f32[2,2] prompt\n  input %u : f32[2]",
        "%u : f32[2] prompt\n  input %p : f32[2,2]",
    ),
    ("a carried value's name", "%h", "%k"),
    ("a carried value's scales", "i8.row.f32[2]", "i8.row.f16[2]"),
    ("the order of carried values", "%h : f32[2,2] latent\n  carry %g", "%g : f32[2,2] latent\n  carry %h"),
    ("the rate of a stage", "prepare prompt", "prepare schedule"),
    ("an op", "silu", "gelu"),
    ("an attribute", "eps=1e-6", "eps=1e-5"),
    ("a module path", "in net.0", "in net.1"),
    ("no module path", " in prepared", ""),
    ("a value's name", "%c", "%e.0"),
    ("the order of operands", "%x, %q : f32", "%q, %x : f32"),
    ("an operand", "linear %a", "linear %b"),
    ("a weight's name", "@w", "@w.0"),
    ("a weight's scales", "@v i8.row.f32", "@v i8.tensor.f32"),
    ("a number", "2.0", "-2.0"),
    ("a zero", "2.0", "0.0"),
    ("a zero's sign", "2.0", "-0.0"),
    ("the order of a stage's inputs", "reuse (%h, %g)", "reuse (%g, %h)"),
    ("an output's label", "-> (%y", "-> (%v"),
    ("what an output is", "return %d, %c, %a", "return %d, %c, %c"),
    ("the order of outputs", "return %d, %c, %a", "return %d, %a, %c"),
    ("a variant's name", "reuse", "again"),
    ("the schedule", "full reuse*2 full reuse", "full reuse full reuse*2"),
];

/// Programs are equal where their hashes are.
#[test]
fn hashes_tell_programs_apart() {
    let mut programs = vec![("nothing", program(HASHED))];
    programs.extend(EDITS.map(|(what, from, to)| (what, program(&HASHED.replace(from, to)))));
    for (at, (what, program)) in programs.iter().enumerate() {
        for (other, another) in &programs[at + 1..] {
            assert!(program != another, "{what} and {other}");
        }
    }
    let hashes: HashSet<u64> = programs.iter().map(|(_, program)| program.structural_hash()).collect();
    assert_eq!(hashes.len(), programs.len());
}

/// The same program, written or made otherwise.
#[test]
fn hashes_of_equal_programs_are_equal() {
    let base = program(HASHED);
    let lines = "    %a = sub %x, %q : f32[2,2] in net.0\n    %b = layer_norm %x {eps=1e-6} : f32[2,2]\n";
    let swapped: String = lines.lines().rev().map(|line| format!("{line}\n")).collect();
    let start = HASHED.find("  variant full").unwrap();
    let middle = HASHED.find("  variant reuse").unwrap();
    let end = HASHED.find("  schedule").unwrap();
    let variants = [&HASHED[..start], &HASHED[middle..end], &HASHED[start..middle], &HASHED[end..]].concat();
    let texts = [
        ("lines in another order", HASHED.replace(lines, &swapped)),
        ("variants in another order", variants),
        ("steps one by one", HASHED.replace("reuse*2", "reuse reuse")),
        (
            "with comments",
            base.print(&PrintOptions {
                costs: true,
                provenance: true,
                unrolled: true,
                blocks: None,
                machine: Machine::named("h100"),
            }),
        ),
    ];
    for (what, text) in texts {
        assert!(text != HASHED, "{what}");
        let program = program(&text);
        assert_same(what, &program, &base);
        assert_eq!(program.structural_hash(), base.structural_hash(), "{what}");
    }
    // A weight that nothing reads does not print, and what an op replaced is a comment.
    let mut patched = base.clone();
    let graph = &mut patched.variants["full"];
    let fact = graph[graph.find("x").unwrap()].fact.clone().at(reflux_ir::Rate::Weights);
    let d = graph.find("d").unwrap();
    let (op, operands): (Op, _) = (graph[d].op.clone(), graph.operands(d));
    let mut patch = Patch::new(graph, "same");
    patch.weight("unread", fact).unwrap();
    let again = patch.add(op, &operands, &"d".into(), ModulePath::root()).unwrap();
    patch.shunt(d, again);
    patch.apply().unwrap();
    assert_same("patched", &patched, &base);
    assert_eq!(patched.structural_hash(), base.structural_hash());
}

#[test]
fn configurations() {
    let texts = [
        "version = 1\npasses = \"canonicalize,quantize(int8dq,include=[a.*,*.to_[qk]]),cache(fora,interval=3),dce\"",
        r#"
            version = 1
            passes = [
                "canonicalize",
                { pass = "quantize", scheme = "int8dq", include = ["a.*", "*.to_[qk]"] },
                { pass = "cache", method = "fora", interval = 3 },
                { pass = "dce" },
            ]"#,
        r#"
            version = 1

            [[passes]]
            pass = "canonicalize"

            [[passes]]
            pass = "quantize"
            include = ["a.*", "*.to_[qk]"]

            [[passes]]
            pass = "cache"
            method = "fora"
            interval = 3

            [[passes]]
            pass = "dce""#,
        r#"{"version": 1, "passes": ["canonicalize", {"pass": "quantize", "include": ["a.*", "*.to_[qk]"]},
            {"pass": "cache", "method": "fora", "interval": 3}, "dce"]}"#,
    ];
    let expected = "canonicalize,quantize(int8dq,include=[a.*,*.to_[qk]]),cache(fora,interval=3),dce";
    for text in texts {
        let table = PassConfig::table(text).unwrap();
        assert!(PassConfig::is_own(&table));
        assert_eq!(
            PassConfig::read(&table, &registry()).unwrap().recipe.pipeline(&Pipeline::new()).to_string(),
            expected
        );
    }
    let empty =
        PassConfig::read(&PassConfig::table("version = 1\npasses = []").unwrap(), &registry()).unwrap();
    assert!(empty.recipe.is_empty());
    for (text, is_own) in
        [("version = 2", true), ("passes = 1", true), ("fora = true", false), ("{\"a\": 1}", false)]
    {
        assert_eq!(PassConfig::is_own(&PassConfig::table(text).unwrap()), is_own, "{text}");
    }
}

#[test]
fn configurations_that_are_none() {
    let texts = [
        "",
        "# nothing but a comment",
        "{}",
        "version",
        "{\"version\": 1",
        "passes = [\"dce\"]",
        "version = 2\npasses = []",
        "version = \"1\"\npasses = []",
        "version = 1",
        "version = 1\npasses = true",
        "version = 1\npass = [\"dce\"]\npasses = []",
        "version = 1\npasses = [\"dse\"]",
        "version = 1\npasses = [\"cache(fora\"]",
        "version = 1\npasses = \"cache(fora\"",
        "version = 1\npasses = [3]",
        "version = 1\npasses = [{ method = \"fora\" }]",
        "version = 1\npasses = [{ pass = 3 }]",
        "version = 1\npasses = [{ pass = \"cache\" }]",
        "version = 1\npasses = [{ pass = \"cache\", method = \"fora\", intervall = 3 }]",
        "version = 1\npasses = [{ pass = \"quantize\", include = [1] }]",
    ];
    let mut report = String::new();
    for text in texts {
        let read = PassConfig::table(text).and_then(|table| PassConfig::read(&table, &registry()));
        writeln!(report, "# {}\n{}\n", text.replace('\n', "; "), read.expect_err(text)).unwrap();
    }
    snapshot!("driver__configurations", without_lists(&report));
}

/// The report of a pipeline, of which only times differ from run to run.
#[test]
fn reports() {
    let (_, report) = try_run_at(&program(NET), LONG, Some(&NET_TIMES)).unwrap();
    snapshot!("driver__report", passes::log(&report));
    let printed = report.to_string();
    for pass in &report.passes {
        let timeless = pass.timeless().to_string();
        let first = timeless.lines().next().unwrap();
        let head: Vec<_> = first.split(" | ").take(3).collect();
        assert!(printed.contains(&format!("{} | ", head.join(" | "))), "{printed}");
    }
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["passes"][0].get("estimate"), None);
    let cache = &json["passes"][6];
    assert_eq!(cache["pass"], "cache(pab,steps=111011)");
    assert_eq!((&cache["exactness"], &cache["changed"]), (&"lossy".into(), &true.into()));
    assert_eq!(json["passes"][0]["rules"]["cse"]["hits"], 1);
}

/// With a machine, what a picture takes: before the first pass, after each, the same in between.
#[test]
fn reports_estimate() {
    let machine = Machine::named("cpu").unwrap();
    let mut driver = Driver { machine: Some(machine), ..Driver::default() };
    let (last, report) = driver.run(program(NET), &pipeline("canonicalize,hoist,dce")).unwrap();
    let estimates: Vec<_> = report.passes.iter().map(|pass| pass.estimate.unwrap()).collect();
    assert_eq!(estimates[0].before, machine.of_schedule(&program(NET)));
    assert!(estimates.windows(2).all(|pair| pair[0].after == pair[1].before));
    assert!(estimates[1].after < estimates[1].before, "{report}");
    assert_eq!(estimates[2].after, machine.of_schedule(&last));
    snapshot!("driver__estimates", passes::log(&report));
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["passes"][2]["estimate"]["machine"], "cpu");
}

/// Every rule that was tried has a line below its pass: tries, hits, and a time, if its pass measures it.
#[test]
fn rules_are_tabulated() {
    let (_, report) = run(&program(NET), "canonicalize,hoist,canonicalize,dce");
    assert!(report.passes[2].rules["slice-of-slice"].seconds > 0.0);
    let table = report.rules().to_string();
    let time = |word: &str| word.parse::<f64>().map_or(word.to_owned(), |_| "TIME".to_owned());
    let row = |line: &str| match line.rsplit_once(' ') {
        Some((row, last)) => format!("{} {}", row.trim_end(), time(last)),
        None => line.to_owned(),
    };
    snapshot!("driver__rules", table.lines().map(row).collect::<Vec<_>>().join("\n"));
    let json = serde_json::to_value(&report).unwrap();
    assert!(json["passes"][0]["rules"]["cse"]["seconds"].as_f64().unwrap() > 0.0);
    // Passes without rules are left out.
    let (_, report) = run(&program(NET), "tap(s.*)");
    assert_eq!(report.rules().to_string(), "");
}
