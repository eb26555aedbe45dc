//! Owns the life of one broker: open the storage, make certificates and the kubeconfig, listen,
//! stop. Does not own any of these.

use super::{
    app::App,
    certificate::{Authority, CertificateError, Certificates},
    config::Config,
    disk::{Disk, DiskError},
    gate::ClusterSetGate,
    kubeconfig::{self, Access},
    limit::Meter,
    listen::{Front, bind, tls},
    metrics::Metrics,
    name::is_label,
    store::{Anchor, Store},
};
use std::{
    fs::DirBuilder,
    io,
    net::{IpAddr, SocketAddr},
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A setting is wrong; nothing was touched.
    #[error("{0}")]
    Config(String),
    /// The data directory or a file in it cannot be used.
    #[error("data directory {path}: {cause}; choose another with --data-dir")]
    DataDir {
        /// The directory.
        path: PathBuf,
        /// What failed.
        cause: io::Error,
    },
    /// Another broker works with the data directory.
    #[error(
        "data directory {path}: another sealane-broker works with it; stop that one, or choose another with --data-dir"
    )]
    InUse {
        /// The directory.
        path: PathBuf,
    },
    /// The database cannot be used.
    #[error("database {path}: {cause}; restore it, or choose another --data-dir")]
    Database {
        /// The file.
        path: PathBuf,
        /// What failed.
        cause: DiskError,
    },
    /// The certificate authority cannot be used.
    #[error("certificate authority in {path}: {cause}; restore it, or choose another --data-dir")]
    Certificate {
        /// The directory.
        path: PathBuf,
        /// What failed.
        cause: CertificateError,
    },
    /// An address cannot be listened on.
    #[error("listen on {address}: {cause}; choose another with --listen")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What failed.
        cause: io::Error,
    },
}

/// A running broker. Dropping it without [`Server::stop`] ends it without waiting.
#[derive(Debug)]
pub struct Server {
    addresses: Vec<SocketAddr>,
    url: String,
    ca_pem: String,
    pins: Vec<String>,
    admin_kubeconfig: PathBuf,
    stopping: CancellationToken,
    tasks: TaskTracker,
    writer: Option<JoinHandle<()>>,
}

impl Server {
    /// Starts a broker; it serves when this returns. Every `ClusterSet` write is judged by `gate`.
    ///
    /// # Errors
    /// [`StartError`] names the setting, file or address that stands in the way.
    pub async fn start(config: Config, gate: impl ClusterSetGate) -> Result<Self, StartError> {
        check(&config)?;
        let metrics = Arc::new(Metrics::new());
        let data_dir = config.data_dir.clone();
        let in_data_dir = |cause| StartError::DataDir { path: data_dir.clone(), cause };
        DirBuilder::new().recursive(true).mode(0o700).create(&data_dir).map_err(in_data_dir)?;
        let path = data_dir.join("broker.redb");
        let (disk, state) = Disk::open(&path).map_err(|cause| match cause {
            DiskError::InUse => StartError::InUse { path: data_dir.clone() },
            cause => StartError::Database { path: path.clone(), cause },
        })?;
        let (store, writer) =
            Store::start(disk, state, config.history, Arc::clone(&metrics)).map_err(in_data_dir)?;
        bind_anchor(&store, &config).await?;

        let listeners = listen(&config.listen)?;
        let addresses = local_addresses(&listeners).map_err(in_data_dir)?;
        let url = url(&config.hosts, &addresses);
        let certificate = |cause| StartError::Certificate { path: data_dir.clone(), cause };
        let authority = Authority::load_or_create(&data_dir).map_err(certificate)?;
        let (ca_pem, pins) = (authority.pem.clone(), vec![authority.pin.clone()]);
        let admin_kubeconfig = data_dir.join("admin.kubeconfig");
        let access = Access { url: &url, ca_pem: &ca_pem, namespace: &config.namespace };
        kubeconfig::ensure(&store, &admin_kubeconfig, &access).await.map_err(in_data_dir)?;

        let names = certificate_names(&config, &addresses);
        let certificates = Arc::new(Certificates::new(authority, names).map_err(certificate)?);
        let acceptor = tls(Arc::clone(&certificates)).map_err(|error| certificate(error.into()))?;
        let stopping = CancellationToken::new();
        let app = App {
            store: Arc::new(store),
            gate: Arc::new(gate),
            meter: Arc::new(Meter::new(config.limits.clone())),
            limits: Arc::new(config.limits),
            metrics,
            namespace: config.namespace.into(),
            bookmark_interval: config.bookmark_interval,
            stopping: stopping.clone(),
        };
        let tasks = TaskTracker::new();
        let front = Front::new(app, acceptor, tasks.clone());
        for listener in listeners {
            tasks.spawn(Arc::clone(&front).accept(listener));
        }
        tasks.spawn(renew(certificates, stopping.clone()));
        tasks.close();
        let writer = Some(writer);
        Ok(Self { addresses, url, ca_pem, pins, admin_kubeconfig, stopping, tasks, writer })
    }

    /// Where it listens; ports are the real ones.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The URL in `admin.kubeconfig`.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority, PEM.
    #[must_use]
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// SHA-256 of the authority's SubjectPublicKeyInfo, base64url without padding.
    #[must_use]
    pub fn pins(&self) -> &[String] {
        &self.pins
    }

    /// Path of the administrator's kubeconfig.
    #[must_use]
    pub fn admin_kubeconfig(&self) -> &Path {
        &self.admin_kubeconfig
    }

    /// Stops in order: watches end, answers in progress are finished, the database is closed.
    pub async fn stop(mut self) {
        self.stopping.cancel();
        self.tasks.wait().await;
        if let Some(writer) = self.writer.take() {
            // Fails only when the writer panicked, which its callers have been told.
            let _ = tokio::task::spawn_blocking(move || writer.join()).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

fn check(config: &Config) -> Result<(), StartError> {
    if !is_label(&config.namespace) {
        let namespace = &config.namespace;
        let message = format!(
            "namespace {namespace:?}: not an RFC 1123 label; choose another with --namespace"
        );
        return Err(StartError::Config(message));
    }
    if config.listen.is_empty() {
        return Err(StartError::Config("no address to listen on".to_owned()));
    }
    for host in &config.hosts {
        let sound =
            host.parse::<IpAddr>().is_ok() || super::name::is_subdomain(&host.to_ascii_lowercase());
        if !sound {
            let message =
                format!("host {host:?}: neither an address nor a DNS name; correct --host");
            return Err(StartError::Config(message));
        }
    }
    Ok(())
}

async fn bind_anchor(store: &Store, config: &Config) -> Result<(), StartError> {
    let Some(wanted) = config.anchor.clone() else { return Ok(()) };
    let namespace = config.namespace.clone();
    let held = store.read().anchors.get(&namespace).map(|anchor| anchor.id.clone());
    match held {
        Some(held) if held == wanted => Ok(()),
        Some(held) => Err(StartError::Config(format!(
            "anchor {wanted}: namespace {namespace} is bound to {held} already; leave --anchor out, \
             or choose another --namespace"
        ))),
        None => store
            .transact(move |draft| {
                draft.set_anchor(&namespace, Anchor { id: wanted, held: None });
                Ok(())
            })
            .await
            .map_err(|failure| StartError::DataDir {
                path: config.data_dir.clone(),
                cause: io::Error::other(failure),
            }),
    }
}

fn listen(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, StartError> {
    addresses
        .iter()
        .map(|address| {
            bind(*address).map_err(|cause| StartError::Listen { address: *address, cause })
        })
        .collect()
}

fn local_addresses(listeners: &[TcpListener]) -> io::Result<Vec<SocketAddr>> {
    listeners.iter().map(TcpListener::local_addr).collect()
}

/// The first host, else the first address if it names one, else localhost.
fn url(hosts: &[String], addresses: &[SocketAddr]) -> String {
    let port = addresses.first().map_or(0, SocketAddr::port);
    let bound = addresses.first().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    let host = hosts
        .first()
        .cloned()
        .or_else(|| bound.map(|ip| ip.to_string()))
        .unwrap_or_else(|| "localhost".to_owned());
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(ip)) => format!("https://[{ip}]:{port}"),
        _ => format!("https://{host}:{port}"),
    }
}

fn certificate_names(config: &Config, addresses: &[SocketAddr]) -> Vec<String> {
    let mut names = config.hosts.clone();
    names.extend(["localhost", "127.0.0.1", "::1"].map(str::to_owned));
    let own = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let own = own.trim().to_ascii_lowercase();
    if super::name::is_subdomain(&own) {
        names.push(own);
    }
    let bound = addresses.iter().map(SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    names.extend(bound.map(|ip| ip.to_string()));
    names.sort();
    names.dedup();
    names
}

async fn renew(certificates: Arc<Certificates>, stopping: CancellationToken) {
    const CHECK: Duration = Duration::from_secs(3_600);
    while stopping.run_until_cancelled(tokio::time::sleep(CHECK)).await.is_some() {
        if let Err(error) = certificates.renew_if_due() {
            tracing::error!(%error, "server certificate not renewed");
        }
    }
}
