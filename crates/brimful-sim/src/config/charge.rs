//! What a request takes from limits on tokens.

use serde::{Deserialize, Serialize};

use crate::limits::Charges;

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
    /// What `input` and `output` (`None` where there is none by nature) take at admission.
    pub(crate) fn charges(self, input: u64, output: Option<u64>) -> Charges {
        let output = output.unwrap_or(0);
        let (tokens, output) = match self {
            Self::Sum => (input.saturating_add(output), output),
            Self::Max => (input.max(output), output),
            Self::Input => (input, output),
            Self::Produced => (input, 0),
        };
        Charges {
            requests: 1,
            tokens,
            input,
            output,
        }
    }

    /// What must be there for that: with output that is charged later the level must not be used
    /// up.
    pub(crate) fn needs(self, taken: Charges, has_output: bool) -> Charges {
        if self != Self::Produced || !has_output {
            return taken;
        }
        Charges {
            tokens: taken.tokens.max(1),
            output: 1,
            ..taken
        }
    }
}
