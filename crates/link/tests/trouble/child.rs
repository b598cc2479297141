//! A hub or a spoke in a process of its own: one whose memory can be looked at, and whose files the system can refuse.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use onefed_link::KeepAlive;
use onefed_link::hub::Hub;
use onefed_link::spoke::Spoke;
use onefed_testbed::federation::Usage;
use onefed_trust::{SecretPem, tls};
use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use serde_json::{Value, json};

use crate::log;
use crate::support::{Trust, hub_config, spoke_config};

const DIR: &str = "ONEFED_TEST_END";
const UP: Duration = Duration::from_secs(60);

/// A running process. It ends with this, and with the test's process.
pub struct Process {
    child: Child,
    pub dir: PathBuf,
    said: Arc<Mutex<String>>,
    /// Where spokes or SuperNodes come in.
    pub fleet: SocketAddr,
}

impl Process {
    pub fn hub(trust: &Trust, dir: &Path, superlink: SocketAddr, keepalive: KeepAlive) -> Self {
        Self::start(trust, dir, json!({ "end": "hub", "to": superlink }), keepalive)
    }

    pub fn spoke(trust: &Trust, dir: &Path, hub: SocketAddr, keepalive: KeepAlive) -> Self {
        Self::start(trust, dir, json!({ "end": "spoke", "to": hub }), keepalive)
    }

    fn start(trust: &Trust, dir: &Path, mut what: Value, keepalive: KeepAlive) -> Self {
        std::fs::create_dir_all(dir).unwrap();
        what["ca"] = trust.root.cert_pem().into();
        what["chain"] = trust.chain.clone().into();
        what["key"] = trust.key.expose().into();
        what["keepalive_ms"] = json!([keepalive.time.as_millis(), keepalive.timeout.as_millis()]);
        std::fs::write(dir.join("what"), what.to_string()).unwrap();
        // A file that gets too long is to be an error, not the end of the process.
        let mut command = Command::new("/bin/sh");
        command.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(std::env::current_exe().unwrap());
        command.args(["--exact", "an_end_of_its_own", "--nocapture"]).env(DIR, dir);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (said, lines) = (Arc::<Mutex<String>>::default(), BufReader::new(child.stderr.take().unwrap()));
        let words = said.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                *words.lock().unwrap() += &(line + "\n");
            }
        });
        let began = Instant::now();
        let fleet = loop {
            match std::fs::read(dir.join("address")) {
                Ok(bytes) => break String::from_utf8(bytes).unwrap().parse().unwrap(),
                Err(_) => assert!(began.elapsed() < UP, "not up: {}", said.lock().unwrap()),
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Self { child, dir: dir.to_owned(), said, fleet }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Anonymous memory, in bytes.
    pub fn memory(&self) -> u64 {
        Usage::of(self.pid()).rss_anon
    }

    /// Where operators come in, at a hub.
    pub fn operators(&self) -> SocketAddr {
        std::fs::read_to_string(self.dir.join("operators")).unwrap().parse().unwrap()
    }

    /// From now on no file may be longer than this; `None` lifts it.
    pub fn limit_files(&self, bytes: Option<u64>) {
        let ours = getrlimit(Resource::Fsize);
        let limit = Rlimit { current: bytes.or(ours.current), maximum: ours.maximum };
        prlimit(Some(self.pid()), Resource::Fsize, limit).unwrap();
    }

    pub fn said(&self) -> String {
        self.said.lock().unwrap().clone()
    }

    /// Whether it still runs.
    pub fn lives(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("--- {}\n{}", self.dir.display(), self.said());
        }
    }
}

/// What the process does. Nothing in the test's own.
pub async fn run() {
    let Some(dir) = std::env::var_os(DIR).map(PathBuf::from) else { return };
    log::say();
    // Whoever has started this is gone when its input ends.
    std::thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(0);
    });
    let what: Value = serde_json::from_slice(&std::fs::read(dir.join("what")).unwrap()).unwrap();
    let text = |name: &str| what[name].as_str().unwrap().to_owned();
    let time = |n: usize| Duration::from_millis(what["keepalive_ms"][n].as_u64().unwrap());
    let keepalive = KeepAlive { time: time(0), timeout: time(1) };
    // Its own trust is made, and then replaced by the test's.
    let (mut trust, to) = (Trust::new(), text("to").parse().unwrap());
    (trust.chain, trust.key) = (text("chain"), SecretPem::new(text("key")));
    let tell = |address: SocketAddr| {
        std::fs::write(dir.join("part"), address.to_string()).unwrap();
        std::fs::rename(dir.join("part"), dir.join("address")).unwrap();
    };
    if text("end") == "hub" {
        let mut config = hub_config(&trust, "1.41.0", to, keepalive, "127.0.0.1:0", None, &dir);
        config.tls.as_mut().unwrap().client_ca_pem = Some(text("ca"));
        let hub = Hub::open(config).await.unwrap();
        let operators = hub.admin_address().unwrap().unwrap();
        std::fs::write(dir.join("operators"), operators.to_string()).unwrap();
        tell(hub.fleet_address().unwrap());
        hub.serve().await;
    } else {
        let mut config = spoke_config(&trust, to, keepalive, "test", "127.0.0.1:0", &dir);
        config.line.tls = Some(tls::client(&text("ca"), None, &[b"h2"]).unwrap());
        let spoke = Spoke::open(config).await.unwrap();
        tell(spoke.address().unwrap());
        spoke.serve().await;
    }
}
