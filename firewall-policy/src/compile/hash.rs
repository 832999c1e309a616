//! A fast hash for the compiler's own tables, whose keys are numbers that no attacker chooses:
//! multiply and rotate (as FxHash in rustc). Not for anything that a network peer can fill.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map with the fast hash.
pub(super) type FastMap<K, V> = HashMap<K, V, BuildHasherDefault<FastHasher>>;

/// The hasher.
#[derive(Clone, Copy, Default)]
pub(super) struct FastHasher(u64);

const K: u64 = 0xf135_7aea_2e62_a9c5;

impl Hasher for FastHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = (self.0.rotate_left(5) ^ n).wrapping_mul(K);
    }

    fn write_u128(&mut self, n: u128) {
        self.write_u64(n as u64);
        self.write_u64((n >> 64) as u64);
    }

    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }

    fn finish(&self) -> u64 {
        // hashbrown takes the bucket from the low bits: bring the well-mixed ones down.
        self.0.rotate_left(26)
    }
}

/// A hash of `word` at place `index`, for hashes of arrays that are kept up to date while single
/// words change: the array's hash is the XOR over its words. 0 for a word of 0.
pub(super) fn mix(index: usize, word: u64) -> u64 {
    let place = (index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let product = u128::from(word) * u128::from(place ^ K);
    let folded = product as u64 ^ (product >> 64) as u64;
    let product = u128::from(folded) * u128::from(place);
    product as u64 ^ (product >> 64) as u64
}

/// Finds stored items by hash: open addressing over item numbers, items themselves elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Index {
    /// Item number + 1, or 0; a power of two long.
    slots: Vec<u32>,
    /// Hash of every item.
    hashes: Vec<u64>,
}

impl Index {
    /// With room for nothing yet.
    pub(super) fn new() -> Self {
        Self {
            slots: vec![0; 64],
            hashes: Vec::new(),
        }
    }

    /// The number of the item with `hash` for which `equal` holds; or, after adding it, the number
    /// that the new item gets (one more than the last) and true.
    pub(super) fn find_or_add(&mut self, hash: u64, equal: impl Fn(usize) -> bool) -> (u32, bool) {
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        while self.slots[at] != 0 {
            let item = self.slots[at] - 1;
            if self.hashes[item as usize] == hash && equal(item as usize) {
                return (item, false);
            }
            at = (at + 1) & mask;
        }
        let item = self.hashes.len() as u32;
        self.hashes.push(hash);
        self.slots[at] = item + 1;
        if self.hashes.len() * 2 > self.slots.len() {
            self.grow();
        }
        (item, true)
    }

    fn grow(&mut self) {
        let mask = self.slots.len() * 2 - 1;
        self.slots = vec![0; mask + 1];
        for (item, &hash) in self.hashes.iter().enumerate() {
            let mut at = hash as usize & mask;
            while self.slots[at] != 0 {
                at = (at + 1) & mask;
            }
            self.slots[at] = item as u32 + 1;
        }
    }
}
