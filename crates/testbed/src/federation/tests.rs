use super::*;

#[test]
fn reports_are_judged() {
    let good = r#"{"event":"round-end","at":1.5,"round":1,"seconds":2.0,"results":4,"errors":[],"different":0,"down":[0.1],"up":[0.2]}"#;
    let event: Event = serde_json::from_str(good).unwrap();
    let What::RoundEnd(round) = event.what else { panic!("{event:?}") };
    let report = |status: &str, rounds: Vec<Round>| Report {
        status: status.into(),
        rounds,
        object_bytes: 0,
        objects: 0,
    };
    assert!(report("finished:completed", vec![round.clone()]).check(4, 1).is_ok());
    let altered = Round { different: 1, results: 3, ..round };
    let why = report("finished:failed", vec![altered]).check(4, 2).unwrap_err().to_string();
    for part in ["finished:failed", "1 of 2 rounds", "3 of 4 results, 1 of them altered"] {
        assert!(why.contains(part), "{why}");
    }
    let failed: Event = serde_json::from_str(r#"{"event":"failed","at":2,"why":"no"}"#).unwrap();
    assert!(matches!(failed.what, What::Failed { why } if why == "no"));
}

#[test]
fn a_process_is_measured_restarted_and_leaves_nothing() {
    use onefed_flower::command::CommandLine;
    let dir = std::env::temp_dir().join(format!("onefed-testbed-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    // The shell leaves a child behind, as Flower's processes do.
    let args = ["-c", "echo here; sleep 100 & exec sleep 101"].map(str::to_owned).to_vec();
    let env = vec![("PATH".to_owned(), "/usr/bin:/bin".to_owned())];
    let command = CommandLine { program: "/bin/sh".into(), args, env };
    let process = Process::start("sleeper", command, &dir).unwrap();
    let patience = Duration::from_secs(10);
    process.wait_for_log("here", patience).unwrap();
    let usage = process.usage();
    assert!(usage.rss > 0 && usage.rss_peak >= usage.rss && usage.cpu_seconds < 1.0, "{usage:?}");
    let first = process.pid();
    process.kill();
    assert_eq!(process.usage(), Usage::default());
    process.restart().unwrap();
    assert!(process.pid().is_some() && process.pid() != first);
    assert!(process.wait_for_log("never", Duration::from_millis(100)).is_err());
    assert!(!process.stop(patience).unwrap().success());
    process::end_everything_of(&dir);
    let marked = |entry: std::fs::DirEntry| {
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        String::from_utf8_lossy(&environment).contains(&dir.display().to_string())
    };
    assert!(!std::fs::read_dir("/proc").unwrap().flatten().any(marked));
    std::fs::remove_dir_all(&dir).unwrap();
}
