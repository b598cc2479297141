//! VM templates.

use crate::stage::{Made, Stage, Told, said, sure};
use futures_util::future::join_all;
use onefed_opennebula::template;
use onefed_opennebula::xmlrpc::Permissions;
use onefed_opennebula::{Error, VmTemplateId};
use std::sync::Arc;

async fn made(stage: &Stage, text: &str) -> Result<VmTemplateId, Error> {
    let id = stage.rpc.template_allocate(text).await?;
    stage.note(Made::VmTemplate(id.clone()));
    Ok(id)
}

pub(super) async fn life(stage: Arc<Stage>) -> Told {
    let name = stage.name("life");
    let text = format!(
        "NAME=\"{name}\"\nMEMORY=\"64\"\nDISK=[SIZE=\"10\",TYPE=\"fs\"]\nDISK=[SIZE=\"20\",TYPE=\"swap\"]\n\
         ONEFED=[FEDERATION=\"f\",KIND=\"lock\"]\n"
    );
    let id = made(&stage, &text).await.map_err(said)?;
    let taken = made(&stage, &text).await;
    sure(matches!(&taken, Err(Error::NameTaken { by: Some(by), .. }) if *by == id.id), || {
        format!("a second one: {taken:?}")
    })?;

    let template = stage.rpc.template_info(&id).await.map_err(said)?;
    sure((&template.name, &template.id) == (&name, &id), || format!("{template:?}"))?;
    let myself = stage.rpc.user().await.map_err(said)?;
    sure(template.owner.uid == myself.id.id && template.owner.uname == myself.name, || {
        format!("{:?}", template.owner)
    })?;
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
    sure(template.registered.abs_diff(now) < 86400, || {
        format!("registered {}, now {now}", template.registered)
    })?;
    let label = template.attributes.vector("ONEFED").ok_or("no ONEFED")?;
    sure(label.get("KIND").is_some_and(|kind| kind == "lock"), || format!("{label:?}"))?;
    let disks =
        template.attributes.vectors("DISK").filter_map(|d| d.get("SIZE").cloned()).collect::<Vec<_>>();
    sure(disks == ["10", "20"], || format!("{disks:?}"))?;
    let pool = stage.rpc.templates().await.map_err(said)?;
    let listed = pool.iter().find(|it| it.id == id).ok_or("not in the pool")?;
    sure(*listed == template, || format!("the pool says {listed:?}, info says {template:?}"))?;

    // Merged: what is given replaces all of its name, the rest stays.
    stage.rpc.template_update(&id, "ONEFED=[KIND=\"other\"]\nNEW=\"1\"", true).await.map_err(said)?;
    let merged = stage.rpc.template_info(&id).await.map_err(said)?.attributes;
    let label = merged.vector("ONEFED").ok_or("no ONEFED after a merge")?;
    sure(label.len() == 1 && label["KIND"] == "other", || format!("merged {label:?}"))?;
    sure(merged.text("NEW") == Some("1") && merged.text("MEMORY") == Some("64"), || {
        format!("merged {merged:?}")
    })?;
    stage.rpc.template_update(&id, "ONLY=\"1\"", false).await.map_err(said)?;
    let replaced = stage.rpc.template_info(&id).await.map_err(said)?;
    sure(replaced.attributes.text("ONLY") == Some("1") && replaced.attributes.text("NEW").is_none(), || {
        format!("replaced {:?}", replaced.attributes)
    })?;
    sure(replaced.name == name, || format!("the name became {}", replaced.name))?;
    let broken = stage.rpc.template_update(&id, "A=[", true).await;
    sure(matches!(broken, Err(Error::Refused { code: 8192, .. })), || format!("{broken:?}"))?;

    stage.rpc.template_chmod(&id, Permissions::from_octal(0o640)).await.map_err(said)?;
    let changed = stage.rpc.template_info(&id).await.map_err(said)?.permissions;
    sure(changed == Permissions::from_octal(0o640), || format!("{changed:?}"))?;
    stage.rpc.template_delete(&id, false).await.map_err(said)?;
    for gone in [stage.rpc.template_info(&id).await.map(drop), stage.rpc.template_delete(&id, false).await] {
        sure(gone.as_ref().is_err_and(Error::is_not_found), || format!("after it was deleted: {gone:?}"))?;
    }
    // The name is free again, the number is not.
    let again = made(&stage, &text).await.map_err(said)?;
    sure(again.id > id.id, || format!("{again} after {id}"))
}

/// What a lock of operators on different machines stands on.
pub(super) async fn race(stage: Arc<Stage>) -> Told {
    let text = format!("NAME=\"{}\"\n", stage.name("race"));
    let outcomes = join_all((0..8).map(|_| made(&stage, &text))).await;
    let winner: Vec<_> = outcomes.iter().filter_map(|it| it.as_ref().ok()).collect();
    let [winner] = winner.as_slice() else {
        return Err(format!("{} of eight got it: {outcomes:?}", winner.len()));
    };
    for loser in outcomes.iter().filter_map(|it| it.as_ref().err()) {
        sure(matches!(loser, Error::NameTaken { by: Some(by), .. } if *by == winner.id), || {
            format!("{loser:?}")
        })?;
    }
    Ok(())
}

pub(super) async fn values(stage: Arc<Stage>) -> Told {
    let values = [
        ("QUOTES", r#"say "hi""#),
        ("BACKSLASHES", r"a\b\\c"),
        ("LINES", "one\ntwo\n three"),
        ("SIGNS", "$HOME ${x} 'y' [a,b]=<c>&amp; # ;"),
        ("UNICODE", "é ü 漢"),
        ("JSON", r#"{"a":[1,"x"]}"#),
    ];
    let mut text = template::attributes(&[("NAME", &stage.name("values"))]).map_err(said)?;
    text.push_str(&template::attributes(&values).map_err(said)?);
    text.push_str(&template::vector("CONTEXT", &values).map_err(said)?);
    let id = made(&stage, &text).await.map_err(said)?;
    let stored = stage.rpc.template_info(&id).await.map_err(said)?;
    for (name, value) in values {
        let kept = stored.attributes.text(name);
        sure(kept == Some(value), || format!("{name}: {value:?} became {kept:?}"))?;
        let kept = stored.context.get(name);
        sure(kept.is_some_and(|kept| kept == value), || {
            format!("CONTEXT/{name}: {value:?} became {kept:?}")
        })?;
    }
    Ok(())
}
