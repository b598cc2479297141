//! Taking away what the plan does not want any more.

use std::time::{Duration, Instant};

use onefed_federation::ObjectKind;
use onefed_opennebula::{Error, ServiceId, ServiceTemplateId, VmTemplateId, oneflow};

use crate::failure::{Exit, Failure};
use crate::verb::step::Steps;
use crate::zones::ZoneClients;

/// How long a service may take to go.
const LEAVE_PATIENCE: Duration = Duration::from_secs(180);
/// How long its zone may not answer meanwhile.
const SILENCE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(300);

/// The word of a kind of object.
pub(crate) fn word(kind: ObjectKind) -> &'static str {
    match kind {
        ObjectKind::VmTemplate => "VM template",
        ObjectKind::ServiceTemplate => "template",
        ObjectKind::Service => "service",
    }
}

/// Removes one object of the federation, by the id that it has in this zone.
pub(crate) async fn remove(
    steps: &Steps,
    zone: &ZoneClients,
    kind: ObjectKind,
    name: &str,
    id: u32,
) -> Result<(), Failure> {
    let name = format!("{} {name}", word(kind));
    let removing = async {
        gone(zone, kind, id).await?;
        Ok(((), id.to_string()))
    };
    steps.step(zone.oneflow.zone().as_str(), "removal", &name, removing).await
}

async fn gone(zone: &ZoneClients, kind: ObjectKind, id: u32) -> Result<(), Failure> {
    let name = zone.oneflow.zone().clone();
    let mut silent: Option<Instant> = None;
    loop {
        let answer = match kind {
            ObjectKind::Service => return leave(&zone.oneflow, &ServiceId::new(name, id)).await,
            ObjectKind::ServiceTemplate => {
                let id = ServiceTemplateId::new(name.clone(), id);
                zone.oneflow.delete_service_template(&id).await
            }
            ObjectKind::VmTemplate => {
                zone.xmlrpc.template_delete(&VmTemplateId::new(name.clone(), id), false).await
            }
        };
        match answer {
            Ok(()) => return Ok(()),
            Err(why) if why.is_not_found() => return Ok(()),
            // Removing twice is harmless: ids are never used again.
            Err(why) if why.is_transient() => {
                if silent.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                    return Err(why.into());
                }
                tokio::time::sleep(LOOK).await;
            }
            Err(why) => return Err(why.into()),
        }
    }
}

/// Undeploys a service and waits until it is gone.
pub(crate) async fn leave(oneflow: &oneflow::Client, id: &ServiceId) -> Result<(), Failure> {
    let started = Instant::now();
    let (mut asked, mut silent) = (false, None::<Instant>);
    loop {
        match look(oneflow, id, asked).await {
            Ok(Left::Gone) => return Ok(()),
            Ok(Left::Still { state, asked: now }) => {
                asked |= now;
                if started.elapsed() > LEAVE_PATIENCE {
                    let seconds = LEAVE_PATIENCE.as_secs();
                    let text = format!("service {id} is still {state} after {seconds} s");
                    return Err(Failure::new(Exit::TryAgain, "service-stuck", text)
                        .hint("run the same command again; it goes on"));
                }
            }
            Err(why) if why.is_transient() => {
                if silent.get_or_insert_with(Instant::now).elapsed() > SILENCE {
                    return Err(why.into());
                }
                tokio::time::sleep(LOOK).await;
                continue;
            }
            Err(why) => return Err(why.into()),
        }
        silent = None;
        tokio::time::sleep(LOOK).await;
    }
}

enum Left {
    Gone,
    /// It is there, in this state; and whether it was asked to go.
    Still {
        state: String,
        asked: bool,
    },
}

async fn look(oneflow: &oneflow::Client, id: &ServiceId, asked: bool) -> Result<Left, Error> {
    let gone = |why: Error| if why.is_not_found() { Ok(Left::Gone) } else { Err(why) };
    let service = match oneflow.service(id).await {
        Ok(service) => service,
        Err(why) => return gone(why),
    };
    let still = |asked| Ok(Left::Still { state: service.state.to_string(), asked });
    // One that failed while it went has to be asked again.
    if asked && !service.state.is_failed() {
        return still(true);
    }
    // A plain delete is refused in transient and failed states; recover takes those.
    let answer = if service.state.accepts_delete() {
        oneflow.delete_service(id).await
    } else {
        oneflow.recover_delete(id).await
    };
    match answer {
        Ok(()) => still(true),
        // The state moved between the two calls: look again.
        Err(Error::Conflict { .. }) => still(false),
        Err(why) => gone(why),
    }
}
