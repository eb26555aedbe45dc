//! Owns the Linux host: reads it, changes it, and runs the tunnel's data path. Knows nothing of
//! clustersets, brokers or Kubernetes.

pub mod netlink;
