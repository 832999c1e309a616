//! Rows as the walk reads them: see the table in [`firewall_common::classify`].

use super::blob::Blob;
use super::rows::{RowId, Rows};

/// Which words of a row are what.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Rules, as many words as the levels reach over, from the first word on.
    pub(super) rules: usize,
    /// Words of profiles, behind the rules.
    pub(super) profiles: usize,
}

/// Writes one family's rows, lane by lane.
pub(super) struct Encoder<'a> {
    rows: &'a Rows,
    levels: u32,
    layout: Layout,
    /// For levels 3: offset of every node in units of 8 bytes, 0 if it is not written yet.
    nodes: Vec<u32>,
    /// For levels 3: how many words of every node that is written are not 0.
    node_words: Vec<u8>,
    /// Of the lane in which each is fewest: leaf words that are not 0 in one row, and nodes that are
    /// not empty, at most. No walk takes up more.
    pub(super) fewest: RowSize,
}

/// How large a row is.
#[derive(Clone, Copy)]
pub(super) struct RowSize {
    /// Leaf words that are not 0.
    pub(super) words: usize,
    /// Nodes that are not empty.
    pub(super) nodes: usize,
}

/// One lane's rows (or blocks) in the blob.
pub(super) struct LaneRows {
    /// Byte offset of the first.
    pub(super) offset: u32,
    /// Whether references need more than 16 bits.
    pub(super) wide: bool,
    /// Reference of every row by [`RowId`]; only those of the lane mean anything.
    references: Vec<u32>,
}

impl LaneRows {
    /// `bytes` bytes from `offset` on, in which row `i` is the one at `references[i]`.
    pub(super) fn new(offset: u32, bytes: usize, references: Vec<u32>) -> Self {
        Self {
            offset,
            wide: bytes / 8 > usize::from(u16::MAX) + 1,
            references,
        }
    }

    /// The reference of a row of the lane.
    pub(super) fn reference(&self, row: RowId) -> u32 {
        self.references[row.0 as usize]
    }
}

/// Words of a node.
pub(super) const NODE: usize = 64;

/// A row that the lane does not have.
const ABSENT: u32 = u32::MAX;

impl<'a> Encoder<'a> {
    /// For rows of `levels` levels.
    pub(super) fn new(rows: &'a Rows, levels: u32, layout: Layout) -> Self {
        Self {
            rows,
            levels,
            layout,
            nodes: vec![0; rows.nodes()],
            node_words: vec![0; rows.nodes()],
            fewest: RowSize {
                words: usize::MAX,
                nodes: usize::MAX,
            },
        }
    }

    /// Writes the rows of a lane, each once, in the order of their first use. With `profiles`, the
    /// words of the profiles stand before each row.
    pub(super) fn lane(
        &mut self,
        blob: &mut Blob,
        what: &str,
        used: impl Iterator<Item = RowId>,
        profiles: bool,
    ) -> LaneRows {
        let mut references = vec![ABSENT; self.rows.len()];
        let mut order = Vec::new();
        for row in used {
            if references[row.0 as usize] == ABSENT {
                references[row.0 as usize] = 0;
                order.push(row);
            }
        }
        if self.levels == 3 {
            self.nodes_of(blob, what, &order);
        }
        let start = blob.align(8);
        let mut most = RowSize { words: 0, nodes: 0 };
        for &row in &order {
            blob.align(8);
            if profiles {
                let words = self.layout.rules..self.layout.rules + self.layout.profiles;
                words.rev().for_each(|word| blob.u64(self.word(row, word)));
            }
            references[row.0 as usize] = ((blob.len() - start) / 8) as u32;
            let size = self.row(blob, row);
            most.words = most.words.max(size.words);
            most.nodes = most.nodes.max(size.nodes);
        }
        self.fewest.words = self.fewest.words.min(most.words);
        self.fewest.nodes = self.fewest.nodes.min(most.nodes);
        blob.report(format!("{what}: rows"), order.len(), start);
        LaneRows::new(start as u32, blob.len() - start, references)
    }

    /// Writes the nodes of rows that are not empty and not written yet.
    fn nodes_of(&mut self, blob: &mut Blob, what: &str, order: &[RowId]) {
        let start = blob.align(8);
        let mut count = 0;
        for &row in order {
            let nodes = &self.rows.row(row)[..self.layout.rules.div_ceil(NODE)];
            for &node in nodes {
                let words = self.rows.node(node);
                if self.nodes[node as usize] == 0 && words.iter().any(|&word| word != 0) {
                    self.nodes[node as usize] = (blob.len() / 8) as u32;
                    self.node_words[node as usize] = write_node(blob, words) as u8;
                    count += 1;
                }
            }
        }
        blob.report(format!("{what}: nodes"), count, start);
    }

    /// Writes a row, whose nodes are written.
    fn row(&self, blob: &mut Blob, row: RowId) -> RowSize {
        let nodes = self.rule_nodes(row);
        match self.levels {
            1 => {
                blob.u64(self.word(row, 0));
                RowSize { words: 1, nodes: 0 }
            }
            2 => RowSize {
                words: write_node(blob, &self.rows.node(nodes[0])[..self.layout.rules]),
                nodes: 0,
            },
            _ => {
                let children = || nodes.iter().map(|&node| self.nodes[node as usize]);
                let bits = children()
                    .enumerate()
                    .fold(0u64, |bits, (i, child)| bits | u64::from(child != 0) << i);
                blob.u64(bits);
                children()
                    .filter(|&child| child != 0)
                    .for_each(|child| blob.u32(child));
                RowSize {
                    words: nodes
                        .iter()
                        .map(|&node| usize::from(self.node_words[node as usize]))
                        .sum(),
                    nodes: bits.count_ones() as usize,
                }
            }
        }
    }

    /// The nodes of a row that are about rules.
    fn rule_nodes(&self, row: RowId) -> &[u32] {
        &self.rows.row(row)[..self.layout.rules.div_ceil(NODE)]
    }

    fn word(&self, row: RowId, word: usize) -> u64 {
        self.rows.node(self.rows.row(row)[word / NODE])[word % NODE]
    }
}

/// Writes the words of a node that are not 0, and returns how many.
fn write_node(blob: &mut Blob, words: &[u64]) -> usize {
    let bits = words
        .iter()
        .enumerate()
        .fold(0u64, |bits, (i, &word)| bits | u64::from(word != 0) << i);
    blob.u64(bits);
    words
        .iter()
        .filter(|&&word| word != 0)
        .for_each(|&word| blob.u64(word));
    bits.count_ones() as usize
}
