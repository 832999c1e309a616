//! Sets of rules, stored once each: a row is a list of node numbers, a node is up to 64 words of
//! 64 rules. Knows nothing of fields or of the encoded form.
//!
//! Invariant: equal sets have equal numbers, so that comparing sets is comparing numbers.

use super::hash::{FastMap, Index, mix};
use super::{LimitError, MAX_TABLES, limit};

/// Words of all nodes that one family can have while its tables are made: half a gigabyte, a
/// million nodes of 4,096 rules.
const MAX_NODE_WORDS: usize = 1 << 26;

/// Node numbers of all rows that one family can have: a quarter of a gigabyte.
const MAX_ROW_NODES: usize = 1 << 26;

/// Number of a row in [`Rows`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) struct RowId(pub(super) u32);

/// All sets of rules that one family's tables need.
pub(super) struct Rows {
    /// Words of a node: 64, or fewer if the family has no more than 4,096 rules.
    width: usize,
    /// Nodes of a row.
    per_row: usize,
    nodes: Vec<u64>,
    /// Bytes that the nodes take when they are written.
    bytes: usize,
    node_index: Index,
    rows: Vec<u32>,
    row_index: Index,
    /// Results of [`Self::and_nodes`].
    ands: FastMap<(u32, u32), u32>,
}

impl Rows {
    /// For sets of `rules` rules.
    pub(super) fn new(rules: usize) -> Self {
        let words = rules.div_ceil(64).max(1);
        Self {
            width: words.min(64),
            per_row: words.div_ceil(64),
            nodes: Vec::new(),
            bytes: 0,
            node_index: Index::new(),
            rows: Vec::new(),
            row_index: Index::new(),
            ands: FastMap::default(),
        }
    }

    /// How many rows there are.
    pub(super) fn len(&self) -> usize {
        self.rows.len() / self.per_row
    }

    /// How many nodes there are.
    pub(super) fn nodes(&self) -> usize {
        self.nodes.len() / self.width
    }

    /// Whether the rows still fit into the memory that a policy may take while it is compiled.
    pub(super) fn check(&self) -> Result<(), LimitError> {
        limit(
            "the number of different sets of 4,096 rules",
            self.nodes(),
            self.most_nodes(),
        )?;
        limit(
            "the number of different sets of rules",
            self.len(),
            MAX_ROW_NODES / self.per_row,
        )
    }

    /// Whether the nodes alone are more than the tables can have. Only while all of them are going
    /// to be written.
    pub(super) fn check_written(&self) -> Result<(), LimitError> {
        limit(
            "the sets of rules by address, in bytes,",
            self.bytes,
            MAX_TABLES,
        )
    }

    /// How many nodes there may be.
    pub(super) fn most_nodes(&self) -> usize {
        MAX_NODE_WORDS / self.width
    }

    /// The nodes of a row.
    pub(super) fn row(&self, row: RowId) -> &[u32] {
        &self.rows[row.0 as usize * self.per_row..][..self.per_row]
    }

    /// The words of a node.
    pub(super) fn node(&self, node: u32) -> &[u64] {
        &self.nodes[node as usize * self.width..][..self.width]
    }

    fn add_node(&mut self, hash: u64, words: &[u64]) -> u32 {
        let (nodes, width) = (&self.nodes, self.width);
        let (node, new) = self
            .node_index
            .find_or_add(hash, |i| nodes[i * width..][..width] == *words);
        if new {
            self.nodes.extend_from_slice(words);
            self.bytes += 8 * (1 + words.iter().filter(|&&word| word != 0).count());
        }
        node
    }

    fn add_row(&mut self, hash: u64, ids: &[u32]) -> RowId {
        let (rows, per_row) = (&self.rows, self.per_row);
        let (row, new) = self
            .row_index
            .find_or_add(hash, |i| rows[i * per_row..][..per_row] == *ids);
        if new {
            self.rows.extend_from_slice(ids);
        }
        RowId(row)
    }

    /// The rules that are in both rows.
    pub(super) fn and(&mut self, a: RowId, b: RowId) -> RowId {
        if a == b {
            return a;
        }
        let ids: Vec<u32> = (0..self.per_row)
            .map(|i| {
                let (a, b) = (self.row(a)[i], self.row(b)[i]);
                self.and_nodes(a.min(b), a.max(b))
            })
            .collect();
        self.add_row(hash_ids(&ids), &ids)
    }

    fn and_nodes(&mut self, a: u32, b: u32) -> u32 {
        if a == b {
            return a;
        }
        if let Some(&known) = self.ands.get(&(a, b)) {
            return known;
        }
        let words: Vec<u64> = self
            .node(a)
            .iter()
            .zip(self.node(b))
            .map(|(a, b)| a & b)
            .collect();
        let hash = words
            .iter()
            .enumerate()
            .fold(0, |hash, (i, &word)| hash ^ mix(i, word));
        let node = self.add_node(hash, &words);
        self.ands.insert((a, b), node);
        node
    }
}

fn hash_ids(ids: &[u32]) -> u64 {
    ids.iter()
        .enumerate()
        .fold(0, |hash, (i, &id)| hash ^ mix(i, u64::from(id)))
}

/// A set of rules that changes step by step. Its cost follows the change, not the size.
pub(super) struct Changing {
    words: Vec<u64>,
    hashes: Vec<u64>,
    ids: Vec<u32>,
    /// Nodes that changed since they were stored.
    stale: Vec<u32>,
    is_stale: Vec<bool>,
}

impl Changing {
    /// The empty set.
    pub(super) fn new(rows: &Rows) -> Self {
        Self {
            words: vec![0; rows.per_row * rows.width],
            hashes: vec![0; rows.per_row],
            ids: vec![0; rows.per_row],
            stale: (0..rows.per_row as u32).collect(),
            is_stale: vec![true; rows.per_row],
        }
    }

    /// Adds those of 64 rules that are not in the set, and takes out those that are.
    pub(super) fn toggle(&mut self, word: u32, mask: u64) {
        let node = word as usize / 64;
        let old = self.words[word as usize];
        self.words[word as usize] = old ^ mask;
        let place = word as usize % 64;
        self.hashes[node] ^= mix(place, old) ^ mix(place, old ^ mask);
        if !self.is_stale[node] {
            self.is_stale[node] = true;
            self.stale.push(node as u32);
        }
    }

    /// Stores the set as it is now.
    pub(super) fn store(&mut self, rows: &mut Rows) -> RowId {
        for node in self.stale.drain(..) {
            let node = node as usize;
            self.is_stale[node] = false;
            let words = &self.words[node * rows.width..][..rows.width];
            self.ids[node] = rows.add_node(self.hashes[node], words);
        }
        rows.add_row(hash_ids(&self.ids), &self.ids)
    }
}
