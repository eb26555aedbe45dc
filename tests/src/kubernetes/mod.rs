//! Owns what tests of brokers stand on: a real Kubernetes API server with its etcd, `sealane-broker`,
//! and ways to reach either. Does not own the cases, which are in `tests/kubernetes/`.

pub mod api_server;
pub mod program;
pub mod error;
pub mod board;
pub mod detour;
pub mod in_lab;
