//! What runs, what it sees, and that nothing stays.

use super::*;
use crate::sweep::{SANDBOX, VM, sweep};
use onefed_opennebula::VmState;
use std::process::{Command, Stdio};

/// Ids of processes whose environment names this VM (or any, without one) of the sandbox.
fn alive(bed_dir: &std::path::Path, vm: Option<&str>) -> Vec<u32> {
    let dir = bed_dir.join("sandbox").canonicalize().unwrap();
    let wanted = [Some(format!("{SANDBOX}={}", dir.display())), vm.map(|vm| format!("{VM}={vm}"))];
    let proc = std::fs::read_dir("/proc").unwrap().flatten();
    let pids = proc.filter_map(|e| e.file_name().to_str()?.parse::<u32>().ok());
    let has = |pid: &u32| {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else { return false };
        let entries: Vec<_> = environment.split(|b| *b == 0).map(String::from_utf8_lossy).collect();
        wanted.iter().flatten().all(|w| entries.iter().any(|e| e == w))
    };
    pids.filter(has).collect()
}

#[tokio::test]
async fn a_vm_sees_a_scrubbed_world_and_leaves_nothing() {
    let bed = up(&["madrid", "paris"]).await;
    let id = bed.start(1, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    let vm = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
    let dir = bed.vm_dir(&vm).canonicalize().unwrap();
    // the shell and two sleeps
    until("all of the guest", async || (alive(bed.dir.path(), Some("paris/0")).len() >= 3).then_some(()))
        .await;
    let environment = std::fs::read_to_string(dir.join("env.txt")).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|l| Some(l.split_once('=')?.0)).collect();
    let expected = ["PATH", "HOME", "TMPDIR", "LANG", SANDBOX, VM, "PWD", "OLDPWD", "SHLVL", "_"];
    assert!(
        names.iter().all(|n| expected.contains(n) || n.starts_with("OMP_") || n.starts_with("OPENBLAS_")),
        "{names:?}"
    );
    assert!(
        environment.contains("ONEFED_VM=paris/0\n")
            && environment.contains(&format!("HOME={}\n", dir.display()))
    );
    let console = std::fs::read_to_string(dir.join("console.log")).unwrap();
    let loopback = format!("--loopback 127.{}.102.10 --flower-dir /nowhere/flower", bed.net);
    assert!(console.starts_with("guest: boot --context ") && console.contains(&loopback), "{console}");
    let mode = |path: &str| std::fs::metadata(dir.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("context/context.sh"), mode("context/token.txt")), (0o700, 0o600, 0o600));

    bed.flow(1).delete_service(&id).await.unwrap();
    bed.gone(&id).await;
    assert!(alive(bed.dir.path(), None).is_empty());
    assert!(
        std::fs::read_to_string(dir.join("console.log")).unwrap().ends_with("down\n"),
        "it was asked first"
    );
    bed.down().await;
}

#[tokio::test]
async fn a_killed_boot_process_is_a_power_off_and_takes_the_rest_along() {
    let bed = up(&["madrid"]).await;
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", 1)]}), &json!({})).await;
    let vm = nodes(&bed.reach(&id, ServiceState::Running).await, "r").remove(0);
    until("all of the guest", async || (alive(bed.dir.path(), None).len() >= 3).then_some(())).await;
    // The leader is its own process group.
    let group = |pid: u32| {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(2)?.parse::<u32>().ok()
    };
    let pids = alive(bed.dir.path(), None);
    let leader = *pids.iter().find(|p| group(**p) == Some(**p) && is_shell(**p)).unwrap();
    let leader = rustix::process::Pid::from_raw(leader as i32).unwrap();
    rustix::process::kill_process(leader, rustix::process::Signal::KILL).unwrap();
    bed.reach(&id, ServiceState::Warning).await;
    assert_eq!(bed.rpc(0).vm(&vm).await.unwrap().state, VmState::Poweroff);
    assert!(alive(bed.dir.path(), None).is_empty());
    bed.down().await;
}

fn is_shell(pid: u32) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|c| c.windows(8).any(|w| w == b"guest.sh"))
}

/// Processes as a sandbox leaves them when it is killed with -9.
fn leftover(dir: &std::path::Path) -> std::process::Child {
    let mut command = Command::new("sh");
    command.args(["-c", "trap '' TERM; setsid sleep 120 & sleep 120"]).stdin(Stdio::null());
    command.env(SANDBOX, dir).env(VM, "madrid/0").spawn().unwrap()
}

#[tokio::test]
async fn leftovers_are_swept_by_the_verb_and_by_the_next_start() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("sandbox");
    assert_eq!(sweep(&dir).unwrap(), 0, "there is no such directory");
    std::fs::create_dir_all(dir.join("zones/madrid/vms/0/disk")).unwrap();
    let dir = dir.canonicalize().unwrap();
    let mut child = leftover(&dir);
    let mut bystander =
        Command::new("sleep").arg("120").env(SANDBOX, format!("{}x", dir.display())).spawn().unwrap();
    until("three processes", async || (alive(home.path(), None).len() == 3).then_some(())).await;
    assert_eq!(sweep(&dir).unwrap(), 3);
    assert!(alive(home.path(), None).is_empty());
    assert!(!child.wait().unwrap().success());
    assert!(bystander.try_wait().unwrap().is_none(), "another sandbox's");
    bystander.kill().unwrap();
    bystander.wait().unwrap();

    let mut child = leftover(&dir);
    until("three processes", async || (alive(home.path(), None).len() == 3).then_some(())).await;
    loop {
        let (ready, told) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(run(config(home.path(), next_net(), &["madrid"]), ready, async {
            let _ = stopped.await;
        }));
        if told.await.is_ok() {
            assert!(alive(home.path(), None).is_empty());
            assert!(!dir.join("zones").exists());
            stop.send(()).unwrap();
            task.await.unwrap().unwrap();
            break;
        }
        assert!(matches!(task.await.unwrap(), Err(SandboxError::Address { .. })));
    }
    assert!(!child.wait().unwrap().success());
}

#[tokio::test]
async fn the_end_of_a_sandbox_ends_training_sites_first() {
    let bed = up(&["madrid", "paris"]).await;
    let link = bed.start(0, &json!({"name": "c", "roles": [role("superlink", 1)]}), &json!({})).await;
    let site = bed.start(1, &json!({"name": "s", "roles": [role("supernode", 2)]}), &json!({})).await;
    let link = nodes(&bed.reach(&link, ServiceState::Running).await, "superlink").remove(0);
    let nodes = nodes(&bed.reach(&site, ServiceState::Running).await, "supernode");
    until("the guests", async || {
        [&link, &nodes[0], &nodes[1]].iter().all(|v| bed.vm_dir(v).join("env.txt").exists()).then_some(())
    })
    .await;
    let watcher = tokio::spawn(watch([link, nodes[0].clone(), nodes[1].clone()].map(|v| bed.vm_dir(&v))));
    bed.down().await;
    let ended = watcher.await.unwrap();
    assert!(ended[0] > ended[1] && ended[0] > ended[2], "{ended:?}");
}

/// When the disk of each VM went.
async fn watch(dirs: [PathBuf; 3]) -> [Instant; 3] {
    let mut ended = [None; 3];
    while ended.iter().any(Option::is_none) {
        for (dir, at) in dirs.iter().zip(&mut ended) {
            if at.is_none() && !dir.join("disk").exists() {
                *at = Some(Instant::now());
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    ended.map(Option::unwrap)
}

/// Not a test of its own: a sandbox in a process of its own, for the next ones. Its directory and net come by
/// environment.
#[tokio::test]
#[ignore = "not a test: the tests below start it as a process of its own"]
async fn a_sandbox_on_a_lease() {
    let Some(home) = std::env::var_os("ONEFED_TEST_HOME") else { return };
    let net = std::env::var("ONEFED_TEST_NET").unwrap().parse().unwrap();
    let mut config = config(home.as_ref(), net, &["madrid"]);
    config.lease_stdin = true;
    let (ready, told) = oneshot::channel();
    let run = tokio::spawn(run(config, ready, std::future::pending()));
    if told.await.is_ok() {
        std::fs::write(std::path::Path::new(&home).join("ready"), "").unwrap();
    }
    run.await.unwrap().unwrap();
}

/// Starts it and a service in it; returns the process.
async fn on_a_lease(home: &std::path::Path) -> std::process::Child {
    loop {
        let net = next_net();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "tests::processes::a_sandbox_on_a_lease", "--ignored"]);
        command.env("ONEFED_TEST_HOME", home).env("ONEFED_TEST_NET", net.to_string());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let ended = until("ready", async || {
            let ended = child.try_wait().unwrap().is_some();
            (ended || home.join("ready").exists()).then_some(ended)
        })
        .await;
        if ended {
            continue;
        }
        let login = std::fs::read_to_string(home.join("sandbox/one_auth")).unwrap();
        let url = format!("http://127.{net}.1.1:2474").parse().unwrap();
        let flow = oneflow::Client::new(zone("madrid"), url, Credentials::parse(&login).unwrap()).unwrap();
        let template =
            flow.create_service_template(&json!({"name": "t", "roles": [role("r", 1)]})).await.unwrap();
        flow.instantiate(&template.id, &json!({})).await.unwrap();
        until("all of the guest", async || (alive(home, None).len() >= 3).then_some(())).await;
        return child;
    }
}

#[tokio::test]
async fn the_end_of_the_lease_is_an_orderly_stop() {
    let home = tempfile::tempdir().unwrap();
    let mut child = on_a_lease(home.path()).await;
    drop(child.stdin.take());
    let status = until("the end", async || child.try_wait().unwrap()).await;
    assert!(status.success());
    assert!(alive(home.path(), None).is_empty());
    assert!(!home.path().join("sandbox/zones").exists());
}

#[tokio::test]
async fn a_sandbox_killed_with_9_is_swept() {
    let home = tempfile::tempdir().unwrap();
    let mut child = on_a_lease(home.path()).await;
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(alive(home.path(), None).len() >= 3, "guests outlive it");
    assert!(sweep(&home.path().join("sandbox")).unwrap() >= 3);
    assert!(alive(home.path(), None).is_empty());
}
