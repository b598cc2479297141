//! What a zone has, and what its user may do: shapes as in OpenNebula's XML schemas and the captured answers.

use super::{oned, paris, refusal, rpc, success};
use crate::xmlrpc::{Allocation, HostAccess, Permissions, Usage};
use crate::*;
use proptest::prelude::*;
use std::time::Duration;

#[tokio::test]
async fn users_and_groups_with_the_defaults_worked_in() {
    let answers =
        vec![success(include_str!("../fixtures/user.xml")), success(include_str!("../fixtures/group.xml"))];
    let (client, asked) = oned(answers).await;
    let user = client.user().await.unwrap();
    assert_eq!((user.id.to_string().as_str(), user.name.as_str(), user.enabled), ("paris/2", "alice", true));
    assert_eq!((user.group.id, user.group_name.as_str(), user.is_admin()), (1, "users", false));
    assert_eq!(user.groups.iter().map(|g| g.id).collect::<Vec<_>>(), [1, 105]);
    let shown = format!("{user:?}");
    for secret in ["5e884898da", "topsecrettoken", "gatesecret"] {
        assert!(!shown.contains(secret), "{shown}");
    }

    let [zone, clusters] = user.quotas.vms.as_slice() else { panic!("{:?}", user.quotas) };
    assert_eq!(zone.vms, Usage { used: 3.0, limit: Some(4.0) });
    assert_eq!((zone.vms.allows(1.0), zone.vms.allows(2.0), zone.vms.left()), (true, false, Some(1.0)));
    // -1 is the default's number, -2 none at all.
    assert_eq!(
        (zone.cpu.limit, zone.running_cpu.limit, zone.memory_mb.limit),
        (Some(2.5), None, Some(8192.0))
    );
    assert!(zone.running_cpu.allows(1e9) && zone.running_cpu.left().is_none());
    // The default for the whole zone is none for a set of clusters.
    assert_eq!(clusters.clusters.iter().map(|c| c.id).collect::<Vec<_>>(), [0, 100]);
    assert_eq!((clusters.vms.limit, clusters.cpu.limit), (Some(1.0), None));
    let networks: Vec<_> = user.quotas.networks.iter().map(|n| (n.network.id, n.leases)).collect();
    let never_used = Usage { used: 0.0, limit: Some(9.0) };
    assert_eq!(networks, [(0, Usage { used: 2.0, limit: Some(2.0) }), (7, never_used)]);
    assert_eq!((user.quotas.images[0].image.id, user.quotas.images[0].running_vms.limit), (3, Some(1.0)));
    let store = &user.quotas.datastores[0];
    assert_eq!((store.images.left(), store.size_mb.limit), (Some(3.0), None));

    let group = client.group(&user.groups[1]).await.unwrap();
    assert_eq!((group.name.as_str(), group.quotas), ("hospital", Default::default()));
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains("one.user.info") && asked[0].contains("<int>-1</int>"));
    assert!(asked[1].contains("one.group.info") && asked[1].contains("<int>105</int>"));
}

#[tokio::test]
async fn login_tokens() {
    let token = "a".repeat(64);
    let disabled = refusal("[one.user.login] Login tokens are disabled for driver core", 2048);
    let (client, asked) = oned(vec![success(&token), success(""), disabled, success("")]).await;
    let made = client.login(Duration::from_secs(3600)).await.unwrap();
    assert_eq!(made.expose(), token);
    client.logout(&made).await.unwrap();
    let day = Duration::from_secs(86400);
    assert!(matches!(client.login(day).await, Err(Error::Refused { code: 2048, .. })));
    assert!(matches!(client.login(day).await, Err(Error::Garbage { .. })));
    for bad in [Duration::from_millis(900), Duration::from_secs(1 << 40)] {
        assert!(matches!(client.login(bad).await, Err(Error::BadInput { .. })));
    }
    let asked = asked.lock().unwrap();
    assert!(asked[0].contains(
        "<string>oneadmin</string></value></param><param><value><string></string></value></param><param><value>\
         <int>3600</int></value></param><param><value><int>-1</int>"
    ));
    assert!(asked[1].contains(&format!("<string>{token}</string>")) && asked[1].contains("<int>0</int>"));
    assert_eq!(asked.len(), 4);
}

#[tokio::test]
async fn images_datastores_hosts_and_networks() {
    let vnet =
        include_str!("../fixtures/networks.xml").replace("<VNET_POOL>", "").replace("</VNET_POOL>", "");
    let one = include_str!("../fixtures/images.xml").split_inclusive("</IMAGE>").next().unwrap().to_owned();
    let answers = vec![
        success(include_str!("../fixtures/images.xml")),
        success(one.strip_prefix("<IMAGE_POOL>").unwrap()),
        success(include_str!("../fixtures/datastores.xml")),
        success(include_str!("../fixtures/hosts.xml")),
        success(&vnet),
    ];
    let (client, _) = oned(answers).await;
    let images = client.images().await.unwrap();
    let shown: Vec<_> =
        images.iter().map(|i| (i.name.as_str(), i.kind, i.state, i.state.is_usable())).collect();
    assert_eq!(
        shown,
        [
            ("Ubuntu 24.04", ImageKind::Os, ImageState::Used, true),
            ("data", ImageKind::Datablock, ImageState::UsedPersistent, false),
            ("broken", ImageKind::Os, ImageState::Error, false)
        ]
    );
    assert_eq!((images[1].persistent, images[0].size_mb, images[0].running_vms), (true, 2252, 2));
    assert_eq!(images[0].datastore, Some(DatastoreId::new(paris(), 1)));
    assert_eq!(images[0].permissions, Permissions::from_octal(0o604));
    assert_eq!(images[0].attributes.text("DEV_PREFIX"), Some("vd"));
    assert_eq!(client.image(&images[0].id).await.unwrap(), images[0]);

    let stores = client.datastores().await.unwrap();
    assert_eq!((stores[0].kind, stores[0].enabled, stores[0].free_mb), (DatastoreKind::System, true, 45000));
    assert_eq!(
        (stores[1].kind, stores[1].enabled, stores[1].clusters.len()),
        (DatastoreKind::Image, false, 2)
    );

    let hosts = client.hosts().await.unwrap();
    assert_eq!((hosts[0].cpu, hosts[0].is_usable()), (Allocation { used: 150, total: 800 }, true));
    assert_eq!((hosts[1].state, hosts[1].is_usable()), (HostState::Error, false));

    let network = client.network(&VnetId::new(paris(), 0)).await.unwrap();
    assert_eq!((network.state, network.used, network.free()), (NetworkState::Ready, 2, 103));
    assert_eq!((network.ranges[0].used, network.ranges[1].used), (Some(2), None));
    assert_eq!(
        (network.owner.uname.as_str(), network.ranges[0].mac.as_str()),
        ("oneadmin", "02:00:0a:0a:00:0a")
    );
}

#[tokio::test]
async fn vms_in_lists() {
    let pool = include_str!("../fixtures/vms.xml");
    let (client, asked) = oned(vec![success(pool), success(pool), success("<VM_POOL></VM_POOL>")]).await;
    let all = client.vm_pool().await.unwrap();
    let shown: Vec<_> = all.iter().map(|vm| (vm.id.id, vm.name.as_str(), vm.state, vm.owner.uid)).collect();
    assert_eq!(shown, [(4, "a", VmState::Pending, 2), (12, "b", VmState::Active, 2)]);
    let ids: Vec<VmId> = all.into_iter().map(|vm| vm.id).collect();
    let vms = client.vms(&ids).await.unwrap();
    assert_eq!(vms.iter().map(|vm| vm.id.id).collect::<Vec<_>>(), [4, 12]);
    assert_eq!(vms[1].user_template["READY"], "YES");
    assert_eq!(client.vm_pool().await.unwrap(), []);
    // Nothing to ask for is no call.
    assert_eq!(client.vms(&[]).await.unwrap(), []);
    let elsewhere = [VmId::new("lisbon".parse().unwrap(), 1)];
    assert!(matches!(client.vms(&elsewhere).await, Err(Error::WrongZone { .. })));
    let asked = asked.lock().unwrap();
    assert!(asked[1].contains("one.vmpool.infoset") && asked[1].contains("<string>4,12</string>"));
    assert_eq!(asked.len(), 3);
}

#[tokio::test]
async fn the_server_itself() {
    let zone = include_str!("../fixtures/zones.xml").split("<ZONE>").nth(2).unwrap();
    let zone = format!("<ZONE>{}", zone.split("</ZONE_POOL>").next().unwrap());
    let answers = vec![
        success(include_str!("../fixtures/config.xml")),
        success(&zone),
        rpc("<value><boolean>1</boolean></value><value><i4>9</i4></value><value><i4>0</i4></value>"),
        refusal("[one.vm.info] Cannot process request, zone disabled", 8192),
        refusal("[one.user.info] Could not connect to the federation master oned", 8192),
    ];
    let (client, asked) = oned(answers).await;
    let configuration = client.system_config().await.unwrap();
    assert_eq!((configuration.zone_id, configuration.federation_mode.as_deref()), (Some(100), Some("SLAVE")));
    assert_eq!(configuration.restricted, ["CONTEXT/FILES", "EMULATOR"]);
    assert!(!format!("{configuration:?}").contains("dbsecret"));
    let zone = client.zone_info(100).await.unwrap();
    assert_eq!(zone.endpoint_url().unwrap().as_str(), "http://127.0.0.1:12633/RPC2");
    assert_eq!(zone.oneflow_url().unwrap().port(), Some(12474));
    let template = VmTemplateId::new(paris(), 5);
    let vm = client.template_instantiate(&template, "n", true, "A=\"1\"").await.unwrap();
    assert_eq!(vm.to_string(), "paris/9");
    for _ in 0..2 {
        let away = client.user().await.unwrap_err();
        assert!(matches!(away, Error::Unavailable { code: 8192, .. }) && away.is_transient(), "{away:?}");
    }
    let asked = asked.lock().unwrap();
    assert!(asked[2].contains(
        "<int>5</int></value></param><param><value><string>n</string></value></param><param><value><boolean>1</boolean>\
         </value></param><param><value><string>A=&quot;1&quot;</string></value></param><param><value><boolean>0</boolean>"
    ));
}

#[tokio::test]
async fn whether_there_are_hosts_for_a_user() {
    let acl = || success(include_str!("../fixtures/acl.xml"));
    let forbidden = || refusal("[one.acl.info] User [2] : Not authorized to perform MANAGE ACL.", 512);
    let stores = include_str!("../fixtures/datastores.xml");
    let answers = vec![
        success(include_str!("../fixtures/user.xml")),
        acl(),
        acl(),
        forbidden(),
        success(stores),
        forbidden(),
        success("<DATASTORE_POOL></DATASTORE_POOL>"),
        forbidden(),
        // Its own datastore says nothing about its group.
        success(&stores.replace("<UID>0</UID>", "<UID>2</UID>")),
        refusal("[one.acl.info] User couldn't be authenticated, aborting call.", 256),
    ];
    let (client, asked) = oned(answers).await;
    let mut user = client.user().await.unwrap();
    for (zone, access) in [
        (101, HostAccess::Yes),
        (100, HostAccess::No),
        (100, HostAccess::Likely),
        (100, HostAccess::Unlikely),
        (100, HostAccess::Unlikely),
    ] {
        let found = client.host_access(&user, zone).await.unwrap();
        assert_eq!(
            (found, found.is_fine()),
            (access, matches!(access, HostAccess::Yes | HostAccess::Likely))
        );
    }
    assert!(matches!(client.host_access(&user, 100).await, Err(Error::Unauthenticated { .. })));
    let calls = asked.lock().unwrap().len();
    user.groups.push(GroupId::new(paris(), 0));
    assert_eq!(client.host_access(&user, 100).await.unwrap(), HostAccess::Yes);
    assert_eq!(asked.lock().unwrap().len(), calls, "an administrator needs no asking");
}

#[tokio::test]
async fn another_document_is_no_empty_pool() {
    let (client, _) = oned(vec![success("<html><body/></html>")]).await;
    let errors = [
        client.images().await.map(drop).unwrap_err(),
        client.vm_pool().await.map(drop).unwrap_err(),
        client.zone_pool().await.map(drop).unwrap_err(),
        client.user().await.map(drop).unwrap_err(),
        client.system_config().await.map(drop).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, Error::Garbage { .. }), "{error:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a document holds: an answer or an error, no panic, and never the password.
    #[test]
    fn no_document_panics(
        inside in "(<(ID|NAME|UID|GID|STATE|TYPE|VM|VM_QUOTA|CLUSTER_IDS|LEASES|AR_POOL|AR|SIZE|USER|RIGHTS)>|\
                   </(ID|NAME|VM|AR|VM_QUOTA|AR_POOL)>|-?[0-9]{1,22}|opensesame|[a-z&;é ]){0,24}",
        close in prop::bool::ANY,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            for (root, item) in [
                ("USER", ""), ("IMAGE_POOL", "IMAGE"), ("VNET_POOL", "VNET"), ("HOST_POOL", "HOST"), ("VM_POOL", "VM"),
                ("ACL_POOL", "ACL"), ("VMTEMPLATE_POOL", "VMTEMPLATE"), ("DATASTORE_POOL", "DATASTORE"),
                ("ZONE_POOL", "ZONE"), ("OPENNEBULA_CONFIGURATION", "FEDERATION"),
            ] {
                let inner = if item.is_empty() || !close { inside.clone() } else { format!("<{item}>{inside}</{item}>") };
                let (client, _) = oned(vec![success(&format!("<{root}>{inner}</{root}>"))]).await;
                let failed = match root {
                    "USER" => client.user().await.err(),
                    "IMAGE_POOL" => client.images().await.err(),
                    "VNET_POOL" => client.networks().await.err(),
                    "HOST_POOL" => client.hosts().await.err(),
                    "VM_POOL" => client.vm_pool().await.err(),
                    "DATASTORE_POOL" => client.datastores().await.err(),
                    "ZONE_POOL" => client.zone_pool().await.err(),
                    "VMTEMPLATE_POOL" => client.templates().await.err(),
                    _ => client.system_config().await.err(),
                };
                if let Some(failed) = failed {
                    // Of what the server says itself, a piece is shown; nothing of the login is put to it.
                    assert!(!failed.to_string().contains("oneadmin:"), "{failed}");
                }
            }
        });
    }

    /// Bytes of any kind as the whole answer.
    #[test]
    fn no_answer_panics(status in prop::sample::select(vec![200u16, 201, 204, 400, 401, 403, 404, 500, 503]), body in "\\PC{0,80}") {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (client, _) = oned(vec![(status, body.clone())]).await;
            let error = client.vm_pool().await.unwrap_err();
            assert!(!error.to_string().contains("opensesame"), "{error}");
            let (flow, _) = super::oneflow(vec![(status, body.clone())]).await;
            if let Err(error) = flow.services().await {
                assert!(!error.to_string().contains("opensesame"), "{error}");
            }
        });
    }
}
