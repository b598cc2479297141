//! VM templates: find, make, change, delete, start a VM.

use super::{ALL_VISIBLE, Client, Owner, Permissions, common, int, wire::Param};
use crate::xml::Element;
use crate::{Attributes, Error, VmId, VmTemplateId, ZoneName};
use std::collections::BTreeMap;

/// A VM template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VmTemplate {
    /// Its id.
    pub id: VmTemplateId,
    /// Its name, unique only per owner.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// When it was made, in seconds since 1970 of oned's clock.
    pub registered: u64,
    /// The whole TEMPLATE: every attribute, nested ones too, such as DISK and labels of a tool.
    pub attributes: Attributes,
    /// USER_INPUTS: name to `M|text|description|options|default`.
    pub user_inputs: BTreeMap<String, String>,
    /// CONTEXT as written in the template, before any variable is replaced.
    pub context: BTreeMap<String, String>,
}

/// What every VMTEMPLATE has.
const TEMPLATE: (&str, &str) = ("VMTEMPLATE", "ID or NAME");

impl Client {
    /// The VM templates that the user may use (`one.templatepool.info`), with their whole bodies.
    ///
    /// # Errors
    /// As any call.
    pub async fn templates(&self) -> Result<Vec<VmTemplate>, Error> {
        self.pool("one.templatepool.info", &ALL_VISIBLE, TEMPLATE, template).await
    }

    /// One VM template (`one.template.info`), its images' attributes not drawn in, without decryption of encrypted
    /// attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn template_info(&self, id: &VmTemplateId) -> Result<VmTemplate, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false), Param::Bool(false)];
        self.object("one.template.info", &number.to_string(), &params, TEMPLATE, template).await
    }

    /// Makes a VM template out of template text ([`crate::template`]) that holds its NAME (`one.template.allocate`).
    ///
    /// Names are unique per owner, and oned allocates atomically: of two callers with one login and one name exactly one
    /// gets an id. Another user may have a template of the same name.
    ///
    /// # Errors
    /// [`Error::NameTaken`] with the number of the template that has the name; [`Error::Refused`] with code 8192 for an
    /// empty name and for text that oned cannot parse; or as any call. After [`Error::Timeout`] the template may exist.
    pub async fn template_allocate(&self, text: &str) -> Result<VmTemplateId, Error> {
        let id = self.make("one.template.allocate", "", &[Param::Text(text.to_owned())]).await?;
        Ok(VmTemplateId::new(self.zone.clone(), id))
    }

    /// Replaces the attributes of a template, or with `append` lays `text` over them (`one.template.update`). An
    /// attribute that is given replaces all of that name. The template's own name does not change.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Locked`]; [`Error::Refused`] with code 8192 for text that
    /// oned cannot parse; or as any call.
    pub async fn template_update(&self, id: &VmTemplateId, text: &str, append: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Text(text.to_owned()), Param::Int(i32::from(append))];
        self.write("one.template.update", &number.to_string(), &params).await
    }

    /// Deletes a template (`one.template.delete`), and with `with_images` the images of its disks too.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], [`Error::Locked`], or as any call.
    pub async fn template_delete(&self, id: &VmTemplateId, with_images: bool) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(with_images)];
        self.write("one.template.delete", &number.to_string(), &params).await
    }

    /// Sets who may use and change a template (`one.template.chmod`). Only oneadmin's group may give rights to everybody
    /// where oned is set so.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn template_chmod(&self, id: &VmTemplateId, permissions: Permissions) -> Result<(), Error> {
        let number = self.own(&id.zone, id.id, id)?;
        // 1 sets, 0 clears; -1, which leaves a bit alone, has no use here.
        let mut params = vec![int(number)];
        params.extend(permissions.bits().map(|bit| Param::Int(i32::from(bit))));
        self.write("one.template.chmod", &number.to_string(), &params).await
    }

    /// Starts a VM out of a template (`one.template.instantiate`). `name` empty lets oned name it; `extra` is template
    /// text that is laid over the template. With `hold` the VM waits until it is released.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Unauthorized`] also for a quota that is used up and for a restricted attribute in
    /// `extra`; or as any call. After [`Error::Timeout`] the VM may exist.
    pub async fn template_instantiate(
        &self,
        id: &VmTemplateId,
        name: &str,
        hold: bool,
        extra: &str,
    ) -> Result<VmId, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let text = |text: &str| Param::Text(text.to_owned());
        let params = [int(number), text(name), Param::Bool(hold), text(extra), Param::Bool(false)];
        let vm = self.make("one.template.instantiate", &number.to_string(), &params).await?;
        Ok(VmId::new(self.zone.clone(), vm))
    }
}

fn template(zone: &ZoneName, xml: &Element) -> Option<VmTemplate> {
    let attributes = xml.child("TEMPLATE").map(Attributes::of).unwrap_or_default();
    let part = |name| attributes.vector(name).cloned().unwrap_or_default();
    Some(VmTemplate {
        id: VmTemplateId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: common::owner(xml),
        permissions: common::permissions(xml),
        registered: xml.number_of("REGTIME").unwrap_or_default(),
        user_inputs: part("USER_INPUTS"),
        context: part("CONTEXT"),
        attributes,
    })
}
