//! What the tensors of an adapter are, by the endings of their names.

/// What a tensor is to the module that it adapts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Parameter {
    /// `A` of a LoRA, `[rank, in]`.
    Down,
    /// `B` of a LoRA, `[out, rank]`.
    Up,
    /// What a LoRA adds to the bias, `[out]`.
    UpBias,
    /// A scalar: the change is multiplied by `alpha / rank`.
    Alpha,
    /// The norms of rows, or of columns, that a DoRA gives the changed weight.
    Magnitude,
    /// A whole change of a weight.
    Diff,
    /// A whole change of a bias.
    DiffBias,
    /// The left factor of a Kronecker product, whole or as a product of two.
    LokrW1,
    LokrW1A,
    LokrW1B,
    /// The right one.
    LokrW2,
    LokrW2A,
    LokrW2B,
    /// The two products of a LoHa, which are multiplied element by element.
    HadaW1A,
    HadaW1B,
    HadaW2A,
    HadaW2B,
}

/// Endings of names behind the name of the module; `*` is the name that PEFT gives an adapter. The first that fits counts.
const ENDINGS: &[(&str, Parameter)] = &[
    ("lora_A.weight", Parameter::Down),
    ("lora_A.*.weight", Parameter::Down),
    ("lora_down.weight", Parameter::Down),
    ("lora.down.weight", Parameter::Down),
    ("lora_linear_layer.down.weight", Parameter::Down),
    ("down.weight", Parameter::Down),
    ("lora_B.weight", Parameter::Up),
    ("lora_B.*.weight", Parameter::Up),
    ("lora_up.weight", Parameter::Up),
    ("lora.up.weight", Parameter::Up),
    ("lora_linear_layer.up.weight", Parameter::Up),
    ("up.weight", Parameter::Up),
    ("lora_B.bias", Parameter::UpBias),
    ("lora_B.*.bias", Parameter::UpBias),
    ("lora_up.bias", Parameter::UpBias),
    ("alpha", Parameter::Alpha),
    ("dora_scale", Parameter::Magnitude),
    ("lora_magnitude_vector", Parameter::Magnitude),
    ("lora_magnitude_vector.weight", Parameter::Magnitude),
    ("lora_magnitude_vector.*.weight", Parameter::Magnitude),
    ("lora_magnitude_vector.*", Parameter::Magnitude),
    ("diff", Parameter::Diff),
    ("w_norm", Parameter::Diff),
    ("diff_b", Parameter::DiffBias),
    ("b_norm", Parameter::DiffBias),
    ("lokr_w1", Parameter::LokrW1),
    ("lokr_w1_a", Parameter::LokrW1A),
    ("lokr_w1_b", Parameter::LokrW1B),
    ("lokr_w2", Parameter::LokrW2),
    ("lokr_w2_a", Parameter::LokrW2A),
    ("lokr_w2_b", Parameter::LokrW2B),
    ("hada_w1_a", Parameter::HadaW1A),
    ("hada_w1_b", Parameter::HadaW1B),
    ("hada_w2_a", Parameter::HadaW2A),
    ("hada_w2_b", Parameter::HadaW2B),
];

/// Endings of adapters of other kinds, and what these are.
const OTHERS: &[(&str, &str)] = &[
    ("lora_mid.weight", "a LoRA of convolutions"),
    ("lokr_t1", "a LoKr of convolutions"),
    ("lokr_t2", "a LoKr of convolutions"),
    ("hada_t1", "a LoHa of convolutions"),
    ("hada_t2", "a LoHa of convolutions"),
    ("oft_blocks", "OFT"),
    ("oft_diag", "OFT"),
    ("oft_R.weight", "OFT"),
    ("oft_R.*.weight", "OFT"),
    ("boft_R", "BOFT"),
    ("on_input", "IA³"),
    ("a1.weight", "GLoRA"),
    ("a2.weight", "GLoRA"),
    ("b1.weight", "GLoRA"),
    ("b2.weight", "GLoRA"),
    ("lora_embedding_A", "a LoRA of an embedding"),
    ("lora_embedding_B", "a LoRA of an embedding"),
];

impl Parameter {
    /// The module of the tensor `key`, as the file calls it, and what the tensor is to it.
    pub fn of(key: &str) -> Option<(String, Self)> {
        ENDINGS.iter().find_map(|(ending, parameter)| Some((before(key, ending)?, *parameter)))
    }
}

/// The kind of adapter that the tensor `key` is of, if it is known and not supported.
pub(super) fn other_kind(key: &str) -> Option<&'static str> {
    OTHERS.iter().find_map(|(ending, what)| before(key, ending).map(|_| *what))
}

/// What is before `ending` in `key`.
fn before(key: &str, ending: &str) -> Option<String> {
    let mut segments: Vec<&str> = key.split('.').collect();
    for part in ending.rsplit('.') {
        let segment = segments.pop()?;
        // An adapter's name is none of the words that stand there without one.
        if segment != part && (part != "*" || segment == "weight") {
            return None;
        }
    }
    (!segments.is_empty()).then(|| segments.join("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_are_told_by_the_ends_of_their_names() {
        for (key, module, parameter) in [
            ("a.b.lora_A.weight", "a.b", Parameter::Down),
            ("a.b.lora_A.default.weight", "a.b", Parameter::Down),
            ("a.qkv_lora1.down.weight", "a.qkv_lora1", Parameter::Down),
            ("a.lora.up.weight", "a", Parameter::Up),
            ("lora_unet_a_b.lora_up.weight", "lora_unet_a_b", Parameter::Up),
            ("a.lora_B.style.bias", "a", Parameter::UpBias),
            ("a.lora_magnitude_vector", "a", Parameter::Magnitude),
            ("a.lora_magnitude_vector.weight", "a", Parameter::Magnitude),
            ("a.lora_magnitude_vector.default", "a", Parameter::Magnitude),
            ("a.lora_magnitude_vector.default.weight", "a", Parameter::Magnitude),
            ("a.diff_b", "a", Parameter::DiffBias),
        ] {
            assert_eq!(Parameter::of(key), Some((module.to_owned(), parameter)), "{key}");
        }
        for key in ["lora_A.weight", "a.weight", "a.lora_A", "alpha", ""] {
            assert_eq!(Parameter::of(key), None, "{key}");
        }
        assert_eq!(other_kind("a.oft_R.default.weight"), Some("OFT"));
    }
}
