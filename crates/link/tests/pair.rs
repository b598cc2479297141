//! Connection pairs over real sockets and real TLS, with ends that note what arrives.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may fail by a panic")]

mod support;

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use onefed_flower::objects::ObjectId;
use onefed_link::engine::frame::{HubFrame, SpokeFrame};
use onefed_link::pair::{Dialler, End, Frame, Pair, Pairs, PairsConfig};
use onefed_link::wire::{Hello, PROTOCOL};
use onefed_link::{KeepAlive, LineConfig};
use onefed_trust::tls;
use support::{Trust, UP};
use tokio::sync::Notify;

/// An end that notes what arrives, and sends what it is given.
struct Noted<In, Out> {
    seen: Mutex<Seen<In, Out>>,
    news: Notify,
    outgoing: Mutex<VecDeque<(ObjectId, Bytes)>>,
    more: Notify,
    /// How long it is busy with each object.
    busy: Mutex<Duration>,
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

    fn frame(&self, frame: In) {
        self.note(|seen| {
            assert_eq!(seen.ups, seen.downs.len() + 1, "a frame after the end");
            seen.frames.push((frame, Instant::now()));
        });
    }

    async fn object(&self, id: ObjectId, content: Bytes) {
        let busy = *self.busy.lock().unwrap();
        if !busy.is_zero() {
            tokio::time::sleep(busy).await;
        }
        let hash = sha(&content);
        self.note(|seen| {
            assert_eq!(seen.ups, seen.downs.len() + 1, "an object after the end");
            seen.objects.push((id, content.len(), hash));
        });
    }

    async fn next_object(&self) -> (ObjectId, Bytes) {
        loop {
            if let Some(next) = self.outgoing.lock().unwrap().pop_front() {
                return next;
            }
            self.more.notified().await;
        }
    }

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
