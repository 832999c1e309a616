//! The hostile and essential packets of [`firewall_policy::evasion`] under two policies, with their
//! ends for these two by a table of its own: what the product expects of a frame under a policy is
//! checked against it.

mod sequences;

pub use sequences::{POLICY_FOLLOW, Sequence, sequences};

use firewall_common::field::Field;
use firewall_common::parse::fragment;
use firewall_common::reason::Reason;
use firewall_common::verdict::Verdict;
use firewall_policy::evasion::{self, Kind, Meaning, frames::Frame};
pub use firewall_policy::evasion::{End, base4, base6};

/// Drops by default; lets TCP port 80 in.
pub const POLICY_A: &str = "\
version: 1
default: {in: drop}
rules:
  - {name: web, proto: tcp, port: 80, action: pass}
";

/// Passes by default; keeps TCP port 22 out.
pub const POLICY_B: &str = "\
version: 1
default: {in: pass}
rules:
  - {name: ssh, proto: tcp, port: 22, action: drop}
";

/// A frame, and its end under both policies.
#[derive(Clone, Debug)]
pub struct Row {
    /// Kind of evasion.
    pub id: &'static str,
    /// What is odd about the frame.
    pub what: String,
    /// The frame.
    pub frame: Frame,
    /// What it is.
    pub meaning: Meaning,
    /// Under [`POLICY_A`].
    pub under_a: End,
    /// Under [`POLICY_B`].
    pub under_b: End,
}

const fn pass(reason: Reason) -> End {
    (Verdict::PASS, reason)
}

const fn drop(reason: Reason) -> End {
    (Verdict::DROP, reason)
}

/// Every frame of the table.
#[must_use]
pub fn rows() -> Vec<Row> {
    let with_ends = |row: evasion::Row| {
        let [under_a, under_b] = ends(&row.meaning);
        Row {
            id: row.id,
            what: row.what,
            frame: row.frame,
            meaning: row.meaning,
            under_a,
            under_b,
        }
    };
    evasion::rows().into_iter().map(with_ends).collect()
}

/// What becomes of a frame under A and B, whose knobs are the defaults of `drop` and `pass`: four
/// VLAN tags, eight extension headers; options and fragments as by default.
fn ends(meaning: &Meaning) -> [End; 2] {
    if meaning.tags > 4 {
        return [drop(Reason::VLAN_DEPTH); 2];
    }
    if meaning.extensions > 8 {
        return [drop(Reason::EXT_CHAIN); 2];
    }
    let (key, group) = match &meaning.kind {
        Kind::Anomaly(reason, _) => return [drop(*reason); 2],
        Kind::NonIp(_) => return [drop(Reason::NON_IP), pass(Reason::NON_IP)],
        Kind::Link(_) => return [pass(Reason::LINK), pass(Reason::NON_IP)],
        Kind::Arp => return [pass(Reason::ARP), pass(Reason::NON_IP)],
        Kind::Packet { key, essential, .. } => (key, *essential),
    };
    let tcp = key.field(Field::Proto) == 6;
    let [under_a, under_b] = match (group, key.field(Field::DestinationPort)) {
        // Policy A passes it by name; policy B has no need to.
        (Some(group), _) => [pass(group), pass(Reason::NO_MATCH)],
        (None, 22) if tcp => [drop(Reason::NO_MATCH), drop(Reason::RULE)],
        (None, 80) if tcp => [pass(Reason::RULE), pass(Reason::NO_MATCH)],
        (None, _) => [drop(Reason::NO_MATCH), pass(Reason::NO_MATCH)],
    };
    match key.field(Field::Fragment) {
        fragment::WHOLE if meaning.options => [drop(Reason::IP_OPTIONS), under_b],
        fragment::WHOLE => [under_a, under_b],
        fragment::FIRST => [drop(Reason::FRAGMENT), under_b],
        _ => [drop(Reason::FRAGMENT), pass(Reason::FRAGMENT)],
    }
}
