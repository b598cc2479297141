//! Service templates.

use super::{Client, document, document_pool, model, model::ServiceTemplate};
use crate::xmlrpc::Permissions;
use crate::{Call, Error, ServiceId, ServiceTemplateId};
use serde_json::{Value, json};

/// What goes with a service template that is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteAlso {
    /// Nothing else.
    Nothing,
    /// The VM templates of its roles.
    VmTemplates,
    /// The VM templates of its roles and the images of their disks.
    VmTemplatesAndImages,
}

impl DeleteAlso {
    fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => "none",
            Self::VmTemplates => "templates",
            Self::VmTemplatesAndImages => "all",
        }
    }
}

impl Client {
    /// All service templates that the user may see.
    ///
    /// # Errors
    /// As any call.
    pub async fn service_templates(&self) -> Result<Vec<ServiceTemplate>, Error> {
        let (call, answer) = self.get("/service_template").await?;
        let pool = document_pool(&call, &answer)?;
        let one = |d| model::template(&self.zone, d).map_err(|why| Error::garbage(&call, why, &answer.body));
        pool.iter().map(one).collect()
    }

    /// One service template.
    ///
    /// # Errors
    /// As any call.
    pub async fn service_template(&self, id: &ServiceTemplateId) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.get(&self.template_path(id)?).await?;
        self.read_template(&call, &answer)
    }

    /// Stores a new template. The body is the template itself; unknown keys are kept by the server.
    ///
    /// # Errors
    /// [`Error::Schema`], or as any call.
    pub async fn create_service_template(&self, body: &Value) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.send("POST", "/service_template", Some(body)).await?;
        self.read_template(&call, &answer)
    }

    /// Replaces the whole body of a template. OneFlow keeps the document's own name.
    ///
    /// # Errors
    /// As [`create_service_template`](Self::create_service_template).
    pub async fn update_service_template(
        &self,
        id: &ServiceTemplateId,
        body: &Value,
    ) -> Result<ServiceTemplate, Error> {
        let (call, answer) = self.send("PUT", &self.template_path(id)?, Some(body)).await?;
        self.read_template(&call, &answer)
    }

    /// Lays `body` over a template: its keys replace those of the template, the others stay. OneFlow says yes even where
    /// oned said no, so this reads the template again; of `roles`, whose numbers OneFlow brings into form, it compares
    /// nothing.
    ///
    /// # Errors
    /// As [`create_service_template`](Self::create_service_template), and [`Error::Refused`] when a key did not change.
    pub async fn merge_service_template(&self, id: &ServiceTemplateId, body: &Value) -> Result<(), Error> {
        // OneFlow wants the template as a text in the document.
        let params = json!({"append": true, "template_json": body.to_string()});
        let call = self.template_action(id, "update", &params).await?;
        let stored = self.service_template(id).await?.body;
        let given = body.as_object().into_iter().flatten();
        match given.filter(|(key, _)| *key != "roles").all(|(key, value)| stored.get(key) == Some(value)) {
            true => Ok(()),
            false => Err(ignored(call)),
        }
    }

    /// Renames a template. Its body keeps the name in it. OneFlow says yes even where oned said no, so this reads the
    /// template again.
    ///
    /// # Errors
    /// [`Error::Refused`] when the name did not change, or as any call.
    pub async fn rename_service_template(&self, id: &ServiceTemplateId, name: &str) -> Result<(), Error> {
        let call = self.template_action(id, "rename", &json!({"name": name})).await?;
        match self.service_template(id).await?.name == name {
            true => Ok(()),
            false => Err(ignored(call)),
        }
    }

    /// Sets who may use and change a template. OneFlow says yes even where oned said no, so this reads the template again.
    ///
    /// # Errors
    /// [`Error::Refused`] when the permissions did not change, or as any call.
    pub async fn chmod_service_template(
        &self,
        id: &ServiceTemplateId,
        permissions: Permissions,
    ) -> Result<(), Error> {
        let call = self.template_action(id, "chmod", &json!({"octet": permissions.octal()})).await?;
        match self.service_template(id).await?.permissions == permissions {
            true => Ok(()),
            false => Err(ignored(call)),
        }
    }

    /// Copies a template under a new name. The copy names the same VM templates.
    ///
    /// # Errors
    /// As any call.
    pub async fn clone_service_template(
        &self,
        id: &ServiceTemplateId,
        name: &str,
    ) -> Result<ServiceTemplate, Error> {
        let body = json!({"action": {"perform": "clone", "params": {"name": name, "recursive": "none"}}});
        let path = format!("{}/action", self.template_path(id)?);
        let (call, answer) = self.send("POST", &path, Some(&body)).await?;
        self.read_template(&call, &answer)
    }

    /// Deletes a template; the VM templates that it names stay.
    ///
    /// # Errors
    /// As any call.
    pub async fn delete_service_template(&self, id: &ServiceTemplateId) -> Result<(), Error> {
        self.delete_service_template_with(id, DeleteAlso::Nothing).await
    }

    /// Deletes a template and what it is made of.
    ///
    /// # Errors
    /// As any call. Objects that were gone before the one that failed stay gone.
    pub async fn delete_service_template_with(
        &self,
        id: &ServiceTemplateId,
        also: DeleteAlso,
    ) -> Result<(), Error> {
        let body = json!({"delete_type": also.as_str()});
        self.send("DELETE", &self.template_path(id)?, Some(&body)).await.map(drop)
    }

    /// Makes a service out of a template. Returns as soon as the service exists; the VMs come later, and what goes wrong
    /// then shows only in the service's state and log. `merge_template` must give every user input a value.
    ///
    /// # Errors
    /// As any call.
    pub async fn instantiate(
        &self,
        id: &ServiceTemplateId,
        merge_template: &Value,
    ) -> Result<ServiceId, Error> {
        let body =
            json!({"action": {"perform": "instantiate", "params": {"merge_template": merge_template}}});
        let path = format!("{}/action", self.template_path(id)?);
        let (call, answer) = self.send("POST", &path, Some(&body)).await?;
        let service = document(&call, &answer).and_then(|d| self.read_service(&call, &answer, &d))?;
        Ok(service.id)
    }

    async fn template_action(
        &self,
        id: &ServiceTemplateId,
        perform: &str,
        params: &Value,
    ) -> Result<Call, Error> {
        let body = json!({"action": {"perform": perform, "params": params}});
        let path = format!("{}/action", self.template_path(id)?);
        let (mut call, answer) = self.send("POST", &path, Some(&body)).await?;
        call.what = format!("{} ({perform})", call.what);
        if answer.status == 200 && answer.body.is_empty() {
            // What OneFlow says to an action that it does not know.
            return Err(ignored(call));
        }
        Ok(call)
    }
}

/// OneFlow accepted a call and did nothing.
fn ignored(call: Call) -> Error {
    let message = "OneFlow said yes and changed nothing: may this user change it?".to_owned();
    Error::Refused { call: Box::new(call), code: 200, message }
}
