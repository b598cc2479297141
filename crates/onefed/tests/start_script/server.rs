//! A small server of files, which counts what is asked and can stop in the middle of an answer.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// What is served, and what was asked.
#[derive(Default)]
struct State {
    files: BTreeMap<String, Vec<u8>>,
    /// A file of which only the first half comes, and then nothing more.
    stuck: Option<String>,
    asked: Vec<String>,
}

/// The server; its thread ends with the test.
#[derive(Clone)]
pub(crate) struct Files {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Files {
    /// Listens on this address.
    pub(crate) fn at(address: &str) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let files = Self { address: address.to_owned(), state: Arc::default() };
        let state = files.state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = state.clone();
                std::thread::spawn(move || serve(stream, &state));
            }
        });
        files
    }

    pub(crate) fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.address)
    }

    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        self.state().files.insert(name.to_owned(), content.to_owned());
    }

    /// From now on this file does not come to its end; none: all do.
    pub(crate) fn stick(&self, name: Option<&str>) {
        self.state().stuck = name.map(str::to_owned);
    }

    /// The names that were asked for since the last look.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.state().asked)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) {
    let mut lines = BufReader::new(stream.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let _ = lines.take_while(|line| !line.is_empty()).count();
    let name = first.split(' ').nth(1).unwrap_or_default().trim_start_matches('/').to_owned();
    let (content, stuck) = {
        let mut state = state.lock().unwrap();
        state.asked.push(name.clone());
        (state.files.get(&name).cloned(), state.stuck.as_ref() == Some(&name))
    };
    let (status, content) = match content {
        Some(content) => ("200 OK", content),
        None => ("404 Not Found", b"not here".to_vec()),
    };
    let kind = if name.ends_with('/') { "text/html" } else { "application/octet-stream" };
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        content.len()
    );
    let half = if stuck { content.len() / 2 } else { content.len() };
    let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&content[..half]));
    while stuck && state.lock().unwrap().stuck.as_ref() == Some(&name) {
        std::thread::sleep(Duration::from_millis(20));
    }
}
