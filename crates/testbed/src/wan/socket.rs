//! The few things that the standard library has no words for.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use rustix::net::sockopt;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};

/// Something that wakes a thread out of `poll`.
pub(super) fn bell() -> io::Result<OwnedFd> {
    Ok(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?)
}

/// Wakes who polls the bell.
pub(super) fn ring(bell: &OwnedFd) -> bool {
    rustix::io::write(bell, &1u64.to_ne_bytes()).is_ok()
}

/// Quiet again.
pub(super) fn hush(bell: &OwnedFd) {
    let _ = rustix::io::read(bell, &mut [0; 8]);
}

/// Begins to connect; the socket is writable when that has ended.
pub(super) fn dial(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(TcpStream::from(socket)),
        Err(why) => Err(why.into()),
    }
}

/// How a connect has ended.
pub(super) fn dialled(socket: &TcpStream) -> io::Result<()> {
    sockopt::socket_error(socket)??;
    Ok(())
}

/// Closes with a reset.
pub(super) fn reset(socket: TcpStream) {
    end_abruptly(&socket);
    drop(socket);
}

/// Makes the end of it, when it comes, a reset.
pub(super) fn end_abruptly(socket: &TcpStream) {
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// No waiting for more to send; the line has its own delay.
pub(super) fn prepare(socket: &TcpStream) {
    let _ = socket.set_nonblocking(true);
    let _ = socket.set_nodelay(true);
}
