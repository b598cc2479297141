//! What a VM says through OneGate, and what becomes of it.

use super::gate::Guest;
use super::lifecycle::{running, waiting};
use crate::heard::Want;
use crate::stage::{Stage, Told, nodes, said, sure};
use onefed_opennebula::ServiceState;
use serde_json::json;
use std::sync::Arc;

pub(super) async fn forms(stage: Arc<Stage>) -> Told {
    let service = waiting(&stage, &json!({})).await?;
    let vm = nodes(&service, "r")[0].clone();
    let guest = Guest::of(&stage, &vm).await?;
    let form = "application/x-www-form-urlencoded";
    for (kind, body) in [
        ("text/plain", "A=x y=z&?$'#;é"),
        ("application/json", "B=\"quoted\""),
        ("text/plain", "C=[X=1]"),
        ("text/plain", "D=1\nE=2"),
        ("text/plain", "F=1\\nG=2"),
        (form, "data=H%3Dfrom+form"),
        (form, "I=raw"),
        ("text/plain", "B64=aGVsbG8gd29ybGQ="),
        ("text/plain", "URL=http://a.example/b?c=d&e=f"),
    ] {
        let heard = guest.ask("PUT", "/vm", kind, body).await?;
        sure((heard.status, heard.body.as_str()) == (200, ""), || format!("{body:?}: {}", heard.short()))?;
    }
    let seen = stage.rpc.vm(&vm).await.map_err(said)?.user_template;
    for (name, value) in [
        ("A", "x y=z&?$'#;é"),
        ("B", "quoted"),
        ("D", "1"),
        ("E", "2"),
        ("F", "1"),
        ("G", "2"),
        ("H", "from form"),
        ("I", "raw"),
        ("B64", "aGVsbG8gd29ybGQ="),
        ("URL", "http://a.example/b?c=d&e=f"),
    ] {
        let kept = seen.get(name);
        sure(kept.is_some_and(|kept| kept == value), || format!("{name}: {value:?} became {kept:?}"))?;
    }
    guest.expect("PUT", "/vm?type=2", "A", Want::Exactly(200, "")).await?;
    let seen = stage.rpc.vm(&vm).await.map_err(said)?.user_template;
    sure(!seen.contains_key("A") && seen.contains_key("B"), || format!("{seen:?}"))?;
    guest.expect("PUT", "/vm?type=2", "A", Want::Exactly(500, "attribute not found")).await?;
    guest.expect("PUT", "/vm", "READY=YES", Want::Exactly(200, "")).await?;
    stage.reach(&service.id, ServiceState::Running).await.map(drop)
}

pub(super) async fn refused(stage: Arc<Stage>) -> Told {
    let service = running(&stage, &json!({})).await?;
    let vm = nodes(&service, "r")[0].clone();
    let guest = Guest::of(&stage, &vm).await?;
    for body in ["A=1,2", "A=x[1]", "A=say \"hi\" there", "A=1\nbare", "A-B=1", "A B=1"] {
        guest.expect("PUT", "/vm", body, Want::Holds(500, "")).await?;
    }
    for body in ["SERVICE_ID=9", "role_name=x", "SCHED_REQUIREMENTS=\"x\"", "A=1\nSERVICE_ID=9"] {
        guest.expect("PUT", "/vm", body, Want::Holds(403, "cannot be modified")).await?;
    }
    for body in ["BACK=a\\b", "JSON={\"a\":1}", "EMPTY="] {
        guest.expect("PUT", "/vm", body, Want::Exactly(200, "")).await?;
    }
    let seen = stage.rpc.vm(&vm).await.map_err(said)?.user_template;
    // Nobody should count on these; that they are not what was sent is what counts.
    for (name, sent) in [("BACK", "a\\b"), ("JSON", "{\"a\":1}"), ("EMPTY", "")] {
        let kept = seen.get(name);
        sure(kept.is_some_and(|kept| kept != sent), || format!("{name}: {sent:?} became {kept:?}"))?;
    }
    sure(seen.get("SERVICE_ID") == Some(&service.id.id.to_string()), || format!("{seen:?}"))?;
    let big = format!("BIG={}", "x".repeat(1 << 20));
    guest.expect("PUT", "/vm", &big, Want::Exactly(200, "")).await
}
