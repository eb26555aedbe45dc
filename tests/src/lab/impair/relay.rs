//! Owns a rough path through a router: diverts the UDP it forwards to the impairing relay and back.
//! What a relay does to packets is `traffic::relay`'s.

use std::time::Duration;

use crate::lab::error::LabError;
use crate::lab::host::Host;
use crate::lab::process::Process;
use crate::lab::segment::Link;
use crate::traffic::relay::fate::Impairment;

/// How long the relay may take to start.
const SOON: Duration = Duration::from_secs(10);

/// Where each direction is diverted to.
const PORTS: [u16; 2] = [7001, 7002];

/// What the path does: onward from the first link to the second, and back.
#[derive(Debug, Clone, Copy)]
pub struct Weather {
    /// Decides which packets; the same seed, the same packets.
    pub seed: u64,
    /// From the first link to the second.
    pub onward: Impairment,
    /// From the second link to the first.
    pub back: Impairment,
}

/// A running relay. Only UDP passes through it; all else is forwarded as before.
#[derive(Debug)]
pub struct Relay {
    router: Host,
    process: Process,
}

impl Relay {
    /// Diverts what `router` forwards between its two links.
    ///
    /// # Errors
    /// The router refuses a rule, or the relay does not start.
    pub fn start(router: &Host, links: [&Link; 2], weather: Weather) -> Result<Self, LabError> {
        router.enable_forwarding()?;
        router.nft(&diversion(links))?;
        for family in ["-4", "-6"] {
            router.run(&format!("ip {family} rule add fwmark 7001 lookup 7001"))?;
            router.run(&format!("ip {family} route add local default dev lo table 7001"))?;
        }
        let process = launch(router, weather)?;
        Ok(Self { router: router.clone(), process })
    }

    /// Changes what the path does. Packets on their way are lost, and fates begin anew.
    ///
    /// # Errors
    /// The relay does not start.
    pub fn change(&mut self, weather: Weather) -> Result<(), LabError> {
        self.process.kill()?;
        self.process = launch(&self.router, weather)?;
        Ok(())
    }

    /// Plain forwarding again.
    ///
    /// # Errors
    /// The router is gone.
    pub fn stop(self) -> Result<(), LabError> {
        self.router.nft("delete table inet relay\n")?;
        for family in ["-4", "-6"] {
            self.router.run(&format!("ip {family} rule del fwmark 7001 lookup 7001"))?;
            self.router.run(&format!("ip {family} route flush table 7001"))?;
        }
        self.process.kill()
    }
}

fn diversion(links: [&Link; 2]) -> String {
    let [onward, back] = [0, 1].map(|n| {
        let (link, port) = (&links[n].name, PORTS[n]);
        format!("iifname {link} meta l4proto udp tproxy to :{port} meta mark set 7001 accept\n")
    });
    format!(
        "table inet relay {{\nchain prerouting {{\n\
         type filter hook prerouting priority mangle; policy accept\n\
         fib daddr type != unicast accept\n{onward}{back}}}\n}}\n"
    )
}

fn launch(router: &Host, weather: Weather) -> Result<Process, LabError> {
    let settings = |impairment: &Impairment| {
        serde_json::to_string(impairment).map_err(|cause| LabError::Json {
            what: "impairment".to_owned(),
            cause,
            text: format!("{impairment:?}"),
        })
    };
    let process = router
        .command("lab-traffic")
        .args(["relay", "--onward", &settings(&weather.onward)?])
        .args(["--back", &settings(&weather.back)?])
        .args(["--seed".to_owned(), weather.seed.to_string()])
        .args(["--ports".to_owned(), PORTS.map(|port| port.to_string()).join(",")])
        .spawn()?;
    process.says("listening on ", SOON)?;
    Ok(process)
}
