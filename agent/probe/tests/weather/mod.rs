//! A simulated network in virtual time: one path, the responder at its far end, and weather between
//! them. Owns no expectation about either.

#![allow(dead_code, reason = "each test file uses a part of it")]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use sealane_probe::datagram;
use sealane_probe::health::{Interest, State};
use sealane_probe::path::{Path, PathConfig};
use sealane_probe::responder::Responder;
use sealane_probe::seed::Seed;
use sealane_probe::time::Time;

pub(crate) const V4: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 11, 1));
pub(crate) const V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
const SELF: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 2, 22, 2));

/// What happens to a datagram on its way; each direction draws for itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    pub(crate) loss_permille: u64,
    pub(crate) duplicate_permille: u64,
    pub(crate) delay: Duration,
    pub(crate) spread: Duration,
    pub(crate) mtu: u16,
    pub(crate) partitioned: Partition,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Partition {
    None,
    ThereOnly,
    Both,
}

impl Weather {
    pub(crate) fn fair(one_way: Duration) -> Weather {
        Weather {
            loss_permille: 0,
            duplicate_permille: 0,
            delay: one_way,
            spread: Duration::ZERO,
            mtu: 1420,
            partitioned: Partition::None,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Responder,
    Path,
}

pub(crate) struct Sim {
    pub(crate) now: Time,
    pub(crate) path: Path,
    pub(crate) weather: Weather,
    /// Every verdict, in order, with the instant it was first seen.
    pub(crate) verdicts: Vec<(Time, State)>,
    /// Every request that left: when, and the bytes of its whole IP packet.
    pub(crate) sent: Vec<(Time, u16)>,
    remote: IpAddr,
    responder: Responder,
    dice: u64,
    wire: BTreeMap<(Time, u64), (To, Vec<u8>)>,
    count: u64,
}

impl Sim {
    pub(crate) fn new(seed: u64, remote: IpAddr, interest: Interest, weather: Weather) -> Sim {
        let config = PathConfig { remote, link_mtu: 1420, interest, seed: Seed(seed) };
        let mut responder = Responder::default();
        responder.set_sources(Time::ZERO, [SELF]);
        Sim {
            now: Time::ZERO,
            path: Path::leg(Time::ZERO, config),
            weather,
            verdicts: vec![(Time::ZERO, State::Unknown)],
            sent: Vec::new(),
            remote,
            responder,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1,
            wire: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn advance(&mut self, by: Duration) {
        let end = self.now.after(by);
        loop {
            self.drain();
            let wake = self.path.next_wake();
            assert!(wake > self.now, "asked to wake at {wake:?}, although nothing is due");
            let arrival = self.wire.keys().next().map_or(wake, |(at, _)| *at);
            let next = wake.min(arrival);
            if next > end {
                self.now = end;
                return;
            }
            self.now = next;
            while self.wire.keys().next().is_some_and(|(at, _)| *at <= next) {
                self.deliver(next);
            }
        }
    }

    /// The agent does not run for a while; what arrives waits in its socket and is read first.
    pub(crate) fn stall(&mut self, length: Duration) {
        self.now = self.now.after(length);
        while let Some((at, _)) = self.wire.keys().next().copied().filter(|(at, _)| *at <= self.now)
        {
            self.deliver(at);
        }
    }

    pub(crate) fn advance_until(&mut self, state: State, at_most: Duration) -> Duration {
        let start = self.now;
        while self.path.report().state != state {
            assert!(self.now.since(start) < at_most, "not {state:?} within {at_most:?}");
            self.advance(Duration::from_millis(1));
        }
        self.now.since(start)
    }

    pub(crate) fn roll(&mut self, below: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        (self.dice >> 11) % below.max(1)
    }

    fn drain(&mut self) {
        while let Some(transmit) = self.path.poll_transmit(self.now, None) {
            let packet = u16::try_from(transmit.payload.len()).unwrap();
            let packet = packet + datagram::overhead(self.remote);
            self.sent.push((self.now, packet));
            if packet <= self.weather.mtu {
                self.carry(self.now, To::Responder, transmit.payload);
            }
        }
        self.note();
    }

    fn deliver(&mut self, at: Time) {
        let Some((_, (to, bytes))) = self.wire.pop_first() else { return };
        match to {
            To::Path => {
                let _ = self.path.received(self.now, &bytes);
                self.note();
            }
            To::Responder => {
                if let Ok(answer) = self.responder.answer(at, SELF, &bytes, None) {
                    self.carry(at, To::Path, answer.payload.to_vec());
                }
            }
        }
    }

    fn carry(&mut self, now: Time, to: To, bytes: Vec<u8>) {
        let cut = match self.weather.partitioned {
            Partition::None => false,
            Partition::ThereOnly => to == To::Responder,
            Partition::Both => true,
        };
        if cut || self.roll(1000) < self.weather.loss_permille {
            return;
        }
        let copies = 1 + u64::from(self.roll(1000) < self.weather.duplicate_permille);
        for _ in 0..copies {
            let spread = u64::try_from(self.weather.spread.as_micros()).unwrap();
            let late = Duration::from_micros(self.roll(spread + 1));
            self.count += 1;
            let at = now.after(self.weather.delay + late);
            self.wire.insert((at, self.count), (to, bytes.clone()));
        }
    }

    fn note(&mut self) {
        let state = self.path.report().state;
        if self.verdicts.last().is_none_or(|(_, last)| *last != state) {
            self.verdicts.push((self.now, state));
        }
    }
}
