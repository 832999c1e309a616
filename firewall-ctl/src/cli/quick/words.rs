//! The words of `allow`, `deny`, `limit`, `reject` and their kin, as users of ufw type them. May not ask
//! the kernel or the daemon: what a word means beyond its form, the reader of policies says.

use firewall_api::failure::{Exit, Failure};
use firewall_policy::services::{Catalogue, Service};
use firewall_policy::{entry, vocabulary};

/// What a verb does with what its words say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) enum Does {
    /// `allow`.
    Allow,
    /// `deny`.
    Deny,
    /// `limit`.
    Limit,
    /// `reject`.
    Reject,
}

/// Ports, and the protocols that they belong to, as they are written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ports {
    pub(super) protocols: Vec<String>,
    pub(super) ports: String,
    /// A name stands for them, which says the protocol.
    pub(super) is_service: bool,
}

/// What the words of a quick rule say of packets.
#[derive(Debug, Default)]
pub(super) struct Said<'w> {
    /// Protocols, by number, and ports as a policy writes them; `None`: any.
    pub(super) what: Option<(Vec<u32>, &'w str)>,
    /// Whether it says from where, to where, on which interface.
    pub(super) from: bool,
    pub(super) to: bool,
    pub(super) on: bool,
    /// Whether it says a rate.
    pub(super) rate: bool,
    /// Whether it says that matches are logged.
    pub(super) log: bool,
}

/// What the words say, each as it was written.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Wish {
    /// Ports, one rule for each.
    pub(super) what: Vec<Ports>,
    /// Protocols that the words name apart.
    pub(super) protocols: Vec<String>,
    pub(super) source_port: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
    /// The interface.
    pub(super) on: Option<String>,
    pub(super) rate: Option<String>,
    /// A rate of new connections.
    pub(super) new: Option<String>,
    /// The rate is that of all sources together.
    pub(super) all: bool,
    pub(super) per: Option<String>,
    /// Seconds.
    pub(super) time: Option<u64>,
    pub(super) name: Option<String>,
    pub(super) comment: Option<String>,
    pub(super) log: bool,
    /// Packets that this host forwards.
    pub(super) route: bool,
}

/// The words in one line, for help.
const FORM: &str = "the words are WHAT [proto P] [from SRC] [to DST] [port P] [on IF] [rate N/s|new N/s] \
                    [all] [for 20m] [name N] [comment ...]";

/// The protocols that ports belong to.
const WITH_PORTS: [&str; 3] = ["tcp", "udp", "sctp"];

pub(super) fn usage(message: impl Into<String>, help: &str) -> Failure {
    Failure::new(Exit::Usage, message).help(help)
}

impl Does {
    /// The verb.
    pub(super) fn verb(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
            Self::Limit => "limit",
            Self::Reject => "reject",
        }
    }

    /// The verb of a word.
    pub(super) fn of(word: &str) -> Option<Self> {
        let all = [Self::Allow, Self::Deny, Self::Limit, Self::Reject];
        all.into_iter().find(|does| does.verb() == word)
    }

    /// What its rules do.
    pub(super) fn action(self) -> &'static str {
        match self {
            Self::Allow | Self::Limit => "pass",
            Self::Deny => "drop",
            Self::Reject => "reject",
        }
    }
}

/// Reads the words one after another.
struct Reader<'w> {
    words: std::slice::Iter<'w, String>,
    catalogue: &'w Catalogue,
    wish: Wish,
    /// `port` belongs to the address before it.
    behind_from: bool,
    /// Something says which traffic is meant.
    says_what: bool,
}

impl Wish {
    /// Reads the words behind a verb. `catalogue`: what services are called.
    pub(super) fn read(words: &[String], catalogue: &Catalogue) -> Result<Self, Failure> {
        let mut reader = Reader {
            words: words.iter(),
            catalogue,
            wish: Self::default(),
            behind_from: false,
            says_what: false,
        };
        let mut is_first = true;
        while let Some(word) = reader.words.next() {
            reader.word(word, is_first)?;
            // Which way, and whether it is logged, stand before what is meant.
            is_first &= matches!(word.as_str(), "in" | "log" | "log-all");
        }
        if !reader.says_what {
            return Err(usage(
                "nothing says what",
                "name a port (80/tcp), a service (ssh) or `any`, or say from where: from 203.0.113.9",
            ));
        }
        reader.finish()
    }
}

impl Reader<'_> {
    fn word(&mut self, word: &str, is_first: bool) -> Result<(), Failure> {
        match word {
            "in" => return self.incoming(),
            "out" => {
                return Err(usage(
                    "outgoing packets are not filtered",
                    "all rules are for incoming packets, and outgoing ones pass; what answers them is \
                     kept out with: deny from ADDRESS",
                ));
            }
            "log" | "log-all" => {
                self.wish.log = true;
                return Ok(());
            }
            "comment" => {
                let text: Vec<&str> = self.words.by_ref().map(String::as_str).collect();
                self.wish.comment = Some(text.join(" "));
                return Ok(());
            }
            "all" if !is_first => {
                self.wish.all = true;
                return Ok(());
            }
            "any" | "all" if is_first => {
                self.says_what = true;
                return Ok(());
            }
            _ => {}
        }
        let is_key = matches!(
            word,
            "from"
                | "to"
                | "on"
                | "rate"
                | "new"
                | "per"
                | "name"
                | "for"
                | "proto"
                | "port"
                | "app"
        );
        if !is_key {
            if !is_first {
                return Err(usage(format!("`{word}` is not expected here"), FORM));
            }
            self.says_what = true;
            self.wish.what = ports(word, self.catalogue)?;
            return Ok(());
        }
        if word == "for" {
            return self.time();
        }
        let Some(value) = self.words.next() else {
            return Err(usage(format!("`{word}` needs a value"), FORM));
        };
        self.pair(word, value)
    }

    /// `in` says nothing that is not so anyway; ufw writes an interface behind it.
    fn incoming(&mut self) -> Result<(), Failure> {
        if let [key, interface, ..] = self.words.as_slice()
            && key == "on"
        {
            self.words.nth(1);
            self.says_what = true;
            return set(&mut self.wish.on, "on", interface);
        }
        Ok(())
    }

    fn pair(&mut self, key: &str, value: &str) -> Result<(), Failure> {
        let is_any = matches!(value, "any" | "anywhere");
        match key {
            "from" | "to" => {
                self.says_what = true;
                self.behind_from = key == "from";
                let slot = if key == "from" {
                    &mut self.wish.from
                } else {
                    &mut self.wish.to
                };
                if is_any {
                    Ok(())
                } else {
                    set(slot, key, value)
                }
            }
            "on" => {
                self.says_what = true;
                set(&mut self.wish.on, key, value)
            }
            "rate" => set(&mut self.wish.rate, key, value),
            "new" => set(&mut self.wish.new, key, value),
            "per" => set(&mut self.wish.per, key, value),
            "name" => set(&mut self.wish.name, key, value),
            "proto" => self.proto(value),
            "port" | "app" if self.behind_from => {
                self.behind_from = false;
                if key == "app" {
                    return Err(usage(
                        "an application sends from no port of its own",
                        "write `to any app NAME`",
                    ));
                }
                set(&mut self.wish.source_port, key, &dashed(value)?)
            }
            "port" | "app" => {
                self.says_what = true;
                if !self.wish.what.is_empty() {
                    return Err(usage(
                        format!("`{key}` stands twice"),
                        "write one rule for each",
                    ));
                }
                self.wish.what = ports(value, self.catalogue)?;
                Ok(())
            }
            _ => Err(usage(format!("`{key}` is not expected here"), FORM)),
        }
    }

    /// How long, behind `for`: `20m`, `1 hour`.
    fn time(&mut self) -> Result<(), Failure> {
        let rest = self.words.as_slice();
        let Some((seconds, length)) = entry::time(rest) else {
            let (message, help) = match rest.first() {
                Some(text) => entry::no_time(text),
                None => ("`for` needs a time".to_owned(), entry::no_time("").1),
            };
            return Err(usage(message, &help));
        };
        self.words.nth(length - 1);
        self.wish.time = Some(seconds);
        Ok(())
    }

    fn proto(&mut self, value: &str) -> Result<(), Failure> {
        self.says_what |= value != "any";
        if value == "any" {
            return Ok(());
        }
        for word in value.split([',', '/']) {
            let known = vocabulary::number(vocabulary::PROTOCOLS, word).is_some();
            if !known && word.parse::<u8>().is_err() {
                return Err(usage(
                    format!("`{word}` is not a protocol"),
                    "write proto tcp, proto udp, proto esp, or a number",
                ));
            }
            self.wish.protocols.push(word.to_owned());
        }
        Ok(())
    }

    /// The wish, with the protocols that the words say apart put to the ports.
    fn finish(mut self) -> Result<Wish, Failure> {
        let named = &self.wish.protocols;
        if self.wish.all && self.wish.rate.is_none() && self.wish.new.is_none() {
            return Err(usage(
                "`all` stands without a rate",
                "say how much all sources together may send: limit 443/tcp new 200/s all",
            ));
        }
        if !named.is_empty() {
            for ports in &mut self.wish.what {
                let other = named.iter().find(|proto| !ports.protocols.contains(proto));
                if let (Some(other), true) = (other, ports.is_service || ports.protocols.len() == 1)
                {
                    return Err(usage(
                        format!(
                            "`{}` is of {}, and not of {other}",
                            ports.ports,
                            ports.protocols.join(" and ")
                        ),
                        "leave `proto` out, or write the port's number",
                    ));
                }
                ports.protocols.clone_from(named);
            }
        }
        let without = |proto: &&String| !WITH_PORTS.contains(&proto.as_str());
        let has_ports = !self.wish.what.is_empty() || self.wish.source_port.is_some();
        if let (true, Some(proto)) = (has_ports, named.iter().find(without)) {
            return Err(usage(
                format!("{proto} has no ports"),
                "ports belong to tcp, udp or sctp: leave `port` or `proto` out",
            ));
        }
        Ok(self.wish)
    }
}

/// Takes a value that may stand once.
fn set(slot: &mut Option<String>, key: &str, value: &str) -> Result<(), Failure> {
    if slot.replace(value.to_owned()).is_some() {
        return Err(usage(
            format!("`{key}` stands twice"),
            "write one rule for each",
        ));
    }
    Ok(())
}

/// Ports as the language has them: ufw writes 5000:5010, and the language 5000-5010.
fn dashed(ports: &str) -> Result<String, Failure> {
    let parts: Vec<String> = ports
        .split(',')
        .map(|part| part.replacen(':', "-", 1))
        .collect();
    if parts
        .iter()
        .any(|part| part.is_empty() || part.contains(':'))
    {
        return Err(usage(
            format!("`{ports}` is not a port or a range of ports"),
            "write 80, 80,443 or 5000-5010",
        ));
    }
    Ok(parts.join(","))
}

/// `80/tcp`, `5000-5010/udp`, `80,443/tcp`, `80:90/tcp`, `80`, `ssh`, `"Nginx Full"`.
fn ports(what: &str, catalogue: &Catalogue) -> Result<Vec<Ports>, Failure> {
    const HELP: &str = "write 80/tcp, 5000-5010/udp, 80 (tcp and udp), a service such as ssh, or any; \
                        firewall-ctl services lists them";
    if let Some(service) = catalogue.find(what) {
        return Ok(of_service(what, service));
    }
    if let Some((ports, proto)) = what.split_once('/') {
        if !WITH_PORTS.contains(&proto) {
            return Err(usage(
                format!("`{proto}` in `{what}` is not a protocol with ports"),
                "ports belong to tcp, udp or sctp: write 80/tcp",
            ));
        }
        return Ok(vec![Ports {
            protocols: vec![proto.to_owned()],
            ports: dashed(ports)?,
            is_service: false,
        }]);
    }
    if what.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(vec![Ports {
            protocols: vec!["tcp".to_owned(), "udp".to_owned()],
            ports: dashed(what)?,
            is_service: false,
        }]);
    }
    let help = match catalogue.nearest(what) {
        Some(near) => format!("did you mean `{near}`? {HELP}"),
        None => HELP.to_owned(),
    };
    Err(usage(format!("`{what}` is not a port or a service"), &help))
}

/// The ports of a service, by its name where the language knows it.
fn of_service(what: &str, service: &Service) -> Vec<Ports> {
    let one = |ports: &firewall_policy::services::ServicePorts| Ports {
        protocols: ports
            .protocols
            .iter()
            .map(|&proto| proto.to_owned())
            .collect(),
        ports: if service.is_builtin {
            what.to_owned()
        } else {
            ports.ports.clone()
        },
        is_service: service.is_builtin,
    };
    service.ports.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::super::rules::Setting;
    use super::*;

    fn said(line: &str) -> String {
        let mut words = line.split(' ').map(str::to_owned);
        let does = words.next().and_then(|word| Does::of(&word)).unwrap();
        let words: Vec<String> = words.map(|word| word.replace('_', " ")).collect();
        let rules = Wish::read(&words, &Catalogue::builtin()).and_then(|wish| {
            let taken = |name: &str| name == "allow-ssh";
            let zone = wish.on.as_ref().map(|_| "wan");
            let setting = Setting {
                zone,
                now: 1_800_000_000,
            };
            wish.rules(does, &taken, setting)
        });
        match rules {
            Ok(rules) => {
                let lines: Vec<String> = rules
                    .iter()
                    .map(|rule| format!("  {}\n", rule.yaml))
                    .collect();
                format!("{line}\n{}", lines.concat())
            }
            Err(failure) => format!("{line}\n  {}\n", failure.to_text(false).trim_end()),
        }
    }

    #[test]
    fn limit_counts_connections_on_tcp_and_packets_elsewhere() {
        for (line, limit) in [
            ("limit ssh rate 6/30s", "limit: {new: 6/30s, per: source}"),
            ("limit 443/tcp rate 200/s all", "limit: {new: 200/s}"),
            ("limit 53/udp rate 50/s", "limit: {rate: 50/s, per: source}"),
            ("allow 443/tcp rate 10k/s", "limit: {rate: 10k/s}"),
        ] {
            assert!(said(line).contains(limit), "{}", said(line));
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
            "allow ssh for 1 hour",
            "deny from 203.0.113.9 for 2 days name guest",
            "allow ssh for 600",
            "allow ssh 192.0.2.1",
            "deny ssh rate 5/s",
            // As users of ufw type.
            "allow 80:90/tcp",
            "allow in on eth0",
            "allow in on eth0 to any port 80 proto tcp",
            "allow from 203.0.113.0/24 to any port 5432 proto tcp",
            "allow proto tcp from any to any port 80,443",
            "allow proto udp from 192.0.2.1 port 53 to any",
            "allow from 192.0.2.1 port 1024:65535 to any port 22",
            "allow in 22/tcp",
            "allow log 22/tcp",
            "allow proto esp from 198.51.100.1",
            "allow proto ah",
            "allow from any to any port ssh",
            "allow to any app Nginx_Full",
            "allow OpenSSH",
            "allow Samba",
            "allow WWW_Secure comment shop",
            "reject 25/tcp",
            "deny from 10.0.0.0/8 to 192.0.2.1 port 25",
            "deny out 25/tcp",
            "deny out to any port 25",
            "allow proto esp to any port 80",
            "allow ssh proto udp",
            "allow 80/tcp proto udp",
            "allow opensh",
            "allow from any app OpenSSH",
            "allow 80::90/tcp",
            "allow proto qcp from any",
            // What attacks need.
            "limit 443/tcp new 200/s all",
            "limit 443/tcp new 5/s",
            "limit 27015/udp rate 2k/s all",
            "limit https new 20/s per source/24",
            "limit any new 500/s all",
            "limit 2905/sctp rate 5/s all",
            "limit 80 rate 50/s",
            "limit dns rate 50/s name resolver",
            "limit any rate 500/s all",
            "limit 443/tcp all",
            "limit 443/tcp new 5/s rate 5/s",
        ] {
            screen.push_str(&said(line));
        }
        insta::assert_snapshot!(screen);
    }
}
