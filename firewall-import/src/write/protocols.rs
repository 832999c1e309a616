//! Packets divided so that each part has only fields that all of its protocols have: what one rule
//! of a policy can say.

use super::super::packets::{Dim, Family, NONE, Packets, Values};
use super::super::values;
use firewall_policy::fields;
use firewall_policy::range::RangeSet;

/// Protocols with ports.
const PORTED: [(u128, u128); 3] = [(6, 6), (17, 17), (132, 132)];

/// Parts of which each has only fields that all of its protocols have. Packets of a protocol that
/// has a field always carry it: those that break off before are malformed, and later fragments do
/// not come to the rules.
pub(super) fn by_protocol(packets: &Packets) -> Vec<Packets> {
    let family = packets.family;
    let port_dims = [Dim::DestinationPort, Dim::SourcePort];
    let icmp = match family {
        Family::V4 => 1,
        Family::V6 => 58,
    };
    let mut parts = vec![packets.clone()];
    let mut divide = |dims: &[Dim], protos: &Values, real: &Values, none: u128| {
        if dims.iter().all(|&dim| packets.is_any(dim)) {
            return;
        }
        let mut divided = Vec::new();
        for part in &parts {
            if let Some(mut inside) = part.narrowed(Dim::Proto, protos) {
                let mut empty = false;
                for &dim in dims {
                    let kept = inside.get(dim).intersection(real);
                    empty |= kept.is_empty();
                    let whole = real.intersection(&kept.complement()).is_empty();
                    inside = inside.with(dim, if whole { dim.full(family) } else { kept });
                }
                if !empty {
                    divided.push(inside);
                }
            }
            if let Some(mut outside) = part.narrowed(Dim::Proto, &protos.complement())
                && dims.iter().all(|&dim| part.get(dim).contains(none))
            {
                for &dim in dims {
                    outside = outside.with(dim, dim.full(family));
                }
                divided.push(outside);
            }
        }
        parts = divided;
    };
    let ported = RangeSet::from_ranges(PORTED.to_vec());
    divide(&port_dims, &ported, &RangeSet::of(1, NONE - 1), NONE);
    let one = |proto| RangeSet::of(proto, proto);
    divide(&[Dim::Icmp], &one(icmp), &RangeSet::of(0, NONE - 1), NONE);
    divide(&[Dim::Flags], &one(6), &RangeSet::of(0, 255), 256);
    for row in fields::numbers().filter(|row| row.is_of_tcp()) {
        let dim = Dim::Number(row.field);
        divide(&[dim], &one(6), &dim.real(family), dim.last(family));
    }
    // Flags that are no single pair of masks.
    parts
        .into_iter()
        .flat_map(|part| {
            if part.is_any(Dim::Flags) {
                return vec![part];
            }
            let masks = values::flag_masks(part.get(Dim::Flags));
            let cut = masks.into_iter().map(|(set, clear)| {
                let fits = (0..256).filter(|value| value & set == set && value & clear == 0);
                part.with(
                    Dim::Flags,
                    RangeSet::from_ranges(fits.map(|value| (value, value)).collect()),
                )
            });
            cut.collect()
        })
        .collect()
}
