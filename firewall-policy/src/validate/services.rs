//! Files of services: `services: {game: {ports: [27015/udp]}}`.

use super::foreign::port_and_protocol;
use super::number::{self, Domain, Names};
use super::set::Sets;
use super::shape::{self, Cx, Keys, Table, items, scalar, text, wrong_kind};
use super::version;
use crate::ast::{Node, Value};
use crate::diag::{Sink, codes, show};
use crate::files::Files;

/// A service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Service {
    /// Its name.
    pub name: String,
    /// Where it listens.
    pub ports: Vec<ServicePorts>,
    /// What it is; empty if nobody said.
    pub comment: String,
    /// Whether policies know the name, too.
    pub is_builtin: bool,
    /// The file that adds it; empty of what the program brings.
    pub file: String,
}

/// Ports of some protocols.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ServicePorts {
    /// `tcp`, `udp`, `sctp`.
    pub protocols: Vec<&'static str>,
    /// As a rule writes them, with commas between several: `80,443`, `27015-27030`.
    pub ports: String,
}

impl std::fmt::Display for ServicePorts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.ports, self.protocols.join(","))
    }
}

const KEYS: Keys = Keys {
    of: "a file of services",
    known: &["version", "services"],
    reserved: &[],
};

const SERVICE: Keys = Keys {
    of: "a service",
    known: &["ports", "comment"],
    reserved: &[],
};

const EXAMPLE: &str = "a port with its protocol: 8080/tcp, 27015-27030/udp";

/// The services of a file. They count only if the sink has no errors.
pub(crate) fn read<'a>(
    root: &Node<'a>,
    sink: Sink<'a>,
    files: &'a dyn Files,
) -> (Vec<Service>, Sink<'a>) {
    let mut cx = Cx::new(sink, files);
    let found = all(&mut cx, root).unwrap_or_default();
    (found, cx.sink)
}

fn all(cx: &mut Cx<'_>, root: &Node<'_>) -> Option<Vec<Service>> {
    let table = Table::read(cx, root, &KEYS)?;
    version(cx, &table);
    let node = table.require(cx, "services", "`services: {game: {ports: 27015/udp}}`")?;
    let Value::Map(map) = &node.value else {
        wrong_kind(cx, node, "`services` is a mapping of names to services")
            .help("write `services: {game: {ports: 27015/udp}}`");
        return None;
    };
    let mut found = Vec::new();
    for (key, node) in map {
        let name = shape::name(cx, key.span, "a service", &key.text);
        let Some(table) = Table::read(cx, node, &SERVICE) else {
            continue;
        };
        let comment = table
            .get("comment")
            .and_then(|node| text(cx, node, "comment"));
        let ports = table
            .require(cx, "ports", "`ports: 8080/tcp`")
            .and_then(|node| ports(cx, node));
        if let (Some(name), Some(ports)) = (name, ports) {
            found.push(Service {
                name: name.to_owned(),
                ports,
                comment: comment.unwrap_or_default().to_owned(),
                is_builtin: false,
                file: String::new(),
            });
        }
    }
    Some(found)
}

fn ports(cx: &mut Cx<'_>, node: &Node<'_>) -> Option<Vec<ServicePorts>> {
    let domain = Domain {
        key: "ports",
        first: 1,
        last: 65_535,
        example: EXAMPLE,
        names: Names::Services(None),
    };
    let mut sound = true;
    let mut found = Vec::new();
    for item in items(cx, node, "ports")? {
        let Some(text) = scalar(cx, item, &format!("`ports` is {EXAMPLE}"), EXAMPLE) else {
            sound = false;
            continue;
        };
        let Some((port, proto)) = port_and_protocol(text) else {
            cx.sink
                .error(
                    &codes::UNKNOWN_VALUE,
                    item.span,
                    format!("`{}` is not a port with its protocol", show(text)),
                )
                .help("write 8080/tcp or 27015-27030/udp; the protocols are tcp, udp and sctp");
            sound = false;
            continue;
        };
        match number::element(cx, item.span, port, &domain, &mut Sets::default()) {
            Some(_) => found.push(ServicePorts {
                protocols: vec![proto],
                ports: port.to_owned(),
            }),
            None => sound = false,
        }
    }
    sound.then_some(found)
}
