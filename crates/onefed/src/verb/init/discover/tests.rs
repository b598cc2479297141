use super::*;

fn announced(id: u32, name: &str, endpoint: Option<&str>, oneflow: Option<&str>) -> Announced {
    Announced {
        id,
        name: name.to_owned(),
        enabled: true,
        endpoint: endpoint.map(str::to_owned),
        oneflow: oneflow.map(str::to_owned),
    }
}

fn url(text: &str) -> Url {
    login::parse(text, Some("/RPC2")).unwrap()
}

const LOCAL: &str = "http://localhost:2633/RPC2";

fn placed(announced: &Announced, door: &str, here: bool) -> Zone {
    let mut zone = Zone::new("paris".to_owned(), announced.name.clone(), Some(announced.id));
    place(&mut zone, announced, &url(door), here, None);
    zone
}

#[test]
fn the_zone_at_the_door() {
    let pool = |endpoints: [&str; 3]| -> Vec<Announced> {
        let ids = [0, 100, 101];
        ids.iter()
            .zip(endpoints)
            .map(|(id, url)| announced(*id, &format!("z{id}"), Some(url), None))
            .collect()
    };
    let remote = ["http://10.0.0.1:2633/RPC2", "http://10.0.1.1:2633/RPC2", "http://10.0.2.1:2633/RPC2"];
    assert_eq!(at_the_door(&pool(remote), &url("http://10.0.1.1:2633"), None), Some(1));
    assert_eq!(at_the_door(&pool(remote), &url("https://one.example.org/RPC2"), None), None);
    // Its own word counts before what anybody announces.
    assert_eq!(at_the_door(&pool(remote), &url("http://10.0.1.1:2633"), Some(101)), Some(2));
    let one = [LOCAL, remote[1], remote[2]];
    assert_eq!(at_the_door(&pool(one), &url("http://192.0.2.1:2633"), None), Some(0));
    // Of two that mean themselves, nobody can tell which one answers.
    assert_eq!(at_the_door(&pool([LOCAL, LOCAL, remote[2]]), &url("http://192.0.2.1:2633"), None), None);
    assert_eq!(at_the_door(&pool([LOCAL, LOCAL, remote[2]]), &url(LOCAL), None), None);
    assert_eq!(at_the_door(&pool(remote)[..1], &url("http://192.0.2.1:2633"), None), Some(0));
}

#[test]
fn an_endpoint_that_means_itself_is_never_dialled_from_elsewhere() {
    for local in [LOCAL, "http://127.0.0.1:2633/RPC2", "http://[::1]:2633/RPC2", "http://0.0.0.0:2633/RPC2"] {
        let zone = announced(100, "Paris", Some(local), Some("http://127.0.0.1:2474"));
        let there = placed(&zone, "http://10.0.0.1:2633", false);
        assert_eq!(there.endpoint, None, "{local}");
        assert!(there.notes[0].contains("`onezone update 100`"), "{:?}", there.notes);
        assert!(there.notes[0].contains("--endpoint paris=URL"), "{:?}", there.notes);
        // The one that answers is written down as it was reached.
        let here = placed(&zone, "http://10.0.0.1:2633", true);
        assert_eq!(here.endpoint, Some(url("http://10.0.0.1:2633")));
        assert!(here.notes[0].contains("ENDPOINT=\"http://10.0.0.1:2633/RPC2\""), "{:?}", here.notes);
        assert!(here.notes[1].contains("ONEFLOW_ENDPOINT"), "{:?}", here.notes);
        assert_eq!(here.oneflow, None, "it is tried beside the endpoint");
    }
}

#[test]
fn on_the_machine_itself_localhost_is_right() {
    let zone = announced(0, "OpenNebula", Some(LOCAL), None);
    let here = placed(&zone, LOCAL, true);
    assert_eq!((here.endpoint, here.notes), (Some(url(LOCAL)), Vec::new()));
    let other = announced(100, "z", Some("http://127.7.1.1:2633/RPC2"), Some("http://127.7.1.1:2474"));
    let there = placed(&other, "http://127.7.2.1:2633", false);
    assert_eq!(there.endpoint, Some(url("http://127.7.1.1:2633")));
    assert_eq!(there.oneflow.as_ref().map(Url::as_str), Some("http://127.7.1.1:2474/"));
    assert_eq!(there.notes, Vec::<String>::new());
    // Several announce the address that we came by: it is none of theirs for certain.
    assert_eq!(placed(&zone, LOCAL, false).endpoint, None);
}

#[test]
fn what_is_no_endpoint_is_said() {
    for bad in
        [None, Some("one.example.org"), Some("ftp://one.example.org"), Some("http://u:p@one.example.org")]
    {
        let zone = announced(7, "Paris", bad, None);
        let there = placed(&zone, "http://10.0.0.1:2633", false);
        assert_eq!((there.endpoint, there.notes.len()), (None, 1), "{bad:?}");
        assert!(!there.notes[0].contains("u:p"), "{:?}", there.notes);
        assert_eq!(placed(&zone, "http://10.0.0.1:2633", true).endpoint, Some(url("http://10.0.0.1:2633")));
    }
}

#[test]
fn oneflow_is_beside_its_endpoint() {
    assert_eq!(beside(&url("http://one:2633")).unwrap().as_str(), "http://one:2474/");
    assert_eq!(beside(&url("https://[2001:db8::1]:2633")).unwrap().as_str(), "https://[2001:db8::1]:2474/");
}
