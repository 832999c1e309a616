//! What `top` was asked to show: the command line's choices and what the environment says about
//! the terminal. Plain data; the command line fills it, everything in [`crate::tui`] reads it.
//!
//! Imports only [`firewall_api::format`] and [`firewall_api::view`].

use firewall_api::format::Numbers;
use firewall_api::view::Snapshot;
use std::str::FromStr;
use std::time::Duration;

/// One of the tables.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Hash)]
pub enum Tab {
    /// Destination ports.
    #[default]
    Ports,
    /// Rules of the policy.
    Rules,
    /// Reasons for passing and dropping.
    Reasons,
    /// Filtered interfaces.
    Interfaces,
}

impl Tab {
    /// Every tab, in the order of the keys 1 to 4.
    pub const ALL: [Self; 4] = [Self::Ports, Self::Rules, Self::Reasons, Self::Interfaces];

    /// The name on the command line and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ports => "ports",
            Self::Rules => "rules",
            Self::Reasons => "reasons",
            Self::Interfaces => "interfaces",
        }
    }

    /// Index into [`Tab::ALL`].
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The tab `steps` further to the right, going round.
    #[must_use]
    pub fn step(self, steps: usize) -> Self {
        Self::ALL[(self.index() + steps) % Self::ALL.len()]
    }
}

/// A tab name that does not exist.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no table is called `{0}`; there are ports, rules, reasons, interfaces")]
pub struct UnknownTab(String);

impl FromStr for Tab {
    type Err = UnknownTab;

    /// Singular and plural are both accepted, as everywhere on the command line.
    fn from_str(name: &str) -> Result<Self, UnknownTab> {
        match name {
            "ports" | "port" => Ok(Self::Ports),
            "rules" | "rule" => Ok(Self::Rules),
            "reasons" | "reason" => Ok(Self::Reasons),
            "interfaces" | "interface" | "iface" => Ok(Self::Interfaces),
            _ => Err(UnknownTab(name.to_owned())),
        }
    }
}

/// What to show, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct TopOptions {
    /// Time between two readings of the source.
    pub interval: Duration,
    /// Stop after so many readings; `None`: go on until the user ends it. Only for plain output.
    pub count: Option<u64>,
    /// Show the totals of this interface. Ports and rules are counted over all interfaces.
    pub interface: Option<String>,
    /// The table to start with.
    pub tab: Tab,
    /// Rates in bytes a second instead of bits a second.
    pub bytes: bool,
    /// How numbers are written.
    pub numbers: Numbers,
    /// Use colour. Nothing is said by colour alone.
    pub colour: bool,
    /// The terminal shows UTF-8; otherwise only ASCII is written.
    pub unicode: bool,
    /// Most rows in a block of plain output.
    pub rows: usize,
}

impl Default for TopOptions {
    /// The ports tab once a second, in colour and Unicode, without asking the environment.
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(1),
            count: None,
            interface: None,
            tab: Tab::Ports,
            bytes: false,
            numbers: Numbers::Si,
            colour: true,
            unicode: true,
            rows: 20,
        }
    }
}

impl TopOptions {
    /// The default with colour and Unicode as the environment asks: `NO_COLOR` set and not empty
    /// turns colour off (no-color.org), a locale other than UTF-8 turns Unicode off.
    #[must_use]
    pub fn from_env() -> Self {
        Self::from_lookup(|name| std::env::var(name).ok())
    }

    /// Checks that the chosen interface, if any, is filtered.
    ///
    /// # Errors
    /// It is not; the message names those that are.
    pub(super) fn check(&self, snapshot: &Snapshot) -> anyhow::Result<()> {
        let Some(chosen) = &self.interface else {
            return Ok(());
        };
        let interfaces = &snapshot.status.interfaces;
        let names: Vec<&str> = interfaces.iter().map(|view| view.name.as_str()).collect();
        if names.contains(&chosen.as_str()) {
            return Ok(());
        }
        let there = match names.as_slice() {
            [] => "none is filtered".to_owned(),
            names => format!("filtered are: {}", names.join(", ")),
        };
        anyhow::bail!("interface `{chosen}` is not filtered; {there}")
    }

    fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| lookup(name).filter(|value| !value.is_empty());
        Self {
            colour: set("NO_COLOR").is_none(),
            // The first variable that is set decides (POSIX, Base Definitions 8.2).
            unicode: ["LC_ALL", "LC_CTYPE", "LANG"]
                .into_iter()
                .find_map(set)
                .is_some_and(|locale| {
                    let locale = locale.to_ascii_lowercase();
                    locale.contains("utf-8") || locale.contains("utf8")
                }),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(variables: &[(&str, &str)]) -> TopOptions {
        TopOptions::from_lookup(|name| {
            variables
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn the_environment_decides_colour_and_unicode() {
        assert!(!with(&[]).unicode);
        assert!(with(&[]).colour);
        assert!(with(&[("LANG", "de_DE.UTF-8")]).unicode);
        assert!(with(&[("LC_CTYPE", "C.utf8")]).unicode);
        // LC_ALL wins over LANG; an empty variable counts as not set.
        assert!(!with(&[("LC_ALL", "C"), ("LANG", "en_GB.UTF-8")]).unicode);
        assert!(with(&[("LC_ALL", ""), ("LANG", "en_GB.UTF-8")]).unicode);
        assert!(!with(&[("NO_COLOR", "1")]).colour);
        assert!(with(&[("NO_COLOR", "")]).colour);
    }

    #[test]
    fn tab_names_go_both_ways() {
        for tab in Tab::ALL {
            assert_eq!(tab.name().parse(), Ok(tab));
            assert_eq!(tab.step(4), tab);
        }
        let error = "port5".parse::<Tab>().unwrap_err();
        assert!(
            error
                .to_string()
                .contains("ports, rules, reasons, interfaces"),
            "{error}"
        );
    }
}
