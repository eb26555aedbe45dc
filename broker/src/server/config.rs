//! Owns the settings of one broker, with their defaults. Does not own flags (`bin`).

use super::{history::HistoryBounds, limit::Limits};
use sealane_api::clusterset::DEFAULT_NAMESPACE;
use std::{
    net::{Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

/// TCP port of the embedded broker.
pub const DEFAULT_PORT: u16 = 6464;

/// Settings of one broker.
#[derive(Debug, Clone)]
pub struct Config {
    /// Addresses to listen on; `[::]` takes IPv4 as well. Port 0 picks a free one.
    pub listen: Vec<SocketAddr>,
    /// Database, certificate authority and `admin.kubeconfig`; created with mode 0700.
    pub data_dir: PathBuf,
    /// Names and addresses in the server certificate, beside localhost and the host's own name.
    /// The first is the one in `admin.kubeconfig`.
    pub hosts: Vec<String>,
    /// Default namespace.
    pub namespace: String,
    /// Clusterset id that the default namespace is bound to from the start.
    pub anchor: Option<String>,
    /// How much history watches can go back.
    pub history: HistoryBounds,
    /// Bounds on callers and contents.
    pub limits: Limits,
    /// How often a watch is told the current revision.
    pub bookmark_interval: Duration,
}

impl Config {
    /// Defaults, with everything kept below `data_dir`.
    #[must_use]
    pub fn new(data_dir: impl Into<PathBuf>) -> Self {
        Self {
            listen: vec![SocketAddr::from((Ipv6Addr::UNSPECIFIED, DEFAULT_PORT))],
            data_dir: data_dir.into(),
            hosts: Vec::new(),
            namespace: DEFAULT_NAMESPACE.to_owned(),
            anchor: None,
            history: HistoryBounds::default(),
            limits: Limits::default(),
            bookmark_interval: Duration::from_secs(60),
        }
    }
}
