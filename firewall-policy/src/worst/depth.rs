//! How many of some sets in many dimensions have a point in common, at most.
//!
//! In one dimension a sweep over the ends of all ranges says how many sets lie over each other where
//! they are densest (the bound by lane); no point of all dimensions has more. The dimension where they lie
//! thinnest is taken apart: for each place where many lie over each other, the question is asked
//! again for those alone, without that dimension. Where each dimension has a place that is common to
//! all sets, these places make up the point. That is exact, and quick for rules as people write them.
//!
//! Sets of different *shapes* (the dimensions in which a set is not everything) lie over each other
//! everywhere and say little about each other, so the bounds of the shapes are taken one by one, and
//! added: a point is in no more sets than that. A bound of the work keeps the search quick where all
//! that does not; what is left then counts by the lower of the two bounds.
//!
//! Knows nothing of rules: sets have numbers, places are ranks among the ends of all ranges.

use crate::range::{Number, RangeSet};
use std::collections::{HashMap, HashSet};
use std::hash::Hash;

/// Ends of ranges, and members of sets, that are looked at in the search below the first sweep.
const WORK: usize = 2 << 20;

/// A dimension with more ranges than this is left out: there every set counts as everything.
const MOST_RANGES: usize = 4 << 20;

/// A bound.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Bound {
    /// No point is in more sets than this.
    pub most: usize,
    /// The sets that it is about, in order, or more; none if the bound is what was asked for.
    pub rules: Vec<usize>,
    /// Whether these are as many, and have a point in common.
    pub exact: bool,
}

/// One dimension: equal sets are one.
pub(super) struct Dimension {
    /// The set of each number.
    set_of: Vec<u32>,
    /// Ranges of ranks, the ends excluded.
    sets: Vec<Vec<(u32, u32)>>,
    /// Whether each of them is everything that any of them is.
    wide: Vec<bool>,
}

impl Dimension {
    /// `None` if all sets are equal, so that the dimension tells nobody apart.
    pub(super) fn of<'a, T: Number + Hash + 'a>(
        all: impl Iterator<Item = &'a RangeSet<T>>,
    ) -> Option<Self> {
        let mut different: Vec<&RangeSet<T>> = Vec::new();
        let mut by_set: HashMap<&RangeSet<T>, u32> = HashMap::new();
        // A set that rules share is looked at once.
        let mut by_place: HashMap<usize, u32> = HashMap::new();
        let set_of: Vec<u32> = all
            .map(|set| {
                let place = std::ptr::from_ref(set.ranges()).addr();
                *by_place.entry(place).or_insert_with(|| {
                    *by_set.entry(set).or_insert_with(|| {
                        different.push(set);
                        different.len() as u32 - 1
                    })
                })
            })
            .collect();
        let ranges = || different.iter().flat_map(|set| set.ranges());
        if different.len() < 2 || ranges().count() > MOST_RANGES {
            return None;
        }
        let mut places: Vec<T> = ranges()
            .flat_map(|&(first, last)| [Some(first), last.next()])
            .flatten()
            .collect();
        places.sort_unstable();
        places.dedup();
        let rank = |place: T| places.partition_point(|&other| other < place) as u32;
        let ranked = |&(first, last): &(T, T)| {
            let end = last.next().map_or(places.len() as u32, rank);
            (rank(first), end)
        };
        let sets: Vec<Vec<(u32, u32)>> = different
            .iter()
            .map(|set| set.ranges().iter().map(ranked).collect())
            .collect();
        let end = sets.iter().flatten().map(|range| range.1).max();
        let everything =
            |set: &Vec<(u32, u32)>| set.len() == 1 && set[0].0 == 0 && Some(set[0].1) == end;
        let wide = sets.iter().map(everything).collect();
        Some(Self { set_of, sets, wide })
    }

    fn contains(&self, number: u32, place: u32) -> bool {
        let ranges = &self.sets[self.set_of[number as usize] as usize];
        let after = ranges.partition_point(|&(first, _)| first <= place);
        after > 0 && place < ranges[after - 1].1
    }
}

/// How many of `count` sets have a point in common, at most: see [`Bound`]. Whether there are
/// `more_than` so many, if that is not 0.
pub(super) fn bound(count: usize, dimensions: &[Dimension], more_than: usize) -> Bound {
    let ranges = |d: &Dimension| d.sets.iter().map(Vec::len).sum::<usize>();
    let first = dimensions.iter().map(|d| (ranges(d) * 2 + count) * 2);
    let mut search = DepthSearch {
        dimensions,
        more_than,
        best: Vec::new(),
        loose: (0, Vec::new()),
        work: 0,
        budget: WORK + first.sum::<usize>(),
        weights: dimensions.iter().map(|d| vec![0; d.sets.len()]).collect(),
    };
    let all: Vec<u32> = (0..count as u32).collect();
    search.look(&all, &(0..dimensions.len()).collect::<Vec<_>>());
    let (loose, members) = search.loose;
    let exact = loose <= search.best.len();
    let (most, mut found) = if exact {
        (search.best.len(), search.best)
    } else {
        (loose, members)
    };
    found.sort_unstable();
    Bound {
        most: most.max(more_than),
        rules: found.into_iter().map(|number| number as usize).collect(),
        exact,
    }
}

struct DepthSearch<'a> {
    dimensions: &'a [Dimension],
    more_than: usize,
    /// The most sets so far that have a point in common.
    best: Vec<u32>,
    /// The highest bound of those that were not searched to the end, and the sets it is about.
    loose: (usize, Vec<u32>),
    work: usize,
    /// How much of it there may be: the first sweep is not counted.
    budget: usize,
    /// Of each dimension, how often each of its sets is there: zeros between two sweeps.
    weights: Vec<Vec<u32>>,
}

/// A place where sets lie over each other more densely than beside it: how many, and its rank.
type Peak = (u32, u32);

impl DepthSearch<'_> {
    /// How many a subset must have to be worth a look: more than this.
    fn enough(&self) -> usize {
        self.best.len().max(self.more_than)
    }

    fn look(&mut self, members: &[u32], dimensions: &[usize]) {
        if members.len() <= self.enough() {
            return;
        }
        let mut apart = Vec::new();
        let mut thinnest: Option<(usize, usize)> = None;
        for &dimension in dimensions {
            let most = self.densest(dimension, members);
            // Members that are all in one place are so in every subset.
            if most < members.len() {
                apart.push(dimension);
                if thinnest.is_none_or(|(least, _)| most < least) {
                    thinnest = Some((most, dimension));
                }
            }
        }
        let Some((most, thinnest)) = thinnest else {
            self.best = members.to_vec();
            return;
        };
        let most = most.min(self.by_shape(&apart, members));
        apart.retain(|&dimension| dimension != thinnest);
        let mut peaks = self.peaks(thinnest, members);
        peaks.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut seen: HashSet<Vec<u32>> = HashSet::new();
        for (weight, place) in peaks {
            let most = most.min(weight as usize);
            if most <= self.enough() || self.is_found() {
                return;
            }
            let over = &self.dimensions[thinnest];
            let there = members.iter().copied();
            let there: Vec<u32> = there.filter(|&m| over.contains(m, place)).collect();
            if self.work > self.budget {
                let more = self.budget / 2;
                if self.work < self.budget + more && self.by_shape(&apart, &there) <= self.enough()
                {
                    continue;
                }
                // No later place has more.
                if most > self.loose.0 {
                    self.loose = (most, there);
                }
                return;
            }
            self.work += members.len();
            if seen.insert(there.clone()) {
                self.look(&there, &apart);
            }
        }
    }

    /// The bounds of the members' shapes, added.
    fn by_shape(&mut self, dimensions: &[usize], members: &[u32]) -> usize {
        /// More shapes than this are not worth it.
        const SHAPES: usize = 32;
        let mut shapes: HashMap<u32, Vec<u32>> = HashMap::new();
        for &member in members {
            let narrow = |&dimension: &usize| {
                let Dimension { set_of, wide, .. } = &self.dimensions[dimension];
                u32::from(!wide[set_of[member as usize] as usize]) << dimension
            };
            let shape = dimensions.iter().map(narrow).sum();
            shapes.entry(shape).or_default().push(member);
        }
        self.work += members.len();
        if shapes.len() > SHAPES {
            return usize::MAX;
        }
        let mut all = 0;
        for (shape, members) in shapes {
            let narrow = dimensions.iter().filter(|&&d| shape >> d & 1 != 0);
            let densest = narrow.map(|&dimension| self.densest(dimension, &members));
            all += densest.min().unwrap_or(members.len());
        }
        all
    }

    /// Whether the question is answered: there are more.
    fn is_found(&self) -> bool {
        self.more_than > 0 && self.best.len() > self.more_than
    }

    /// How many members lie over each other in a dimension, at most.
    fn densest(&mut self, dimension: usize, members: &[u32]) -> usize {
        let peaks = self.peaks(dimension, members);
        peaks.iter().map(|peak| peak.0).max().unwrap_or(0) as usize
    }

    /// The places in a dimension where members lie over each other more densely than beside it.
    fn peaks(&mut self, dimension: usize, members: &[u32]) -> Vec<Peak> {
        let Dimension { set_of, sets, .. } = &self.dimensions[dimension];
        let weights = &mut self.weights[dimension];
        let mut present = Vec::new();
        for &member in members {
            let set = set_of[member as usize];
            let weight = &mut weights[set as usize];
            if *weight == 0 {
                present.push(set);
            }
            *weight += 1;
        }
        if let &[set] = present.as_slice() {
            weights[set as usize] = 0;
            let place = sets[set as usize].first().map_or(0, |range| range.0);
            return vec![(members.len() as u32, place)];
        }
        // At one place, what ends there comes before what begins.
        let mut ends: Vec<(u32, i64)> = Vec::new();
        for set in present {
            let weight = i64::from(std::mem::take(&mut weights[set as usize]));
            for &(first, end) in &sets[set as usize] {
                ends.extend([(first, weight), (end, -weight)]);
            }
        }
        ends.sort_unstable();
        self.work += ends.len() + members.len();
        let mut peaks = Vec::new();
        let mut now = 0;
        for pair in ends.windows(2) {
            let (place, change) = pair[0];
            now += change;
            if change > 0 && pair[1].1 < 0 {
                peaks.push((now as u32, place));
            }
        }
        peaks
    }
}
