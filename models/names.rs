//! What the inputs and results of networks are called: the contract between the families that lower them and the pipeline that
//! runs them. What a text encoder feeds is called as its [`TextEncoder`](crate::TextEncoder) says.

/// Packed latents that the denoiser and the decoder read.
pub const LATENTS: &str = "latents";
/// The time of each step, as the denoiser embeds it.
pub const TIMESTEPS: &str = "timesteps";
/// The scale of embedded guidance, where the denoiser has one.
pub const GUIDANCE: &str = "guidance";
/// What the denoiser makes of latents.
pub const VELOCITY: &str = "velocity";
/// The tokens that a text encoder reads.
pub const IDS: &str = "ids";
/// What the decoder makes of latents.
pub const IMAGE: &str = "image";
