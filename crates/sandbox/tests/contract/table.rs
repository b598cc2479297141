//! Cases of one call: who asks what, and what has to be answered.

use crate::heard::Heard;
use crate::heard::Want::{self, Exactly, Fault, Holds, Refused, Text};
use crate::stage::{MISSING, Made, Stage, Told};
use crate::target::Who::{self, Nobody, Stranger, User, WrongPassword};
use onefed_opennebula::xmlrpc::wire::Param::{self, Bool, Int};
use onefed_opennebula::xmlrpc::wire::{Outcome, Reply, Value};
use onefed_opennebula::{ServiceTemplateId, VmTemplateId};

/// One call and its answer.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    ask: Ask,
    want: Want,
}

enum Ask {
    /// XML-RPC: a method with its arguments after the session.
    Rpc(Who, &'static str, Vec<Param>),
    /// A request to oned's port: method, path, body.
    Oned(&'static str, &'static str, &'static str),
    /// OneFlow: method, path, body.
    Flow(Who, &'static str, &'static str, String),
}

use Ask::{Flow, Oned, Rpc};

impl Row {
    pub(crate) async fn check(&self, stage: &Stage) -> Told {
        let target = &stage.target;
        let heard = match &self.ask {
            Rpc(who, method, params) => target.call(*who, method, params).await?,
            Oned(method, path, body) => target.at_oned(method, path, body).await?,
            Flow(who, method, path, body) => {
                let heard = target.at_flow(*who, method, path, body).await?;
                if heard.status != 204 && heard.kind != "text/html;charset=utf-8" {
                    return Err(format!("OneFlow calls everything HTML, but this is {}", heard.short()));
                }
                heard
            }
        };
        note_what_should_not_be(stage, &heard);
        heard.check(&self.want)
    }
}

/// A document or VM template that was made although it should have been refused has to go as well.
fn note_what_should_not_be(stage: &Stage, heard: &Heard) {
    if let Some(Reply::Answer(Outcome::Success(Value::Int(id)))) = heard.reply
        && let Ok(id) = u32::try_from(id)
    {
        stage.note(Made::VmTemplate(VmTemplateId::new(stage.target.zone(), id)));
    }
    let document =
        serde_json::from_str::<serde_json::Value>(&heard.body).ok().filter(|_| heard.status == 201);
    if let Some(id) = document.and_then(|d| d["DOCUMENT"]["ID"].as_str()?.parse().ok()) {
        stage.note(Made::ServiceTemplate(ServiceTemplateId::new(stage.target.zone(), id)));
    }
}

fn text(value: &str) -> Param {
    Param::Text(value.to_owned())
}

fn missing() -> Param {
    Int(i32::try_from(MISSING).unwrap())
}

/// A role that passes.
const ROLE: &str = r#"{"name":"r","type":"vm","template_id":0}"#;
const LOGIN: &str = "User couldn't be authenticated, aborting call.";
/// What OneFlow says of [`MISSING`].
const NO_DOCUMENT: &str = "[one.document.info] Error getting document [99999999].";

/// A service template whose one role has this in it, as text.
fn with_role(attribute: &str) -> String {
    format!(r#"{{"name":"never","roles":[{{"name":"r","type":"vm","template_id":0,{attribute}}}]}}"#)
}

/// A service template with this at its top.
fn with(attribute: &str) -> String {
    format!(r#"{{"name":"never","roles":[],{attribute}}}"#)
}

fn roles(roles: &str) -> String {
    format!(r#"{{"name":"never","roles":[{roles}]}}"#)
}

/// All of them.
pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut add = |name, ask, want| rows.push(Row { name, ask, want });

    add("oned: version", Rpc(User, "one.system.version", vec![]), Text("."));
    add("oned: wrong password", Rpc(WrongPassword, "one.system.version", vec![]), Refused(256, LOGIN));
    add(
        "oned: no such user",
        Rpc(Stranger, "one.vmpool.info", vec![Int(-2), Int(-1), Int(-1), Int(-1)]),
        Refused(256, LOGIN),
    );
    add("oned: a session without a colon", Rpc(Nobody, "one.zonepool.info", vec![]), Refused(256, LOGIN));
    add("oned: unknown method", Rpc(User, "one.vm.dance", vec![Int(0)]), Fault(-506));
    add(
        "oned: a text where a number belongs",
        Rpc(User, "one.vm.info", vec![text("0"), Bool(false)]),
        Fault(-501),
    );
    add("oned: too few arguments", Rpc(User, "one.vm.update", vec![missing()]), Fault(-501));
    add("oned: action before id", Rpc(User, "one.vm.action", vec![Int(0), text("hold")]), Fault(-501));
    add("oned: another path", Oned("POST", "/RPC3", "<x/>"), Holds(404, ""));
    add(
        "oned: no such VM",
        Rpc(User, "one.vm.info", vec![missing(), Bool(false)]),
        Refused(1024, "Error getting virtual machine [99999999]."),
    );
    add(
        "oned: no such VM to act on",
        Rpc(User, "one.vm.action", vec![text("hold"), missing()]),
        Refused(1024, "[99999999]"),
    );
    for (name, method, params) in [
        ("oned: no such VM template", "one.template.info", vec![missing(), Bool(false), Bool(false)]),
        (
            "oned: no such VM template to change",
            "one.template.update",
            vec![missing(), text("A=\"1\""), Int(1)],
        ),
        ("oned: no such VM template to delete", "one.template.delete", vec![missing(), Bool(false)]),
        (
            "oned: no such VM template to start",
            "one.template.instantiate",
            vec![missing(), text(""), Bool(true), text(""), Bool(false)],
        ),
        ("oned: no such image", "one.image.info", vec![missing(), Bool(false)]),
        ("oned: no such network", "one.vn.info", vec![missing(), Bool(false)]),
        ("oned: no such zone", "one.zone.info", vec![missing(), Bool(false)]),
        ("oned: no such group", "one.group.info", vec![missing(), Bool(false)]),
    ] {
        add(name, Rpc(User, method, params), Refused(1024, "[99999999]"));
    }
    for (name, method, params, root) in [
        ("oned: zones", "one.zonepool.info", vec![], "<ZONE_POOL>"),
        ("oned: VM templates", "one.templatepool.info", vec![Int(-2), Int(-1), Int(-1)], "<VMTEMPLATE_POOL"),
        ("oned: images", "one.imagepool.info", vec![Int(-2), Int(-1), Int(-1)], "<IMAGE_POOL"),
        ("oned: networks", "one.vnpool.info", vec![Int(-2), Int(-1), Int(-1)], "<VNET_POOL"),
        ("oned: hosts", "one.hostpool.info", vec![], "<HOST_POOL"),
        ("oned: datastores", "one.datastorepool.info", vec![], "<DATASTORE_POOL"),
        ("oned: VMs", "one.vmpool.info", vec![Int(-2), Int(-1), Int(-1), Int(-1)], "<VM_POOL"),
        ("oned: oneself", "one.user.info", vec![Int(-1), Bool(false)], "<TOKEN_PASSWORD>"),
        ("oned: configuration", "one.system.config", vec![], "<FEDERATION>"),
        ("oned: no VMs of a set", "one.vmpool.infoset", vec![text(""), Bool(false)], "<VM_POOL></VM_POOL>"),
    ] {
        add(name, Rpc(User, method, params), Text(root));
    }
    add(
        "oned: a filter that there is not",
        Rpc(User, "one.templatepool.info", vec![Int(-9), Int(-1), Int(-1)]),
        Refused(4096, "Incorrect filter_flag"),
    );
    add(
        "oned: a VM template without a name",
        Rpc(User, "one.template.allocate", vec![text("NAME=\"\"")]),
        Refused(8192, ""),
    );
    add(
        "oned: a VM template that cannot be read",
        Rpc(User, "one.template.allocate", vec![text("NAME=\"x\nA=[")]),
        Refused(8192, ""),
    );

    let none = String::new;
    add(
        "flow: no login",
        Flow(Nobody, "GET", "/service", none()),
        Exactly(401, "A username and password must be provided"),
    );
    add(
        "flow: wrong password",
        Flow(WrongPassword, "GET", "/service", none()),
        Exactly(401, "Invalid credentials"),
    );
    add(
        "flow: no such user",
        Flow(Stranger, "POST", "/service_template", none()),
        Exactly(401, "Invalid credentials"),
    );
    add("flow: services", Flow(User, "GET", "/service", none()), Holds(200, r#""DOCUMENT_POOL""#));
    add(
        "flow: service templates",
        Flow(User, "GET", "/service_template", none()),
        Holds(200, r#""DOCUMENT_POOL""#),
    );
    add(
        "flow: no such service template",
        Flow(User, "GET", "/service_template/99999999", none()),
        Exactly(404, NO_DOCUMENT),
    );
    add("flow: no such service", Flow(User, "GET", "/service/99999999", none()), Exactly(404, NO_DOCUMENT));
    add(
        "flow: no such service to delete",
        Flow(User, "DELETE", "/service/99999999", none()),
        Exactly(404, NO_DOCUMENT),
    );
    add(
        "flow: no such service template to instantiate",
        Flow(
            User,
            "POST",
            "/service_template/99999999/action",
            r#"{"action":{"perform":"instantiate"}}"#.into(),
        ),
        Exactly(404, NO_DOCUMENT),
    );
    add(
        "flow: forget what is done",
        Flow(User, "POST", "/service_pool/purge_done", none()),
        Exactly(204, ""),
    );
    let schema: [(&str, String, &str); 22] = [
        ("schema: a name is needed", r#"{"roles":[]}"#.into(), "'name"),
        ("schema: roles are needed", r#"{"name":"never"}"#.into(), "'roles"),
        ("schema: roles are a list", r#"{"name":"never","roles":{}}"#.into(), "'roles'"),
        (
            "schema: deployment",
            with(r#""deployment":"x""#),
            "KEY: 'deployment' must be one of none, straight;",
        ),
        (
            "schema: shutdown_action",
            with(r#""shutdown_action":"x""#),
            "KEY: 'shutdown_action' must be one of",
        ),
        ("schema: the gate is a boolean", with(r#""ready_status_gate":"true""#), "'ready_status_gate'"),
        ("schema: inputs are an object", with(r#""user_inputs":[]"#), "'user_inputs'"),
        (
            "schema: a role's name is needed",
            roles(r#"{"type":"vm","template_id":0}"#),
            "Mandatory document key 'name",
        ),
        (
            "schema: a role's type is needed",
            roles(r#"{"name":"r","template_id":0}"#),
            "Mandatory document key 'type (string)' is missing from {",
        ),
        (
            "schema: a role's VM template is needed",
            roles(r#"{"name":"r","type":"vm"}"#),
            "Mandatory document key 'template_id",
        ),
        (
            "schema: a VM template is a number",
            with_role(r#""cardinality":1"#).replace(":0,", r#":"abc","#),
            "KEY: 'template_id' must be an Integer;",
        ),
        (
            "schema: no dash in a role's name",
            roles(r#"{"name":"a-b","type":"vm","template_id":0}"#),
            r"KEY: 'name' must match regexp /^\w+$/;",
        ),
        ("schema: vm or vr", roles(r#"{"name":"r","type":"pod","template_id":0}"#), "'type'"),
        ("schema: two roles of a name", roles(&format!("{ROLE},{ROLE}")), ""),
        ("schema: fewer than none", with_role(r#""cardinality":-1"#), "'cardinality'"),
        ("schema: fewer than the fewest", with_role(r#""cardinality":1,"min_vms":2"#), "'min_vms'"),
        ("schema: more than the most", with_role(r#""cardinality":3,"max_vms":2"#), "'max_vms'"),
        ("schema: parents are a list", with_role(r#""parents":"a""#), "'parents'"),
        ("schema: cooldown", with_role(r#""cooldown":-1"#), "'cooldown'"),
        ("schema: contents are an object", with_role(r#""template_contents":"A=1""#), "'template_contents'"),
        (
            "schema: policies need limits",
            with_role(r#""elasticity_policies":[{"type":"CHANGE","adjust":1,"expression":"A>1"}]"#),
            "",
        ),
        ("schema: a role's inputs are an object", with_role(r#""user_inputs":"x""#), "'user_inputs'"),
    ];
    for (name, body, part) in schema {
        add(name, Flow(User, "POST", "/service_template", body), Holds(400, part));
    }
    add(
        "flow: a service template that is no JSON",
        Flow(User, "POST", "/service_template", "{".into()),
        Holds(400, ""),
    );
    add(
        "flow: an unknown action of nothing",
        Flow(User, "POST", "/service_template/99999999/action", r#"{"action":{"perform":"dance"}}"#.into()),
        Exactly(200, ""),
    );
    add(
        "flow: an empty action",
        Flow(User, "POST", "/service_template/99999999/action", none()),
        Holds(500, "Internal server error"),
    );
    let long = format!(r#"{{"name":"{}","roles":[]}}"#, "x".repeat(129));
    add("flow: a name of 129 characters", Flow(User, "POST", "/service_template", long), Holds(500, "NAME"));
    rows
}
