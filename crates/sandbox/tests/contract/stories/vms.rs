//! Single VMs. They stay on hold, so that no host is needed.

use crate::heard::Want;
use crate::stage::{Made, Stage, Told, said, sure};
use crate::target::Who;
use onefed_opennebula::xmlrpc::VmAction;
use onefed_opennebula::xmlrpc::wire::Param;
use onefed_opennebula::{Error, VmId, VmState};
use std::sync::Arc;

async fn held(stage: &Stage, name: &str, extra: &str) -> Result<VmId, String> {
    let template = stage.vm_template().await?;
    let vm = stage.rpc.template_instantiate(&template, name, true, extra).await.map_err(said)?;
    stage.note(Made::Vm(vm.clone()));
    Ok(vm)
}

pub(super) async fn life(stage: Arc<Stage>) -> Told {
    let name = stage.name("held");
    let id = held(&stage, &name, "EXTRA=\"1\"\nMEMORY=\"96\"\n").await?;
    let vm = stage.rpc.vm(&id).await.map_err(said)?;
    sure((vm.state, &vm.name) == (VmState::Hold, &name), || format!("{} {}", vm.state, vm.name))?;
    sure(vm.user_template.get("EXTRA").is_some_and(|v| v == "1"), || format!("{:?}", vm.user_template))?;
    sure(vm.context.get("TOKEN").is_some_and(|v| v == "YES"), || format!("{:?}", vm.context))?;
    let listed = stage.rpc.vm_pool().await.map_err(said)?;
    let listed = listed.iter().find(|it| it.id == id).ok_or("not in the pool")?;
    sure((listed.state, &listed.name) == (VmState::Hold, &name), || format!("{listed:?}"))?;
    let missing = VmId::new(stage.target.zone(), crate::stage::MISSING);
    let set = stage.rpc.vms(&[missing, id.clone()]).await.map_err(said)?;
    sure(set.len() == 1 && set[0] == vm, || format!("the set says {set:?}, info says {vm:?}"))?;

    stage.rpc.vm_update(&id, &[("A", "x \"y\""), ("B", "1")], true).await.map_err(said)?;
    stage.rpc.vm_update(&id, &[("B", "2")], true).await.map_err(said)?;
    let merged = stage.rpc.vm(&id).await.map_err(said)?.user_template;
    let has = |key: &str, value: &str| merged.get(key).is_some_and(|v| v == value);
    sure(has("A", "x \"y\"") && has("B", "2") && has("EXTRA", "1"), || format!("merged {merged:?}"))?;
    stage.rpc.vm_update(&id, &[("C", "3")], false).await.map_err(said)?;
    let replaced = stage.rpc.vm(&id).await.map_err(said)?.user_template;
    sure(replaced.contains_key("C") && !replaced.contains_key("A"), || format!("replaced {replaced:?}"))?;
    stage.rpc.vm_update_context(&id, &[("NEW", "it's me")], true).await.map_err(said)?;
    let context = stage.rpc.vm(&id).await.map_err(said)?.context;
    sure(context.get("NEW").is_some_and(|v| v == "it's me"), || format!("{context:?}"))?;
    sure(context.get("TOKEN").is_some_and(|v| v == "YES"), || format!("an update took TOKEN: {context:?}"))?;

    stage.rpc.vm_action(&id, VmAction::TerminateHard).await.map_err(said)?;
    let done = stage.wait("DONE", async || {
        let vm = stage.rpc.vm(&id).await.map_err(said)?;
        Ok((vm.state == VmState::Done).then_some(vm))
    });
    done.await?;
    // Still there to be asked for, not in the list any more, and ending it again is no error.
    let listed = stage.rpc.vm_pool().await.map_err(said)?;
    sure(listed.iter().all(|it| it.id != id), || "a VM that is DONE is listed".to_owned())?;
    stage.rpc.vm_action(&id, VmAction::Terminate).await.map_err(said)
}

pub(super) async fn refusals(stage: Arc<Stage>) -> Told {
    let name = stage.name("refusals");
    let id = held(&stage, &name, "").await?;
    let number = Param::Int(i32::try_from(id.id).unwrap());
    let act = async |word: &str, want: Want| {
        let params = [Param::Text(word.to_owned()), number.clone()];
        stage.target.call(Who::User, "one.vm.action", &params).await?.check(&want)
    };
    act("dance", Want::Refused(2048, "dance")).await?;
    act("resume", Want::Refused(2048, "")).await?;
    act("stop", Want::Refused(2048, "")).await?;
    let off = stage.rpc.vm_action(&id, VmAction::Poweroff).await;
    sure(off.as_ref().is_err_and(Error::is_conflict), || format!("poweroff of a held VM: {off:?}"))?;
    let params = [number, Param::Text("A=[".to_owned()), Param::Int(1)];
    stage.target.call(Who::User, "one.vm.update", &params).await?.check(&Want::Refused(8192, ""))
}
