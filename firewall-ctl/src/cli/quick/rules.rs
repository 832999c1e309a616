//! What the words of `allow`, `deny`, `limit` and `reject` wish for, as rules of a policy in YAML.
//!
//! May not read words. Invariant: one wish makes its rules in the order in which they are to stand.

use super::words::{Does, Ports, Said, Wish, usage};
use firewall_api::failure::Failure;
use firewall_policy::fmt::canonical;
use firewall_policy::time;
use firewall_policy::vocabulary;

/// Connections of one source that `limit` lets in where no rate is given: as many as ufw does.
const USUAL_RATE: &str = "6/30s";

/// What a rule with `log` writes at most.
const USUAL_LOG: &str = "10/s";

/// Protocols whose packets can belong to a connection.
const TRACKED: [&str; 4] = ["tcp", "udp", "icmp", "icmpv6"];

/// A rule in one line of YAML.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Made {
    pub(super) name: String,
    pub(super) yaml: String,
    /// What it is about, as it is written.
    pub(super) ports: Ports,
    /// Whether it passes those who have a connection before others share a rate.
    pub(super) is_for_known: bool,
}

/// Where the rules belong, which the words do not say.
#[derive(Clone, Copy, Default, Debug)]
pub(super) struct Setting<'s> {
    /// The zone of the interface that the words name.
    pub(super) zone: Option<&'s str>,
    /// Seconds since the Unix epoch.
    pub(super) now: u64,
}

impl Wish {
    /// The rules that the words ask for, with names of which none is `taken`.
    pub(super) fn rules(
        &self,
        does: Does,
        taken: &dyn Fn(&str) -> bool,
        setting: Setting<'_>,
    ) -> Result<Vec<Made>, Failure> {
        let mut made: Vec<Made> = Vec::new();
        let all = match self.what.as_slice() {
            [] => &[Ports::default()][..],
            ports => ports,
        };
        let all = all.iter().map(|ports| self.with_source(ports));
        let all = all.flat_map(|ports| self.counted_apart(does, ports));
        for (at, ports) in all.enumerate() {
            let mut name = self.name(does, &ports);
            if at > 0 && self.name.is_some() {
                name.push_str(&format!("-{}", at + 1));
            }
            let is_taken =
                |name: &str| taken(name) || made.iter().any(|rule: &Made| rule.name == name);
            let name = match (&self.name, at) {
                // A name that the user gives is taken as it is, and refused if it is in use.
                (Some(_), 0) => name,
                _ => free(&name, &is_taken),
            };
            // Who has a connection does not queue with strangers for a rate that all share.
            let known =
                (self.all && ports.is_tracked()).then(|| free(&format!("{name}-known"), &is_taken));
            if let Some(known) = known {
                made.push(Made {
                    yaml: self.yaml(Does::Allow, &known, &ports, setting, Some("established"))?,
                    name: known,
                    ports: ports.clone(),
                    is_for_known: true,
                });
            }
            made.push(Made {
                yaml: self.yaml(does, &name, &ports, setting, None)?,
                name,
                ports,
                is_for_known: false,
            });
        }
        Ok(made)
    }

    /// What it says of the packets of one of its rules.
    pub(super) fn said<'w>(&self, ports: &'w Ports) -> Said<'w> {
        let number = |name: &String| vocabulary::number(vocabulary::PROTOCOLS, name);
        let protocols = ports.protocols.iter().filter_map(number);
        let protocols: Vec<u32> = protocols.collect();
        Said {
            what: (!ports.ports.is_empty()).then_some((protocols, ports.ports.as_str())),
            from: self.from.is_some(),
            to: self.to.is_some() || self.route,
            on: self.on.is_some(),
            rate: self.rate.is_some() || self.new.is_some(),
            log: self.log,
        }
    }

    /// Ports of an application, with what the words say of the protocol.
    fn with_source(&self, ports: &Ports) -> Ports {
        let mut ports = ports.clone();
        if ports.protocols.is_empty() {
            ports.protocols = match (&self.protocols[..], &self.source_port) {
                ([], Some(_)) => vec!["tcp".to_owned(), "udp".to_owned()],
                (protocols, _) => protocols.to_vec(),
            };
        }
        ports
    }

    /// Where `limit` has a rate, TCP stands apart: there it counts connections, elsewhere packets.
    fn counted_apart(&self, does: Does, ports: Ports) -> Vec<Ports> {
        let is_mixed = match ports.protocols.as_slice() {
            [] => ports.ports.is_empty(),
            [_] => false,
            several => several.iter().any(|proto| proto == "tcp"),
        };
        if does != Does::Limit || self.rate.is_none() || self.new.is_some() || !is_mixed {
            return vec![ports];
        }
        let mut others = ports.clone();
        others.protocols.retain(|proto| proto != "tcp");
        let tcp = Ports {
            protocols: vec!["tcp".to_owned()],
            ..ports
        };
        vec![tcp, others]
    }

    /// The rule's name: what the user calls it, or what the words say.
    fn name(&self, does: Does, ports: &Ports) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let mut name = does.verb().to_owned();
        if self.route {
            name = format!("route-{name}");
        }
        if !ports.ports.is_empty() {
            name.push_str(&format!("-{}", ports.ports));
        }
        if let ([one], false) = (&ports.protocols[..], ports.is_service) {
            name.push_str(&format!("-{one}"));
        }
        for (word, value) in [
            ("from", &self.from),
            ("port", &self.source_port),
            ("to", &self.to),
            ("on", &self.on),
        ] {
            if let Some(value) = value {
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
            .take(54)
            .collect();
        let name = name.split('-').filter(|part| !part.is_empty());
        name.collect::<Vec<_>>().join("-")
    }

    /// One rule in one line of YAML.
    fn yaml(
        &self,
        does: Does,
        name: &str,
        ports: &Ports,
        setting: Setting<'_>,
        state: Option<&str>,
    ) -> Result<String, Failure> {
        let mut pairs = vec![("name", quoted(name))];
        pairs.extend(
            self.comment
                .as_deref()
                .map(|text| ("comment", quoted(text))),
        );
        let expires = self.time.map(|seconds| time::print(setting.now + seconds));
        pairs.extend(expires.map(|at| ("expires", quoted(&at))));
        pairs.extend(setting.zone.map(|zone| ("zone", quoted(zone))));
        if !ports.protocols.is_empty() {
            let protocols: Vec<&str> = ports.protocols.iter().map(String::as_str).collect();
            pairs.push(("proto", list(&protocols)));
        }
        let split = |text: &str| list(&text.split(',').collect::<Vec<_>>());
        if !ports.ports.is_empty() {
            pairs.push(("port", split(&ports.ports)));
        }
        pairs.extend(
            self.source_port
                .as_deref()
                .map(|text| ("source_port", split(text))),
        );
        pairs.extend(self.from.as_deref().map(|text| ("from", split(text))));
        match (&self.to, self.route) {
            (Some(to), _) => pairs.push(("to", split(to))),
            (None, true) => pairs.push(("to", quoted("!@self"))),
            (None, false) => {}
        }
        pairs.extend(state.map(|state| ("state", state.to_owned())));
        if state.is_none() {
            pairs.extend(self.limit(does, ports)?.map(|limit| ("limit", limit)));
            pairs.extend(self.log.then(|| ("log", USUAL_LOG.to_owned())));
        }
        pairs.push(("action", does.action().to_owned()));
        let pairs: Vec<String> = pairs
            .into_iter()
            .map(|(key, value)| format!("{key}: {value}"))
            .collect();
        let rule = format!("{{{}}}", pairs.join(", "));
        Ok(readable(&rule).unwrap_or(rule))
    }

    /// `limit:` of the rule, if the words or the verb ask for one. On TCP `limit` counts connections: a rate
    /// of packets would strangle the one that is open.
    fn limit(&self, does: Does, ports: &Ports) -> Result<Option<String>, Failure> {
        let per = match (does, self.all, &self.per) {
            (_, false, Some(per)) => format!(", per: {}", quoted(per)),
            (Does::Limit, false, None) => ", per: source".to_owned(),
            _ => String::new(),
        };
        let (key, rate) = match (does, &self.rate, &self.new) {
            (Does::Deny | Does::Reject | Does::Allow, None, None) => return Ok(None),
            (Does::Deny | Does::Reject, ..) => {
                let verb = does.verb();
                return Err(usage(
                    format!("`{verb}` has no rate"),
                    "`limit` passes packets within a rate and drops the rest: limit WHAT rate 10/s",
                ));
            }
            (_, Some(_), Some(_)) => {
                return Err(usage(
                    "`rate` and `new` are two limits",
                    "`rate` counts packets, `new` connections: write a rule for each",
                ));
            }
            (Does::Limit, Some(rate), None) if ports.protocols == ["tcp"] => ("new", rate.as_str()),
            (_, Some(rate), None) => ("rate", rate.as_str()),
            (_, None, Some(rate)) => ("new", rate.as_str()),
            (Does::Limit, None, None) => ("new", USUAL_RATE),
        };
        Ok(Some(format!("{{{key}: {}{per}}}", quoted(rate))))
    }
}

impl Ports {
    /// Whether packets of all its protocols can belong to a connection; without any, those that can do.
    fn is_tracked(&self) -> bool {
        let mut protocols = self.protocols.iter();
        protocols.all(|proto| TRACKED.contains(&proto.as_str()))
    }
}

/// A name that is not taken, with a number behind it if need be.
fn free(name: &str, taken: &dyn Fn(&str) -> bool) -> String {
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let mut all = std::iter::once(name.to_owned()).chain(numbered);
    all.find(|name| !taken(name))
        .unwrap_or_else(|| name.to_owned())
}

/// A rule's line without what it is called and for how long: what it does.
pub(super) fn meaning(yaml: &str) -> String {
    const LEFT_OUT: [&str; 3] = ["name: ", "comment: ", "expires: "];
    let inner = yaml.trim().trim_start_matches(['-', ' ']);
    let inner = inner
        .strip_prefix('{')
        .and_then(|text| text.strip_suffix('}'));
    let (mut parts, mut part) = (Vec::new(), String::new());
    let (mut depth, mut quote, mut escaped) = (0_u32, false, false);
    for c in inner.unwrap_or(yaml).chars() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote => escaped = true,
            '"' => quote = !quote,
            '[' | '{' if !quote => depth += 1,
            ']' | '}' if !quote => depth = depth.saturating_sub(1),
            ',' if !quote && depth == 0 => {
                parts.push(std::mem::take(&mut part));
                continue;
            }
            _ => {}
        }
        part.push(c);
    }
    parts.push(part);
    let parts = parts.iter().map(|part| part.trim());
    let kept = parts.filter(|part| LEFT_OUT.iter().all(|key| !part.starts_with(key)));
    kept.collect::<Vec<_>>().join(", ")
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

#[cfg(test)]
mod tests {
    use super::meaning;

    #[test]
    fn a_rule_is_what_it_does_whatever_it_is_called() {
        let rule = r#"  - {name: a, comment: "b, \"c\", d: {", proto: [tcp, udp], limit: {new: 6/30s, per: source}, action: pass}"#;
        assert_eq!(
            meaning(rule),
            "proto: [tcp, udp], limit: {new: 6/30s, per: source}, action: pass"
        );
        assert_eq!(
            meaning("{name: b, expires: \"2027-01-01T00:00:00Z\", action: drop}"),
            "action: drop"
        );
    }
}
