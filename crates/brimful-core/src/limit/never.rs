//! Why a request is refused for good.

/// Why a request can never be admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Never {
    /// Name of the limit that it cannot fit.
    pub limit: String,
    /// What the request needs.
    pub needs: u64,
    /// The most that the limit ever admits at once.
    pub most: u64,
}

impl std::fmt::Display for Never {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { limit, needs, most } = self;
        write!(
            f,
            "needs {needs} of limit `{limit}`, which never admits more than {most}"
        )
    }
}
