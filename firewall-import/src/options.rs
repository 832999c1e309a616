//! Facts about the host that its rules do not contain.

/// What the caller knows beside the rules.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Options {
    /// The policy is for this interface alone: rules for others are not carried over.
    pub interface: Option<String>,
    /// This host's own addresses, with the lengths of their networks: what tells packets to it from
    /// packets that it forwards.
    pub local: Vec<String>,
    /// The output of `ipset save`: the sets that iptables rules name.
    pub ipset: Option<String>,
    /// What the policy language of this version has.
    pub language: Language,
}

/// Parts of the policy language that a version may not have yet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Language {
    /// `state: established` and `state: new`.
    pub state: bool,
}

impl Default for Language {
    /// What this version reads.
    fn default() -> Self {
        const STATE: &str = "version: 1\ndefault: {in: drop}\nrules:\n  \
                             - {name: a, state: established, action: pass}\n";
        let reads = |text| {
            firewall_policy::source::read_policy("", text, &firewall_policy::source::NoFiles)
                .is_ok()
        };
        Self {
            state: reads(STATE),
        }
    }
}
