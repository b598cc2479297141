//! Ordinary users: what they see, may do, and are refused.

use super::*;
use onefed_opennebula::xml::Element;
use onefed_opennebula::xmlrpc::HostAccess;

const ALL: [Param; 3] = [Param::Int(-2), Param::Int(-1), Param::Int(-1)];

const WORLD: &str = r#"
    [[user]]
    name = "alice"
    password = "a"
    [[user]]
    name = "bob"
    password = "b"
    groups = ["lab"]
    [all]
    template = [{ name = "onefed", permissions = "604" }, { name = "hidden" }]
    network = [{ name = "private", permissions = "604", size = 20 }, { name = "closed" }]
    image = [{ name = "onefed", permissions = "604" }, { name = "broken", state = "error", owner = "alice" }]
    quota = [{ user = "alice", vms = 2, cpu = 3, memory = 6000, network = "private", leases = 1 }, { group = "lab", vms = 0 }]
"#;

fn pool(xml: &str, kind: &str) -> Vec<String> {
    let pool = Element::parse(xml.as_bytes()).unwrap();
    pool.all(kind).map(|e| e.text_of("NAME").unwrap().to_owned()).collect()
}

async fn make(
    bed: &Bed,
    zone: usize,
    session: &str,
    template: i32,
    over: &str,
) -> Result<String, (i32, String)> {
    let params = [Param::Int(template), text(""), Param::Bool(false), text(over), Param::Bool(false)];
    bed.call_as(zone, session, "one.template.instantiate", &params).await
}

#[tokio::test]
async fn an_ordinary_user_sees_and_does_what_is_granted() {
    let bed = up_in(&["madrid", "paris"], WORLD).await;
    let alice = "alice:a";
    let names = async |zone, method: &str, kind: &str| {
        pool(&bed.call_as(zone, alice, method, &ALL).await.unwrap(), kind)
    };
    assert_eq!(names(0, "one.templatepool.info", "VMTEMPLATE").await, ["onefed"]);
    assert_eq!(names(0, "one.imagepool.info", "IMAGE").await, ["onefed", "broken"]);
    // The default VDC gives the first zone's networks to the group users.
    assert_eq!(names(0, "one.vnpool.info", "VNET").await, ["private", "closed"]);
    assert_eq!(names(1, "one.vnpool.info", "VNET").await, ["private"]);
    let hosts = async |session: &str| bed.call_as(1, session, "one.hostpool.info", &[]).await.unwrap();
    assert_eq!(
        (pool(&hosts(alice).await, "HOST").len(), pool(&hosts(&bed.session()).await, "HOST").len()),
        (0, 1)
    );

    // The clients' way of telling whether her VMs can be placed.
    let access = async |zone: usize| {
        let at = &bed.zones[zone];
        let login = Credentials::parse(alice).unwrap();
        let client = xmlrpc::Client::new(at.zone.clone(), at.xmlrpc.parse().unwrap(), login).unwrap();
        let user = client.user().await.unwrap();
        let number = client.system_config().await.unwrap().zone_id.unwrap();
        (
            client.host_access(&user, number).await.unwrap(),
            bed.rpc(zone).host_access(&user, number).await.unwrap(),
        )
    };
    assert_eq!(access(0).await, (HostAccess::Likely, HostAccess::Yes));
    assert_eq!(access(1).await, (HostAccess::Unlikely, HostAccess::No));

    let refused = |what: &str| (512, format!("[{what}"));
    let info = [Param::Int(1), Param::Bool(false), Param::Bool(false)];
    let why = bed.call_as(0, alice, "one.template.info", &info).await.unwrap_err();
    assert_eq!(why, refused("one.template.info] User [2] : Not authorized to perform USE TEMPLATE [1]."));
    let update = [Param::Int(0), text("A=1"), Param::Int(1)];
    let why = bed.call_as(0, alice, "one.template.update", &update).await.unwrap_err();
    assert_eq!(
        why,
        refused("one.template.update] User [2] : Not authorized to perform MANAGE TEMPLATE [0].")
    );
    let why = bed.call_as(0, alice, "one.user.info", &[Param::Int(0)]).await.unwrap_err();
    assert_eq!(why, refused("one.user.info] User [2] : Not authorized to perform USE USER [0]."));
    let why = bed.call_as(0, alice, "one.acl.info", &[]).await.unwrap_err();
    assert_eq!(why, refused("one.acl.info] User [2] : Not authorized to perform MANAGE ACL."));
    let why = make(&bed, 1, alice, 0, "NIC=[NETWORK_ID=\"1\"]").await.unwrap_err();
    assert_eq!(why, refused("one.template.instantiate] User [2] : Not authorized to perform USE NET [1]."));
    let why = make(&bed, 0, alice, 0, "NIC=[NETWORK=\"private\"]").await.unwrap_err();
    let own = "User 2 does not own a network with name: private . Set NETWORK_UNAME or NETWORK_UID of owner in NIC.";
    let failed = "[one.template.instantiate] Error allocating a new virtual machine template.";
    assert_eq!(why, (16384, format!("{failed} {own}")));
    let why = make(&bed, 0, alice, 0, "DISK=[IMAGE=\"broken\"]").await.unwrap_err();
    assert_eq!(why, (16384, format!("{failed} Cannot acquire image 1, it is in an error state")));
    let why = make(&bed, 0, alice, 0, "EMULATOR=\"/bin/sh\"").await.unwrap_err();
    let attribute =
        "one.template.instantiate] User [2] : User Template includes a restricted attribute EMULATOR.";
    assert_eq!(why, refused(attribute));

    // What she makes is hers, and private; the name may be one that oneadmin has.
    let mine = bed.call_as(0, alice, "one.template.allocate", &[text("NAME=onefed")]).await.unwrap();
    let xml = bed.call_as(0, alice, "one.templatepool.info", &ALL).await.unwrap();
    assert!(xml.contains(&format!(
        "<ID>{mine}</ID><UID>2</UID><GID>1</GID><UNAME>alice</UNAME><GNAME>users</GNAME>"
    )));
    let bobs = bed.call_as(0, "bob:b", "one.templatepool.info", &ALL).await.unwrap();
    assert_eq!(pool(&bobs, "VMTEMPLATE"), ["onefed"]);
    bed.down().await;
}

#[tokio::test]
async fn quotas_are_shown_and_enforced() {
    let bed = up_in(&["madrid"], WORLD).await;
    let alice = "alice:a";
    make(&bed, 0, alice, 0, "NIC=[NETWORK_ID=\"0\"]").await.unwrap();
    let refused = |why: &str| (512, format!("[one.template.instantiate] User [2] : user [2] {why}."));
    let lease = make(&bed, 0, alice, 0, "NIC=[NETWORK_ID=\"0\"]").await.unwrap_err();
    assert_eq!(lease, refused("limit of 1 reached for LEASES quota in NETWORK with ID: 0"));
    let cpu = make(&bed, 0, alice, 0, "CPU=2.5").await.unwrap_err();
    assert_eq!(cpu, refused("limit of 3 reached for CPU quota in VM"));
    let memory = make(&bed, 0, alice, 0, "MEMORY=4000").await.unwrap_err();
    assert_eq!(memory, refused("limit of 6000 reached for MEMORY quota in VM"));
    make(&bed, 0, alice, 0, "").await.unwrap();
    assert_eq!(
        make(&bed, 0, alice, 0, "").await.unwrap_err(),
        refused("limit of 2 reached for VMS quota in VM")
    );
    let group = make(&bed, 0, "bob:b", 0, "").await.unwrap_err();
    assert!(group.1.ends_with("User [3] : group [100] limit of 0 reached for VMS quota in VM."), "{group:?}");

    let user = bed.call_as(0, alice, "one.user.info", &[Param::Int(-1), Param::Bool(false)]).await.unwrap();
    let user = Element::parse(user.as_bytes()).unwrap();
    assert_eq!((user.text_of("NAME"), user.text_of("GNAME")), (Some("alice"), Some("users")));
    assert_eq!(user.child("TEMPLATE").unwrap().text_of("TOKEN_PASSWORD").unwrap().len(), 64);
    let vm = user.child("VM_QUOTA").unwrap().child("VM").unwrap();
    let seen =
        ["VMS", "VMS_USED", "CPU", "CPU_USED", "MEMORY", "MEMORY_USED"].map(|k| vm.text_of(k).unwrap());
    assert_eq!(seen, ["2", "2", "3", "2", "6000", "4096"]);
    let network = user.child("NETWORK_QUOTA").unwrap().child("NETWORK").unwrap();
    assert_eq!((network.text_of("LEASES"), network.text_of("LEASES_USED")), (Some("1"), Some("1")));
    let group =
        bed.call_as(0, "bob:b", "one.group.info", &[Param::Int(-1), Param::Bool(false)]).await.unwrap();
    assert!(group.contains("<NAME><![CDATA[lab]]></NAME>") && group.contains("<VMS>0</VMS>"), "{group}");
    bed.down().await;
}

#[tokio::test]
async fn without_a_vdc_vms_wait_and_say_why() {
    let bed = up_in(&["madrid", "paris"], WORLD).await;
    let id = make(&bed, 1, "alice:a", 0, "").await.unwrap();
    let vm = VmId::new(zone("paris"), id.parse().unwrap());
    let seen = until("SCHED_MESSAGE", async || {
        Some(bed.rpc(1).vm(&vm).await.unwrap()).filter(|vm| vm.user_template.contains_key("SCHED_MESSAGE"))
    })
    .await;
    assert_eq!(seen.state, onefed_opennebula::VmState::Pending);
    let why = "Cannot dispatch VM: User is not authorized to use any host";
    assert!(seen.user_template["SCHED_MESSAGE"].ends_with(why), "{:?}", seen.user_template);
    bed.rpc(1).vm_action(&vm, xmlrpc::VmAction::Terminate).await.unwrap();
    until("DONE", async || (bed.rpc(1).vm(&vm).await.unwrap().state.number() == 6).then_some(())).await;
    bed.down().await;
}

#[tokio::test]
async fn tokens_open_for_their_time() {
    let bed = up_in(&["madrid", "paris"], WORLD).await;
    let login =
        |user: &str, token: &str, seconds| [text(user), text(token), Param::Int(seconds), Param::Int(-1)];
    let make = async |seconds| {
        bed.call_as(0, "alice:a", "one.user.login", &login("alice", "", seconds)).await.unwrap()
    };
    let (token, short) = (make(60).await, make(1).await);
    assert_eq!(token.len(), 64);
    let version = async |zone, word: &str| {
        bed.call_as(zone, &format!("alice:{word}"), "one.system.version", &[]).await.map_err(|(code, _)| code)
    };
    assert_eq!(version(1, &token).await.as_deref(), Ok("7.4.0"), "in every zone");
    until("the short one's end", async || (version(0, &short).await == Err(256)).then_some(())).await;
    let flow = async |word: &str| {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let request = http.get(format!("{}/service", bed.zones[0].oneflow)).basic_auth("alice", Some(word));
        let answer = request.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(flow(&token).await.0, 200);
    assert_eq!(flow(&short).await, (401, "Invalid credentials".to_owned()));
    let foreign = bed.call_as(0, "alice:a", "one.user.login", &login("bob", "", 60)).await.unwrap_err();
    assert_eq!(foreign.0, 512);
    bed.call_as(0, "alice:a", "one.user.login", &login("alice", &token, 0)).await.unwrap();
    assert_eq!(version(0, &token).await, Err(256));
    bed.down().await;
}
