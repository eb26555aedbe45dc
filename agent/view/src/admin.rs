//! Owns the paths of the admin socket, so that the agent and the command line spell them alike.
//! Owns no server and no client.

/// Where the socket is unless configured otherwise.
pub const SOCKET: &str = "/run/sealane/agent.sock";
/// `GET`: [`crate::status::StatusDocument`].
pub const STATUS: &str = "/v1/status";
/// `GET`: [`crate::peers::PeersDocument`].
pub const PEERS: &str = "/v1/peers";
/// `GET`: [`crate::routes::RoutesDocument`].
pub const ROUTES: &str = "/v1/routes";
/// `GET`: [`crate::world::WorldDocument`].
pub const WORLD: &str = "/v1/world";
/// `GET`: [`crate::plan::PlanDocument`].
pub const PLAN: &str = "/v1/plan";
/// `POST` [`crate::trace::TraceRequest`]: [`crate::trace::TraceDocument`].
pub const TRACE: &str = "/v1/trace";
/// `POST` [`crate::ping::PingRequest`]: [`crate::ping::PingDocument`].
pub const PING: &str = "/v1/ping";
/// `POST` [`crate::membership::JoinRequest`]: [`crate::membership::JoinDocument`].
pub const JOIN: &str = "/v1/join";
/// `POST` [`crate::membership::ListRequest`]: [`crate::membership::ListDocument`].
pub const CLUSTERSET: &str = "/v1/clusterset";
/// `POST` [`crate::gateway::GatewayRequest`]: [`crate::gateway::RevocationDocument`].
pub const REVOKE: &str = "/v1/gateway/revoke";
/// `POST` [`crate::gateway::GatewayRequest`]: [`crate::gateway::RevocationDocument`].
pub const ALLOW: &str = "/v1/gateway/allow";
/// `POST`, no body that counts: [`crate::gateway::RotationDocument`].
pub const ROTATE: &str = "/v1/gateway/rotate";
/// `POST`, no body that counts: [`crate::membership::NextIdentityDocument`].
pub const ROTATE_IDENTITY: &str = "/v1/identity/rotate";
/// `POST` [`crate::membership::LeaveRequest`]: [`crate::membership::LeaveDocument`].
pub const LEAVE: &str = "/v1/leave";
