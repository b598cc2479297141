//! A OneGate for unit tests: it keeps what it is told, and can be made to refuse.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use onefed_opennebula::Secret;
use onefed_opennebula::onegate::Client;

#[derive(Default)]
struct Kept {
    template: BTreeMap<String, String>,
    said: Vec<String>,
    service: (u16, String),
    refuse: usize,
    refused: usize,
}

/// A server on a port that the system chose. Its threads end with the test's process.
pub(crate) struct Gate {
    port: u16,
    kept: Arc<Mutex<Kept>>,
}

impl Gate {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind("127.143.240.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let kept: Arc<Mutex<Kept>> = Arc::default();
        let shared = kept.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let kept = shared.clone();
                std::thread::spawn(move || while answer(&stream, &kept).is_some() {});
            }
        });
        Self { port, kept }
    }

    pub(crate) fn client(&self) -> Client {
        let url = format!("http://127.143.240.1:{}", self.port).parse().unwrap();
        Client::new(url, Secret::new("token"), 7).unwrap()
    }

    /// The attributes of the VM.
    pub(crate) fn template(&self) -> BTreeMap<String, String> {
        self.kept().template.clone()
    }

    /// The bodies of all updates that were taken.
    pub(crate) fn said(&self) -> Vec<String> {
        self.kept().said.clone()
    }

    /// The answer to questions about the service.
    pub(crate) fn service(&self, status: u16, body: impl ToString) {
        self.kept().service = (status, body.to_string());
    }

    /// The next calls are answered with 401, which no repetition mends.
    pub(crate) fn refuse(&self, times: usize) {
        self.kept().refuse = times;
    }

    pub(crate) fn refused(&self) -> usize {
        self.kept().refused
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap()
    }
}

/// Answers one request; none at the end of the connection.
fn answer(mut stream: &TcpStream, kept: &Mutex<Kept>) -> Option<()> {
    let mut reading = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reading.read_line(&mut line).ok().filter(|read| *read > 0).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut length = 0;
    while let Some((name, value)) = line()?.split_once(':') {
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().ok()?;
        }
    }
    let mut body = vec![0; length];
    reading.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).ok()?;
    let mut kept = kept.lock().ok()?;
    let (status, text) = if kept.refuse > 0 {
        kept.refuse -= 1;
        kept.refused += 1;
        (401, "Not authorized".to_owned())
    } else if first.starts_with("GET /service") {
        kept.service.clone()
    } else if first.starts_with("PUT /vm?type=2 ") {
        kept.template.remove(&body);
        (200, String::new())
    } else if first.starts_with("PUT /vm ") {
        let lines = body.lines().filter_map(|line| line.split_once('='));
        kept.template.extend(lines.map(|(key, value)| (key.to_owned(), value.to_owned())));
        kept.said.push(body);
        (200, String::new())
    } else {
        let vm = serde_json::json!({"VM": {"ID": "7", "NAME": "n", "USER_TEMPLATE": kept.template}});
        (200, vm.to_string())
    };
    drop(kept);
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: {}\r\n\r\n{text}", text.len());
    stream.write_all(answer.as_bytes()).ok()
}
