//! The checksum of a record.

use super::table::Table;

/// FNV-1a, 64 bits. Detects accidents, not attacks: an attacker who can write here can write anything.
pub(super) fn checksum(table: Table, key: &[u8], value: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let length = (key.len() as u64).to_be_bytes();
    [&[table as u8], &length[..], key, value]
        .concat()
        .iter()
        .fold(OFFSET, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(PRIME))
}
