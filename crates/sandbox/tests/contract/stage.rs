//! What a story works with: the zone, names of its own, and the list of what it has made.

use crate::heard::{Heard, Want};
use crate::target::{Target, Who};
use crate::token::computed;
use onefed_opennebula::oneflow::Service;
use onefed_opennebula::xmlrpc::wire::Param;
use onefed_opennebula::{
    Error, ServiceId, ServiceState, ServiceTemplateId, VmId, VmTemplateId, oneflow, template, xmlrpc,
};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, atomic::AtomicU32, atomic::Ordering};
use std::time::{Duration, Instant};

/// Something that has to go again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Made {
    VmTemplate(VmTemplateId),
    ServiceTemplate(ServiceTemplateId),
    Service(ServiceId),
    Vm(VmId),
}

/// How a story ends: well, or with what was wrong.
pub(crate) type Told = Result<(), String>;

/// A story's own part of the zone.
pub(crate) struct Stage {
    pub(crate) target: Arc<Target>,
    /// Which story it is; part of all its names.
    at: usize,
    pub(crate) rpc: xmlrpc::Client,
    pub(crate) flow: oneflow::Client,
    pub(crate) made: Mutex<Vec<Made>>,
    names: AtomicU32,
}

/// A number that no object has.
pub(crate) const MISSING: u32 = 99_999_999;

impl Stage {
    pub(crate) fn new(target: Arc<Target>, at: usize) -> Self {
        let (rpc, flow) = (target.rpc(), target.flow());
        Self { target, at, rpc, flow, made: Mutex::new(Vec::new()), names: AtomicU32::new(0) }
    }

    /// A name of this run's own.
    pub(crate) fn name(&self, what: &str) -> String {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        format!("{}{}-{number}-{what}", self.target.prefix, self.at)
    }

    /// Puts something on the list of what has to go.
    pub(crate) fn note(&self, made: Made) {
        self.made.lock().unwrap().push(made);
    }

    /// A VM template that needs no image and no network, with a token for OneGate. In a real zone its VMs wait for a host
    /// that there is not: OneFlow does not mind, and nobody's host is touched.
    pub(crate) async fn vm_template(&self) -> Result<VmTemplateId, String> {
        let name = self.name("vm");
        let mut attributes = vec![("NAME", name.as_str()), ("CPU", "0.1"), ("MEMORY", "64")];
        if !self.target.is_sandbox {
            attributes.push(("SCHED_REQUIREMENTS", "ID=\"-1\""));
        }
        let context = template::vector("CONTEXT", &[("TOKEN", "YES"), ("NETWORK", "YES")]).map_err(said)?;
        let text = template::attributes(&attributes).map_err(said)? + &context;
        let id = self.rpc.template_allocate(&text).await.map_err(said)?;
        self.note(Made::VmTemplate(id.clone()));
        Ok(id)
    }

    /// Stores a service template; its name becomes one of this run's.
    pub(crate) async fn service_template(&self, mut body: Value) -> Result<ServiceTemplateId, String> {
        body["name"] = json!(self.name("template"));
        let made = self.flow.create_service_template(&body).await.map_err(said)?;
        self.note(Made::ServiceTemplate(made.id.clone()));
        Ok(made.id)
    }

    /// Makes a service.
    pub(crate) async fn service(&self, id: &ServiceTemplateId, over: &Value) -> Result<ServiceId, String> {
        let service = self.flow.instantiate(id, over).await.map_err(said)?;
        self.note(Made::Service(service.clone()));
        Ok(service)
    }

    /// Waits until a service is as wanted.
    pub(crate) async fn until(
        &self,
        id: &ServiceId,
        what: &str,
        good: impl Fn(&Service) -> bool,
    ) -> Result<Service, String> {
        self.wait(what, async || match self.flow.service(id).await {
            Ok(service) if good(&service) => Ok(Some(service)),
            Ok(service) => Err(format!("it is {} with {:?}", service.state, service.log.last())),
            Err(why) => Err(why.to_string()),
        })
        .await
    }

    pub(crate) async fn reach(&self, id: &ServiceId, state: ServiceState) -> Result<Service, String> {
        self.until(id, &state.to_string(), |service| service.state == state).await
    }

    /// Waits until there is no such service.
    pub(crate) async fn gone(&self, id: &ServiceId) -> Told {
        self.wait("404", async || match self.flow.service(id).await {
            Err(why) if why.is_not_found() => Ok(Some(())),
            Ok(service) => Err(format!("it is {}", service.state)),
            Err(why) => Err(why.to_string()),
        })
        .await
    }

    /// Asks until there is an answer. `Err` of the question is no end, but what is said when time is up.
    pub(crate) async fn wait<T>(
        &self,
        what: &str,
        mut ask: impl AsyncFnMut() -> Result<Option<T>, String>,
    ) -> Result<T, String> {
        let end = Instant::now() + self.target.patience;
        loop {
            let why = match ask().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => String::new(),
                Err(why) => why,
            };
            if Instant::now() > end {
                return Err(format!("waited in vain for {what}: {why}"));
            }
            tokio::time::sleep(Duration::from_millis(if self.target.is_sandbox { 20 } else { 500 })).await;
        }
    }

    /// Sets attributes of a VM as oned's own tools do.
    pub(crate) async fn publish(&self, vm: &VmId, attributes: &[(&str, &str)]) -> Told {
        self.rpc.vm_update(vm, attributes, true).await.map_err(said)
    }

    /// The VM's OneGate token.
    pub(crate) async fn token(&self, vm: &VmId) -> Result<String, String> {
        let number = Param::Int(i32::try_from(vm.id).map_err(|why| why.to_string())?);
        let myself = [Param::Int(-1), Param::Bool(false)];
        let user = self.target.call(Who::User, "one.user.info", &myself).await?;
        let vm = self.target.call(Who::User, "one.vm.info", &[number, Param::Bool(false)]).await?;
        computed(user.text()?, vm.text()?)
    }

    /// A request to OneFlow as the run's user.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Heard, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let heard = self.target.at_flow(Who::User, method, path, &body).await?;
        if heard.status != 204 && !heard.kind.starts_with("text/html") {
            return Err(format!("OneFlow calls everything HTML, but this is {}", heard.short()));
        }
        Ok(heard)
    }

    /// A request to OneFlow and what has to be answered.
    pub(crate) async fn expect(&self, method: &str, path: &str, body: &Value, want: Want) -> Told {
        let heard = self.ask(method, path, body).await?;
        heard.check(&want).map_err(|why| format!("{method} {path} {body}: {why}"))
    }
}

/// An error of the project's clients as the end of a story.
pub(crate) fn said(why: Error) -> String {
    why.to_string()
}

/// What a story wanted to be true.
pub(crate) fn sure(good: bool, what: impl FnOnce() -> String) -> Told {
    if good { Ok(()) } else { Err(what()) }
}

/// The VMs of a role.
pub(crate) fn nodes(service: &Service, role: &str) -> Vec<VmId> {
    let role = service.roles.iter().find(|r| r.name == role);
    role.into_iter().flat_map(|r| r.nodes.iter().flatten().cloned()).collect()
}
