//! Takes out what cannot be reached, what is computed and not read, and jumps to the next instruction.
//!
//! Loads from memory stay, also where nobody reads what they load: some are there to be seen by the
//! verifier (without them it takes jumbo frames for a million paths, on Linux 6.18).

use super::insn::Kind;
use super::text::Text;

/// Takes out all of it, until nothing more is found.
pub(super) fn prune(text: &mut Text) {
    loop {
        let mut changed = false;
        let reachable = reachable(text);
        for at in (0..text.len()).filter(|&at| !reachable[at]) {
            if text.insn(at).is_some() {
                text.remove(at);
                changed = true;
            }
        }
        let read_after = read_after(text);
        for (at, read_after) in read_after.into_iter().enumerate() {
            let Some(insn) = text.insn(at) else { continue };
            let is_dead = matches!(insn.kind(), Kind::Arithmetic { .. } | Kind::Wide)
                && insn.writes() & read_after == 0;
            let leads_on = matches!(insn.kind(), Kind::Jump | Kind::Branch { .. })
                && text.target(at).and_then(|target| text.staying(target)) == text.staying(at + 1);
            if is_dead || leads_on {
                text.remove(at);
                changed = true;
            }
        }
        if !changed {
            return;
        }
    }
}

/// What the program can get to from its beginning.
fn reachable(text: &Text) -> Vec<bool> {
    let mut reachable = vec![false; text.len()];
    let mut open = vec![0];
    while let Some(start) = open.pop() {
        for (at, seen) in reachable.iter_mut().enumerate().skip(start) {
            if std::mem::replace(seen, true) {
                break;
            }
            let Some(insn) = text.insn(at) else { continue };
            open.extend(text.target(at));
            if matches!(insn.kind(), Kind::Jump | Kind::Exit) {
                break;
            }
        }
    }
    reachable
}

/// For each instruction the registers that are read behind it before they are written.
fn read_after(text: &Text) -> Vec<u16> {
    let mut before = vec![0_u16; text.len() + 1];
    let mut after = vec![0_u16; text.len()];
    loop {
        let mut changed = false;
        for at in (0..text.len()).rev() {
            let Some(insn) = text.insn(at) else {
                changed |= before[at] != before[at + 1];
                before[at] = before[at + 1];
                continue;
            };
            let target = || text.target(at).map_or(0, |target| before[target]);
            after[at] = match insn.kind() {
                Kind::Exit => 0,
                Kind::Jump => target(),
                Kind::Branch { .. } => before[at + 1] | target(),
                _ => before[at + 1],
            };
            let now = after[at] & !insn.writes() | insn.reads();
            changed |= now != before[at];
            before[at] = now;
        }
        if !changed {
            return after;
        }
    }
}
