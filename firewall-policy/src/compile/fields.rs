//! Small fields: classes by value, and the plan of lanes that combines classes ahead of time
//! (recursive flow classification, SIGCOMM 1999) while the product of their numbers stays small.

use super::FamilyRules;
use super::blob::Blob;
use super::encode::Encoder;
use super::hash::FastMap;
use super::rows::{RowId, Rows};
use super::sweep;
use crate::range::RangeSet;
use firewall_common::abi::{FieldConfig, field_mode};
use firewall_common::classify::WALK_ORDER;
use firewall_common::field::Field;

/// The largest table of pairs that a join may need.
const JOIN_LIMIT: usize = 65_536;

/// How many nodes a join may add: what it saves in ANDs it must not cost in cache misses.
const JOIN_NODES: usize = 65_536;

/// One lane: a run of fields, the first of which starts it.
pub(super) struct Lane {
    fields: Vec<FieldClasses>,
    /// For every field but the first: lane class of every pair of classes.
    joins: Vec<Vec<u32>>,
    /// The lane's rows by lane class.
    rows: Vec<RowId>,
}

/// One field's classes.
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

/// Cuts the small fields that some rule looks at into classes, and groups them into lanes. With
/// `needed`, there is at least one lane.
pub(super) fn plan<T>(rules: &FamilyRules<'_, T>, rows: &mut Rows, needed: bool) -> Vec<Lane> {
    let mut lanes: Vec<Lane> = Vec::new();
    for field in WALK_ORDER {
        let sets = &rules.fields[field as usize];
        let looked_at = sets.iter().any(|set| set.ranges() != [(0, field.none())]);
        if looked_at {
            let classes = classes(field, sets, rows);
            let left_over = match lanes.last_mut() {
                Some(lane) => lane.join(classes, rows),
                None => Some(classes),
            };
            lanes.extend(left_over.map(Lane::start));
        }
    }
    if lanes.is_empty() && needed {
        let field = WALK_ORDER[0];
        lanes.push(Lane::start(classes(
            field,
            &rules.fields[field as usize],
            rows,
        )));
    }
    lanes
}

fn classes(field: Field, sets: &[&RangeSet<u32>], rows: &mut Rows) -> FieldClasses {
    let mut numbering = Numbering::default();
    let mut intervals = sweep::intervals(sets, rows);
    intervals.retain(|&(start, _)| start <= field.none());
    let intervals = intervals
        .into_iter()
        .map(|(start, row)| (start, numbering.number(row)))
        .collect();
    FieldClasses {
        field,
        intervals,
        rows: numbering.rows,
    }
}

impl Lane {
    fn start(first: FieldClasses) -> Self {
        Self {
            rows: first.rows.clone(),
            fields: vec![first],
            joins: Vec::new(),
        }
    }

    /// Combines another field into the lane, or gives it back if that would cost too much.
    fn join(&mut self, other: FieldClasses, rows: &mut Rows) -> Option<FieldClasses> {
        if self.rows.len() * other.rows.len() > JOIN_LIMIT {
            return Some(other);
        }
        let most = rows.nodes() + JOIN_NODES;
        let mut numbering = Numbering::default();
        let mut join = Vec::with_capacity(self.rows.len() * other.rows.len());
        for &a in &self.rows {
            for &b in &other.rows {
                let both = rows.and(a, b);
                join.push(numbering.number(both));
            }
            if rows.nodes() > most {
                return Some(other);
            }
        }
        self.rows = numbering.rows;
        self.joins.push(join);
        self.fields.push(other);
        None
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
        let encoded = encoder.lane(blob, &what, self.rows.iter().copied());
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
