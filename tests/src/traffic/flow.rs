//! Owns the UDP echo and the paced, numbered flow that measures loss and gaps against it.

use std::collections::BTreeSet;
use std::io;
use std::iter;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::sys::prctl::set_timerslack;

use crate::traffic::report::FlowReport;
use crate::traffic::socket::udp;

/// A number and a time, both u64 big endian, then zeros.
const HEADER: usize = 16;

/// How long the receiver blocks before it looks whether the flow is over.
const LOOK: Duration = Duration::from_millis(20);

/// What a late wake-up missed is sent at once, up to this much of it: a machine that stood still for longer
/// would else make a burst that no sender of the rate makes, and queues on the way would overflow.
const CAUGHT_UP: Duration = Duration::from_millis(20);

/// How many spans of lost packets a report names.
const SPANS_TOLD: usize = 10;

/// What a flow prints when the first packet has come back.
pub const FLOWING: &str = "flowing";

/// What to send.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Packets a second.
    pub rate: u32,
    /// How long.
    pub span: Duration,
    /// Payload bytes of each packet, at least 16.
    pub size: usize,
    /// How long to wait for what is still on its way after the last packet.
    pub linger: Duration,
}

/// Sends every datagram back to where it came from, until killed.
///
/// # Errors
/// The address cannot be bound.
pub fn echo(listen: SocketAddr) -> io::Result<()> {
    let socket = udp(listen)?;
    println!("listening on {}", socket.local_addr()?);
    let mut buffer = vec![0; 65_536];
    loop {
        // Errors here are about one peer, such as a port that has closed: the others go on.
        if let Ok((length, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..length], from);
        }
    }
}

/// Sends at the pace until its end, or until `stop` is set, and reports what came back.
///
/// # Errors
/// No socket.
pub fn run(to: SocketAddr, pace: Pace, stop: &AtomicBool) -> io::Result<FlowReport> {
    // The default slack of 50 µs is half a packet interval at 10,000 a second.
    set_timerslack(1)?;
    let any =
        if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = udp(SocketAddr::new(any, 0))?;
    // Not connected: errors of the path, such as "no route", must not end the flow.
    let (sent, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let (begin, began_at) = (Instant::now(), SystemTime::now());
    let receiver = {
        let (socket, sent, over) = (socket.try_clone()?, Arc::clone(&sent), Arc::clone(&over));
        socket.set_read_timeout(Some(LOOK))?;
        thread::spawn(move || receive(&socket, begin, pace.linger, &Ends { sent, over }))
    };
    let schedule = send(&socket, to, pace, &Progress { begin, sent: &sent, stop });
    let span = begin.elapsed();
    over.store(true, Ordering::Release);
    let tally = receiver.join().map_err(|_| io::Error::other("receiver died"))?;
    let sent = sent.load(Ordering::Acquire);
    let due = |number| began_at + schedule.due(number);
    let lost_at = tally.holes(sent).take(SPANS_TOLD);
    let lost_at =
        lost_at.map(|hole| format!("{} x {}", time_of_day(due(hole.start)), hole.end - hole.start));
    let lost_at = lost_at.collect();
    let stood_still_ms = schedule.shift().as_secs_f64() * 1e3;
    Ok(FlowReport { lost_at, stood_still_ms, ..tally.report(sent, span) })
}

fn interval(rate: u32) -> Duration {
    Duration::from_secs(1) / rate.max(1)
}

/// As logs write it, without the day.
fn time_of_day(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (of_day, ms) = (since.as_secs() % 86_400, since.subsec_millis());
    format!("{:02}:{:02}:{:02}.{ms:03}", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

struct Progress<'a> {
    begin: Instant,
    sent: &'a AtomicU64,
    stop: &'a AtomicBool,
}

/// When packets are due, counted from the flow's begin: by the clock, so that the rate holds.
struct Schedule {
    interval: Duration,
    /// From these numbers on, everything is this much later.
    shifts: Vec<(u64, Duration)>,
}

impl Schedule {
    fn of(pace: Pace) -> Self {
        Self { interval: interval(pace.rate), shifts: Vec::new() }
    }

    fn due(&self, number: u64) -> Duration {
        let nanos = u64::try_from(self.interval.as_nanos()).unwrap_or(u64::MAX);
        let shift = self.shifts.iter().rev().find(|(from, _)| *from <= number);
        Duration::from_nanos(number.saturating_mul(nanos)) + shift.map_or(Duration::ZERO, |it| it.1)
    }

    /// Gives up what was missed before `number`, if that is too much to be sent at once.
    fn follow(&mut self, number: u64, now: Duration) {
        let late = now.saturating_sub(self.due(number));
        if late > CAUGHT_UP {
            self.shifts.push((number, self.shift() + late));
        }
    }

    fn shift(&self) -> Duration {
        self.shifts.last().map_or(Duration::ZERO, |it| it.1)
    }
}

fn send(socket: &UdpSocket, to: SocketAddr, pace: Pace, progress: &Progress<'_>) -> Schedule {
    let mut schedule = Schedule::of(pace);
    let count = pace.span.as_nanos() / schedule.interval.as_nanos().max(1);
    let mut packet = vec![0; pace.size.max(HEADER)];
    for number in 0..u64::try_from(count).unwrap_or(u64::MAX) {
        if progress.stop.load(Ordering::Relaxed) {
            break;
        }
        thread::sleep(schedule.due(number).saturating_sub(progress.begin.elapsed()));
        schedule.follow(number, progress.begin.elapsed());
        let now = u64::try_from(progress.begin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        packet[..8].copy_from_slice(&number.to_be_bytes());
        packet[8..HEADER].copy_from_slice(&now.to_be_bytes());
        // A packet that the host itself refuses is a packet lost.
        let _ = socket.send_to(&packet, to);
        progress.sent.store(number + 1, Ordering::Release);
    }
    schedule
}

struct Ends {
    sent: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

fn receive(socket: &UdpSocket, begin: Instant, linger: Duration, ends: &Ends) -> Tally {
    let mut tally = Tally::default();
    let mut buffer = [0; 65_536];
    let mut last_wait = None;
    loop {
        if let Ok((length, _)) = socket.recv_from(&mut buffer)
            && let Some((number, sent_at)) = header(&buffer[..length])
        {
            if tally.received() == 0 {
                println!("{FLOWING}");
            }
            tally.count(number, sent_at, begin.elapsed());
        }
        if ends.over.load(Ordering::Acquire) {
            let since = *last_wait.get_or_insert_with(Instant::now);
            if tally.received() == ends.sent.load(Ordering::Acquire) || since.elapsed() >= linger {
                return tally;
            }
        }
    }
}

fn header(packet: &[u8]) -> Option<(u64, Duration)> {
    let number = u64::from_be_bytes(packet.get(..8)?.try_into().ok()?);
    let nanos = u64::from_be_bytes(packet.get(8..HEADER)?.try_into().ok()?);
    Some((number, Duration::from_nanos(nanos)))
}

/// What came back so far. Times count from the flow's begin.
#[derive(Debug, Default)]
struct Tally {
    /// Every number below this came back.
    complete: u64,
    /// Numbers at or above `complete` that came back.
    ahead: BTreeSet<u64>,
    highest: Option<u64>,
    duplicates: u64,
    reordered: u64,
    last: Duration,
    longest_gap: Duration,
    rtts: Vec<Duration>,
}

impl Tally {
    fn received(&self) -> u64 {
        self.complete + self.ahead.len() as u64
    }

    /// Numbers below `sent` that never came back, in order.
    fn holes(&self, sent: u64) -> impl Iterator<Item = Range<u64>> {
        let there = self.ahead.iter().copied().chain([sent]);
        let from = iter::once(self.complete).chain(self.ahead.iter().map(|number| number + 1));
        from.zip(there).filter(|(from, to)| from < to).map(|(from, to)| from..to)
    }

    fn count(&mut self, number: u64, sent_at: Duration, now: Duration) {
        self.longest_gap = self.longest_gap.max(now.saturating_sub(self.last));
        self.last = now;
        if number < self.complete || !self.ahead.insert(number) {
            self.duplicates += 1;
            return;
        }
        while self.ahead.remove(&self.complete) {
            self.complete += 1;
        }
        if self.highest.is_some_and(|highest| number < highest) {
            self.reordered += 1;
        }
        self.highest = self.highest.max(Some(number));
        self.rtts.push(now.saturating_sub(sent_at));
    }

    fn report(mut self, sent: u64, span: Duration) -> FlowReport {
        self.rtts.sort_unstable();
        let millis = |duration: Duration| duration.as_secs_f64() * 1e3;
        let percentile =
            |p: usize| self.rtts.get(self.rtts.len() * p / 100).copied().map_or(0.0, millis);
        FlowReport {
            sent,
            received: self.received(),
            lost: sent.saturating_sub(self.received()),
            duplicates: self.duplicates,
            reordered: self.reordered,
            longest_gap_ms: millis(self.longest_gap.max(span.saturating_sub(self.last))),
            rtt_p50_ms: percentile(50),
            rtt_p99_ms: percentile(99),
            seconds: span.as_secs_f64(),
            stood_still_ms: 0.0,
            lost_at: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_flow_is_told_loss_duplicates_order_and_its_longest_silence() {
        let mut tally = Tally::default();
        for (number, at) in [(0, 1), (1, 2), (4, 50), (3, 51), (3, 52)] {
            tally.count(number, ms(0), ms(at));
        }
        let holes: Vec<Range<u64>> = tally.holes(6).collect();
        let report = tally.report(6, ms(70));
        assert_eq!((report.sent, report.received, report.lost), (6, 4, 2));
        assert_eq!((report.duplicates, report.reordered), (1, 1));
        assert_eq!(holes, [2..3, 5..6]);
        assert!((report.longest_gap_ms - 48.0).abs() < 1e-9, "{report:?}");
    }

    #[test]
    fn a_sender_that_was_late_catches_up_and_one_that_stood_still_does_not() {
        let mut schedule = Schedule { interval: ms(10), shifts: Vec::new() };
        schedule.follow(3, ms(30 + 20));
        assert_eq!(schedule.due(4), ms(40));
        schedule.follow(4, ms(340));
        schedule.follow(6, ms(360 + 21));
        let due = [3, 4, 5, 6, 7].map(|number| schedule.due(number));
        assert_eq!(due, [30, 340, 350, 381, 391].map(ms));
        assert_eq!(schedule.shift(), ms(321));
    }

    #[test]
    fn silence_at_the_end_counts() {
        let mut tally = Tally::default();
        tally.count(0, ms(0), ms(1));
        assert!((tally.report(9, ms(500)).longest_gap_ms - 499.0).abs() < 1e-9);
    }
}
