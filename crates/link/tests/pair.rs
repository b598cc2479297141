//! Connection pairs over real sockets and real TLS, with ends that note what arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

#[path = "support/log.rs"]
mod log;
mod support;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::StatusCode;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame as BodyFrame};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use onefed_flower::fleet::{FleetAnswer, FleetStatus};
use onefed_flower::objects::ObjectId;
use onefed_link::codec::Coding;
use onefed_link::engine::frame::{HubFrame, SpokeFrame, Wanted};
use onefed_link::pair::{
    BULK_WINDOW, CONTROL_HELD, CONTROL_QUEUE, CONTROL_WINDOW, Dialler, End, Frame, Held, LineState, Pair,
    Pairs, PairsConfig, Parcel,
};
use onefed_link::wire::{Hello, PROTOCOL, Welcome};
use onefed_link::{KeepAlive, LineConfig};
use onefed_trust::tls;
use support::{Trust, UP};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tracing::Level;

/// An end that notes what arrives, and sends what it is given.
struct Noted<In, Out> {
    seen: Mutex<Seen<In, Out>>,
    news: Notify,
    outgoing: Mutex<VecDeque<(ObjectId, Bytes)>>,
    more: Notify,
    /// How long it is busy with each object.
    busy: Mutex<Duration>,
    /// The frames that it has not dealt with, if it deals with none at the moment.
    holds: Mutex<Option<Vec<Held>>>,
    _of: PhantomData<Out>,
}

struct Seen<In, Out> {
    pair: Option<Pair<Out>>,
    ups: usize,
    downs: Vec<String>,
    frames: Vec<(In, Instant)>,
    objects: Vec<(ObjectId, usize, [u8; 32])>,
}

fn sha(content: &[u8]) -> [u8; 32] {
    ring::digest::digest(&ring::digest::SHA256, content).as_ref().try_into().unwrap()
}

impl<In: Frame + Clone, Out: Frame> Noted<In, Out> {
    fn new() -> Arc<Self> {
        let seen = Seen { pair: None, ups: 0, downs: vec![], frames: vec![], objects: vec![] };
        Arc::new(Self {
            seen: Mutex::new(seen),
            news: Notify::new(),
            outgoing: Mutex::default(),
            more: Notify::new(),
            busy: Mutex::default(),
            holds: Mutex::default(),
            _of: PhantomData,
        })
    }

    /// Has an object sent.
    fn offer(&self, content: Bytes) -> ObjectId {
        let id = ObjectId(sha(&content));
        self.outgoing.lock().unwrap().push_back((id, content));
        self.more.notify_one();
        id
    }

    fn send(&self, frame: &Out) {
        self.seen.lock().unwrap().pair.as_ref().expect("it is up").send(frame);
    }

    /// Waits until something is as it should be.
    async fn until<T>(&self, what: &str, mut is: impl FnMut(&Seen<In, Out>) -> Option<T>) -> T {
        self.within(Duration::from_secs(60), what, &mut is).await
    }

    async fn within<T>(
        &self,
        patience: Duration,
        what: &str,
        is: &mut impl FnMut(&Seen<In, Out>) -> Option<T>,
    ) -> T {
        let wait = async {
            loop {
                if let Some(found) = is(&self.seen.lock().unwrap()) {
                    return found;
                }
                self.news.notified().await;
            }
        };
        tokio::time::timeout(patience, wait).await.unwrap_or_else(|_| panic!("not in time: {what}"))
    }

    fn note(&self, change: impl FnOnce(&mut Seen<In, Out>)) {
        change(&mut self.seen.lock().unwrap());
        self.news.notify_one();
    }
}

impl<In: Frame + Clone + Sync, Out: Frame> End for Noted<In, Out>
where
    Out: Sync,
{
    type In = In;
    type Out = Out;

    fn up(&self, pair: Pair<Out>) {
        self.note(|seen| {
            assert_eq!(seen.ups, seen.downs.len(), "up before the last one was down");
            seen.ups += 1;
            seen.pair = Some(pair);
        });
    }

    fn frame(&self, frame: In, held: Held) {
        if let Some(all) = self.holds.lock().unwrap().as_mut() {
            all.push(held);
        }
        self.note(|seen| {
            assert_eq!(seen.ups, seen.downs.len() + 1, "a frame after the end");
            seen.frames.push((frame, Instant::now()));
        });
    }

    async fn object(&self, parcel: Parcel) -> Result<(), String> {
        let (id, content) = (parcel.id, parcel.bytes);
        assert_eq!((parcel.coding, parcel.length), (Coding::Plain, content.len()));
        let busy = *self.busy.lock().unwrap();
        if !busy.is_zero() {
            tokio::time::sleep(busy).await;
        }
        let hash = sha(&content);
        self.note(|seen| {
            assert_eq!(seen.ups, seen.downs.len() + 1, "an object after the end");
            seen.objects.push((id, content.len(), hash));
        });
        Ok(())
    }

    async fn next_object(&self) -> Parcel {
        loop {
            if let Some((id, content)) = self.outgoing.lock().unwrap().pop_front() {
                return Parcel::plain(id, content);
            }
            self.more.notified().await;
        }
    }

    fn sent(&self, _bytes: usize, _took: Duration) {}

    fn down(&self, why: &str) {
        self.note(|seen| {
            seen.pair = None;
            seen.downs.push(why.to_owned());
        });
    }
}

type AtSpoke = Noted<HubFrame, SpokeFrame>;
type AtHub = Noted<SpokeFrame, HubFrame>;

/// A hub whose ends are noted in the order in which they were made.
struct Hub {
    address: SocketAddr,
    pairs: Arc<Pairs<AtHub>>,
    ends: Arc<Mutex<Vec<Arc<AtHub>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Hub {
    async fn new(trust: &Trust, keepalive: KeepAlive) -> Self {
        let config = PairsConfig {
            federation: "test".into(),
            flower: "1.41.0".into(),
            keepalive,
            hold: Duration::from_secs(600),
        };
        let ends: Arc<Mutex<Vec<Arc<AtHub>>>> = Arc::default();
        let made = ends.clone();
        let pairs = Pairs::new(config, move |_: &Hello| {
            let end = AtHub::new();
            made.lock().unwrap().push(end.clone());
            end
        });
        let tls = tls::server(&trust.chain, &trust.key, None, tls::Versions::Tls13, Pairs::<AtHub>::alpn());
        let (address, serve) =
            pairs.listen("127.0.0.1:0".parse().unwrap(), Some(tls.unwrap())).await.unwrap();
        Self { address, pairs, ends, task: tokio::spawn(serve) }
    }

    /// The end of the n-th pair.
    async fn end(&self, nth: usize) -> Arc<AtHub> {
        let started = Instant::now();
        loop {
            if let Some(end) = self.ends.lock().unwrap().get(nth) {
                return end.clone();
            }
            assert!(started.elapsed() < UP, "no pair {nth} at the hub");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn config(trust: &Trust, hub: SocketAddr, keepalive: KeepAlive, epoch: u64) -> LineConfig {
    LineConfig {
        host: hub.ip().to_string(),
        port: hub.port(),
        from: None,
        tls: Some(tls::client(trust.root.cert_pem(), None, &[b"h2"]).unwrap()),
        keepalive,
        hello: Hello {
            protocol: PROTOCOL,
            federation: "test".into(),
            site: "paris".into(),
            spoke: "7".into(),
            flower: "1.41.0".into(),
            keepalive_time_ms: 0,
            keepalive_timeout_ms: 0,
            epoch,
        },
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_and_objects_go_both_ways() {
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let spoke = AtSpoke::new();
    let dialler = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 1), spoke.clone());
    dialler.wait_up(UP).await.unwrap();
    let end = hub.end(0).await;
    end.until("up", |seen| seen.pair.is_some().then_some(())).await;
    for n in 0..100 {
        spoke.send(&SpokeFrame::Echo(n));
        end.send(&HubFrame::Echo(n));
    }
    let down = end.offer(Bytes::from(vec![7; 3_000_000]));
    let up = spoke.offer(Bytes::from_static(b"small"));
    let nothing = spoke.offer(Bytes::new());
    end.until("frames", |seen| (seen.frames.len() == 100).then_some(())).await;
    spoke.until("frames", |seen| (seen.frames.len() == 100).then_some(())).await;
    for (n, (frame, _)) in spoke.seen.lock().unwrap().frames.iter().enumerate() {
        assert_eq!(*frame, HubFrame::Echo(n as u64));
    }
    let got = spoke.until("object", |seen| seen.objects.first().copied()).await;
    assert_eq!(got, (down, 3_000_000, down.0));
    end.until("objects", |seen| (seen.objects.len() == 2).then_some(())).await;
    let ids: Vec<_> = end.seen.lock().unwrap().objects.iter().map(|object| object.0).collect();
    assert_eq!(ids, [up, nothing]);
    let sights = hub.pairs.sights();
    assert!(sights[0].connected && sights[0].bulk.1 > 3_000_000 && sights[0].control.0 > 0, "{sights:?}");
    assert!(dialler.sight().bulk.0 > 3_000_000);
    hub.task.abort();
}

/// A relay between spoke and hub that can be told to break.
struct Relay {
    address: SocketAddr,
    fault: Arc<watch::Sender<Fault>>,
    cut: Arc<Notify>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, PartialEq)]
enum Fault {
    None,
    /// Nothing passes any more, and nobody is told.
    Hole,
    /// The same on bulk connections only.
    BulkHole,
}

impl Relay {
    async fn new(hub: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, cut) = (listener.local_addr().unwrap(), Arc::new(Notify::new()));
        let fault = Arc::new(watch::Sender::new(Fault::None));
        let (fault_too, cut_too) = (fault.clone(), cut.clone());
        let task = tokio::spawn(async move {
            loop {
                let (mut near, _) = listener.accept().await.unwrap();
                let (mut fault, cut) = (fault_too.subscribe(), cut_too.clone());
                tokio::spawn(async move {
                    let mut far = TcpStream::connect(hub).await.unwrap();
                    let mut first = [0; 4096];
                    let length = near.read(&mut first).await.unwrap_or(0);
                    let bulk = first[..length].windows(11).any(|bytes| bytes == b"onefed-bulk");
                    far.write_all(&first[..length]).await.unwrap();
                    let holed = move |fault: &Fault| match fault {
                        Fault::None => false,
                        Fault::Hole => true,
                        Fault::BulkHole => bulk,
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => return,
                        _ = fault.wait_for(holed) => {}
                        () = cut.notified() => return,
                    }
                    // What was on its way is lost with the copy's buffers: a connection that was holed is of no more use.
                    cut.notified().await;
                });
            }
        });
        Self { address, fault, cut, task }
    }

    /// Closes all connections. New ones pass.
    fn cut(&self) {
        self.cut.notify_waiters();
    }

    fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A pair through a relay, up.
async fn through_a_relay(
    trust: &Trust,
    keepalive: KeepAlive,
) -> (Hub, Relay, Dialler, Arc<AtSpoke>, Arc<AtHub>) {
    let hub = Hub::new(trust, keepalive).await;
    let relay = Relay::new(hub.address).await;
    let spoke = AtSpoke::new();
    let dialler = Dialler::start(config(trust, relay.address, keepalive, 1), spoke.clone());
    dialler.wait_up(UP).await.unwrap();
    let end = hub.end(0).await;
    end.until("up", |seen| seen.pair.is_some().then_some(())).await;
    (hub, relay, dialler, spoke, end)
}

fn noise(length: usize, seed: u64) -> Bytes {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut word = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..length.div_ceil(8)).flat_map(|_| word()).take(length).collect::<Vec<u8>>().into()
}

fn short() -> KeepAlive {
    KeepAlive { time: Duration::from_millis(600), timeout: Duration::from_millis(500) }
}

/// Megabytes for each direction; more with `ONEFED_BULK_MB`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_megabytes_each_way_do_not_hold_heartbeats_up() {
    let megabytes = std::env::var("ONEFED_BULK_MB").ok().and_then(|mb| mb.parse().ok()).unwrap_or(100usize);
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let spoke = AtSpoke::new();
    let dialler = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 1), spoke.clone());
    dialler.wait_up(UP).await.unwrap();
    let end = hub.end(0).await;
    let object = noise(5 << 20, 1);
    let objects = megabytes.div_ceil(5);
    let started = Instant::now();
    let mut sent = [0u64; 0].to_vec();
    let ids: Vec<_> = (0..objects)
        .map(|n| {
            // The same content, but for the first byte.
            let mut content = object.to_vec();
            content[0] = n as u8;
            let content = Bytes::from(content);
            spoke.offer(content.clone());
            end.offer(content)
        })
        .collect();
    let mut beats = Vec::new();
    while spoke.seen.lock().unwrap().objects.len() < objects
        || end.seen.lock().unwrap().objects.len() < objects
    {
        assert!(started.elapsed() < Duration::from_secs(120), "not in time");
        beats.push(Instant::now());
        spoke.send(&SpokeFrame::Echo(beats.len() as u64));
        sent.push(beats.len() as u64);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let took = started.elapsed();
    end.until("beats", |seen| (seen.frames.len() == beats.len()).then_some(())).await;
    let mut waits: Vec<_> = {
        let seen = end.seen.lock().unwrap();
        seen.frames.iter().zip(&beats).map(|((_, at), began)| *at - *began).collect()
    };
    waits.sort();
    let (middle, worst) = (waits[waits.len() / 2], waits[waits.len() - 1]);
    let rate = (objects * 5) as f64 * 1.048_576 / took.as_secs_f64();
    println!(
        "{rate:.0} MB/s each way, heartbeats {middle:?} in the middle, {worst:?} at worst of {}",
        waits.len()
    );
    assert!(middle < Duration::from_millis(50) && worst < Duration::from_secs(1), "{middle:?} {worst:?}");
    for got in [&spoke.seen.lock().unwrap().objects, &end.seen.lock().unwrap().objects] {
        let got: Vec<_> = got.iter().map(|object| (object.0, object.2)).collect();
        assert_eq!(got, ids.iter().map(|id| (*id, id.0)).collect::<Vec<_>>(), "order or content");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_cut_the_rest_is_wanted_again() {
    let trust = Trust::new();
    let (hub, relay, dialler, spoke, end) = through_a_relay(&trust, KeepAlive::default()).await;
    let objects: Vec<_> = (0..40).map(|n| noise(64 << 10, n + 1)).collect();
    let all: Vec<_> = objects.iter().map(|content| ObjectId(sha(content))).collect();
    let serve = |end: Arc<AtHub>| {
        let objects = objects.clone();
        async move {
            let ids = end
                .until("a want", |seen| match seen.frames.first() {
                    Some((SpokeFrame::Want(all), _)) => {
                        Some(all.iter().map(|one| one.id).collect::<Vec<_>>())
                    }
                    _ => None,
                })
                .await;
            for content in &objects {
                if ids.contains(&ObjectId(sha(content))) {
                    end.offer(content.clone());
                }
            }
        }
    };
    *spoke.busy.lock().unwrap() = Duration::from_millis(10);
    spoke.send(&SpokeFrame::Want(all.iter().copied().map(Wanted::from).collect()));
    serve(end.clone()).await;
    spoke.until("some objects", |seen| (seen.objects.len() >= 10).then_some(())).await;
    relay.cut();
    spoke.until("down", |seen| (seen.downs.len() == 1).then_some(())).await;
    end.until("down", |seen| (seen.downs.len() == 1).then_some(())).await;
    assert!(end.seen.lock().unwrap().pair.is_none());
    *spoke.busy.lock().unwrap() = Duration::ZERO;
    let missing = spoke
        .until("up again", |seen| {
            seen.pair.as_ref()?;
            let have: Vec<_> = seen.objects.iter().map(|object| object.0).collect();
            Some(all.iter().copied().filter(|id| !have.contains(id)).collect::<Vec<_>>())
        })
        .await;
    assert!(!missing.is_empty() && missing.len() <= 30, "{}", missing.len());
    spoke.send(&SpokeFrame::Want(missing.into_iter().map(Wanted::from).collect()));
    serve(hub.end(1).await).await;
    let got = spoke.until("all", |seen| (seen.objects.len() >= 40).then(|| seen.objects.clone())).await;
    assert_eq!(got.iter().map(|object| object.0).collect::<Vec<_>>(), all, "each once, in order");
    assert!(got.iter().all(|object| object.0.0 == object.2));
    assert_eq!((dialler.sight().pairs, hub.pairs.sights()[0].pairs), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_newer_start_of_a_spoke_ends_the_older_pair_and_the_older_start_is_refused() {
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let (old, new) = (AtSpoke::new(), AtSpoke::new());
    let old_dialler = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 4), old.clone());
    old_dialler.wait_up(UP).await.unwrap();
    let first = hub.end(0).await;
    let new_dialler = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 5), new.clone());
    new_dialler.wait_up(UP).await.unwrap();
    let why = first.until("down", |seen| seen.downs.first().cloned()).await;
    assert_eq!(why, "a newer connection of the same spoke is here");
    old.until("down", |seen| (seen.downs.len() == 1).then_some(())).await;
    // Another spoke of the site is nobody's rival.
    let mut other = config(&trust, hub.address, KeepAlive::default(), 1);
    other.hello.spoke = "8".into();
    let (other_end, started) = (AtSpoke::new(), Instant::now());
    let other = Dialler::start(other, other_end.clone());
    other.wait_up(UP).await.unwrap();
    while !old_dialler
        .why_down()
        .is_some_and(|why| why.contains("a later start of this spoke was here (start 5"))
    {
        assert!(started.elapsed() < UP, "{:?}", old_dialler.why_down());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(hub.pairs.refused()[0].spoke, "7");
    assert!(new_dialler.why_down().is_none() && other.why_down().is_none());
    assert!(new.seen.lock().unwrap().downs.is_empty() && other_end.seen.lock().unwrap().downs.is_empty());
    // The same start again is a spoke that has lost its line without noticing.
    drop(old_dialler);
    let again = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 5), AtSpoke::new());
    again.wait_up(UP).await.unwrap();
    new.until("down", |seen| (seen.downs.len() == 1).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_hole_is_noticed_by_both_ends_and_left_behind_when_it_heals() {
    let trust = Trust::new();
    let (hub, relay, dialler, spoke, end) = through_a_relay(&trust, short()).await;
    tokio::time::sleep(short().time * 4).await;
    let (here, there) = (dialler.sight().pings, hub.pairs.sights()[0].pings);
    for (end, pings) in [("spoke", here), ("hub", there)] {
        assert!(
            pings.sent >= 2 && pings.acked >= 2 && pings.received >= 2 && pings.rtt.is_some(),
            "{end}: {pings:?}"
        );
    }
    assert!(dialler.why_down().is_none(), "idle, and up");
    relay.set(Fault::Hole);
    let began = Instant::now();
    let (time, slack) = (short().time + short().timeout, Duration::from_millis(800));
    let why = spoke.until("down", |seen| seen.downs.first().cloned()).await;
    assert!(began.elapsed() < time + slack, "{:?}", began.elapsed());
    assert!(why.contains("control") && why.contains("no answer to a PING in time"), "{why}");
    end.until("down", |seen| (seen.downs.len() == 1).then_some(())).await;
    assert!(began.elapsed() < time + slack, "{:?}", began.elapsed());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(matches!(dialler.state(), LineState::Down { .. }));
    relay.set(Fault::None);
    let healed = Instant::now();
    dialler.wait_up(UP).await.unwrap();
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_bulk_connection_is_noticed_when_something_should_move_and_only_then() {
    let trust = Trust::new();
    let (_hub, relay, dialler, spoke, end) = through_a_relay(&trust, short()).await;
    end.offer(noise(100_000, 1));
    spoke.until("an object", |seen| seen.objects.first().copied()).await;
    // Its acknowledgement comes back on bulk, too.
    tokio::time::sleep(Duration::from_millis(200)).await;
    relay.set(Fault::BulkHole);
    let patience = short().time + short().timeout;
    tokio::time::sleep(patience * 2).await;
    assert!(dialler.why_down().is_none(), "nothing had to move");
    end.offer(noise(100, 2));
    let began = Instant::now();
    let why = end.until("down", |seen| seen.downs.first().cloned()).await;
    assert!(why.contains("no byte moved"), "{why}");
    assert!((patience..patience * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    spoke.until("down", |seen| seen.downs.first().cloned()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_reader_is_waited_for_and_costs_a_bounded_number_of_bytes() {
    let trust = Trust::new();
    let hub = Hub::new(&trust, short()).await;
    let spoke = AtSpoke::new();
    let busy = (short().time + short().timeout) * 3;
    *spoke.busy.lock().unwrap() = busy;
    let dialler = Dialler::start(config(&trust, hub.address, short(), 1), spoke.clone());
    dialler.wait_up(UP).await.unwrap();
    let end = hub.end(0).await;
    let content = noise(1 << 20, 1);
    for _ in 0..80 {
        end.offer(content.clone());
    }
    // The first object keeps the spoke busy for longer than the line's patience; heartbeats go on.
    tokio::time::sleep(busy / 2).await;
    let taken = 80 - end.outgoing.lock().unwrap().len();
    // The window, what waits to be sent, and one that is half sent; the kernel holds some megabytes, too.
    let bound = BULK_WINDOW as usize / (1 << 20) + 14;
    assert!((20..=bound).contains(&taken), "{taken} of at most {bound}");
    end.send(&HubFrame::Echo(1));
    spoke.within(Duration::from_millis(500), "a frame", &mut |seen| seen.frames.first().cloned()).await;
    spoke.until("the first", |seen| seen.objects.first().copied()).await;
    *spoke.busy.lock().unwrap() = Duration::ZERO;
    spoke.until("all", |seen| (seen.objects.len() == 80).then_some(())).await;
    let downs = spoke.seen.lock().unwrap().downs.clone();
    assert!(downs.is_empty(), "{downs:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_read_what_it_is_told_loses_the_pair() {
    let trust = Trust::new();
    let (_hub, relay, _dialler, _spoke, end) = through_a_relay(&trust, KeepAlive::default()).await;
    relay.set(Fault::Hole);
    tokio::time::sleep(Duration::from_millis(50)).await;
    let body = noise(1 << 20, 1);
    let pair = end.seen.lock().unwrap().pair.clone().unwrap();
    for seq in 0..90 {
        let answer =
            FleetAnswer { status: FleetStatus::Http(StatusCode::OK), body: body.clone(), content_type: None };
        pair.send(&HubFrame::Result { seq, answer });
    }
    let why = end.until("down", |seen| seen.downs.first().cloned()).await;
    assert!(why.contains("does not read what it is told"), "{why}");
    assert!(pair.ended());
}

/// Whatever the other end says, and however little of it travels: what is not dealt with is bounded, and the line lives.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_that_is_flooded_holds_a_bounded_number_of_bytes() {
    let trust = Trust::new();
    for (what, body) in [("noise", noise(64 << 10, 1)), ("zeros", Bytes::from(vec![0; 64 << 10]))] {
        let hub = Hub::new(&trust, short()).await;
        let spoke = AtSpoke::new();
        *spoke.holds.lock().unwrap() = Some(Vec::new());
        let dialler = Dialler::start(config(&trust, hub.address, short(), 1), spoke.clone());
        dialler.wait_up(UP).await.unwrap();
        let end = hub.end(0).await;
        end.until("up", |seen| seen.pair.is_some().then_some(())).await;
        let frames = (CONTROL_WINDOW as usize + CONTROL_QUEUE / 2) / body.len();
        for seq in 0..frames as u64 {
            let status = FleetStatus::Http(StatusCode::OK);
            let answer = FleetAnswer { status, body: body.clone(), content_type: None };
            end.send(&HubFrame::Result { seq, answer });
        }
        // For longer than a silent line is taken to live.
        tokio::time::sleep((short().time + short().timeout) * 2).await;
        let taken = spoke.seen.lock().unwrap().frames.len();
        let most = CONTROL_HELD / body.len();
        assert!((most / 2..=most).contains(&taken), "{what}: {taken} of at most {most}");
        // What is dealt with makes room.
        *spoke.holds.lock().unwrap() = None;
        spoke.until("all", |seen| (seen.frames.len() == frames).then_some(())).await;
        let downs = spoke.seen.lock().unwrap().downs.clone();
        assert!(downs.is_empty(), "{what}: {downs:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_that_pings_too_often_is_told_and_adjusts() {
    let every = |seconds| KeepAlive { time: Duration::from_secs(seconds), timeout: Duration::from_secs(5) };
    let trust = Trust::new();
    let hub = Hub::new(&trust, every(60)).await;
    for (asked, used) in [(10, 30), (30, 30), (50, 50)] {
        let dialler = Dialler::start(config(&trust, hub.address, every(asked), 1), AtSpoke::new());
        dialler.wait_up(UP).await.unwrap();
        let sight = dialler.sight();
        assert_eq!((sight.keepalive, sight.pairs), (every(used), 1));
        assert_eq!(sight.adjusted_from, (asked < used).then(|| Duration::from_secs(asked)));
    }
    assert!(hub.pairs.refused().is_empty());
}

/// A listener that nobody accepts from and that is full: the system drops what knocks, as a hole does.
async fn hole() -> (TcpListener, Vec<TcpStream>) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = socket.listen(1).unwrap();
    let address = listener.local_addr().unwrap();
    let mut inside = Vec::new();
    while let Ok(tcp) = tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await {
        inside.push(tcp.unwrap());
    }
    (listener, inside)
}

/// The system knocks again after 1, 2, 4 s, …: one connection alone, begun with the hole, would come 7 s after it at worst.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hole_that_swallows_connects_is_left_behind_soon_after_it_has_healed() {
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let (hole, inside) = hole().await;
    let config = config(&trust, hole.local_addr().unwrap(), KeepAlive::default(), 1);
    let dialler = Dialler::start(config, AtSpoke::new());
    tokio::time::sleep(Duration::from_millis(7200)).await;
    assert!(dialler.why_down().is_some());
    drop(inside);
    let (healed, address) = (Instant::now(), hub.address);
    let relay = tokio::spawn(async move {
        loop {
            let (mut near, _) = hole.accept().await.unwrap();
            tokio::spawn(async move {
                let mut far = TcpStream::connect(address).await.unwrap();
                tokio::io::copy_bidirectional(&mut near, &mut far).await
            });
        }
    });
    dialler.wait_up(UP).await.unwrap();
    println!("up {:?} after the hole", healed.elapsed());
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
    relay.abort();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_looks_whether_somebody_listens_is_no_line_in_the_log() {
    log::keep();
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let silent = TcpStream::connect(hub.address).await.unwrap();
    let mut talker = TcpStream::connect(hub.address).await.unwrap();
    talker.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let names = [&silent, &talker].map(|tcp| format!("{}", tcp.local_addr().unwrap()));
    drop(silent);
    let began = Instant::now();
    let [quiet, said] = loop {
        let lines = names.each_ref().map(|name| log::lines(name));
        if lines.iter().all(|lines| !lines.is_empty()) {
            break lines;
        }
        assert!(began.elapsed() < UP, "{lines:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(matches!(&quiet[..], [(Level::DEBUG, _)]), "{quiet:?}");
    assert!(matches!(&said[..], [(Level::INFO, line)] if line.contains("TLS handshake failed")), "{said:?}");
}

/// A body that comes in one piece when it is sent; the stream stays open until then.
struct Late(Option<oneshot::Receiver<Bytes>>);

impl Late {
    fn new() -> (oneshot::Sender<Bytes>, Self) {
        let (sender, receiver) = oneshot::channel();
        (sender, Self(Some(receiver)))
    }
}

impl From<Bytes> for Late {
    fn from(bytes: Bytes) -> Self {
        let (sender, body) = Self::new();
        sender.send(bytes).unwrap();
        body
    }
}

impl Body for Late {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<BodyFrame<Bytes>, Infallible>>> {
        let Some(receiver) = self.0.as_mut() else { return Poll::Ready(None) };
        let sent = ready!(Pin::new(receiver).poll(context));
        self.0 = None;
        Poll::Ready(sent.ok().map(|bytes| Ok(BodyFrame::data(bytes))))
    }
}

/// An HTTP/2 connection to a hub, bulk or not.
async fn raw(trust: &Trust, hub: SocketAddr, alpn: &[u8]) -> http2::SendRequest<Late> {
    let tls = tls::client(trust.root.cert_pem(), None, &[alpn]).unwrap();
    let name = tokio_rustls::rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let tcp = TcpStream::connect(hub).await.unwrap();
    let stream = tokio_rustls::TlsConnector::from(tls).connect(name, tcp).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    sender
}

async fn ask(
    sender: &mut http2::SendRequest<Late>,
    path: &str,
    session: &str,
    body: impl Into<Late>,
) -> (StatusCode, hyper::body::Incoming) {
    let request = http::Request::post(format!("https://hub{path}")).header("onefed-session", session);
    let answer = sender.send_request(request.body(body.into()).unwrap()).await.unwrap();
    (answer.status(), answer.into_body())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_the_pair_that_it_came_on_and_nothing_else() {
    let trust = Trust::new();
    let hub = Hub::new(&trust, KeepAlive::default()).await;
    let bystander = AtSpoke::new();
    let dialler = Dialler::start(config(&trust, hub.address, KeepAlive::default(), 1), bystander.clone());
    dialler.wait_up(UP).await.unwrap();
    let mut hello = config(&trust, hub.address, KeepAlive::default(), 1).hello;
    (hello.spoke, hello.keepalive_time_ms) = ("8".into(), 60_000);
    let hello_bytes = Bytes::from(serde_json::to_vec(&hello).unwrap());

    let mut control = raw(&trust, hub.address, b"h2").await;
    for (path, body, refused) in [
        ("/onefed/v2/control", &b""[..], StatusCode::CONFLICT),
        ("/onefed/v2/bulk", b"", StatusCode::GONE),
        ("/onefed/v1/hello", b"not a hello", StatusCode::BAD_REQUEST),
        ("/onefed/v1/status", b"", StatusCode::NOT_FOUND),
    ] {
        assert_eq!(ask(&mut control, path, "no such", Bytes::from_static(body)).await.0, refused, "{path}");
    }
    hello.federation = "other".into();
    let other = Bytes::from(serde_json::to_vec(&hello).unwrap());
    assert_eq!(ask(&mut control, "/onefed/v1/hello", "", other).await.0, StatusCode::CONFLICT);

    let rubbish = noise(1000, 3);
    let frame = Bytes::from_static(&[0, 0, 0, 3, 1, 0, 0xff]);
    for (on_bulk, garbage, why) in [
        (false, &frame, "control: the other end sent a broken frame of kind 1"),
        (false, &rubbish, "control: the other end sent"),
        (true, &rubbish, "bulk: the other end sent"),
    ] {
        let nth = hub.ends.lock().unwrap().len();
        let mut control = raw(&trust, hub.address, b"h2").await;
        let (status, welcome) = ask(&mut control, "/onefed/v1/hello", "", hello_bytes.clone()).await;
        assert_eq!(status, StatusCode::OK);
        let welcome: Welcome = serde_json::from_slice(&welcome.collect().await.unwrap().to_bytes()).unwrap();
        assert!(!format!("{welcome:?}").contains(&welcome.session), "the token is a secret");
        let mut bulk = raw(&trust, hub.address, b"onefed-bulk/2").await;
        let ((later_control, control_body), (later_bulk, bulk_body)) = (Late::new(), Late::new());
        let (first, second) = tokio::join!(
            ask(&mut control, "/onefed/v2/control", &welcome.session, control_body),
            ask(&mut bulk, "/onefed/v2/bulk", &welcome.session, bulk_body),
        );
        assert_eq!((first.0, second.0), (StatusCode::OK, StatusCode::OK));
        let (there, _stays_open) =
            if on_bulk { (later_bulk, later_control) } else { (later_control, later_bulk) };
        there.send(garbage.clone()).unwrap();
        let end = hub.end(nth).await;
        let ended = end.until("down", |seen| seen.downs.first().cloned()).await;
        assert!(ended.contains(why), "{ended}");
        let _ = first.1.collect().await;
    }
    assert!(bystander.seen.lock().unwrap().downs.is_empty());
    assert!(dialler.why_down().is_none());
}
