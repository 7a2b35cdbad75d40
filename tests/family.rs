//! A second family of models, made up here: it draws through the same pipeline and networks as FLUX.1, which nothing but its
//! own files knows.

use reflux::models::scheduler::SchedulerConfig;
use reflux::models::{
    AUTOENCODER_KL, Architecture, Defaults, Family, Geometry, Model, ModelConfig, ModelError, ModelFiles,
    Net, Parts, Role, Sizes, T5, T5Config, TextEncoder, VaeConfig, tokenizer,
};
use reflux::{DiffusionPipeline, OpenOptions, Request};
use reflux_ir::op::{Attention, Binary, Real, Select};
use reflux_ir::{DType, GraphBuilder, GraphError, Program, Rate, Scope};
use std::sync::Arc;

/// One text encoder, tokens of a single latent, latents of 2 × 2 pixels.
static TINY: Family = Family {
    name: "Tiny",
    nets: NETS,
    encoder: None,
    tokenizers: &["tokenizer"],
    geometry: Geometry { patch: 1, pixels_per_latent: 2 },
    reference_sizes: &[],
    pipelines: &["TinyPipeline"],
    others: &[("Flux", "FLUX.1")],
    example_id: "someone/tiny",
    examples: "Tiny-dev",
    built_in: &[],
    outside_blocks: &[],
    read: |_| unreachable!("it has no files"),
    parse: |_| unreachable!("it has no built-in configuration"),
};

static NETS: &[&Net] = &[&TEXT, &UNET, &VAE];

const fn net(name: &'static str, architecture: &'static Architecture, role: Role) -> Net {
    Net { name, folder: name, help: name, architecture, role, shares: None, family: NETS }
}

static TEXT: Net = net("text_encoder", &T5, Role::TextEncoder);
static UNET: Net = net("unet", &TINY_UNET, Role::Denoiser);
static VAE: Net = net("vae", &AUTOENCODER_KL, Role::Decoder);

static TINY_UNET: Architecture = Architecture {
    title: "a Tiny denoiser",
    class: "TinyModel",
    model_type: None,
    prefixes: &[""],
    settings: None,
};

#[derive(Debug)]
struct Tiny {
    t5: T5Config,
    vae: VaeConfig,
    scheduler: SchedulerConfig,
    /// What timesteps are multiplied by.
    time: f32,
}

fn tiny(time: f32) -> ModelConfig {
    let t5 = T5Config {
        vocab_size: 32,
        d_model: 16,
        d_kv: 8,
        d_ff: 16,
        num_layers: 1,
        num_heads: 2,
        relative_attention_num_buckets: 8,
        relative_attention_max_distance: 16,
        layer_norm_epsilon: 1e-6,
        feed_forward_proj: "gated-gelu".into(),
    };
    let vae = VaeConfig {
        in_channels: 3,
        out_channels: 3,
        latent_channels: 4,
        block_out_channels: vec![8, 8],
        layers_per_block: 0,
        norm_num_groups: 4,
        scaling_factor: 1.0,
        shift_factor: None,
        use_quant_conv: false,
        use_post_quant_conv: false,
        mid_block_add_attention: false,
    };
    let model: Arc<dyn Model> = Arc::new(Tiny { t5, vae, scheduler: SchedulerConfig::default(), time });
    model.into()
}

impl Model for Tiny {
    fn family(&self) -> &'static Family {
        &TINY
    }

    fn scheduler(&self) -> &SchedulerConfig {
        &self.scheduler
    }

    fn timestep(&self, t: f32, _dtype: DType) -> f32 {
        t * self.time
    }

    fn token_channels(&self) -> usize {
        self.vae.latent_channels
    }

    fn is_guided(&self) -> bool {
        false
    }

    fn defaults(&self) -> Defaults {
        Defaults { width: 18, height: 10, steps: 3, guidance: 0.0, max_sequence_length: 6, latent_rgb: None }
    }

    fn text_encoders(&self) -> Vec<TextEncoder> {
        vec![TextEncoder {
            net: &TEXT,
            name: "T5",
            tokenizer: "tokenizer",
            open_tokenizer: tokenizer::t5,
            built_in_tokenizer: tokenizer::built_in::t5,
            vocab_size: self.t5.vocab_size,
            tokens: None,
            result: "prompt",
            input: "words",
        }]
    }

    fn lower(&self, net: &'static Net, sizes: &Sizes, dtype: DType) -> Result<Program, ModelError> {
        match net.role {
            Role::TextEncoder => self.t5.lower(sizes.batch, sizes.text_tokens, dtype),
            Role::Decoder => self.vae.lower(sizes, &TINY.geometry, dtype),
            Role::Encoder => unreachable!("it has none"),
            Role::Denoiser => {
                let mut graph = GraphBuilder::new();
                self.denoiser(&mut Scope::new(&mut graph, dtype), sizes)?;
                Ok(Program::of_graph("tiny_denoiser", "full", sizes.steps, graph.finish()))
            }
        }
    }
}

impl Tiny {
    /// Latents look for words, as strongly as the time says.
    fn denoiser(&self, s: &mut Scope, sizes: &Sizes) -> Result<(), GraphError> {
        let (batch, tokens, width) = (sizes.batch, TINY.geometry.image_tokens(sizes), self.t5.d_model);
        let (channels, dtype) = (self.vae.latent_channels, s.dtype());
        let latents = s.input("latents", DType::F32, [batch, tokens, channels], Rate::Latent)?;
        let words = s.input("words", dtype, [batch, sizes.text_tokens, width], Rate::Prompt)?;
        let timesteps = s.input("timesteps", DType::F32, [sizes.steps, batch], Rate::Schedule)?;
        let step = s.input("step", DType::I32, [], Rate::Latent)?;
        let time = s.add("time", Select {}, &[timesteps, step])?;
        let time = s.cast("time_cast", time, dtype)?;
        let time = s.reshape("time_rows", time, [batch, 1, 1])?;
        let x = s.cast("x", latents, dtype)?;
        let q = s.linear("q", "to_q", x, width, true)?;
        let q = s.reshape("q_heads", q, [batch, tokens, 1, width])?;
        let k = s.reshape("k_heads", words, [batch, sizes.text_tokens, 1, width])?;
        let a =
            s.add("a", Attention { scale: Real::from(1.0), causal: false, bounded: false }, &[q, k, k])?;
        let a = s.reshape("a_rows", a, [batch, tokens, width])?;
        let a = s.binary("timed", Binary::Mul, a, time)?;
        let out = s.linear("out", "proj", a, channels, true)?;
        let velocity = s.cast("velocity", out, DType::F32)?;
        s.output("velocity", velocity);
        Ok(())
    }
}

fn pipeline(time: f32) -> DiffusionPipeline {
    let model = tiny(time);
    let defaults = model.defaults();
    DiffusionPipeline::with_random_weights(model, defaults, OpenOptions::default()).unwrap()
}

#[test]
fn another_family_draws_through_the_same_pipeline() {
    let request = Request::new("a picture");
    let mut pipeline = pipeline(0.001);
    assert!(pipeline.planned_peak(&request).unwrap() > 0);
    let (images, report) = pipeline.generate_with(&request, &mut |_| {}).unwrap();
    assert_eq!((images[0].width(), images[0].height(), report.steps), (18, 10, 3));
    assert_eq!(report.latents.shape, [1, 9 * 5, 4]);
    let stages: Vec<&str> = report.stages.iter().map(|time| time.stage.as_str()).collect();
    let expected = ["load text_encoder", "encode with T5", "load unet", "denoise", "load vae", "decode"];
    assert_eq!(stages, expected);
    assert_eq!(report.model, "Tiny");

    // The seed's noise and the family's own time matter, and so does true classifier-free guidance, a batch of two.
    let again = |time: f32, request: &Request| {
        self::pipeline(time).generate_with(request, &mut |_| {}).unwrap().1.latents
    };
    assert_eq!(again(0.001, &request), report.latents);
    assert_ne!(again(0.5, &request), report.latents);
    assert_ne!(again(0.001, &request.clone().seed(1)), report.latents);
    let negative = Request { negative_prompt: Some("another".into()), true_cfg_scale: Some(2.0), ..request };
    let steered = again(0.001, &negative).to_f32();
    // Drawn weights read all prompts alike: only that a batch of two gives what one does can be seen here. That guidance steers is
    // seen with weights that mean something, in `tests/pipeline.rs`.
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-4;
    assert!(steered.iter().zip(&report.latents.to_f32()).all(near));
}

/// Sizes and files are judged by the family.
#[test]
fn another_family_has_its_own_sizes_and_models() {
    let error = pipeline(0.001).generate(&Request::new("x").size(17, 10)).unwrap_err().to_string();
    assert!(error.contains("width must be a multiple of 2 pixels, not 17; 16 and 18"), "{error}");
    let emoji = reflux::bundled_model().unwrap();
    let error = ModelFiles::find_of(&[&TINY], &emoji, Parts::default()).unwrap_err().to_string();
    assert!(
        error.contains("FLUX.1 (`FluxPipeline`), but Reflux only draws from prompts with Tiny"),
        "{error}"
    );
}
