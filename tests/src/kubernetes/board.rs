//! Owns a broker of either make on this machine's loopback, as an administrator has it: a real API
//! server with our definitions, or `sealane-broker`. Owns no claims about them.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sealane_broker::access::{Broker, BrokerAddress, Credential};
use sealane_broker::pin::{SpkiPin, spki_of};
use tempfile::TempDir;

use crate::assets::program::{ETCD, KUBE_APISERVER, KUBECTL};
use crate::kubernetes::api_server::Seat;
use crate::kubernetes::error::BoardError;
use crate::kubernetes::program::{Program, free_port};
use crate::lab::wait::eventually;
use crate::lab::world::built;

/// How long a broker may take to answer on a busy machine.
const START: Duration = Duration::from_secs(120);
/// Changes that `sealane-broker` keeps here.
pub const HISTORY: usize = 16;
/// The namespace of our manifests.
pub const NAMESPACE: &str = "sealane-system";

/// Whose broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Make {
    /// kube-apiserver and etcd.
    ApiServer,
    /// `sealane-broker`.
    Embedded,
}

/// A broker that runs.
#[derive(Debug)]
pub struct Board {
    /// Whose.
    pub make: Make,
    /// Where clients reach it.
    pub url: String,
    /// The administrator's access.
    pub kubeconfig: PathBuf,
    /// The key of its certificate or its authority.
    pub pin: SpkiPin,
    kubectl: PathBuf,
    /// The broker itself first: it ends before its etcd.
    programs: Vec<Program>,
    seat: Option<Seat>,
    folder: TempDir,
}

impl Board {
    /// Starts one, with our manifests applied where it needs them; `None`, said aloud, where a program
    /// cannot be had and `SEALANE_OFFLINE=1`.
    ///
    /// # Errors
    /// A program cannot be had, or does not come up; its log is in the error.
    pub fn start(make: Make) -> Result<Option<Self>, BoardError> {
        let Some(kubectl) = KUBECTL.obtain()? else { return Ok(None) };
        match make {
            Make::ApiServer => {
                let (Some(server), Some(etcd)) = (KUBE_APISERVER.obtain()?, ETCD.obtain()?) else {
                    return Ok(None);
                };
                Self::api_server([&server, &etcd], kubectl, &[]).map(Some)
            }
            Make::Embedded => Self::embedded(kubectl).map(Some),
        }
    }

    /// An API server that remembers no more than its etcd, else as [`Board::start`].
    ///
    /// # Errors
    /// As [`Board::start`].
    pub fn without_cache() -> Result<Option<Self>, BoardError> {
        let programs = (KUBE_APISERVER.obtain()?, ETCD.obtain()?, KUBECTL.obtain()?);
        let (Some(server), Some(etcd), Some(kubectl)) = programs else { return Ok(None) };
        Self::api_server([&server, &etcd], kubectl, &["--watch-cache=false"]).map(Some)
    }

    fn api_server(
        [server, etcd]: [&Path; 2],
        kubectl: PathBuf,
        flags: &[&str],
    ) -> Result<Self, BoardError> {
        let folder = folder()?;
        let port = || free_port().map_err(BoardError::at("a free port"));
        let seat = Seat {
            folder: folder.path().display().to_string(),
            address: Ipv4Addr::LOCALHOST.into(),
            port: port()?,
            etcd: [port()?, port()?],
        };
        for (name, contents) in seat.files()? {
            write(&folder.path().join(name), &contents)?;
        }
        let log = |name: &str| folder.path().join(name);
        let etcd = start(etcd, seat.etcd_arguments(), log("etcd.log"))?;
        let mut arguments = seat.arguments();
        arguments.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let server = start(server, arguments, log("api-server.log"))?;
        let kubeconfig = folder.path().join("admin.kubeconfig");
        let mut board = Self {
            make: Make::ApiServer,
            url: seat.url(),
            kubeconfig,
            pin: SpkiPin([0; 32]),
            kubectl,
            programs: vec![server, etcd],
            seat: Some(seat),
            folder,
        };
        board.trust()?;
        board.answers()?;
        let charts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts");
        for part in ["crds", "broker"] {
            let path = charts.join(part);
            board.kubectl(&format!("apply --server-side -f {}", path.display()))?;
        }
        board.kubectl("wait --for=condition=Established crd --all --timeout=60s")?;
        board.is_in_force()?;
        Ok(board)
    }

    fn embedded(kubectl: PathBuf) -> Result<Self, BoardError> {
        let folder = folder()?;
        let data = folder.path().join("data");
        let flags = [
            "--listen=127.0.0.1:0",
            "--host=127.0.0.1",
            "--request-rate=100000",
            "--request-burst=100000",
        ];
        let mut arguments: Vec<String> = flags.map(str::to_owned).into();
        arguments
            .extend([format!("--data-dir={}", data.display()), format!("--history={HISTORY}")]);
        let log = folder.path().join("broker.log");
        let mut broker = start(&built("sealane-broker")?, arguments, log)?;
        let what = "sealane-broker listens";
        eventually(START, what, || match broker.said() {
            said if said.contains("try ") => Ok(Ok(())),
            said if broker.has_ended() => Ok(Err(BoardError::Ended { said })),
            said => Err(said),
        })??;
        let said = broker.said();
        let told = |key: &str| said.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let unreadable = || BoardError::unreadable("its url and pin", &said);
        let (url, pin) = told("url ").zip(told("pin ")).ok_or_else(unreadable)?;
        let pin = URL_SAFE_NO_PAD.decode(pin.trim_start_matches("sha256:")).ok();
        let pin = pin.and_then(|pin| pin.as_slice().try_into().ok()).ok_or_else(unreadable)?;
        Ok(Self {
            make: Make::Embedded,
            url: url.to_owned(),
            kubeconfig: data.join("admin.kubeconfig"),
            pin: SpkiPin(pin),
            kubectl,
            programs: vec![broker],
            seat: None,
            folder,
        })
    }

    /// Waits for the server's certificate, and writes the kubeconfig that trusts it.
    fn trust(&mut self) -> Result<(), BoardError> {
        let Some(seat) = self.seat.clone() else { return Ok(()) };
        let certificate = eventually(START, "the API server has a certificate", || {
            let text = fs::read_to_string(seat.certificate()).map_err(|fault| fault.to_string());
            match text {
                Ok(text) if text.trim_end().ends_with("-----END CERTIFICATE-----") => Ok(text),
                other => Err(format!("{other:?}; its log: {}", self.programs[0].said())),
            }
        })?;
        let first =
            certificate.split_inclusive("-----END CERTIFICATE-----").next().unwrap_or_default();
        let der: String = first.lines().filter(|line| !line.starts_with("-----")).collect();
        let key = STANDARD.decode(der).ok().and_then(|der| spki_of(&der.into()));
        let unreadable = || BoardError::unreadable("the key of its certificate", &certificate);
        self.pin = key.ok_or_else(unreadable)?;
        write(&self.kubeconfig, &seat.kubeconfig(&STANDARD.encode(&certificate), NAMESPACE))
    }

    fn answers(&mut self) -> Result<(), BoardError> {
        eventually(START, "the broker answers", || match self.kubectl("get --raw /readyz") {
            Ok(_) => Ok(Ok(())),
            Err(_) if self.programs.iter_mut().any(Program::has_ended) => {
                let said: String = self.programs.iter().map(Program::said).collect();
                Ok(Err(BoardError::Ended { said }))
            }
            Err(fault) => Err(fault),
        })?
    }

    /// Definitions and policies come into force a moment after they were written.
    fn is_in_force(&self) -> Result<(), BoardError> {
        eventually(START, "our kinds are served", || self.kubectl("get sealane"))?;
        eventually(START, "our kinds are explained", || self.kubectl("explain advertisement"))?;
        let visitor = format!(
            "--as=system:serviceaccount:{NAMESPACE}:visitor --as-group=system:serviceaccounts:{NAMESPACE} \
             create --dry-run=server -f -"
        );
        let signed = serde_json::json!({"payload": "x", "signature": "A".repeat(88)});
        let object = serde_json::json!({
            "apiVersion": "sealane.dev/v1alpha1", "kind": "Advertisement", "metadata": {"name": "x.y"},
            "spec": {"member": "x", "gateway": "y", "cert": signed, "signed": signed},
        })
        .to_string();
        eventually(START, "our policy is in force", || {
            match self.kubectl_with(&visitor, &object) {
                Err(fault) if fault.to_string().contains("account visitor is no member") => Ok(()),
                other => Err(format!("{other:?}")),
            }
        })?;
        Ok(())
    }

    /// A namespace of a test's own, in which members may do what our manifests say.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn namespace(&self, name: &str) -> Result<(), BoardError> {
        if self.make == Make::ApiServer {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/broker/members.yaml");
            let manifests = fs::read_to_string(&path).map_err(BoardError::at("members.yaml"))?;
            let file = self.folder.path().join(format!("{name}.yaml"));
            write(&file, &manifests.replace(NAMESPACE, name))?;
            self.kubectl(&format!("apply -f {}", file.display()))?;
        }
        Ok(())
    }

    /// Has etcd forget all but what it holds now, as it does every five minutes. `sealane-broker` forgets
    /// by itself, after [`HISTORY`] changes.
    ///
    /// # Errors
    /// It does not.
    pub fn forget(&self) -> Result<(), BoardError> {
        let Some(seat) = &self.seat else { return Ok(()) };
        let ask = |path: &str, body: &str| -> Result<serde_json::Value, BoardError> {
            let url = format!("{}/v3/kv/{path}", seat.etcd_url());
            let mut curl = Command::new("curl");
            let curl = curl.args(["-sS", "--fail", "-d", body, &url]);
            let said = text(curl.output().map_err(BoardError::at("curl"))?)?;
            serde_json::from_str(&said)
                .map_err(|cause| BoardError::unreadable("an answer of etcd", cause))
        };
        let held = ask("range", r#"{"key": "eA=="}"#)?;
        let revision = held["header"]["revision"].as_str();
        let revision = revision.ok_or_else(|| BoardError::unreadable("etcd's revision", &held))?;
        ask("compaction", &format!(r#"{{"revision": "{revision}", "physical": true}}"#)).map(drop)
    }

    /// `kubectl` as the administrator; its standard output.
    ///
    /// # Errors
    /// It ends with another code than 0; its words are the error.
    pub fn kubectl(&self, arguments: &str) -> Result<String, BoardError> {
        let output = self.kubectl_command(arguments).stdin(Stdio::null()).output();
        text(output.map_err(BoardError::at("kubectl"))?)
    }

    /// The same with something on its standard input.
    ///
    /// # Errors
    /// As [`Board::kubectl`].
    pub fn kubectl_with(&self, arguments: &str, input: &str) -> Result<String, BoardError> {
        let file = tempfile::NamedTempFile::new().map_err(BoardError::at("a file"))?;
        write(file.path(), input)?;
        let input = fs::File::open(file.path()).map_err(BoardError::at("a file"))?;
        let output = self.kubectl_command(arguments).stdin(input).output();
        text(output.map_err(BoardError::at("kubectl"))?)
    }

    /// `kubectl`, not yet started.
    pub fn kubectl_command(&self, arguments: &str) -> Command {
        let mut command = Command::new(&self.kubectl);
        command
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", &self.kubeconfig)
            .env("HOME", self.folder.path());
        command
    }

    /// The administrator, as our client has him.
    ///
    /// # Errors
    /// The kubeconfig does not work.
    pub async fn admin(&self, namespace: &str) -> Result<Broker, BoardError> {
        let mut broker = sealane_broker::access::from_kubeconfig(&self.kubeconfig, None).await?;
        namespace.clone_into(&mut broker.namespace);
        Ok(broker)
    }

    /// A client with a bearer token, at the broker's own address or at a detour's.
    ///
    /// # Errors
    /// The address is none.
    pub fn client(&self, url: &str, namespace: &str, token: &str) -> Result<Broker, BoardError> {
        let address = BrokerAddress::parse(url, namespace, vec![self.pin])?;
        Ok(address.client(&Credential::new(token.to_owned()))?)
    }

    /// A member with an account of its own, as `sealane token create` makes it.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn member(&self, namespace: &str, member: &str) -> Result<String, BoardError> {
        let admin = self.admin(namespace).await?;
        let issued = sealane_broker::account::issue(&admin, member, 86_400).await?;
        match issued.expires {
            Some(_) => Ok(issued.token.to_string()),
            None => Err(BoardError::unreadable("how long the token is good for", "nothing")),
        }
    }
}

fn folder() -> Result<TempDir, BoardError> {
    tempfile::tempdir().map_err(BoardError::at("a folder"))
}

fn write(path: &Path, text: &str) -> Result<(), BoardError> {
    fs::write(path, text).map_err(BoardError::at(path.display().to_string()))
}

fn start(program: &Path, arguments: Vec<String>, log: PathBuf) -> Result<Program, BoardError> {
    let what = program.display().to_string();
    Program::start(program, arguments, log).map_err(BoardError::at(what))
}

fn text(output: Output) -> Result<String, BoardError> {
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !output.status.success() {
        return Err(BoardError::Refused { said: said(&output.stdout) + &said(&output.stderr) });
    }
    String::from_utf8(output.stdout).map_err(|cause| BoardError::unreadable("its words", cause))
}
