//! Which slot a key has, computed here bit by bit, so that the server's table is checked by another way.

/// CRC16/XMODEM of the key's hash tag, modulo 16384.
pub(crate) fn slot(key: &str) -> u16 {
    crc16(hash_tag(key).as_bytes()) % 16_384
}

/// The shard of `key` among `shards` that own equal, contiguous runs of slots.
pub(crate) fn shard(key: &str, shards: u16) -> u16 {
    let product = u32::from(slot(key)) * u32::from(shards);
    u16::try_from(product / 16_384).expect("below the number of shards")
}

/// `count` keys that start with `prefix`, by turns in each of `shards`.
pub(crate) fn keys_over_shards(prefix: &str, shards: u16, count: usize) -> Vec<String> {
    let mut keys = Vec::with_capacity(count);
    let mut candidate = 0;
    while keys.len() < count {
        let key = format!("{prefix}{candidate}");
        let wanted = keys.len() % usize::from(shards);
        if usize::from(shard(&key, shards)) == wanted {
            keys.push(key);
        }
        candidate += 1;
    }
    keys
}

fn hash_tag(key: &str) -> &str {
    let Some(open) = key.find('{') else { return key };
    match key[open + 1..].find('}') {
        Some(length) if length > 0 => &key[open + 1..open + 1 + length],
        _ => key,
    }
}

fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    })
}
