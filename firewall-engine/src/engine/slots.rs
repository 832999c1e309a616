//! Counter slots: bound to names, so that counters survive whatever happens around a name.

use std::collections::{HashMap, HashSet};

/// Which slot each name has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Assignment {
    /// Slot of each name, in the order of the names.
    pub(super) slots: Vec<u32>,
    /// Slots that a name got just now: what they have counted belongs to someone else.
    pub(super) fresh: Vec<u32>,
}

/// Gives every name a slot of `available`. A name that has one in `taken` keeps it. A new name
/// gets a slot that nobody has in `taken`, not even a name that goes: the generation in force
/// counts there until it is replaced. `None` if there are too few slots.
pub(super) fn assign(
    names: &[&str],
    taken: &[(&str, u32)],
    available: std::ops::Range<u32>,
) -> Option<Assignment> {
    let by_name: HashMap<&str, u32> = taken.iter().copied().collect();
    let in_use: HashSet<u32> = taken.iter().map(|&(_, slot)| slot).collect();
    let mut free = available.clone().filter(|slot| !in_use.contains(slot));
    let mut assignment = Assignment {
        slots: Vec::with_capacity(names.len()),
        fresh: Vec::new(),
    };
    for name in names {
        let kept = by_name
            .get(name)
            .copied()
            .filter(|slot| available.contains(slot));
        let slot = match kept {
            Some(slot) => slot,
            None => {
                let slot = free.next()?;
                assignment.fresh.push(slot);
                slot
            }
        };
        assignment.slots.push(slot);
    }
    Some(assignment)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_their_slots_wherever_they_move() {
        let taken = [("a", 0), ("b", 1), ("c", 2)];
        let next = assign(&["c", "new", "a"], &taken, 0..8).unwrap();
        assert_eq!(next.slots, [2, 3, 0]);
        assert_eq!(next.fresh, [3]);
    }

    #[test]
    fn a_slot_that_still_counts_is_not_given_away() {
        // `b` goes in the same step in which `new` comes: slot 1 is not free yet.
        let next = assign(&["a", "new"], &[("a", 0), ("b", 1)], 0..3).unwrap();
        assert_eq!(next.slots, [0, 2]);
        // One step later it is.
        let after = assign(&["a", "new", "more"], &[("a", 0), ("new", 2)], 0..3).unwrap();
        assert_eq!(after.slots, [0, 2, 1]);
        assert_eq!(after.fresh, [1]);
    }

    #[test]
    fn too_few_slots_are_no_assignment() {
        assert_eq!(assign(&["a", "b"], &[], 0..1), None);
        assert_eq!(assign(&["a"], &[("old", 0)], 0..1), None);
        assert_eq!(assign(&["a"], &[("a", 9)], 1..2).unwrap().slots, [1]);
    }
}
