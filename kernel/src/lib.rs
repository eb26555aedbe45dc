//! Owns the Linux host: reads it, changes it, and runs the tunnel's data path. Knows nothing of
//! clustersets, brokers or Kubernetes.

pub mod host;
mod perform;
pub mod outcome;
pub mod netlink;
pub mod nft;
pub mod sysctl;
mod side_effects;
mod statefile;
pub mod wireguard;
pub mod keyring;
pub mod probe_socket;
pub mod tunnel_io;
