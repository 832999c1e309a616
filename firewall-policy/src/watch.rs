//! A live filter ([`firewall_common::watch`]) as data, and as the words that programs compare with.
//!
//! Knows numbers only: which counter slots a rule or an interface has is the caller's to say. Invariant: a
//! frame without addresses of IP fits no filter that names some, negated or not; a packet without ports
//! fits those that negate ports.

use firewall_common::live::Prefix;
use firewall_common::pipeline::NO_RULE;
use firewall_common::watch::{ALL, Form, at, kinds, range};

/// How many words a filter has, from the first word of its slot on. The first is none of them.
pub const WORDS: usize = at::INTERFACE as usize + 1;

/// Something that is wanted, or is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Wanted<T> {
    /// What.
    pub what: T,
    /// Whether everything else is wanted.
    pub not: bool,
}

impl<T> Wanted<T> {
    /// The same, of another form.
    pub fn map<U>(self, form: impl FnOnce(T) -> U) -> Wanted<U> {
        Wanted {
            what: form(self.what),
            not: self.not,
        }
    }
}

/// What is to be seen: what fits all that is named. Ranges include both ends.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Filter {
    /// Which reasons, a bit each: of what passes, and of what does not.
    pub reasons: [u64; 2],
    /// The network of the source.
    pub from: Option<Wanted<Prefix>>,
    /// Of the destination.
    pub to: Option<Wanted<Prefix>>,
    /// A port on either side.
    pub port: Option<Wanted<(u16, u16)>>,
    /// The source port.
    pub source_port: Option<Wanted<(u16, u16)>>,
    /// The destination port.
    pub destination_port: Option<Wanted<(u16, u16)>>,
    /// The protocol number, or an EtherType and [`firewall_common::watch::ETHERTYPE`].
    pub protocol: Option<Wanted<u32>>,
    /// Counter slots of a rule and of what is over its limit.
    pub rule: Option<Wanted<(u32, Option<u32>)>>,
    /// The counter slot of the interface.
    pub interface: Option<Wanted<u32>>,
}

impl Filter {
    /// Everything.
    pub const ALL: Self = Self {
        reasons: [u64::MAX; 2],
        from: None,
        to: None,
        port: None,
        source_port: None,
        destination_port: None,
        protocol: None,
        rule: None,
        interface: None,
    };

    /// In the place of a counter slot: that of no rule and no interface.
    pub const NOWHERE: u32 = NO_RULE - 1;

    /// The words of a slot.
    #[must_use]
    pub fn words(&self) -> [u64; WORDS] {
        let mut words = [0; WORDS];
        let mut form = 0;
        words[at::PASSED as usize] = self.reasons[0];
        words[at::DROPPED as usize] = self.reasons[1];
        for (wanted, at, bit) in [
            (&self.from, at::SRC, Form::SRC),
            (&self.to, at::DST, Form::DST),
        ] {
            let (prefix, kinds) = addresses(wanted.as_ref());
            words[at as usize..][..4].copy_from_slice(&prefix);
            form |= kinds << bit;
        }
        let ports = |wanted: &Option<Wanted<(u16, u16)>>| {
            wanted.map(|ports| ports.map(|(first, last)| range(first.into(), last.into())))
        };
        let one = |number: u32| range(number, number);
        let (rule, over) = match self.rule {
            Some(rule) => {
                let over = rule.what.1.unwrap_or(rule.what.0);
                (Some(rule.map(|(slot, _)| one(slot))), one(over))
            }
            None => (None, ALL),
        };
        let (interface, protocol) = (
            self.interface.map(|wanted| wanted.map(one)),
            self.protocol.map(|wanted| wanted.map(one)),
        );
        for (at, wanted, not) in [
            (at::PORT, ports(&self.port), Form::NOT_PORT),
            (
                at::SOURCE_PORT,
                ports(&self.source_port),
                Form::NOT_SOURCE_PORT,
            ),
            (
                at::DESTINATION_PORT,
                ports(&self.destination_port),
                Form::NOT_DESTINATION_PORT,
            ),
            (at::PROTOCOL, protocol, Form::NOT_PROTOCOL),
            (at::RULE, rule, Form::NOT_RULE),
            (at::INTERFACE, interface, Form::NOT_INTERFACE),
        ] {
            words[at as usize] = wanted.map_or(ALL, |wanted| wanted.what);
            form |= u64::from(wanted.is_some_and(|wanted| wanted.not)) << not;
        }
        words[at::OVER as usize] = over;
        words[at::FORM as usize] = form;
        words
    }
}

/// The words of a prefix and its mask, and which kinds of frames are wanted inside and outside of it.
fn addresses(wanted: Option<&Wanted<Prefix>>) -> ([u64; 4], u64) {
    let Some(Wanted { what: prefix, not }) = wanted else {
        return ([0; 4], kinds::ANY);
    };
    let (own, other) = match prefix.is_v6 {
        0 => (kinds::V4, kinds::V6),
        _ => (kinds::V6, kinds::V4),
    };
    // What is of the other family lies in no such prefix, whatever its bits are.
    let kinds = match not {
        false => own,
        true => other | (own | other) << Form::OUTSIDE,
    };
    let bits = |length: u64| match length {
        0 => 0,
        length => u64::MAX << (64 - length.min(64)),
    };
    let mask = [bits(prefix.length), bits(prefix.length.saturating_sub(64))];
    let words = match prefix.is_v6 {
        0 => [0, prefix.hi >> 32, 0, mask[0] >> 32],
        _ => [prefix.hi, prefix.lo, mask[0], mask[1]],
    };
    (words, kinds)
}
