//! Zones that start from an image of the system alone, and where their VMs get software.

use insta::assert_snapshot;

use super::tests::told;
use super::*;
use crate::model::{FlowerFrom, Location, Reference, VmTemplate};

const ONE: &str = "0123456789abcdef0123456789ABCDEF0123456789abcdef0123456789abcdef";

/// A plan whose zones have these lines, and one for which [install] says this.
fn plan(zone: &str, install: &str) -> String {
    format!(
        "name = 'lab'\n[coordinator]\nzone = 'z'\nsupernodes = 2\n[zone.z]\nnetwork = 1\n{zone}\n\n{install}\n"
    )
}

fn installed(lines: &str) -> String {
    plan("image = 7", &format!("[install]\n{lines}"))
}

#[test]
fn everything_about_images_that_can_be_written_is_read() {
    let zone = "image = 'Ubuntu 24.04'\ncpu = 4\nmemory = '8 GiB'\ndisk = 20480\nsuperlink_template = 3\n\
                onegate = 'http://10.0.0.1:5030'\nca = 'ca.pem'";
    let install = format!(
        "[install]\nonefed = {{ file = 'onefed-0.1.0', sha256 = '{ONE}' }}\n\
         flower = {{ url = 'https://mirror.example.org/flower.tar?of=1.41.0', sha256 = '{ONE}' }}\n\
         requirements = {{ file = 'onefed-0.1.0', sha256 = '{ONE}' }}"
    );
    let federation = parse(&plan(zone, &install)).unwrap();
    assert_eq!(federation.warnings, []);
    let [zone] = federation.zones.as_slice() else { panic!("{:?}", federation.zones) };
    assert_eq!((&zone.endpoint, &zone.oneflow, zone.ca.as_deref()), (&None, &None, Some("ca.pem")));
    assert_eq!(zone.onegate.as_ref().unwrap().as_str(), "http://10.0.0.1:5030/");
    assert_eq!(zone.templates.superlink, VmTemplate::Given(Reference::Id(3)));
    assert_eq!(zone.templates.supernode, VmTemplate::Made);
    assert_eq!(zone.machine.as_ref().unwrap().to_string(), "4 CPUs, 8 GiB, disk 20 GiB, Ubuntu 24.04");
    assert_eq!(federation.made_roles(&zone.name), [onefed_context::Role::SuperNode]);
    let install = federation.install.unwrap();
    assert_eq!(install.onefed.at, Location::File("onefed-0.1.0".to_owned()));
    assert_eq!(install.onefed.sha256, ONE.to_lowercase());
    let FlowerFrom::Wheels(wheels) = &install.flower else { panic!("{:?}", install.flower) };
    assert!(matches!(&wheels.at, Location::Url(url) if url.query() == Some("of=1.41.0")));
    assert_eq!(install.files(), ["onefed-0.1.0"], "each image once");
    assert_eq!(
        install.sources().map(|(key, _)| key).collect::<Vec<_>>(),
        ["onefed", "flower", "requirements"]
    );
}

#[test]
fn what_is_not_said_about_a_machine() {
    let federation = parse(&installed(&format!("onefed = {{ file = 'o', sha256 = '{ONE}' }}"))).unwrap();
    assert_eq!(federation.zones[0].machine.as_ref().unwrap().to_string(), "2 CPUs, 4 GiB, #7");
    assert_eq!(federation.install.unwrap().flower, FlowerFrom::Index(None));
}

#[test]
fn images_and_templates_exclude_each_other() {
    let good = format!("[install]\nonefed = {{ file = 'o', sha256 = '{ONE}' }}");
    let mut out = String::new();
    for (zone, install) in [
        ("image = 'Debian 12'\ntemplate = 'onefed'", good.as_str()),
        ("template = 'onefed'\ncpu = 2\nmemory = '4 GiB'\ndisk = 1", ""),
        ("template = 'onefed'", &good),
        ("image = 'Debian 12'", ""),
        ("image = ''", &good),
        ("image = 1\ncpu = 0\nmemory = 'much'\ndisk = '1 MiB'", &good),
        ("image = 1\nmemory = [4]\nca = ''\nonegate = 'ftp://x'", &good),
        ("image = 1\nca = 'ca.pem'\nendpoint = 'http://z:2633/RPC2'\noneflow = 'http://z:2474'", &good),
    ] {
        out += &format!("{zone}\n{}\n", told(&plan(zone, install)));
    }
    assert_snapshot!(out);
}

#[test]
fn mistakes_in_install_come_at_once() {
    let mut out = String::new();
    for lines in [
        "",
        "onefed = 'https://example.org/onefed'",
        "onefed = {}",
        "onefed = { url = 'https://u:p@example.org/x', sha256 = 'abc' }\nflower = { file = 'context.sh', sha256 = 5 }",
        &format!("onefed = {{ url = 'https://example.org/', sha256 = '{}' }}", ONE.replace('0', "g")),
        &format!("onefed = {{ url = 'https://example.org/x#y', file = 'x', sha256 = '{ONE}', size = 1 }}"),
        &format!(
            "onefed = {{ file = \"it's\", sha256 = '{ONE}' }}\nindex = 'http://pypi.example.org/simple'"
        ),
        &format!(
            "onefed = {{ url = 'http://example.org/x', sha256 = '{ONE}' }}\nindex = 'https://pypi.example.org/simple'\n\
             flower = {{ url = 'http://example.org/y', sha256 = '{ONE}' }}"
        ),
        &format!(
            "onefed = {{ file = 'x', sha256 = '{ONE}' }}\nindex = 'http://pypi.example.org/simple'\n\
             requirements = {{ file = 'y', sha256 = '{ONE}' }}"
        ),
    ] {
        out += &format!("{}\n{}\n", lines.replace(ONE, "(digits)"), told(&installed(lines)));
    }
    assert_snapshot!(out);
}

/// One list of packages pins one release. Whoever is not installed from it may run another.
#[test]
fn a_list_of_packages_is_for_one_release() {
    let plan = |site: &str, zone: &str, requirements: &str| {
        told(&format!(
            "name = 'lab'\n[coordinator]\nzone = 'a'\n[[site]]\nname = 's'\nzone = 'b'\nsupernodes = 1\n{site}\n\
             [zone.a]\nnetwork = 1\nendpoint = 'http://a:2633/RPC2'\nimage = 7\n\
             [zone.b]\nnetwork = 1\nendpoint = 'http://b:2633/RPC2'\n{zone}\n\
             [install]\nonefed = {{ file = 'o', sha256 = '{ONE}' }}\n{requirements}\n"
        ))
    };
    let list = format!("requirements = {{ file = 'r', sha256 = '{ONE}' }}");
    let other = "flower = '1.31.0'";
    assert_snapshot!(plan(other, "image = 7", &list), @r"
    8:10: error[plan::one-list]: `requirements` of [install] pins one release of Flower, but site `s` runs 1.31.0 and the coordinator 1.41.0
      hint: leave `requirements` out: an archive in `flower` of [install] is verified as a whole, and may hold the wheels of both; or give this site's zone a `template`
    ");
    let container = format!("{other}\nvariables = {{ FL_RUNTIME = 'container' }}");
    for fine in [
        plan("", "image = 7", &list),
        plan("flower = '1.41.0'", "image = 7", &list),
        plan(other, "image = 7", ""),
        plan(other, "template = 'onefed'", &list),
        plan(other, "image = 7\nsupernode_template = 5", &list),
        plan(&container, "image = 7", &list),
    ] {
        assert_eq!(fine, "");
    }
}

#[test]
fn a_federation_in_one_service() {
    let at_home = |more: &str| {
        let text = plan("endpoint = 'http://z:2633/RPC2'", "").replace("supernodes = 2", more);
        told(&text)
    };
    let mut out = String::new();
    for more in [
        "supernodes = 2\nnode_config = { a = 1 }\nvariables = { FL_GPU_ENABLED = false, FL_LOG_LEVEL = 'DEBUG' }",
        "node_config = { a = 1 }\nvariables = { FL_GPU_ENABLED = false }",
        "supernodes = 0",
        "supernodes = 'many'\nnode_config = { partition-id = 1 }",
        "supernodes = { min = 1, max = 2 }\nvariables = { FL_MIN_FIT_CLIENTS = 3 }",
        "supernodes = 1\n[[site]]\nname = 'local'\nzone = 'z'\nsupernodes = 1",
    ] {
        out += &format!("{more}\n{}\n", at_home(more));
    }
    assert_snapshot!(out);
}
