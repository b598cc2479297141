//! What OpenNebula answers, as one list of cases: the same calls, with the same results and refusals, against the
//! sandbox and against a real zone.
//!
//! `cargo test` runs it against a sandbox of its own. `make contract ONE_XMLRPC=… ONEFLOW_URL=… ONEGATE_ENDPOINT=…
//! ONE_AUTH=…` runs it against the zone at these addresses. There it needs no host, no image and no network: it makes VM
//! templates, service templates, services and VMs whose names begin with a prefix of this run, and removes them, also
//! after a failure. What a real zone cannot show in a test's time is listed as skipped.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

mod clean;
mod heard;
mod list;
mod sandbox;
mod stage;
mod stories;
mod table;
mod target;
mod token;

use target::Target;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sandbox_answers_as_opennebula_does() {
    let bed = sandbox::Bed::up().await;
    let report = list::run(bed.target()).await;
    bed.down().await;
    report.conclude();
}

/// Set by `make contract`, so that no test run meets a zone that happens to be in somebody's environment.
const WANTED: &str = "ONEFED_CONTRACT";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_real_zone_answers_as_opennebula_does() {
    if std::env::var_os(WANTED).is_none() {
        println!("skipped: no real zone is named (see `make contract`)");
        return;
    }
    let target = Target::from_environment().unwrap_or_else(|why| panic!("{why}"));
    list::run(target).await.conclude();
}
