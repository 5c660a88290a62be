//! Writes that clients may ask for again: what is known of them, whoever is asked and whenever it was saved.

use super::{DB, NOW, key, keyspace, set};
use crate::cache::{
    Attempt, Floors, Keyspace, Outcome, OutcomeBounds, Random, Recalled, SaveCursor, Saved,
};
use crate::limits::{OUTCOME_CLIENTS_MAX, OUTCOMES_MAX, OUTCOMES_PER_CLIENT_MAX};

fn attempt(client: u64, sequence: u64) -> Attempt {
    Attempt { client, sequence, answered: 0, is_again: false }
}

/// Runs an attempt that nobody has run before; answers the version that it came to.
fn write(keyspace: &mut Keyspace, attempt: Attempt) -> u64 {
    assert_eq!(keyspace.recall(&attempt), Recalled::New, "{attempt:?}");
    set(keyspace, b"k", b"v");
    keyspace.keep_outcome(&attempt, None);
    keyspace.sequence()
}

fn done(version: u64) -> Recalled {
    Recalled::Done(Outcome::done(version, None))
}

/// All that is known, as it is saved.
fn known(keyspace: &Keyspace) -> Vec<(Vec<u8>, Vec<u8>, u64)> {
    let (mut all, mut cursor) = (Vec::new(), SaveCursor::default());
    while !cursor.is_done() {
        cursor = keyspace.visit_entries(cursor, NOW, |entry, _| {
            if !entry.what.has_slot() {
                all.push((entry.key.to_vec(), entry.value.to_vec(), entry.version));
            }
        });
    }
    all
}

#[test]
fn a_write_is_known_until_the_client_has_its_answer() {
    let mut keyspace = keyspace();
    let first = write(&mut keyspace, attempt(1, 10));
    set(&mut keyspace, b"k", b"w");
    assert_eq!(keyspace.recall(&attempt(1, 10)), done(first));
    let second = write(&mut keyspace, attempt(1, 11));
    keyspace.keep_outcome(&attempt(1, 12), Some([7; 8]));
    // A version that is not above the client's has been seen: nothing is kept twice.
    assert_eq!(keyspace.recall(&attempt(1, 12)), Recalled::New);
    let third = write(&mut keyspace, Attempt { answered: 11, ..attempt(1, 12) });
    assert_eq!(keyspace.recall(&attempt(1, 10)), Recalled::Forgotten);
    assert_eq!(keyspace.recall(&attempt(1, 11)), done(second));
    assert_eq!(keyspace.recall(&attempt(1, 12)), done(third));
    // An attempt that was sent earlier and comes later.
    let mut other = Attempt { answered: 5, ..attempt(2, 20) };
    write(&mut keyspace, other);
    other.sequence = 18;
    write(&mut keyspace, other);
    assert_eq!(keyspace.recall(&attempt(2, 4)), Recalled::Forgotten);
    let figures = keyspace.outcome_figures();
    assert_eq!((figures.clients, figures.outcomes), (2, 4));
    assert_eq!((figures.repeated, figures.forgotten), (3, 2));
    keyspace.check();
}

#[test]
fn the_body_is_that_of_the_first_reply() {
    let mut keyspace = keyspace();
    set(&mut keyspace, b"k", b"v");
    keyspace.keep_outcome(&attempt(1, 1), Some(*b"12345678"));
    let outcome = Outcome::done(keyspace.sequence(), Some(*b"12345678"));
    assert_eq!(keyspace.recall(&attempt(1, 1)), Recalled::Done(outcome));
}

#[test]
fn what_has_changed_nothing_is_kept_with_its_status_and_version() {
    let mut keyspace = keyspace();
    keyspace.set_journal(true);
    set(&mut keyspace, b"k", b"v");
    let (there, before) = (keyspace.sequence(), keyspace.sequence());
    let exists = Outcome { version: there, status: 2, body: None };
    let wrong_type = Outcome { version: 0, status: 0x23, body: None };
    let empty = Outcome::done(there, Some(*b"12345678"));
    for (sequence, outcome) in [(10, exists), (11, wrong_type), (12, empty)] {
        keyspace.keep_unchanged(&attempt(1, sequence), outcome);
        assert_eq!(keyspace.recall(&attempt(1, sequence)), Recalled::Done(outcome));
    }
    assert_eq!(keyspace.sequence(), before + 3, "each is a change");
    let last = write(&mut keyspace, attempt(1, 13));
    let changes = keyspace.changes(NOW).expect("no value is long").to_vec();
    let mut other = super::keyspace();
    other.replay(&changes, false).expect("what was just written");
    assert!(known(&keyspace) == known(&other), "the other has something else");
    assert_eq!((other.sequence(), other.recall(&attempt(1, 13))), (last, done(last)));
    assert_eq!(other.recall(&attempt(1, 11)), Recalled::Done(wrong_type));
}

#[test]
fn a_client_that_has_too_many_under_way_loses_the_oldest() {
    let mut keyspace = keyspace();
    let most = OUTCOMES_PER_CLIENT_MAX as u64;
    for sequence in 1..=most {
        write(&mut keyspace, attempt(1, sequence));
    }
    assert!(matches!(keyspace.recall(&attempt(1, 1)), Recalled::Done(_)));
    write(&mut keyspace, attempt(1, most + 1));
    assert_eq!(keyspace.recall(&attempt(1, 1)), Recalled::Forgotten);
    assert!(matches!(keyspace.recall(&attempt(1, 2)), Recalled::Done(_)));
    assert_eq!(keyspace.outcome_figures().outcomes, most);
    keyspace.check();
}

#[test]
fn who_has_not_written_for_longest_is_forgotten_first() {
    let mut keyspace = keyspace();
    let clients = OUTCOME_CLIENTS_MAX as u64;
    for client in 1..=clients {
        write(&mut keyspace, attempt(client, 1000 + client));
    }
    let again = write(&mut keyspace, attempt(1, 5000));
    write(&mut keyspace, attempt(clients + 1, 90_000));
    // It was the second's turn; nobody can tell now what it had done, or one that never wrote.
    assert_eq!(keyspace.recall(&attempt(2, 1002)), Recalled::Forgotten);
    assert_eq!(keyspace.recall(&attempt(clients + 9, 1002)), Recalled::Forgotten);
    assert_eq!(keyspace.recall(&attempt(1, 5000)), done(again));
    // What is newer than all that was forgotten is new, and brings nothing back.
    write(&mut keyspace, attempt(2, 1003));
    assert_eq!(keyspace.recall(&attempt(2, 1002)), Recalled::Forgotten);
    assert_eq!(keyspace.outcome_figures().clients, clients);
    keyspace.check();
}

#[test]
fn outcomes_are_bounded_and_their_memory_is_counted() {
    let mut keyspace = keyspace();
    set(&mut keyspace, b"k", b"v");
    let before = keyspace.memory().total_bytes();
    let (mut most, mut sequence) = (0, 0);
    while sequence < (OUTCOMES_MAX + OUTCOMES_PER_CLIENT_MAX) as u64 {
        sequence += 1;
        let client = sequence / OUTCOMES_PER_CLIENT_MAX as u64;
        write(&mut keyspace, attempt(client, sequence));
        most = most.max(keyspace.outcome_figures().outcomes);
    }
    assert_eq!(most, OUTCOMES_MAX as u64);
    let bytes = keyspace.memory().total_bytes() - before;
    assert!((OUTCOMES_MAX * 30..OUTCOMES_MAX * 70).contains(&bytes), "{bytes} bytes");
    // Whoever says that all was answered gives it back.
    for client in 0..keyspace.outcome_figures().clients {
        let all = Attempt { answered: sequence + 1, ..attempt(client, sequence + 1) };
        write(&mut keyspace, all);
    }
    let bytes = keyspace.memory().total_bytes() - before;
    assert!(bytes < OUTCOMES_MAX, "{bytes} bytes");
    keyspace.check();
}

/// Who has much under way pays for it, not who has little.
#[test]
fn the_client_with_most_outcomes_makes_room() {
    let mut keyspace = keyspace();
    keyspace.set_outcome_bounds(OutcomeBounds { clients: 10, per_client: 6, all: 8 });
    write(&mut keyspace, attempt(1, 10));
    for sequence in 100..105 {
        write(&mut keyspace, attempt(2, sequence));
    }
    write(&mut keyspace, attempt(3, 200));
    write(&mut keyspace, attempt(3, 201));
    let all = |keyspace: &mut Keyspace| {
        [(1, 10), (2, 100), (2, 101), (2, 102), (3, 200)]
            .map(|(client, sequence)| keyspace.recall(&attempt(client, sequence)))
            .map(|recalled| matches!(recalled, Recalled::Done(_)))
    };
    assert_eq!(all(&mut keyspace), [true; 5]);
    write(&mut keyspace, attempt(3, 202));
    assert_eq!(all(&mut keyspace), [true, false, true, true, true]);
    write(&mut keyspace, attempt(4, 300));
    assert_eq!(all(&mut keyspace), [true, false, false, true, true]);
    assert_eq!(keyspace.recall(&attempt(2, 100)), Recalled::Forgotten);
    assert_eq!(keyspace.recall(&attempt(2, 101)), Recalled::Forgotten);
    // Nobody else is, and who is not known may write.
    assert_eq!(keyspace.recall(&attempt(5, 5)), Recalled::New);
    assert_eq!(keyspace.outcome_figures().clients, 4);
    keyspace.check();
}

#[test]
fn what_empties_databases_leaves_it_alone() {
    let mut keyspace = keyspace();
    let version = write(&mut keyspace, attempt(1, 1));
    keyspace.flush(DB);
    keyspace.swap_databases(DB, crate::types::DbIndex(1), NOW);
    keyspace.remove(key(b"k"), NOW);
    assert_eq!(keyspace.recall(&attempt(1, 1)), done(version));
}

/// One of some writes: of clients of whom some write often, in no order, answered or not.
fn write_some(keyspace: &mut Keyspace, random: &mut Random, time: &mut u64) {
    *time += 3;
    let back = random.next() % 40;
    let client = if random.next().is_multiple_of(3) { random.next() % 8 } else { random.next() };
    let (sequence, answered) = (*time - back, (*time - back).saturating_sub(random.next() % 90));
    let attempt = Attempt { client, sequence, answered, is_again: true };
    if keyspace.recall(&attempt) != Recalled::New {
        return;
    }
    if random.next().is_multiple_of(3) {
        return keyspace.keep_unchanged(&attempt, Outcome { version: 0, status: 1, body: None });
    }
    set(keyspace, b"k", b"v");
    keyspace.keep_outcome(&attempt, random.next().is_multiple_of(2).then_some([1; 8]));
}

/// Clients come and go while a snapshot is being taken in small pieces; with the changes behind its beginning it
/// comes to the same as they without it.
#[test]
fn a_snapshot_and_the_changes_since_come_to_the_same() {
    let leader = compare_with_snapshot(OutcomeBounds::default());
    assert_eq!(leader.outcome_figures().clients, OUTCOME_CLIENTS_MAX as u64, "some are forgotten");
}

/// The same where outcomes of clients give way that write on.
#[test]
fn floors_that_rise_during_a_snapshot_come_to_the_same() {
    let leader = compare_with_snapshot(OutcomeBounds { clients: 400, per_client: 50, all: 300 });
    let figures = leader.outcome_figures();
    assert_eq!(figures.clients, 400);
    assert!((200..=300).contains(&figures.outcomes), "each client had one: {figures:?}");
}

/// Checks it within these bounds, which only the leader knows; answers the leader.
fn compare_with_snapshot(bounds: OutcomeBounds) -> Keyspace {
    let (mut random, mut time) = (Random::new(5), 1_000_000);
    let (mut leader, mut follower, mut restored) = (keyspace(), keyspace(), keyspace());
    leader.set_outcome_bounds(bounds);
    leader.set_journal(true);
    let replay = |leader: &mut Keyspace, others: &mut [&mut Keyspace], overlaps: bool| {
        let changes = leader.changes(NOW).expect("no value is long").to_vec();
        leader.clear_changes();
        for other in others {
            other.replay(&changes, overlaps).expect("what was just written");
        }
        changes
    };
    for _ in 0..bounds.clients {
        write_some(&mut leader, &mut random, &mut time);
    }
    // The snapshot begins with changes that have not been taken yet.
    let (mut saved, mut cursor, mut since) = (Saved::default(), SaveCursor::default(), Vec::new());
    while !cursor.is_done() {
        cursor = leader.save_entries(cursor, saved.len() + 64, NOW, &mut saved);
        for _ in 0..2 {
            write_some(&mut leader, &mut random, &mut time);
        }
        since.push(replay(&mut leader, &mut [&mut follower], false));
    }
    restored.restore_entries(saved.bytes().expect("no value is long")).expect("just saved");
    restored.check();
    for changes in &since {
        restored.replay(changes, true).expect("what was just written");
    }
    for _ in 0..1000 {
        write_some(&mut leader, &mut random, &mut time);
    }
    replay(&mut leader, &mut [&mut follower, &mut restored], false);
    assert!(known(&leader) == known(&follower), "the follower has something else");
    assert!(known(&leader) == known(&restored), "what was restored is something else");
    for keyspace in [&leader, &follower, &restored] {
        keyspace.check();
    }
    leader
}

#[test]
fn what_goes_to_other_shards_is_refused_there_and_never_done_again() {
    let (mut one, mut two) = (keyspace(), keyspace());
    write(&mut one, attempt(1, 10));
    write(&mut one, attempt(2, 20));
    write(&mut two, attempt(2, 30));
    let mut floors = Floors::of(&one);
    floors.merge(&Floors::of(&two));
    let mut saved = Saved::default();
    let add = |entry: &crate::cache::SavedEntry<'_>| {
        saved.add(entry, None);
        Ok::<(), ()>(())
    };
    floors.visit(add).expect("nothing fails");
    let mut new = keyspace();
    assert_eq!(new.restore_entries(saved.bytes().expect("short values")), Ok(0));
    for (client, sequence, recalled) in [
        (1, 10, Recalled::Forgotten),
        (1, 11, Recalled::New),
        (2, 20, Recalled::Forgotten),
        (2, 30, Recalled::Forgotten),
        (2, 31, Recalled::New),
        (3, 1, Recalled::New),
    ] {
        assert_eq!(new.recall(&attempt(client, sequence)), recalled, "{client} {sequence}");
    }
    new.check();
}
