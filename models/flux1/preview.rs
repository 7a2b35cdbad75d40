//! What FLUX.1's latents look like.

use crate::preview::LatentRgb;

/// Red, green and blue of each channel: `flux_latent_rgb_proj` of stable-diffusion.cpp (`latent-preview.h`, MIT), which was fitted
/// to FLUX.1's autoencoder.
const CHANNELS: [[f32; 3]; 16] = [
    [-0.041168, 0.019917, 0.097253],
    [0.028096, 0.026730, 0.129576],
    [0.065618, -0.067950, -0.014651],
    [-0.012998, -0.014762, 0.081251],
    [0.078567, 0.059296, -0.024687],
    [-0.015987, -0.003697, 0.005012],
    [0.033605, 0.138999, 0.068517],
    [-0.024450, -0.063567, -0.030101],
    [-0.040194, -0.016710, 0.127185],
    [0.112681, 0.088764, -0.041940],
    [-0.023498, 0.093664, 0.025543],
    [0.082899, 0.048320, 0.007491],
    [0.075712, 0.074139, 0.081965],
    [-0.143501, 0.018263, -0.136138],
    [-0.025767, -0.082035, -0.040023],
    [-0.111849, -0.055589, -0.032361],
];

const BIAS: [f32; 3] = [0.024600, -0.006937, -0.008089];

/// How latents of this many channels become colours, if they are FLUX.1's.
pub(super) fn latent_rgb(channels: usize) -> Option<LatentRgb> {
    (channels == CHANNELS.len()).then(|| LatentRgb { channels: CHANNELS.to_vec(), bias: BIAS })
}
