//! Nothing stays: what a story has made goes after it, and at the end everything whose name is of this run.

use crate::stage::{Made, Stage, Told, said};
use crate::target::FAMILY;
use onefed_opennebula::xmlrpc::VmAction;
use onefed_opennebula::{Error, ServiceId, ServiceState, VmId};

/// What is gone already is as good as removed.
fn gone(result: Result<(), Error>) -> Told {
    match result {
        Err(why) if !why.is_not_found() => Err(said(why)),
        _ => Ok(()),
    }
}

/// Removes what was made since the last time, the newest first. Says what could not be removed.
pub(crate) async fn after_a_story(stage: &Stage) -> Vec<String> {
    let made = std::mem::take(&mut *stage.made.lock().unwrap());
    let mut left = Vec::new();
    for object in made.into_iter().rev() {
        if let Err(why) = remove(stage, &object).await {
            left.push(format!("{object:?}: {why}"));
        }
    }
    left
}

async fn remove(stage: &Stage, object: &Made) -> Told {
    match object {
        Made::VmTemplate(id) => gone(stage.rpc.template_delete(id, false).await),
        Made::ServiceTemplate(id) => gone(stage.flow.delete_service_template(id).await),
        Made::Service(id) => service(stage, id).await,
        Made::Vm(id) => vm(stage, id).await,
    }
}

async fn vm(stage: &Stage, id: &VmId) -> Told {
    // One that starts right now has to be waited for.
    let end = async || gone(stage.rpc.vm_action(id, VmAction::TerminateHard).await).map(Some);
    stage.wait("the VM to end", end).await
}

async fn service(stage: &Stage, id: &ServiceId) -> Told {
    // Undeploying may already be on its way, and may fail half-way; then it is told again.
    let leaving = ServiceState::Undeploying;
    let look = async || match stage.flow.service(id).await {
        Err(why) if why.is_not_found() => Ok(Some(())),
        Ok(service) if service.state == leaving => Err(leaving.to_string()),
        _ => gone(stage.flow.recover_delete(id).await).map(|()| None),
    };
    stage.wait("the service to go", look).await
}

/// Everything whose name is of this run, should a story have lost sight of it.
pub(crate) async fn at_the_end(stage: &Stage) -> Vec<String> {
    let prefix = &stage.target.prefix;
    let mut left = Vec::new();
    match stage.flow.services().await {
        Ok(all) => {
            let ours = all.into_iter().filter(|it| it.name.starts_with(prefix));
            ours.for_each(|it| stage.note(Made::Service(it.id)));
        }
        Err(why) => left.push(said(why)),
    }
    left.extend(after_a_story(stage).await);
    match stage.rpc.vm_pool().await {
        Ok(all) => {
            let ours = all.into_iter().filter(|it| it.name.starts_with(prefix));
            ours.for_each(|it| stage.note(Made::Vm(it.id)));
        }
        Err(why) => left.push(said(why)),
    }
    match stage.flow.service_templates().await {
        Ok(all) => {
            let ours = all.into_iter().filter(|it| it.name.starts_with(prefix));
            ours.for_each(|it| stage.note(Made::ServiceTemplate(it.id)));
        }
        Err(why) => left.push(said(why)),
    }
    match stage.rpc.templates().await {
        Ok(all) => {
            let ours = all.into_iter().filter(|it| it.name.starts_with(prefix));
            ours.for_each(|it| stage.note(Made::VmTemplate(it.id)));
        }
        Err(why) => left.push(said(why)),
    }
    left.extend(after_a_story(stage).await);
    left
}

/// Names of an earlier run that was killed. They are said and left alone: that run may be going on elsewhere.
pub(crate) async fn of_others(stage: &Stage) -> Vec<String> {
    let other = |name: &String| name.starts_with(FAMILY) && !name.starts_with(&stage.target.prefix);
    let mut names = Vec::new();
    if let Ok(all) = stage.rpc.templates().await {
        names.extend(all.into_iter().map(|it| it.name).filter(other));
    }
    if let Ok(all) = stage.flow.service_templates().await {
        names.extend(all.into_iter().map(|it| it.name).filter(other));
    }
    names
}
