//! The SuperLink's VM: SuperLink on loopback, the hub in front of it.

use std::net::SocketAddr;
use std::path::Path;

use onefed_context::{Role, SuperLinkContext};
use onefed_flower::Transport;
use onefed_flower::command::{SuperLinkOptions, SuperLinkTls};

use super::{addresses, flower_service, host, listen, millis, own_service, published, release};
use crate::files::dir_within;
use crate::publication::{attribute, encode};
use crate::record::HealthCheck;
use crate::steps::Steps;
use crate::{HubFile, StepError, flower, tls};

pub(crate) async fn superlink(steps: &mut Steps<'_>, own: &SuperLinkContext) -> Result<(), StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let release = release(steps).await?;
    let address = context.addresses[0];
    let flower = flower::find(steps, release, &own.runtime).await?;
    let environment = flower.environment();
    let fleet = listen(machine, &own.fleet_api, address, "FL_FLEET_API_ADDRESS")?;
    let admin = listen(machine, &own.admin_api, address, "FL_ADMIN_API_ADDRESS")?;
    let inside = |port| SocketAddr::new(machine.loopback(), port);
    let mut sockets = vec![(fleet, "FL_FLEET_API_ADDRESS", "hub"), (admin, "FL_ADMIN_API_ADDRESS", "hub")];
    let ports: Vec<SocketAddr> = release.superlink_ports().into_iter().map(inside).collect();
    sockets.extend(ports.iter().map(|socket| (*socket, "SuperLink", "flower-superlink")));
    addresses(steps, &sockets).await?;
    let grpc = release.transport() == Transport::Grpc;
    let published = published(fleet, address);
    let outside = tls::superlink(steps, own, published.ip(), grpc).await?;
    // Flower asks for TLS on every hop once nodes have to be registered.
    let inner = if own.node_auth { tls::inner(steps).await? } else { tls::Secured::default() };

    let data = machine.superlink_dir();
    let database = data.join(&own.database);
    let parent = Path::new(&own.database).parent().unwrap_or(Path::new(""));
    dir_within(&data, parent).map_err(|why| StepError::file(&data.join(parent), &why))?;
    let hub = HubFile {
        federation: context.federation.to_string(),
        site_enrolment: own.site_enrolment.to_string(),
        flower: release.version().to_string(),
        superlink_fleet: inside(release.fleet_port()),
        superlink_control: inside(release.control_port()),
        superlink_ca: inner.ca.clone(),
        fleet,
        admin,
        tls: outside.files.clone(),
        admin_ca: outside.admin_ca.clone(),
        keepalive_time_ms: millis(context.keepalive).0,
        keepalive_timeout_ms: millis(context.keepalive).1,
        state: machine.link_dir("hub"),
        disk_bytes: context.link.disk_bytes,
        hold_seconds: context.link.hold.as_secs(),
    };
    let host = host(machine, context, release, &environment)?;
    let inner_tls = match (&inner.files, &inner.ca) {
        (Some(files), Some(ca)) => {
            Some(SuperLinkTls { ca, certificate: &files.certificate, key: &files.key })
        }
        _ => None,
    };
    let options = SuperLinkOptions { database: &database, tls: inner_tls, supernode_auth: own.node_auth };
    let superlink = host.superlink(&options);
    let (certificates, key) = (inner.inputs(), inner.keys());
    let mut superlink = flower_service(machine, "flower-superlink", superlink, ports, certificates, key);
    superlink.writes.push(data);
    let services = vec![
        flower.wrap(superlink)?,
        own_service(steps, "hub", &hub, vec![fleet, admin], &outside, inner.ca.as_ref())?,
    ];
    steps.processes(services).await?;
    steps
        .healthy(HealthCheck {
            role: Role::SuperLink.to_string(),
            host: published.ip().to_string(),
            port: published.port(),
            name: outside.name.clone(),
            ca: outside.ca.clone(),
            grpc,
            node: None,
        })
        .await?;
    let endpoint = match &outside.name {
        Some(name) => match name.parse() {
            Ok(ip) => SocketAddr::new(ip, published.port()).to_string(),
            Err(_) => format!("{name}:{}", published.port()),
        },
        None => published.to_string(),
    };
    let endpoint = encode(&endpoint);
    let ca = outside.ca_text()?.map(|pem| encode(&pem));
    let mut said = vec![
        (attribute::ENDPOINT, endpoint.as_str()),
        (attribute::TLS, if outside.files.is_some() { "YES" } else { "NO" }),
    ];
    said.extend(ca.as_deref().map(|ca| (attribute::CA, ca)));
    steps.ready(&said).await
}
