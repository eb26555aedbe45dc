//! Owns what programs hold of memory: an agent that knows ten members, a tunnel with growing numbers
//! of peers. Resident memory, as the kernel tells it in `/proc/PID/status`.

use std::error::Error;
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::lab::address::Family;
use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::wait::eventually;
use crate::lab::world::Lab;
use crate::product::ground::Ground;
use crate::product::site::ClusterSite;
use crate::product::{admin, agent, command};

/// Members that the measured agent knows.
const MEMBERS: u8 = 10;
/// Peers of the measured tunnel.
const PEERS: [u16; 4] = [0, 1, 100, 1000];

/// Measures agent and tunnel.
///
/// # Errors
/// Those of the lab, and members that do not come to reach each other.
pub fn measure() -> Result<(), Box<dyn Error>> {
    println!("{:<16}  {:>8}  {:>12}", "program", "peers", "resident KiB");
    agents()?;
    tunnels()?;
    println!();
    Ok(())
}

/// Eleven members in a full mesh; the first one's programs are measured.
fn agents() -> Result<(), Box<dyn Error>> {
    let ground = Ground::new("memory", Family::Dual)?;
    let _broker = admin::found(&ground)?;
    let names: Vec<String> = (0..=MEMBERS).map(|number| format!("member{number}")).collect();
    let (mut sites, mut processes) = (Vec::new(), Vec::new());
    for (name, number) in names.iter().zip(1..) {
        let site = ClusterSite::new(&ground, name, number)?;
        let host = &site.gateway.host;
        processes.push(agent::start(host, &site.gateway_settings())?);
        admin::admit(&ground, name, &site.networks(), &[host])?;
        host.run(command::JOIN)?;
        sites.push(site);
    }
    let (Some(site), Some(process)) = (sites.first(), processes.first()) else {
        return Err("no member".into());
    };
    let host = &site.gateway.host;
    let others: Vec<&str> = names.iter().skip(1).map(String::as_str).collect();
    agent::comes_to_reach(host, &others)?;
    println!("{:<16}  {MEMBERS:>8}  {:>12}", "sealane-agent", resident(host, process.pid())?);
    for pid in host.find("sealane-tunnel")? {
        println!("{:<16}  {MEMBERS:>8}  {:>12}", "sealane-tunnel", resident(host, pid)?);
    }
    Ok(())
}

/// A tunnel of its own for each number of peers, none of which answers.
fn tunnels() -> Result<(), Box<dyn Error>> {
    let lab = Lab::new("peers")?;
    for peers in PEERS {
        let host = lab.host(&format!("host{peers}"))?;
        let tunnel = tunnel(&host, peers)?;
        println!("{:<16}  {peers:>8}  {:>12}", "sealane-tunnel", resident(&host, tunnel.pid())?);
    }
    Ok(())
}

fn tunnel(host: &Host, peers: u16) -> Result<Process, Box<dyn Error>> {
    let process = host.command("sealane-tunnel").args(["--foreground", "wg0"]).spawn()?;
    eventually(Duration::from_secs(5), "the tunnel is there", || host.run("wg show wg0"))?;
    let mut text = String::from("[Interface]\nListenPort = 51820\n");
    for peer in 0..peers {
        let [high, low] = peer.to_be_bytes();
        let mut key = [7; 32];
        (key[0], key[1]) = (high, low);
        writeln!(text, "[Peer]\nPublicKey = {}", STANDARD.encode(key))?;
        writeln!(text, "AllowedIPs = 10.1.{high}.{low}/32")?;
    }
    host.write_file("/run/peers", &text)?;
    host.shell(
        "umask 077; wg genkey > /run/key; wg setconf wg0 /run/peers; \
         wg set wg0 private-key /run/key; ip link set wg0 up",
    )?;
    Ok(process)
}

/// Unit: KiB.
fn resident(host: &Host, pid: i32) -> Result<u64, LabError> {
    let status = host.read_file(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok())
        .ok_or_else(|| LabError::Topology(format!("{}: process {pid} is gone", host.name())))
}
