//! How fast an emulated line is, and what it costs: `cargo run --release -p onefed-testbed --example wan_speed`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement prints, and may fail by a panic")]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use onefed_testbed::wan::{Profile, Wan};

fn main() {
    let any: SocketAddr = "127.23.2.1:0".parse().unwrap();
    for (mbit, flows) in [(100, 1), (1000, 1), (2000, 1), (2000, 4), (8000, 1)] {
        let listener = TcpListener::bind(any).unwrap();
        let profile = Profile::new(Duration::from_millis(20), mbit);
        let wan = Wan::open(any, listener.local_addr().unwrap(), profile).unwrap();
        let cpu = thread_seconds();
        let began = Instant::now();
        let readers: Vec<_> = (0..flows)
            .map(|_| {
                let mut client = TcpStream::connect(wan.address()).unwrap();
                let (mut server, _) = listener.accept().unwrap();
                std::thread::spawn(move || while client.write_all(&[0; 1 << 18]).is_ok() {});
                std::thread::spawn(move || {
                    let (mut buffer, mut bytes) = (vec![0; 1 << 20], 0u64);
                    while began.elapsed() < Duration::from_secs(3) {
                        bytes += server.read(&mut buffer).unwrap() as u64;
                    }
                    bytes
                })
            })
            .collect();
        let bytes: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        let seconds = began.elapsed().as_secs_f64();
        let cost = (thread_seconds() - cpu) / (bytes as f64 / 1e9);
        println!(
            "{mbit:5} Mbit/s, {flows} flows: {:6.1} MB/s, {cost:.2} CPU-s of the line per GB",
            bytes as f64 / 1e6 / seconds
        );
    }
}

/// CPU seconds of the threads that are lines.
fn thread_seconds() -> f64 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap().flatten();
    let lines = tasks.filter_map(|task| std::fs::read_to_string(task.path().join("stat")).ok());
    let ticks = lines.filter(|stat| stat.contains("(wan ")).map(|stat| {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest).to_owned();
        let field = |n: usize| rest.split_whitespace().nth(n).and_then(|text| text.parse::<f64>().ok());
        field(11).unwrap_or(0.0) + field(12).unwrap_or(0.0)
    });
    ticks.sum::<f64>() / 100.0
}
