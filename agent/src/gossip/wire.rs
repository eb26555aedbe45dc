//! Owns gossip on TCP inside lanes and legs: asking one peer, and answering those who ask, each within
//! bounds of time, size and rate. Judges nothing of what is told.

use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use sealane_api::gossip::frame::{Frame, HEADER_BYTES, Header};
use sealane_api::gossip::rhythm::Ended;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::Told;
use super::desk::Desk;
use crate::event::Event;
use crate::inquiry;
use crate::probe_io::Way;

/// A peer that cannot be connected to within this is asked another time.
const CONNECTING: Duration = Duration::from_secs(1);
/// Longest wait for one frame to pass.
const FRAME: Duration = Duration::from_secs(5);
/// Longest that one exchange takes; what is missing then is asked for by the next one.
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
    let exchange = converse(&way, to, &question, &mut heard);
    let ended = match timeout(EXCHANGE, exchange).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => {
            tracing::debug!(%to, %error, "peer told nothing");
            Ended::Failed
        }
        // Who tells a lot is asked for the rest when what it told is believed, who tells nothing later.
        Err(_) => Ended::Failed,
    };
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
    timeout(FRAME, stream.write_all(question)).await??;
    let mut has_list = false;
    loop {
        match read(&mut stream).await? {
            Frame::List(spec) if !has_list => {
                has_list = true;
                heard.told.list = Some(spec);
            }
            Frame::Word(spec) => {
                heard.told.words.push(*spec);
                if heard.told.words.len() >= BATCH {
                    heard.hand_over().await?;
                    sleep(BETWEEN_BATCHES).await;
                }
            }
            Frame::End => return Ok(Ended::Answered),
            Frame::Later(millis) => return Ok(Ended::Later(Duration::from_millis(millis.into()))),
            Frame::List(_) | Frame::Ask(_) => return Err(invalid("a frame out of turn")),
        }
    }
}

async fn read(stream: &mut TcpStream) -> io::Result<Frame> {
    let kind = timeout(FRAME, stream.read_u8()).await??;
    timeout(FRAME, read_rest(stream, kind)).await?
}

/// Reads what follows the first byte of a frame.
async fn read_rest(stream: &mut TcpStream, kind: u8) -> io::Result<Frame> {
    let mut head = [kind; HEADER_BYTES];
    stream.read_exact(&mut head[1..]).await?;
    let header = Header::parse(head).map_err(invalid)?;
    let mut payload = vec![0; header.length];
    stream.read_exact(&mut payload).await?;
    Frame::parse(header.kind, &payload).map_err(invalid)
}

fn invalid(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Answers a peer whose question began with the byte `kind`, which was read already.
///
/// # Errors
/// Those of the system, and `InvalidData` when it asks nothing that is gossip.
pub async fn answer(mut stream: TcpStream, kind: u8, from: IpAddr, desk: &Desk) -> io::Result<()> {
    let Some(_place) = desk.pull(from) else {
        return send(&mut stream, &Frame::Later(WAIT_MILLIS).encode()).await;
    };
    let begun = Instant::now();
    let answered = timeout(EXCHANGE, tell(&mut stream, kind, desk)).await;
    drop(stream);
    sleep(PLACE.saturating_sub(begun.elapsed())).await;
    answered.unwrap_or(Ok(()))
}

async fn tell(stream: &mut TcpStream, kind: u8, desk: &Desk) -> io::Result<()> {
    let Frame::Ask(theirs) = timeout(FRAME, read_rest(stream, kind)).await?? else {
        return Err(invalid("a frame out of turn"));
    };
    let frames = desk.telling().answer(&theirs);
    drop(theirs);
    let (begun, mut sent) = (Instant::now(), 0_u64);
    for frame in frames {
        send(stream, &frame).await?;
        sent += u64::try_from(frame.len()).unwrap_or(u64::MAX);
        let earliest = Duration::from_micros(sent.saturating_mul(1_000_000) / RATE);
        let ahead = earliest.saturating_sub(begun.elapsed());
        if ahead > Duration::from_millis(10) {
            sleep(ahead).await;
        }
    }
    send(stream, &Frame::End.encode()).await
}

async fn send(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    timeout(FRAME, stream.write_all(frame)).await?
}
