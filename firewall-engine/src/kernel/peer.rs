//! The process at the other end of a socket, held so that nobody else can be taken for it: its number may be
//! another process's a moment later. By getsockopt(2) SO_PEERPIDFD (Linux 6.5).
#![expect(unsafe_code, reason = "getsockopt(2)")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};

/// A descriptor of the process that has connected a unix socket.
///
/// # Errors
/// [`io::ErrorKind::Unsupported`]: the kernel has no such question. Any other: the process has ended.
pub fn hold(socket: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let mut held: libc::c_int = -1;
    let mut length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the kernel writes one int, and its length, which both are as long as it is told.
    let answer = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERPIDFD,
            (&raw mut held).cast(),
            &raw mut length,
        )
    };
    if answer < 0 {
        let error = io::Error::last_os_error();
        return Err(match error.raw_os_error() {
            Some(libc::ENOPROTOOPT) => io::ErrorKind::Unsupported.into(),
            _ => error,
        });
    }
    // SAFETY: the kernel has made this descriptor for this process, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(held) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::net::UnixStream;

    #[test]
    fn the_peer_of_a_socket_is_held() {
        let (one, _other) = UnixStream::pair().unwrap();
        match hold(one.as_fd()) {
            Ok(held) => {
                let path = format!("/proc/self/fdinfo/{}", held.as_raw_fd());
                let text = std::fs::read_to_string(path).unwrap();
                assert!(
                    text.contains(&format!("Pid:\t{}", std::process::id())),
                    "{text}"
                );
            }
            // Before Linux 6.5.
            Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENOPROTOOPT)),
        }
    }
}
