//! `--dtype`

use clap::builder::PossibleValue;
use reflux_ir::DType;
use std::sync::LazyLock;

/// The dtype of a computation, any floating-point type.
#[derive(Clone, Copy, Debug)]
pub struct DTypeArg(DType);

impl clap::ValueEnum for DTypeArg {
    fn value_variants<'a>() -> &'a [Self] {
        static FLOATS: LazyLock<Vec<DTypeArg>> = LazyLock::new(|| {
            DType::ALL.iter().copied().filter(|dtype| dtype.is_float()).map(DTypeArg).collect()
        });
        &FLOATS
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.name()))
    }
}

impl From<DTypeArg> for DType {
    fn from(DTypeArg(dtype): DTypeArg) -> Self {
        dtype
    }
}
