//! Owns gossip on TCP inside lanes and legs: asking one peer, and answering those who ask, each within
//! bounds of time, size and rate. Judges nothing of what is told.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sealane_api::gossip::frame::{Frame, HEADER_BYTES, Header, Kind};
use sealane_api::gossip::rhythm::Ended;
use sealane_api::gossip::telling::FrameBytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout, timeout_at};

use super::Told;
use super::desk::Desk;
use crate::event::Event;
use crate::inquiry;
use crate::probe_io::Way;

/// A peer that cannot be connected to within this is asked another time.
const CONNECTING: Duration = Duration::from_secs(1);
/// The slowest that a peer may be: a list of a megabyte crosses any uplink that gets there at all.
const SLOWEST: Pace = Pace { bytes: 16 * 1024, within: Duration::from_secs(5) };
/// Longest that one exchange takes, beside the time for a question and a list of their lengths; what
/// is missing then is asked for by the next one.
const EXCHANGE: Duration = Duration::from_secs(30);
/// Words handed to the loop at once.
const BATCH: usize = 64;
/// Between two full batches: verification grants one teller 500 checks a second, three a word.
const BETWEEN_BATCHES: Duration = Duration::from_millis(400);
/// Rate at which one peer is answered. Unit: bytes a second.
const RATE: u64 = 10_000_000;
/// A pull keeps its peer's place this long at least: ten a second, twice.
const PLACE: Duration = Duration::from_millis(200);
/// What a peer that asks at a bad time is told to wait. Unit: milliseconds.
const WAIT_MILLIS: u16 = 200;

/// Asks the peer behind `to`, and tells the loop what it says and how that ended.
pub async fn ask(way: Way, to: IpAddr, question: Vec<u8>, events: mpsc::Sender<Event>) {
    let mut heard = Heard { from: to, events, told: empty(to) };
    // Who tells a lot is asked for the rest when what it told is believed, who tells nothing later.
    let ended = converse(&way, to, &question, &mut heard).await.unwrap_or_else(|error| {
        tracing::debug!(%to, %error, "peer told no whole answer");
        Ended::Failed
    });
    heard.told.ended = Some(ended);
    // A closed channel means that the agent stops.
    let _ = heard.hand_over().await;
}

fn empty(from: IpAddr) -> Told {
    Told { from, list: None, words: Vec::new(), ended: None }
}

/// What was read and not yet handed to the loop.
struct Heard {
    from: IpAddr,
    events: mpsc::Sender<Event>,
    told: Told,
}

impl Heard {
    async fn hand_over(&mut self) -> io::Result<()> {
        let told = std::mem::replace(&mut self.told, empty(self.from));
        let gone = |_| io::Error::other("the agent stops");
        self.events.send(Event::Told(told)).await.map_err(gone)
    }
}

async fn converse(way: &Way, to: IpAddr, question: &[u8], heard: &mut Heard) -> io::Result<Ended> {
    let mut stream = timeout(CONNECTING, inquiry::connect(way, to)).await??;
    send(&mut stream, question, SLOWEST).await?;
    let mut until = Instant::now() + EXCHANGE;
    let mut has_list = false;
    loop {
        let kind = timeout(SLOWEST.within, stream.read_u8()).await??;
        let header = timeout_at(until.into(), head(&mut stream, kind)).await??;
        if header.kind == Kind::List {
            if std::mem::replace(&mut has_list, true) {
                return Err(invalid("a second list"));
            }
            until += SLOWEST.time_for(header.length);
        }
        match timeout_at(until.into(), rest(&mut stream, header)).await?? {
            Frame::List(spec) => heard.told.list = Some(spec),
            Frame::Word(spec) => {
                heard.told.words.push(*spec);
                if heard.told.words.len() >= BATCH {
                    heard.hand_over().await?;
                    sleep(BETWEEN_BATCHES).await;
                }
            }
            Frame::End => return Ok(Ended::Answered),
            Frame::Later(millis) => return Ok(Ended::Later(Duration::from_millis(millis.into()))),
            Frame::Ask(_) => return Err(invalid("a frame out of turn")),
        }
    }
}

/// So many bytes within so much time, again and again.
#[derive(Debug, Clone, Copy)]
struct Pace {
    bytes: usize,
    within: Duration,
}

impl Pace {
    /// Returns what so many bytes take at most.
    fn time_for(self, bytes: usize) -> Duration {
        let parts = u32::try_from(bytes.div_ceil(self.bytes)).unwrap_or(u32::MAX);
        self.within.saturating_mul(parts)
    }
}

/// Reads the head of a frame whose first byte was read.
async fn head(stream: &mut TcpStream, kind: u8) -> io::Result<Header> {
    let mut head = [kind; HEADER_BYTES];
    receive(stream, &mut head[1..], SLOWEST).await?;
    Header::parse(head).map_err(invalid)
}

/// Reads what follows the head of a frame.
async fn rest(stream: &mut TcpStream, header: Header) -> io::Result<Frame> {
    let mut payload = vec![0; header.length];
    receive(stream, &mut payload, SLOWEST).await?;
    Frame::parse(header.kind, &payload).map_err(invalid)
}

async fn receive<Source>(source: &mut Source, bytes: &mut [u8], pace: Pace) -> io::Result<()>
where
    Source: AsyncRead + Unpin,
{
    for part in bytes.chunks_mut(pace.bytes) {
        timeout(pace.within, source.read_exact(part)).await??;
    }
    Ok(())
}

async fn send<Sink>(sink: &mut Sink, bytes: &[u8], pace: Pace) -> io::Result<()>
where
    Sink: AsyncWrite + Unpin,
{
    for part in bytes.chunks(pace.bytes) {
        timeout(pace.within, sink.write_all(part)).await??;
    }
    Ok(())
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Answers a peer whose question began with the byte `kind`, which was read already.
///
/// # Errors
/// Those of the system, and `InvalidData` when it asks nothing that is gossip.
pub async fn answer(mut stream: TcpStream, kind: u8, from: IpAddr, desk: &Desk) -> io::Result<()> {
    let Some(place) = desk.pull(from) else {
        send(&mut stream, &Frame::Later(WAIT_MILLIS).encode(), SLOWEST).await?;
        return timeout(SLOWEST.within, hear_out(&mut stream, kind)).await?;
    };
    let begun = Instant::now();
    let answered = tokio::select! {
        answered = reply(&mut stream, kind, desk) => answered,
        () = place.called_back() => Err(io::Error::new(io::ErrorKind::TimedOut, "others wait")),
    };
    drop(stream);
    sleep(PLACE.saturating_sub(begun.elapsed())).await;
    answered
}

/// Reads a question and drops it: a stream that closes with something unread is reset, and whoever is
/// still asking would not hear the answer.
async fn hear_out(stream: &mut TcpStream, kind: u8) -> io::Result<()> {
    let header = head(stream, kind).await?;
    let mut question = stream.take(u64::try_from(header.length).unwrap_or(u64::MAX));
    tokio::io::copy(&mut question, &mut tokio::io::sink()).await.map(drop)
}

async fn reply(stream: &mut TcpStream, kind: u8, desk: &Desk) -> io::Result<()> {
    let header = head(stream, kind).await?;
    if header.kind != Kind::Ask {
        return Err(invalid("a frame out of turn"));
    }
    let Frame::Ask(theirs) = rest(stream, header).await? else {
        return Err(invalid("a frame out of turn"));
    };
    let frames = desk.telling().answer(&theirs);
    drop(theirs);
    let longest = frames.iter().map(|frame| frame.len()).max().unwrap_or_default();
    timeout(EXCHANGE + SLOWEST.time_for(longest), tell(stream, frames)).await?
}

async fn tell(stream: &mut TcpStream, frames: Vec<FrameBytes>) -> io::Result<()> {
    let (begun, mut sent) = (Instant::now(), 0_u64);
    for frame in frames {
        send(stream, &frame, SLOWEST).await?;
        sent += u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let earliest = Duration::from_micros(sent.saturating_mul(1_000_000) / RATE);
        let ahead = earliest.saturating_sub(begun.elapsed());
        if ahead > Duration::from_millis(10) {
            sleep(ahead).await;
        }
    }
    send(stream, &Frame::End.encode(), SLOWEST).await
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use tokio::net::TcpListener;

    use super::*;

    /// Passes 40 KB, a kilobyte each `step`, and says whether the other end had the patience.
    async fn is_received_by(step: Duration, pace: Pace) -> bool {
        let (mut here, mut there) = tokio::io::duplex(1_000);
        let slow = tokio::spawn(async move {
            let mut step = tokio::time::interval(step);
            for _ in 0..40 {
                step.tick().await;
                if there.write_all(&[7; 1_000]).await.is_err() {
                    return;
                }
            }
        });
        let mut bytes = vec![0; 40_000];
        let received = receive(&mut here, &mut bytes, pace).await;
        slow.abort();
        received.is_ok() && bytes.iter().all(|byte| *byte == 7)
    }

    #[tokio::test]
    async fn a_slow_peer_is_waited_for_as_long_as_something_comes() {
        let pace = Pace { bytes: 4_000, within: Duration::from_millis(400) };
        // In all it takes twice as long as any part may.
        assert!(is_received_by(Duration::from_millis(20), pace).await);
        assert!(!is_received_by(Duration::from_millis(300), pace).await);
    }

    #[tokio::test]
    async fn who_asks_at_a_bad_time_hears_so_however_long_the_question() {
        let here = IpAddr::from([127, 0, 0, 1]);
        let desk = Desk::default();
        desk.serve([(here, None)].into_iter().collect::<BTreeMap<_, _>>().into());
        let _busy = [desk.pull(here).unwrap(), desk.pull(here).unwrap()];
        let listener = TcpListener::bind((here, 0)).await.unwrap();
        let mut asking = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut asked, _) = listener.accept().await.unwrap();

        let mut question = vec![0; 24 + 5_000 * 48];
        question.splice(..0, [2].into_iter().chain((24 + 5_000 * 48_u32).to_be_bytes()));
        let (first, second) = question.split_at(1_000);
        asking.write_all(first).await.unwrap();
        let mut answering = tokio::spawn(async move {
            let kind = asked.read_u8().await?;
            answer(asked, kind, here, &desk).await
        });
        let early = timeout(Duration::from_millis(100), &mut answering).await;
        assert!(early.is_err(), "it hangs up while it is still asked: {early:?}");
        asking.write_all(second).await.unwrap();
        answering.await.unwrap().unwrap();
        let mut heard = Vec::new();
        asking.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, Frame::Later(WAIT_MILLIS).encode());
    }

    #[test]
    fn the_largest_list_has_minutes_and_the_smallest_frame_seconds() {
        assert_eq!(SLOWEST.time_for(1_400_000), Duration::from_secs(430));
        assert_eq!((SLOWEST.time_for(1), SLOWEST.time_for(0)), (SLOWEST.within, Duration::ZERO));
    }
}
