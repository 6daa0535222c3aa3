//! The embedded store's file: small entries by key, durable when a call returns.
//!
//! State: one redb database with one table. A database that failed to read or write is closed, and opened again by
//! the next call: redb refuses further work on it otherwise, and a full disk does not stay full for ever. Calls
//! block; they run where the [`super::EmbeddedPlacement`] puts them.

use std::any::Any;
use std::fs;
use std::io::ErrorKind as IoKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use holdfast_context::Context;
use redb::backends::InMemoryBackend;
use redb::{
    Builder, Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction,
};

use crate::error::{Error, Result};
use crate::keys::{Keys, end_of};
use crate::mark::Mark;
use crate::value;

/// All entries: the key layout of [`crate::keys`], without a prefix.
const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("placement");

/// Memory that redb may cache in, in bytes. The whole file is smaller than this for a thousand vaults.
const CACHE_BYTES_MAX: usize = 4 << 20;

/// An open file.
pub(super) struct File {
    /// `None`: in memory.
    path: Option<PathBuf>,
    /// How messages call it.
    name: String,
    /// `None` after a failure, until the next call opens it again.
    database: Mutex<Option<Database>>,
}

/// How a call on the database failed.
struct Failure {
    cause: redb::Error,
    /// Whether nothing was changed for certain.
    determinate: bool,
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            cause: error.into(),
            determinate: true,
        }
    }
}

impl File {
    /// Opens the file, or creates it, and checks every page of it.
    pub(super) fn open(path: PathBuf, context: &Context) -> Result<Self> {
        if !path.exists() {
            Self::create(&path, context)?;
        }
        Self::ready(Self::at(&path, path.clone()), context)
    }

    fn at(path: &Path, lies: PathBuf) -> Self {
        Self {
            path: Some(lies),
            name: format!("placement file {}", path.display()),
            database: Mutex::new(None),
        }
    }

    /// ORDER: a new file gets its name once all of it is on the disk. One that a power cut left half made would be taken for
    /// damage at the next start, and somebody would have to delete it. Whoever else made it meanwhile was first.
    fn create(path: &Path, context: &Context) -> Result<()> {
        let unfinished = path.with_extension(format!("new-{}", std::process::id()));
        let file = Self::at(path, unfinished.clone());
        let tidy = || match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != IoKind::NotFound => Err(error),
            _ => Ok(()),
        };
        let fails =
            |error: std::io::Error| file.error("create the file", redb::Error::Io(error).into());
        tidy().map_err(fails)?;
        Self::ready(Self::at(path, unfinished.clone()), context)?;
        let named = match fs::hard_link(&unfinished, path) {
            Err(error) if error.kind() == IoKind::AlreadyExists => Ok(()),
            // Not every file system has links.
            Err(_) => fs::rename(&unfinished, path),
            Ok(()) => Ok(()),
        };
        named.map_err(fails)?;
        let folder = path.parent().unwrap_or(Path::new("."));
        let synced = fs::File::open(folder).and_then(|folder| folder.sync_all());
        synced.map_err(fails)?;
        tidy().map_err(fails)
    }

    /// A file that never touches a disk.
    pub(super) fn in_memory(context: &Context) -> Result<Self> {
        let database = Builder::new().create_with_backend(InMemoryBackend::new());
        let file = Self {
            path: None,
            name: "placement in memory".into(),
            database: Mutex::new(None),
        };
        match database {
            Ok(database) => {
                *file.database.lock().unwrap_or_else(PoisonError::into_inner) = Some(database);
                Self::ready(file, context)
            }
            Err(error) => Err(file.error("create the store", error.into())),
        }
    }

    /// Writes the mark into a new file and refuses one of a newer release.
    fn ready(file: Self, context: &Context) -> Result<Self> {
        let key = Keys::new("").version();
        let born = value::encode(&Mark::new(context));
        let found = file.write("look up the version", |table| {
            if let Some(bytes) = table.get(key.as_str())? {
                return Ok(Some(bytes.value().to_vec()));
            }
            table.insert(key.as_str(), born.as_slice())?;
            Ok(None)
        })?;
        match found {
            None => Ok(file),
            Some(bytes) => Mark::read(&file.name, &key, &bytes).map(|_| file),
        }
    }

    /// How messages call the file.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Entries whose key starts with `prefix`, in key order.
    pub(super) fn list(&self, prefix: &str) -> Result<Vec<(String, Vec<u8>)>> {
        self.with("read entries", |database| {
            let transaction = database.begin_read()?;
            let table = transaction.open_table(ENTRIES)?;
            let mut entries = Vec::new();
            for entry in table.range(prefix..)? {
                let (key, bytes) = entry?;
                if !key.value().starts_with(prefix) {
                    break;
                }
                entries.push((key.value().to_string(), bytes.value().to_vec()));
            }
            Ok(entries)
        })
    }

    /// Adds or replaces an entry.
    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        self.write("write an entry", |table| {
            table.insert(key, bytes)?;
            Ok(())
        })
    }

    /// Removes one entry, and all below some prefixes.
    pub(super) fn remove(&self, key: &str, prefixes: &[String]) -> Result<()> {
        self.write("remove an entry", |table| {
            table.remove(key)?;
            for prefix in prefixes {
                let end = end_of(prefix);
                table.retain_in(prefix.as_str()..end.as_str(), |_, _| false)?;
            }
            Ok(())
        })
    }

    /// Raises a counter to 1 + max(counter, `floor`) and returns it.
    pub(super) fn raise(&self, key: &str, floor: u64) -> Result<u64> {
        self.write("issue an epoch", |table| {
            let before = match table.get(key)? {
                None => 0,
                Some(bytes) => match value::decode(&self.name, key, bytes.value()) {
                    Ok(counter) => counter,
                    Err(error) => return Ok(Err(error)),
                },
            };
            let Some(next) = before.max(floor).checked_add(1) else {
                return Ok(Err(Error::invalid(
                    format!("epoch floor {floor}"),
                    "it is the last one",
                )));
            };
            table.insert(key, value::encode(&next).as_slice())?;
            Ok(Ok(next))
        })?
    }

    /// Runs a change in one transaction and makes it durable.
    fn write<T, W>(&self, task: &'static str, work: W) -> Result<T>
    where
        W: FnOnce(&mut Table<'_, &'static str, &'static [u8]>) -> std::result::Result<T, Failure>,
    {
        self.with(task, |database| {
            let transaction: WriteTransaction = database.begin_write()?;
            let value = work(&mut transaction.open_table(ENTRIES)?)?;
            // A commit that fails may have reached the disk all the same.
            transaction.commit().map_err(|error| Failure {
                cause: error.into(),
                determinate: false,
            })?;
            Ok(value)
        })
    }

    /// Lends the database, opening it if a failure had closed it.
    fn with<T, W>(&self, task: &'static str, work: W) -> Result<T>
    where
        W: FnOnce(&Database) -> std::result::Result<T, Failure>,
    {
        let mut slot = self.database.lock().unwrap_or_else(PoisonError::into_inner);
        // redb documents that it may panic on a file that was altered behind its back. A panic here is damage, and
        // must reach the operator as such; the database that panicked is dropped within, so no broken state is kept.
        let attempt = catch_unwind(AssertUnwindSafe(|| {
            let database = match slot.take() {
                Some(database) => database,
                None => self.open_database()?,
            };
            let value = work(&database)?;
            *slot = Some(database);
            Ok(value)
        }));
        match attempt {
            Ok(outcome) => outcome.map_err(|failure: Failure| self.error(task, failure)),
            Err(panic) => Err(self.damaged(panic_text(&*panic))),
        }
    }

    fn open_database(&self) -> std::result::Result<Database, Failure> {
        let Some(path) = &self.path else {
            // What was in memory is gone with the database that failed.
            return Err(redb::Error::DatabaseClosed.into());
        };
        let mut builder = Builder::new();
        builder
            .set_cache_size(CACHE_BYTES_MAX)
            .set_check_integrity_on_open(true);
        Ok(builder.create(path)?)
    }

    /// Says what a failure of redb means here.
    fn error(&self, task: &'static str, failure: Failure) -> Error {
        let Failure { cause, determinate } = failure;
        let store = self.name.clone();
        let why = cause.to_string();
        match cause {
            redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch => Error::InUse {
                file: self.path.clone().unwrap_or_default(),
            },
            redb::Error::Io(io) => match io.kind() {
                IoKind::InvalidData | IoKind::UnexpectedEof => self.damaged(why),
                IoKind::NotFound => Error::invalid(
                    self.name.clone(),
                    "the folder that it lies in does not exist",
                ),
                IoKind::PermissionDenied | IoKind::ReadOnlyFilesystem => {
                    let source = Some(Box::from(io));
                    Error::Denied {
                        store,
                        task,
                        why: "the file or its folder may not be written".into(),
                        source,
                    }
                }
                _ => {
                    let why = "the disk does not take or give its bytes".into();
                    Error::Unavailable {
                        store,
                        task,
                        why,
                        determinate,
                        source: Some(Box::from(io)),
                    }
                }
            },
            redb::Error::PreviousIo | redb::Error::DatabaseClosed => {
                let why = "an earlier failure closed it".into();
                Error::Unavailable {
                    store,
                    task,
                    why,
                    determinate,
                    source: Some(Box::from(cause)),
                }
            }
            redb::Error::ValueTooLarge(_) => Error::invalid("entry", "it is larger than 3 GiB"),
            _ => self.damaged(why),
        }
    }

    fn damaged(&self, why: String) -> Error {
        Error::Damaged {
            file: self.path.clone().unwrap_or_default(),
            why,
        }
    }
}

impl std::fmt::Debug for File {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("File").field(&self.name).finish()
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> String {
    match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => (*text).into(),
        (_, Some(text)) => text.clone(),
        _ => "it cannot be read".into(),
    }
}
