//! The histograms of latencies: their bounds, their sums, and their text form in a report file.
//!
//! Nanoseconds to three digits, from 1 ns to an hour. The text form is HdrHistogram's own (V2,
//! deflated, base64: it starts with `HISTFAAA`), which its tools in other languages read as well.

use hdrhistogram::Histogram;

/// The longest latency told apart; what is longer counts as this.
pub(crate) const LATENCY_NS_MAX: u64 = 3_600_000_000_000;
const DIGITS: u8 = 3;

/// An empty histogram of nanoseconds. Record with `saturating_record`.
pub(crate) fn new() -> Histogram<u64> {
    Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS).expect("the bounds make sense")
}

/// Adds one histogram to another, whatever their bounds.
pub(crate) fn add(to: &mut Histogram<u64>, from: &Histogram<u64>) {
    to.auto(true);
    if to.add(from).is_err() {
        // Only a histogram from a file that has other bounds comes here.
        for value in from.iter_recorded() {
            to.saturating_record_n(value.value_iterated_to(), value.count_at_value());
        }
    }
}

/// Several histograms in one.
pub(crate) fn sum<'a>(parts: impl Iterator<Item = &'a Histogram<u64>>) -> Histogram<u64> {
    let mut total = new();
    parts.for_each(|part| add(&mut total, part));
    total
}

/// Serde's way to and from the text form.
pub(crate) mod base64 {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::V2DeflateSerializer;
    use hdrhistogram::serialization::{Deserializer as V2Deserializer, Serializer as _};
    use serde::de::Error as _;
    use serde::ser::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(
        histogram: &Histogram<u64>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(histogram, &mut bytes).map_err(S::Error::custom)?;
        serializer.serialize_str(&STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Histogram<u64>, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        let bytes = STANDARD
            .decode(text.as_bytes())
            .map_err(|error| D::Error::custom(format!("a histogram is not base64: {error}")))?;
        V2Deserializer::new()
            .deserialize(&mut bytes.as_slice())
            .map_err(|error| D::Error::custom(format!("a histogram is damaged: {error}")))
    }
}
