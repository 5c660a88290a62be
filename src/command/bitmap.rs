//! The bitmap commands: a string as an array of bits, bit 0 the highest of the first byte.
//!
//! Bits beyond the end of a value are zeros, so a missing key is an endless run of them. Counting,
//! searching and combining go a machine word at a time.

use std::ops::RangeInclusive;

mod long;

use super::exec::Exec;
use super::numbers::{clamp_range, integer, is_backwards, parse_i64};
use super::strings::{count_change, edit, read, read_to_write, reply_length};
use super::{Command, Error, Flags, Group, Handler, Keys, Stepwise, steps};
use crate::limits::STEP_SCANNED_BYTES;
use crate::protocol::{Args, Reply};
use crate::types::Key;
use long::{Combining, Counting, Searching, are_many, string};

const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const READ_LONG: Flags = Flags::READONLY.union(Flags::LONG).union(Flags::STEPWISE);
const GROW: Flags = Flags::WRITE.union(Flags::DENYOOM);

/// The commands of this group, all of them by name.
pub const COMMANDS: &[Command] = &[
    Command {
        name: "bitcount",
        arity: -2,
        flags: READ_LONG,
        keys: Keys::ONE,
        handler: Handler::Keyed(bitcount),
        group: Group::Bitmap,
        summary: "Counts the bits of a value, or of a part of it, that are set.",
        since: "2.6.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) with the length looked at",
    },
    Command {
        name: "bitfield",
        arity: -2,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(bitfield),
        group: Group::Bitmap,
        summary: "Reads, sets and increments integers of any width anywhere in a value.",
        since: "3.2.0",
        steps: None,
        complexity: "O(N) with the number of operations",
    },
    Command {
        name: "bitfield_ro",
        arity: -2,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(bitfield_ro),
        group: Group::Bitmap,
        summary: "Reads integers of any width anywhere in a value.",
        since: "6.0.0",
        steps: None,
        complexity: "O(N) with the number of operations",
    },
    Command {
        name: "bitop",
        arity: -4,
        flags: GROW.union(Flags::LONG).union(Flags::STEPWISE),
        keys: Keys::Range { first: 2, last: -1, step: 1 },
        handler: Handler::Keyed(bitop),
        group: Group::Bitmap,
        summary: "Combines values bit by bit and stores what comes of it.",
        since: "2.6.0",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) with the lengths of the values",
    },
    Command {
        name: "bitpos",
        arity: -3,
        flags: READ_LONG,
        keys: Keys::ONE,
        handler: Handler::Keyed(bitpos),
        group: Group::Bitmap,
        summary: "Finds the first bit of a value, or of a part of it, that is set or clear.",
        since: "2.8.7",
        steps: Some(Stepwise::ALWAYS),
        complexity: "O(N) with the length looked at",
    },
    Command {
        name: "getbit",
        arity: 3,
        flags: READ_FAST,
        keys: Keys::ONE,
        handler: Handler::Keyed(getbit),
        group: Group::Bitmap,
        summary: "Answers the bit at a position.",
        since: "2.2.0",
        steps: None,
        complexity: "O(1)",
    },
    Command {
        name: "setbit",
        arity: 4,
        flags: GROW,
        keys: Keys::ONE,
        handler: Handler::Keyed(setbit),
        group: Group::Bitmap,
        summary: "Sets or clears the bit at a position and answers what it was.",
        since: "2.2.0",
        steps: None,
        complexity: "O(1)",
    },
];

const BIT_OFFSET: Error = Error::Static("ERR bit offset is not an integer or out of range");

/// The position in argument `text`: of a bit, or with a `#` before it of an integer `width` bits
/// wide, where such are meant. It lies in the `bytes_max` bytes that a value may have.
fn bit_offset(text: &[u8], width: Option<u8>, bytes_max: usize) -> Result<usize, Error> {
    let (text, scale) = match (text, width) {
        ([b'#', index @ ..], Some(width)) => (index, i64::from(width)),
        _ => (text, 1),
    };
    parse_i64(text)
        .and_then(|offset| usize::try_from(offset.wrapping_mul(scale)).ok())
        .filter(|offset| offset / 8 < bytes_max)
        .ok_or(BIT_OFFSET)
}

/// The bit at `offset`.
fn bit_at(value: &[u8], offset: usize) -> bool {
    value.get(offset / 8).is_some_and(|byte| byte & (0x80 >> (offset % 8)) != 0)
}

fn getbit(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let offset = bit_offset(args.at(2), None, exec.value_bytes_max)?;
    let key = exec.key(args.at(1));
    let value = read(exec, key)?.unwrap_or_default();
    reply.integer(i64::from(bit_at(value, offset)));
    Ok(())
}

fn setbit(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    let offset = bit_offset(args.at(2), None, exec.value_bytes_max)?;
    let bit = match args.at(3) {
        b"0" => false,
        b"1" => true,
        _ => return Err(Error::Static("ERR bit is not an integer or out of range")),
    };
    let value = read_to_write(exec, key)?.unwrap_or_default();
    let (length, old) = (value.len(), bit_at(value, offset));
    let byte = offset / 8;
    let grown = length.max(byte + 1);
    // Who watches the key does not hear of a bit that was as it is.
    if old != bit || grown != length {
        edit(exec, key, grown, byte..byte + 1, |value| {
            if old != bit {
                value[byte] ^= 0x80 >> (offset % 8);
            }
        });
        count_change(exec, key);
    }
    reply.integer(i64::from(old));
    Ok(())
}

// --- counting and searching ----------------------------------------------------------------------

/// What the positions of a range count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RangeUnit {
    Byte,
    Bit,
}

impl RangeUnit {
    /// The unit named by an argument; bytes if there is none.
    fn parse(word: Option<&[u8]>) -> Result<Self, Error> {
        match word {
            None => Ok(Self::Byte),
            Some(word) if word.eq_ignore_ascii_case(b"BYTE") => Ok(Self::Byte),
            Some(word) if word.eq_ignore_ascii_case(b"BIT") => Ok(Self::Bit),
            Some(_) => Err(Error::Syntax),
        }
    }

    /// The bits that `start..=end` covers in a value of `length` bytes.
    fn bits(self, start: i64, end: i64, length: usize) -> Option<RangeInclusive<usize>> {
        match self {
            Self::Byte => {
                clamp_range(start, end, length).map(|bytes| bytes.start() * 8..=bytes.end() * 8 + 7)
            }
            Self::Bit => clamp_range(start, end, length * 8),
        }
    }
}

fn bitcount(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let key = exec.key(args.at(1));
    // Redis looks at the range only if there is a key.
    let Some(value) = read(exec, key)? else {
        reply.integer(0);
        return Ok(());
    };
    let bits = match args.len() {
        2 => RangeUnit::Byte.bits(0, -1, value.len()),
        4 | 5 => {
            let (start, end) = (integer(args.at(2))?, integer(args.at(3))?);
            if is_backwards(start, end) {
                // Nor at the unit if the range is backwards.
                None
            } else {
                RangeUnit::parse(args.get(4))?.bits(start, end, value.len())
            }
        }
        _ => return Err(Error::Syntax),
    };
    match bits {
        Some(bits) if are_many(&bits) => {
            return steps::run(exec, args, reply, Counting::new(bits));
        }
        Some(bits) => reply_length(reply, count_ones(value, bits)),
        None => reply.integer(0),
    }
    Ok(())
}

/// The bits in `range` that are set.
fn count_ones(value: &[u8], range: RangeInclusive<usize>) -> usize {
    let (start, end) = range.into_inner();
    let bytes = &value[start / 8..=end / 8];
    let (words, rest) = bytes.as_chunks::<8>();
    let words = words.iter().map(|word| u64::from_ne_bytes(*word).count_ones() as usize);
    let rest = rest.iter().map(|byte| byte.count_ones() as usize);
    let before = bytes[0] & !(0xff >> (start % 8));
    let after = bytes[bytes.len() - 1] & (0x7f >> (end % 8));
    let outside = before.count_ones() + after.count_ones();
    words.sum::<usize>() + rest.sum::<usize>() - outside as usize
}

fn bitpos(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let bit = match integer(args.at(2))? {
        0 => false,
        1 => true,
        _ => return Err(Error::Static("ERR The bit argument must be 1 or 0.")),
    };
    let key = exec.key(args.at(1));
    let Some(value) = read(exec, key)? else {
        reply.integer(if bit { -1 } else { 0 });
        return Ok(());
    };
    if args.len() > 6 {
        return Err(Error::Syntax);
    }
    let start = args.get(3).map_or(Ok(0), integer)?;
    let unit = RangeUnit::parse(args.get(5))?;
    let end = args.get(4).map_or(Ok(-1), integer)?;
    let Some(bits) = unit.bits(start, end, value.len()) else {
        reply.integer(-1);
        return Ok(());
    };
    // Without an end, the zeros behind the value count.
    let is_endless = !bit && args.len() < 5;
    let otherwise = i64::try_from(value.len() * 8).ok().filter(|_| is_endless).unwrap_or(-1);
    if are_many(&bits) {
        return steps::run(exec, args, reply, Searching::new(bits, bit, otherwise));
    }
    match first_bit(value, bit, bits) {
        Some(position) => reply_length(reply, position),
        None => reply.integer(otherwise),
    }
    Ok(())
}

/// The first position in `range` of a bit that is `bit`.
fn first_bit(value: &[u8], bit: bool, range: RangeInclusive<usize>) -> Option<usize> {
    let (start, end) = range.into_inner();
    let value = &value[..=end / 8];
    let matching = |byte: u8| if bit { byte } else { !byte };
    let first = start / 8;
    let head = matching(value[first]) & (0xff >> (start % 8));
    let (index, byte) = if head != 0 {
        (first, head)
    } else {
        let skipped = matching(0);
        let rest = &value[first + 1..];
        let (words, _) = rest.as_chunks::<8>();
        let same = words.iter().take_while(|word| **word == [skipped; 8]).count() * 8;
        let index = same + rest[same..].iter().position(|byte| *byte != skipped)?;
        (first + 1 + index, matching(rest[index]))
    };
    let found = index * 8 + byte.leading_zeros() as usize;
    (found <= end).then_some(found)
}

// --- combining -----------------------------------------------------------------------------------

/// How `BITOP` combines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    And,
    Or,
    Xor,
    Not,
}

impl Operation {
    fn named(word: &[u8]) -> Result<Self, Error> {
        if word.eq_ignore_ascii_case(b"AND") {
            Ok(Self::And)
        } else if word.eq_ignore_ascii_case(b"OR") {
            Ok(Self::Or)
        } else if word.eq_ignore_ascii_case(b"XOR") {
            Ok(Self::Xor)
        } else if word.eq_ignore_ascii_case(b"NOT") {
            Ok(Self::Not)
        } else {
            Err(Error::Syntax)
        }
    }

    /// What comes of some values, the shorter of them filled up with zeros.
    fn of_all<'a>(self, values: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
        let mut result = Vec::new();
        for (index, value) in values.enumerate() {
            if index == 0 && self != Self::Not {
                result.extend_from_slice(value);
            } else {
                self.combine(&mut result, value);
            }
        }
        result
    }

    /// Combines `value` into `result`; the shorter of the two is filled up with zeros.
    fn combine(self, result: &mut Vec<u8>, value: &[u8]) {
        if result.len() < value.len() {
            result.resize(value.len(), 0);
        }
        let (both, beyond) = result.split_at_mut(value.len());
        // Loops this plain become vector instructions.
        let pairs = both.iter_mut().zip(value);
        match self {
            Self::And => {
                pairs.for_each(|(result, byte)| *result &= byte);
                beyond.fill(0);
            }
            Self::Or => pairs.for_each(|(result, byte)| *result |= byte),
            Self::Xor => pairs.for_each(|(result, byte)| *result ^= byte),
            Self::Not => pairs.for_each(|(result, byte)| *result = !byte),
        }
    }
}

fn bitop(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operation = Operation::named(args.at(1))?;
    if operation == Operation::Not && args.len() != 4 {
        return Err(Error::Static("ERR BITOP NOT must be called with a single source key."));
    }
    let mut longest = 0;
    for name in args.from(3) {
        let key = exec.key(name);
        longest = longest.max(read(exec, key)?.map_or(0, <[u8]>::len));
    }
    if longest > STEP_SCANNED_BYTES {
        // What is done at once, its row tells.
        let tells = exec.handover.may_pause;
        return steps::run(exec, args, reply, Combining::new(operation, longest, tells));
    }
    let result = operation.of_all(args.from(3).map(|name| string(exec, exec.key(name))));
    let destination = exec.key(args.at(2));
    if result.is_empty() {
        exec.delete(destination);
    } else {
        store_raw(exec, destination, &result);
    }
    reply_length(reply, result.len());
    Ok(())
}

/// Sets `key`, without expiry, to a value that counts as changed in place, as a combined one does in
/// Redis (`OBJECT ENCODING` says `raw`).
fn store_raw(exec: &mut Exec<'_>, key: Key<'_>, value: &[u8]) {
    let now = exec.now.unix;
    exec.keyspace(key).remove(key, now);
    edit(exec, key, value.len(), 0..value.len(), |target| target.copy_from_slice(value));
    count_change(exec, key);
}

// --- integers of any width -----------------------------------------------------------------------

/// The type of an integer in a bit field: `i1` to `i64`, `u1` to `u63`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldType {
    signed: bool,
    width: u8,
}

impl FieldType {
    fn parse(text: &[u8]) -> Result<Self, Error> {
        let (signed, width, width_max) = match text {
            [b'i', width @ ..] => (true, width, 64),
            [b'u', width @ ..] => (false, width, 63),
            _ => (false, &[][..], 0),
        };
        parse_i64(width)
            .and_then(|width| u8::try_from(width).ok())
            .filter(|width| (1..=width_max).contains(width))
            .map(|width| Self { signed, width })
            .ok_or(Error::Static(
                "ERR Invalid bitfield type. Use something like i16 u8. \
                 Note that u64 is not supported but i64 is.",
            ))
    }

    /// The largest integer of this type.
    fn max(self) -> i128 {
        (1 << (self.width - u8::from(self.signed))) - 1
    }

    /// The smallest integer of this type.
    fn min(self) -> i128 {
        if self.signed { -self.max() - 1 } else { 0 }
    }

    /// The integer whose lowest bits are those of `value`.
    fn wrap(self, value: i128) -> i128 {
        let unused = 128 - u32::from(self.width);
        let high = value << unused;
        if self.signed { high >> unused } else { (high.cast_unsigned() >> unused).cast_signed() }
    }
}

/// What a write makes of an integer that does not fit its field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

impl Overflow {
    fn named(word: &[u8]) -> Result<Self, Error> {
        if word.eq_ignore_ascii_case(b"WRAP") {
            Ok(Self::Wrap)
        } else if word.eq_ignore_ascii_case(b"SAT") {
            Ok(Self::Saturate)
        } else if word.eq_ignore_ascii_case(b"FAIL") {
            Ok(Self::Fail)
        } else {
            Err(Error::Static("ERR Invalid OVERFLOW type specified"))
        }
    }

    /// `value` as it goes into a field; `None` if it is not to be written.
    ///
    /// Redis 7.0 loses its way where a `SET` far below the smallest integer saturates: close to
    /// -2^63 a subtraction wraps around, and it writes the largest one. Here that is the smallest.
    fn fit(self, value: i128, field: FieldType) -> Option<i128> {
        let (min, max) = (field.min(), field.max());
        match self {
            _ if (min..=max).contains(&value) => Some(value),
            Self::Wrap => Some(field.wrap(value)),
            Self::Saturate => Some(value.clamp(min, max)),
            Self::Fail => None,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FieldAction {
    Get,
    Set(i64, Overflow),
    Increment(i64, Overflow),
}

/// One operation of a `BITFIELD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct FieldOperation {
    field: FieldType,
    /// Position of the highest bit.
    offset: usize,
    action: FieldAction,
}

impl FieldOperation {
    /// Reads all operations on a value of at most `bytes_max` bytes before any of them is carried out.
    fn parse_all(args: &Args<'_>, bytes_max: usize) -> Result<Vec<Self>, Error> {
        let mut operations = Vec::with_capacity((args.len() - 2) / 3);
        let mut overflow = Overflow::Wrap;
        let mut index = 2;
        while let Some(word) = args.get(index) {
            let following = args.len() - index - 1;
            if word.eq_ignore_ascii_case(b"OVERFLOW") && following >= 1 {
                overflow = Overflow::named(args.at(index + 1))?;
                index += 2;
                continue;
            }
            let get = word.eq_ignore_ascii_case(b"GET") && following >= 2;
            let set = word.eq_ignore_ascii_case(b"SET") && following >= 3;
            let increment = word.eq_ignore_ascii_case(b"INCRBY") && following >= 3;
            if !(get || set || increment) {
                return Err(Error::Syntax);
            }
            let field = FieldType::parse(args.at(index + 1))?;
            let offset = bit_offset(args.at(index + 2), Some(field.width), bytes_max)?;
            let action = if get {
                FieldAction::Get
            } else if set {
                FieldAction::Set(integer(args.at(index + 3))?, overflow)
            } else {
                FieldAction::Increment(integer(args.at(index + 3))?, overflow)
            };
            operations.push(Self { field, offset, action });
            index += if get { 3 } else { 4 };
        }
        Ok(operations)
    }

    /// Bytes that a value must have for this operation to write.
    fn first_byte(&self) -> usize {
        self.offset / 8
    }

    fn end_bytes(&self) -> usize {
        (self.offset + usize::from(self.field.width)).div_ceil(8)
    }

    /// The integer in its field.
    fn load(&self, value: &[u8]) -> i128 {
        let window = Window::load(value, self.offset);
        self.field.wrap((window.bits >> window.shift(self)).cast_signed())
    }

    /// Writes `integer` into its field, which lies inside `value`.
    fn store(&self, value: &mut [u8], integer: i128) {
        let mut window = Window::load(value, self.offset);
        let shift = window.shift(self);
        let mask = ((1_u128 << self.field.width) - 1) << shift;
        window.bits = window.bits & !mask | integer.cast_unsigned() << shift & mask;
        window.store(value, self.offset);
    }

    /// Carries a writing operation out; its answer, and whether it changed anything.
    fn write(&self, value: &mut [u8]) -> (Option<i128>, bool) {
        let old = self.load(value);
        let (wanted, overflow, answers_old) = match self.action {
            FieldAction::Get => return (Some(old), false),
            // As a pattern of bits: -1 for an unsigned field is the largest integer there is.
            FieldAction::Set(integer, overflow) if !self.field.signed => {
                (i128::from(integer.cast_unsigned()), overflow, true)
            }
            FieldAction::Set(integer, overflow) => (i128::from(integer), overflow, true),
            FieldAction::Increment(amount, overflow) => (old + i128::from(amount), overflow, false),
        };
        let Some(new) = overflow.fit(wanted, self.field) else { return (None, false) };
        self.store(value, new);
        (Some(if answers_old { old } else { new }), new != old)
    }
}

/// The nine bytes from the one that holds a field's first bit on, enough for any field, as one number.
struct Window {
    bits: u128,
}

impl Window {
    const BYTES: usize = 9;

    /// Bytes behind the end of `value` are zeros.
    fn load(value: &[u8], offset: usize) -> Self {
        let present = value.get(offset / 8..).unwrap_or_default();
        let present = &present[..present.len().min(Self::BYTES)];
        let mut bytes = [0; 16];
        bytes[16 - Self::BYTES..][..present.len()].copy_from_slice(present);
        Self { bits: u128::from_be_bytes(bytes) }
    }

    /// Bytes behind the end of `value` are left out.
    fn store(&self, value: &mut [u8], offset: usize) {
        let target = &mut value[offset / 8..];
        let length = target.len().min(Self::BYTES);
        let bytes = self.bits.to_be_bytes();
        target[..length].copy_from_slice(&bytes[16 - Self::BYTES..][..length]);
    }

    /// How many bits of the window stand behind the field.
    fn shift(&self, operation: &FieldOperation) -> usize {
        Self::BYTES * 8 - operation.offset % 8 - usize::from(operation.field.width)
    }
}

fn bitfield(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operations = FieldOperation::parse_all(args, exec.value_bytes_max)?;
    let key = exec.key(args.at(1));
    let writes = operations.iter().filter(|operation| operation.action != FieldAction::Get);
    let Some(end) = writes.map(FieldOperation::end_bytes).max() else {
        return read_fields(exec, key, &operations, reply);
    };
    // Redis lets a field that begins in time end a few bytes too late. No value is longer than the bound here, in
    // the log neither.
    if end > exec.value_bytes_max {
        return Err(BIT_OFFSET);
    }
    let length = read_to_write(exec, key)?.map_or(0, <[u8]>::len);
    let grown = length.max(end);
    reply.array(operations.len());
    let writes = operations.iter().filter(|operation| operation.action != FieldAction::Get);
    let first = writes.map(FieldOperation::first_byte).min().unwrap_or(end);
    let changes = edit(exec, key, grown, first..end, |value| {
        let mut changes = 0;
        for operation in &operations {
            let (answer, changed) = operation.write(value);
            reply_field(reply, answer);
            let written = answer.is_some() && operation.action != FieldAction::Get;
            changes += u32::from(changed || written && grown != length);
        }
        changes
    });
    for _ in 0..changes {
        count_change(exec, key);
    }
    Ok(())
}

fn bitfield_ro(exec: &mut Exec<'_>, args: &Args<'_>, reply: &mut Reply<'_>) -> Result<(), Error> {
    let operations = FieldOperation::parse_all(args, exec.value_bytes_max)?;
    if operations.iter().any(|operation| operation.action != FieldAction::Get) {
        return Err(Error::Static("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let key = exec.key(args.at(1));
    read_fields(exec, key, &operations, reply)
}

fn read_fields(
    exec: &mut Exec<'_>,
    key: Key<'_>,
    operations: &[FieldOperation],
    reply: &mut Reply<'_>,
) -> Result<(), Error> {
    let value = read(exec, key)?.unwrap_or_default();
    reply.array(operations.len());
    for operation in operations {
        reply_field(reply, Some(operation.load(value)));
    }
    Ok(())
}

/// An integer of a field, or that it was not written.
fn reply_field(reply: &mut Reply<'_>, answer: Option<i128>) {
    match answer.and_then(|integer| i64::try_from(integer).ok()) {
        Some(integer) => reply.integer(integer),
        None => reply.null(),
    }
}

#[cfg(test)]
pub(crate) mod tests;
