//! The command line.

use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::output::Format;
use crate::verb::{InitArgs, PkiVerb, TemplatesArgs};

/// Flower federated learning across OpenNebula zones.
#[derive(Debug, Parser)]
#[command(name = "onefed", version, max_term_width = 110)]
pub(crate) struct Cli {
    /// How to write data: `text` for people, or `json`, one document with a `schema_version`.
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t,
        hide_possible_values = true,
        display_order = 100
    )]
    pub(crate) format: Format,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// Where the plan and the operator's state are.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The plan file.
    #[arg(short = 'f', long = "file", default_value = "federation.toml", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The operator's state directory: keys, inventory, journal.
    #[arg(long, default_value = ".onefed", value_name = "DIR")]
    pub(crate) state: PathBuf,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Find out which zones there are and what they have, and write a plan file to start from.
    Init(Box<InitArgs>),
    /// Validate the plan file and show what would be created, changed or removed in each zone.
    ///
    /// Everything that an `apply` would stumble on is shown too, of all zones at once: logins, rights, quotas, VM
    /// templates, images, networks, hosts. Exit code 0 when there is nothing to do, 2 when there is, 78 when there are
    /// problems, 69 when a zone is down.
    Plan {
        #[command(flatten)]
        place: Place,
        /// Write the plan to a file; `onefed apply FILE` refuses it if the plan file or the zones have changed since.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Deploy the federation, all zones at once. Can be interrupted and repeated; zones that are down are for the next time.
    Apply {
        #[command(flatten)]
        place: Place,
        /// A plan that `onefed plan --out` wrote: does this and nothing else, and refuses where anything has moved since.
        plan: Option<PathBuf>,
        /// Do not ask before services are replaced or removed.
        #[arg(long)]
        yes: bool,
    },
    /// Show zones, services, VMs, link, certificates, SuperNodes and runs on one screen; with `--format metrics`, what the hub
    /// counts.
    Status {
        #[command(flatten)]
        place: Place,
        /// Look again every so many seconds, until Ctrl-C; without a number every 2.
        #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2",
            value_parser = clap::value_parser!(u64).range(1..=86_400))]
        watch: Option<u64>,
    },
    /// Collect everything that helps to find out what is wrong, without a secret, in one file.
    Support {
        #[command(flatten)]
        place: Place,
        /// The archive to write; without it, one named after the federation.
        #[arg(long, value_name = "FILE.tar.gz")]
        out: Option<PathBuf>,
    },
    /// Submit a Flower app and follow it round by round.
    Train {
        #[command(flatten)]
        place: Place,
        /// The app's directory.
        app: PathBuf,
        /// Override values of the app's run configuration, in Flower's syntax: `key=value key="text"`.
        #[arg(short = 'c', long, value_name = "PAIRS")]
        run_config: Vec<String>,
        /// A Python environment with Flower's `flwr`. Without it, one is made in `.flower`.
        #[arg(long, value_name = "DIR")]
        flower_dir: Option<PathBuf>,
    },
    /// Open a local port to Flower's Control operations, for `flwr run`, `flwr log`, `flwr ls`, `flwr stop`.
    Connect {
        #[command(flatten)]
        place: Place,
        /// The local port; 0 takes a free one.
        #[arg(long, default_value_t = 9093)]
        port: u16,
    },
    /// Make a directory for a data scientist, who can then use `connect` without any key of the operator.
    User {
        /// The operator's state directory.
        #[arg(long, default_value = ".onefed", value_name = "DIR")]
        state: PathBuf,
        /// Who it is for; shows in the hub's log.
        name: String,
        /// The directory to make.
        #[arg(long, value_name = "DIR")]
        out: PathBuf,
    },
    /// Remove the federation from its zones: sites first, the coordinator last.
    Destroy {
        #[command(flatten)]
        place: Place,
        /// Do not ask.
        #[arg(long)]
        yes: bool,
    },
    /// OpenNebula-compatible zones on this machine, to try onefed without a cloud.
    Sandbox {
        #[command(subcommand)]
        verb: SandboxVerb,
    },
    /// The whole story in one command: three zones on this machine train a real Flower app.
    Demo(DemoArgs),
    /// List every context variable that a VM understands: who uses it, its default, what it does.
    Vars {
        /// Write the reference as Markdown; the default is columns.
        #[arg(long)]
        markdown: bool,
        /// Write what a VM template of this role needs: USER_INPUTS and CONTEXT.
        #[arg(long, value_name = "ROLE", conflicts_with = "markdown")]
        template: Option<onefed_context::Role>,
    },
    /// Write templates for OpenNebula's own tools, without a plan: a service by hand.
    Templates(TemplatesArgs),
    /// Write a JSON schema, for editors and pipelines that check files without onefed.
    Schema {
        #[command(subcommand)]
        of: SchemaOf,
    },
    /// Look at the context of a VM.
    Context {
        #[command(subcommand)]
        verb: ContextVerb,
    },
    /// A server certificate of your own PKI for this VM (run inside a VM).
    Pki {
        #[command(subcommand)]
        verb: PkiVerb,
    },
    /// Boot this VM from its context (run inside a VM).
    Boot(BootArgs),
    /// Say whether this VM does its work (run inside a VM, also as its READY script).
    Health(HealthArgs),
    /// Run the hub (run inside the SuperLink's VM, by `boot`).
    #[command(hide = true)]
    Hub {
        /// The file that `boot` wrote.
        #[arg(long)]
        config: PathBuf,
    },
    /// Run a spoke (run inside a site's VM, by `boot`).
    #[command(hide = true)]
    Spoke {
        /// The file that `boot` wrote.
        #[arg(long)]
        config: PathBuf,
    },
    /// Become another program that ends with its parent (used by `boot`).
    #[command(hide = true)]
    ExecChild {
        /// The parent's process id.
        #[arg(long)]
        parent: i32,
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<String>,
    },
}

/// What a sandbox needs.
#[derive(Clone, Debug, Args)]
pub(crate) struct SandboxArgs {
    /// Where the sandbox keeps its files.
    #[arg(long, default_value = ".onefed-sandbox", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The second number of all its addresses, 127.N.x.y, so that two sandboxes can stand side by side.
    #[arg(long, default_value_t = 71, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(crate) net: u8,
    /// The zones, by name.
    #[arg(long, default_value = "madrid,paris,lisbon", value_delimiter = ',')]
    pub(crate) zones: Vec<String>,
    /// The Flower release of VMs that name none.
    #[arg(long, default_value_t = onefed_flower::DEFAULT_RELEASE.to_string(), value_name = "X.Y.Z")]
    pub(crate) flower: String,
    /// A Python environment, which stands for the image of all VMs. Without it, each has one of its own release, made in
    /// `.flower`.
    #[arg(long, value_name = "DIR")]
    pub(crate) flower_dir: Option<PathBuf>,
    /// A file (TOML) that says how the zones differ from the default: versions, users and their rights, quotas, networks,
    /// images, VM templates, slowness.
    #[arg(long, value_name = "FILE")]
    pub(crate) world: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SandboxVerb {
    /// Start the zones in the background.
    Up(SandboxArgs),
    /// Take everything of the sandbox down, also what a crash left behind.
    Down {
        /// Where the sandbox keeps its files.
        #[arg(long, default_value = ".onefed-sandbox", value_name = "DIR")]
        dir: PathBuf,
    },
    /// Serve the zones in the foreground (used by `up` and `demo`).
    #[command(hide = true)]
    Serve {
        #[command(flatten)]
        args: SandboxArgs,
        /// End when standard input ends.
        #[arg(long)]
        lease_stdin: bool,
    },
}

/// What there is a schema of.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(crate) enum SchemaOf {
    /// The context of a VM: a property for each variable, draft 2020-12.
    Context,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ContextVerb {
    /// Validate a context and show every problem: exit code 0, or 78 if a VM would refuse it.
    ///
    /// What OpenNebula sets for each VM (VMID, ETH0_IP, ONEGATE_ENDPOINT) may be missing in the file.
    Check {
        /// A `context.sh`, or lines of KEY=value.
        file: PathBuf,
        /// Check it for this role: superlink, supernode or gateway. Without it, FL_ROLE of the file counts.
        #[arg(long)]
        role: Option<onefed_context::Role>,
    },
}

/// What a demo needs.
#[derive(Clone, Debug, Args)]
pub(crate) struct DemoArgs {
    /// The Flower release.
    #[arg(long, default_value_t = onefed_flower::DEFAULT_RELEASE.to_string(), value_name = "X.Y.Z")]
    pub(crate) flower: String,
    /// Leave everything running at the end.
    #[arg(long)]
    pub(crate) keep: bool,
    /// Where the demo keeps its files.
    #[arg(long, default_value = ".demo", value_name = "DIR")]
    pub(crate) dir: PathBuf,
    /// The second number of all its addresses, 127.N.x.y.
    #[arg(long, default_value_t = 71, value_parser = clap::value_parser!(u8).range(1..=254))]
    pub(crate) net: u8,
    /// How many rounds to train.
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
}

/// Where a VM's things are.
#[derive(Clone, Debug, Args)]
pub(crate) struct BootArgs {
    /// The directory with `context.sh` and `token.txt`.
    #[arg(long, default_value = "/run/onefed/context", value_name = "DIR")]
    pub(crate) context: PathBuf,
    /// The directory that survives a reboot.
    #[arg(long, default_value = "/var/lib/onefed", value_name = "DIR")]
    pub(crate) disk: PathBuf,
    /// The Python environment with Flower.
    #[arg(long, default_value = "/opt/onefed/flower", value_name = "DIR")]
    pub(crate) flower_dir: PathBuf,
    /// Who keeps the VM's processes running.
    #[arg(long, default_value = "auto", value_name = "WHO")]
    pub(crate) manager: ManagerChoice,
    /// Boot as a sandbox VM: this address stands for 127.0.0.1, and the end of standard input ends the VM.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) loopback: Option<IpAddr>,
}

/// Who keeps a VM's processes running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ManagerChoice {
    /// systemd where it runs the machine, else this process.
    Auto,
    /// Units of systemd.
    Systemd,
    /// Children of this process.
    Foreground,
}

#[derive(Debug, Args)]
pub(crate) struct HealthArgs {
    /// The role that this VM must have; any if it is not given.
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: Option<onefed_context::Role>,
    /// The directory that survives a reboot.
    #[arg(long, default_value = "/var/lib/onefed", value_name = "DIR")]
    pub(crate) disk: PathBuf,
}

/// The format that a command line asks for, also one that is wrong otherwise.
pub(crate) fn format_wanted(args: impl Iterator<Item = String>) -> Format {
    let args: Vec<String> = args.take_while(|arg| arg != "--").collect();
    let two = args.windows(2).any(|pair| pair == ["--format", "json"]);
    if two || args.iter().any(|arg| arg == "--format=json") { Format::Json } else { Format::Text }
}
