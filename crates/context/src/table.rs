//! The variable table: the one place where a variable's name, level, default, rule and message are decided.
//!
//! Names, rules and messages follow the contextualization reference of the Flower appliances where it has them;
//! the messages are interface strings and stay as they are. Adding a variable means adding a row.

use crate::role::{GatewayPlacement, LogLevel, Role};
use crate::rule::Rule;
use crate::variable::{InputType, Placement, Variable};

/// Every variable that is known, in the order in which references list them.
pub static TABLE: &[Variable] = &[
    Variable {
        name: "FLOWER_VERSION",
        placement: Placement::Service,
        default: Some("1.41.0"),
        description: "Flower release to run; every zone must use the same one",
        rule: Rule::Version,
        error: "Invalid FLOWER_VERSION: '{value}'. Expected format: X.Y.Z (e.g., 1.25.0)",
        ..Variable::ROW
    },
    Variable {
        name: "FL_TLS_ENABLED",
        placement: Placement::Service,
        input: InputType::Boolean,
        default: Some("YES"),
        description: "Encrypt the Fleet link with TLS",
        rule: Rule::YesNo,
        error: "Invalid FL_TLS_ENABLED: '{value}'. Must be YES or NO.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_LOG_LEVEL",
        placement: Placement::Service,
        input: InputType::List,
        default: Some("INFO"),
        description: "Log verbosity of the Flower process",
        rule: Rule::OneOf(LogLevel::WORDS),
        error: "Unknown FL_LOG_LEVEL: '{value}'. Valid options: DEBUG, INFO, WARNING, ERROR.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_ISOLATION",
        roles: &[Role::SuperLink, Role::SuperNode],
        input: InputType::List,
        default: Some("subprocess"),
        description: "Run app code as a child process or in its own container",
        rule: Rule::OnlyFirstOf(&["subprocess", "process"]),
        error: "Unknown FL_ISOLATION: '{value}'. Valid options: subprocess, process.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_DATABASE",
        roles: &[Role::SuperLink],
        default: Some("state/state.db"),
        description: "SQLite file for run state, relative to the SuperLink's data directory",
        rule: Rule::RelativePath,
        error: "Invalid FL_DATABASE: '{value}'. Must be a relative path of letters, digits, '.', '_', '-' and '/'.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_FLEET_API_ADDRESS",
        roles: &[Role::SuperLink],
        default: Some("0.0.0.0:9092"),
        description: "Socket on which the hub listens for the sites",
        rule: Rule::Listen,
        error: "Invalid FL_FLEET_API_ADDRESS: '{value}'. Expected format: host:port.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_ADMIN_API_ADDRESS",
        roles: &[Role::SuperLink],
        default: Some("0.0.0.0:9443"),
        description: "Socket on which the hub listens for the operator",
        rule: Rule::Listen,
        error: "Invalid FL_ADMIN_API_ADDRESS: '{value}'. Expected format: host:port.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_CERT_EXTRA_SAN",
        roles: &[Role::SuperLink],
        description: "More names for the hub's certificate, e.g. IP:203.0.113.10,DNS:fl.example.org",
        rule: Rule::SanList,
        error: "Invalid FL_CERT_EXTRA_SAN: '{value}'. Expected comma-separated IP:addr or DNS:name entries.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_SUPERLINK_ADDRESS",
        roles: &[Role::Gateway, Role::SuperNode],
        description: "Where the hub of the federation is reached, host:port",
        rule: Rule::Dial,
        error: "Invalid FL_SUPERLINK_ADDRESS: '{value}'. Expected format: host:port or leave empty for OneGate discovery.",
        required: true,
        spoke_only: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_SSL_CA_CERTFILE",
        input: InputType::Text64,
        description: "CA certificate that the federation trusts, PEM",
        rule: Rule::Certificates,
        error: "FL_SSL_CA_CERTFILE does not contain a valid base64-encoded PEM certificate.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_GRPC_KEEPALIVE_TIME",
        input: InputType::Number,
        default: Some("60"),
        description: "Seconds between HTTP/2 liveness pings on the Fleet link",
        rule: Rule::Count(1),
        error: "Invalid FL_GRPC_KEEPALIVE_TIME: '{value}'. Must be a positive integer.",
        spoke_only: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_GRPC_KEEPALIVE_TIMEOUT",
        input: InputType::Number,
        default: Some("20"),
        description: "Seconds to wait for a ping reply before dropping the link",
        rule: Rule::Count(1),
        error: "Invalid FL_GRPC_KEEPALIVE_TIMEOUT: '{value}'. Must be a positive integer.",
        spoke_only: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_NODE_CONFIG",
        roles: &[Role::SuperNode],
        description: "Extra key=value settings handed to the ClientApp",
        rule: Rule::NodeConfig,
        error: "Invalid FL_NODE_CONFIG: '{value}'. Expected format: 'key1=val1 key2=val2'.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_PARTITION_BASE",
        roles: &[Role::SuperNode],
        input: InputType::Number,
        description: "Partition id of the site's first SuperNode, unique over all sites",
        rule: Rule::Count(0),
        error: "Invalid FL_PARTITION_BASE: '{value}'. Must be a non-negative integer.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_NUM_PARTITIONS",
        roles: &[Role::SuperNode],
        input: InputType::Number,
        description: "Number of partitions over all sites",
        rule: Rule::Count(1),
        error: "Invalid FL_NUM_PARTITIONS: '{value}'. Must be a positive integer.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_MAX_RETRIES",
        roles: &[Role::SuperNode],
        input: InputType::Number,
        default: Some("0"),
        description: "Reconnect attempts before giving up; 0 means never give up",
        rule: Rule::Count(0),
        error: "Invalid FL_MAX_RETRIES: '{value}'. Must be a non-negative integer.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_MAX_WAIT_TIME",
        roles: &[Role::SuperNode],
        input: InputType::Number,
        default: Some("0"),
        description: "Seconds to keep trying to connect; 0 means no limit",
        rule: Rule::Count(0),
        error: "Invalid FL_MAX_WAIT_TIME: '{value}'. Must be a non-negative integer.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_ROLE",
        placement: Placement::Infrastructure,
        description: "What this VM is in its federation",
        rule: Rule::OneOf(Role::WORDS),
        error: "Unknown FL_ROLE: '{value}'. Valid options: superlink, supernode, gateway.",
        required: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_FEDERATION",
        placement: Placement::Infrastructure,
        description: "Name of the federation",
        rule: Rule::Name,
        error: "Invalid FL_FEDERATION: '{value}'. Must be a lower-case letter, then up to 30 letters, digits or hyphens.",
        required: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_SITE",
        roles: &[Role::Gateway, Role::SuperNode],
        placement: Placement::Infrastructure,
        description: "Name of the training site",
        rule: Rule::Name,
        error: "Invalid FL_SITE: '{value}'. Must be a lower-case letter, then up to 30 letters, digits or hyphens.",
        required: true,
        ..Variable::ROW
    },
    Variable {
        name: "FL_GATEWAY",
        roles: &[Role::SuperNode],
        placement: Placement::Infrastructure,
        default: Some("dedicated"),
        description: "Where the spoke of the site runs: on a VM of its own, or inside every SuperNode's",
        rule: Rule::OneOf(GatewayPlacement::WORDS),
        error: "Unknown FL_GATEWAY: '{value}'. Valid options: dedicated, embedded.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_CA_FINGERPRINT",
        placement: Placement::Infrastructure,
        description: "Fingerprint that the CA certificate must have",
        rule: Rule::Fingerprint,
        error: "Invalid FL_CA_FINGERPRINT: '{value}'. Expected format: sha256:<64 hexadecimal digits>.",
        ..Variable::ROW
    },
    Variable {
        name: "FL_ENROL_KEY",
        roles: &[Role::SuperLink, Role::Gateway],
        placement: Placement::Infrastructure,
        input: InputType::Password,
        description: "One-time key with which this VM asks for its certificate",
        rule: Rule::OneTimeKey,
        error: "Invalid FL_ENROL_KEY. Must be 32 to 128 characters of base64url.",
        secret: true,
        ..Variable::ROW
    },
    Variable {
        name: "TOKEN",
        placement: Placement::Infrastructure,
        input: InputType::Boolean,
        default: Some("NO"),
        description: "Ask OpenNebula for a OneGate token for this VM",
        rule: Rule::YesNo,
        error: "Invalid TOKEN: '{value}'. Must be YES or NO.",
        ..Variable::ROW
    },
    Variable {
        name: "ONEGATE_ENDPOINT",
        placement: Placement::Infrastructure,
        description: "Where OneGate is reached; OpenNebula sets it together with TOKEN",
        rule: Rule::HttpUrl,
        error: "Invalid ONEGATE_ENDPOINT: '{value}'. Must be an http or https URL.",
        ..Variable::ROW
    },
    Variable {
        name: "VMID",
        placement: Placement::Infrastructure,
        input: InputType::Number,
        description: "Id of this VM in its zone; OpenNebula sets it",
        rule: Rule::Id,
        error: "Invalid VMID: '{value}'. Must be a non-negative integer.",
        required: true,
        ..Variable::ROW
    },
    Variable {
        name: "ETH0_IP",
        placement: Placement::Infrastructure,
        description: "Primary address of this VM; OpenNebula sets it together with NETWORK",
        rule: Rule::Address,
        error: "Invalid ETH0_IP: '{value}'. Must be an IP address.",
        ..Variable::ROW
    },
    Variable {
        name: "NETWORK",
        placement: Placement::Infrastructure,
        description: "Let the guest agent configure the network",
        ..Variable::ROW
    },
    Variable {
        name: "REPORT_READY",
        placement: Placement::Infrastructure,
        description: "Let the guest agent report READY; the appliance does that itself",
        rule: Rule::BetterNo(
            "REPORT_READY is YES: the guest agent would report READY even where the appliance has failed. Leave it out; the appliance reports READY itself.",
        ),
        ..Variable::ROW
    },
    Variable {
        name: "READY_SCRIPT_PATH",
        placement: Placement::Infrastructure,
        description: "Program that the guest agent runs before it reports READY",
        ..Variable::ROW
    },
    Variable {
        name: "SSH_PUBLIC_KEY",
        placement: Placement::Infrastructure,
        description: "Key of the deploying user, for operator login",
        ..Variable::ROW
    },
    Variable {
        name: "START_SCRIPT_BASE64",
        placement: Placement::Infrastructure,
        description: "Program that the guest agent runs at boot, in base64",
        ..Variable::ROW
    },
];

/// The row of a variable, by its name without the `ONEAPP_` prefix.
pub fn variable(name: &str) -> Option<&'static Variable> {
    TABLE.iter().find(|variable| variable.name == name)
}
