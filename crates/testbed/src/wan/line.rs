//! The thread of a line: one `poll` for all its connections.

use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, SyncSender};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::flow::{Fate, Half, Shared};
use super::{Counters, End, Order, Profile, socket};

/// Without anything to do the line looks around this often all the same.
const IDLE: Duration = Duration::from_secs(1);

/// Where a connection's server side is.
enum Server {
    /// The client's first packet is on its way until then.
    Far(Instant),
    Dialling(TcpStream),
    There(TcpStream),
}

struct Flow {
    client: TcpStream,
    server: Server,
    /// Up and down.
    halves: [Half; 2],
    over: bool,
}

/// What of a flow is polled for, in this order: client, then server.
#[derive(Clone, Copy)]
struct Watch {
    flow: usize,
    end: End,
}

pub(super) struct Line {
    listener: TcpListener,
    target: SocketAddr,
    counters: Arc<Counters>,
    inbox: Receiver<(Order, SyncSender<()>)>,
    bell: Arc<OwnedFd>,
    shared: [Shared; 2],
    flows: Vec<Flow>,
    /// Ends of dead flows that hear nothing and must stay open.
    silent: Vec<TcpStream>,
    refuse: bool,
    stop: bool,
}

impl Line {
    pub(super) fn new(
        listener: TcpListener,
        target: SocketAddr,
        profile: Profile,
        counters: Arc<Counters>,
        inbox: Receiver<(Order, SyncSender<()>)>,
        bell: Arc<OwnedFd>,
    ) -> Self {
        let now = Instant::now();
        let shared = [Shared::new(profile.up, now, 1), Shared::new(profile.down, now, 2)];
        let (flows, silent) = (Vec::new(), Vec::new());
        Self { listener, target, counters, inbox, bell, shared, flows, silent, refuse: false, stop: false }
    }

    pub(super) fn run(mut self) {
        while !self.stop {
            self.wait();
            self.obey();
            let now = Instant::now();
            self.accept(now);
            for flow in &mut self.flows {
                flow.step(now, self.target, &mut self.shared);
            }
            self.flows.retain(|flow| !flow.over);
            self.count();
        }
        self.cut(true);
    }

    /// Sleeps until something is due or ready, and notes what is ready.
    fn wait(&mut self) {
        let now = Instant::now();
        let mut until = now + IDLE;
        let (mut fds, mut watches) = (Vec::with_capacity(2 * self.flows.len() + 2), Vec::new());
        fds.push(PollFd::new(&*self.bell, PollFlags::IN));
        if !self.held() {
            fds.push(PollFd::new(&self.listener, PollFlags::IN));
        }
        let before = fds.len();
        for (index, flow) in self.flows.iter().enumerate() {
            until = flow.wake(&self.shared, now).map_or(until, |at| until.min(at));
            let (client, server) = flow.interest(&self.shared, now);
            if !client.is_empty() {
                fds.push(PollFd::new(&flow.client, client));
                watches.push(Watch { flow: index, end: End::Client });
            }
            if let (false, Server::Dialling(stream) | Server::There(stream)) =
                (server.is_empty(), &flow.server)
            {
                fds.push(PollFd::from_borrowed_fd(stream.as_fd(), server));
                watches.push(Watch { flow: index, end: End::Server });
            }
        }
        let left = until.saturating_duration_since(now);
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
        // An interrupted poll has nothing ready.
        let ready = poll(&mut fds, Some(&timeout)).unwrap_or(0);
        let events: Vec<PollFlags> = fds[before..].iter().map(PollFd::revents).collect();
        drop(fds);
        if ready > 0 {
            for (watch, events) in watches.into_iter().zip(events) {
                self.flows[watch.flow].ready(watch.end, events);
            }
        }
    }

    fn held(&self) -> bool {
        self.shared.iter().any(|shared| shared.hold)
    }

    fn accept(&mut self, now: Instant) {
        while !self.held() {
            let Ok((client, _)) = self.listener.accept() else { return };
            if self.refuse {
                socket::reset(client);
                continue;
            }
            socket::prepare(&client);
            self.counters.connections.fetch_add(1, Ordering::Relaxed);
            let arrives = now + self.shared[0].lane.delay;
            // The client believes in its connection when the answer is back.
            let known = arrives + self.shared[1].lane.delay;
            let halves = [Half::new(known), Half::new(arrives)];
            self.flows.push(Flow { client, server: Server::Far(arrives), halves, over: false });
        }
    }

    fn obey(&mut self) {
        socket::hush(&self.bell);
        while let Ok((order, done)) = self.inbox.try_recv() {
            match order {
                Order::Profile(profile) => {
                    (self.shared[0].lane, self.shared[1].lane) = (profile.up, profile.down);
                }
                Order::Hold([up, down]) => (self.shared[0].hold, self.shared[1].hold) = (up, down),
                Order::Refuse(refuse) => self.refuse = refuse,
                Order::Target(target) => self.target = target,
                Order::Cut { reset } => self.cut(reset),
                Order::DropFlows => {
                    for flow in self.flows.drain(..) {
                        let (client, server) = flow.ends();
                        self.silent.extend([Some(client), server].into_iter().flatten());
                    }
                }
                Order::HalfOpen(end) => {
                    for flow in self.flows.drain(..) {
                        let (client, server) = flow.ends();
                        let (hears, silent) = match end {
                            End::Client => (Some(client), server),
                            End::Server => (server, Some(client)),
                        };
                        hears.into_iter().for_each(socket::reset);
                        self.silent.extend(silent);
                    }
                }
                Order::Stop => self.stop = true,
            }
            let _ = done.send(());
        }
    }

    fn cut(&mut self, reset: bool) {
        for flow in self.flows.drain(..) {
            let (client, server) = flow.ends();
            let ends = [Some(client), server].into_iter().flatten();
            ends.for_each(if reset { socket::reset } else { drop });
        }
    }

    fn count(&mut self) {
        for (shared, counter) in self.shared.iter_mut().zip(&self.counters.bytes) {
            counter.fetch_add(std::mem::take(&mut shared.delivered), Ordering::Relaxed);
        }
        self.counters.open.store(self.flows.len() as u64, Ordering::Relaxed);
    }
}

impl Flow {
    fn ends(self) -> (TcpStream, Option<TcpStream>) {
        let server = match self.server {
            Server::Far(_) => None,
            Server::Dialling(stream) | Server::There(stream) => Some(stream),
        };
        (self.client, server)
    }

    fn wake(&self, shared: &[Shared; 2], now: Instant) -> Option<Instant> {
        let [up, down] = &self.halves;
        match self.server {
            Server::Far(at) => (!shared[0].hold).then_some(at),
            Server::Dialling(_) => None,
            Server::There(_) => {
                [up.wake(&shared[0], now), down.wake(&shared[1], now)].into_iter().flatten().min()
            }
        }
    }

    fn interest(&self, shared: &[Shared; 2], now: Instant) -> (PollFlags, PollFlags) {
        let flag = |on: bool, flag| if on { flag } else { PollFlags::empty() };
        let [up, down] = &self.halves;
        match self.server {
            Server::Far(_) => (PollFlags::empty(), PollFlags::empty()),
            Server::Dialling(_) => (PollFlags::empty(), PollFlags::OUT),
            Server::There(_) => (
                flag(up.polls_read(&shared[0], now), PollFlags::IN)
                    | flag(down.polls_write(&shared[1]), PollFlags::OUT),
                flag(down.polls_read(&shared[1], now), PollFlags::IN)
                    | flag(up.polls_write(&shared[0]), PollFlags::OUT),
            ),
        }
    }

    fn ready(&mut self, end: End, events: PollFlags) {
        let bad = PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL;
        if let (End::Server, Server::Dialling(_)) = (end, &self.server) {
            if !events.is_empty() {
                self.halves[0].writable = true;
                self.dialled();
            }
            return;
        }
        let (reads, writes) = match end {
            End::Client => (0, 1),
            End::Server => (1, 0),
        };
        // After an error it is the next read or write that says what it is.
        self.halves[reads].readable |= events.intersects(PollFlags::IN | bad);
        self.halves[writes].writable |= events.intersects(PollFlags::OUT | bad);
    }

    fn dialled(&mut self) {
        let server = std::mem::replace(&mut self.server, Server::Far(Instant::now()));
        if let Server::Dialling(stream) = server {
            if socket::dialled(&stream).is_ok() {
                self.server = Server::There(stream);
            } else {
                self.refused();
            }
        }
    }

    /// Nobody listens at the far end.
    fn refused(&mut self) {
        self.over = true;
        socket::end_abruptly(&self.client);
    }

    fn step(&mut self, now: Instant, target: SocketAddr, shared: &mut [Shared; 2]) {
        if let Server::Far(at) = self.server
            && at <= now
            && !shared[0].hold
            && !self.over
        {
            match socket::dial(target) {
                Ok(stream) => {
                    socket::prepare(&stream);
                    self.server = Server::Dialling(stream);
                }
                Err(_) => self.refused(),
            }
        }
        let Server::There(server) = &mut self.server else { return };
        let [up, down] = &mut self.halves;
        let [above, below] = shared;
        let client = &mut self.client;
        if up.take(now, above, client).is_err() {
            up.push_reset(now, above);
            down.give_up();
        }
        if down.take(now, below, server).is_err() {
            down.push_reset(now, below);
            up.give_up();
        }
        // An end that takes nothing any more says so with a reset, which goes back along the line.
        let arrived = up.deliver(now, above, server);
        if arrived.is_err() {
            up.give_up();
            down.push_reset(now, below);
        }
        let back = down.deliver(now, below, client);
        if back.is_err() {
            down.give_up();
            up.push_reset(now, above);
        }
        if [arrived, back].into_iter().any(|fate| matches!(fate, Ok(Fate::ResetArrived))) {
            // The other end has sent it, or has no ears any more.
            socket::end_abruptly(server);
            socket::end_abruptly(client);
            self.over = true;
        }
        self.over |= up.done && down.done;
    }
}
