//! Power, reboot and another context.

use super::*;
use onefed_opennebula::{LcmState, VmState, xmlrpc, xmlrpc::VmAction};
use std::os::unix::fs::MetadataExt;

/// A service of so many VMs, all of whose guests listen.
async fn guests(bed: &Bed, count: u32) -> (ServiceId, Vec<VmId>) {
    let id = bed.start(0, &json!({"name": "t", "roles": [role("r", count)]}), &json!({})).await;
    let vms = nodes(&bed.reach(&id, ServiceState::Running).await, "r");
    for vm in &vms {
        boots(bed, vm, 1).await;
    }
    (id, vms)
}

/// Waits until the guest has booted so many times in all.
async fn boots(bed: &Bed, vm: &VmId, count: usize) {
    until("a boot", async || (console(bed, vm).matches("guest: boot").count() == count).then_some(())).await;
}

fn console(bed: &Bed, vm: &VmId) -> String {
    std::fs::read_to_string(bed.vm_dir(vm).join("console.log")).unwrap_or_default()
}

fn stubborn(bed: &Bed, vm: &VmId, yes: bool) {
    let path = bed.vm_dir(vm).join("disk/stubborn");
    if yes { std::fs::write(path, "").unwrap() } else { std::fs::remove_file(path).unwrap() }
}

async fn shows(bed: &Bed, vm: &VmId, state: VmState, lcm: LcmState) -> xmlrpc::Vm {
    until(&format!("{state} {lcm}"), async || {
        Some(bed.rpc(0).vm(vm).await.unwrap()).filter(|v| (v.state, v.lcm_state) == (state, lcm))
    })
    .await
}

fn context(bed: &Bed, vm: &VmId) -> String {
    std::fs::read_to_string(bed.vm_dir(vm).join("context/context.sh")).unwrap()
}

#[tokio::test]
async fn off_and_on_again_by_the_states_of_oned() {
    let bed = up(&["madrid"]).await;
    let (service, vms) = guests(&bed, 1).await;
    let (rpc, vm) = (bed.rpc(0), &vms[0]);
    bed.gate(vm).await.put(&[("READY", "YES")]).await.unwrap();
    let before = rpc.vm(vm).await.unwrap();
    std::fs::write(bed.vm_dir(vm).join("disk/kept"), "x").unwrap();
    std::fs::write(bed.vm_dir(vm).join("tmp/lost"), "x").unwrap();
    wrong_state(
        rpc.vm_action(vm, VmAction::Resume).await,
        "[one.vm.action] Error performing action \"resume\": This action is not available for state RUNNING",
    );

    stubborn(&bed, vm, true);
    rpc.vm_action(vm, VmAction::Poweroff).await.unwrap();
    shows(&bed, vm, VmState::Active, LcmState::ShutdownPoweroff).await;
    let not_now = "not available for state SHUTDOWN_POWEROFF";
    for action in [VmAction::Poweroff, VmAction::Resume, VmAction::Reboot] {
        wrong_state(rpc.vm_action(vm, action).await, not_now);
    }
    let text = "Could not terminate VM 0, wrong state SHUTDOWN_POWEROFF.";
    wrong_state(rpc.vm_action(vm, VmAction::Terminate).await, text);
    assert_eq!(bed.flow(0).service(&service).await.unwrap().state, ServiceState::Running);
    // The hard one does not wait for the twenty seconds.
    let asked = Instant::now();
    rpc.vm_action(vm, VmAction::PoweroffHard).await.unwrap();
    shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    assert!(asked.elapsed() < Duration::from_secs(8));
    bed.reach(&service, ServiceState::Warning).await;
    stubborn(&bed, vm, false);
    wrong_state(rpc.vm_action(vm, VmAction::RebootHard).await, "not available for state POWEROFF");

    // Taken now, seen at the next start.
    rpc.vm_update_context(vm, &[("A", "while off")], true).await.unwrap();
    assert!(!context(&bed, vm).contains("while off"));
    rpc.vm_action(vm, VmAction::Resume).await.unwrap();
    let after = shows(&bed, vm, VmState::Active, LcmState::Running).await;
    boots(&bed, vm, 2).await;
    bed.reach(&service, ServiceState::Running).await;
    assert!(context(&bed, vm).contains("\nA='while off'\n"));
    assert_eq!((&after.nics, &after.user_template), (&before.nics, &before.user_template));
    assert_eq!(after.user_template["READY"], "YES", "nobody takes it back");
    assert!(bed.vm_dir(vm).join("disk/kept").exists() && !bed.vm_dir(vm).join("tmp/lost").exists());
    bed.gate(vm).await.vm().await.unwrap();

    // An orderly one, and the end from there.
    rpc.vm_action(vm, VmAction::Poweroff).await.unwrap();
    shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    assert!(console(&bed, vm).ends_with("down\n"));
    rpc.vm_action(vm, VmAction::Terminate).await.unwrap();
    shows(&bed, vm, VmState::Done, LcmState::Init).await;
    let text = "configuration cannot be updated in state DONE";
    wrong_state(rpc.vm_update_context(vm, &[("A", "x")], true).await, text);
    wrong_state(rpc.vm_action(vm, VmAction::Resume).await, "not available for state DONE");
    bed.down().await;
}

#[tokio::test]
async fn a_reboot_is_the_guests_own_affair() {
    let bed = up(&["madrid"]).await;
    let (service, vms) = guests(&bed, 1).await;
    let (rpc, vm) = (bed.rpc(0), &vms[0]);
    let inode = || std::fs::metadata(bed.vm_dir(vm).join("context/context.sh")).unwrap().ino();
    let disk = inode();
    std::fs::write(bed.vm_dir(vm).join("disk/kept"), "x").unwrap();
    rpc.vm_action(vm, VmAction::Reboot).await.unwrap();
    shows(&bed, vm, VmState::Active, LcmState::Running).await;
    boots(&bed, vm, 2).await;
    assert_eq!(console(&bed, vm).matches("down\n").count(), 1, "it was asked first");

    // One that hangs is helped along, and stays RUNNING all the time.
    stubborn(&bed, vm, true);
    rpc.vm_action(vm, VmAction::Reboot).await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rpc.vm(vm).await.unwrap().lcm_state, LcmState::Running);
    rpc.vm_action(vm, VmAction::RebootHard).await.unwrap();
    // One boot for both.
    boots(&bed, vm, 3).await;
    assert_eq!(console(&bed, vm).matches("down\n").count(), 1);
    assert_eq!(rpc.vm(vm).await.unwrap().lcm_state, LcmState::Running);
    assert!(inode() == disk && bed.vm_dir(vm).join("disk/kept").exists());
    let log = bed.flow(0).service(&service).await.unwrap().log;
    assert!(!log.iter().any(|l| l.message.contains("WARNING")), "OneFlow has seen nothing: {log:?}");

    // Off instead of up again.
    rpc.vm_action(vm, VmAction::Reboot).await.unwrap();
    rpc.vm_action(vm, VmAction::PoweroffHard).await.unwrap();
    shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    assert_eq!(console(&bed, vm).matches("guest: boot").count(), 3);
    bed.reach(&service, ServiceState::Warning).await;
    bed.down().await;
}

#[tokio::test]
async fn a_running_guest_is_handed_its_new_context() {
    let bed = up(&["madrid"]).await;
    let (service, vms) = guests(&bed, 1).await;
    let (rpc, vm) = (bed.rpc(0), &vms[0]);
    let told = || std::fs::read_to_string(bed.vm_dir(vm).join("told.txt")).unwrap_or_default();
    let given = "it's $SERVICE_ID \"q\"";
    rpc.vm_update_context(vm, &[("A", given), ("B", "2")], true).await.unwrap();
    let wanted = format!("A='it'\\''s {} \"q\"'\n", service.id);
    until("the guest to be told", async || (told() == wanted).then_some(())).await;
    let shown = shows(&bed, vm, VmState::Active, LcmState::Running).await;
    assert_eq!(shown.context["A"], format!("it's {} \"q\"", service.id));
    assert_eq!((shown.context["B"].as_str(), shown.context["VMID"].as_str()), ("2", "0"));
    assert!(context(&bed, vm).contains(&wanted) && context(&bed, vm).contains("\nONEGATE_ENDPOINT='http"));

    // The same again is no change, and another attribute neither.
    rpc.vm_update_context(vm, &[("B", "2")], true).await.unwrap();
    rpc.vm_updateconf(vm, "GRAPHICS=[TYPE=\"VNC\"]\nNOBODY=\"x\"", true).await.unwrap();
    let text = "Unable to update ETH0_IP, update NIC to update network context";
    refused(rpc.vm_update_context(vm, &[("ETH0_IP", "10.0.0.1"), ("B", "9")], true).await, 8192, text);
    refused(rpc.vm_updateconf(vm, "CONTEXT=[A", true).await, 8192, "[one.vm.updateconf] Parse error: ");
    let nobody = VmId::new(zone("madrid"), 99);
    assert!(rpc.vm_update_context(&nobody, &[("B", "9")], true).await.is_err_and(|e| e.is_not_found()));
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!((told(), rpc.vm(vm).await.unwrap().context["B"].as_str()), (wanted.clone(), "2"));

    // A replacement: interfaces come back by themselves, OneGate only if it is in it.
    let mut all = vec![("A", "3"), ("NETWORK", "YES"), ("TOKEN", "YES")];
    rpc.vm_update_context(vm, &all, false).await.unwrap();
    until("A=3", async || told().ends_with("A='3'\n").then_some(())).await;
    let shown = shows(&bed, vm, VmState::Active, LcmState::Running).await;
    assert_eq!(shown.context["ETH0_IP"], shown.nics[0].ip.unwrap().to_string());
    for gone in ["B", "ONEGATE_ENDPOINT", "VMID"] {
        assert!(!shown.context.contains_key(gone), "{gone}");
    }
    assert!(bed.vm_dir(vm).join("context/token.txt").exists());
    all[2] = ("TOKEN", "NO");
    rpc.vm_update_context(vm, &all, false).await.unwrap();
    until("no token", async || (!bed.vm_dir(vm).join("context/token.txt").exists()).then_some(())).await;
    shows(&bed, vm, VmState::Active, LcmState::Running).await;
    all[2] = ("TOKEN", "YES");
    rpc.vm_update_context(vm, &all, false).await.unwrap();
    until("a token", async || bed.vm_dir(vm).join("context/token.txt").exists().then_some(())).await;
    assert_eq!(rpc.vm(vm).await.unwrap().context["VMID"], "0");
    bed.down().await;
}

#[tokio::test]
async fn a_vm_that_cannot_be_resumed_is_off_again() {
    let bed = up(&["madrid"]).await;
    let (service, vms) = guests(&bed, 1).await;
    let (rpc, vm) = (bed.rpc(0), &vms[0]);
    rpc.vm_action(vm, VmAction::PoweroffHard).await.unwrap();
    shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    let [exe, away] = ["guest.sh", "away"].map(|name| bed.dir.path().join(name));
    std::fs::rename(&exe, &away).unwrap();
    rpc.vm_action(vm, VmAction::Resume).await.unwrap();
    shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    bed.reach(&service, ServiceState::Warning).await;
    std::fs::rename(&away, &exe).unwrap();
    rpc.vm_action(vm, VmAction::Resume).await.unwrap();
    shows(&bed, vm, VmState::Active, LcmState::Running).await;
    bed.reach(&service, ServiceState::Running).await;
    bed.down().await;
}

#[tokio::test]
async fn one_vm_that_comes_back_hides_another_that_is_off() {
    let bed = up(&["madrid"]).await;
    let (service, vms) = guests(&bed, 2).await;
    let rpc = bed.rpc(0);
    for vm in &vms {
        rpc.vm_action(vm, VmAction::PoweroffHard).await.unwrap();
        shows(&bed, vm, VmState::Poweroff, LcmState::Init).await;
    }
    bed.reach(&service, ServiceState::Warning).await;
    rpc.vm_action(&vms[1], VmAction::Resume).await.unwrap();
    bed.reach(&service, ServiceState::Running).await;
    assert_eq!(rpc.vm(&vms[0]).await.unwrap().state, VmState::Poweroff);
    bed.down().await;
}
