//! Owns the Linux host: reads it, changes it, and runs the tunnel's data path. Knows nothing of
//! clustersets, brokers or Kubernetes.

mod perform;
mod statefile;

pub mod host;
pub mod keyring;
pub mod netlink;
pub mod nft;
pub mod outcome;
pub mod sysctl;
pub mod tunnel_io;
pub mod wireguard;
pub mod probe_socket;
