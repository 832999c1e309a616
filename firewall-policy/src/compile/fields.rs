//! Small fields: classes by value, and the plan of lanes that combines classes ahead of time
//! (recursive flow classification, SIGCOMM 1999) while the product of their numbers stays small.

use super::blob::Blob;
use super::encode::Encoder;
use super::hash::FastMap;
use super::rows::{RowId, Rows};
use super::sweep;
use super::{FamilyRules, LimitError};
use crate::range::RangeSet;
use firewall_common::abi::{FieldConfig, field_mode};
use firewall_common::field::Field;

/// What combining classes may cost. What it saves in ANDs it must not cost in cache misses.
#[derive(Clone, Copy)]
struct Budget {
    /// Pairs in one table.
    pairs: usize,
    /// Nodes that one table adds.
    nodes: usize,
}

/// The first is the best; the others are for policies that would need too many lanes.
const BUDGETS: [Budget; 3] = [
    Budget {
        pairs: 1 << 16,
        nodes: 1 << 16,
    },
    Budget {
        pairs: 1 << 20,
        nodes: 1 << 18,
    },
    Budget {
        pairs: 1 << 24,
        nodes: 1 << 20,
    },
];

/// Lane classes are `u16`.
const MAX_CLASSES: usize = 1 << 16;

/// One lane: a run of fields, the first of which starts it.
pub(super) struct Lane {
    fields: Vec<FieldClasses>,
    /// For every field but the first: lane class of every pair of classes.
    joins: Vec<Vec<u32>>,
    /// The lane's rows by lane class.
    rows: Vec<RowId>,
}

/// One field's classes.
#[derive(Clone)]
struct FieldClasses {
    field: Field,
    /// First value and class of every interval.
    intervals: Vec<(u32, u32)>,
    /// Row by class.
    rows: Vec<RowId>,
}

/// Numbers rows in the order of their first appearance.
#[derive(Default)]
struct Numbering {
    numbers: FastMap<RowId, u32>,
    rows: Vec<RowId>,
}

impl Numbering {
    fn number(&mut self, row: RowId) -> u32 {
        *self.numbers.entry(row).or_insert_with(|| {
            self.rows.push(row);
            self.rows.len() as u32 - 1
        })
    }
}

/// Cuts the small fields that some rule looks at into classes, and groups them into at most `most`
/// lanes. With `needed`, there is at least one lane.
pub(super) fn plan<T>(
    rules: &FamilyRules<'_, T>,
    rows: &mut Rows,
    needed: bool,
    most: usize,
) -> Result<Vec<Lane>, LimitError> {
    let any = |field: Field| move |set: &&RangeSet<u32>| set.ranges() == [(0, field.none())];
    let mut fields: Vec<Field> = Field::WALK_ORDER
        .into_iter()
        .filter(|&field| !rules.fields[field as usize].iter().all(any(field)))
        .collect();
    if fields.is_empty() && needed {
        fields.push(Field::WALK_ORDER[0]);
    }
    let classes: Vec<FieldClasses> = fields
        .into_iter()
        .map(|field| classes(field, &rules.fields[field as usize], rows))
        .collect::<Result<_, _>>()?;
    let mut fewest = usize::MAX;
    for budget in BUDGETS {
        let mut lanes: Vec<Lane> = Vec::new();
        for field in &classes {
            let joined = lanes
                .last_mut()
                .is_some_and(|lane| lane.join(field, rows, budget));
            if !joined {
                lanes.push(Lane::start(field));
            }
        }
        if lanes.len() <= most {
            return Ok(lanes);
        }
        fewest = fewest.min(lanes.len());
    }
    Err(LimitError {
        what: "the number of match fields with too many different values to be combined".into(),
        needed: fewest as u64,
        limit: most as u64,
    })
}

fn classes(
    field: Field,
    sets: &[&RangeSet<u32>],
    rows: &mut Rows,
) -> Result<FieldClasses, LimitError> {
    let mut numbering = Numbering::default();
    let mut intervals = sweep::intervals(sets, rows)?;
    intervals.retain(|&(start, _)| start <= field.none());
    let intervals = intervals
        .into_iter()
        .map(|(start, row)| (start, numbering.number(row)))
        .collect();
    Ok(FieldClasses {
        field,
        intervals,
        rows: numbering.rows,
    })
}

impl Lane {
    fn start(first: &FieldClasses) -> Self {
        Self {
            rows: first.rows.clone(),
            fields: vec![first.clone()],
            joins: Vec::new(),
        }
    }

    /// Combines another field into the lane, unless that costs too much.
    fn join(&mut self, other: &FieldClasses, rows: &mut Rows, budget: Budget) -> bool {
        let largest = self.rows.len().max(other.rows.len());
        if largest > MAX_CLASSES || self.rows.len() * other.rows.len() > budget.pairs {
            return false;
        }
        let most = (rows.nodes() + budget.nodes).min(rows.most_nodes());
        let mut numbering = Numbering::default();
        let mut join = Vec::with_capacity(self.rows.len() * other.rows.len());
        for &a in &self.rows {
            for &b in &other.rows {
                let both = rows.and(a, b);
                join.push(numbering.number(both));
            }
            if rows.nodes() > most || numbering.rows.len() > MAX_CLASSES {
                return false;
            }
        }
        self.rows = numbering.rows;
        self.joins.push(join);
        self.fields.push(other.clone());
        true
    }

    /// Writes the lane's tables and rows.
    pub(super) fn write(
        &self,
        blob: &mut Blob,
        encoder: &mut Encoder<'_>,
        family: &str,
        config: &mut [FieldConfig; Field::COUNT],
    ) {
        let names: Vec<&str> = self.fields.iter().map(|f| f.field.name()).collect();
        let what = format!("{family} {}", names.join(" + "));
        let encoded = encoder.lane(blob, &what, self.rows.iter().copied(), true);
        // The lane's last table holds references to rows in place of classes.
        let finished = |class: u32| encoded.reference(self.rows[class as usize]);
        let last = self.fields.len() - 1;
        for (i, classes) in self.fields.iter().enumerate() {
            let config = &mut config[classes.field as usize];
            let start = blob.align(64);
            config.classes = start as u32;
            let alone = last == 0;
            for class in classes.by_value() {
                if alone {
                    blob.reference(finished(class), encoded.wide);
                } else {
                    blob.u16(class as u16);
                }
            }
            blob.report(
                format!("{family} {}: classes", classes.field.name()),
                classes.rows.len(),
                start,
            );
            if i == 0 {
                config.mode = field_mode::START;
            } else {
                config.mode = field_mode::JOIN;
                config.join_width = classes.rows.len() as u32;
                let join = &self.joins[i - 1];
                let start = blob.align(64);
                config.join = start as u32;
                for &class in join {
                    if i == last {
                        blob.reference(finished(class), encoded.wide);
                    } else {
                        blob.u16(class as u16);
                    }
                }
                blob.report(format!("{what}: pairs"), join.len(), start);
            }
            if i == last {
                config.rows = encoded.offset;
                config.wide = u32::from(encoded.wide);
            }
        }
    }
}

impl FieldClasses {
    /// The classes of all values, in order.
    fn by_value(&self) -> impl Iterator<Item = u32> + '_ {
        self.intervals
            .iter()
            .enumerate()
            .flat_map(|(i, &(start, class))| {
                let end = self
                    .intervals
                    .get(i + 1)
                    .map_or(self.field.none() + 1, |next| next.0);
                std::iter::repeat_n(class, (end - start) as usize)
            })
    }
}
