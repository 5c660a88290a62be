//! Keys that go elsewhere, or are copied: `RENAME`, `RENAMENX`, `MOVE`, `COPY`.
//!
//! A key is read out whole and written anew, because its new name may belong to another shard; all shards of a command
//! are held at once, so nobody sees the step between. A large structure moves as it is, or is copied in steps (`steps`),
//! and is put under its new name in steps as well (`storing`).

use super::db_argument;
use crate::cache::{self, Access, Expiry, Putting, SharedBytes, Whole};
use crate::collection::Garbage;
use crate::command::steps::{self, Progress, Steps};
use crate::command::{Error, Exec, events, storing};
use crate::limits::{LONG_BYTES_MIN, STEP_BYTES};
use crate::protocol::{Args, Reply};
use crate::types::{DbIndex, Key, UnixMs};

const SAME_OBJECT: Error = Error::Static("ERR source and destination objects are the same");

/// A key's value and what goes with it, on the way from one place to another.
struct InTransit {
    value: Moving,
    expires_at: Option<UnixMs>,
    modified_in_place: bool,
}

/// A value on its way: its bytes, or what they lie in where they are too many to be copied.
enum Moving {
    Copied(Vec<u8>),
    Shared(SharedBytes),
    Collection(Whole),
}

impl InTransit {
    fn write(self, exec: &mut Exec<'_>, key: Key<'_>) {
        let now = exec.now.unix;
        let keyspace = exec.keyspace(key);
        let expiry = self.expires_at.map_or(Expiry::Clear, Expiry::At);
        match self.value {
            Moving::Shared(value) => keyspace.set_shared(key, value, expiry, now),
            Moving::Collection(whole) => {
                let put = keyspace.put_collection(key, whole, self.expires_at, now);
                debug_assert!(put.is_ok(), "what may be too much is put in steps");
            }
            Moving::Copied(value) => {
                keyspace.set(key, &value, expiry, now);
                if self.modified_in_place {
                    // An edit that changes nothing carries the mark over.
                    keyspace.edit(key, value.len(), 0..0, now, |_| ());
                }
            }
        }
        keyspace.count_change();
    }
}

pub(super) fn rename(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if !is_to_be_renamed(exec, args, true)? {
        reply.ok();
        return Ok(());
    }
    move_key(exec, args, reply, Form::Rename)
}

pub(super) fn renamenx(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if !is_to_be_renamed(exec, args, false)? {
        reply.integer(0);
        return Ok(());
    }
    move_key(exec, args, reply, Form::RenameToFree)
}

/// Whether argument 1 is to be renamed to argument 2, over an existing key only if `replace`. A key that is renamed to
/// itself stays as it is, which is no rename to a free name.
fn is_to_be_renamed(exec: &mut Exec<'_>, args: &Args<'_>, replace: bool) -> Result<bool, Error> {
    let (from, to) = (exec.key(args.at(1)), exec.key(args.at(2)));
    let (now, access) = (exec.now.unix, exec.write_access());
    if !exec.keyspace(from).contains(from, now, access) {
        return Err(Error::NoSuchKey);
    }
    if from == to {
        return Ok(false);
    }
    Ok(replace || !exec.keyspace(to).contains(to, now, access))
}

pub(super) fn move_to_db(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    if exec.view.cluster {
        return Err(Error::Static("ERR MOVE is not allowed in cluster mode"));
    }
    let db = db_argument(args.at(2))?;
    if db == exec.db {
        return Err(SAME_OBJECT);
    }
    let (from, to) = (exec.key(args.at(1)), exec.key_in(db, args.at(1)));
    let (now, access) = (exec.now.unix, exec.write_access());
    // The lookup of `from` counts as use even when the move then fails, so it comes first.
    let moves = exec.keyspace(from).contains(from, now, access)
        && !exec.keyspace(to).contains(to, now, access);
    if !moves {
        reply.integer(0);
        return Ok(());
    }
    move_key(exec, args, reply, Form::ToDatabase(db))
}

pub(super) fn copy(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let (replace, db) = copy_options(exec, args)?;
    let (from, to) = (exec.key(args.at(1)), exec.key_in(db, args.at(2)));
    if from == to {
        return Err(SAME_OBJECT);
    }
    let (now, access) = (exec.now.unix, exec.read_access());
    let copies = exec.keyspace(from).contains(from, now, access)
        && (replace || !exec.keyspace(to).contains(to, now, Access::Peek));
    if !copies {
        reply.integer(0);
        return Ok(());
    }
    if let Some(copying) = exec.keyspace(from).begin_copy(from, now) {
        let entry = exec.keyspace(from).get(from, now, Access::Peek);
        let expires_at = entry.and_then(|entry| entry.expires_at);
        let stage = Stage::Copy(copying);
        return steps::run(exec, args, reply, Copying { db, expires_at, stage });
    }
    if let Some(moving) = read_whole(exec, from, Transfer::Copy) {
        moving.write(exec, to);
        exec.tell(to, events::COPY_TO);
    }
    reply.integer(1);
    Ok(())
}

fn copy_options(exec: &Exec<'_>, args: &Args<'_>) -> Result<(bool, DbIndex), Error> {
    let (mut replace, mut db) = (false, exec.db);
    let mut options = args.from(3);
    while let Some(option) = options.next() {
        if option.eq_ignore_ascii_case(b"replace") {
            replace = true;
        } else if option.eq_ignore_ascii_case(b"db") {
            db = db_argument(options.next().ok_or(Error::Syntax)?)?;
        } else {
            return Err(Error::Syntax);
        }
    }
    if exec.view.cluster && db != exec.db {
        return Err(Error::Static(
            "ERR Copying to another database is not allowed in cluster mode",
        ));
    }
    Ok((replace, db))
}

/// What becomes of a key whose value goes to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Transfer {
    /// It stays; looking it up does not count.
    Copy,
    /// It goes; looking it up counts so.
    Move(Access),
}

/// All that `key` holds, which is removed if it moves.
fn read_whole(exec: &mut Exec<'_>, key: Key<'_>, how: Transfer) -> Option<InTransit> {
    let (now, keyspace) = (exec.now.unix, exec.keyspace(key));
    let access = match how {
        Transfer::Copy => Access::Peek,
        Transfer::Move(access) => access,
    };
    let entry = keyspace.get(key, now, access)?;
    let (expires_at, modified_in_place) = (entry.expires_at, entry.modified_in_place);
    let value = match entry.string() {
        Ok(value) if value.len() > LONG_BYTES_MIN => {
            Moving::Shared(keyspace.shared_value(key, now)?)
        }
        Ok(value) => Moving::Copied(value.to_vec()),
        Err(_) if how == Transfer::Copy => Moving::Collection(keyspace.copy_collection(key, now)?),
        Err(_) => Moving::Collection(keyspace.take_collection_of(key, now)?),
    };
    if how != Transfer::Copy {
        keyspace.remove(key, now);
    }
    Some(InTransit { value, expires_at, modified_in_place })
}

// --- in steps ------------------------------------------------------------------------------------

/// A structure that is being copied to another key.
#[derive(Debug)]
struct Copying {
    /// The other key's database.
    db: DbIndex,
    expires_at: Option<UnixMs>,
    stage: Stage,
}

/// What is being done.
#[derive(Debug)]
enum Stage {
    /// A copy is made where nobody sees it.
    Copy(cache::Copying),
    /// It is put under the other key.
    Put(Putting),
    Done,
}

impl Steps for Copying {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let (from, to) = (exec.key(args.at(1)), exec.key_in(self.db, args.at(2)));
        let now = exec.now.unix;
        let is_over = match &mut self.stage {
            Stage::Copy(copying) => exec.keyspace(from).copy_some(from, now, copying, STEP_BYTES),
            Stage::Put(putting) => storing::write_some(exec, to, putting)?,
            Stage::Done => true,
        };
        if !is_over {
            return Ok(Progress::Begun);
        }
        match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Copy(copying) => {
                let (keyspace, whole) = (exec.keyspace(to), copying.into_whole());
                self.stage = Stage::Put(keyspace.begin_put(to, whole, self.expires_at, now));
                return Ok(Progress::Begun);
            }
            Stage::Put(putting) => {
                storing::end(exec, to, putting);
                exec.tell(to, events::COPY_TO);
                reply.integer(1);
            }
            Stage::Done => {}
        }
        Ok(Progress::Done)
    }

    fn take_garbage(&mut self) -> Vec<Box<dyn Garbage>> {
        let copy = match std::mem::replace(&mut self.stage, Stage::Done) {
            Stage::Copy(copying) => copying.into_whole(),
            Stage::Put(putting) => putting.into_whole(),
            Stage::Done => return Vec::new(),
        };
        copy.into_garbage().into_iter().collect()
    }
}

/// Which command moves a key.
#[derive(Clone, Copy, Debug)]
enum Form {
    Rename,
    RenameToFree,
    ToDatabase(DbIndex),
}

impl Form {
    /// From where to where.
    fn keys<'k>(self, exec: &Exec<'_>, args: &Args<'k>) -> (Key<'k>, Key<'k>) {
        let from = exec.key(args.at(1));
        match self {
            Self::Rename | Self::RenameToFree => (from, exec.key(args.at(2))),
            Self::ToDatabase(db) => (from, exec.key_in(db, args.at(1))),
        }
    }

    /// Tells of it, and answers.
    fn end(self, exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) {
        let (from, to) = self.keys(exec, args);
        let (gone, come) = match self {
            Self::Rename | Self::RenameToFree => (events::RENAME_FROM, events::RENAME_TO),
            Self::ToDatabase(_) => (events::MOVE_FROM, events::MOVE_TO),
        };
        exec.tell(from, gone);
        exec.tell(to, come);
        match self {
            Self::Rename => reply.ok(),
            Self::RenameToFree | Self::ToDatabase(_) => reply.integer(1),
        }
    }
}

/// Moves a key that is there, whatever the other key holds.
fn move_key(
    exec: &mut Exec<'_>,
    args: &Args<'_>,
    reply: &mut Reply<'_>,
    form: Form,
) -> Result<(), Error> {
    let ((from, to), access, now) = (form.keys(exec, args), exec.write_access(), exec.now.unix);
    if exec.keyspace(to).has_journal() {
        let entry = exec.keyspace(from).get(from, now, access);
        let expires_at = entry.and_then(|entry| entry.expires_at);
        if let Some(whole) = exec.keyspace(from).lift_structure(from, now) {
            let putting = exec.keyspace(to).begin_put(to, whole, expires_at, now);
            return steps::run(exec, args, reply, Relocating { form, putting: Some(putting) });
        }
    }
    if let Some(moving) = read_whole(exec, from, Transfer::Move(access)) {
        moving.write(exec, to);
        form.end(exec, args, reply);
    }
    Ok(())
}

/// A structure that is on its way to another key: what takes long is that all of it is written down in the journal.
#[derive(Debug)]
struct Relocating {
    form: Form,
    putting: Option<Putting>,
}

impl Steps for Relocating {
    fn step(
        &mut self,
        exec: &mut Exec<'_>,
        args: &Args<'_>,
        reply: &mut Reply<'_>,
    ) -> Result<Progress, Error> {
        let ((from, to), now) = (self.form.keys(exec, args), exec.now.unix);
        let Some(mut putting) = self.putting.take() else { return Ok(Progress::Done) };
        match storing::write_some(exec, to, &mut putting) {
            Ok(false) => {
                self.putting = Some(putting);
                return Ok(Progress::Begun);
            }
            Ok(true) => {}
            Err(error) => {
                exec.keyspace(from).put_back_structure(from, putting.into_whole(), now);
                return Err(error);
            }
        }
        storing::end(exec, to, putting);
        exec.keyspace(from).remove(from, now);
        self.form.end(exec, args, reply);
        Ok(Progress::Done)
    }
}
