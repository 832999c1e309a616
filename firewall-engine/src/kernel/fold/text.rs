//! A program's text while it is worked on: instructions that can be taken out, with the places that
//! they jump to or name by their position here, so that nothing moves until all is done.
//!
//! Invariant: what is taken out changes nothing for what stays: whoever jumped there goes to the next
//! one that stays.

use super::Code;
use super::insn::{Insn, Kind};
use aya_obj::generated::bpf_insn;

/// The text.
#[derive(Debug)]
pub(super) struct Text {
    insns: Vec<Option<Insn>>,
    /// Where a jump goes to, or where the function begins that is named.
    targets: Vec<Option<usize>>,
    /// The slot at which each instruction was, and the number of slots.
    slots: Vec<usize>,
}

impl Text {
    /// The text in these slots; `None` if something in it is not known.
    pub(super) fn read(slots: &[bpf_insn]) -> Option<Self> {
        let all = Insn::all(slots)?;
        let mut starts = Vec::with_capacity(all.len() + 1);
        let mut slot = 0;
        for insn in &all {
            starts.push(slot);
            slot += insn.slots();
        }
        starts.push(slot);
        let targets = all.iter().zip(&starts).map(|(insn, &start)| {
            let distance = match insn.kind() {
                Kind::Jump | Kind::Branch { .. } => i64::from(insn.off),
                _ if insn.names_function() => i64::from(insn.imm),
                _ => return Some(None),
            };
            let slot = usize::try_from(start as i64 + 1 + distance).ok()?;
            let index = starts.binary_search(&slot).ok()?;
            (index < all.len()).then_some(Some(index))
        });
        let targets = targets.collect::<Option<Vec<_>>>()?;
        Some(Self {
            insns: all.into_iter().map(Some).collect(),
            targets,
            slots: starts,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.insns.len()
    }

    /// The instruction, if it is still there.
    pub(super) fn insn(&self, at: usize) -> Option<Insn> {
        self.insns[at]
    }

    /// Where it jumps to, or the function that it names.
    pub(super) fn target(&self, at: usize) -> Option<usize> {
        self.targets[at]
    }

    /// The first instruction at or behind `at` that is still there.
    pub(super) fn staying(&self, at: usize) -> Option<usize> {
        (at..self.len()).find(|&at| self.insns[at].is_some())
    }

    pub(super) fn replace(&mut self, at: usize, insn: Insn) {
        self.insns[at] = Some(insn);
    }

    pub(super) fn remove(&mut self, at: usize) {
        self.insns[at] = None;
    }

    /// Makes a branch an unconditional jump.
    pub(super) fn jump(&mut self, at: usize) {
        self.insns[at] = Some(Insn {
            code: 0x05,
            dst: 0,
            src: 0,
            off: 0,
            imm: 0,
            high: 0,
        });
    }

    /// Where control can come from elsewhere than from the instruction before.
    pub(super) fn leaders(&self) -> Vec<bool> {
        let mut leaders = vec![false; self.len()];
        for at in (0..self.len()).filter(|&at| self.insns[at].is_some()) {
            if let Some(target) = self.targets[at] {
                leaders[target] = true;
            }
        }
        leaders
    }

    /// Puts what stays into `code`, which is that of [`Text::read`], and moves its records along.
    pub(super) fn write(&self, code: &mut Code<'_>) {
        // Of what was taken out: where the next one goes.
        let mut places = Vec::with_capacity(self.len() + 1);
        let mut place = 0;
        for insn in &self.insns {
            places.push(place);
            place += insn.map_or(0, Insn::slots);
        }
        places.push(place);

        let mut is_named = vec![false; self.len()];
        code.instructions.clear();
        for (at, insn) in self.insns.iter().enumerate() {
            let Some(mut insn) = *insn else { continue };
            if let Some(target) = self.targets[at] {
                let distance = places[target] as i64 - places[at] as i64 - 1;
                if insn.names_function() {
                    insn.imm = distance as i32;
                    is_named[target] = true;
                } else {
                    // Nothing is further away than it was.
                    insn.off = distance as i16;
                }
            }
            insn.write(code.instructions);
        }

        let index = |slot: u32| self.slots.partition_point(|&start| start < slot as usize);
        code.functions.retain_mut(|record| {
            let at = index(record.insn_off);
            record.insn_off = places[at.min(self.len())] as u32;
            at == 0 || is_named.get(at) == Some(&true)
        });
        for record in code.lines.iter_mut() {
            record.insn_off = places[index(record.insn_off).min(self.len())] as u32;
        }
        // Of several at one place the last one tells where that comes from.
        code.lines.reverse();
        code.lines.dedup_by_key(|record| record.insn_off);
        code.lines.reverse();
        code.lines
            .retain(|record| (record.insn_off as usize) < place);
    }
}
