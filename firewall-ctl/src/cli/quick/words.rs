//! The words of `allow`, `deny` and `limit`, as a rule of a policy. May not ask the kernel or the
//! daemon: what a word means beyond its form, the reader of policies says.

use super::kept::Said;
use firewall_api::failure::{Exit, Failure};
use firewall_policy::fmt::canonical;
use firewall_policy::{entry, time, well_known_ports};

/// What a verb does with what its words say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Does {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
    /// `limit`.
    Limit,
}

/// What the words say, each as it was written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Wish {
    /// Protocols, and ports if it says any.
    what: Option<(Vec<&'static str>, String)>,
    from: Option<String>,
    to: Option<String>,
    /// The interface.
    pub(super) on: Option<String>,
    rate: Option<String>,
    /// Seconds.
    pub(super) time: Option<u64>,
    name: Option<String>,
    comment: Option<String>,
}

/// Words that say what the next one is.
const KEYS: [&str; 8] = ["from", "to", "on", "rate", "for", "name", "comment", "in"];

/// Connections of one source that `limit` lets in where no rate is given: as many as ufw does.
const USUAL_RATE: &str = "6/30s";

/// The protocols that ports belong to.
const WITH_PORTS: [(&str, u8); 3] = [("tcp", 6), ("udp", 17), ("sctp", 132)];

fn usage(message: impl Into<String>, help: &str) -> Failure {
    Failure::new(Exit::Usage, message).help(help)
}

impl Does {
    /// The verb.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Limit => "limit",
        }
    }
}

impl Wish {
    /// Reads the words behind a verb.
    pub(super) fn read(words: &[String]) -> Result<Self, Failure> {
        let mut wish = Self::default();
        let mut words = words.iter().map(String::as_str).peekable();
        match words.next_if(|word| !KEYS.contains(word)) {
            None if words.peek().is_none() => {
                return Err(usage(
                    "nothing says what",
                    "name a port (80/tcp), a service (ssh) or `any`, or say from where: from 203.0.113.9",
                ));
            }
            None | Some("any") => {}
            Some(what) => wish.what = Some(ports(what)?),
        }
        while let Some(key) = words.next() {
            if key == "comment" {
                let text: Vec<&str> = words.by_ref().collect();
                wish.comment = Some(text.join(" "));
                break;
            }
            let value = words.next().map(str::to_owned);
            let slot = match key {
                "from" => &mut wish.from,
                "to" => &mut wish.to,
                "on" => &mut wish.on,
                "rate" => &mut wish.rate,
                "name" => &mut wish.name,
                "for" => {
                    let text = value.as_deref().unwrap_or_default();
                    let Some(seconds) = entry::seconds(text) else {
                        return Err(usage(
                            format!("`{text}` is not a duration"),
                            "write for 30s, for 20m, for 2h or for 7d; at most 365d",
                        ));
                    };
                    wish.time = Some(seconds);
                    continue;
                }
                "in" => {
                    return Err(usage(
                        "`in` is not a word of this verb",
                        "all rules are for ingress; name an interface with `on eth0`",
                    ));
                }
                other => {
                    return Err(usage(
                        format!("`{other}` is not expected here"),
                        "the words are WHAT [from SRC] [to DST] [on IF] [rate N/s] [for 20m] [name N] [comment ...]",
                    ));
                }
            };
            let Some(value) = value else {
                return Err(usage(
                    format!("`{key}` needs a value"),
                    "the words are WHAT [from SRC] [to DST] [on IF] [rate N/s] [for 20m] [name N] [comment ...]",
                ));
            };
            if slot.replace(value).is_some() {
                return Err(usage(
                    format!("`{key}` stands twice"),
                    "write one rule for each",
                ));
            }
        }
        Ok(wish)
    }

    /// Whether the user calls it by a name.
    pub(super) fn is_named(&self) -> bool {
        self.name.is_some()
    }

    /// What it says of packets.
    pub(super) fn said(&self) -> Said<'_> {
        let number = |name: &&str| WITH_PORTS.iter().find(|it| it.0 == *name).map(|it| it.1);
        let what = self.what.as_ref().map(|(protocols, ports)| {
            let numbers = protocols.iter().filter_map(number).map(u32::from);
            (numbers.collect(), ports.as_str())
        });
        Said {
            what,
            from: self.from.is_some(),
            to: self.to.is_some(),
            on: self.on.is_some(),
            rate: self.rate.is_some(),
        }
    }

    /// The rule's name: what the user calls it, or what the words say and none of `taken`.
    pub(super) fn name(&self, does: Does, taken: &dyn Fn(&str) -> bool) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut name = does.verb().to_owned();
        if let Some((protocols, ports)) = &self.what {
            name.push_str(&format!("-{ports}"));
            let service = well_known_ports::find(ports).is_some();
            if let ([one], false) = (&protocols[..], service) {
                name.push_str(&format!("-{one}"));
            }
        }
        for (word, value) in [("from", &self.from), ("to", &self.to), ("on", &self.on)] {
            if let Some(value) = value.as_deref().filter(|&value| value != "any") {
                name.push_str(&format!("-{word}-{value}"));
            }
        }
        if name == does.verb() {
            name.push_str("-any");
        }
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        let name: String = name
            .to_ascii_lowercase()
            .chars()
            .map(|c| if fits(c) { c } else { '-' })
            .take(58)
            .collect();
        let name = name.split('-').filter(|part| !part.is_empty());
        let name = name.collect::<Vec<_>>().join("-");
        if !taken(&name) {
            return name;
        }
        (2..)
            .map(|number| format!("{name}-{number}"))
            .find(|name| !taken(name))
            .unwrap_or(name)
    }

    /// The rule in one line of YAML. `zone` is that of the interface, `now` in seconds since the
    /// Unix epoch.
    pub(super) fn rule(
        &self,
        does: Does,
        name: &str,
        zone: Option<&str>,
        now: u64,
    ) -> Result<String, Failure> {
        let mut pairs = vec![("name", quoted(name))];
        pairs.extend(
            self.comment
                .as_deref()
                .map(|text| ("comment", quoted(text))),
        );
        let expires = self.time.map(|seconds| time::print(now + seconds));
        pairs.extend(expires.map(|at| ("expires", quoted(&at))));
        pairs.extend(zone.map(|zone| ("zone", quoted(zone))));
        if let Some((protocols, ports)) = &self.what {
            pairs.push(("proto", list(protocols)));
            pairs.push(("port", list(&ports.split(',').collect::<Vec<_>>())));
        }
        for (key, value) in [("from", &self.from), ("to", &self.to)] {
            if let Some(value) = value.as_deref().filter(|&value| value != "any") {
                pairs.push((key, list(&value.split(',').collect::<Vec<_>>())));
            }
        }
        match (does, &self.rate) {
            (Does::Allow | Does::Deny, None) => {}
            (Does::Allow, Some(rate)) => {
                pairs.push(("limit", format!("{{rate: {}}}", quoted(rate))));
            }
            (Does::Limit, None) => {
                pairs.push(("limit", format!("{{new: {USUAL_RATE}, per: source}}")));
            }
            (Does::Limit, Some(rate)) => {
                let limit = format!("{{rate: {}, per: source}}", quoted(rate));
                pairs.push(("limit", limit));
            }
            (Does::Deny, Some(_)) => {
                return Err(usage(
                    "`deny` has no rate",
                    "`limit` passes packets within a rate and drops the rest: limit WHAT rate 10/s",
                ));
            }
        }
        let action = if does == Does::Deny { "drop" } else { "pass" };
        pairs.push(("action", action.to_owned()));
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        let rule = format!("{{{}}}", pairs.join(", "));
        Ok(readable(&rule).unwrap_or(rule))
    }
}

/// A rule as `fmt` writes it, where that is one line.
pub(super) fn readable(rule: &str) -> Option<String> {
    let text = format!("version: 1\nrules:\n- {rule}\n");
    let written = canonical("rule", &text).ok()?;
    let line = written.lines().find(|line| line.starts_with("  - {"))?;
    line.ends_with('}').then(|| line[4..].to_owned())
}

/// Text as YAML: as it is if every reader takes that for the same text, else in quotes. JSON's are
/// YAML's too.
pub(super) fn quoted(text: &str) -> String {
    const OTHER_KINDS: [&str; 9] = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
    let bare = text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"./-".contains(&b));
    let word = text.starts_with(|c: char| c.is_ascii_alphabetic())
        && !OTHER_KINDS.contains(&text.to_ascii_lowercase().as_str());
    // Addresses, prefixes, rates and ranges, which are no numbers.
    let digits = text.starts_with(|c: char| c.is_ascii_digit())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && (text.contains(['/', '-']) || text.matches('.').count() > 1)
        && !text.contains(['e', 'E']);
    if bare && (word || digits) {
        return text.to_owned();
    }
    serde_json::Value::from(text).to_string()
}

/// One value, or a list of them. Numbers stand without quotes.
fn list(values: &[&str]) -> String {
    let one = |value: &&str| match value.parse::<u32>() {
        Ok(number) => number.to_string(),
        Err(_) => quoted(value),
    };
    match values {
        [value] => one(value),
        values => {
            let values: Vec<String> = values.iter().map(one).collect();
            format!("[{}]", values.join(", "))
        }
    }
}

/// `80/tcp`, `5000-5010/udp`, `80,443/tcp`, `ssh`, `80`: the protocols and the ports.
fn ports(what: &str) -> Result<(Vec<&'static str>, String), Failure> {
    const HELP: &str =
        "write 80/tcp, 5000-5010/udp, 80 (tcp and udp), a service such as ssh, or any";
    let all = |protocols: &[u8]| -> Vec<&'static str> {
        let known = WITH_PORTS.iter();
        known
            .filter(|(_, number)| protocols.contains(number))
            .map(|&(name, _)| name)
            .collect()
    };
    let (ports, protocols) = match what.split_once('/') {
        Some((ports, proto)) => {
            let Some(&(proto, _)) = WITH_PORTS.iter().find(|(name, _)| *name == proto) else {
                return Err(usage(
                    format!("`{proto}` in `{what}` is not a protocol with ports"),
                    "ports belong to tcp, udp or sctp: write 80/tcp",
                ));
            };
            (ports, vec![proto])
        }
        None => match well_known_ports::find(what) {
            Some((_, protocols)) => (what, all(&protocols)),
            None if what.starts_with(|c: char| c.is_ascii_digit()) => (what, vec!["tcp", "udp"]),
            None => return Err(usage(format!("`{what}` is not a port or a service"), HELP)),
        },
    };
    // ufw writes 5000:5010, and the language 5000-5010.
    if let Some((first, last)) = ports.split_once(':') {
        return Err(usage(
            format!("`{ports}` is not a range of ports"),
            &format!("a range is written with a dash: {first}-{last}"),
        ));
    }
    Ok((protocols, ports.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let mut words = line.split(' ').map(str::to_owned);
        let does = match words.next().as_deref() {
            Some("allow") => Does::Allow,
            Some("deny") => Does::Deny,
            _ => Does::Limit,
        };
        let words: Vec<String> = words.collect();
        let rule = Wish::read(&words).and_then(|wish| {
            let taken = |name: &str| name == "allow-ssh";
            let zone = wish.on.as_ref().map(|_| "wan");
            wish.rule(does, &wish.name(does, &taken), zone, 1_800_000_000)
        });
        match rule {
            Ok(rule) => format!("{line}\n  {rule}\n"),
            Err(failure) => format!("{line}\n  {}\n", failure.to_text(false).trim_end()),
        }
    }

    #[test]
    fn words_become_rules() {
        let mut screen = String::new();
        for line in [
            "allow 80/tcp",
            "allow ssh",
            "allow dns",
            "allow 80",
            "allow 5000-5010/udp from 203.0.113.0/24 to 198.51.100.1",
            "allow 80,443/tcp from 2001:db8::/32,192.0.2.1 name web comment for the shop: \"A\" & B",
            "deny from 203.0.113.9",
            "deny any from @blocklist on eth0",
            "deny any",
            "limit ssh",
            "limit ssh for 20m",
            "limit 53/udp rate 50/s from any",
            "allow 443/udp rate 10k/s",
            "allow",
            "allow web",
            "allow 80/icmp",
            "allow 5000:5010/tcp",
            "allow ssh from",
            "allow ssh from 192.0.2.1 from 192.0.2.2",
            "allow ssh for ever",
            "allow ssh 192.0.2.1",
            "allow in on eth0",
            "deny ssh rate 5/s",
        ] {
            screen.push_str(&said(line));
        }
        insta::assert_snapshot!(screen);
    }
}
