//! A site's gateway VM: the spoke.

use std::net::SocketAddr;

use onefed_context::{GatewayContext, Role};

use super::{SPOKE_PORT, addresses, own_service, release, spoke_file};
use crate::publication::{attribute, encode};
use crate::record::HealthCheck;
use crate::steps::Steps;
use crate::{StepError, tls};

pub(crate) async fn gateway(steps: &mut Steps<'_>, own: &GatewayContext) -> Result<(), StepError> {
    let release = release(steps).await?;
    let listen = SocketAddr::new(steps.context.addresses[0], SPOKE_PORT);
    addresses(steps, &[(listen, "the spoke", "spoke")]).await?;
    let tls = tls::gateway(steps, own).await?;
    let file = spoke_file(steps, release, own.site.as_str(), &own.hub, listen, &tls);
    let spoke = own_service(steps, "spoke", &file, vec![listen], &tls, None)?;
    steps.processes(vec![spoke]).await?;
    // SuperNodes of the site may connect before the line is up: the spoke answers them truthfully.
    let endpoint = encode(&listen.to_string());
    let said = async || {
        let words = format!("gateway at {listen}");
        steps.publisher.say(&[(attribute::ENDPOINT, &endpoint)]).await.map(|()| ((), words))
    };
    steps.wait("endpoint", said).await?;
    steps
        .healthy(HealthCheck {
            role: Role::Gateway.to_string(),
            host: listen.ip().to_string(),
            port: listen.port(),
            ca: tls.ca.clone(),
            name: None,
            grpc: false,
            node: None,
        })
        .await?;
    steps.ready(&[]).await
}
