//! Autotuning: measures once which of several equivalent kernels is the fastest on this device, and caches the result.

use super::cache::{KernelCache, keep, kept};
use super::compile::nvrtc_version;
use super::plan::{Launch, LaunchPlan};
use super::source::Kernel;
use std::collections::HashMap;
use std::path::PathBuf;

/// Measurements on a device, cached on disk.
pub struct Autotuner {
    /// The device's name: devices of the same architecture differ in clocks and memory.
    device: String,
    /// NVRTC's version: another version may compile the same text differently.
    compiler: String,
    cache: KernelCache,
}

impl Autotuner {
    pub fn of(device: String) -> Self {
        Self { device, compiler: nvrtc_version(), cache: KernelCache::of_user() }
    }

    /// Removes all but the fastest of `plan`'s kernels where that is known.
    pub fn recall(&self, plan: &mut LaunchPlan) {
        let mut known: HashMap<String, Option<usize>> = HashMap::new();
        for launch in &mut plan.launches {
            let Launch::Kernel { kernels, .. } = launch else { continue };
            if kernels.len() < 2 {
                continue;
            }
            let chosen = *known.entry(kernels[0].text.clone()).or_insert_with(|| self.known(kernels));
            if let Some(chosen) = chosen {
                kernels.swap(0, chosen);
                kernels.truncate(1);
            }
        }
    }

    /// Saves which of `kernels` is the fastest.
    pub fn keep(&self, kernels: &[Kernel], chosen: usize) {
        if let Some(path) = self.path(kernels) {
            keep(&path, chosen.to_string().as_bytes());
        }
    }

    fn known(&self, kernels: &[Kernel]) -> Option<usize> {
        let chosen = String::from_utf8(kept(&self.path(kernels)?)?).ok()?;
        chosen.parse().ok().filter(|&chosen| chosen < kernels.len())
    }

    fn path(&self, kernels: &[Kernel]) -> Option<PathBuf> {
        let mut key = format!("{}\n{}\n", self.device, self.compiler);
        key.extend(kernels.iter().map(|kernel| &*kernel.text));
        self.cache.path(&key, "choice")
    }
}

/// The index of the fastest kernel. It must be faster than the first, which is the best guess, by more than the noise of
/// measurements.
pub fn fastest(times: &[f32]) -> usize {
    /// 2 %.
    const NOISE: f32 = 0.98;
    let best = (0..times.len()).min_by(|&a, &b| times[a].total_cmp(&times[b])).unwrap_or(0);
    if times[best] < times[0] * NOISE { best } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::cuda::plan::Owner;
    use crate::backend::cuda::{Gpu, plan};
    use reflux_ir::text::parse;

    #[test]
    fn the_guess_holds_unless_another_is_clearly_faster() {
        assert_eq!(fastest(&[1.0, 0.99, 2.0]), 0);
        assert_eq!(fastest(&[1.0, 0.97, 0.9]), 2);
        assert_eq!(fastest(&[1.0]), 0);
    }

    /// The product of a single block's output, for which there are several kernels.
    fn planned() -> LaunchPlan {
        let text = "program p { input %x : bf16[1,4608,15360] latent variant main (%x) -> (%y) {
            %y = gemm linear(%x, @w bf16[3072,15360]) {acc} : bf16[1,4608,3072] return %y } schedule main }";
        let program = parse(text).unwrap();
        plan(&program.variants["main"], Gpu { capability: (9, 0), processors: 132, rank: 0 })
    }

    fn kernels(plan: &LaunchPlan) -> &[Kernel] {
        let Launch::Kernel { kernels, .. } = &plan.launches[0] else { panic!("it has a kernel of ours") };
        kernels
    }

    #[test]
    fn what_was_measured_is_known_on_the_same_device_only() {
        let folder = tempfile::tempdir().unwrap();
        let on = |device: &str| Autotuner {
            device: device.into(),
            compiler: "13.0".into(),
            cache: KernelCache::at(folder.path()),
        };
        let mut plan = planned();
        let guess = kernels(&plan).to_vec();
        assert!(guess.len() > 1 && matches!(plan.buffers[0].place, Owner::Given { .. } | Owner::Output(_)));
        on("H100").recall(&mut plan);
        assert_eq!(kernels(&plan), guess);
        on("H100").keep(&guess, 1);
        on("H200").recall(&mut plan);
        assert_eq!(kernels(&plan), guess);
        on("H100").recall(&mut plan);
        assert_eq!(kernels(&plan), &guess[1..2]);
    }

    #[test]
    fn a_damaged_choice_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let choices = Autotuner {
            device: "H100".into(),
            compiler: "13.0".into(),
            cache: KernelCache::at(folder.path()),
        };
        for damaged in [&b""[..], b"x", b"7", b"\xff"] {
            let mut plan = planned();
            let guess = kernels(&plan).to_vec();
            std::fs::write(choices.path(&guess).unwrap(), damaged).unwrap();
            choices.recall(&mut plan);
            assert_eq!(kernels(&plan), guess);
        }
    }
}
