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
/// What the decoder makes of latents, and what the encoder reads.
pub const IMAGE: &str = "image";
/// What the encoder makes of a picture: the mean of its latents, packed and scaled as the denoiser reads them.
pub const MEAN: &str = "mean";
/// And their standard deviation.
pub const DEVIATION: &str = "deviation";
/// The tokens of a picture that the denoiser reads after those that it draws.
pub const REFERENCE: &str = "reference";
/// What the denoiser reads of a picture in each token, after the token's latents.
pub const CONDITION: &str = "condition";
