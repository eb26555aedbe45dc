//! Owns throughput through a pair of userspace tunnels, as a ratio to the bare link between the same
//! two hosts in the same run.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use crate::lab::address::Family;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::segment::Segment;
use crate::lab::wait::eventually;
use crate::lab::world::Lab;
use crate::traffic::drive;

/// Port of the TCP sink.
const SINK: u16 = 5001;
/// UDP port of both tunnels.
const TUNNEL: u16 = 51820;

/// Measures link and tunnel in turn, `rounds` times, each for `span`.
///
/// # Errors
/// Those of the lab, and a tunnel that does not come up.
pub fn measure(rounds: usize, span: Duration) -> Result<(), Box<dyn Error>> {
    let lab = Lab::new("bench")?;
    let subnets = Family::Dual.select("192.0.2.0/24".parse()?, "2001:db8::/64".parse()?);
    let link = Segment::new(&lab, "link", subnets)?;
    let (left, right) = (lab.host("left")?, lab.host("right")?);
    link.attach(&left, 1)?;
    link.attach(&right, 2)?;
    let _tunnels = [tunnel(&left, 1)?, tunnel(&right, 2)?];
    introduce(&left, &right, 2)?;
    introduce(&right, &left, 1)?;
    let _sink = drive::tcp_sink(&right, SINK)?;
    eventually(Duration::from_secs(10), "the tunnel answers", || {
        left.run("ping -n -c 1 -W 1 10.0.0.2")
    })?;

    println!("{:>5}  {:>12}  {:>14}  {:>6}", "round", "link Gbit/s", "tunnel Gbit/s", "ratio");
    let mut ratios = Vec::new();
    for round in 1..=rounds {
        let bare = gbit(&left, "192.0.2.2", span)?;
        let inside = gbit(&left, "10.0.0.2", span)?;
        ratios.push(inside / bare);
        println!("{round:>5}  {bare:>12.2}  {inside:>14.2}  {:>6.3}", inside / bare);
    }
    ratios.sort_by(f64::total_cmp);
    let (first, last) = (ratios.first().copied(), ratios.last().copied());
    if let (Some(least), Some(median), Some(most)) = (first, ratios.get(ratios.len() / 2), last) {
        println!("tunnel / link: median {median:.3}, {least:.3} to {most:.3}");
    }
    Ok(())
}

fn tunnel(host: &Host, number: u8) -> Result<Process, Box<dyn Error>> {
    let process = host.command("sealane-tunnel").args(["--foreground", "wg0"]).spawn()?;
    eventually(Duration::from_secs(5), "the tunnel is there", || host.run("wg show wg0"))?;
    host.shell(&format!(
        "umask 077; wg genkey > /run/key; wg set wg0 private-key /run/key listen-port {TUNNEL}; \
         ip addr add 10.0.0.{number}/24 dev wg0; ip link set wg0 up"
    ))?;
    Ok(process)
}

fn introduce(host: &Host, other: &Host, number: u8) -> Result<(), Box<dyn Error>> {
    let key = other.run("wg show wg0 public-key")?;
    host.run(&format!(
        "wg set wg0 peer {} endpoint 192.0.2.{number}:{TUNNEL} allowed-ips 10.0.0.{number}/32",
        key.trim()
    ))?;
    Ok(())
}

fn gbit(host: &Host, address: &str, span: Duration) -> Result<f64, Box<dyn Error>> {
    let sink = SocketAddr::new(address.parse()?, SINK);
    Ok(drive::throughput(host, sink, span)?.gbit_per_s)
}
