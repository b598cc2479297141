//! Socket options, and what tells a bulk connection from others.

use std::time::Duration;

use tokio::net::TcpStream;

/// The application protocol that a spoke negotiates for a bulk connection: HTTP/2, but without PINGs and with larger
/// windows, which the hub has to know before the first request. Where TLS is off there is no negotiation, and bulk is
/// treated as control is.
pub(crate) const BULK_ALPN: &[u8] = b"onefed-bulk/2";

/// Unsent bytes that the kernel may hold: what is more urgent does not wait behind more.
const UNSENT: u32 = 128 << 10;

/// Sets the options of a connection between our own ends. The kernel gives up when data stays unacknowledged for
/// `patience`.
pub(crate) fn tune(tcp: &TcpStream, patience: Duration) {
    // None of these is essential; a socket that refuses them is about to fail anyway.
    let _ = tcp.set_nodelay(true);
    let millis = u32::try_from(patience.as_millis()).unwrap_or(u32::MAX);
    let _ = rustix::net::sockopt::set_tcp_user_timeout(tcp, millis);
    let _ = socket2::SockRef::from(tcp).set_tcp_notsent_lowat(UNSENT);
}
