//! Layouts of autoencoder files.

use super::description::Layout;
use super::rule::TensorRule::{Name, Pixel};
use crate::vae::{AUTOENCODER_KL, AUTOENCODER_KL_ENCODER};

/// As diffusers saves it.
pub(super) const DIFFUSERS: Layout = Layout {
    architecture: &AUTOENCODER_KL,
    names: "diffusers' names",
    example: "decoder.up_blocks.0.resnets.0.conv1.weight",
    marks: &["decoder.up_blocks.", "decoder.mid_block.", "encoder.down_blocks."],
    roots: &["encoder.", "decoder.", "quant_conv.", "post_quant_conv."],
    unused: &["encoder.", "quant_conv."],
    // What Stable Diffusion's autoencoders had before diffusers renamed it.
    rules: &[
        Name("decoder.mid_block.attentions.0.query.*", "decoder.mid_block.attentions.0.to_q.*"),
        Name("decoder.mid_block.attentions.0.key.*", "decoder.mid_block.attentions.0.to_k.*"),
        Name("decoder.mid_block.attentions.0.value.*", "decoder.mid_block.attentions.0.to_v.*"),
        Name("decoder.mid_block.attentions.0.proj_attn.*", "decoder.mid_block.attentions.0.to_out.0.*"),
    ],
};

/// `ae.safetensors`: blocks are counted from the last, and the attention's matrices are convolutions.
pub(super) const BFL: Layout = Layout {
    architecture: &AUTOENCODER_KL,
    names: "Black Forest Labs' names",
    example: "decoder.up.0.block.0.conv1.weight",
    marks: &["decoder.up.", "decoder.mid.", "encoder.down."],
    roots: &["encoder.", "decoder.", "quant_conv.", "post_quant_conv."],
    unused: &["encoder.", "quant_conv."],
    rules: &[
        Name("decoder.mid.block_1.norm1.*", "decoder.mid_block.resnets.0.norm1.*"),
        Name("decoder.mid.block_1.conv1.*", "decoder.mid_block.resnets.0.conv1.*"),
        Name("decoder.mid.block_1.norm2.*", "decoder.mid_block.resnets.0.norm2.*"),
        Name("decoder.mid.block_1.conv2.*", "decoder.mid_block.resnets.0.conv2.*"),
        Name("decoder.mid.attn_1.norm.*", "decoder.mid_block.attentions.0.group_norm.*"),
        Pixel("decoder.mid.attn_1.q.*", "decoder.mid_block.attentions.0.to_q.*"),
        Pixel("decoder.mid.attn_1.k.*", "decoder.mid_block.attentions.0.to_k.*"),
        Pixel("decoder.mid.attn_1.v.*", "decoder.mid_block.attentions.0.to_v.*"),
        Pixel("decoder.mid.attn_1.proj_out.*", "decoder.mid_block.attentions.0.to_out.0.*"),
        Name("decoder.mid.block_2.norm1.*", "decoder.mid_block.resnets.1.norm1.*"),
        Name("decoder.mid.block_2.conv1.*", "decoder.mid_block.resnets.1.conv1.*"),
        Name("decoder.mid.block_2.norm2.*", "decoder.mid_block.resnets.1.norm2.*"),
        Name("decoder.mid.block_2.conv2.*", "decoder.mid_block.resnets.1.conv2.*"),
        Name("decoder.up.{-}.block.{}.norm1.*", "decoder.up_blocks.{}.resnets.{}.norm1.*"),
        Name("decoder.up.{-}.block.{}.conv1.*", "decoder.up_blocks.{}.resnets.{}.conv1.*"),
        Name("decoder.up.{-}.block.{}.norm2.*", "decoder.up_blocks.{}.resnets.{}.norm2.*"),
        Name("decoder.up.{-}.block.{}.conv2.*", "decoder.up_blocks.{}.resnets.{}.conv2.*"),
        Name("decoder.up.{-}.block.{}.nin_shortcut.*", "decoder.up_blocks.{}.resnets.{}.conv_shortcut.*"),
        Name("decoder.up.{-}.upsample.conv.*", "decoder.up_blocks.{}.upsamplers.0.conv.*"),
        Name("decoder.norm_out.*", "decoder.conv_norm_out.*"),
        Name("decoder.conv_in.*", "decoder.conv_in.*"),
        Name("decoder.conv_out.*", "decoder.conv_out.*"),
    ],
};

/// The encoder, as diffusers saves it.
pub(super) const ENCODER_DIFFUSERS: Layout = Layout {
    architecture: &AUTOENCODER_KL_ENCODER,
    names: "diffusers' names",
    example: "encoder.down_blocks.0.resnets.0.conv1.weight",
    marks: &["encoder.down_blocks.", "encoder.mid_block."],
    roots: DIFFUSERS.roots,
    unused: &["decoder.", "post_quant_conv."],
    rules: &[
        Name("encoder.mid_block.attentions.0.query.*", "encoder.mid_block.attentions.0.to_q.*"),
        Name("encoder.mid_block.attentions.0.key.*", "encoder.mid_block.attentions.0.to_k.*"),
        Name("encoder.mid_block.attentions.0.value.*", "encoder.mid_block.attentions.0.to_v.*"),
        Name("encoder.mid_block.attentions.0.proj_attn.*", "encoder.mid_block.attentions.0.to_out.0.*"),
    ],
};

/// The encoder in `ae.safetensors`: blocks are counted from the first.
pub(super) const ENCODER_BFL: Layout = Layout {
    architecture: &AUTOENCODER_KL_ENCODER,
    names: "Black Forest Labs' names",
    example: "encoder.down.0.block.0.conv1.weight",
    marks: &["encoder.down.", "encoder.mid."],
    roots: BFL.roots,
    unused: &["decoder.", "post_quant_conv."],
    rules: &[
        Name("encoder.mid.block_1.norm1.*", "encoder.mid_block.resnets.0.norm1.*"),
        Name("encoder.mid.block_1.conv1.*", "encoder.mid_block.resnets.0.conv1.*"),
        Name("encoder.mid.block_1.norm2.*", "encoder.mid_block.resnets.0.norm2.*"),
        Name("encoder.mid.block_1.conv2.*", "encoder.mid_block.resnets.0.conv2.*"),
        Name("encoder.mid.attn_1.norm.*", "encoder.mid_block.attentions.0.group_norm.*"),
        Pixel("encoder.mid.attn_1.q.*", "encoder.mid_block.attentions.0.to_q.*"),
        Pixel("encoder.mid.attn_1.k.*", "encoder.mid_block.attentions.0.to_k.*"),
        Pixel("encoder.mid.attn_1.v.*", "encoder.mid_block.attentions.0.to_v.*"),
        Pixel("encoder.mid.attn_1.proj_out.*", "encoder.mid_block.attentions.0.to_out.0.*"),
        Name("encoder.mid.block_2.norm1.*", "encoder.mid_block.resnets.1.norm1.*"),
        Name("encoder.mid.block_2.conv1.*", "encoder.mid_block.resnets.1.conv1.*"),
        Name("encoder.mid.block_2.norm2.*", "encoder.mid_block.resnets.1.norm2.*"),
        Name("encoder.mid.block_2.conv2.*", "encoder.mid_block.resnets.1.conv2.*"),
        Name("encoder.down.{}.block.{}.norm1.*", "encoder.down_blocks.{}.resnets.{}.norm1.*"),
        Name("encoder.down.{}.block.{}.conv1.*", "encoder.down_blocks.{}.resnets.{}.conv1.*"),
        Name("encoder.down.{}.block.{}.norm2.*", "encoder.down_blocks.{}.resnets.{}.norm2.*"),
        Name("encoder.down.{}.block.{}.conv2.*", "encoder.down_blocks.{}.resnets.{}.conv2.*"),
        Name("encoder.down.{}.block.{}.nin_shortcut.*", "encoder.down_blocks.{}.resnets.{}.conv_shortcut.*"),
        Name("encoder.down.{}.downsample.conv.*", "encoder.down_blocks.{}.downsamplers.0.conv.*"),
        Name("encoder.norm_out.*", "encoder.conv_norm_out.*"),
    ],
};
