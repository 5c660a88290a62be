//! Several keys at once: each owner gets its keys in one request, or a few, and all at the same time.

use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use bytes::Bytes;

use super::call::{Answer, Call, Effect, Route};
use super::error::Error;
use super::operation::{Operation, done, list};
use super::request::{Request, send};
use super::value::{Value, Version};
use crate::limits::{CLIENT_COPIED_BYTES_MAX, CLIENT_MANY_BYTES_MAX, CLIENT_MANY_KEYS_MAX};
use crate::protocol::binary::body::{Token, read_values};
use crate::protocol::binary::{Opcode, Status};
use crate::types::{Slot, key_slot};

/// Gives the values of several keys, in the order of the keys.
#[derive(Debug)]
pub enum GetMany {}
/// Sets several values.
#[derive(Debug)]
pub enum SetMany {}

/// The keys of a get-many.
#[derive(Debug)]
pub struct GetManyDraft {
    call: Call,
    keys: Vec<Bytes>,
}

/// The keys and values of a set-many.
#[derive(Debug)]
pub struct SetManyDraft {
    call: Call,
    pairs: Vec<(Bytes, Bytes)>,
}

impl GetManyDraft {
    pub(super) fn new(keys: Vec<Bytes>) -> Self {
        Self { call: Call::many("get-many", Opcode::GetMany, Effect::Read), keys }
    }
}

impl SetManyDraft {
    pub(super) fn new(pairs: Vec<(Bytes, Bytes)>) -> Self {
        Self { call: Call::many("set-many", Opcode::SetMany, Effect::Write), pairs }
    }
}

impl Operation for GetMany {
    type Output = Vec<Option<Value>>;
    type Draft = GetManyDraft;

    fn call(draft: &mut GetManyDraft) -> &mut Call {
        &mut draft.call
    }

    async fn run(request: Request<Self>) -> Result<Self::Output, Error> {
        let GetManyDraft { call, keys } = &request.draft;
        let slots = keys.iter().map(|key| (key_slot(key), 0));
        let groups = request.groups(slots);
        let asked = groups.iter().map(|group| {
            let keys: Vec<&Bytes> = group.indexes.iter().map(|&index| &keys[index]).collect();
            let call = group.call(call, list(&keys));
            let count = keys.len();
            send(&request.client, &request.terms, call, move |answer| values(&answer, count))
        });
        let mut all = vec![None; keys.len()];
        for (group, values) in groups.iter().zip(join(asked).await?) {
            for (&index, value) in group.indexes.iter().zip(values) {
                all[index] = value;
            }
        }
        Ok(all)
    }
}

impl Operation for SetMany {
    type Output = ();
    type Draft = SetManyDraft;

    fn call(draft: &mut SetManyDraft) -> &mut Call {
        &mut draft.call
    }

    async fn run(request: Request<Self>) -> Result<(), Error> {
        let SetManyDraft { call, pairs } = &request.draft;
        let slots = pairs.iter().map(|(key, value)| (key_slot(key), key.len() + value.len()));
        let groups = request.groups(slots);
        let sent = groups.iter().map(|group| {
            let pairs = group.indexes.iter().map(|&index| &pairs[index]);
            let strings: Vec<&Bytes> = pairs.flat_map(|(key, value)| [key, value]).collect();
            let call = group.call(call, list(&strings));
            send(&request.client, &request.terms, call, |answer| {
                done(&answer)?;
                Token::read_all(&answer.body).map_err(|error| error.to_string())
            })
        });
        for tokens in join(sent).await? {
            tokens.into_iter().for_each(|token| request.terms.note(token));
        }
        Ok(())
    }
}

/// The keys that one request names.
struct Group {
    /// The slot of the first.
    slot: Slot,
    /// Which of all keys they are.
    indexes: Vec<usize>,
    bytes: usize,
}

impl Group {
    fn call(&self, call: &Call, value: Bytes) -> Call {
        Call { slot: self.slot, route: Route::Owner(self.slot), value, ..call.clone() }
    }
}

impl<O: Operation> Request<O> {
    /// Which keys go together: those of one owner; with a session those of one shard, because a request
    /// names one token, and so in a cluster of nodes, where any shard may have another leader by then; in
    /// cluster mode those of one slot. Keys are given as their slots and bytes.
    fn groups(&self, keys: impl Iterator<Item = (Slot, usize)>) -> Vec<Group> {
        let routes = self.client.hub.routes();
        let mut open: BTreeMap<(u16, u16, u16), Group> = BTreeMap::new();
        let mut full = Vec::new();
        for (index, (slot, bytes)) in keys.enumerate() {
            let owner = routes.owner(slot);
            let by_shard = self.terms.has_session() || routes.server.has_nodes;
            let shard = if by_shard { owner.shard.0 } else { 0 };
            let alone = if routes.server.cluster { slot.0 } else { 0 };
            let fresh = || Group { slot, indexes: Vec::new(), bytes: 0 };
            let group = open.entry((owner.core, shard, alone)).or_insert_with(fresh);
            let is_full = group.indexes.len() == CLIENT_MANY_KEYS_MAX
                || group.bytes + bytes > CLIENT_MANY_BYTES_MAX;
            if is_full && !group.indexes.is_empty() {
                full.push(std::mem::replace(group, fresh()));
            }
            group.indexes.push(index);
            group.bytes += bytes;
        }
        full.extend(open.into_values());
        full
    }
}

/// The values of a get-many's reply.
fn values(answer: &Answer, count: usize) -> Result<Vec<Option<Value>>, String> {
    if answer.status() != Status::Ok {
        done(answer)?;
    }
    let values = read_values(&answer.body).map_err(|error| error.to_string())?;
    if values.len() != count {
        return Err(format!("it holds {} values for {count} keys", values.len()));
    }
    let value = |found: crate::protocol::binary::body::Found<'_>| Value {
        // A small value kept for long should not keep all the others.
        bytes: if found.value.len() <= CLIENT_COPIED_BYTES_MAX {
            Bytes::copy_from_slice(found.value)
        } else {
            answer.body.slice_ref(found.value)
        },
        version: Version(found.version),
    };
    Ok(values.into_iter().map(|found| found.map(value)).collect())
}

/// Runs all futures at the same time, to the end of each; gives their results in order, or the first
/// error among them.
async fn join<F, T>(futures: impl Iterator<Item = F>) -> Result<Vec<T>, Error>
where
    F: Future<Output = Result<T, Error>> + Send,
{
    enum Part<F, T> {
        Running(F),
        Ended(Result<T, Error>),
    }
    let mut parts: Vec<Part<Pin<Box<F>>, T>> =
        futures.map(|future| Part::Running(Box::pin(future))).collect();
    poll_fn(|cx| {
        let mut running = false;
        for part in &mut parts {
            if let Part::Running(future) = part {
                match future.as_mut().poll(cx) {
                    Poll::Ready(result) => *part = Part::Ended(result),
                    Poll::Pending => running = true,
                }
            }
        }
        if running { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    parts
        .into_iter()
        .filter_map(|part| match part {
            Part::Ended(result) => Some(result),
            Part::Running(_) => None,
        })
        .collect()
}
