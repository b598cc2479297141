//! `onefed connect`: a local port to Flower's Control operations, and the connection in Flower's own configuration.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use onefed_link::connect::{AdminClient, ControlPort};
use toml_edit::{DocumentMut, Item, Table, value};

use crate::cli::Place;
use crate::failure::{Done, Exit, Failure};
use crate::output::Output;
use crate::state::State;

/// Opens the port and keeps it open until it is interrupted.
pub(crate) async fn run(place: &Place, port: u16, output: Output) -> Done {
    let state = State::open(&place.state)?;
    let federation = state.deployed()?.federation;
    let control = open(&state, port).await?;
    let address = control.address()?;
    let home = flower_home()?;
    add_connection(&home, &federation, address)?;
    output.json(&serde_json::json!({ "schema_version": 1, "connection": federation, "address": address, "flwr_home": home }));
    output.text(format!("Control operations of {federation} at {address}"));
    output.say(format!("connection `{federation}` written to {}", home.join("config.toml").display()));
    output.say(format!(
        "now try:  flwr ls {federation}   flwr run APP {federation} --stream   flwr log RUN {federation}"
    ));
    output.say("Ctrl-C closes the port");
    tokio::select! {
        () = control.serve() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    Ok(Exit::Ok)
}

/// A client of the hub's admin endpoint, with the certificate of this state directory.
pub(crate) fn admin_client(state: &State) -> Result<AdminClient, Failure> {
    let hub = state.deployed()?.hub;
    let identity = state.identity()?.ok_or_else(|| {
        Failure::new(
            Exit::Permission,
            "no-certificate",
            "there is no client certificate in the state directory",
        )
        .hint("run `onefed apply`, which makes one")
    })?;
    Ok(AdminClient::new(&hub.host, hub.admin_port, &state.ca_pem()?, &identity)?)
}

/// Opens a Control port on this machine's loopback; port 0 takes a free one.
pub(crate) async fn open(state: &State, port: u16) -> Result<ControlPort, Failure> {
    let client = admin_client(state)?;
    // Whoever reaches the port acts with this certificate, so it is never on another address.
    Ok(ControlPort::open(SocketAddr::from(([127, 0, 0, 1], port)), client).await?)
}

/// `$FLWR_HOME`, else `~/.flwr`, as Flower itself looks for it.
fn flower_home() -> Result<PathBuf, Failure> {
    if let Some(home) = std::env::var_os("FLWR_HOME").filter(|home| !home.is_empty()) {
        return Ok(PathBuf::from(home));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let missing = || {
        Failure::new(Exit::Configuration, "flwr-home", "neither FLWR_HOME nor HOME is set")
            .hint("set FLWR_HOME")
    };
    Ok(Path::new(&home.ok_or_else(missing)?).join(".flwr"))
}

/// Adds (or moves) one connection in Flower's `config.toml`; everything else in it stays as it is, comments too.
pub(crate) fn add_connection(home: &Path, name: &str, address: SocketAddr) -> Result<(), Failure> {
    let path = home.join("config.toml");
    std::fs::create_dir_all(home).map_err(|why| Failure::file(home, why))?;
    let text = onefed_appliance::files::read_if_there(&path).map_err(|why| Failure::file(&path, why))?;
    let mut document: DocumentMut = text.unwrap_or_default().parse().map_err(|why| {
        Failure::new(Exit::BadInput, "flwr-config", format!("{}: {why}", path.display()))
            .hint("correct the file, or move it away; it was not touched")
    })?;
    let wrong = |what: &str| {
        Failure::new(Exit::BadInput, "flwr-config", format!("{}: {what} is not a table", path.display()))
    };
    let connections = document.entry("superlink").or_insert_with(|| Item::Table(implicit()));
    let connections = connections.as_table_like_mut().ok_or_else(|| wrong("superlink"))?;
    let connection = connections.entry(name).or_insert_with(|| Item::Table(Table::new()));
    let connection = connection.as_table_like_mut().ok_or_else(|| wrong(&format!("superlink.{name}")))?;
    // A connection of the same name that goes elsewhere is somebody's own.
    let before = connection.get("address").and_then(|address| address.as_str()).unwrap_or_default();
    if !before.is_empty() && !before.starts_with("127.0.0.1:") {
        let text = format!("{}: connection `{name}` goes to {before} and is not onefed's", path.display());
        return Err(
            Failure::new(Exit::BadInput, "flwr-config", text).hint("rename it; the file was not touched")
        );
    }
    connection.insert("address", value(address.to_string()));
    // Plaintext from `flwr` to this process on loopback; TLS begins here.
    connection.insert("insecure", value(true));
    connection.remove("root-certificates");
    onefed_appliance::files::write(
        &path,
        document.to_string().as_bytes(),
        onefed_appliance::files::Readers::Owner,
    )
    .map_err(|why| Failure::file(&path, why))
}

fn implicit() -> Table {
    let mut table = Table::new();
    table.set_implicit(true);
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_connection_is_added_and_the_others_stay_as_they_are() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().join("config.toml");
        let before =
            "# mine\n[superlink]\ndefault = \"lab\"\n\n[superlink.lab]\naddress = \"lab:9093\" # keep\n";
        std::fs::write(&path, before).unwrap();
        add_connection(home.path(), "hospitals", "127.0.0.1:9093".parse().unwrap()).unwrap();
        add_connection(home.path(), "hospitals", "127.0.0.1:9999".parse().unwrap()).unwrap();
        let after = std::fs::read_to_string(&path).unwrap();
        let added = "\n[superlink.hospitals]\naddress = \"127.0.0.1:9999\"\ninsecure = true\n";
        assert_eq!(after, format!("{before}{added}"));
    }

    #[test]
    fn a_broken_file_is_left_alone() {
        let home = tempfile::tempdir().unwrap();
        for broken in ["[superlink", "superlink = 3\n"] {
            std::fs::write(home.path().join("config.toml"), broken).unwrap();
            let failure = add_connection(home.path(), "x", "127.0.0.1:1".parse().unwrap()).unwrap_err();
            assert_eq!((failure.exit, failure.code), (Exit::BadInput, "flwr-config"));
            assert_eq!(std::fs::read_to_string(home.path().join("config.toml")).unwrap(), broken);
        }
    }
}
