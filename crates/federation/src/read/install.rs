//! `[install]`.

use std::ops::Range;

use toml::Spanned;
use url::Url;

use super::fields::Fields;
use crate::diagnostic::Sink;
use crate::model::{FlowerFrom, Install, Location, Source};

const KEYS: &[&str] = &["onefed", "flower", "index", "requirements"];

/// The table as it was read.
pub(super) struct InstallDraft {
    /// Its place.
    pub(super) at: Range<usize>,
    /// The place of `requirements`.
    pub(super) requirements: Option<Range<usize>>,
    /// What it says; absent where something in it is wrong, which has been reported.
    pub(super) install: Option<Install>,
}

impl InstallDraft {
    /// Reads the key `install` of the plan.
    pub(super) fn read(root: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<Self> {
        let fields = root.table("install", "[install]", KEYS, sink)?;
        fields.require(&["onefed"], sink);
        let onefed = read_source(&fields, "onefed", sink);
        let wheels = read_source(&fields, "flower", sink);
        let index = read_index(&fields, sink);
        let requirements = read_source(&fields, "requirements", sink);
        let mut whole = ["flower", "requirements"]
            .iter()
            .zip([&wheels, &requirements])
            .all(|(key, read)| fields.get(key).is_none() || read.is_some());
        whole &= fields.get("index").is_none() || index.is_some();
        if fields.get("flower").is_some() && fields.get("index").is_some() {
            let message = "[install] has both `flower` and `index`: Flower comes from one of them";
            sink.error("plan::two-ways", fields.key_span("index"), message)
                .hint("`flower` is an archive with all wheels, and no index is asked then");
            whole = false;
        }
        let install = onefed.filter(|_| whole).map(|onefed| Install {
            onefed,
            flower: wheels.map_or(FlowerFrom::Index(index), FlowerFrom::Wheels),
            requirements,
        });
        let requirements = fields.get("requirements").map(|value| value.span());
        Some(Self { at: fields.at(), requirements, install })
    }
}

/// `{ url = "…", sha256 = "…" }` or `{ file = "…", sha256 = "…" }`; every mistake in it is reported.
fn read_source(root: &Fields<'_, '_>, key: &str, sink: &mut Sink<'_>) -> Option<Source> {
    let what = format!("`{key}` of [install]");
    let fields = root.table(key, what.clone(), &["url", "file", "sha256"], sink)?;
    let sha256 = read_sha256(&fields, &what, sink);
    let url = fields.text("url", sink).and_then(|text| read_url(&text, &what, sink));
    let file = fields.text("file", sink).and_then(|text| read_file(&text, &what, sink));
    let at = match (fields.get("url").is_some(), fields.get("file").is_some()) {
        (true, true) => {
            let message = format!("{what} has both `url` and `file`: it is in one place");
            sink.error("plan::two-ways", fields.key_span("file"), message);
            None
        }
        (false, false) => {
            sink.error("plan::missing-key", fields.at(), format!("{what} needs `url` or `file`"))
                .hint("`url` is an address, `file` the name of an image in a FILES datastore of each zone");
            None
        }
        _ => url.map(Location::Url).or(file.map(Location::File)),
    };
    Some(Source { at: at?, sha256: sha256? })
}

fn read_sha256(fields: &Fields<'_, '_>, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    fields.require(&["sha256"], sink);
    let text = fields.text("sha256", sink)?;
    let digits = *text.get_ref();
    if digits.len() == 64 && digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Some(digits.to_ascii_lowercase());
    }
    let stray = digits.chars().find(|c| !c.is_ascii_hexdigit());
    let why = match stray {
        Some(stray) => format!("{stray:?} is no hexadecimal digit"),
        None => format!("it has {} digits", digits.len()),
    };
    sink.error("plan::bad-checksum", text.span(), format!("`sha256` in {what} is no SHA-256: {why}"))
        .hint("64 hexadecimal digits, as `sha256sum FILE` prints them");
    None
}

fn read_url(text: &Spanned<&str>, what: &str, sink: &mut Sink<'_>) -> Option<Url> {
    let url = plain_url(text, &format!("`url` in {what}"), sink)?;
    if url.path().ends_with('/') {
        let message = format!("`url` in {what}: {url} names a folder, not a file");
        sink.error("plan::bad-url", text.span(), message);
        return None;
    }
    if url.scheme() == "http" {
        let message = format!("{what} comes over http: everybody on the way sees it");
        sink.warning("plan::plaintext", text.span(), message)
            .hint("its checksum is verified before it is used");
    }
    Some(url)
}

/// `index`; without a checksum, so that TLS has to vouch for what comes.
fn read_index(fields: &Fields<'_, '_>, sink: &mut Sink<'_>) -> Option<Url> {
    let text = fields.text("index", sink)?;
    let url = plain_url(&text, "`index` in [install]", sink)?;
    if url.scheme() == "http" && fields.get("requirements").is_none() {
        let message = "`index` in [install] is reached by http, and nothing verifies what comes from it";
        sink.error("plan::plaintext", text.span(), message)
            .hint("use https, or give `requirements` with a hash for every package");
        return None;
    }
    Some(url)
}

/// An address that goes into a script which many can read.
fn plain_url(text: &Spanned<&str>, what: &str, sink: &mut Sink<'_>) -> Option<Url> {
    let mut refuse = |why: String| {
        sink.error("plan::bad-url", text.span(), format!("{what}: {why}"));
        None
    };
    let url = match Url::parse(text.get_ref()) {
        Ok(url) => url,
        Err(error) => return refuse(format!("`{}` is not a URL: {error}", text.get_ref())),
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse(format!("the scheme must be http or https, not {}", url.scheme()));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("a URL in a plan must not carry credentials".to_owned());
    }
    if url.port() == Some(0) {
        return refuse("the port must be a number from 1 to 65535".to_owned());
    }
    if url.fragment().is_some() {
        return refuse("a fragment has no meaning here".to_owned());
    }
    Some(url)
}

/// The name of an image, which becomes the name of a file on the context disk.
fn read_file(text: &Spanned<&str>, what: &str, sink: &mut Sink<'_>) -> Option<String> {
    let name = *text.get_ref();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '+');
    let good = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 64
        && name.chars().all(plain)
        && !matches!(name, "context.sh" | "token.txt");
    if !good {
        let message = format!("`file` in {what}: `{name}` cannot be the name of a file on a context disk");
        sink.error("plan::bad-name", text.span(), message)
            .hint("the image's name: a letter or digit, then up to 63 letters, digits, dots, hyphens or underscores");
    }
    good.then(|| name.to_owned())
}
