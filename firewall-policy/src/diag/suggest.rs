//! "Did you mean": the nearest of a few known words.
//!
//! Distance is optimal string alignment: insert, delete, replace, swap two neighbours.

use super::show;
use strsim::osa_distance;

/// Words of other firewalls, and what they are called here.
const SYNONYMS: &[(&str, &str)] = &[
    ("accept", "pass"),
    ("allow", "pass"),
    ("permit", "pass"),
    ("deny", "drop"),
    ("block", "drop"),
    ("discard", "drop"),
    ("continue", "next"),
    ("src", "from"),
    ("source", "from"),
    ("saddr", "from"),
    ("dst", "to"),
    ("dest", "to"),
    ("destination", "to"),
    ("daddr", "to"),
    ("dport", "port"),
    ("ports", "port"),
    ("destination_port", "port"),
    ("dst_port", "port"),
    ("sport", "source_port"),
    ("src_port", "source_port"),
    ("from_port", "source_port"),
    ("protocol", "proto"),
    ("l4proto", "proto"),
    ("target", "action"),
    ("verdict", "action"),
    ("tcp_flags", "flags"),
    ("icmp_type", "icmp"),
    ("interface", "interfaces"),
    ("description", "comment"),
    ("disabled", "enabled"),
    ("name", "match"),
    ("echo", "echo-request"),
    ("ping", "echo-request"),
    ("pong", "echo-reply"),
    ("skb", "generic"),
    ("driver", "native"),
    ("ip", "cidr"),
    ("icmp6", "icmpv6"),
    ("ipv6-icmp", "icmpv6"),
];

/// The known word that is meant: another firewall's word for it, the nearest one of at most two
/// edits, or the first that starts so.
#[must_use]
pub fn nearest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    if word.len() > 64 {
        return None;
    }
    let known: Vec<&str> = known.into_iter().collect();
    let fold = |word: &str| word.to_lowercase().replace('-', "_");
    let folded = fold(word);
    let synonym = SYNONYMS
        .iter()
        .find(|(other, _)| fold(other) == folded)
        .map(|&(_, ours)| ours);
    if let Some(&ours) = known.iter().find(|&&ours| Some(ours) == synonym) {
        return Some(ours);
    }
    let near = known
        .iter()
        .copied()
        .map(|candidate| {
            (
                osa_distance(&folded, &candidate.to_lowercase().replace('-', "_")),
                candidate,
            )
        })
        .filter(|&(edits, candidate)| edits <= 2 && edits < candidate.chars().count())
        .min_by_key(|&(edits, _)| edits)
        .map(|(_, candidate)| candidate);
    near.or_else(|| {
        let mut longer = known
            .iter()
            .filter(|known| folded.len() >= 3 && fold(known).starts_with(&folded));
        longer.next().copied()
    })
}

/// The help line for an unknown word: the nearest one, and all of them if they are few.
pub(crate) fn help(word: &str, known: &[&str]) -> String {
    help_with(nearest(word, known.iter().copied()), known)
}

/// As [`help`], where the nearest is known.
pub(crate) fn help_with(near: Option<&str>, known: &[&str]) -> String {
    let all = known.join(", ");
    match near {
        Some(near) if known.len() > 16 => format!("did you mean `{near}`?"),
        Some(near) => format!("did you mean `{near}`? one of: {all}"),
        None => format!("one of: {all}"),
    }
}

/// Names that the user gave, as a list for a message: few are listed, many only begun.
pub(crate) fn listed(names: &[&str]) -> String {
    const LISTED: usize = 16;
    let shown: Vec<String> = names.iter().take(LISTED).map(|name| show(name)).collect();
    let shown = shown.join(", ");
    match names.len().saturating_sub(LISTED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn suggests_only_what_is_near() {
        let known = ["pass", "drop", "next"];
        assert_eq!(nearest("dorp", known), Some("drop"));
        assert_eq!(nearest("PASS", known), Some("pass"));
        // One edit each: insert, delete, replace. Three are too many.
        assert_eq!(nearest("dro", known), Some("drop"));
        assert_eq!(nearest("dropp", known), Some("drop"));
        assert_eq!(nearest("drap", known), Some("drop"));
        assert_eq!(nearest("dxxx", known), None);
        assert_eq!(nearest("", known), None);
        assert_eq!(nearest("\u{e4}th0", ["eth0"]), Some("eth0"));
        assert_eq!(nearest("accept", known), Some("pass"));
        assert_eq!(nearest("accept", ["tcp"]), None);
        assert_eq!(nearest("echo", ["ping", "echo-reply"]), Some("echo-reply"));
        assert_eq!(nearest("xy", ["ab"]), None);
        assert_eq!(nearest("source-port", ["source_port"]), Some("source_port"));
    }
}
