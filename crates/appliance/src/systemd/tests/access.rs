use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use super::super::access::Access;
use super::*;

/// `(owner, group, mode)`.
fn rights(path: &Path) -> (u32, u32, u32) {
    let meta = std::fs::symlink_metadata(path).unwrap();
    (meta.uid(), meta.gid(), meta.permissions().mode() & 0o7777)
}

struct Data(tempfile::TempDir);

impl Data {
    /// A data directory as a boot leaves it: root's, closed.
    fn new() -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("owners can be set by root only: not tested");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        for name in ["data/tls", "data/ca", "data/flower/apps", "data/flower/tmp"] {
            std::fs::create_dir_all(dir.path().join(name)).unwrap();
        }
        for name in ["hub.json", "tls/server.key", "tls/ca.pem", "ca/ca.key", "flower/apps/a"] {
            std::fs::write(dir.path().join("data").join(name), "x").unwrap();
        }
        let mode = |name: &str, mode| {
            std::fs::set_permissions(dir.path().join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        };
        for name in ["data", "data/tls", "data/ca", "data/flower"] {
            mode(name, 0o700);
        }
        for name in ["data/hub.json", "data/tls/server.key", "data/ca/ca.key"] {
            mode(name, 0o600);
        }
        mode("data/tls/ca.pem", 0o644);
        std::fs::write(
            dir.path().join("passwd"),
            "root:x:0:0::/:\nonefed:x:1234:1235::/:\nflower:x:49999:49999::/:\n",
        )
        .unwrap();
        Some(Self(dir))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("data").join(name)
    }

    fn access(&self) -> Access {
        let mut access = Access::new(&self.0.path().join("data"));
        access.users = self.0.path().join("passwd");
        access.never.push(self.path("ca"));
        access
    }

    fn services(&self) -> Vec<Service> {
        let mut hub = service("hub", "/bin/sh", &[]);
        hub.inputs = vec![self.path("hub.json"), self.path("tls/server.key"), self.path("tls/ca.pem")];
        hub.reads = vec![self.path("tls/server.key")];
        let mut flower = service("flower-supernode", "/bin/sh", &[]);
        flower.user = User::Flower;
        flower.inputs = vec![self.path("tls/ca.pem")];
        flower.writes = vec![self.path("flower")];
        vec![hub, flower]
    }
}

#[test]
fn each_user_gets_what_its_service_needs_and_no_more() {
    let Some(data) = Data::new() else { return };
    for _again in 0..2 {
        data.access().check(&data.services()).unwrap();
        data.access().settle(&data.services()).unwrap();
        assert_eq!(rights(&data.path("tls/server.key")), (1234, 1235, 0o600));
        assert_eq!(rights(&data.path("hub.json")), (0, 1235, 0o640), "read, not written");
        assert_eq!(rights(&data.path("tls/ca.pem")), (0, 0, 0o644), "public already");
        assert_eq!(rights(&data.path("flower")), (49999, 49999, 0o700));
        assert_eq!(rights(&data.path("flower/apps/a")).0, 49999);
        assert_eq!(rights(&data.path("tls")), (0, 0, 0o711), "on the way, not to be listed");
        assert_eq!(rights(&data.path("ca")), (0, 0, 0o700), "never");
        assert_eq!(rights(&data.path("ca/ca.key")), (0, 0, 0o600), "never");
    }
}

#[test]
fn the_key_of_a_ca_and_files_of_another_user_are_refused() {
    let Some(data) = Data::new() else { return };
    let mut services = data.services();
    services[0].reads.push(data.path("ca/ca.key"));
    services[1].writes.push(data.path("tls"));
    services[1].writes.push(data.path("."));
    let text = data.access().check(&services).unwrap_err().to_string();
    assert!(text.contains("ca/ca.key cannot be given to hub"), "{text}");
    assert!(
        text.contains("cannot be given to flower-supernode: it is hub's, which runs as another user"),
        "{text}"
    );
    assert!(
        text.contains("cannot be given to flower-supernode") && text.contains("for the boot alone"),
        "{text}"
    );
}

#[test]
fn root_is_not_led_by_links() {
    let Some(data) = Data::new() else { return };
    let outside = data.0.path().join("secret");
    std::fs::write(&outside, "x").unwrap();
    let services = data.services();
    // In the tree of a user: the link changes hands, what it points to does not; nor does another name of a file.
    symlink(&outside, data.path("flower/link")).unwrap();
    std::fs::hard_link(&outside, data.path("flower/name")).unwrap();
    data.access().settle(&services).unwrap();
    assert_eq!(rights(&outside).0, 0);
    // As the file itself, or on the way to it.
    let key = data.path("tls/server.key");
    std::fs::remove_file(&key).unwrap();
    symlink(&outside, &key).unwrap();
    data.access().settle(&services).unwrap_err();
    std::fs::remove_file(&key).unwrap();
    std::fs::hard_link(&outside, &key).unwrap();
    data.access().settle(&services).unwrap_err();
    std::fs::remove_dir_all(data.path("tls")).unwrap();
    symlink(data.0.path(), data.path("tls")).unwrap();
    std::fs::write(data.0.path().join("server.key"), "x").unwrap();
    data.access().settle(&services).unwrap_err();
    assert_eq!(rights(&data.0.path().join("server.key")).0, 0);
    assert_eq!(rights(&outside).0, 0);
}

#[test]
fn a_link_of_a_users_gives_nothing_to_it_and_one_of_the_boots_own_does() {
    let Some(data) = Data::new() else { return };
    data.access().settle(&data.services()).unwrap();
    let mut hub = service("hub", "/bin/sh", &[]);
    std::fs::create_dir(data.path("set")).unwrap();
    std::fs::write(data.path("set/key"), "x").unwrap();
    symlink("set", data.path("current")).unwrap();
    hub.reads = vec![data.path("current/key")];
    data.access().settle(&[hub.clone()]).unwrap();
    assert_eq!(rights(&data.path("set/key")), (1234, 1235, 0o600));
    // Where the user may write, it may also make links, to what is the boot's alone.
    symlink("../ca", data.path("flower/led")).unwrap();
    hub.reads = vec![data.path("flower/led/ca.key")];
    let text = data.access().settle(&[hub]).unwrap_err().to_string();
    assert!(text.contains("flower/led is a link that a user other than root"), "{text}");
    assert_eq!(rights(&data.path("ca/ca.key")).0, 0);
}

#[test]
fn the_data_directory_itself_may_be_a_link_of_the_operators() {
    let Some(data) = Data::new() else { return };
    let link = data.0.path().join("link");
    symlink(data.path(""), &link).unwrap();
    let access = Access { data: link.clone(), ..data.access() };
    let mut hub = service("hub", "/bin/sh", &[]);
    hub.reads = vec![link.join("tls/server.key")];
    access.settle(&[hub]).unwrap();
    assert_eq!(rights(&data.path("tls/server.key")).0, 1234);
}

#[test]
fn users_must_be_there_with_the_numbers_that_images_count_on() {
    let Some(data) = Data::new() else { return };
    for (users, said) in [
        ("", "there is no user onefed with its group on this VM"),
        ("onefed:x:0:0::/:\n", "that is not root's"),
        ("onefed:x:7:7::/:\nflower:x:1000:1000::/:\n", "the number 49999"),
    ] {
        std::fs::write(data.0.path().join("passwd"), users).unwrap();
        let text = data.access().settle(&data.services()).unwrap_err().to_string();
        assert!(text.contains(said), "{text}");
    }
}
