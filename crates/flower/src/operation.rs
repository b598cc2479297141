//! The twelve operations of Flower's Fleet API, and how each transport names them.
//!
//! They are the same in every release of the version table; only the way they are addressed differs.

use crate::Transport;

/// The path prefix of the Fleet service in gRPC.
const GRPC_PREFIX: &str = "/flwr.proto.Fleet/";
/// The path prefix of the Fleet service in HTTP.
const HTTP_PREFIX: &str = "/v1/fleet/";

macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident => $grpc:literal, $http:literal;)*) => {
        /// One operation of the Fleet API. All are unary.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Operation { $($(#[$doc])* $name,)* }

        impl Operation {
            /// Every Fleet operation, in the order of Flower's service definition.
            pub const ALL: [Self; 12] = [$(Self::$name,)*];

            /// The name in Flower's service definition, for instance `PullMessages`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$name => stringify!($name),)* }
            }

            /// The request path in a transport.
            pub fn path(self, transport: Transport) -> &'static str {
                match (self, transport) {
                    $((Self::$name, Transport::Grpc) => concat!("/flwr.proto.Fleet/", $grpc),
                      (Self::$name, Transport::Http) => concat!("/v1/fleet/", $http),)*
                }
            }
        }
    };
}

operations! {
    /// A SuperNode makes its public key known.
    RegisterNode => "RegisterNode", "register-node";
    /// A registered SuperNode comes online.
    ActivateNode => "ActivateNode", "activate-node";
    /// A SuperNode goes offline.
    DeactivateNode => "DeactivateNode", "deactivate-node";
    /// A SuperNode withdraws its registration.
    UnregisterNode => "UnregisterNode", "unregister-node";
    /// A SuperNode says that it is alive; Flower's own deadline is 5 s.
    SendNodeHeartbeat => "SendNodeHeartbeat", "send-node-heartbeat";
    /// A SuperNode asks for work; delivered at most once.
    PullMessages => "PullMessages", "pull-messages";
    /// A SuperNode announces a reply.
    PushMessages => "PushMessages", "push-messages";
    /// A SuperNode reads a run.
    GetRun => "GetRun", "get-run";
    /// A SuperNode fetches an app bundle.
    GetFab => "GetFab", "get-fab";
    /// A SuperNode uploads one object of a reply.
    PushObject => "PushObject", "push-object";
    /// A SuperNode downloads one object of a message.
    PullObject => "PullObject", "pull-object";
    /// A SuperNode has the whole message.
    ConfirmMessageReceived => "ConfirmMessageReceived", "confirm-message-received";
}

impl Operation {
    /// Recognises a Fleet operation, and the transport that it is addressed in, by its request path.
    pub fn from_path(path: &str) -> Option<(Self, Transport)> {
        let transport = if path.starts_with(GRPC_PREFIX) {
            Transport::Grpc
        } else if path.starts_with(HTTP_PREFIX) {
            Transport::Http
        } else {
            return None;
        };
        Self::ALL.into_iter().find(|op| op.path(transport) == path).map(|op| (op, transport))
    }

    /// The name that a request path has in place of an operation's, and the transport: Flower may have more operations in
    /// a release to come. `None` for the twelve, and for what is not below the path of the Fleet service.
    pub fn unknown_name(path: &str) -> Option<(&str, Transport)> {
        let grpc = path.strip_prefix(GRPC_PREFIX).map(|name| (name, Transport::Grpc));
        let found = grpc.or_else(|| path.strip_prefix(HTTP_PREFIX).map(|name| (name, Transport::Http)));
        found.filter(|(name, _)| !name.is_empty() && Self::from_path(path).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_operation_has_a_name() {
        let name = Operation::unknown_name;
        assert_eq!(name("/v1/fleet/pull-secrets"), Some(("pull-secrets", Transport::Http)));
        assert_eq!(name("/flwr.proto.Fleet/PullSecrets"), Some(("PullSecrets", Transport::Grpc)));
        for none in
            ["/v1/fleet/", "/v1/fleet/pull-messages", "/v1/control/x", "/flwr.proto.Fleet/PullObject", ""]
        {
            assert_eq!(name(none), None, "{none}");
        }
    }

    #[test]
    fn every_path_is_recognised_and_nothing_else_is() {
        for transport in [Transport::Grpc, Transport::Http] {
            for op in Operation::ALL {
                assert_eq!(Operation::from_path(op.path(transport)), Some((op, transport)));
            }
        }
        for other in [
            "/",
            "/v1/fleet/",
            "/v1/fleet/pull-messages/",
            "/v1/fleet/../control/start-run",
            "/v1/control/list-runs",
            "/v1/runtime/acquire-task",
            "/flwr.proto.Control/StartRun",
            "/flwr.proto.Fleet/Join",
            "/flwr.proto.Fleet/pullmessages",
        ] {
            assert_eq!(Operation::from_path(other), None, "{other}");
        }
    }
}
