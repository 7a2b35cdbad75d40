//! Devices, and whether they are available.

use crate::backend::{
    BACKENDS, Backend, BackendFacts, DeviceInfo, Form, FreeMemory, HOST, LEFT_OUT, LinkInfo, Oracle,
};
use crate::{DeviceError, RunError};
use reflux_ir::{DType, Machine, Program};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A place to run programs: one of [`Device::all`], or some of several GPUs. Prints, and is serialized, as its name: `cpu`, `cuda`,
/// `cuda:1`, `cuda:0-3`.
#[derive(Clone, Copy)]
pub struct Device {
    backend: &'static dyn Backend,
    /// The first of the backend's devices that is meant, from 0.
    first: u16,
    /// How many are meant.
    count: u16,
}

impl Device {
    /// All devices of this build, the processor first.
    pub fn all() -> impl Iterator<Item = Self> {
        BACKENDS.iter().rev().map(|&backend| Self::first_of(backend))
    }

    /// The processor, which is always available; run op by op, it is the reference for all others.
    pub fn host() -> Self {
        Self::first_of(HOST)
    }

    /// The fastest available device: a GPU if a usable one is found, else the processor.
    pub fn auto() -> Self {
        let there = BACKENDS.iter().find(|backend| backend.probe(0).is_ok());
        there.map_or(Self::host(), |&backend| Self::first_of(backend))
    }

    const fn first_of(backend: &'static dyn Backend) -> Self {
        Self { backend, first: 0, count: 1 }
    }

    /// The devices that are meant, one by one.
    pub fn each(self) -> impl Iterator<Item = Self> {
        (self.first..self.first + self.count).map(move |first| Self { first, count: 1, ..self })
    }

    /// As many devices, from the first on, if more than one was named then as many as that.
    ///
    /// # Errors
    /// If several were named, but not as many.
    pub(crate) fn with_count(self, count: usize) -> Result<Self, RunError> {
        if self.count > 1 && self.count() != count {
            let last = self.ordinal() + count - 1;
            let example = format!("{}:{}-{last}", self.name(), self.first);
            return Err(RunError::Devices { program: count, given: self.count(), example });
        }
        // The processor is all of its devices.
        let count = if self.is_host() { 1 } else { count };
        Ok(self.times(count)?)
    }

    /// The devices on which `program` runs, from the first of those that are meant on: what is not divided runs on that one.
    ///
    /// # Errors
    /// If several are meant, but not as many as it is for, or if there are not as many.
    pub fn running(self, program: &Program) -> Result<Self, RunError> {
        let Some(count) = program.devices() else { return Ok(self.first()) };
        let device = self.with_count(count)?;
        device.probe()?;
        Ok(device)
    }

    /// As many devices of the fastest kind that this build knows, from the first on.
    ///
    /// # Errors
    /// If this build knows no kind of which there can be several.
    pub fn several(count: usize) -> Result<Self, DeviceError> {
        let backend = BACKENDS.iter().find(|backend| !backend.facts().is_host);
        let backend = backend
            .ok_or_else(|| DeviceError::new("this build knows the processor alone, which is one device"))?;
        Self::first_of(*backend).times(count)
    }

    /// `count` devices, from its first on.
    fn times(self, count: usize) -> Result<Self, DeviceError> {
        let count =
            u16::try_from(count).map_err(|_| DeviceError::new(format!("there are no {count} devices")))?;
        Ok(Self { count, ..self })
    }

    /// All devices of its kind that there are.
    pub fn all_like(self) -> impl Iterator<Item = Self> {
        Self { first: 0, count: u16::try_from(self.backend.count()).unwrap_or(u16::MAX), ..self }.each()
    }

    /// What links the devices of its kind; `None` if there are fewer than two.
    ///
    /// # Errors
    /// If they cannot exchange values; says what to install.
    pub fn link(self) -> Option<Result<LinkInfo, DeviceError>> {
        self.backend.link()
    }

    /// The first of the devices that are meant.
    pub fn first(self) -> Self {
        Self { count: 1, ..self }
    }

    /// How many devices are meant.
    pub fn count(self) -> usize {
        self.count.into()
    }

    /// The number of the first device, from 0.
    pub(crate) fn ordinal(self) -> usize {
        self.first.into()
    }

    /// The names of devices that this build does not include; each is a cargo feature with the same name.
    pub fn left_out() -> &'static [&'static str] {
        LEFT_OUT
    }

    pub(crate) fn backend(self) -> &'static dyn Backend {
        self.backend
    }

    fn facts(self) -> &'static BackendFacts {
        self.backend.facts()
    }

    /// The name of its kind for users: `cpu`, `cuda`.
    pub fn name(self) -> &'static str {
        self.facts().name
    }

    /// Other names for users.
    pub fn aliases(self) -> &'static [&'static str] {
        self.facts().aliases
    }

    /// The crate that its backend is built on.
    pub fn library(self) -> &'static str {
        self.facts().library
    }

    /// The default dtype for computation on it.
    pub fn dtype(self) -> DType {
        self.facts().dtype
    }

    /// Whether products read weights in panels here, as the pass `pack` lays them out.
    pub fn reads_panels(self) -> bool {
        self.facts().reads_panels
    }

    /// Whether passes pay off for networks that run once per picture.
    pub fn optimizes_once(self) -> bool {
        self.facts().optimizes_once
    }

    /// Whether the memory of a step is planned and kept between steps; if not, [`needs`](crate::needs) is a lower bound.
    pub fn plans_memory(self) -> bool {
        self.facts().plans_memory
    }

    /// Whether weights stay in this process's memory, and do not only pass through it.
    pub fn is_host(self) -> bool {
        self.facts().is_host
    }

    /// Whether exact passes keep every bit on this device.
    pub fn keeps_bits(self) -> bool {
        self.facts().keeps_bits
    }

    /// The forms and dtypes in which its kernels are checked.
    pub fn proofs(self) -> &'static [(Form, DType)] {
        self.facts().proofs
    }

    /// How far its results in f32 may be from those of the processor, as relative L2 distances.
    pub fn f32_tolerance(self) -> f64 {
        self.facts().f32_tolerance
    }

    /// The reference for results that involve codes, to check kernels.
    pub fn oracle_of_codes(self) -> Oracle {
        self.facts().oracle_of_codes
    }

    /// The device that the cost table `machine` describes, if this build has one.
    pub fn of_machine(machine: &Machine) -> Option<Self> {
        Self::all().find(|device| device.facts().machines.contains(&machine.name))
    }

    /// The cost table used for the device of `info`, one of [`Machine::NAMES`].
    pub fn machine(self, info: &DeviceInfo) -> MachineOf {
        MachineOf::nearest(self.facts().machines, info)
    }

    /// Checks that all devices that are meant can be used, without starting to use them; what the first one is.
    pub fn probe(self) -> Result<DeviceInfo, DeviceError> {
        let mut infos = self.each().map(|device| self.backend.probe(device.ordinal()));
        let first = infos.next().expect("there is one");
        infos.try_for_each(|info| info.map(drop)).and(first)
    }

    /// Releases memory that backends cache, after a large network is dropped.
    pub fn release_unused(self) {
        self.each().for_each(|device| self.backend.release_unused(device.ordinal()));
    }

    /// The memory that is free now on the first device, if that is known, under the limits of this process.
    pub fn free_memory(self) -> Option<FreeMemory> {
        self.backend.free_memory(self.ordinal())
    }
}

impl PartialEq for Device {
    fn eq(&self, other: &Self) -> bool {
        (self.name(), self.first, self.count) == (other.name(), other.first, other.count)
    }
}

impl Eq for Device {}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, first) = (self.name(), self.first);
        match (first, self.count) {
            (0, 1) => f.write_str(name),
            (_, 1) => write!(f, "{name}:{first}"),
            (_, count) => write!(f, "{name}:{first}-{}", first + count - 1),
        }
    }
}

impl Serialize for Device {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl FromStr for Device {
    type Err = DeviceError;

    /// `cpu`, `cuda`, the first GPU, `cuda:1`, the second, or `cuda:0-3`, the first four.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, numbers) =
            text.split_once(':').map_or((text, None), |(name, numbers)| (name, Some(numbers)));
        let device = Self::named(name)?;
        let Some(numbers) = numbers else { return Ok(device) };
        if device.is_host() {
            return Err(DeviceError::new(format!(
                "`{text}`: the processor is one device, `{}`",
                device.name()
            )));
        }
        let (first, last) = numbers.split_once('-').unwrap_or((numbers, numbers));
        match (first.parse::<u16>(), last.parse::<u16>()) {
            (Ok(first), Ok(last)) if first <= last && last < u16::MAX => {
                Ok(Self { first, count: last - first + 1, ..device })
            }
            _ => Err(DeviceError::new(format!(
                "`{text}` names no devices: write {name}:1 for the second one, or {name}:0-3 for the first four"
            ))),
        }
    }
}

impl Device {
    /// The first device of the backend called `name`.
    fn named(name: &str) -> Result<Self, DeviceError> {
        let is_meant = |known: &&str| known.eq_ignore_ascii_case(name);
        let names = |device: &Self| [device.name()].into_iter().chain(device.aliases().iter().copied());
        if let Some(device) = Self::all().find(|device| names(device).any(|known| is_meant(&known))) {
            return Ok(device);
        }
        Err(DeviceError::new(if let Some(name) = LEFT_OUT.iter().find(|known| is_meant(known)) {
            format!(
                "this build of Reflux does not include the backend `{name}`: build it with --features {name}"
            )
        } else {
            let known: Vec<_> = Self::all().map(Self::name).collect();
            format!("there is no device `{name}`; the devices are {}", known.join(" and "))
        }))
    }
}

/// The cost table used for a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineOf {
    pub machine: &'static Machine,
    /// Whether the table is for this device, and not for the nearest one with a table.
    pub is_own: bool,
    /// The warning if passes use the table of another device.
    pub warning: Option<String>,
}

impl MachineOf {
    /// The one of `tables` with the name of the device of `info`, else the nearest by compute capability.
    fn nearest(tables: &[&str], info: &DeviceInfo) -> Self {
        let tables = || tables.iter().map(|name| Machine::named(name).expect("a test looks at each"));
        let whole = |(major, minor): (u32, u32)| 10 * major + minor;
        let own = tables().find(|machine| machine.is_of(&info.name));
        let distance = |machine: &&Machine| {
            let capabilities = machine.compute_capability.zip(info.compute_capability);
            capabilities.map_or(0, |(table, own)| whole(table).abs_diff(whole(own)))
        };
        let machine = own.or_else(|| tables().min_by_key(distance)).expect("every backend has a table");
        let is_own = own.is_some() || info.compute_capability.is_none();
        let warning = (!is_own && distance(&machine) > 0).then(|| {
            format!(
                "there is no cost table for {}; fuse uses that of {}, the nearest by compute capability",
                info.name, machine.description
            )
        });
        Self { machine, is_own, warning }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn machine(name: &str, compute_capability: Option<(u32, u32)>) -> MachineOf {
        let name = name.to_owned();
        let info = DeviceInfo {
            device: "cuda",
            name,
            memory: 0,
            compute_capability,
            processors: None,
            driver_version: None,
        };
        MachineOf::nearest(if compute_capability.is_some() { &["h100", "l40s"] } else { &["cpu"] }, &info)
    }

    #[test]
    fn machines_are_known_by_their_names() {
        for (name, capability, table) in [
            ("NVIDIA H100 80GB HBM3", Some((9, 0)), "h100"),
            // An H200 is an H100 with more and faster memory.
            ("NVIDIA H200", Some((9, 0)), "h100"),
            ("NVIDIA L40S", Some((8, 9)), "l40s"),
            ("some processor", None, "cpu"),
        ] {
            let MachineOf { machine, is_own, warning } = machine(name, capability);
            assert_eq!((machine.name, is_own, warning), (table, true, None), "{name}");
        }
    }

    #[test]
    fn others_take_the_nearest_table_which_is_said_where_it_may_mislead() {
        let found = machine("NVIDIA GeForce RTX 4090", Some((8, 9)));
        assert_eq!((found.machine.name, found.is_own, found.warning), ("l40s", false, None));
        let found = machine("NVIDIA A100-SXM4-80GB", Some((8, 0)));
        assert_eq!((found.machine.name, found.is_own), ("l40s", false));
        let warning = found.warning.unwrap();
        assert!(warning.contains("A100") && warning.contains("NVIDIA L40S 48GB"), "{warning}");
        assert_eq!(machine("NVIDIA B200", Some((10, 0))).machine.name, "h100");
        assert!(machine("NVIDIA B200", Some((10, 0))).warning.is_some());
    }

    #[test]
    fn what_is_not_divided_runs_on_the_first_of_several() {
        let program = |own: &str, whole: &str| {
            let source = format!(
                "program p {{
                   input %x : f32[6] latent
                   variant main (%x) -> (%y) {{
                     %own = {own}
                     %y = {whole} : f32[6]
                     return %y
                   }}
                   schedule main
                 }}"
            );
            reflux_ir::text::parse(&source).unwrap()
        };
        let whole = program("silu %x : f32[6]", "silu %own");
        let divided = program("shard %x {devices=2, axis=0} : f32[3]", "all_gather %own {devices=2, axis=0}");
        let three = Device { count: 3, ..Device::host() };
        assert_eq!(three.running(&whole).unwrap(), Device::host());
        // The processor is all of its devices.
        assert_eq!(Device::host().running(&divided).unwrap(), Device::host());
        assert!(matches!(three.running(&divided), Err(RunError::Devices { program: 2, given: 3, .. })));
    }

    #[test]
    fn every_backend_is_found_by_its_name_and_has_tables() {
        for device in Device::all() {
            assert_eq!(device.name().parse(), Ok(device));
            for name in device.facts().machines {
                assert_eq!(Device::of_machine(Machine::named(name).unwrap()), Some(device));
            }
        }
        assert_eq!(Device::all().next(), Some(Device::host()));
        assert!("tpu".parse::<Device>().unwrap_err().to_string().contains("`tpu`"));
        for name in Device::left_out() {
            assert!(name.parse::<Device>().unwrap_err().to_string().contains("--features"), "{name}");
        }
    }
}
