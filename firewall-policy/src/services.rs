//! What services are called: the well-known ports, the applications that ufw's users name, and those that
//! an administrator adds in files (`/etc/firewall/services.d`).
//!
//! A catalogue is for the verbs that make rules. A policy names the built-in services only, so that it
//! means the same on every host. May not open files: their text is handed in.

use crate::ast::yaml;
use crate::diag::{Diagnostics, Severity, Sink, suggest};
use crate::files::NoFiles;
use crate::{validate, well_known_ports};

pub use crate::validate::{Service, ServicePorts};

/// All services of a host.
#[derive(Clone, Debug)]
pub struct Catalogue {
    services: Vec<Service>,
}

const TCP: &[&str] = &["tcp"];
const UDP: &[&str] = &["udp"];
const BOTH: &[&str] = &["tcp", "udp"];

/// Protocols, and a list of ports.
type Ports = (&'static [&'static str], &'static str);

/// The applications of ufw's profiles, by their names there.
const APPLICATIONS: &[(&str, &[Ports])] = &[
    ("OpenSSH", &[(TCP, "22")]),
    ("WWW", &[(TCP, "80")]),
    ("WWW Secure", &[(TCP, "443")]),
    ("WWW Full", &[(TCP, "80,443")]),
    ("Nginx HTTP", &[(TCP, "80")]),
    ("Nginx HTTPS", &[(TCP, "443")]),
    ("Nginx Full", &[(TCP, "80,443")]),
    ("Nginx QUIC", &[(UDP, "443")]),
    ("Apache", &[(TCP, "80")]),
    ("Apache Secure", &[(TCP, "443")]),
    ("Apache Full", &[(TCP, "80,443")]),
    ("Lighttpd HTTP", &[(TCP, "80")]),
    ("Lighttpd HTTPS", &[(TCP, "443")]),
    ("Lighttpd Full", &[(TCP, "80,443")]),
    ("DNS", &[(BOTH, "53")]),
    ("Bind9", &[(BOTH, "53")]),
    ("Samba", &[(UDP, "137,138"), (TCP, "139,445")]),
    ("CIFS", &[(UDP, "137,138"), (TCP, "139,445")]),
    ("NFS", &[(BOTH, "111,2049")]),
    ("CUPS", &[(TCP, "631")]),
    ("Postfix", &[(TCP, "25")]),
    ("Postfix SMTPS", &[(TCP, "465")]),
    ("Postfix Submission", &[(TCP, "587")]),
    ("SMTP", &[(TCP, "25")]),
    ("Mail submission", &[(TCP, "587")]),
    ("Dovecot IMAP", &[(TCP, "143")]),
    ("Dovecot Secure IMAP", &[(TCP, "993")]),
    ("Dovecot POP3", &[(TCP, "110")]),
    ("Dovecot Secure POP3", &[(TCP, "995")]),
    ("IMAP", &[(TCP, "143")]),
    ("IMAPS", &[(TCP, "993")]),
    ("POP3", &[(TCP, "110")]),
    ("POP3S", &[(TCP, "995")]),
    ("LDAP", &[(TCP, "389")]),
    ("LDAPS", &[(TCP, "636")]),
    ("MSN", &[(TCP, "1863")]),
    ("VNC", &[(TCP, "5900")]),
    ("XMPP", &[(TCP, "5222,5269")]),
    ("Transmission", &[(BOTH, "51413")]),
    ("syncthing", &[(TCP, "22000"), (UDP, "22000,21027")]),
    ("Squid", &[(TCP, "3128")]),
];

impl Catalogue {
    /// What the program brings.
    #[must_use]
    pub fn builtin() -> Self {
        let well_known = well_known_ports::names().filter_map(|name| {
            let (_, protocols) = well_known_ports::find(name)?;
            let protocols = protocols.iter().map(|&proto| match proto {
                6 => "tcp",
                17 => "udp",
                _ => "sctp",
            });
            let (port, _) = well_known_ports::find(name)?;
            let ports = ServicePorts {
                protocols: protocols.collect(),
                ports: port.to_string(),
            };
            Some(Service {
                name: name.to_owned(),
                ports: vec![ports],
                comment: String::new(),
                is_builtin: true,
                file: String::new(),
            })
        });
        let applications = APPLICATIONS.iter().map(|(name, ports)| Service {
            name: (*name).to_owned(),
            ports: ports
                .iter()
                .map(|(protocols, ports)| ServicePorts {
                    protocols: protocols.to_vec(),
                    ports: (*ports).to_owned(),
                })
                .collect(),
            comment: "application of ufw".to_owned(),
            is_builtin: false,
            file: String::new(),
        });
        Self {
            services: well_known.chain(applications).collect(),
        }
    }

    /// Adds the services of a file. One that is there already is replaced.
    ///
    /// # Errors
    /// Everything that is wrong with the text. `name` is the file's, for messages.
    pub fn add(&mut self, name: &str, text: &str) -> Result<(), Diagnostics> {
        let mut sink = Sink::new(name, text);
        let Some(root) = yaml::parse(text, 0, &mut sink) else {
            return Err(sink.finish(Severity::Error));
        };
        let (found, sink) = validate::services(&root, sink, &NoFiles);
        if sink.has_errors() {
            return Err(sink.finish(Severity::Error));
        }
        for mut service in found {
            service.file = name.to_owned();
            self.services
                .retain(|other| !other.name.eq_ignore_ascii_case(&service.name));
            self.services.push(service);
        }
        Ok(())
    }

    /// All of them.
    pub fn all(&self) -> impl Iterator<Item = &Service> {
        self.services.iter()
    }

    /// The service of a name, as it is written or in another case.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Service> {
        let exact = self.services.iter().find(|service| service.name == name);
        exact.or_else(|| {
            let mut services = self.services.iter();
            services.find(|service| service.name.eq_ignore_ascii_case(name))
        })
    }

    /// The name that may be meant.
    #[must_use]
    pub fn nearest(&self, name: &str) -> Option<&str> {
        suggest::nearest(
            name,
            self.services.iter().map(|service| service.name.as_str()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Catalogue;

    #[test]
    fn a_file_adds_services_and_replaces_them() {
        let mut catalogue = Catalogue::builtin();
        let text = "version: 1\nservices:\n  game: {ports: [27015/udp, 27015-27030/tcp], comment: Steam}\n  \
                    ssh: {ports: 2222/tcp}\n";
        catalogue
            .add("10-own.yaml", text)
            .unwrap_or_else(|e| panic!("{e}"));
        let game = catalogue.find("game").expect("added");
        let ports: Vec<String> = game.ports.iter().map(ToString::to_string).collect();
        assert_eq!(ports, ["27015/udp", "27015-27030/tcp"]);
        assert_eq!((&*game.comment, &*game.file), ("Steam", "10-own.yaml"));
        let ssh = catalogue.find("SSH").expect("replaced");
        assert_eq!(
            (ssh.ports[0].ports.as_str(), ssh.is_builtin),
            ("2222", false)
        );
        assert_eq!(
            catalogue.find("nginx full").expect("ufw's").ports[0].ports,
            "80,443"
        );
        assert_eq!(catalogue.nearest("opensh"), Some("OpenSSH"));
    }

    #[test]
    fn what_is_no_service_is_named_with_its_place() {
        let mut screens = String::new();
        for text in [
            "services: {a: {ports: 80/tcp}}\n",
            "version: 1\nservices: [a]\n",
            "version: 1\nservices: {A B: {ports: 80/tcp}}\n",
            "version: 1\nservices: {a: {ports: 80}}\n",
            "version: 1\nservices: {a: {ports: 80/icmp}}\n",
            "version: 1\nservices: {a: {ports: [70000/tcp, 9-8/udp, x/tcp]}}\n",
            "version: 1\nservices: {a: {port: 80/tcp}}\n",
            "version: 1\nservices: {a: {ports: []}}\n",
        ] {
            let errors = Catalogue::builtin().add("own.yaml", text).expect_err(text);
            screens.push_str(&errors.render(false));
            screens.push('\n');
        }
        insta::assert_snapshot!(screens);
    }
}
