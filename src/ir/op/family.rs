//! Ops without attributes that differ only in their name and in what they compute.

/// An enum of such ops, each with its mnemonic: `ALL` lists them, `MNEMONICS` their names in the same order.
macro_rules! family {
    ($(#[$about:meta])* pub enum $family:ident { $($(#[$says:meta])* $op:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $family {
            $($(#[$says])* #[serde(rename = $name)] $op,)+
        }

        impl $family {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$op),+];

            const MNEMONICS: &'static [&'static str] = &[$($name),+];

            fn mnemonic(self) -> &'static str {
                match self { $(Self::$op => $name,)+ }
            }
        }
    };
}
pub(super) use family;

use serde::de::{DeserializeOwned, Error};
use serde_json::{Map, Value};

/// The op called `name` of a family, whose ops have no attributes.
pub(super) fn from_text<T: DeserializeOwned>(
    name: &str,
    attributes: &Map<String, Value>,
) -> Result<T, serde_json::Error> {
    match attributes.keys().next() {
        None => serde_json::from_value(Value::from(name)),
        Some(key) => Err(Error::custom(format_args!("unknown field `{key}`, there are no attributes"))),
    }
}
