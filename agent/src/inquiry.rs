//! Owns the channel by which agents ask one another, over TCP inside lanes and legs: who is let in, and
//! one framed question with one framed answer. Does not know what is asked; gossip is `gossip`'s.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::event::Event;
use crate::gossip::desk::Desk;
use crate::gossip::wire;
use crate::probe_io::{self, Way};

/// First byte of a frame that asks what becomes of a packet, and of its answer.
const TRACE: u8 = 1;
/// Largest frame: a trace of many steps stays far below.
const LARGEST_FRAME_BYTES: u32 = 64 * 1024;
/// Longest that a question is worked on: all agents beyond are asked within it.
const DEADLINE: Duration = Duration::from_secs(6);
/// What each further agent is given; one that is asked later must answer sooner than who asks it.
const PER_AGENT: Duration = Duration::from_millis(600);
/// An agent that said nothing is asked once more after this: it answers each of the others four times
/// a second, and two traces of a person may be closer together.
const AGAIN: Duration = Duration::from_millis(260);
/// Questions worked on at once per way; more wait.
const SERVED_AT_ONCE: usize = 8;
/// After a connection that could not be taken, the next one waits this long.
const BREATH: Duration = Duration::from_millis(50);
/// Whoever connects says within this what it wants.
const FIRST_BYTE: Duration = Duration::from_secs(1);

/// A question from another agent.
pub struct Inquiry {
    /// The way it came by.
    pub way: Way,
    /// Who asks: an address inside the lane or leg, proved by WireGuard or the node network.
    pub from: IpAddr,
    /// The question's bytes.
    pub question: Vec<u8>,
    /// Where the answer's bytes go; dropped when there is none.
    pub reply: oneshot::Sender<Vec<u8>>,
}

/// A listener that closes when dropped.
pub struct Listener(JoinHandle<()>);

impl Drop for Listener {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Listener {
    /// Says whether it still listens.
    pub fn is_alive(&self) -> bool {
        !self.0.is_finished()
    }
}

/// Listens on a way, for those whom the desk serves; each question becomes an event.
///
/// # Errors
/// Those of the system when the link or the address is not there yet.
pub fn listen(way: &Way, events: mpsc::Sender<Event>, desk: Desk) -> io::Result<Listener> {
    let listener = bound(way)?.listen(16)?;
    let hall =
        Hall { way: way.clone(), events, desk, places: Arc::new(Semaphore::new(SERVED_AT_ONCE)) };
    Ok(Listener(tokio::spawn(serve(listener, hall))))
}

/// Asks the agent behind `to`, which may ask `agents_beyond` more, and returns its answer.
///
/// # Errors
/// Those of the system, and `TimedOut` when no answer comes in time.
pub async fn ask(way: &Way, to: IpAddr, question: &[u8], agents_beyond: u8) -> io::Result<Vec<u8>> {
    let patience = (PER_AGENT * (u32::from(agents_beyond) + 1)).min(DEADLINE);
    let exchange = async {
        match exchange(way, to, question).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                tokio::time::sleep(AGAIN).await;
                exchange(way, to, question).await.map_err(unanswered)
            }
            answered => answered,
        }
    };
    tokio::time::timeout(patience, exchange).await.unwrap_or_else(|_| {
        let cause = format!("no answer within {} ms", patience.as_millis());
        Err(io::Error::new(io::ErrorKind::TimedOut, cause))
    })
}

async fn exchange(way: &Way, to: IpAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(way, to).await?;
    write_frame(&mut stream, question).await?;
    read_frame(&mut stream).await
}

/// An agent that does not want to answer says nothing.
fn unanswered(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => {
            io::Error::new(error.kind(), "it was asked too often, or does not know us; try again")
        }
        _ => error,
    }
}

/// Connects to the agent behind `to`, from our address on that way.
///
/// # Errors
/// Those of the system.
pub async fn connect(way: &Way, to: IpAddr) -> io::Result<TcpStream> {
    bound_to_any_port(way)?.connect(probe_io::destination(way, to)).await
}

fn bound(way: &Way) -> io::Result<TcpSocket> {
    let socket = on_link(way)?;
    socket.set_reuse_address(true)?;
    socket.bind(&probe_io::destination(way, way.source).into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn bound_to_any_port(way: &Way) -> io::Result<TcpSocket> {
    let socket = on_link(way)?;
    let mut from = probe_io::destination(way, way.source);
    from.set_port(0);
    socket.bind(&from.into())?;
    Ok(TcpSocket::from_std_stream(socket.into()))
}

fn on_link(way: &Way) -> io::Result<Socket> {
    let domain = Domain::for_address(probe_io::destination(way, way.source));
    let socket = Socket::new(domain, Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
    if way.source.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind_device(way.link.as_ref().map(|link| link.as_str().as_bytes()))?;
    Ok(socket)
}

/// What it takes to answer on a way.
#[derive(Clone)]
struct Hall {
    way: Way,
    events: mpsc::Sender<Event>,
    desk: Desk,
    places: Arc<Semaphore>,
}

async fn serve(listener: TcpListener, hall: Hall) {
    loop {
        match listener.accept().await {
            Ok((stream, from)) => {
                let Some(seat) = hall.desk.seat(from.ip()) else {
                    tracing::debug!(%from, "a stranger, or one connection too many");
                    continue;
                };
                let hall = hall.clone();
                tokio::spawn(async move {
                    if let Err(error) = receive(stream, from.ip(), &hall).await {
                        tracing::debug!(%from, %error, "not answered");
                    }
                    drop(seat);
                });
            }
            Err(error) if is_closed(&error) => {
                tracing::debug!(link = ?hall.way.link, %error, "inquiry listener closed");
                return;
            }
            Err(error) => {
                tracing::debug!(link = ?hall.way.link, %error, "nobody let in");
                tokio::time::sleep(BREATH).await;
            }
        }
    }
}

/// Says whether a listener has nothing to listen on any more: its link is gone. A caller who hung up, or
/// a want of descriptors, passes.
fn is_closed(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(nix::libc::ENODEV | nix::libc::EINVAL))
}

async fn receive(mut stream: TcpStream, from: IpAddr, hall: &Hall) -> io::Result<()> {
    let kind = tokio::time::timeout(FIRST_BYTE, stream.read_u8()).await??;
    if kind != TRACE {
        return wire::answer(stream, kind, from, &hall.desk).await;
    }
    let exchange = async {
        let _place = hall.places.acquire().await.map_err(io::Error::other)?;
        answer(stream, from, hall).await
    };
    tokio::time::timeout(DEADLINE, exchange).await.unwrap_or(Ok(()))
}

/// Answers a question whose first byte was read already.
async fn answer(mut stream: TcpStream, from: IpAddr, hall: &Hall) -> io::Result<()> {
    let question = read_payload(&mut stream).await?;
    let (reply, answer) = oneshot::channel();
    let inquiry = Inquiry { way: hall.way.clone(), from, question, reply };
    if hall.events.send(Event::Inquiry(inquiry)).await.is_ok()
        && let Ok(bytes) = answer.await
    {
        write_frame(&mut stream, &bytes).await?;
    }
    Ok(())
}

async fn write_frame(stream: &mut TcpStream, payload: &[u8]) -> io::Result<()> {
    let length = u32::try_from(payload.len())
        .ok()
        .filter(|length| *length <= LARGEST_FRAME_BYTES)
        .ok_or_else(|| io::Error::other("frame too large"))?;
    stream.write_u8(TRACE).await?;
    stream.write_u32(length).await?;
    stream.write_all(payload).await?;
    stream.flush().await
}

async fn read_frame(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    if stream.read_u8().await? != TRACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of ours"));
    }
    read_payload(stream).await
}

async fn read_payload(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let length = stream.read_u32().await?;
    if length > LARGEST_FRAME_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a frame of ours"));
    }
    let mut payload = vec![0; length as usize];
    stream.read_exact(&mut payload).await?;
    Ok(payload)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_link_that_is_gone_closes_a_listener() {
        let closes = |errno| is_closed(&io::Error::from_raw_os_error(errno));
        assert!(closes(nix::libc::ENODEV) && closes(nix::libc::EINVAL));
        assert!(!closes(nix::libc::ECONNABORTED) && !closes(nix::libc::EMFILE));
    }
}
