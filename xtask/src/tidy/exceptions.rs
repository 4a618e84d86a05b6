//! What the rules do not hold for, and why. An exception that is not needed any more is a problem
//! too, so this file can only shrink by itself.

/// A file that may be longer than the limit of [`super::size`].
pub(super) struct LongFile {
    pub(super) path: &'static str,
    /// Its size: it may not grow, and when it shrinks, so does this.
    pub(super) lines: usize,
    /// Why it is better long than split.
    pub(super) reason: &'static str,
}

/// A function that may be longer than the limit of [`super::size`].
pub(super) struct LongFunction {
    pub(super) path: &'static str,
    /// `function` or `Type::function`.
    pub(super) name: &'static str,
    /// Its size: it may not grow, and when it shrinks, so does this.
    pub(super) lines: usize,
    /// Why it is better long than split.
    pub(super) reason: &'static str,
}

/// A public name that holds a word which the glossary refuses.
pub(super) struct ForeignName {
    /// A file, or a folder with its final slash.
    pub(super) path: &'static str,
    /// The whole identifier.
    pub(super) name: &'static str,
    /// Whose word it is.
    pub(super) reason: &'static str,
}

pub(super) const FILES: &[LongFile] = &[];

pub(super) const FUNCTIONS: &[LongFunction] = &[];

pub(super) const FOREIGN_NAMES: &[ForeignName] = &[
    ForeignName {
        path: "crates/brimful-core/src/observation.rs",
        name: "QuotaNumbers",
        reason: "what providers print of their quotas, which need not be a limit of ours",
    },
    ForeignName {
        path: "crates/brimful-core/src/outcome.rs",
        name: "quota",
        reason: "what providers print of their quotas, which need not be a limit of ours",
    },
    ForeignName {
        path: "crates/brimful-providers/src/reply/numbers.rs",
        name: "quota_numbers",
        reason: "what providers print of their quotas, which need not be a limit of ours",
    },
    ForeignName {
        path: "crates/brimful-providers/src/profile/facts/limits.rs",
        name: "Deployment",
        reason: "Azure's own word for what its limits are counted by",
    },
    ForeignName {
        path: "crates/brimful-sim/src/",
        name: "quota_after",
        reason: "the failure `insufficient_quota` of OpenAI's API",
    },
    ForeignName {
        path: "crates/brimful/src/journal/lock.rs",
        name: "acquire",
        reason: "of a file lock, as the system calls it: nothing of a limit is taken",
    },
];
