//! The files of a bundle, and the archive that they become.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde::Serialize;

use super::secrets::Secrets;
use crate::failure::{Exit, Failure};

/// The directory in the archive.
const TOP: &str = "onefed-support";

/// Texts by their paths, and what could not be collected.
#[derive(Default)]
pub(super) struct Bundle {
    files: BTreeMap<String, String>,
    pub(super) missing: Vec<String>,
}

/// A file of the archive.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) bytes: usize,
}

impl Bundle {
    pub(super) fn text(&mut self, path: impl Into<String>, text: impl Into<String>) {
        self.files.insert(path.into(), text.into());
    }

    pub(super) fn json(&mut self, path: impl Into<String>, document: &impl Serialize) {
        match serde_json::to_string_pretty(document) {
            Ok(text) => self.text(path, text + "\n"),
            Err(why) => self.missing(format!("{}: {why}", path.into())),
        }
    }

    /// Notes what is not in the bundle, and why.
    pub(super) fn missing(&mut self, what: impl Into<String>) {
        self.missing.push(what.into());
    }

    /// Cuts secrets out of everything, and adds what is missing as a file.
    pub(super) fn sealed(mut self, secrets: &Secrets) -> Self {
        let secrets = secrets.scissors();
        self.missing = self.missing.iter().map(|line| secrets.cut_from(line)).collect();
        let notes = match self.missing.is_empty() {
            true => "nothing\n".to_owned(),
            false => self.missing.iter().map(|line| format!("{line}\n")).collect(),
        };
        self.text("missing.txt", notes);
        self.files.values_mut().for_each(|text| *text = secrets.cut_from(text));
        self
    }

    /// What is in it.
    pub(super) fn entries(&self) -> Vec<Entry> {
        let entry = |(path, text): (&String, &String)| Entry { path: path.clone(), bytes: text.len() };
        self.files.iter().map(entry).collect()
    }

    /// Writes the archive, readable for its owner only. A file that is there is not touched.
    pub(super) fn write(&self, path: &Path) -> Result<(), Failure> {
        let fail = |why: std::io::Error| match why.kind() {
            std::io::ErrorKind::AlreadyExists => {
                let text = format!("{} is there already; it was not touched", path.display());
                Failure::new(Exit::BadInput, "file-exists", text).hint("name another file with --out")
            }
            _ => Failure::file(path, why),
        };
        let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = file.map_err(fail)?;
        let written = self.archive(file).and_then(|mut file| {
            file.flush()?;
            file.sync_all()
        });
        written.map_err(|why| {
            // Half an archive is of no use to anybody.
            let _ = std::fs::remove_file(path);
            fail(why)
        })
    }

    fn archive<W: std::io::Write>(&self, to: W) -> std::io::Result<W> {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut archive = tar::Builder::new(GzEncoder::new(to, Compression::default()));
        for (path, text) in &self.files {
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o600);
            header.set_mtime(now);
            archive.append_data(&mut header, format!("{TOP}/{path}"), text.as_bytes())?;
        }
        archive.into_inner()?.finish()
    }
}

/// The first name that is free: `onefed-support-NAME.tar.gz`, then with a number.
pub(super) fn free_name(federation: Option<&str>) -> PathBuf {
    let stem = federation.map_or("onefed-support".to_owned(), |name| format!("onefed-support-{name}"));
    let numbered = (2_u32..).map(|number| format!("{stem}-{number}.tar.gz"));
    let all = std::iter::once(format!("{stem}.tar.gz")).chain(numbered).map(PathBuf::from);
    all.into_iter().find(|path| !path.exists()).unwrap_or_default()
}
