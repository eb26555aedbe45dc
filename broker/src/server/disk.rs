//! Owns the database file: its tables, loading, durable commits, and opening it again after an
//! I/O error. Does not own what the records mean.

use super::{
    account::TokenRecord,
    clock,
    draft::Changes,
    failure::Failure,
    history::{Event, History},
    object::{Key, Object},
    resource::RESOURCES,
    store::{Anchor, State},
};
use axum::body::Bytes;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::{fs::OpenOptions, io, os::unix::fs::OpenOptionsExt, path::Path, sync::Arc};

const META: TableDefinition<&str, u64> = TableDefinition::new("meta");
/// `plural/namespace/name` to JSON.
const OBJECTS: TableDefinition<&str, &[u8]> = TableDefinition::new("objects");
/// Revision to [`Record`].
const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
const TOKENS: TableDefinition<&str, &[u8]> = TableDefinition::new("tokens");
const ANCHORS: TableDefinition<&str, &[u8]> = TableDefinition::new("anchors");

const REVISION: &str = "revision";
const FORMAT: &str = "format";
const FORMAT_VERSION: u64 = 1;

/// What makes the storage unusable at start.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// Another process has it open. Retrying helps once that one has ended.
    #[error("another sealane-broker works with it; stop that one first")]
    InUse,
    /// The file cannot be opened or is damaged.
    #[error("{}", one_clause(.0))]
    Database(#[from] Box<redb::Error>),
    /// A record does not parse; another program wrote it.
    #[error("record {key} is not readable: {cause}")]
    Record {
        /// Table and key.
        key: String,
        /// What the parser said.
        cause: String,
    },
    /// Written by a later version of this program.
    #[error("format {0} is newer than this program knows ({FORMAT_VERSION})")]
    Format(u64),
}

impl DiskError {
    fn database(error: impl Into<redb::Error>) -> Self {
        match error.into() {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            other => Self::Database(Box::new(other)),
        }
    }
}

/// The database's messages are sentences; ours go on behind them.
fn one_clause(error: &redb::Error) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

type Open = Box<dyn Fn() -> Result<Database, redb::Error> + Send>;

/// The database, which may be broken by an I/O error until it is opened again.
pub(crate) struct Disk {
    open: Open,
    database: Option<Database>,
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Disk").field("broken", &self.database.is_none()).finish_non_exhaustive()
    }
}

/// One change as it is kept on disk.
#[derive(Serialize, Deserialize)]
struct Record {
    at: u64,
    key: String,
    deleted: bool,
    object: Box<RawValue>,
    before: Option<Box<RawValue>>,
}

impl Disk {
    /// Opens or creates the file (mode 0600) and loads everything.
    pub(crate) fn open(path: &Path) -> Result<(Self, State), DiskError> {
        let path = path.to_owned();
        Self::open_with(Box::new(move || {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false).mode(0o600);
            options.open(&path).map_err(redb::Error::Io)?;
            Ok(Database::create(&path)?)
        }))
    }

    pub(crate) fn open_with(open: Open) -> Result<(Self, State), DiskError> {
        let database = open().map_err(DiskError::database)?;
        initialise(&database)?;
        let state = load(&database)?;
        Ok((Self { open, database: Some(database) }, state))
    }

    /// Writes a group of changes; durable when it returns. History up to `floor` is deleted.
    pub(crate) fn commit(&mut self, changes: &Changes, floor: u64) -> Result<(), Failure> {
        let Some(database) = &self.database else { return Err(unusable("the file is closed")) };
        write(database, changes, floor).map_err(|error| {
            self.database = None;
            tracing::error!(%error, "write not stored");
            failure(&error)
        })
    }

    /// The state on disk if the file had to be opened again.
    pub(crate) fn reopen_if_broken(&mut self) -> Result<Option<State>, Failure> {
        if self.database.is_some() {
            return Ok(None);
        }
        let database = (self.open)().map_err(|error| failure(&error))?;
        let state = load(&database).map_err(|error| match error {
            DiskError::Database(error) => failure(&error),
            other => unusable(&other.to_string()),
        })?;
        self.database = Some(database);
        Ok(Some(state))
    }
}

fn unusable(cause: &str) -> Failure {
    Failure::internal(format!("storage: {cause}; reads still work, see the broker's log"))
}

fn failure(error: &redb::Error) -> Failure {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error {
        redb::Error::Io(cause)
            if matches!(cause.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
        {
            Failure::disk_full(format!("storage: {cause}; free space on the broker, then retry"))
        }
        other => unusable(&one_clause(other)),
    }
}

fn initialise(database: &Database) -> Result<(), DiskError> {
    let begun = database.begin_write().map_err(DiskError::database)?;
    let fill = |transaction: &redb::WriteTransaction| -> Result<u64, redb::Error> {
        transaction.open_table(OBJECTS)?;
        transaction.open_table(HISTORY)?;
        transaction.open_table(TOKENS)?;
        transaction.open_table(ANCHORS)?;
        let mut meta = transaction.open_table(META)?;
        if let Some(format) = meta.get(FORMAT)?.map(|format| format.value()) {
            return Ok(format);
        }
        meta.insert(FORMAT, FORMAT_VERSION)?;
        // A broker that lost its disk starts above what it ever gave out, so that a client's old
        // resourceVersion is answered with 410 and never taken for a place in the new history.
        meta.insert(REVISION, clock::now())?;
        Ok(FORMAT_VERSION)
    };
    let format = fill(&begun).map_err(DiskError::database)?;
    if format > FORMAT_VERSION {
        return Err(DiskError::Format(format));
    }
    begun.commit().map_err(DiskError::database)
}

fn write(database: &Database, changes: &Changes, floor: u64) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    transaction.open_table(META)?.insert(REVISION, changes.revision)?;
    let mut objects = transaction.open_table(OBJECTS)?;
    for (key, change) in &changes.objects {
        match change {
            Some(object) => objects.insert(key.path().as_str(), object.json.as_ref())?,
            None => objects.remove(key.path().as_str())?,
        };
    }
    drop(objects);
    let mut history = transaction.open_table(HISTORY)?;
    for event in &changes.events {
        history.insert(event.revision, json(&Record::of(event)?)?.as_slice())?;
    }
    history.retain_in(..=floor, |_, _| false)?;
    drop(history);
    let mut tokens = transaction.open_table(TOKENS)?;
    for (id, change) in &changes.tokens {
        match change {
            Some(token) => tokens.insert(id.as_str(), json(token.as_ref())?.as_slice())?,
            None => tokens.remove(id.as_str())?,
        };
    }
    drop(tokens);
    let mut anchors = transaction.open_table(ANCHORS)?;
    for (namespace, anchor) in &changes.anchors {
        anchors.insert(namespace.as_str(), json(anchor.as_ref())?.as_slice())?;
    }
    drop(anchors);
    transaction.commit()?;
    Ok(())
}

fn json<T: Serialize>(value: &T) -> Result<Vec<u8>, redb::Error> {
    serde_json::to_vec(value).map_err(|error| redb::Error::Io(io::Error::other(error)))
}

impl Record {
    fn of(event: &Event) -> Result<Self, redb::Error> {
        let raw = |object: &Object| {
            let text = String::from_utf8_lossy(&object.json).into_owned();
            RawValue::from_string(text).map_err(|error| redb::Error::Io(io::Error::other(error)))
        };
        Ok(Self {
            at: event.at,
            key: event.object.key.path(),
            deleted: event.deleted,
            object: raw(&event.object)?,
            before: event.before.as_deref().map(raw).transpose()?,
        })
    }
}

fn load(database: &Database) -> Result<State, DiskError> {
    let transaction = database.begin_read().map_err(DiskError::database)?;
    let table = transaction.open_table(META).map_err(DiskError::database)?;
    let revision =
        table.get(REVISION).map_err(DiskError::database)?.map_or(0, |found| found.value());
    let mut state = State { revision, ..State::default() };
    each(&transaction, OBJECTS, |path: &str, json| {
        if let Some(object) = object(path, json)? {
            state.objects.insert(object.key.clone(), Arc::new(object));
        }
        Ok(())
    })?;
    each(&transaction, TOKENS, |id: &str, json| {
        let token: TokenRecord = serde_json::from_slice(json)?;
        state.tokens.insert(id.to_owned(), Arc::new(token));
        Ok(())
    })?;
    each(&transaction, ANCHORS, |namespace: &str, json| {
        let anchor: Anchor = serde_json::from_slice(json)?;
        state.anchors.insert(namespace.to_owned(), Arc::new(anchor));
        Ok(())
    })?;
    let mut events = Vec::new();
    let history = transaction.open_table(HISTORY).map_err(DiskError::database)?;
    for entry in history.iter().map_err(DiskError::database)? {
        let (revision, json) = entry.map_err(DiskError::database)?;
        let record = |cause: serde_json::Error| DiskError::Record {
            key: format!("history {}", revision.value()),
            cause: cause.to_string(),
        };
        events.extend(event(revision.value(), json.value()).map_err(record)?);
    }
    // Revisions have no gaps: what precedes the first kept change is what was forgotten.
    let floor = events.first().map_or(revision, |first| first.revision - 1);
    state.history = History::starting_at(floor);
    events.into_iter().for_each(|event| state.history.push(Arc::new(event)));
    Ok(state)
}

fn each(
    transaction: &redb::ReadTransaction,
    definition: TableDefinition<&'static str, &'static [u8]>,
    mut take: impl FnMut(&str, &[u8]) -> Result<(), serde_json::Error>,
) -> Result<(), DiskError> {
    let table = transaction.open_table(definition).map_err(DiskError::database)?;
    for entry in table.iter().map_err(DiskError::database)? {
        let (key, value) = entry.map_err(DiskError::database)?;
        take(key.value(), value.value()).map_err(|cause| DiskError::Record {
            key: key.value().to_owned(),
            cause: cause.to_string(),
        })?;
    }
    Ok(())
}

/// `None` for a kind that this version does not serve: it stays on disk, unseen.
fn object(path: &str, json: &[u8]) -> Result<Option<Object>, serde_json::Error> {
    let mut parts = path.splitn(3, '/');
    let (Some(plural), Some(namespace), Some(name)) = (parts.next(), parts.next(), parts.next())
    else {
        return Ok(None);
    };
    let Some(resource) = RESOURCES.iter().find(|resource| resource.plural == plural) else {
        return Ok(None);
    };
    let value: serde_json::Value = serde_json::from_slice(json)?;
    let revision = value["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    let key = Key::new(resource, namespace, name);
    let json = Bytes::copy_from_slice(json);
    Ok(Some(Object::stored(key, &value, revision.unwrap_or_default(), json)))
}

fn event(revision: u64, json: &[u8]) -> Result<Option<Event>, serde_json::Error> {
    let record: Record = serde_json::from_slice(json)?;
    let parse = |raw: &RawValue| object(&record.key, raw.get().as_bytes());
    let Some(last) = parse(&record.object)? else { return Ok(None) };
    let before = record.before.as_deref().map(parse).transpose()?.flatten().map(Arc::new);
    Ok(Some(Event {
        revision,
        at: record.at,
        object: Arc::new(last),
        deleted: record.deleted,
        before,
    }))
}
