//! Owns the third part of the demo: what is lost when programs die.

use std::net::SocketAddr;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::demo::cast::{Cast, ECHO_PORT, Programs};
use crate::demo::prologue::others;
use crate::demo::summary::Summary;
use crate::demo::teller::Teller;
use crate::lab::error::LabError;
use crate::lab::wait::until;
use crate::product::agent;
use crate::traffic::drive::Flow;
use crate::traffic::flow::Pace;
use crate::traffic::report::FlowReport;

/// Packets a second.
pub const RATE: u32 = 10_000;

/// How long each flow runs: from before the fault until well after its repair.
const SPAN: Duration = Duration::from_secs(5);

/// The gap that a killed tunnel may cause, in milliseconds.
const TUNNEL_GAP_MS: f64 = 2_000.0;

/// Kills an agent under traffic and starts it again.
///
/// # Errors
/// The flow dies, or the agent does not come back.
pub fn agent_dies(
    cast: &Cast,
    programs: &mut Programs,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<(), LabError> {
    teller.chapter("An agent is killed under 10,000 packets a second");
    let gateway = &cast.berlin.gateway.host;
    let flow = flow(cast)?;
    teller.typed(gateway, "kill -KILL $(pidof sealane-agent); sealane-agent &");
    if let Some(process) = programs.agents.get_mut(gateway.name()) {
        process.restart()?;
        agent::answers(process)?;
    }
    agent::comes_to_reach(gateway, &others("berlin"))?;
    let report = flow.finish()?;
    tell(teller, &report);
    summary.claim("agent SIGKILLed and restarted", &losses(&report), report.lost == 0);
    Ok(())
}

/// Takes the broker away, restarts an agent meanwhile, brings the broker back.
///
/// # Errors
/// Lanes do not come back.
pub fn broker_dies(
    cast: &Cast,
    programs: &mut Programs,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<(), LabError> {
    teller.chapter("The broker dies; an agent restarts while it is away");
    let gateway = &cast.tokyo.gateway.host;
    let flow = flow(cast)?;
    teller.typed(&cast.ground.broker, "kill -KILL $(pidof sealane-broker)");
    programs.broker.process.kill()?;
    teller.typed(gateway, "kill -KILL $(pidof sealane-agent); sealane-agent &");
    if let Some(process) = programs.agents.get_mut(gateway.name()) {
        process.restart()?;
        agent::answers(process)?;
    }
    agent::comes_to_reach(gateway, &others("tokyo"))?;
    let report = flow.finish()?;
    tell(teller, &report);
    teller.look(gateway, "sealane status")?;
    let away = agent::status(gateway)?.broker.is_some_and(|broker| !broker.connected);
    let holds = report.lost == 0 && away;
    summary.claim("broker gone, agent restarted meanwhile", &losses(&report), holds);
    teller.typed(&cast.ground.broker, "sealane-broker &");
    programs.broker.restart()
}

/// Kills the tunnel of a gateway.
///
/// # Errors
/// No tunnel runs, or none comes back.
pub fn tunnel_dies(
    cast: &Cast,
    teller: &mut Teller,
    summary: &mut Summary,
) -> Result<(), LabError> {
    teller.chapter("A tunnel is killed");
    let gateway = &cast.berlin.gateway.host;
    let killed = gateway.find("sealane-tunnel")?;
    if killed.is_empty() {
        summary.claim("tunnel SIGKILLed", "no sealane-tunnel runs", false);
        return Ok(());
    }
    let flow = flow(cast)?;
    teller.typed(gateway, "kill -KILL $(pidof sealane-tunnel)");
    for pid in &killed {
        gateway.signal(*pid, Signal::SIGKILL)?;
    }
    until(Duration::from_secs(10), "another tunnel runs", || {
        gateway.find("sealane-tunnel").is_ok_and(|now| !now.is_empty() && now != killed)
    })?;
    agent::comes_to_reach(gateway, &others("berlin"))?;
    let report = flow.finish()?;
    tell(teller, &report);
    let back = report.longest_gap_ms <= TUNNEL_GAP_MS;
    summary.claim("tunnel SIGKILLed: flow back in <= 2 s", &losses(&report), back);
    Ok(())
}

fn flow(cast: &Cast) -> Result<Flow, LabError> {
    let to = cast.tokyo.far.link.addresses();
    let pace = Pace { rate: RATE, span: SPAN, size: 100, linger: Duration::from_secs(1) };
    let to = SocketAddr::new(to.first().copied().unwrap_or_else(unspecified), ECHO_PORT);
    let flow = Flow::start(&cast.berlin.far.host, to, pace)?;
    flow.flows()?;
    Ok(flow)
}

fn unspecified() -> std::net::IpAddr {
    std::net::Ipv6Addr::UNSPECIFIED.into()
}

fn tell(teller: &Teller, report: &FlowReport) {
    teller.note(&format!(
        "{} packets in {:.1} s: {} lost, longest silence {:.0} ms, round trip {:.2} ms (p99 {:.2})",
        report.sent,
        report.seconds,
        report.lost,
        report.longest_gap_ms,
        report.rtt_p50_ms,
        report.rtt_p99_ms
    ));
}

fn losses(report: &FlowReport) -> String {
    let FlowReport { sent, lost, longest_gap_ms, .. } = report;
    format!("{lost} of {sent} packets lost, longest silence {longest_gap_ms:.0} ms")
}
