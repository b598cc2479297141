//! A small OneGate that can be made to fail: real sockets, the answers of the real one, and a fault for each call.
//!
//! It knows one VM (the one that asks) and one service. Everything that was asked is kept, so that a test can say what
//! was never said.

// Every test binary uses a part of this.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

pub(crate) const TOKEN: &str = "Zm9yIHRlc3RzIG9ubHk=";
/// The VM that asks.
pub(crate) const VM: u32 = 7;
/// The VM of the SuperLink or gateway that it asks for.
pub(crate) const PEER: u32 = 4;

/// The calls that a VM makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// `GET /vm`
    Vm,
    /// `GET /service?extended=true`
    Service,
    /// `PUT /vm`
    Put,
    /// `PUT /vm?type=2`
    Delete,
}

/// What can be wrong with an answer.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fault {
    /// This status with this body; the call does nothing.
    Status(u16, &'static str),
    /// Success with this body; the call does nothing.
    Body(&'static str),
    /// No answer until the client has gone.
    Hang,
    /// The connection is closed in place of an answer.
    Close,
    /// The right answer after a while; what the call does, it does then.
    Slow(Duration),
}

/// One request as it came.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) call: Call,
    pub(crate) body: String,
    pub(crate) at: Instant,
    /// Whether the call did its work.
    pub(crate) done: bool,
}

#[derive(Default)]
struct State {
    template: BTreeMap<String, String>,
    service: Option<Value>,
    /// What goes wrong, and how many times more.
    faults: Vec<(Call, Fault, usize)>,
    asked: Vec<Asked>,
}

/// The server. It ends when dropped.
pub(crate) struct Gate {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Gate {
    /// Listens on this address.
    pub(crate) fn at(address: &str) -> Self {
        let gate =
            Self { address: address.parse().unwrap(), state: Arc::default(), running: Mutex::default() };
        gate.start();
        gate
    }

    /// `ONEGATE_ENDPOINT`.
    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What OpenNebula keeps of the asking VM.
    pub(crate) fn template(&self) -> BTreeMap<String, String> {
        self.state().template.clone()
    }

    /// An attribute of the asking VM.
    pub(crate) fn attribute(&self, name: &str) -> Option<String> {
        self.state().template.get(name).cloned()
    }

    /// Writes an attribute of the asking VM, as somebody else.
    pub(crate) fn set(&self, name: &str, value: &str) {
        self.state().template.insert(name.to_owned(), value.to_owned());
    }

    /// A service with a VM of another role that has published these attributes, and the asking SuperNode.
    pub(crate) fn peer(&self, role: &str, attributes: &[(&str, &str)]) {
        let template: BTreeMap<_, _> = attributes.iter().copied().collect();
        let peer = json!({"VM": {"NAME": role, "ID": PEER.to_string(), "STATE": "3", "LCM_STATE": "3",
            "USER_TEMPLATE": template, "TEMPLATE": {"NIC": []}}});
        let node = |id: u32, vm: Value| json!([{"deploy_id": id, "running": null, "vm_info": vm}]);
        let own = json!({"VM": {"NAME": "n", "ID": VM.to_string()}});
        let roles = json!([
            {"name": role, "cardinality": 1, "state": 1, "nodes": node(PEER, peer)},
            {"name": "supernode", "cardinality": 1, "state": 1, "nodes": node(VM, own)},
        ]);
        self.service(json!({"SERVICE": {"name": "s", "id": "29", "state": 1, "roles": roles}}));
    }

    /// What is answered about the service.
    pub(crate) fn service(&self, service: Value) {
        self.state().service = Some(service);
    }

    /// The next calls of this kind go wrong.
    pub(crate) fn fault(&self, call: Call, fault: Fault, times: usize) {
        self.state().faults.push((call, fault, times));
    }

    /// All is well again.
    pub(crate) fn heal(&self) {
        self.state().faults.clear();
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.state().asked.clone()
    }

    /// The updates that took effect, in their order.
    pub(crate) fn said(&self) -> Vec<String> {
        let asked = self.asked().into_iter();
        asked.filter(|asked| asked.call == Call::Put && asked.done).map(|asked| asked.body).collect()
    }

    /// How often this was asked.
    pub(crate) fn count(&self, call: Call) -> usize {
        self.state().asked.iter().filter(|asked| asked.call == call).count()
    }

    /// Starts to listen, again.
    pub(crate) fn start(&self) {
        let listener = TcpListener::bind(self.address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (stop, state) = (Arc::new(AtomicBool::new(false)), self.state.clone());
        let told = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut connections: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
            while !told.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => {
                        stream.set_nonblocking(false).unwrap();
                        let (own, state, told) = (stream.try_clone().unwrap(), state.clone(), told.clone());
                        connections.push((own, std::thread::spawn(move || serve(stream, &state, &told))));
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(2)),
                }
            }
            drop(listener);
            for (stream, thread) in connections {
                let _ = stream.shutdown(Shutdown::Both);
                let _ = thread.join();
            }
        });
        *self.running.lock().unwrap() = Some(Running { stop, thread });
    }

    /// Stops listening, and closes every connection.
    pub(crate) fn stop(&self) {
        let running = self.running.lock().unwrap().take();
        if let Some(running) = running {
            running.stop.store(true, Ordering::Relaxed);
            let _ = running.thread.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Answers the requests of one connection.
fn serve(mut stream: TcpStream, state: &Mutex<State>, told: &AtomicBool) {
    let Ok(reading) = stream.try_clone() else { return };
    let mut reading = BufReader::new(reading);
    while let Some(request) = read(&mut reading) {
        let call = match (request.method.as_str(), request.path.as_str()) {
            ("GET", "/vm") => Some(Call::Vm),
            ("GET", "/service?extended=true") => Some(Call::Service),
            ("PUT", "/vm") => Some(Call::Put),
            ("PUT", "/vm?type=2") => Some(Call::Delete),
            _ => None,
        };
        let answer = match call {
            None => (400, "OneGate server doesn't support this feature".to_owned()),
            Some(call) => {
                let fault = {
                    let mut state = state.lock().unwrap();
                    let asked = Asked { call, body: request.body.clone(), at: Instant::now(), done: false };
                    state.asked.push(asked);
                    let next = state.faults.iter_mut().find(|(of, _, left)| *of == call && *left > 0);
                    next.map(|(_, fault, left)| {
                        *left -= 1;
                        *fault
                    })
                };
                match fault {
                    Some(Fault::Close) => return drop(stream.shutdown(Shutdown::Both)),
                    Some(Fault::Hang) => {
                        while !told.load(Ordering::Relaxed) && !is_gone(&stream) {
                            std::thread::sleep(Duration::from_millis(5));
                        }
                        return;
                    }
                    Some(Fault::Status(status, body)) => (status, body.to_owned()),
                    Some(Fault::Body(body)) => (200, body.to_owned()),
                    Some(Fault::Slow(time)) => {
                        // The work goes on also when nobody waits for it any more.
                        std::thread::sleep(time);
                        work(&request, call, &mut state.lock().unwrap())
                    }
                    None => work(&request, call, &mut state.lock().unwrap()),
                }
            }
        };
        let (status, body) = answer;
        let head = "content-type: application/json;charset=utf-8";
        let text = format!("HTTP/1.1 {status} x\r\n{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn is_gone(stream: &TcpStream) -> bool {
    let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
    matches!(stream.peek(&mut [0]), Ok(0))
}

/// What the real one does with a good request, as far as it was seen.
fn work(request: &Request, call: Call, state: &mut State) -> (u16, String) {
    let header = |name: &str| request.headers.get(name).map(String::as_str);
    if header("x-onegate-token") != Some(TOKEN) || header("x-onegate-vmid") != Some(&VM.to_string()) {
        return (401, "Not authorized".to_owned());
    }
    let failed = || (500, "Internal server error".to_owned());
    match call {
        Call::Vm => {
            let vm = json!({"VM": {"NAME": "n", "ID": VM.to_string(), "STATE": "3", "LCM_STATE": "3",
                "USER_TEMPLATE": state.template, "TEMPLATE": {"NIC": [], "NIC_ALIAS": []}}});
            return (200, vm.to_string());
        }
        Call::Service => {
            return match &state.service {
                Some(service) => (200, service.to_string()),
                None => (400, "Empty or invalid SERVICE_ID".to_owned()),
            };
        }
        Call::Put => {
            let lines: Option<Vec<_>> = request.body.lines().map(|line| line.split_once('=')).collect();
            let Some(lines) = lines else { return failed() };
            for (key, value) in lines {
                if value.contains([',', '[', ']', '"']) || key.contains(['-', ' ']) {
                    return failed();
                }
                if ["SERVICE_ID", "ROLE_NAME", "SCHED_REQUIREMENTS"].contains(&key) {
                    return (403, format!("Attribute ({key}) cannot be modified"));
                }
                state.template.insert(key.to_owned(), value.to_owned());
            }
        }
        Call::Delete => drop(state.template.remove(&request.body)),
    }
    if let Some(asked) = state.asked.iter_mut().rev().find(|a| a.call == call && a.body == request.body) {
        asked.done = true;
    }
    (200, String::new())
}

struct Request {
    method: String,
    path: String,
    headers: BTreeMap<String, String>,
    body: String,
}

/// The next request; none at the end of the connection, or after one that cannot be read.
fn read(from: &mut BufReader<TcpStream>) -> Option<Request> {
    let mut line = || {
        let mut line = String::new();
        from.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut words = first.split(' ').map(str::to_owned);
    let (method, path) = (words.next()?, words.next()?);
    let mut headers = BTreeMap::new();
    loop {
        let line = line()?;
        let Some((name, value)) = line.split_once(':') else { break };
        headers.insert(name.to_ascii_lowercase(), value.trim().to_owned());
    }
    let length = headers.get("content-length").and_then(|n| n.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    from.read_exact(&mut body).ok()?;
    Some(Request { method, path, headers, body: String::from_utf8(body).ok()? })
}
