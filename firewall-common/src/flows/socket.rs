//! What the kernel's own sockets say of a tuple: the state of the socket that would get the packet.
//! The numbers are the kernel's (include/net/tcp_states.h).

/// No socket.
pub const NONE: u64 = 0;
/// A connection; of UDP, a socket that is connected to the packet's source.
pub const ESTABLISHED: u64 = 1;
/// A SYN has been sent, and nothing has come back.
const SYN_SENT: u64 = 2;
/// And it has met the SYN of the other side.
const SYN_MET: u64 = 3;
/// Both sides are done, and the kernel waits for what is late.
pub const TIME_WAIT: u64 = 6;
/// A socket that waits for connections, or an unconnected UDP socket.
pub const LISTENS: u64 = 10;
/// A handshake that waits for its last segment.
pub const HALF_OPEN: u64 = 12;

/// Whether a packet that does not open a connection belongs to a connection of that socket.
#[must_use]
#[inline(always)]
pub const fn is_connection(socket: u64) -> bool {
    socket != NONE && socket != LISTENS
}

/// Whether the other side of such a connection has shown that it gets what is sent to its address: by
/// the handshake.
#[must_use]
#[inline(always)]
pub const fn is_proven(socket: u64) -> bool {
    matches!(socket, ESTABLISHED | 4..=TIME_WAIT | 8 | 9 | 11)
}

/// Whether a SYN belongs to it: both sides open at once. Any other SYN opens a connection, which is for
/// the rules.
#[must_use]
#[inline(always)]
pub const fn takes_syn(socket: u64) -> bool {
    matches!(socket, SYN_SENT | SYN_MET)
}
