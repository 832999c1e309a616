//! Diagnostics: what is wrong with a policy, where, and what to write instead.

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnostic {
    /// Stable code, `FW0101`.
    pub code: &'static str,
    /// One line.
    pub message: String,
}

/// Findings of one run, in file order.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Diagnostics {
    /// The findings.
    pub list: Vec<Diagnostic>,
}
