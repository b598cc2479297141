//! The options of `onefed init`, and the pairs in them.

use std::path::PathBuf;

use clap::Args;

/// What `onefed init` can be told instead of asking or finding out.
#[derive(Clone, Debug, Args)]
pub(crate) struct InitArgs {
    /// An XML-RPC endpoint. One of a federation is enough to find the others; `ZONE=URL` stands for a zone that is alone,
    /// or for one whose announced endpoint is of no use. Without it ONE_XMLRPC counts, then ~/.one/one_endpoint.
    #[arg(long, value_name = "[ZONE=]URL")]
    pub(crate) endpoint: Vec<String>,
    /// A file with user:password, for all zones or for one. Without it ONE_AUTH counts, then ~/.one/one_auth.
    #[arg(long, value_name = "[ZONE=]FILE")]
    pub(crate) auth: Vec<String>,
    /// A file with the CA of https endpoints in PEM, for all zones or for one, where the system does not know it.
    #[arg(long, value_name = "[ZONE=]FILE")]
    pub(crate) ca: Vec<String>,
    /// The OneFlow endpoint of a zone, where it cannot be found out.
    #[arg(long, value_name = "ZONE=URL")]
    pub(crate) oneflow: Vec<String>,
    /// The federation's name: a lower-case letter, then lower-case letters, digits or hyphens.
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// The Flower release.
    #[arg(long, value_name = "X.Y.Z")]
    pub(crate) flower: Option<String>,
    /// The zone of the SuperLink.
    #[arg(long, value_name = "ZONE")]
    pub(crate) coordinator: Option<String>,
    /// A zone that trains, and with how many SuperNodes (2). Without it: all zones but the coordinator's.
    #[arg(long, value_name = "ZONE[=N]")]
    pub(crate) site: Vec<String>,
    /// The VM template, for all zones or for one, by name or by id.
    #[arg(long, value_name = "[ZONE=]NAME")]
    pub(crate) template: Vec<String>,
    /// The network, for all zones or for one, by name or by id.
    #[arg(long, value_name = "[ZONE=]NAME")]
    pub(crate) network: Vec<String>,
    /// Where sites reach the hub, if not at the address of its VM: an IP address or a DNS name.
    #[arg(long)]
    pub(crate) address: Option<String>,
    /// How the zones reach each other: `routed` (a VPN or a network of their own) or `public`.
    #[arg(long)]
    pub(crate) mode: Option<String>,
    /// The file to write.
    #[arg(long, default_value = "federation.toml", value_name = "FILE")]
    pub(crate) out: PathBuf,
    /// Write over a file that is there.
    #[arg(long)]
    pub(crate) force: bool,
    /// Do not ask: take what is obvious, and say what is not.
    #[arg(long)]
    pub(crate) yes: bool,
}

/// A value that may be for one zone only.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ForZone {
    /// The zone's name, as it was written; `None` for all.
    pub(super) zone: Option<String>,
    pub(super) value: String,
}

impl ForZone {
    /// `ZONE=value` or `value`. A URL or a path may hold an equals sign itself: only what looks like a name before the
    /// first one is a zone.
    pub(super) fn parse(text: &str) -> Self {
        match text.split_once('=') {
            Some((zone, value)) if !zone.is_empty() && !zone.contains(['/', ':']) => {
                Self { zone: Some(zone.trim().to_owned()), value: value.trim().to_owned() }
            }
            _ => Self { zone: None, value: text.trim().to_owned() },
        }
    }

    pub(super) fn parse_all(texts: &[String]) -> Vec<Self> {
        texts.iter().map(|text| Self::parse(text)).collect()
    }
}

/// The value for a zone that has one of these names: its own, else the one for all.
pub(super) fn pick<'a>(values: &'a [ForZone], names: &[&str]) -> Option<&'a str> {
    let own = values.iter().rev().find(|value| {
        value.zone.as_ref().is_some_and(|zone| names.iter().any(|name| zone.eq_ignore_ascii_case(name)))
    });
    own.or_else(|| values.iter().rev().find(|value| value.zone.is_none())).map(|value| value.value.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_told_from_a_url_with_an_equals_sign() {
        let pair = |zone: Option<&str>, value: &str| ForZone {
            zone: zone.map(str::to_owned),
            value: value.to_owned(),
        };
        assert_eq!(ForZone::parse("paris=http://a/RPC2"), pair(Some("paris"), "http://a/RPC2"));
        assert_eq!(ForZone::parse("http://a/RPC2?x=1"), pair(None, "http://a/RPC2?x=1"));
        assert_eq!(ForZone::parse("/etc/a=b"), pair(None, "/etc/a=b"));
        assert_eq!(ForZone::parse("=x"), pair(None, "=x"));
        let values = ForZone::parse_all(&["all".into(), "Paris=own".into(), "paris=last".into()]);
        assert_eq!(pick(&values, &["paris"]), Some("last"));
        assert_eq!(pick(&values, &["lisbon"]), Some("all"));
        assert_eq!(pick(&[], &["lisbon"]), None);
    }
}
