//! Owns the second part of the demo: who reaches whom, seen as whom, how fast, and what `status` and
//! `trace` say of it.

use std::net::SocketAddr;
use std::time::Duration;

use crate::demo::cast::{Cast, SINK_PORT};
use crate::demo::summary::Summary;
use crate::demo::teller::Teller;
use crate::lab::error::LabError;
use crate::product::reach::{self, Place};
use crate::traffic::drive;

/// What any machine gives; less is a path that hardly works.
const LEAST_GBIT_PER_S: f64 = 0.05;

/// How long throughput is measured.
const MEASURED: Duration = Duration::from_secs(2);

/// Shows the state as an operator sees it.
///
/// # Errors
/// A command that cannot be asked.
pub fn look(cast: &Cast, teller: &mut Teller, summary: &mut Summary) -> Result<(), LabError> {
    teller.chapter("What an operator sees");
    let status = teller.look(&cast.berlin.gateway.host, "sealane status")?;
    summary.outcome("sealane status is all green", exit_zero(&status));
    teller.look(&cast.berlin.worker.host, "sealane status")?;
    teller.look(&cast.edge.host, "sealane peers")?;
    teller.run(&cast.berlin.gateway.host, "wg show sealane0")?;
    let ping = teller.look(&cast.edge.host, "sealane ping tokyo -c 3")?;
    summary.outcome("sealane ping edge -> tokyo", exit_zero(&ping));
    for (from, to) in cast.berlin.far.link.addresses().iter().zip(cast.tokyo.far.link.addresses()) {
        let trace = format!("sealane trace {from} {to}");
        let told = teller.look(&cast.berlin.gateway.host, &trace)?;
        let family = if to.is_ipv4() { "IPv4" } else { "IPv6" };
        let arrives = exit_zero(&told).and_then(|exit| {
            let both_ways = "the answer comes back the same way";
            if told.stdout.contains(both_ways) { Ok(exit) } else { Err(told.stdout.clone()) }
        });
        summary.outcome(&format!("sealane trace pod -> remote pod, {family}"), arrives);
    }
    Ok(())
}

/// Sends requests in every direction; every server must have seen the client's own address.
pub fn reach(cast: &Cast, teller: &mut Teller, summary: &mut Summary) {
    teller.chapter("HTTP in every direction, and whom the server saw");
    let berlin = reach::pods(&cast.berlin);
    let tokyo = reach::pods(&cast.tokyo);
    let edge = [Place::edge(&cast.edge), Place::pod(&cast.edge.app)];
    let web = cast.tokyo.web.sockets();
    let ways: [(&str, &[Place], Vec<SocketAddr>); 5] = [
        ("pod -> remote pod", &berlin, sockets(&tokyo)),
        ("pod -> remote Service", &berlin, web.clone()),
        ("pod -> edge", &tokyo, sockets(&edge)),
        ("edge -> pod", &edge, sockets(&tokyo)),
        ("edge -> Service", &edge, web),
    ];
    for (name, clients, servers) in ways {
        let outcome = all(clients, &servers, teller);
        summary.outcome(&format!("{name}, IPv4 and IPv6, source kept"), outcome);
    }
}

fn all(clients: &[Place], servers: &[SocketAddr], teller: &Teller) -> Result<String, String> {
    let mut asked = 0;
    for client in clients {
        for server in servers {
            let seen = reach::ask(client, *server)?;
            asked += 1;
            teller.note(&format!("{} -> http://{server}/ seen as {seen}", client.host.name()));
        }
    }
    Ok(format!("{asked} requests"))
}

/// Measures TCP between pods on workers.
///
/// # Errors
/// A transfer that breaks.
pub fn throughput(cast: &Cast, teller: &mut Teller, summary: &mut Summary) -> Result<(), LabError> {
    teller.chapter("Throughput, worker pod to worker pod, over both gateways");
    for address in cast.tokyo.far.link.addresses() {
        let sink = SocketAddr::new(address, SINK_PORT);
        let report = drive::throughput(&cast.berlin.far.host, sink, MEASURED)?;
        let (family, rate) = (if address.is_ipv4() { "IPv4" } else { "IPv6" }, report.gbit_per_s);
        let measured = format!("{rate:.2} Gbit/s");
        teller.note(&format!("{family}: {measured}"));
        summary.claim(
            &format!("TCP pod -> remote pod, {family}"),
            &measured,
            rate > LEAST_GBIT_PER_S,
        );
    }
    Ok(())
}

fn sockets(places: &[Place]) -> Vec<SocketAddr> {
    places.iter().flat_map(Place::sockets).collect()
}

fn exit_zero(outcome: &crate::lab::process::Outcome) -> Result<String, String> {
    match outcome.clone().success() {
        Ok(_) => Ok("exit code 0".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
