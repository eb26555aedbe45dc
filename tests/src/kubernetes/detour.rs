//! Owns a way to a broker that a test can close for a while: what tries it meanwhile waits, as behind
//! a link that is down. Reads nothing of what passes.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// A TCP port that leads to another.
#[derive(Debug)]
pub struct Detour {
    /// Where it begins.
    pub address: SocketAddr,
    open: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Detour {
    /// Opens one.
    ///
    /// # Errors
    /// No port is free.
    pub async fn to(target: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let (open, opened) = watch::channel(true);
        let task = tokio::spawn(async move {
            let mut ways = JoinSet::new();
            while let Ok((near, _)) = listener.accept().await {
                ways.spawn(carry(near, target, opened.clone()));
            }
        });
        Ok(Self { address, open, task })
    }

    /// Ends every connection; new ones get no further until it is opened again.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets through again.
    pub fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn carry(mut near: TcpStream, target: SocketAddr, mut open: watch::Receiver<bool>) {
    if open.wait_for(|open| *open).await.is_err() {
        return;
    }
    let Ok(mut far) = TcpStream::connect(target).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut near, &mut far) => {}
        _ = open.wait_for(|open| !*open) => {}
    }
}
