//! TCP, UDP, SCTP, ICMP and ICMPv6 headers (RFC 9293, RFC 768, RFC 9260, RFC 792, RFC 4443).

use super::{Packet, fragment, proto, rules_judge_malformed, unsound};
use crate::field::Field;
use crate::frame::{Frame, Header as _};
use crate::key::Family;
use crate::machine::Machine;
use crate::reason::Reason;

/// TCP flag bits.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u32 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u32 = 2;
    /// Reset the connection.
    pub const RST: u32 = 4;
    /// The acknowledgement field is valid.
    pub const ACK: u32 = 16;
}

/// Fills in the fields of the transport header.
#[inline(always)]
pub(super) fn parse<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
) -> Result<(), Reason> {
    let state = packet.key.field(Field::Fragment);
    if state == fragment::LATER {
        return Ok(());
    }
    let first_fragment = state == fragment::FIRST;
    let cut = if first_fragment {
        Reason::FRAG_TINY
    } else {
        Reason::TRUNCATED
    };
    let v6 = packet.key.family() == Family::V6;
    match packet.key.field(Field::Proto) {
        proto::TCP => tcp(machine, frame, packet, cut),
        proto::UDP => udp(machine, frame, packet, cut, first_fragment),
        proto::SCTP => sctp(machine, frame, packet, cut),
        proto::ICMP if !v6 => icmp(frame, packet, cut),
        proto::ICMPV6 if v6 => icmp(frame, packet, cut),
        _ => Ok(()),
    }
}

/// The header at the packet's transport offset, inside the IP packet.
#[inline(always)]
fn header<F: Frame, const N: usize>(
    frame: &F,
    packet: &Packet,
    cut: Reason,
) -> Result<F::Header<N>, Reason> {
    if packet.l4 + N as u32 > packet.end {
        return Err(cut);
    }
    frame.header::<N>(packet.l4).ok_or(cut)
}

/// As [`header`], of a protocol that begins with its ports: they are known of a header that is cut
/// behind them, too.
#[inline(always)]
fn header_of_ports<M: Machine, F: Frame, const N: usize>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    cut: Reason,
) -> Result<F::Header<N>, Reason> {
    let whole = header::<F, N>(frame, packet, cut);
    if whole.is_err()
        && rules_judge_malformed(machine)
        && let Ok(ports) = header::<F, 4>(frame, packet, cut)
    {
        set_ports(packet, ports.be16::<0>(), ports.be16::<2>());
    }
    whole
}

#[inline(always)]
fn set_ports(packet: &mut Packet, source: u32, destination: u32) {
    packet.key.fields[Field::SourcePort as usize] = source;
    packet.key.fields[Field::DestinationPort as usize] = destination;
}

#[inline(always)]
fn tcp<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    cut: Reason,
) -> Result<(), Reason> {
    let header = header_of_ports::<M, F, 20>(machine, frame, packet, cut)?;
    let (source, destination) = (header.be16::<0>(), header.be16::<2>());
    let flags = header.u8::<13>();
    set_ports(packet, source, destination);
    packet.key.fields[Field::TcpFlags as usize] = flags;
    let data_offset = (header.u8::<12>() >> 4) * 4;
    if data_offset < 20 {
        unsound(machine, packet, Reason::BAD_HEADER_LEN)?;
    }
    if packet.l4 + data_offset > packet.end {
        let reason = if cut.0 == Reason::FRAG_TINY.0 {
            cut
        } else {
            Reason::BAD_HEADER_LEN
        };
        unsound(machine, packet, reason)?;
    }
    if has_impossible_flags(flags) {
        unsound(machine, packet, Reason::TCP_FLAGS)?;
    }
    if source == 0 || destination == 0 {
        unsound(machine, packet, Reason::PORT_ZERO)?;
    }
    Ok(())
}

/// No flag at all; SYN with FIN or RST; FIN without ACK. Scanners send these, stacks do not.
#[inline(always)]
const fn has_impossible_flags(flags: u32) -> bool {
    let of = flags & (flag::FIN | flag::SYN | flag::RST | flag::ACK);
    of == 0
        || (of & flag::SYN != 0 && of & (flag::FIN | flag::RST) != 0)
        || (of & (flag::FIN | flag::ACK) == flag::FIN)
}

#[inline(always)]
fn udp<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    cut: Reason,
    first_fragment: bool,
) -> Result<(), Reason> {
    let header = header_of_ports::<M, F, 8>(machine, frame, packet, cut)?;
    let destination = header.be16::<2>();
    set_ports(packet, header.be16::<0>(), destination);
    let length = header.be16::<4>();
    if length < 8 || (!first_fragment && packet.l4 + length > packet.end) {
        unsound(machine, packet, Reason::BAD_LENGTH)?;
    }
    // RFC 768 lets the source port be 0: "no reply wanted".
    if destination == 0 {
        unsound(machine, packet, Reason::PORT_ZERO)?;
    }
    Ok(())
}

#[inline(always)]
fn sctp<M: Machine, F: Frame>(
    machine: &M,
    frame: &F,
    packet: &mut Packet,
    cut: Reason,
) -> Result<(), Reason> {
    let header = header_of_ports::<M, F, 12>(machine, frame, packet, cut)?;
    set_ports(packet, header.be16::<0>(), header.be16::<2>());
    Ok(())
}

#[inline(always)]
fn icmp<F: Frame>(frame: &F, packet: &mut Packet, cut: Reason) -> Result<(), Reason> {
    let header = header::<F, 8>(frame, packet, cut)?;
    packet.key.fields[Field::Icmp as usize] = header.be16::<0>();
    Ok(())
}
