//! Owns one end of a lane under test: a WireGuard device of some make, on a host of the lab or in a
//! guest, set and read by `wg` and `ip` as an operator would. Knows nothing of the other end.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ipnetwork::IpNetwork;

use crate::interop::machine::Machine;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::wait::eventually;

/// The device's link.
pub const LINK: &str = "wg0";
/// The device's UDP port.
pub const PORT: u16 = 51_820;

/// How long a device may take to come.
const START: Duration = Duration::from_secs(20);

/// Where an end is.
#[derive(Debug)]
pub enum Ground {
    /// A host of the lab.
    Host(Host),
    /// A guest beside it.
    Guest(Machine),
}

/// Whose WireGuard it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Make {
    /// `sealane-tunnel`.
    Ours,
    /// `wireguard-go`, and where it is.
    WireguardGo(PathBuf),
    /// The guest's kernel.
    Kernel,
}

/// One end.
#[derive(Debug)]
pub struct End {
    /// Where.
    pub ground: Ground,
    make: Make,
    /// Addresses outside the tunnel: IPv4, IPv6.
    pub outer: [IpAddr; 2],
    /// Addresses inside.
    pub inner: [IpAddr; 2],
    /// In base64.
    pub public_key: String,
    private_key: String,
    daemon: Mutex<Option<Process>>,
}

/// What an end knows of the other.
#[derive(Debug, Clone, Copy, Default)]
pub struct Terms<'a> {
    /// Where the other is; an end that is not told waits to be called.
    pub endpoint: Option<IpAddr>,
    /// In base64.
    pub psk: Option<&'a str>,
}

impl End {
    /// An end with a fresh key and no device; `keys` is any host with `wg`.
    ///
    /// # Errors
    /// `wg` fails.
    pub fn new(
        (ground, make): (Ground, Make),
        outer: &[IpAddr],
        number: u8,
        keys: &Host,
    ) -> Result<Self, LabError> {
        let private_key = keys.run("wg genkey")?.trim().to_owned();
        let public = keys.command("wg").arg("pubkey").stdin(&private_key).output()?.success()?;
        let v6 = format!("fd09:{number}::1").parse();
        let v6: IpAddr = v6.map_err(|_| LabError::Topology(format!("number {number}")))?;
        let pair = |at: usize| {
            outer.get(at).copied().ok_or_else(|| LabError::Topology("one family only".to_owned()))
        };
        Ok(Self {
            ground,
            make,
            outer: [pair(0)?, pair(1)?],
            inner: [Ipv4Addr::new(10, 9, number, 1).into(), v6],
            public_key: public.trim().to_owned(),
            private_key,
            daemon: Mutex::new(None),
        })
    }

    /// Whose WireGuard it is.
    pub fn make(&self) -> &Make {
        &self.make
    }

    /// Runs a shell script where the end is.
    ///
    /// # Errors
    /// It fails.
    pub fn shell(&self, script: &str) -> Result<String, LabError> {
        match &self.ground {
            Ground::Host(host) => host.shell(script),
            Ground::Guest(machine) => machine.shell(script),
        }
    }

    /// Has a new device stand where the last one stood, with key, port, addresses and the way to the
    /// other end's addresses inside; no peers.
    ///
    /// # Errors
    /// The device does not come.
    pub fn renew(&self, other: &Self) -> Result<(), LabError> {
        self.remove()?;
        self.start()?;
        let (mine, theirs) = (&self.inner, &other.inner);
        self.shell(&format!(
            "umask 077; echo {} >/run/key\n\
             wg set {LINK} private-key /run/key listen-port {PORT}\n\
             ip addr add {}/32 dev {LINK}; ip addr add {}/128 dev {LINK} nodad\n\
             ip link set {LINK} mtu 1420 up\n\
             ip route add {}/32 dev {LINK}; ip -6 route add {}/128 dev {LINK}\n",
            self.private_key, mine[0], mine[1], theirs[0], theirs[1],
        ))
        .map(drop)
    }

    /// Ends the device.
    ///
    /// # Errors
    /// It stays.
    pub fn remove(&self) -> Result<(), LabError> {
        self.shell(&format!("ip link del {LINK} 2>/dev/null || true"))?;
        let last = self.daemon.lock().unwrap_or_else(PoisonError::into_inner).take();
        last.map_or(Ok(()), |daemon| daemon.wait(START).map(drop))
    }

    fn start(&self) -> Result<(), LabError> {
        let host = match (&self.ground, &self.make) {
            (_, Make::Kernel) | (Ground::Guest(_), _) => {
                return self.shell(&format!("ip link add {LINK} type wireguard")).map(drop);
            }
            (Ground::Host(host), _) => host,
        };
        let command = match &self.make {
            Make::WireguardGo(path) => host.command(&path.display().to_string()).args(["-f", LINK]),
            _ => {
                host.command("sealane-tunnel").args(["--foreground", "--log-level", "debug", LINK])
            }
        };
        let daemon = command.spawn()?;
        eventually(START, "the device answers", || {
            host.run(&format!("wg show {LINK}")).map(drop).map_err(|fault| fault.to_string())
        })?;
        *self.daemon.lock().unwrap_or_else(PoisonError::into_inner) = Some(daemon);
        Ok(())
    }

    /// Makes the other end the only peer, anew: no session is left.
    ///
    /// # Errors
    /// `wg` fails.
    pub fn meet(&self, other: &Self, terms: Terms<'_>) -> Result<(), LabError> {
        let key = &other.public_key;
        let endpoint = terms.endpoint.map(|ip| format!("endpoint {}", SocketAddr::new(ip, PORT)));
        let psk = terms.psk.map_or_else(String::new, |_| "preshared-key /run/psk".to_owned());
        self.shell(&format!(
            "umask 077; echo '{}' >/run/psk\n\
             wg set {LINK} peer {key} remove\n\
             wg set {LINK} peer {key} {psk} allowed-ips {}/32,{}/128 {}\n",
            terms.psk.unwrap_or_default(),
            other.inner[0],
            other.inner[1],
            endpoint.unwrap_or_default(),
        ))
        .map(drop)
    }

    /// Pings until an answer comes.
    ///
    /// # Errors
    /// None within the deadline.
    pub fn reaches(&self, to: IpAddr, deadline: Duration) -> Result<(), LabError> {
        self.reaches_with(to, 56, deadline)
    }

    /// The same with this many bytes in the ping, and never in fragments.
    ///
    /// # Errors
    /// No answer within the deadline.
    pub fn reaches_with(&self, to: IpAddr, size: u16, deadline: Duration) -> Result<(), LabError> {
        eventually(deadline, format!("{to} answers {size} bytes"), || {
            self.shell(&format!("ping -n -c 1 -W 1 -M do -s {size} {to}")).map(drop)
        })
    }

    /// What `wg show LINK WHAT` says of the only peer.
    ///
    /// # Errors
    /// `wg` fails.
    pub fn shown(&self, what: &str) -> Result<String, LabError> {
        let text = self.shell(&format!("wg show {LINK} {what}"))?;
        Ok(text.split_once('\t').map_or("", |(_, value)| value.trim()).to_owned())
    }

    /// Adds an address outside.
    ///
    /// # Errors
    /// `ip` fails.
    pub fn add_outer(&self, net: IpNetwork) -> Result<(), LabError> {
        let nodad = crate::lab::segment::nodad(&net);
        self.shell(&format!("ip addr add {net} dev eth0 {nodad}")).map(drop)
    }
}
