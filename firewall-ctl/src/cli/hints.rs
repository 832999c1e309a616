//! What to type in place of what other firewalls' users type.
//!
//! Pure. Only looked at when the command line has been refused.

/// What to type in place of these words, if they are another firewall's.
pub(super) fn of(words: &[String]) -> Option<&'static str> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    Some(match *behind_globals(&words) {
        ["--dry-run", ..] => {
            "--dry-run stands behind the verb: firewall-ctl allow 80/tcp --dry-run"
        }
        ["enable", ..] => {
            "to filter now and at every start: sudo systemctl enable --now firewall; by hand: sudo \
             firewall-ctl load -i eth0 -f POLICY"
        }
        ["disable" | "stop" | "reset", ..] => {
            "to take the filter off: sudo firewall-ctl unload --all"
        }
        ["default", ..] => {
            "the default stands in the policy: write `default: {in: drop}` there, then sudo firewall-ctl \
             apply -f POLICY"
        }
        ["logging", ..] => {
            "rules log one by one: write `log: 10/s` in a rule, or add one with: sudo firewall-ctl allow \
             log 22/tcp; see: firewall-ctl observe"
        }
        ["app", ..] => "applications are services: firewall-ctl services",
        ["list" | "show", ..] => "rules and their numbers: firewall-ctl get rules",
        ["prepend", ..] => {
            "new rules come before all others: sudo firewall-ctl allow 80/tcp; among those added before: \
             insert 2 allow 80/tcp"
        }
        ["block" | "drop", ..] => "write: firewall-ctl deny from 203.0.113.9, or deny 25/tcp",
        ["accept" | "permit" | "open", ..] => "write: firewall-ctl allow 80/tcp",
        ["get", "all" | "everything", ..] => {
            "firewall-ctl get rules, interfaces, sets, bans or flows; everything at a glance: firewall-ctl \
             status"
        }
        ["logs" | "log" | "events" | "monitor" | "tail", ..] => {
            "packets as they come: firewall-ctl observe -f"
        }
        ["edit" | "create" | "replace" | "patch", ..] => {
            "edit the policy's file, look at the difference, and apply it: firewall-ctl diff FILE; sudo \
             firewall-ctl apply -f FILE"
        }
        ["conntrack" | "connections", ..] => "connections: firewall-ctl flows",
        ["rule", ..] => "leave `rule` out: firewall-ctl allow 80/tcp",
        ["remove" | "del" | "rm", ..] => "write: firewall-ctl delete NAME, or delete allow 80/tcp",
        ["-A" | "-I" | "-D" | "-P" | "-L" | "-F" | "-N", ..] => {
            "these are options of iptables: firewall-ctl allow 80/tcp; to bring its rules over: \
             firewall-ctl import iptables rules.v4"
        }
        [
            "add" | "flush",
            "table" | "rule" | "chain" | "ruleset" | "element",
            ..,
        ] => "these are words of nft; to bring its rules over: firewall-ctl import nft rules.json",
        _ => return None,
    })
}

/// The words behind options that every verb takes.
fn behind_globals<'w>(words: &'w [&'w str]) -> &'w [&'w str] {
    match *words {
        [
            "--root" | "--socket" | "--services" | "--output" | "-o" | "--color",
            _,
            ..,
        ] => behind_globals(&words[2..]),
        [
            "--json" | "--quiet" | "-q" | "--verbose" | "-v" | "--raw-numbers",
            ..,
        ] => behind_globals(&words[1..]),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::of;
    use crate::cli::command;

    /// What is hinted at is no verb of ours, and what the hint says is one.
    #[test]
    fn words_of_others_are_hinted_at_with_commands_that_parse() {
        for line in [
            "--dry-run allow 80",
            "enable",
            "disable",
            "reset",
            "default deny incoming",
            "logging on",
            "app list",
            "show listening",
            "prepend allow 80",
            "block 80",
            "-A INPUT -j ACCEPT",
            "add rule inet filter input accept",
            "get all",
            "logs -f",
            "edit rules",
            "create -f policy.yaml",
            "connections",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            let parsed =
                command().try_get_matches_from(["firewall-ctl"].into_iter().chain(line.split(' ')));
            assert!(parsed.is_err(), "{line}");
            assert!(of(&words).is_some(), "{line}");
        }
        let words = ["--socket", "x", "-q", "app", "list"].map(str::to_owned);
        assert_eq!(of(&words), of(&words[3..]));
        assert_eq!(of(&["allow".to_owned()]), None);
    }
}
