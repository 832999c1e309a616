//! The flags that choose packets, and `--not` before one of them, as a request's words.
//!
//! `--not` is about the flag behind it, as in hubble; so the order of the arguments counts, which clap's
//! derived structs do not keep.

use clap::error::ErrorKind;
use clap::{ArgMatches, Command, FromArgMatches, ValueEnum};
use firewall_api::events::{EventsRequest, Ports, protocol_number};
use firewall_api::network::Network;
use firewall_common::reason::Reason;
use firewall_policy::diag::nearest;

/// What packets are chosen by.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Filters")]
pub(super) struct Flags {
    /// Source address or network: 203.0.113.0/24, 2001:db8::1
    #[arg(long, alias = "from-ip", value_name = "CIDR")]
    from: Option<Network>,
    /// Destination address or network
    #[arg(long, alias = "to-ip", value_name = "CIDR")]
    to: Option<Network>,
    /// Port on either side: 443, 8000-8100, https
    #[arg(long, value_name = "PORT")]
    port: Option<Ports>,
    /// Source port
    #[arg(long, visible_alias = "from-port", value_name = "PORT")]
    src_port: Option<Ports>,
    /// Destination port
    #[arg(long, visible_alias = "to-port", value_name = "PORT")]
    dst_port: Option<Ports>,
    /// Protocol of IP (tcp, udp, icmp, 50), or type of a frame that is not IP (arp, 0x88cc)
    #[arg(long, alias = "proto", value_name = "NAME", value_parser = protocol)]
    protocol: Option<String>,
    /// Verdict; several with commas between
    #[arg(long, value_name = "VERDICT", value_delimiter = ',')]
    verdict: Vec<Word>,
    /// Reason of the verdict (`get reasons` lists them); several with commas between
    #[arg(long, value_name = "REASON", value_delimiter = ',', value_parser = reason)]
    reason: Vec<&'static str>,
    /// Rule name; `default` for packets that no rule matched
    #[arg(long, value_name = "NAME")]
    rule: Option<String>,
    /// Ingress interface
    #[arg(short, long, value_name = "NAME")]
    interface: Option<String>,
    /// Negate the filter that follows
    #[arg(long, action = clap::ArgAction::Append, num_args = 0, default_missing_value = "true")]
    not: Vec<bool>,
}

/// What becomes of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
enum Word {
    /// Passed
    Pass,
    /// Dropped
    Drop,
    /// Dropped with an answer to the sender
    Reject,
    /// Passed on to the next rule
    Next,
}

impl Word {
    const fn name(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Drop => "drop",
            Self::Reject => "reject",
            Self::Next => "next",
        }
    }
}

/// A protocol by one of its names, as it was written.
fn protocol(text: &str) -> Result<String, String> {
    protocol_number(text).map(|_| text.to_owned())
}

/// A reason by its name.
fn reason(text: &str) -> Result<&'static str, String> {
    let names = Reason::ALL.iter().map(|reason| reason.name());
    if let Some(name) = names.clone().find(|name| *name == text) {
        return Ok(name);
    }
    Err(match nearest(text, names) {
        Some(name) => format!("there is no such reason; did you mean `{name}`?"),
        None => "there is no such reason; `firewall-ctl get reasons` lists them".to_owned(),
    })
}

/// The flags, and which of them are negated.
#[derive(Debug)]
pub(super) struct Filter {
    flags: Flags,
    /// Names of fields of a request.
    not: Vec<&'static str>,
}

/// Fields of a request by the ids of their flags.
const FIELDS: [(&str, &str); 10] = [
    ("from", "from"),
    ("to", "to"),
    ("port", "port"),
    ("src_port", "source_port"),
    ("dst_port", "destination_port"),
    ("protocol", "protocol"),
    ("verdict", "verdict"),
    ("reason", "reason"),
    ("rule", "rule"),
    ("interface", "interface"),
];

impl clap::Args for Filter {
    fn augment_args(command: Command) -> Command {
        Flags::augment_args(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args_for_update(command)
    }
}

impl FromArgMatches for Filter {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |id: &str| {
            let is_typed = matches.value_source(id) == Some(clap::parser::ValueSource::CommandLine);
            let indices = is_typed.then(|| matches.indices_of(id)).flatten();
            indices.into_iter().flatten().collect::<Vec<usize>>()
        };
        let mut not = Vec::new();
        for index in given("not") {
            let behind = |id: &str| given(id).into_iter().find(|at| *at > index);
            let flags = FIELDS
                .iter()
                .filter_map(|(id, name)| Some((behind(id)?, *name)));
            let next = flags.min();
            let other = given("not").into_iter().find(|at| *at > index);
            match next {
                Some((at, name)) if other.is_none_or(|other| at < other) => not.push(name),
                _ => {
                    let what = "`--not` stands before no filter: write --not --port 22";
                    return Err(clap::Error::raw(ErrorKind::ArgumentConflict, what));
                }
            }
        }
        let flags = Flags::from_arg_matches(matches)?;
        Ok(Self { flags, not })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Filter {
    /// A request for what fits.
    pub(super) fn request(&self) -> EventsRequest {
        let flags = &self.flags;
        let words = |words: Vec<&str>| (!words.is_empty()).then(|| words.join(","));
        EventsRequest {
            interface: flags.interface.clone(),
            rule: flags.rule.clone(),
            verdict: words(flags.verdict.iter().map(|verdict| verdict.name()).collect()),
            reason: words(flags.reason.clone()),
            protocol: flags.protocol.clone(),
            from: flags.from.clone(),
            to: flags.to.clone(),
            port: flags.port,
            source_port: flags.src_port,
            destination_port: flags.dst_port,
            not: words(self.not.clone()),
            ..EventsRequest::default()
        }
    }
}

/// What is chosen, in words: `tcp, not port 22, from 203.0.113.0/24`.
pub(super) fn words(request: &EventsRequest) -> String {
    let named = |field: &str, word: &str, value: Option<String>| {
        let not = if request.is_negated(field) {
            "not "
        } else {
            ""
        };
        value.map(|value| format!("{not}{word}{value}"))
    };
    let text = |value: Option<&Network>| value.map(ToString::to_string);
    let ports = |value: Option<Ports>| value.map(|ports| ports.to_string());
    let parts = [
        named("verdict", "", request.verdict.clone()),
        named("reason", "reason ", request.reason.clone()),
        named("rule", "rule ", request.rule.clone()),
        named("protocol", "", request.protocol.clone()),
        named("port", "port ", ports(request.port)),
        named("source_port", "source port ", ports(request.source_port)),
        named(
            "destination_port",
            "destination port ",
            ports(request.destination_port),
        ),
        named("from", "from ", text(request.from.as_ref())),
        named("to", "to ", text(request.to.as_ref())),
        named("interface", "on ", request.interface.clone()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::{Filter, words};
    use clap::{Args as _, Command, FromArgMatches as _};

    fn read(arguments: &str) -> Result<String, String> {
        let command = Filter::augment_args(Command::new("observe").no_binary_name(true));
        let matches = command.try_get_matches_from(arguments.split_whitespace());
        let filter = matches.and_then(|matches| Filter::from_arg_matches(&matches));
        let request = filter.map_err(|error| error.to_string())?.request();
        Ok(words(&request))
    }

    #[test]
    fn not_is_about_the_filter_behind_it() {
        for (arguments, expected) in [
            ("", ""),
            ("--port 22", "port 22"),
            (
                "--not --port 22 --from 203.0.113.0/24",
                "not port 22, from 203.0.113.0/24",
            ),
            (
                "--port 22 --not --from-ip 203.0.113.9",
                "port 22, not from 203.0.113.9",
            ),
            (
                "--not --to-port ssh --not --reason rule,limit",
                "not reason rule,limit, not destination port 22",
            ),
            (
                "--verdict drop --verdict reject --src-port 1-9",
                "drop,reject, source port 1-9",
            ),
            (
                "--not -i wan0 --rule web --proto tcp",
                "rule web, tcp, not on wan0",
            ),
        ] {
            assert_eq!(read(arguments).as_deref(), Ok(expected), "{arguments}");
        }
        for (arguments, expected) in [
            ("--not", "stands before no filter"),
            ("--port 22 --not", "stands before no filter"),
            ("--not --not --port 22", "stands before no filter"),
            ("--reason frag-tny", "did you mean `frag-tiny`?"),
            ("--reason nonsense", "get reasons"),
            ("--port htps", "write a number (443)"),
            ("--protocol tpc", "write tcp"),
            ("--from 203.0.113.0/33", "203.0.113.0/33"),
            ("--verdict maybe", "possible values"),
        ] {
            let error = read(arguments).unwrap_err();
            assert!(error.contains(expected), "{arguments}: {error}");
        }
    }
}
