//! A WAN between two loopback addresses: a TCP forwarder with the delay, the rate and the faults of a long line.
//!
//! Whoever connects is the *client* (a site), where it forwards to is the *server* (the hub, a SuperLink). One thread
//! serves a line, so a line costs at most one core.
//!
//! What is like a real line: every byte is on its way for the lane's delay, and all connections of the line share the
//! lane's rate; what the rate cannot take waits in a queue as of a router, and beyond that the sender's own TCP waits.
//! A connect takes a round trip. A lost segment is seen as what an application sees of it: a pause of its connection.
//! Bytes that nobody takes are held, not swallowed, so a sender notices that nothing moves, as it would.
//!
//! What is not: no slow start, so a connection has the full rate at once; the kernel at either end acknowledges what
//! the line has taken in, so `TCP_USER_TIMEOUT` counts from the moment at which the line takes no more.

mod flow;
mod line;
mod socket;

#[cfg(test)]
mod tests;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Sender, SyncSender, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A direction of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the client to the server.
    Up,
    /// From the server to the client.
    Down,
}

/// An end of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Who connected.
    Client,
    /// Who was connected to.
    Server,
}

/// How one direction behaves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lane {
    /// How long a byte is on its way.
    pub delay: Duration,
    /// Bytes per second for all connections together; `None` is no limit.
    pub rate: Option<u64>,
    /// How long a byte may wait in the queue before the line; with `rate` only.
    pub queue: Duration,
    /// Up to so much is added to the delay of a piece, at random; the order of a connection's bytes is kept.
    pub jitter: Duration,
    /// How many losses there are per 10^6 bytes.
    pub loss_per_mb: f64,
    /// For how long a loss stops its connection.
    pub stall: Duration,
    /// The receiving end of each connection takes no more than so many bytes per second; `None` is no limit.
    pub slow_reader: Option<u64>,
}

impl Default for Lane {
    /// No delay, no limit, no fault.
    fn default() -> Self {
        Self {
            delay: Duration::ZERO,
            rate: None,
            queue: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss_per_mb: 0.0,
            stall: Duration::from_millis(200),
            slow_reader: None,
        }
    }
}

/// How a line behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Profile {
    /// From the client to the server.
    pub up: Lane,
    /// From the server to the client.
    pub down: Lane,
}

impl Profile {
    /// A line with this round trip time, half of it each way, and this rate in Mbit/s each way.
    #[must_use]
    pub fn new(rtt: Duration, mbit_per_second: u64) -> Self {
        let lane = Lane { delay: rtt / 2, rate: Some(mbit_per_second * 125_000), ..Lane::default() };
        Self { up: lane, down: lane }
    }

    /// The same with another setting for both directions.
    #[must_use]
    pub fn both(mut self, change: impl Fn(&mut Lane)) -> Self {
        change(&mut self.up);
        change(&mut self.down);
        self
    }
}

/// What a line has carried since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Bytes that have reached the server.
    pub up: u64,
    /// Bytes that have reached clients.
    pub down: u64,
    /// Connections of clients.
    pub connections: u64,
    /// Of them, those that are open.
    pub open: u64,
}

/// What a line is told while it runs.
#[derive(Debug)]
enum Order {
    Profile(Profile),
    Cut { reset: bool },
    Hold([bool; 2]),
    Refuse(bool),
    DropFlows,
    HalfOpen(End),
    Target(SocketAddr),
    Stop,
}

#[derive(Debug, Default)]
struct Counters {
    bytes: [AtomicU64; 2],
    connections: AtomicU64,
    open: AtomicU64,
}

/// An open line. Its faults work until they are taken back; it is closed on drop, with a reset to both ends of each
/// connection. All calls return when the line does what they say.
#[derive(Debug)]
pub struct Wan {
    address: SocketAddr,
    counters: Arc<Counters>,
    orders: Mutex<Sender<(Order, SyncSender<()>)>>,
    bell: Arc<OwnedFd>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Wan {
    /// Opens a line from `listen` (port 0 takes a free one) to `server`, which need not listen yet.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn open(listen: SocketAddr, server: SocketAddr, profile: Profile) -> std::io::Result<Self> {
        let listener = std::net::TcpListener::bind(listen)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let counters = Arc::<Counters>::default();
        let bell = Arc::new(socket::bell()?);
        let (orders, inbox) = std::sync::mpsc::channel();
        let line =
            line::Line::new(listener, server, profile, Arc::clone(&counters), inbox, Arc::clone(&bell));
        let thread = std::thread::Builder::new().name(format!("wan {address}")).spawn(move || line.run())?;
        Ok(Self { address, counters, orders: Mutex::new(orders), bell, thread: Some(thread) })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes delay, rate, jitter, loss and readers. What is on its way already keeps its time.
    pub fn set(&self, profile: Profile) {
        self.tell(Order::Profile(profile));
    }

    /// Forwards new connections to another server.
    pub fn set_server(&self, server: SocketAddr) {
        self.tell(Order::Target(server));
    }

    /// Ends all connections now, with a reset to both ends. New ones are fine.
    pub fn cut(&self) {
        self.tell(Order::Cut { reset: true });
    }

    /// Ends all connections now, with an orderly end to both. What is on its way is lost. New ones are fine.
    pub fn end_flows(&self) {
        self.tell(Order::Cut { reset: false });
    }

    /// Holds everything back, without a word to anybody, until [`Wan::heal`]. New connections hang.
    pub fn black_hole(&self) {
        self.tell(Order::Hold([true, true]));
    }

    /// Holds back what goes in one direction only. New connections hang.
    pub fn black_hole_one_way(&self, way: Way) {
        self.tell(Order::Hold([way == Way::Up, way == Way::Down]));
    }

    /// Ends a black hole: what was held goes on, with the delay that it still had before it.
    pub fn heal(&self) {
        self.tell(Order::Hold([false, false]));
    }

    /// New connections are reset at once, until taken back.
    pub fn refuse(&self, refuse: bool) {
        self.tell(Order::Refuse(refuse));
    }

    /// The connections that are open now are silently dead from here on, as after a lost NAT mapping. New ones are fine.
    pub fn drop_flows(&self) {
        self.tell(Order::DropFlows);
    }

    /// One end of every connection gets a reset, the other hears nothing any more. New ones are fine.
    pub fn half_open(&self, reset: End) {
        self.tell(Order::HalfOpen(reset));
    }

    /// What the line has carried.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let of = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &self.counters;
        Counts {
            up: of(&counters.bytes[0]),
            down: of(&counters.bytes[1]),
            connections: of(&counters.connections),
            open: of(&counters.open),
        }
    }

    /// Waits until the line has carried so many more bytes in a direction; whether it has within `patience`.
    #[must_use]
    pub fn wait_for(&self, way: Way, bytes: u64, patience: Duration) -> bool {
        let counter = &self.counters.bytes[way as usize];
        let (aim, began) = (counter.load(Ordering::Relaxed) + bytes, Instant::now());
        while counter.load(Ordering::Relaxed) < aim {
            if began.elapsed() > patience {
                return false;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    fn tell(&self, order: Order) {
        let (done, wait) = sync_channel(1);
        let told = self.orders.lock().is_ok_and(|orders| orders.send((order, done)).is_ok());
        if told && socket::ring(&self.bell) {
            // An error is the end of the line's thread, which is what `Stop` waits for.
            let _ = wait.recv();
        }
    }
}

impl Drop for Wan {
    fn drop(&mut self) {
        self.tell(Order::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
