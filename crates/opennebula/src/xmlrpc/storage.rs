//! Images and datastores.

use super::{ALL_VISIBLE, Client, Owner, Permissions, common, int, wire::Param};
use crate::xml::Element;
use crate::{
    Attributes, ClusterId, DatastoreId, DatastoreKind, Error, ImageId, ImageKind, ImageState, ZoneName,
};

/// An image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Its id.
    pub id: ImageId,
    /// Its name, unique only per owner.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// TYPE.
    pub kind: ImageKind,
    /// STATE.
    pub state: ImageState,
    /// SIZE in MB.
    pub size_mb: u64,
    /// PERSISTENT: at most one VM has it at a time, and writes into it.
    pub persistent: bool,
    /// How many VMs use it.
    pub running_vms: u32,
    /// Where it lies.
    pub datastore: Option<DatastoreId>,
    /// Its TEMPLATE, in ERROR state also what went wrong (ERROR).
    pub attributes: Attributes,
}

/// A datastore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datastore {
    /// Its id.
    pub id: DatastoreId,
    /// Its name.
    pub name: String,
    /// Whose it is.
    pub owner: Owner,
    /// Who may use and change it.
    pub permissions: Permissions,
    /// TYPE.
    pub kind: DatastoreKind,
    /// Not disabled by the administrator.
    pub enabled: bool,
    /// FREE_MB; 0 until it was monitored, and for a system datastore that lies on the hosts.
    pub free_mb: u64,
    /// Its clusters: only their hosts can use it.
    pub clusters: Vec<ClusterId>,
}

/// What every IMAGE has.
const IMAGE: (&str, &str) = ("IMAGE", "ID, NAME, TYPE or STATE");
/// What every DATASTORE has.
const DATASTORE: (&str, &str) = ("DATASTORE", "ID or NAME");

impl Client {
    /// The images that the user may use (`one.imagepool.info`).
    ///
    /// # Errors
    /// As any call.
    pub async fn images(&self) -> Result<Vec<Image>, Error> {
        self.pool("one.imagepool.info", &ALL_VISIBLE, IMAGE, image).await
    }

    /// One image (`one.image.info`).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Unauthorized`], or as any call.
    pub async fn image(&self, id: &ImageId) -> Result<Image, Error> {
        let number = self.own(&id.zone, id.id, id)?;
        let params = [int(number), Param::Bool(false)];
        self.object("one.image.info", &number.to_string(), &params, IMAGE, image).await
    }

    /// The datastores that the user may use (`one.datastorepool.info`).
    ///
    /// # Errors
    /// As any call.
    pub async fn datastores(&self) -> Result<Vec<Datastore>, Error> {
        self.pool("one.datastorepool.info", &[], DATASTORE, datastore).await
    }
}

fn image(zone: &ZoneName, xml: &Element) -> Option<Image> {
    Some(Image {
        id: ImageId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: common::owner(xml),
        permissions: common::permissions(xml),
        kind: ImageKind::from(xml.number_of::<i32>("TYPE")?),
        state: ImageState::from(xml.number_of::<i32>("STATE")?),
        size_mb: xml.number_of("SIZE").unwrap_or(0),
        persistent: xml.number_of::<u8>("PERSISTENT") == Some(1),
        running_vms: xml.number_of("RUNNING_VMS").unwrap_or(0),
        datastore: xml.number_of("DATASTORE_ID").map(|id| DatastoreId::new(zone.clone(), id)),
        attributes: xml.child("TEMPLATE").map(Attributes::of).unwrap_or_default(),
    })
}

fn datastore(zone: &ZoneName, xml: &Element) -> Option<Datastore> {
    Some(Datastore {
        id: DatastoreId::new(zone.clone(), xml.number_of("ID")?),
        name: xml.text_of("NAME")?.to_owned(),
        owner: common::owner(xml),
        permissions: common::permissions(xml),
        kind: DatastoreKind::from(xml.number_of::<i32>("TYPE").unwrap_or(0)),
        enabled: xml.number_of::<i32>("STATE").unwrap_or(0) == 0,
        free_mb: xml.number_of("FREE_MB").unwrap_or(0),
        clusters: common::clusters(zone, xml),
    })
}
