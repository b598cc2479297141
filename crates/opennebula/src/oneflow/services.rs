//! Services.

use super::{Client, document, document_pool, model::Service};
use crate::xmlrpc::{Permissions, VmAction};
use crate::{Error, ServiceId};
use serde_json::{Value, json};

/// A change of a running service's roles.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum RoleAction<'a> {
    /// Add this role, written as in a service template.
    Add(&'a Value),
    /// Remove the role of this name.
    Remove(&'a str),
}

impl Client {
    /// All services that the user may see. One that was undeployed is gone from here.
    ///
    /// # Errors
    /// As any call.
    pub async fn services(&self) -> Result<Vec<Service>, Error> {
        let (call, answer) = self.get("/service").await?;
        document_pool(&call, &answer)?.iter().map(|d| self.read_service(&call, &answer, d)).collect()
    }

    /// One service.
    ///
    /// # Errors
    /// As any call; [`Error::NotFound`] once it is undeployed.
    pub async fn service(&self, id: &ServiceId) -> Result<Service, Error> {
        let (call, answer) = self.get(&self.service_path(id)?).await?;
        document(&call, &answer).and_then(|d| self.read_service(&call, &answer, &d))
    }

    /// Undeploys a service; returns before its VMs are gone.
    ///
    /// # Errors
    /// [`Error::Conflict`] in a transient or failed state: use [`recover_delete`](Self::recover_delete) then.
    pub async fn delete_service(&self, id: &ServiceId) -> Result<(), Error> {
        self.send("DELETE", &self.service_path(id)?, None).await.map(drop)
    }

    /// Deletes a service in any state: seen for DEPLOYING, DEPLOYING_NETS and FAILED_*, read in OneFlow's source for the
    /// others. Where [`delete_service`](Self::delete_service) is accepted it is the ordinary way.
    ///
    /// # Errors
    /// As any call.
    pub async fn recover_delete(&self, id: &ServiceId) -> Result<(), Error> {
        self.action(id, &json!({"perform": "recover", "params": {"delete": true}})).await
    }

    /// Runs failed VMs again.
    ///
    /// # Errors
    /// [`Error::Conflict`] for a service that has not failed.
    pub async fn recover(&self, id: &ServiceId) -> Result<(), Error> {
        self.action(id, &json!({"perform": "recover"})).await
    }

    /// Sets the number of VMs of a role, within its min_vms and max_vms. Scaling down ends the oldest VMs first.
    ///
    /// # Errors
    /// [`Error::Conflict`] while the service scales or cools down; [`Error::Refused`] outside the limits.
    pub async fn scale(&self, id: &ServiceId, role: &str, cardinality: u32) -> Result<(), Error> {
        // Without "force" the server fails, and takes the service off its watchdog on the way.
        let body = json!({"role_name": role, "cardinality": cardinality, "force": false});
        let path = format!("{}/scale", self.service_path(id)?);
        self.send("POST", &path, Some(&body)).await.map(drop)
    }

    /// Lays `body` over a service's body: its keys replace those of the service, the others stay. OneFlow refuses keys
    /// that are fixed once a service runs, such as user_inputs, networks, deployment and log.
    ///
    /// # Errors
    /// [`Error::Refused`] for a fixed key, or as any call.
    pub async fn merge_service(&self, id: &ServiceId, body: &Value) -> Result<(), Error> {
        // OneFlow wants the body as a text in the document.
        let body = json!({"append": true, "template": body.to_string()});
        self.send("PUT", &self.service_path(id)?, Some(&body)).await.map(drop)
    }

    /// Renames a service.
    ///
    /// # Errors
    /// As any call.
    pub async fn rename_service(&self, id: &ServiceId, name: &str) -> Result<(), Error> {
        self.action(id, &json!({"perform": "rename", "params": {"name": name}})).await
    }

    /// Sets who may use and change a service.
    ///
    /// # Errors
    /// As any call.
    pub async fn chmod_service(&self, id: &ServiceId, permissions: Permissions) -> Result<(), Error> {
        self.action(id, &json!({"perform": "chmod", "params": {"octet": permissions.octal()}})).await
    }

    /// Lets go a service whose roles are on hold.
    ///
    /// # Errors
    /// [`Error::Refused`] for one without a role on hold, or as any call.
    pub async fn release_service(&self, id: &ServiceId) -> Result<(), Error> {
        self.action(id, &json!({"perform": "release"})).await
    }

    /// Adds a role to a running service, or takes one and its VMs away.
    ///
    /// # Errors
    /// [`Error::Schema`] for a role that is not one; [`Error::Conflict`] in a transient or failed state; or as any call.
    pub async fn change_role(&self, id: &ServiceId, action: RoleAction<'_>) -> Result<(), Error> {
        let action = match action {
            RoleAction::Add(role) => json!({"perform": "add_role", "params": {"role": role}}),
            RoleAction::Remove(name) => json!({"perform": "remove_role", "params": {"role": name}}),
        };
        let path = format!("{}/role_action", self.service_path(id)?);
        self.send("POST", &path, Some(&json!({ "action": action }))).await.map(drop)
    }

    /// Does something to all VMs of a role.
    ///
    /// # Errors
    /// As any call. A VM in a state that does not allow it shows only in the service's log.
    pub async fn role_vms(&self, id: &ServiceId, role: &str, action: VmAction) -> Result<(), Error> {
        let path = format!("{}/role/{role}/action", self.service_path(id)?);
        // Empty: all VMs at once. Without the key OneFlow fails.
        let params = json!({"period": "", "number": ""});
        let body = json!({"action": {"perform": action.as_str(), "params": params}});
        self.send("POST", &path, Some(&body)).await.map(drop)
    }

    /// Forgets services that are done. OneFlow deletes them by itself, so this finds something only after a crash.
    ///
    /// # Errors
    /// As any call.
    pub async fn purge_done(&self) -> Result<(), Error> {
        self.send("POST", "/service_pool/purge_done", None).await.map(drop)
    }

    async fn action(&self, id: &ServiceId, action: &Value) -> Result<(), Error> {
        let path = format!("{}/action", self.service_path(id)?);
        self.send("POST", &path, Some(&json!({ "action": action }))).await.map(drop)
    }
}
