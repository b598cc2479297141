//! Lines that stall: what it costs the others, and how long after the stall they are in use again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use onefed_link::KeepAlive;
use onefed_testbed::synthetic::Model;
use onefed_testbed::wan::{Lane, Profile, Way};

use crate::child::Process;
use crate::support::{Trust, UP};
use crate::{LONG, line, node, spoke, superlink, until, waits};

const DISK: u64 = 1 << 30;
const MODEL: usize = 24 << 20;
/// What the hub may take beyond what it takes for one spoke alone: the bounds of a pair, whose both directions stall.
const MORE: u64 = 64 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spoke_that_stalls_does_not_slow_another_and_costs_a_bounded_number_of_bytes() {
    let (trust, dir, superlink) = (Trust::new(), tempfile::tempdir().unwrap(), superlink());
    // Long enough that a line that is silent is kept for the whole test.
    let keepalive = KeepAlive::default();
    let hub = Process::hub(&trust, &dir.path().join("hub"), superlink.address(), keepalive);
    let lines = [line(hub.fleet, 400), line(hub.fleet, 400)];
    let well = spoke(&trust, dir.path(), lines[0].address(), "well", keepalive, DISK).await;
    let ill = spoke(&trust, dir.path(), lines[1].address(), "ill", keepalive, DISK).await;
    node(&superlink, well.listen, 1, MODEL).await;
    node(&superlink, ill.listen, 2, MODEL).await;

    let (mut replies, mut most) = (0, 0);
    let mut look = |what: &str| {
        most = most.max(hub.memory());
        assert!(most > 0, "{what}");
        most
    };
    let mut round = |seed, look: &mut dyn FnMut(&str) -> u64| {
        let began = Instant::now();
        superlink.give(0, &Arc::new(Model::new(seed, MODEL)));
        replies += 1;
        while !superlink.wait_for_replies(replies, Duration::from_millis(50)) {
            look("a round");
            assert!(began.elapsed() < LONG, "no reply");
        }
        began.elapsed()
    };
    let idle = look("idle");
    // The first one finds everything cold.
    let alone = waits(|| (10..13).map(|seed| round(seed, &mut look)).min().unwrap());
    let busy = look("alone");

    // A reader that takes hardly anything, then a line that takes nothing at all, each in the middle of a model.
    superlink.give(1, &Arc::new(Model::new(20, MODEL)));
    assert!(waits(|| lines[1].wait_for(Way::Down, 2 << 20, LONG)), "nothing came");
    let slow = Lane { slow_reader: Some(20_000), ..Lane::default() };
    lines[1].set(Profile { up: slow, down: slow });
    let beside_slow = waits(|| round(30, &mut look));
    lines[1].black_hole();
    let beside_hole = waits(|| (31..33).map(|seed| round(seed, &mut look)).min().unwrap());
    let all = look("beside one that stalls");
    println!(
        "a round alone {alone:?}, beside a slow reader {beside_slow:?}, beside a hole {beside_hole:?}; hub {} MiB idle, \
         {} MiB with one spoke, {} MiB with one that stalls",
        idle >> 20,
        busy >> 20,
        all >> 20
    );
    // The stalled one would need a quarter of an hour.
    let bound = alone + Duration::from_secs(15);
    assert!(beside_slow < bound && beside_hole < bound, "{beside_slow:?} {beside_hole:?} of {alone:?}");
    assert!(all < busy + MORE, "{} MiB, {} MiB before", all >> 20, busy >> 20);
    assert!(ill.line.why_down().is_none() && well.line.sight().pairs == 1);

    // What stalled goes on.
    lines[1].set(Profile::default());
    lines[1].heal();
    assert!(waits(|| superlink.wait_for_replies(7, LONG)), "the other reply is lost");
}

/// Longer than anything that the system waits for between two tries.
const HOLE: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_hole_of_20_s_the_line_is_in_use_within_5() {
    let (trust, dir, superlink) = (Trust::new(), tempfile::tempdir().unwrap(), superlink());
    let keepalive = KeepAlive { time: Duration::from_secs(4), timeout: Duration::from_secs(2) };
    let hub = crate::support::hub(&trust, "1.41.0", superlink.address(), keepalive, "127.0.0.1:0").await;
    let line = line(hub.fleet, 100);
    let site = spoke(&trust, dir.path(), line.address(), "site", keepalive, DISK).await;
    node(&superlink, site.listen, 1, MODEL).await;
    superlink.give(0, &Arc::new(Model::new(2, MODEL)));
    assert!(waits(|| line.wait_for(Way::Down, 2 << 20, LONG)), "nothing came");
    line.black_hole();
    tokio::time::sleep(HOLE).await;
    assert!(site.line.why_down().is_some());
    line.heal();
    let taken = || site.line.sight().bulk.0;
    let (healed, before) = (Instant::now(), taken());
    site.line.wait_up(UP).await.unwrap();
    let up = healed.elapsed();
    until("bytes", UP, async || taken() > before + (1 << 20)).await;
    println!("up {up:?} after the hole, a model on its way {:?} after it", healed.elapsed());
    assert!(healed.elapsed() < Duration::from_secs(5), "{:?}", healed.elapsed());
    assert!(waits(|| superlink.wait_for_replies(1, LONG)), "the reply is lost");
}
