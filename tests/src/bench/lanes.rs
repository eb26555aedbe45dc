//! Owns what probing costs an agent of processor time, for growing numbers of lanes that all answer.
//! Sends nothing: the far ends are responders in the same thread, and time is virtual.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::{Duration, Instant};

use sealane_agent::paths::lanes::Lanes;
use sealane_agent::probe_io::{Sent, Way};
use sealane_plan::name::{GatewayId, LaneId, MemberId, NodeName};
use sealane_plan::plan::{LaneTarget, Traffic};
use sealane_probe::datagram::Datagram;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;
use sealane_state::facts::Observation;
use sealane_state::wireguard::PublicKey;

const OWN: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));

/// Virtual time of each measurement; the lanes have settled for as long before it.
const SPAN: Duration = Duration::from_secs(10);

/// Measures 10 to 5,000 lanes.
///
/// # Errors
/// A link name that is none.
pub fn measure() -> Result<(), Box<dyn std::error::Error>> {
    println!("{:>8}  {:>10}  {:>16}  {:>12}", "lanes", "probes/s", "ms per second", "us per probe");
    for count in [10, 100, 1000, 5000] {
        let targets = (0..count).map(target).collect::<Result<BTreeMap<_, _>, _>>()?;
        let mut lanes = Lanes::default();
        let mut seed = 0;
        lanes.follow_plan(Time::ZERO, &targets, &Observation::default(), |_| {
            seed += 1;
            (Seed(seed), None)
        });
        turn(&mut lanes, Time::ZERO, Time::ZERO.after(SPAN));
        let began = Instant::now();
        let probes = turn(&mut lanes, Time::ZERO.after(SPAN), Time::ZERO.after(SPAN * 2));
        let (took, seconds) = (began.elapsed().as_secs_f64(), SPAN.as_secs_f64());
        let each = took * 1e6 / f64::from(probes.max(1));
        let (rate, busy) = (f64::from(probes) / seconds, took * 1e3 / seconds);
        println!("{count:>8}  {rate:>10.0}  {busy:>16.2}  {each:>12.1}");
    }
    println!();
    Ok(())
}

/// Turns as the agent's loop turns, with answers that come at once; returns how many probes were sent.
fn turn(lanes: &mut Lanes, mut now: Time, end: Time) -> u32 {
    let mut probes = 0;
    while now < end {
        let mut answers: Vec<(Way, IpAddr, Vec<u8>)> = Vec::new();
        lanes.send_due(now, None, |way, due| {
            probes += 1;
            let request = Datagram::parse(&due.payload);
            let answer = request.ok().map(|request| request.reply(None).to_vec());
            answers.extend(answer.map(|answer| (way.clone(), due.to.ip(), answer)));
            Sent::Away
        });
        for (way, from, answer) in answers {
            lanes.received(now, (&way, from), &answer);
        }
        now = lanes.next_due().unwrap_or(end).max(now);
    }
    probes
}

fn target(number: u16) -> Result<(LaneId, LaneTarget), Box<dyn std::error::Error>> {
    let mut key = [0; 32];
    key[..2].copy_from_slice(&number.to_be_bytes());
    let member = MemberId(format!("member-{number}"));
    let target = LaneTarget {
        gateway: GatewayId { member, gateway: NodeName("gateway".to_owned()) },
        link: "sealane0".parse()?,
        source: OWN,
        destination: Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, number).into(),
        max_mtu: 1420,
        candidates: Vec::new(),
        companions: BTreeMap::new(),
        traffic: Traffic::Bound,
    };
    Ok((LaneId { own: PublicKey([0xff; 32]), remote: PublicKey(key) }, target))
}
