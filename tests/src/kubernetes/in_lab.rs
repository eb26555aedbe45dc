//! Owns a real API server as the broker of a lab: on the broker's host, with our manifests, reached as
//! `charts/README.md` says.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::assets::program::{AssetError, ETCD, KUBE_APISERVER, KUBECTL};
use crate::kubernetes::api_server::Seat;
use crate::kubernetes::board::NAMESPACE;
use crate::lab::error::LabError;
use crate::lab::process::Process;
use crate::lab::wait::eventually;
use crate::product::broker::Broker;
use crate::product::command;
use crate::product::ground::Ground;

/// How long it may take to come up on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Its folder on its host.
const FOLDER: &str = "/var/lib/api-server";

/// An API server and its etcd, on the broker's host.
#[derive(Debug)]
pub struct ApiServer {
    /// As members and the administrator know it; the process is kube-apiserver.
    pub broker: Broker,
    /// Its etcd.
    pub etcd: Process,
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum ApiServerError {
    /// A program cannot be had.
    #[error(transparent)]
    Asset(#[from] AssetError),
    /// The lab refuses.
    #[error(transparent)]
    Lab(#[from] LabError),
    /// It has no keys.
    #[error("keys of the API server: {0}")]
    Keys(#[from] rcgen::Error),
    /// `charts/README.md` cannot be read, or does not say what is looked for.
    #[error("charts/README.md: {0}")]
    Readme(String),
}

impl ApiServer {
    /// Starts it, applies our manifests, gives the administrator access; `None`, said aloud, where a
    /// program cannot be had and `SEALANE_OFFLINE=1`.
    ///
    /// # Errors
    /// It does not come up; its log is in the error.
    pub fn start(ground: &Ground) -> Result<Option<Self>, ApiServerError> {
        let programs = (KUBE_APISERVER.obtain()?, ETCD.obtain()?, KUBECTL.obtain()?);
        let (Some(server), Some(etcd), Some(kubectl)) = programs else { return Ok(None) };
        let host = &ground.broker;
        let [address, ..] = ground.broker_addresses[..] else {
            return Err(LabError::Topology("the broker has no address".to_owned()).into());
        };
        let seat = Seat { folder: FOLDER.to_owned(), address, port: 6443, etcd: [2379, 2380] };
        for (name, contents) in seat.files()? {
            host.write_file(format!("{FOLDER}/{name}"), &contents)?;
        }
        let etcd = host.command(&etcd.display().to_string()).args(seat.etcd_arguments()).spawn()?;
        let server = host.command(&server.display().to_string()).args(seat.arguments()).spawn()?;
        let authority = eventually(START, "the API server has a certificate", || {
            host.read_file(seat.certificate())
                .map_err(|fault| format!("{fault}; its log: {}", server.log().unwrap_or_default()))
        })?;
        let kubeconfig = seat.kubeconfig(&STANDARD.encode(authority), NAMESPACE);
        ground.admin.write_file(command::KUBECONFIG, &kubeconfig)?;
        let kubectl = |arguments: &str| {
            ground.admin.run(&format!(
                "{} --kubeconfig {} {arguments}",
                kubectl.display(),
                command::KUBECONFIG
            ))
        };
        eventually(START, "the API server is ready", || kubectl("get --raw /readyz"))?;
        let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
        let charts = charts.display();
        kubectl(&format!("apply --server-side -f {charts}/crds/ -f {charts}/broker/"))?;
        eventually(START, "our kinds are served", || kubectl("get sealane"))?;
        let authority = seat.url().replace("https://", "");
        let pin = pin_command()?.replace("API-SERVER:6443", &authority);
        let spki = ground.admin.shell(&pin)?.trim().to_owned();
        Ok(Some(Self { broker: Broker { process: server, url: seat.url(), spki }, etcd }))
    }
}

/// The command by which `charts/README.md` has people find the pin.
fn pin_command() -> Result<String, ApiServerError> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/README.md");
    let bad = |cause: &str| ApiServerError::Readme(cause.to_owned());
    let text = fs::read_to_string(path).map_err(|fault| bad(&fault.to_string()))?;
    let line = text.lines().find(|line| line.starts_with("openssl s_client "));
    line.map(str::to_owned).ok_or_else(|| bad("it has no line `openssl s_client …`"))
}
