use std::sync::Mutex;
use std::time::Instant;

use super::*;
use crate::publication::decode;
use crate::testing::Gate;

const EVERY: Duration = Duration::from_millis(10);

fn machine(dir: &std::path::Path) -> Machine {
    Machine {
        context: dir.join("context"),
        disk: dir.join("disk"),
        flower: dir.join("flower"),
        exe: "/nowhere".into(),
        units: None,
        sandbox_loopback: None,
    }
}

fn crash() -> StepError {
    StepError::process("flower-superlink keeps ending (exit status: 3): no space left", "see its log")
}

/// What a look at the processes comes to, and when the phase is over.
type Phase<'a> = (Option<fn() -> StepError>, &'a dyn Fn(&Gate, &State) -> bool);

/// Watches while the processes are as `phases` say, one after the other; each lasts until `heard` holds of what OneGate
/// was told and what `onefed health` reads.
async fn watched(trouble: Option<StepError>, phases: &[Phase<'_>]) {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    let gate = Gate::new();
    let publisher = Publisher::new(Some(gate.client()));
    note(&machine, State::Ready);
    let now: Mutex<Option<fn() -> StepError>> = Mutex::new(None);
    let check = async || now.lock().unwrap().map_or(Ok(()), |why| Err(why()));
    let script = async {
        for (number, (state, heard)) in phases.iter().enumerate() {
            *now.lock().unwrap() = *state;
            let started = Instant::now();
            while !heard(&gate, &Record::read(&machine.disk).unwrap().unwrap().state) {
                assert!(started.elapsed() < Duration::from_secs(20), "phase {number}: {:?}", gate.said());
                tokio::time::sleep(EVERY).await;
            }
            // It is said once, however long it lasts.
            let said = gate.said().len();
            tokio::time::sleep(EVERY * 10).await;
            assert_eq!(gate.said().len(), said, "phase {number}: {:?}", gate.said());
        }
    };
    tokio::select! {
        () = watch(&machine, &publisher, check, trouble.as_ref(), EVERY) => unreachable!(),
        () = script => {}
    }
}

fn is_degraded(gate: &Gate, state: &State, code: &str) -> bool {
    let all = gate.template();
    let found = |name: &str| all.get(name).map(String::as_str);
    let text = found(attribute::ERROR_TEXT).and_then(decode).unwrap_or_default();
    let written = matches!(state, State::Degraded { code: written, text: why } if written == code && text.starts_with(why.as_str()));
    written && (found(attribute::STATE), found(attribute::ERROR)) == (Some("degraded"), Some(code))
}

fn is_ready(gate: &Gate, state: &State) -> bool {
    let all = gate.template();
    *state == State::Ready
        && all.get(attribute::STATE).map(String::as_str) == Some("ready")
        && !all.contains_key(attribute::ERROR)
        && !all.contains_key(attribute::ERROR_TEXT)
}

#[tokio::test]
async fn a_crash_loop_is_said_once_and_taken_back_when_all_is_well_each_time() {
    let crashes: &dyn Fn(&Gate, &State) -> bool = &|gate, state| is_degraded(gate, state, "process_failed");
    watched(None, &[(Some(crash), crashes), (None, &is_ready), (Some(crash), crashes), (None, &is_ready)])
        .await;
}

#[tokio::test]
async fn what_onegate_could_not_be_told_is_told_when_it_answers() {
    let dir = tempfile::tempdir().unwrap();
    let machine = machine(dir.path());
    let gate = Gate::new();
    let publisher = Publisher::new(Some(gate.client()));
    gate.refuse(3);
    let check = async || Err(crash());
    let heard = async {
        while gate.template().get(attribute::STATE).map(String::as_str) != Some("degraded") {
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = watch(&machine, &publisher, check, None, EVERY) => unreachable!(),
        done = tokio::time::timeout(Duration::from_secs(20), heard) => done.unwrap(),
    }
    assert_eq!(gate.refused(), 3);
}

#[tokio::test]
async fn a_onegate_that_refuses_for_good_does_not_keep_the_disk_from_saying_that_all_is_well() {
    let refused: &dyn Fn(&Gate, &State) -> bool = &|gate, state| {
        gate.refuse(usize::MAX);
        matches!(state, State::Degraded { .. }) && gate.refused() > 1
    };
    let well: &dyn Fn(&Gate, &State) -> bool = &|_, state| *state == State::Ready;
    watched(
        None,
        &[
            (None, &|gate, _| {
                gate.refuse(usize::MAX);
                true
            }),
            (Some(crash), refused),
            (None, well),
        ],
    )
    .await;
}

#[tokio::test]
async fn the_fault_of_a_context_is_said_again_when_the_processes_are_well() {
    let crashes: &dyn Fn(&Gate, &State) -> bool = &|gate, state| is_degraded(gate, state, "process_failed");
    let context: &dyn Fn(&Gate, &State) -> bool = &|gate, state| is_degraded(gate, state, "context_invalid");
    let trouble = StepError::context("FL_LOG_LEVEL is wrong", "correct it");
    watched(Some(trouble), &[(None, context), (Some(crash), crashes), (None, context)]).await;
}

#[test]
fn a_problem_is_one_line() {
    let told = in_a_line(&Problem {
        severity: Severity::Error,
        code: "context::missing",
        variable: None,
        message: "FL_ROLE is required.\nReally.".to_owned(),
        hint: Some("say which".to_owned()),
    });
    assert_eq!(told, "[context::missing] FL_ROLE is required. Really. (hint: say which)");
}
