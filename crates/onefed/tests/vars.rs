//! `vars` and `context check`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use support::Desk;

/// Nothing here needs zones.
const NET: u8 = 120;

#[test]
fn the_table_in_three_forms() {
    let desk = Desk::new("vars-table", NET);
    desk.snapshot("vars__text", &mut desk.onefed("vars")).expect(0);
    let json = support::run(&mut desk.onefed("vars --format json")).expect(0).json();
    assert_eq!(json["schema_version"], 1);
    let time =
        json["variables"].as_array().unwrap().iter().find(|row| row["name"] == "FL_GRPC_KEEPALIVE_TIME");
    assert_eq!(time.unwrap()["user_input"], "O|number|gRPC keepalive interval in seconds||60");
    let markdown = support::run(&mut desk.onefed("vars --markdown")).expect(0);
    assert_eq!(markdown.stdout, include_str!("../../../spec/03-contextualization-reference.md"));
    for format in ["text", "json"] {
        let schema = support::run(&mut desk.onefed(&format!("schema context --format {format}"))).expect(0);
        assert_eq!(schema.stdout, include_str!("../../../spec/context.schema.json"));
    }
    for role in ["superlink", "supernode", "gateway"] {
        desk.snapshot(
            &format!("vars__template_{role}"),
            &mut desk.onefed(&format!("vars --template {role}")),
        )
        .expect(0);
    }
    assert_eq!(desk.files(), Vec::<String>::new());
}

/// The ways to TLS and to the hub, as `context check` tells them.
#[test]
fn what_does_not_go_together_is_said_with_what_to_do() {
    let desk = Desk::new("vars-ways", NET);
    desk.write(
        "pki.env",
        "FL_SSL_CERTFILE=x\nFL_NODE_AUTH=YES\nFL_TLS_ENABLED=NO\nFL_CHECKPOINT_PATH=relative\n",
    );
    desk.snapshot("vars__check_superlink", &mut desk.onefed("context check pki.env --role superlink"))
        .expect(78);
    desk.write("single.env", "TOKEN=YES\nFL_CA_TRUST=first-use\n");
    desk.snapshot("vars__check_single_site", &mut desk.onefed("context check single.env --role supernode"))
        .expect(0);
    desk.write("site.env", "FL_SITE=paris\nFL_GATEWAY=embedded\nTOKEN=YES\n");
    desk.snapshot("vars__check_site", &mut desk.onefed("context check site.env --role supernode")).expect(78);
}

#[test]
fn a_good_context_and_one_with_every_kind_of_problem() {
    let desk = Desk::new("vars-check", NET);
    desk.write(
        "good.env",
        "FL_FEDERATION=hospitals\nFL_STRATEGY=Krum\nFL_MIN_AVAILABLE_CLIENTS=5\nFL_NUM_MALICIOUS=1\n",
    );
    desk.snapshot("vars__check_good", &mut desk.onefed("context check good.env --role superlink")).expect(0);
    desk.write(
        "context.sh",
        "FL_ROLE='gateway'\nFL_GRPC_KEEPALIV_TIME='60'\nFL_STRATEGY='Bulyan'\nFL_GPU_ENABLED='maybe'\nFL_SSL_KEYFILE='x'\nnonsense\nTOKEN='YES'\n",
    );
    desk.snapshot("vars__check_bad", &mut desk.onefed("context check context.sh --role superlink"))
        .expect(78);
    let json =
        desk.snapshot("vars__check_bad_json", &mut desk.onefed("context check context.sh --format json"));
    assert_eq!(json.expect(78).json()["ok"], false);
    desk.snapshot("vars__check_no_file", &mut desk.onefed("context check nowhere.sh")).expect(65);
    desk.snapshot("vars__check_no_such_role", &mut desk.onefed("context check good.env --role hub"))
        .expect(64);
}
