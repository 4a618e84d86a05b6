//! What a request takes from limits on tokens.

use serde::{Deserialize, Serialize};

/// What a request takes from limits on tokens. The input is estimated as characters ÷ 4, the output
/// is the request's maximum or `default_output_tokens`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Charge {
    /// Input plus output.
    #[default]
    Sum,
    /// The larger of input and output.
    Max,
    /// Input alone.
    Input,
    /// Input at admission, then the output while it is generated: in at most 32 equal steps from
    /// the first byte to the last. A request is refused only while the level is used up.
    Produced,
}

impl Charge {
    pub(crate) fn tokens(self, input: u64, output: u64) -> u64 {
        match self {
            Self::Sum => input.saturating_add(output),
            Self::Max => input.max(output),
            Self::Input | Self::Produced => input,
        }
    }
}
