//! A server that says again what it hears, on TCP and UDP.

use std::io::{Read, Write};
use std::net::{TcpListener, UdpSocket};
use std::thread;

/// Bytes that are read at once; the lines of tests are shorter.
const LINE: usize = 64;

/// Sends back every line and every datagram, as long as the process lives. The sockets stay in the
/// namespace that they were opened in.
pub fn serve(listener: TcpListener, socket: UdpSocket) {
    thread::spawn(move || {
        // A client that is gone again is no error of the server.
        for mut stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut bytes = [0; LINE];
                while let Ok(length @ 1..) = stream.read(&mut bytes) {
                    if stream.write_all(&bytes[..length]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    thread::spawn(move || {
        let mut bytes = [0; LINE];
        while let Ok((length, from)) = socket.recv_from(&mut bytes) {
            let _ = socket.send_to(&bytes[..length], from);
        }
    });
}
