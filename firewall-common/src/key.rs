//! What the parser finds in a packet and the classifier looks up.

use crate::field::state_field::NEW;
use crate::field::{Field, field_table};

/// IP family of a packet.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(u8)]
pub enum Family {
    /// IPv4.
    V4 = 4,
    /// IPv6.
    V6 = 6,
}

/// In the place of [`PacketKey::is_v6`], for limits and logs: a frame that is not IP.
pub const FRAME: u8 = 2;

/// One parsed packet: addresses as numbers in host byte order, small fields as [`Field`] values.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct PacketKey {
    /// Upper 64 bits of the IPv6 source address; 0 for IPv4.
    pub src_hi: u64,
    /// Lower 64 bits of the IPv6 source address, or the IPv4 source address.
    pub src_lo: u64,
    /// Upper 64 bits of the IPv6 destination address; 0 for IPv4.
    pub dst_hi: u64,
    /// Lower 64 bits of the IPv6 destination address, or the IPv4 destination address.
    pub dst_lo: u64,
    /// Small fields by [`Field`] index.
    pub fields: [u32; Field::COUNT],
    /// 1 for IPv6, 0 for IPv4. (A number, so that the struct has no invalid bit pattern.)
    /// [`FRAME`] for what limits and logs are told of a frame that is not IP.
    pub is_v6: u8,
    /// Counter slot of the interface that the packet came in on, where a rate limit looks at it;
    /// otherwise 0.
    pub interface: u8,
    /// The conditions of the policy on payload and options that hold of it, a bit for each: see
    /// [`crate::content`].
    pub content: u16,
}

impl PacketKey {
    /// A key with no addresses, every field set to "not there", of no connection, in no set.
    #[must_use]
    #[inline(always)]
    pub const fn empty(family: Family) -> Self {
        /// Made at compile time: the kernel program has no loop for it.
        const NONE: [u32; Field::COUNT] = {
            let mut fields = [0; Field::COUNT];
            let mut i = 0;
            while i < Field::COUNT {
                fields[i] = Field::ALL[i].none();
                i += 1;
            }
            fields[Field::State as usize] = NEW;
            fields[Field::SourceSets as usize] = 0;
            fields[Field::DestinationSets as usize] = 0;
            fields
        };
        let is_v6 = matches!(family, Family::V6) as u8;
        Self {
            src_hi: 0,
            src_lo: 0,
            dst_hi: 0,
            dst_lo: 0,
            fields: NONE,
            is_v6,
            interface: 0,
            content: 0,
        }
    }

    /// The packet's IP family.
    #[must_use]
    #[inline(always)]
    pub const fn family(&self) -> Family {
        if self.is_v6 != 0 {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// The value of one small field.
    #[must_use]
    #[inline(always)]
    pub const fn field(&self, field: Field) -> u32 {
        self.fields[field as usize]
    }

    /// Source address as a number: 32 bits for IPv4, 128 bits for IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn src(&self) -> u128 {
        ((self.src_hi as u128) << 64) | self.src_lo as u128
    }

    /// Destination address as a number: 32 bits for IPv4, 128 bits for IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn dst(&self) -> u128 {
        ((self.dst_hi as u128) << 64) | self.dst_lo as u128
    }
}

/// Writes the loop over the fields out: the kernel program has none.
macro_rules! clear_unpredicted {
    ($($(#[$doc:meta])* $field:ident $row:tt;)*) => {
        impl PacketKey {
            /// Makes what only an answer itself will say as if it were not there.
            #[inline(always)]
            pub(crate) const fn clear_unpredicted(&mut self) {
                $(if !Field::$field.is_predicted() {
                    self.fields[Field::$field as usize] = Field::$field.none();
                })*
            }
        }
    };
}

field_table!(clear_unpredicted);

/// Which flow a packet belongs to, from the side of this host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C)]
pub struct Tuple {
    /// Address of the other side.
    pub remote: [u64; 2],
    /// Address of this side.
    pub local: [u64; 2],
    /// Ports, protocol and family: see [`Tuple::identity_of`].
    pub identity: u64,
}

impl Tuple {
    /// Ports of both sides, protocol number and family in one word. An echo has its identifier as
    /// the local port, and no remote one.
    #[must_use]
    #[inline(always)]
    pub const fn identity_of(local: u32, remote: u32, proto: u32, is_v6: bool) -> u64 {
        local as u64 & 0xffff
            | (remote as u64 & 0xffff) << 16
            | (proto as u64 & 0xff) << 32
            | (is_v6 as u64) << 40
    }

    /// The local port in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn local_port_of(identity: u64) -> u16 {
        identity as u16
    }

    /// The remote port in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn remote_port_of(identity: u64) -> u16 {
        (identity >> 16) as u16
    }

    /// The protocol number in an identity.
    #[must_use]
    #[inline(always)]
    pub const fn proto_of(identity: u64) -> u32 {
        (identity >> 32) as u32 & 0xff
    }

    /// Whether an identity is of IPv6.
    #[must_use]
    #[inline(always)]
    pub const fn is_v6_of(identity: u64) -> bool {
        identity >> 40 & 1 != 0
    }

    /// The flow that the same connection makes where a router sends its answers out: sides exchanged.
    #[inline(always)]
    pub(crate) const fn counterpart(&self) -> Self {
        const PORTS: u64 = 0xffff_ffff;
        Self {
            remote: self.local,
            local: self.remote,
            identity: self.identity & !PORTS | (self.identity as u32).rotate_left(16) as u64,
        }
    }

    /// The flow of a packet that goes out.
    #[inline(always)]
    pub(crate) const fn outgoing(key: &PacketKey, local: u32, remote: u32) -> Self {
        Self {
            remote: [key.dst_hi, key.dst_lo],
            local: [key.src_hi, key.src_lo],
            identity: Self::identity_of(local, remote, key.field(Field::Proto), key.is_v6 != 0),
        }
    }

    /// The flow of a packet that comes in.
    #[inline(always)]
    pub(crate) const fn incoming(key: &PacketKey, local: u32, remote: u32) -> Self {
        Self {
            remote: [key.src_hi, key.src_lo],
            local: [key.dst_hi, key.dst_lo],
            identity: Self::identity_of(local, remote, key.field(Field::Proto), key.is_v6 != 0),
        }
    }
}
