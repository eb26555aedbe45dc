//! Owns the state in memory and its single writer: operations run one by one, are committed to
//! disk in groups, and only then become visible. Does not own the file (`disk`) or the rules.

use super::{
    account::TokenRecord,
    clock,
    disk::Disk,
    draft::{Changes, Draft},
    failure::Failure,
    history::{History, HistoryBounds},
    metrics::Metrics,
    object::{Key, Object},
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    thread::JoinHandle,
    time::Instant,
};
use tokio::sync::{mpsc, oneshot, watch};

/// Operations that share one commit at most.
const GROUP: usize = 256;
/// Operations that may wait for the writer before callers are held back.
const QUEUE: usize = 1_024;

/// Everything the broker knows, as last committed.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Raised by one with every change, across restarts.
    pub(crate) revision: u64,
    pub(crate) objects: BTreeMap<Key, Arc<Object>>,
    pub(crate) history: History,
    /// By token id.
    pub(crate) tokens: BTreeMap<String, Arc<TokenRecord>>,
    /// By namespace; outlives the `ClusterSet` object.
    pub(crate) anchors: BTreeMap<String, Arc<Anchor>>,
}

/// The clusterset a namespace is bound to, and the highest set accepted there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Anchor {
    pub(crate) id: String,
    /// `spec` of that set; `None` when the anchor was given on the command line and no set came.
    pub(crate) held: Option<Value>,
}

/// Handle of the state; reads never wait for the disk.
#[derive(Debug)]
pub(crate) struct Store {
    state: Arc<RwLock<State>>,
    revisions: watch::Receiver<u64>,
    queue: mpsc::Sender<Box<dyn Operation>>,
}

impl Store {
    /// Starts the writer on an opened disk. The thread ends when the store is dropped.
    pub(crate) fn start(
        disk: Disk,
        state: State,
        bounds: HistoryBounds,
        metrics: Arc<Metrics>,
    ) -> std::io::Result<(Self, JoinHandle<()>)> {
        let (queue, operations) = mpsc::channel(QUEUE);
        let (announce, revisions) = watch::channel(state.revision);
        let state = Arc::new(RwLock::new(state));
        let writer = Writer { disk, state: Arc::clone(&state), announce, bounds, metrics };
        let thread = std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(operations))?;
        Ok((Self { state, revisions, queue }, thread))
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, State> {
        // A panic cannot leave the state half changed: it is only swapped in whole groups.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Wakes whenever the revision has moved.
    pub(crate) fn revisions(&self) -> watch::Receiver<u64> {
        self.revisions.clone()
    }

    /// Runs `operation` on the writer and answers once its changes are durable. A failure leaves
    /// no trace.
    pub(crate) async fn transact<T, F>(&self, operation: F) -> Result<T, Failure>
    where
        T: Send + 'static,
        F: FnOnce(&mut Draft<'_>) -> Result<T, Failure> + Send + 'static,
    {
        let (reply, outcome) = oneshot::channel();
        let pending = Pending { operation: Some(operation), outcome: None, reply };
        let stopped = || Failure::internal("the broker is shutting down");
        self.queue.send(Box::new(pending)).await.map_err(|_| stopped())?;
        outcome.await.map_err(|_| stopped())?
    }
}

/// One queued operation, its result type hidden.
trait Operation: Send {
    /// Runs it; `true` when it succeeded so far.
    fn run(&mut self, draft: &mut Draft<'_>) -> bool;
    /// Tells the caller, once the group's commit has succeeded or failed.
    fn finish(self: Box<Self>, commit: Result<(), Failure>);
}

struct Pending<T, F> {
    operation: Option<F>,
    outcome: Option<Result<T, Failure>>,
    reply: oneshot::Sender<Result<T, Failure>>,
}

impl<T, F> Operation for Pending<T, F>
where
    T: Send,
    F: FnOnce(&mut Draft<'_>) -> Result<T, Failure> + Send,
{
    fn run(&mut self, draft: &mut Draft<'_>) -> bool {
        let operation = self.operation.take();
        // One caller's bug must not take the only writer from all the others.
        let run = AssertUnwindSafe(|| operation.map(|operation| operation(draft)));
        self.outcome = catch_unwind(run)
            .unwrap_or_else(|_| Some(Err(Failure::internal("the operation panicked"))));
        matches!(self.outcome, Some(Ok(_)))
    }

    fn finish(self: Box<Self>, commit: Result<(), Failure>) {
        let outcome = match (self.outcome, commit) {
            (Some(Ok(_)), Err(failure)) => Err(failure),
            (Some(outcome), _) => outcome,
            (None, Err(failure)) => Err(failure),
            (None, Ok(())) => Err(Failure::internal("the operation did not run")),
        };
        // The caller may have hung up; the change stands all the same.
        let _ = self.reply.send(outcome);
    }
}

struct Writer {
    disk: Disk,
    state: Arc<RwLock<State>>,
    announce: watch::Sender<u64>,
    bounds: HistoryBounds,
    metrics: Arc<Metrics>,
}

impl Writer {
    fn run(mut self, mut operations: mpsc::Receiver<Box<dyn Operation>>) {
        while let Some(first) = operations.blocking_recv() {
            let mut group = vec![first];
            while group.len() < GROUP
                && let Ok(next) = operations.try_recv()
            {
                group.push(next);
            }
            let commit = self.commit(&mut group);
            for operation in group {
                operation.finish(commit.clone());
            }
        }
    }

    fn commit(&mut self, group: &mut [Box<dyn Operation>]) -> Result<(), Failure> {
        self.recover()?;
        let mut changes = Changes::default();
        {
            let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
            changes.revision = state.revision;
            for operation in group {
                let mut draft = Draft::new(&state, &mut changes);
                if operation.run(&mut draft) {
                    draft.keep();
                }
            }
        }
        if changes.is_empty() {
            return Ok(());
        }
        let floor = self.state.read().unwrap_or_else(PoisonError::into_inner).history.floor;
        let started = Instant::now();
        self.disk.commit(&changes, floor)?;
        self.metrics.commit_duration_seconds.observe(started.elapsed().as_secs_f64());
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        changes.apply(&mut state);
        state.history.prune(self.bounds, clock::now());
        let revision = state.revision;
        drop(state);
        self.announce.send_replace(revision);
        Ok(())
    }

    /// After a failed commit only the file knows whether it took hold: it is read again.
    fn recover(&mut self) -> Result<(), Failure> {
        let Some(state) = self.disk.reopen_if_broken()? else { return Ok(()) };
        tracing::info!(revision = state.revision, "storage opened again");
        let revision = state.revision;
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = state;
        self.announce.send_replace(revision);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::{object::born, resource::RESOURCES};
    use redb::{Builder, Database, StorageBackend, backends::FileBackend};
    use std::{
        io,
        sync::atomic::{AtomicBool, Ordering::SeqCst},
    };

    /// A file on a disk that can be full.
    #[derive(Debug)]
    struct Tight(FileBackend, Arc<AtomicBool>);

    impl Tight {
        fn room(&self) -> io::Result<()> {
            if self.1.load(SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        }
    }

    impl StorageBackend for Tight {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> io::Result<()> {
            self.room()?;
            self.0.set_len(len)
        }
        fn sync_data(&self) -> io::Result<()> {
            self.room()?;
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.room()?;
            self.0.write(offset, data)
        }
        fn close(&self) -> io::Result<()> {
            self.0.close()
        }
    }

    fn store_on_tight_disk(path: &std::path::Path, full: &Arc<AtomicBool>) -> Store {
        let (path, full) = (path.to_owned(), Arc::clone(full));
        let open = move || -> Result<Database, redb::Error> {
            let mut options = std::fs::OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(false).open(&path)?;
            let tight = Tight(FileBackend::new(file)?, Arc::clone(&full));
            Ok(Builder::new().create_with_backend(tight)?)
        };
        let (disk, state) = Disk::open_with(Box::new(open)).unwrap();
        let metrics = Arc::new(Metrics::new());
        Store::start(disk, state, HistoryBounds::default(), metrics).unwrap().0
    }

    async fn put(store: &Store, name: &str) -> Result<Arc<Object>, Failure> {
        let key = Key::new(&RESOURCES[1], "ns", name);
        store
            .transact(move |draft| {
                let value = born(&RESOURCES[1], &key, &Value::Null, draft.now);
                Ok(draft.put(key, value))
            })
            .await
    }

    #[tokio::test]
    async fn a_full_disk_refuses_writes_serves_reads_and_recovers() {
        let directory = tempfile::tempdir().unwrap();
        let full = Arc::new(AtomicBool::new(false));
        let store = store_on_tight_disk(&directory.path().join("db"), &full);
        let first = put(&store, "a").await.unwrap();
        full.store(true, SeqCst);
        for _ in 0..3 {
            let refused = put(&store, "b").await.unwrap_err();
            assert_eq!(refused.code.as_u16(), 507, "{refused}");
            assert_eq!(store.read().objects.len(), 1);
        }
        full.store(false, SeqCst);
        let second = put(&store, "b").await.unwrap();
        assert!(second.revision > first.revision);
        assert_eq!(store.read().objects.len(), 2);
    }

    #[tokio::test]
    async fn an_operation_that_panics_harms_no_other() {
        let directory = tempfile::tempdir().unwrap();
        let store = store_on_tight_disk(&directory.path().join("db"), &Arc::default());
        let broken = store.transact::<(), _>(|_| panic!("told by the test")).await;
        assert_eq!(broken.unwrap_err().code.as_u16(), 500);
        put(&store, "a").await.unwrap();
        assert_eq!(store.read().objects.len(), 1);
    }
}
