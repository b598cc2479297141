//! A SuperNode's VM: the SuperNode, and with an embedded gateway the spoke beside it.

use std::net::SocketAddr;

use onefed_context::{Endpoint, GatewayPlacement, Host, Role, SuperNodeContext};
use onefed_flower::command::{self, SuperNodeOptions};

use super::{SPOKE_PORT, addresses, flower_service, host, host_text, own_service, release, spoke_file};
use crate::publication::{attribute, encode};
use crate::record::{HealthCheck, Node};
use crate::service::SUPERNODE;
use crate::steps::Steps;
use crate::tls::Secured;
use crate::{StepError, discovery, flower, node_key, tls};

pub(crate) async fn supernode(steps: &mut Steps<'_>, own: &SuperNodeContext) -> Result<(), StepError> {
    let (machine, context) = (steps.machine, steps.context);
    let release = release(steps).await?;
    let flower = flower::find(steps, release, &own.runtime).await?;
    let environment = flower.environment();
    let embedded = own.gateway == GatewayPlacement::Embedded;
    let inside = |port| SocketAddr::new(machine.loopback(), port);
    let client_app = inside(command::CLIENT_APP_PORT);
    let mut sockets = vec![(client_app, "SuperNode", SUPERNODE)];
    if embedded {
        sockets.push((inside(SPOKE_PORT), "the spoke", "spoke"));
    }
    addresses(steps, &sockets).await?;
    let (spoke, hub) = peer(steps, own).await?;
    // What the SuperNode's own hop has: the site's LAN, or this VM's loopback.
    let line = hub.as_ref().map(|hub| hub.tls.clone()).unwrap_or_default();
    let hop = match (embedded, own.node_auth) {
        // Flower shows its key over TLS only.
        (true, true) => tls::inner(steps).await?,
        (true, false) => Secured::default(),
        (false, _) => tls::site(steps, &own.trust, None).await?,
    };
    let key = if own.node_auth {
        let keep = async || {
            let key = node_key::keep(machine)?;
            let words = format!("{} SuperNode key", if key.made { "a new" } else { "the kept" });
            Ok((Some(key), words))
        };
        steps.run("key", keep).await?
    } else {
        None
    };
    let place = async || {
        let gate = steps.publisher.client();
        let (site, given) = (own.site.as_str(), &own.node_config);
        let config = discovery::node_config(machine, gate, site, given, own.partition).await?;
        let text = config.to_string();
        Ok((config, text))
    };
    let config = steps.wait("partition", place).await?;

    let mut services = Vec::new();
    if let Some(hub) = &hub {
        let served = Secured { files: hop.files.clone(), ..line };
        let file = spoke_file(steps, release, own.site.as_str(), &hub.endpoint, inside(SPOKE_PORT), &served);
        services.push(own_service(steps, "spoke", &file, vec![inside(SPOKE_PORT)], &served, None)?);
    }
    let host = host(machine, context, release, &environment)?;
    let node = host.supernode(&SuperNodeOptions {
        superlink: &spoke.to_string(),
        root_certificates: hop.ca.as_deref(),
        auth_key: key.as_ref().map(|key| key.private.as_path()),
        node_config: &config.to_string(),
        max_retries: own.max_retries,
        max_wait_time: own.max_wait,
    });
    let certificates = hop.ca.clone().into_iter().collect();
    let keys = key.iter().map(|key| key.private.clone()).collect();
    let service = flower_service(machine, SUPERNODE, node, vec![client_app], certificates, keys);
    services.push(flower.wrap(service)?);
    steps.processes(services).await?;
    if let Some(key) = &key {
        let text = encode(&key.public);
        let say = async || {
            let words = format!("the operator is asked to register {}", key.fingerprint);
            steps.publisher.say(&[(attribute::NODE_KEY, &text)]).await.map(|()| ((), words))
        };
        steps.wait("registration", say).await?;
    }
    let node = match key {
        Some(key) => Node::Key(key.fingerprint),
        None if embedded => Node::Only,
        None => Node::Id(steps.announced().await?),
    };
    let well = steps
        .healthy(HealthCheck {
            role: Role::SuperNode.to_string(),
            host: host_text(&spoke),
            port: spoke.port,
            ca: hop.ca,
            name: None,
            grpc: false,
            node: Some(node),
        })
        .await?;
    let id = well.node.map_or(String::new(), |id| id.to_string());
    steps.ready(&[(attribute::NODE_ID, &id)]).await
}

/// The hub that an embedded spoke dials.
struct Hub {
    endpoint: Endpoint,
    tls: Secured,
}

/// Where the SuperNode connects to, and with an embedded gateway the hub behind that.
async fn peer(steps: &Steps<'_>, own: &SuperNodeContext) -> Result<(Endpoint, Option<Hub>), StepError> {
    if own.gateway == GatewayPlacement::Dedicated {
        let find = async || {
            let Some(gate) = steps.publisher.client() else {
                return Err(StepError::gateway("without OneGate a SuperNode cannot find its gateway"));
            };
            let found = discovery::gateway(gate).await?;
            let text = format!("gateway at {found}");
            Ok((found, text))
        };
        return Ok((steps.wait("gateway", find).await?, None));
    }
    let find = async || {
        let found = discovery::hub(steps.publisher.client(), own, steps.context.tls()).await?;
        let text = format!("hub at {}", found.endpoint);
        Ok((found, text))
    };
    let found = steps.wait("hub", find).await?;
    let tls = tls::site(steps, &own.trust, found.ca.as_deref()).await?;
    let loopback = Host::Ip(steps.machine.loopback());
    let spoke = Endpoint::new(loopback, SPOKE_PORT).ok_or_else(|| StepError::gateway("no loopback"))?;
    Ok((spoke, Some(Hub { endpoint: found.endpoint, tls })))
}
