//! What the codec of the bulk connection leaves of weights, and how fast it is on one core: fp32 and bf16 weights
//! N(0, 0.02²), alone and after an update N(0, (1e-4)²), in objects as large as Flower's.
//!
//! `cargo bench -p onefed-link --bench codec`. Prints MB per second of CPU time; asserts that everything comes
//! back.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark prints, and may fail by a panic")]

use std::hint::black_box;
use std::time::Duration;

use bytes::Bytes;
use onefed_link::codec::{self, Coding};

/// As large as Flower cuts arrays.
const CHUNK: usize = 5 << 20;
const RUNS: usize = 40;

/// A small generator; normal numbers by Box and Muller.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) as f64 + 0.5) / (1u64 << 53) as f64
    }

    fn normal(&mut self, deviation: f64) -> f32 {
        let (radius, turn) = (self.uniform(), self.uniform());
        ((-2.0 * radius.ln()).sqrt() * (std::f64::consts::TAU * turn).cos() * deviation) as f32
    }
}

fn object(body: Vec<u8>) -> Bytes {
    let mut object = format!("ArrayChunk  {}\0", body.len()).into_bytes();
    object.extend(body);
    object.into()
}

/// The time that this thread has had of a core: other work on the machine does not count.
fn now() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn main() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let old: Vec<f32> = (0..CHUNK / 2).map(|_| random.normal(0.02)).collect();
    let new: Vec<f32> = old.iter().map(|weight| weight + random.normal(1e-4)).collect();
    let fp32 = |all: &[f32]| object(all[..CHUNK / 4].iter().flat_map(|w| w.to_le_bytes()).collect());
    let bf16 =
        |all: &[f32]| object(all.iter().flat_map(|w| ((w.to_bits() >> 16) as u16).to_le_bytes()).collect());
    let noise = object((0..CHUNK).map(|_| (random.uniform() * 256.0) as u8).collect());
    let cases = [
        ("fp32 alone", fp32(&new), None),
        ("fp32 update", fp32(&new), Some(fp32(&old))),
        ("bf16 alone", bf16(&new), None),
        ("bf16 update", bf16(&new), Some(bf16(&old))),
        ("noise", noise, None),
    ];
    println!("{:<12} {:>8} {:>7} {:>14} {:>14}", "", "coding", "left", "encode MB/s", "decode MB/s");
    for (name, raw, base) in cases {
        let base = base.as_deref();
        let mut encoded = codec::encode(&raw, base);
        let decode = || codec::decode(encoded.coding, &encoded.bytes, raw.len(), base).unwrap();
        assert_eq!(decode(), raw);
        let began = now();
        (0..RUNS).for_each(|_| drop(black_box(decode())));
        let decoded = now() - began;
        let began = now();
        (0..RUNS).for_each(|_| encoded = black_box(codec::encode(&raw, base)));
        let coded = now() - began;
        let speed = |took: Duration| (RUNS * raw.len()) as f64 / 1e6 / took.as_secs_f64();
        let coding = match encoded.coding {
            Coding::Plain => "plain",
            Coding::Packed => "packed",
            Coding::Delta => "delta",
        };
        let left = encoded.bytes.len() as f64 / raw.len() as f64;
        println!("{name:<12} {coding:>8} {left:>7.4} {:>14.0} {:>14.0}", speed(coded), speed(decoded));
    }
}
