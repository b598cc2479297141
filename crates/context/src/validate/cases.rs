//! Values of every variable: accepted ones, and refused ones with the exact message.

pub(crate) const CA: &str = include_str!("../../tests/data/ca.pem");
pub(crate) const KEY: &str = "q1w2e3r4t5y6u7i8o9p0-_q1w2e3r4t5";
pub(crate) const PRINT: &str = "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

/// The shape of a private key, with nothing in it.
pub(crate) const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";

/// One row of the table: accepted values, and refused ones with the exact message.
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) good: &'static [&'static str],
    pub(crate) bad: &'static [(&'static str, &'static str)],
}

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "FLOWER_VERSION",
        good: &["1.41.0", "0.0.1", "1.25.10"],
        bad: &[
            ("1.41", "Invalid FLOWER_VERSION: '1.41'. Expected format: X.Y.Z (e.g., 1.25.0)"),
            ("v1.41.0", "Invalid FLOWER_VERSION: 'v1.41.0'. Expected format: X.Y.Z (e.g., 1.25.0)"),
            (
                "1.41.0-py3.13",
                "Invalid FLOWER_VERSION: '1.41.0-py3.13'. Expected format: X.Y.Z (e.g., 1.25.0)",
            ),
            ("1.041.0", "Invalid FLOWER_VERSION: '1.041.0'. Expected format: X.Y.Z (e.g., 1.25.0)"),
        ],
    },
    Case {
        name: "FL_TLS_ENABLED",
        good: &["YES", "NO", "yes", "No"],
        bad: &[
            ("true", "Invalid FL_TLS_ENABLED: 'true'. Must be YES or NO."),
            ("YES ", "Invalid FL_TLS_ENABLED: 'YES '. Must be YES or NO."),
        ],
    },
    Case {
        name: "FL_LOG_LEVEL",
        good: &["DEBUG", "INFO", "WARNING", "ERROR"],
        bad: &[
            ("info", "Unknown FL_LOG_LEVEL: 'info'. Valid options: DEBUG, INFO, WARNING, ERROR."),
            ("TRACE", "Unknown FL_LOG_LEVEL: 'TRACE'. Valid options: DEBUG, INFO, WARNING, ERROR."),
        ],
    },
    Case {
        name: "FL_ISOLATION",
        good: &["subprocess"],
        bad: &[
            ("process", "FL_ISOLATION=process is planned, and not supported yet."),
            ("docker", "Unknown FL_ISOLATION: 'docker'. Valid options: subprocess, process."),
        ],
    },
    Case {
        name: "FL_DATABASE",
        good: &["state/state.db", "a", "x/y-z_1.db"],
        bad: &[
            (
                "/etc/passwd",
                "Invalid FL_DATABASE: '/etc/passwd'. Must be a relative path of letters, digits, '.', '_', '-' and '/'.",
            ),
            (
                "a/../b",
                "Invalid FL_DATABASE: 'a/../b'. Must be a relative path of letters, digits, '.', '_', '-' and '/'.",
            ),
            (
                ":flwr-in-memory:",
                "Invalid FL_DATABASE: ':flwr-in-memory:'. Must be a relative path of letters, digits, '.', '_', '-' and '/'.",
            ),
            ("  ", "FL_DATABASE cannot be empty."),
        ],
    },
    Case {
        name: "FL_FLEET_API_ADDRESS",
        good: &["0.0.0.0:9092", "[::]:9092", "hub:1", "127.0.0.1:65535"],
        bad: &[
            ("0.0.0.0:0", "Invalid FL_FLEET_API_ADDRESS: '0.0.0.0:0'. Expected format: host:port."),
            ("0.0.0.0:99999", "Invalid FL_FLEET_API_ADDRESS: '0.0.0.0:99999'. Expected format: host:port."),
            (":::9092", "Invalid FL_FLEET_API_ADDRESS: ':::9092'. Expected format: host:port."),
            ("9092", "Invalid FL_FLEET_API_ADDRESS: '9092'. Expected format: host:port."),
        ],
    },
    Case {
        name: "FL_ADMIN_API_ADDRESS",
        good: &["0.0.0.0:9443", "[::1]:9443"],
        bad: &[(" :1", "Invalid FL_ADMIN_API_ADDRESS: ' :1'. Expected format: host:port.")],
    },
    Case {
        name: "FL_CERT_EXTRA_SAN",
        good: &["IP:10.10.9.0", "IP:fd00::1, DNS:*.example.org", "DNS:localhost"],
        bad: &[
            (
                "10.0.0.1",
                "Invalid FL_CERT_EXTRA_SAN: '10.0.0.1'. Expected comma-separated IP:addr or DNS:name entries.",
            ),
            (
                "IP:10.0.0.1;x",
                "Invalid FL_CERT_EXTRA_SAN: 'IP:10.0.0.1;x'. Expected comma-separated IP:addr or DNS:name entries.",
            ),
            (
                "IP:1.2.3.4,DNS:..",
                "Invalid FL_CERT_EXTRA_SAN: 'IP:1.2.3.4,DNS:..'. Expected comma-separated IP:addr or DNS:name entries.",
            ),
        ],
    },
    Case {
        name: "FL_SUPERLINK_ADDRESS",
        good: &["10.0.0.1:9092", "hub.example.com:443", "[2001:db8::1]:9092", "10.0.0.1", "hub", "[fd00::1]"],
        bad: &[
            (
                "fd00::1",
                "Invalid FL_SUPERLINK_ADDRESS: 'fd00::1'. Expected format: host:port or leave empty for OneGate discovery.",
            ),
            (
                "0.0.0.0:9092",
                "Invalid FL_SUPERLINK_ADDRESS: '0.0.0.0:9092'. Expected format: host:port or leave empty for OneGate discovery.",
            ),
            (
                "http://hub:9092",
                "Invalid FL_SUPERLINK_ADDRESS: 'http://hub:9092'. Expected format: host:port or leave empty for OneGate discovery.",
            ),
        ],
    },
    Case {
        name: "FL_SSL_CA_CERTFILE",
        good: &[CA],
        bad: &[
            ("x", "FL_SSL_CA_CERTFILE does not contain a valid base64-encoded PEM certificate."),
            (
                "-----BEGIN PRIVATE KEY-----",
                "FL_SSL_CA_CERTFILE contains a private key. It must hold certificates only.",
            ),
        ],
    },
    Case {
        name: "FL_GRPC_KEEPALIVE_TIME",
        good: &["21", "60", "999999999"],
        bad: &[
            ("0", "Invalid FL_GRPC_KEEPALIVE_TIME: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_GRPC_KEEPALIVE_TIME: '-1'. Must be a positive integer."),
            ("060", "Invalid FL_GRPC_KEEPALIVE_TIME: '060'. Must be a positive integer."),
            ("1e3", "Invalid FL_GRPC_KEEPALIVE_TIME: '1e3'. Must be a positive integer."),
            ("9999999999", "Invalid FL_GRPC_KEEPALIVE_TIME: '9999999999'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_GRPC_KEEPALIVE_TIMEOUT",
        good: &["1", "59"],
        bad: &[
            ("0", "Invalid FL_GRPC_KEEPALIVE_TIMEOUT: '0'. Must be a positive integer."),
            ("ten", "Invalid FL_GRPC_KEEPALIVE_TIMEOUT: 'ten'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_LINK_HOLD",
        good: &["0", "60", "1800", "3600"],
        bad: &[
            ("59", "Invalid FL_LINK_HOLD: '59'. Must be 0, or an integer from 60 to 3600."),
            ("3601", "Invalid FL_LINK_HOLD: '3601'. Must be 0, or an integer from 60 to 3600."),
            ("10m", "Invalid FL_LINK_HOLD: '10m'. Must be 0, or an integer from 60 to 3600."),
            ("060", "Invalid FL_LINK_HOLD: '060'. Must be 0, or an integer from 60 to 3600."),
        ],
    },
    Case {
        name: "FL_LINK_DISK",
        good: &["256", "4096", "16777216"],
        bad: &[
            ("255", "Invalid FL_LINK_DISK: '255'. Must be an integer from 256 to 16777216."),
            ("0", "Invalid FL_LINK_DISK: '0'. Must be an integer from 256 to 16777216."),
            ("16777217", "Invalid FL_LINK_DISK: '16777217'. Must be an integer from 256 to 16777216."),
            ("10GiB", "Invalid FL_LINK_DISK: '10GiB'. Must be an integer from 256 to 16777216."),
        ],
    },
    Case {
        name: "FL_NODE_CONFIG",
        good: &["a=1", "site=\"madrid\" lr=0.1 on=true", "x.y='z z'"],
        bad: &[
            ("site=madrid", "Invalid FL_NODE_CONFIG: 'site=madrid'. Expected format: 'key1=val1 key2=val2'."),
            ("a=1,b=2", "Invalid FL_NODE_CONFIG: 'a=1,b=2'. Expected format: 'key1=val1 key2=val2'."),
            (
                "a=\"x\u{1b}\"",
                "Invalid FL_NODE_CONFIG: 'a=\"x\\u{1b}\"'. Expected format: 'key1=val1 key2=val2'.",
            ),
        ],
    },
    Case {
        name: "FL_PARTITION_BASE",
        good: &["0", "41"],
        bad: &[("-1", "Invalid FL_PARTITION_BASE: '-1'. Must be a non-negative integer.")],
    },
    Case {
        name: "FL_NUM_PARTITIONS",
        good: &["1", "999999999"],
        bad: &[("0", "Invalid FL_NUM_PARTITIONS: '0'. Must be a positive integer.")],
    },
    Case {
        name: "FL_MAX_RETRIES",
        good: &["0", "7"],
        bad: &[
            ("-1", "Invalid FL_MAX_RETRIES: '-1'. Must be a non-negative integer."),
            ("null", "FL_MAX_RETRIES is 'null': a form sent this word in place of an empty value."),
        ],
    },
    Case {
        name: "FL_MAX_WAIT_TIME",
        good: &["0", "3600"],
        bad: &[
            ("1.5", "Invalid FL_MAX_WAIT_TIME: '1.5'. Must be a non-negative integer."),
            (
                "undefined",
                "FL_MAX_WAIT_TIME is 'undefined': a form sent this word in place of an empty value.",
            ),
        ],
    },
    Case {
        name: "FL_ROLE",
        good: &["superlink", "supernode", "gateway"],
        bad: &[("SuperLink", "Unknown FL_ROLE: 'SuperLink'. Valid options: superlink, supernode, gateway.")],
    },
    Case {
        name: "FL_FEDERATION",
        good: &["a", "hospitals-2"],
        bad: &[(
            "Hospitals",
            "Invalid FL_FEDERATION: 'Hospitals'. Must be a lower-case letter, then up to 30 letters, digits or hyphens.",
        )],
    },
    Case {
        name: "FL_SITE",
        good: &["paris"],
        bad: &[
            (
                "-x",
                "Invalid FL_SITE: '-x'. Must be a lower-case letter, then up to 30 letters, digits or hyphens.",
            ),
            (
                "a23456789012345678901234567890123",
                "Invalid FL_SITE: 'a23456789012345678901234567890123'. Must be a lower-case letter, then up to 30 letters, digits or hyphens.",
            ),
        ],
    },
    Case {
        name: "FL_GATEWAY",
        good: &["dedicated", "embedded"],
        bad: &[("none", "Unknown FL_GATEWAY: 'none'. Valid options: dedicated, embedded.")],
    },
    Case {
        name: "FL_CA_FINGERPRINT",
        good: &[PRINT],
        bad: &[
            (
                "sha256:00",
                "Invalid FL_CA_FINGERPRINT: 'sha256:00'. Expected format: sha256:<64 hexadecimal digits>.",
            ),
            (
                "md5:00",
                "Invalid FL_CA_FINGERPRINT: 'md5:00'. Expected format: sha256:<64 hexadecimal digits>.",
            ),
        ],
    },
    Case {
        name: "FL_ENROL_KEY",
        good: &[KEY],
        bad: &[
            ("short", "Invalid FL_ENROL_KEY. Must be 32 to 128 characters of base64url."),
            (
                "q1w2e3r4t5y6u7i8o9p0+/q1w2e3r4t5",
                "Invalid FL_ENROL_KEY. Must be 32 to 128 characters of base64url.",
            ),
        ],
    },
    Case {
        name: "TOKEN",
        good: &["YES", "NO"],
        bad: &[("maybe", "Invalid TOKEN: 'maybe'. Must be YES or NO.")],
    },
    Case {
        name: "ONEGATE_ENDPOINT",
        good: &["http://127.0.0.1:5030", "https://one.example.org/gate"],
        bad: &[
            ("onegate:5030", "Invalid ONEGATE_ENDPOINT: 'onegate:5030'. Must be an http or https URL."),
            ("ftp://x", "Invalid ONEGATE_ENDPOINT: 'ftp://x'. Must be an http or https URL."),
        ],
    },
    Case {
        name: "VMID",
        good: &["0", "2147483647"],
        bad: &[
            ("-1", "Invalid VMID: '-1'. Must be a non-negative integer."),
            ("2147483648", "Invalid VMID: '2147483648'. Must be a non-negative integer."),
        ],
    },
    Case {
        name: "ETH0_IP",
        good: &["10.0.0.2", "fd00::2"],
        bad: &[
            ("10.0.0", "Invalid ETH0_IP: '10.0.0'. Must be an IP address."),
            ("0.0.0.0", "Invalid ETH0_IP: '0.0.0.0'. Must be an IP address."),
        ],
    },
    Case {
        name: "FL_NUM_ROUNDS",
        good: &["1", "2", "999999999"],
        bad: &[
            ("0", "Invalid FL_NUM_ROUNDS: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_NUM_ROUNDS: '-1'. Must be a positive integer."),
            ("1.5", "Invalid FL_NUM_ROUNDS: '1.5'. Must be a positive integer."),
            ("02", "Invalid FL_NUM_ROUNDS: '02'. Must be a positive integer."),
            ("x", "Invalid FL_NUM_ROUNDS: 'x'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_MIN_FIT_CLIENTS",
        good: &["1", "2", "999999999"],
        bad: &[
            ("0", "Invalid FL_MIN_FIT_CLIENTS: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_MIN_FIT_CLIENTS: '-1'. Must be a positive integer."),
            ("1.5", "Invalid FL_MIN_FIT_CLIENTS: '1.5'. Must be a positive integer."),
            ("02", "Invalid FL_MIN_FIT_CLIENTS: '02'. Must be a positive integer."),
            ("x", "Invalid FL_MIN_FIT_CLIENTS: 'x'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_MIN_EVALUATE_CLIENTS",
        good: &["1", "2", "999999999"],
        bad: &[
            ("0", "Invalid FL_MIN_EVALUATE_CLIENTS: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_MIN_EVALUATE_CLIENTS: '-1'. Must be a positive integer."),
            ("1.5", "Invalid FL_MIN_EVALUATE_CLIENTS: '1.5'. Must be a positive integer."),
            ("02", "Invalid FL_MIN_EVALUATE_CLIENTS: '02'. Must be a positive integer."),
            ("x", "Invalid FL_MIN_EVALUATE_CLIENTS: 'x'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_MIN_AVAILABLE_CLIENTS",
        good: &["1", "2", "999999999"],
        bad: &[
            ("0", "Invalid FL_MIN_AVAILABLE_CLIENTS: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_MIN_AVAILABLE_CLIENTS: '-1'. Must be a positive integer."),
            ("1.5", "Invalid FL_MIN_AVAILABLE_CLIENTS: '1.5'. Must be a positive integer."),
            ("02", "Invalid FL_MIN_AVAILABLE_CLIENTS: '02'. Must be a positive integer."),
            ("x", "Invalid FL_MIN_AVAILABLE_CLIENTS: 'x'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_CHECKPOINT_INTERVAL",
        good: &["1", "300"],
        bad: &[
            ("0", "Invalid FL_CHECKPOINT_INTERVAL: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_CHECKPOINT_INTERVAL: '-1'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_EDGE_MAX_BACKOFF",
        good: &["1", "300"],
        bad: &[
            ("0", "Invalid FL_EDGE_MAX_BACKOFF: '0'. Must be a positive integer."),
            ("-1", "Invalid FL_EDGE_MAX_BACKOFF: '-1'. Must be a positive integer."),
        ],
    },
    Case {
        name: "FL_STRATEGY",
        good: &["FedAvg", "FedProx", "FedAdam", "Krum", "Bulyan", "FedTrimmedAvg"],
        bad: &[
            (
                "fedavg",
                "Unknown FL_STRATEGY: 'fedavg'. Valid options: FedAvg, FedProx, FedAdam, Krum, Bulyan, FedTrimmedAvg.",
            ),
            (
                "FedAvg ",
                "Unknown FL_STRATEGY: 'FedAvg '. Valid options: FedAvg, FedProx, FedAdam, Krum, Bulyan, FedTrimmedAvg.",
            ),
        ],
    },
    Case {
        name: "ML_FRAMEWORK",
        good: &["pytorch", "tensorflow", "sklearn"],
        bad: &[
            ("torch", "Unknown ML_FRAMEWORK: 'torch'. Valid options: pytorch, tensorflow, sklearn."),
            ("PyTorch", "Unknown ML_FRAMEWORK: 'PyTorch'. Valid options: pytorch, tensorflow, sklearn."),
        ],
    },
    Case {
        name: "FL_USE_CASE",
        good: &["none", "image-classification", "anomaly-detection", "llm-fine-tuning"],
        bad: &[(
            "llm",
            "Unknown FL_USE_CASE: 'llm'. Valid options: none, image-classification, anomaly-detection, llm-fine-tuning.",
        )],
    },
    Case {
        name: "FL_EDGE_BACKOFF",
        good: &["exponential", "fixed"],
        bad: &[("linear", "Unknown FL_EDGE_BACKOFF: 'linear'. Valid options: exponential, fixed.")],
    },
    Case {
        name: "FL_LOG_FORMAT",
        good: &["text", "json"],
        bad: &[("JSON", "Invalid FL_LOG_FORMAT: 'JSON'. Must be 'text' or 'json'.")],
    },
    Case {
        name: "FL_CHECKPOINT_ENABLED",
        good: &["YES", "NO", "yes"],
        bad: &[
            ("true", "Invalid FL_CHECKPOINT_ENABLED: 'true'. Must be YES or NO."),
            ("1", "Invalid FL_CHECKPOINT_ENABLED: '1'. Must be YES or NO."),
        ],
    },
    Case {
        name: "FL_GPU_ENABLED",
        good: &["YES", "NO", "yes"],
        bad: &[
            ("true", "Invalid FL_GPU_ENABLED: 'true'. Must be YES or NO."),
            ("1", "Invalid FL_GPU_ENABLED: '1'. Must be YES or NO."),
        ],
    },
    Case {
        name: "FL_METRICS_ENABLED",
        good: &["YES", "NO", "yes"],
        bad: &[
            ("true", "Invalid FL_METRICS_ENABLED: 'true'. Must be YES or NO."),
            ("1", "Invalid FL_METRICS_ENABLED: '1'. Must be YES or NO."),
        ],
    },
    Case {
        name: "FL_DCGM_ENABLED",
        good: &["YES", "NO", "yes"],
        bad: &[
            ("true", "Invalid FL_DCGM_ENABLED: 'true'. Must be YES or NO."),
            ("1", "Invalid FL_DCGM_ENABLED: '1'. Must be YES or NO."),
        ],
    },
    Case {
        name: "FL_CONTROL_API_ADDRESS",
        good: &["127.0.0.1:9093", "[::1]:9093"],
        bad: &[
            ("9093", "Invalid FL_CONTROL_API_ADDRESS: '9093'. Expected format: host:port."),
            ("0.0.0.0:0", "Invalid FL_CONTROL_API_ADDRESS: '0.0.0.0:0'. Expected format: host:port."),
        ],
    },
    Case {
        name: "FL_PROXIMAL_MU",
        good: &["0", "0.0", "1.0", "1e-3", "2.5E+1"],
        bad: &[
            ("-0.1", "Invalid FL_PROXIMAL_MU: '-0.1'. Must be a non-negative float."),
            (".5", "Invalid FL_PROXIMAL_MU: '.5'. Must be a non-negative float."),
            ("1.", "Invalid FL_PROXIMAL_MU: '1.'. Must be a non-negative float."),
            ("1e", "Invalid FL_PROXIMAL_MU: '1e'. Must be a non-negative float."),
            ("nan", "Invalid FL_PROXIMAL_MU: 'nan'. Must be a non-negative float."),
            ("inf", "Invalid FL_PROXIMAL_MU: 'inf'. Must be a non-negative float."),
            ("1e9999", "Invalid FL_PROXIMAL_MU: '1e9999'. Must be a non-negative float."),
        ],
    },
    Case {
        name: "FL_SERVER_LR",
        good: &["0.1", "1e-3"],
        bad: &[
            ("0", "Invalid FL_SERVER_LR: '0'. Must be a positive float."),
            ("0.0", "Invalid FL_SERVER_LR: '0.0'. Must be a positive float."),
            ("1e-999", "Invalid FL_SERVER_LR: '1e-999'. Must be a positive float."),
            ("-1", "Invalid FL_SERVER_LR: '-1'. Must be a positive float."),
            ("0,1", "Invalid FL_SERVER_LR: '0,1'. Must be a positive float."),
        ],
    },
    Case {
        name: "FL_CLIENT_LR",
        good: &["0.1", "1e-3"],
        bad: &[
            ("0", "Invalid FL_CLIENT_LR: '0'. Must be a positive float."),
            ("0.0", "Invalid FL_CLIENT_LR: '0.0'. Must be a positive float."),
            ("1e-999", "Invalid FL_CLIENT_LR: '1e-999'. Must be a positive float."),
            ("-1", "Invalid FL_CLIENT_LR: '-1'. Must be a positive float."),
            ("0,1", "Invalid FL_CLIENT_LR: '0,1'. Must be a positive float."),
        ],
    },
    Case {
        name: "FL_TRIM_BETA",
        good: &["0.2", "0.49", "1e-2"],
        bad: &[
            ("0", "Invalid FL_TRIM_BETA: '0'. Must be a float between 0.0 and 0.5 (exclusive)."),
            ("0.5", "Invalid FL_TRIM_BETA: '0.5'. Must be a float between 0.0 and 0.5 (exclusive)."),
            ("1", "Invalid FL_TRIM_BETA: '1'. Must be a float between 0.0 and 0.5 (exclusive)."),
            ("x", "Invalid FL_TRIM_BETA: 'x'. Must be a float between 0.0 and 0.5 (exclusive)."),
        ],
    },
    Case {
        name: "FL_GPU_MEMORY_FRACTION",
        good: &["0", "0.8", "1.0"],
        bad: &[
            ("1.1", "Invalid FL_GPU_MEMORY_FRACTION: '1.1'. Must be a float between 0.0 and 1.0."),
            ("-0.1", "Invalid FL_GPU_MEMORY_FRACTION: '-0.1'. Must be a float between 0.0 and 1.0."),
            ("80%", "Invalid FL_GPU_MEMORY_FRACTION: '80%'. Must be a float between 0.0 and 1.0."),
        ],
    },
    Case {
        name: "FL_NUM_MALICIOUS",
        good: &["0", "3"],
        bad: &[
            ("-1", "Invalid FL_NUM_MALICIOUS: '-1'. Must be a non-negative integer."),
            ("1.0", "Invalid FL_NUM_MALICIOUS: '1.0'. Must be a non-negative integer."),
        ],
    },
    Case {
        name: "FL_CHECKPOINT_PATH",
        good: &["/app/checkpoints", "/x"],
        bad: &[
            ("  ", "FL_CHECKPOINT_PATH cannot be empty."),
            (
                "relative",
                "Invalid FL_CHECKPOINT_PATH: 'relative'. Must be an absolute path of letters, digits, '.', '_', '-' and '/'.",
            ),
            (
                "/a/../b",
                "Invalid FL_CHECKPOINT_PATH: '/a/../b'. Must be an absolute path of letters, digits, '.', '_', '-' and '/'.",
            ),
            (
                "/",
                "Invalid FL_CHECKPOINT_PATH: '/'. Must be an absolute path of letters, digits, '.', '_', '-' and '/'.",
            ),
            (
                "/a b",
                "Invalid FL_CHECKPOINT_PATH: '/a b'. Must be an absolute path of letters, digits, '.', '_', '-' and '/'.",
            ),
        ],
    },
    Case {
        name: "FL_CUDA_VISIBLE_DEVICES",
        good: &["all", "0", "0,1,12"],
        bad: &[
            (
                "ALL",
                "Invalid FL_CUDA_VISIBLE_DEVICES: 'ALL'. Must be 'all' or comma-separated GPU IDs (e.g., 0,1).",
            ),
            (
                "0,",
                "Invalid FL_CUDA_VISIBLE_DEVICES: '0,'. Must be 'all' or comma-separated GPU IDs (e.g., 0,1).",
            ),
            (
                "0 1",
                "Invalid FL_CUDA_VISIBLE_DEVICES: '0 1'. Must be 'all' or comma-separated GPU IDs (e.g., 0,1).",
            ),
            (
                "GPU-1",
                "Invalid FL_CUDA_VISIBLE_DEVICES: 'GPU-1'. Must be 'all' or comma-separated GPU IDs (e.g., 0,1).",
            ),
            (
                "1000",
                "Invalid FL_CUDA_VISIBLE_DEVICES: '1000'. Must be 'all' or comma-separated GPU IDs (e.g., 0,1).",
            ),
        ],
    },
    Case {
        name: "FL_METRICS_PORT",
        good: &["1024", "9090", "9094", "9101", "65535"],
        bad: &[
            ("1023", "Invalid FL_METRICS_PORT: '1023'. Must be integer 1024-65535, not 9091-9093."),
            ("9091", "Invalid FL_METRICS_PORT: '9091'. Must be integer 1024-65535, not 9091-9093."),
            ("9092", "Invalid FL_METRICS_PORT: '9092'. Must be integer 1024-65535, not 9091-9093."),
            ("9093", "Invalid FL_METRICS_PORT: '9093'. Must be integer 1024-65535, not 9091-9093."),
            ("65536", "Invalid FL_METRICS_PORT: '65536'. Must be integer 1024-65535, not 9091-9093."),
            (
                "99999999999999999999",
                "Invalid FL_METRICS_PORT: '99999999999999999999'. Must be integer 1024-65535, not 9091-9093.",
            ),
        ],
    },
    Case {
        name: "FL_SSL_CERTFILE",
        good: &[CA],
        bad: &[
            ("x", "FL_SSL_CERTFILE does not contain a valid base64-encoded PEM certificate."),
            (PRIVATE, "FL_SSL_CERTFILE contains a private key. It must hold certificates only."),
        ],
    },
    Case {
        name: "FL_SSL_KEYFILE",
        good: &[PRIVATE],
        bad: &[
            ("x", "FL_SSL_KEYFILE does not contain a valid base64-encoded PEM private key."),
            (CA, "FL_SSL_KEYFILE does not contain a valid base64-encoded PEM private key."),
        ],
    },
    Case {
        name: "FL_NODE_AUTH",
        good: &["YES", "no"],
        bad: &[("1", "Invalid FL_NODE_AUTH: '1'. Must be YES or NO.")],
    },
    Case {
        name: "FL_SITE_ENROLMENT",
        good: &["open"],
        bad: &[
            ("token", "FL_SITE_ENROLMENT=token is planned, and not supported yet."),
            ("Open", "Unknown FL_SITE_ENROLMENT: 'Open'. Valid options: open, token."),
        ],
    },
    Case {
        name: "FL_RUNTIME",
        good: &["venv", "container"],
        bad: &[("docker", "Unknown FL_RUNTIME: 'docker'. Valid options: venv, container.")],
    },
    Case {
        name: "FL_CONTAINER_IMAGE",
        good: &["flwr/superlink:1.41.0", "registry.example.com:5000/fl/superlink:1.41.0-py3.13"],
        bad: &[
            (
                "flwr/superlink",
                "Invalid FL_CONTAINER_IMAGE: 'flwr/superlink'. Expected format: repository:tag or repository@sha256:<64 hexadecimal digits>.",
            ),
            (
                "--privileged x:1",
                "Invalid FL_CONTAINER_IMAGE: '--privileged x:1'. Expected format: repository:tag or repository@sha256:<64 hexadecimal digits>.",
            ),
        ],
    },
    Case {
        name: "FL_CA_TRUST",
        good: &["pinned", "first-use"],
        bad: &[("always", "Unknown FL_CA_TRUST: 'always'. Valid options: pinned, first-use.")],
    },
    Case { name: "NETWORK", good: &["YES"], bad: &[] },
    Case {
        name: "REPORT_READY",
        good: &["YES", "NO", "no"],
        bad: &[("1", "Invalid REPORT_READY: '1'. Must be YES or NO.")],
    },
    Case {
        name: "READY_SCRIPT_PATH",
        good: &["/opt/x"],
        bad: &[(
            "x; id",
            "Invalid READY_SCRIPT_PATH: 'x; id'. Must be an absolute path of letters, digits, '.', '_', '-' and '/'.",
        )],
    },
    Case { name: "SSH_PUBLIC_KEY", good: &["ssh-ed25519 AAAA me"], bad: &[] },
    Case { name: "START_SCRIPT_BASE64", good: &["AAAA"], bad: &[] },
];
