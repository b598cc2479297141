//! Login tokens.

use crate::stage::{Stage, Told, said, sure};
use onefed_opennebula::{Credentials, Error};
use std::sync::Arc;
use std::time::Duration;

pub(super) async fn token(stage: Arc<Stage>) -> Told {
    let user = stage.target.login.user.clone();
    let login = |password| Credentials { user: user.clone(), password };
    let token = stage.rpc.login(Duration::from_secs(3600)).await.map_err(said)?;
    sure(token.expose().len() == 64, || format!("a token of {} characters", token.expose().len()))?;
    stage.target.rpc_as(login(token.clone())).vm_pool().await.map_err(said)?;
    stage.target.flow_as(login(token.clone())).services().await.map_err(said)?;
    stage.rpc.logout(&token).await.map_err(said)?;
    refused(&stage, login(token), "a token that was taken back").await?;

    let short = stage.rpc.login(Duration::from_secs(1)).await.map_err(said)?;
    tokio::time::sleep(Duration::from_millis(2500)).await;
    refused(&stage, login(short), "a token that has expired").await
}

async fn refused(stage: &Stage, login: Credentials, what: &str) -> Told {
    match stage.target.rpc_as(login.clone()).vm_pool().await {
        Err(Error::Unauthenticated { .. }) => {}
        other => return Err(format!("{what} at oned: {other:?}")),
    }
    match stage.target.flow_as(login).services().await {
        Err(Error::Unauthenticated { .. }) => Ok(()),
        other => Err(format!("{what} at OneFlow: {other:?}")),
    }
}
