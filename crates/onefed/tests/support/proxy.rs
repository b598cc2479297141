//! What stands between an operator and a zone: passes calls on, or fails them before or after they did their work.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Desk;

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It is made and answered.
    Pass,
    /// The connection ends before the call is made.
    Cut,
    /// The call is made, and its answer is lost.
    Lost,
    /// 503, and the call is not made.
    Busy,
}

/// Decides about a call, by the zone and by what is called: `one.vm.info`, `POST /service_template`.
pub(crate) type Judge = Box<dyn FnMut(&str, &str) -> Verdict + Send>;

/// Proxies in front of XML-RPC and OneFlow of the three zones.
pub(crate) struct Proxies {
    judge: Arc<Mutex<Judge>>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

const ZONES: [&str; 3] = ["madrid", "paris", "lisbon"];

impl Proxies {
    /// Starts them; everything passes. A plan reaches them after [`Proxies::through`].
    pub(crate) fn up(desk: &Desk) -> Self {
        let judge: Arc<Mutex<Judge>> = Arc::new(Mutex::new(Box::new(|_, _| Verdict::Pass)));
        let (stop, mut threads) = (Arc::new(AtomicBool::new(false)), Vec::new());
        for (at, zone) in ZONES.into_iter().enumerate() {
            for port in [2633, 2474] {
                let address = |third: usize| -> SocketAddr {
                    desk.address(&format!("{third}.1:{port}")).parse().unwrap()
                };
                let (listener, to) = (TcpListener::bind(address(91 + at)).unwrap(), address(1 + at));
                let (judge, stop) = (judge.clone(), stop.clone());
                threads.push(std::thread::spawn(move || serve(&listener, to, zone, &judge, &stop)));
            }
        }
        Self { judge, stop, threads }
    }

    /// A plan whose zones are reached through the proxies.
    pub(crate) fn through(desk: &Desk, plan: String) -> String {
        (1..=3).fold(plan, |plan, zone| {
            plan.replace(&desk.address(&format!("{zone}.1:2")), &desk.address(&format!("{}.1:2", 90 + zone)))
        })
    }

    /// From now on calls go as this says.
    pub(crate) fn judge(&self, judge: impl FnMut(&str, &str) -> Verdict + Send + 'static) {
        *self.judge.lock().unwrap() = Box::new(judge);
    }

    /// Everything passes.
    pub(crate) fn heal(&self) {
        self.judge(|_, _| Verdict::Pass);
    }

    /// These zones do not answer.
    pub(crate) fn down(&self, zones: &'static [&'static str]) {
        self.judge(move |zone, _| if zones.contains(&zone) { Verdict::Cut } else { Verdict::Pass });
    }
}

impl Drop for Proxies {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn serve(
    listener: &TcpListener,
    to: SocketAddr,
    zone: &'static str,
    judge: &Arc<Mutex<Judge>>,
    stop: &Arc<AtomicBool>,
) {
    listener.set_nonblocking(true).unwrap();
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, _)) = listener.accept() else {
            std::thread::sleep(Duration::from_millis(2));
            continue;
        };
        let judge = judge.clone();
        std::thread::spawn(move || {
            let _ = stream.set_nonblocking(false);
            let _ = one_call(&stream, to, zone, &judge);
            let _ = stream.shutdown(Shutdown::Both);
        });
    }
}

/// One call of one connection, which is closed then.
fn one_call(stream: &TcpStream, to: SocketAddr, zone: &str, judge: &Mutex<Judge>) -> std::io::Result<()> {
    let mut reading = BufReader::new(stream);
    let (mut head, mut first, mut length) = (String::new(), String::new(), 0);
    loop {
        let mut line = String::new();
        if reading.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let lower = line.to_ascii_lowercase();
        if first.is_empty() {
            first.clone_from(&line);
        }
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        if line == "\r\n" {
            break;
        }
        if !lower.starts_with("connection:") {
            head.push_str(&line);
        }
    }
    let mut body = vec![0; length];
    reading.read_exact(&mut body)?;
    let text = String::from_utf8_lossy(&body);
    let method = text.split("<methodName>").nth(1).and_then(|rest| rest.split('<').next());
    let what = method.map_or_else(|| first.rsplit_once(' ').unwrap_or_default().0.to_owned(), str::to_owned);
    let verdict = (judge.lock().unwrap())(zone, &what);
    match verdict {
        Verdict::Cut => return Ok(()),
        Verdict::Busy => {
            let answer = "HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            return (&*stream).write_all(answer.as_bytes());
        }
        Verdict::Pass | Verdict::Lost => {}
    }
    let mut upstream = TcpStream::connect(to)?;
    upstream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes())?;
    upstream.write_all(&body)?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    if verdict == Verdict::Pass { (&*stream).write_all(&answer) } else { Ok(()) }
}
