//! What a service carries from a form to a VM: an input's value through OneFlow's merge, OpenNebula's `$KEY` and the
//! quoting of context.sh, read again by the code that boots there.

use super::*;
use crate::attributes;
use crate::context;
use crate::machine::Nic;
use crate::zone::State;
use onefed_context::{
    CaBundle, InputFlag, InputType, RawContext, Role, TABLE, Variable, read_context_sh, variable, vm_template,
};
use onefed_opennebula::template;
use proptest::prelude::*;

const CA: &str = include_str!("../../../../context/tests/data/ca.pem");
const KEY: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

fn state() -> State {
    State::default()
}

/// The context.sh of a VM whose service was given this value for this input; the complaint where there is none.
fn through_oneflow(name: &str, value: &str, at_role: bool) -> Result<String, String> {
    let values = json!({ name: value });
    let (own, service) = if at_role { (values, json!({})) } else { (json!({}), values) };
    let body = json!({ "user_inputs_values": service, "roles": [{ "name": "r", "template_id": 0,
        "user_inputs_values": own, "template_contents": { "CONTEXT": { "TOKEN": "YES" } } }] });
    let Value::Object(body) = body else { unreachable!() };
    let service = Service::new(1, "s".to_owned(), Caller::oneadmin().owned(), body);
    let plan = Plan::new(77, 0);
    let extra = contents(plan, &state(), &service, &service.roles[0])?;
    let Value::Object(mut vm) = json!({ "CONTEXT": { "NETWORK": "YES" }, "CPU": "1" }) else {
        unreachable!()
    };
    merge(&mut vm, &extra);
    Ok(context::shell(&context::build(
        &vm,
        &context::Of { nics: &[Nic { octet: 10, network: 0, name: String::new() }], vm: 7, plan },
    )))
}

/// The same for a VM template with a USER_INPUTS block, whose form was answered with its default.
fn through_a_template(row: &Variable, value: &str) -> Option<String> {
    let input = row.user_input_as(InputFlag::Optional, value)?;
    let text = format!(
        "USER_INPUTS = [ {name} = {input} ]\nCONTEXT = [ {name} = {reference} ]\n",
        name = row.name,
        input = template::quote(&input),
        reference = template::quote(&format!("${}", row.name)),
    );
    let mut vm = attributes::parse(&text).expect("OpenNebula reads the block");
    let asked = vm.remove("USER_INPUTS")?;
    let fields: Vec<_> = asked.get(row.name)?.as_str()?.split('|').map(str::to_owned).collect();
    assert_eq!(fields.len(), 5, "{fields:?}");
    let answer = template::attributes(&[(row.name, fields[4].as_str())]).ok()?;
    merge(&mut vm, &attributes::parse(&answer).expect("and the answer"));
    Some(context::shell(&context::build(&vm, &context::Of { nics: &[], vm: 7, plan: Plan::new(77, 0) })))
}

/// What the boot reads, with no complaint about the file.
fn read(shell: &str, name: &str) -> Option<String> {
    let (raw, problems) = RawContext::parse(shell);
    assert!(problems.is_empty(), "{problems:?}");
    raw.get(name).map(str::to_owned)
}

/// What OneFlow spoils and a plan therefore refuses.
fn is_portable(value: &str) -> bool {
    !value.contains("${") && !value.contains("]]>") && !value.ends_with('\\')
}

/// Carries a value in every way and compares. OneFlow takes one line break from the end.
fn carry(row: &Variable, value: &str) {
    let wanted = Some(value.strip_suffix('\n').unwrap_or(value)).filter(|wanted| !wanted.is_empty());
    for at_role in [false, true] {
        let shell = through_oneflow(row.name, value, at_role).expect(row.name);
        assert_eq!(read(&shell, row.name).as_deref(), wanted, "{}", row.name);
    }
    // A form's field cannot hold a line break or the mark between fields; such a default is left out.
    if let Some(shell) = through_a_template(row, value)
        && !value.contains(['|', '\n'])
    {
        assert_eq!(read(&shell, row.name).as_deref(), Some(value).filter(|value| !value.is_empty()));
    }
    assert_eq!(row.check(wanted.unwrap_or_default()), Ok(()), "{}", row.name);
}

fn inputs() -> impl Iterator<Item = &'static Variable> {
    TABLE.iter().filter(|row| row.user_input().is_some())
}

/// Texts in the shape of every rule, and some of none.
fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        Just(String::new()),
        "[0-9]{1,9}",
        "[0-9]{1,3}\\.[0-9]{1,3}",
        "(YES|NO|yes|No|all|text|json|venv|container|first-use|pinned|subprocess)",
        "(FedAvg|Krum|DEBUG|pytorch|sklearn|none|anomaly-detection|fixed|exponential)",
        "[0-9]{1,2}\\.[0-9]{1,3}\\.[0-9]{1,2}",
        "[a-z]{1,9}(\\.[a-z]{1,5}){0,2}:[1-9][0-9]{0,3}",
        "\\[fd00::[0-9a-f]{1,4}\\](:9092)?",
        "(IP:10\\.0\\.0\\.[0-9]{1,2}|DNS:\\*\\.[a-z]{1,9})(, ?DNS:[a-z]{1,9}){0,3}",
        "/?[a-z0-9_]{1,9}(/[a-z0-9._-]{1,9}){0,3}",
        "[a-z]{1,9}/[a-z]{1,9}:[0-9]\\.[0-9]{1,2}",
        // Flower's own quotes, with everything in between that a shell would like.
        "k=\"[^\"\\\\\\p{C}]{0,40}\"( n=[1-9])?",
        "k='[^'\\p{C}]{0,40}'",
    ]
}

proptest! {
    #[test]
    fn every_accepted_value_arrives(value in any_value()) {
        for row in inputs().filter(|row| row.check(&value).is_ok() && is_portable(&value)) {
            carry(row, &value);
        }
    }

    /// Not only accepted ones: what is refused is refused for what was written.
    #[test]
    fn every_text_arrives(value in "[^\\p{C}]{0,60}|([$`'\"\\\\(){}|&; \n#=]|\\PC){0,60}") {
        prop_assume!(is_portable(&value));
        let shell = through_oneflow("FL_NODE_CONFIG", &value, true).unwrap();
        let wanted = Some(value.strip_suffix('\n').unwrap_or(&value)).filter(|wanted| !wanted.is_empty());
        let arrived = read(&shell, "FL_NODE_CONFIG");
        prop_assert_eq!(arrived.as_deref(), wanted);
    }
}

#[test]
fn defaults_arrive() {
    for row in inputs() {
        carry(row, row.default.unwrap_or_default());
    }
}

/// Certificates and keys, as a web form sends them and as the command line encodes them once more.
#[test]
fn every_wrapping_of_a_certificate_arrives() {
    use base64::prelude::{BASE64_STANDARD, Engine as _};
    let der: String = CA.lines().filter(|line| !line.starts_with('-')).collect();
    let once = BASE64_STANDARD.encode(CA);
    for value in [CA, &once, &BASE64_STANDARD.encode(&once), &der, &CA.replace('\n', "\r\n")] {
        for name in ["FL_SSL_CA_CERTFILE", "FL_SSL_CERTFILE"] {
            carry(variable(name).unwrap(), value);
            let shell = through_oneflow(name, value, true).unwrap();
            assert_eq!(read(&shell, name).unwrap().parse::<CaBundle>().unwrap().pem(), CA);
        }
    }
    for value in
        [KEY.to_owned(), BASE64_STANDARD.encode(KEY), BASE64_STANDARD.encode(BASE64_STANDARD.encode(KEY))]
    {
        carry(variable("FL_SSL_KEYFILE").unwrap(), &value);
    }
    let armoured: Vec<_> =
        inputs().filter(|row| row.input == InputType::Text64).map(|row| row.name).collect();
    assert_eq!(armoured, ["FL_SSL_CA_CERTFILE", "FL_SSL_CERTFILE", "FL_SSL_KEYFILE"]);
}

#[test]
fn a_megabyte_arrives() {
    let bundle = CA.repeat(1_000_000 / CA.len() + 1);
    let text = format!("k='{}'", "$(id) \"`x` ".repeat(100_000));
    for (name, value) in [("FL_SSL_CA_CERTFILE", bundle), ("FL_NODE_CONFIG", text)] {
        assert!(value.len() >= 1_000_000);
        carry(variable(name).unwrap(), &value);
    }
}

/// What the sandbox and a real OneFlow spoil, so that a plan's refusal of it stays right.
#[test]
fn what_oneflow_spoils_is_what_a_plan_refuses() {
    assert!(through_oneflow("FL_NODE_CONFIG", "k='x' \\", true).is_err());
    let shell = through_oneflow("FL_NODE_CONFIG", "k='${x}y'", true).unwrap();
    assert_eq!(read(&shell, "FL_NODE_CONFIG").as_deref(), Some("k='y'"));
}

/// A guest's shell, which the agent of OpenNebula uses, reads what this code reads.
#[test]
fn a_shell_reads_the_same() {
    let dir = tempfile::tempdir().unwrap();
    for value in ["it's", "$(id)`id`$HOME", "a\n\nb", "\"q\" \\ \\n", "'", "''", "# no", " x ", "é ✓", "!!"]
    {
        let shell = through_oneflow("FL_NODE_CONFIG", value, true).unwrap();
        let file = dir.path().join("context.sh");
        std::fs::write(&file, &shell).unwrap();
        let said = std::process::Command::new("sh")
            .args(["-c", ". \"$1\"; printf %s \"$FL_NODE_CONFIG\"", "sh"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), value);
        assert_eq!(read(&shell, "FL_NODE_CONFIG").as_deref(), Some(value));
    }
}

/// The blocks that `onefed vars --template` writes, in a VM template whose form was answered with its defaults.
#[test]
fn a_vm_template_made_from_the_table_boots_with_the_answers_of_its_form() {
    for role in [Role::SuperLink, Role::SuperNode] {
        let mut vm = attributes::parse(&vm_template(role)).expect("OpenNebula reads both blocks");
        let asked = vm.remove("USER_INPUTS").unwrap();
        for (name, input) in asked.as_object().unwrap() {
            let fields: Vec<&str> = input.as_str().unwrap().split('|').collect();
            assert_eq!(fields.len(), 5, "{name}: {fields:?}");
            let answer = template::attributes(&[(name, fields[4])]).unwrap();
            merge(&mut vm, &attributes::parse(&answer).unwrap());
        }
        let of = context::Of {
            nics: &[Nic { octet: 10, network: 0, name: String::new() }],
            vm: 7,
            plan: Plan::new(77, 0),
        };
        let read = read_context_sh(&context::shell(&context::build(&vm, &of)));
        let errors: Vec<_> = read.problems.iter().filter(|p| p.is_error()).map(|p| p.code).collect();
        match role {
            Role::SuperLink => assert!(read.context.is_some(), "{:?}", read.problems),
            // All that is left to say is whom to trust.
            _ => assert_eq!(errors, ["context::tls-without-ca"]),
        }
    }
}
