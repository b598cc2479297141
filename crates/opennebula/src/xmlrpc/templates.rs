//! VM templates: find, make, change, delete.

use super::{ALL_VISIBLE, Client, Permissions, VmTemplate, int, model, wire::Param};
use crate::{Error, VmTemplateId};

impl Client {
    /// The VM templates that the user may use (`one.templatepool.info`), with their whole bodies.
    ///
    /// # Errors
    /// As any call.
    pub async fn templates(&self) -> Result<Vec<VmTemplate>, Error> {
        let reply = self.read("one.templatepool.info", "", &ALL_VISIBLE).await?;
        let pool = reply.document()?;
        let one = |t| {
            model::template(&self.zone, t).ok_or_else(|| reply.garbage("a VMTEMPLATE without ID or NAME"))
        };
        pool.all("VMTEMPLATE").map(one).collect()
    }

    /// One VM template (`one.template.info`), its images' attributes not drawn in, without decryption of encrypted
    /// attributes.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn template_info(&self, id: &VmTemplateId) -> Result<VmTemplate, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false), Param::Bool(false)];
        let reply = self.read("one.template.info", &number.to_string(), &params).await?;
        let template = model::template(&self.zone, &reply.document()?);
        template.ok_or_else(|| reply.garbage("a VMTEMPLATE without ID or NAME"))
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
}
