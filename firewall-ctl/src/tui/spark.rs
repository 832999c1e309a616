//! History drawn with block characters: one line ([`line`]) for a table cell, several ([`chart`])
//! for the detail view. Pure functions from numbers to text; imports only [`firewall_api::view`].
//!
//! A cell of the line has seven heights. The lowest stands for zero alone, so that one packet in a
//! busy minute can still be told from none; the eighth, the full block, is left to charts, because
//! it would grow together with the line above. Time runs to the right; the right edge is now. Where
//! there are more seconds than cells, a cell shows the largest of its seconds, because a short
//! flood must not be averaged away; seconds are grouped from the newest, so a peak wanders to the
//! left without flickering.

use firewall_api::view::HISTORY;

const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
const ASCII: [char; 7] = ['_', '.', ':', '-', '=', '+', '#'];

/// `history` (oldest first) as `width` cells that always span [`HISTORY`] seconds, or one second
/// each where there is room for more. Seconds without a sample are blank.
pub(super) fn line(history: &[u64], width: usize, unicode: bool) -> String {
    let levels = if unicode { &BLOCKS[..7] } else { &ASCII };
    let cells = buckets(history, width);
    let peak = cells.iter().flatten().copied().max().unwrap_or(0);
    cells
        .into_iter()
        .map(|cell| match cell {
            None => ' ',
            Some(0) => levels[0],
            Some(n) => levels[steps(n, peak, 6)],
        })
        .collect()
}

/// `history` as a bar chart of `height` lines, the top one first, with eight steps a line (two in
/// ASCII). Also returns the peak, which is the height of the top edge.
pub(super) fn chart(
    history: &[u64],
    width: usize,
    height: usize,
    unicode: bool,
) -> (u64, Vec<String>) {
    let cells = buckets(history, width);
    let peak = cells.iter().flatten().copied().max().unwrap_or(0);
    let eighths = |n: u64| {
        if n == 0 {
            0
        } else {
            steps(n, peak, height * 8)
        }
    };
    let lines = (0..height).rev().map(|row| {
        let column = |cell: &Option<u64>| {
            let Some(n) = cell else { return ' ' };
            match (eighths(*n).saturating_sub(row * 8).min(8), unicode) {
                (0, true) if row == 0 => BLOCKS[0],
                (0, false) if row == 0 => '_',
                (0, _) => ' ',
                (step, true) => BLOCKS[step - 1],
                (1..=4, false) => '.',
                (_, false) => '#',
            }
        };
        cells.iter().map(column).collect()
    });
    (peak, lines.collect())
}

/// How many of `all` steps high a sample above zero is drawn: to the nearest, but never none; the
/// peak gets all of them.
fn steps(n: u64, peak: u64, all: usize) -> usize {
    let (n, peak) = (u128::from(n), u128::from(peak.max(1)));
    ((n * all as u128 * 2 + peak) / (peak * 2)).max(1) as usize
}

/// The largest sample of each cell, oldest first; `None` where there is no sample.
fn buckets(history: &[u64], width: usize) -> Vec<Option<u64>> {
    if width == 0 {
        return Vec::new();
    }
    let width = width.min(HISTORY);
    let recent = &history[history.len().saturating_sub(HISTORY)..];
    // Cell i from the right covers the seconds from i*60/width back to (i+1)*60/width.
    (0..width)
        .rev()
        .map(|i| {
            let newest = i * HISTORY / width;
            let oldest = (i + 1) * HISTORY / width;
            let end = recent.len().checked_sub(newest)?;
            let start = recent.len().saturating_sub(oldest);
            recent[start..end].iter().copied().max()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn now_is_at_the_right_edge_and_the_past_is_blank() {
        assert_eq!(line(&[5], 10, true), "         ▇");
        assert_eq!(line(&[], 4, true), "    ");
        assert_eq!(line(&[1], 0, true), "");
        let rising: Vec<u64> = (0..60).collect();
        assert_eq!(line(&rising, 8, true), "▂▂▃▄▅▅▆▇");
        assert_eq!(line(&rising, 8, false), "..:-==+#");
    }

    #[test]
    fn zero_differs_from_one_packet_in_a_flood() {
        let mut history = vec![0; 60];
        history[30] = 1;
        history[59] = u64::MAX;
        let cells: Vec<char> = line(&history, 60, true).chars().collect();
        assert_eq!((cells[29], cells[30], cells[59]), ('▁', '▂', '▇'));
    }

    #[test]
    fn a_short_peak_survives_and_wanders_left() {
        let mut history = vec![10; 60];
        history[59] = 70;
        let mut column = 9;
        for _ in 0..59 {
            let cells: Vec<char> = line(&history, 10, true).chars().collect();
            let at: Vec<usize> = (0..10).filter(|i| cells[*i] == '▇').collect();
            assert_eq!(at.len(), 1, "{cells:?}");
            assert!(
                at[0] <= column && column - at[0] <= 1,
                "moved from {column} to {at:?}"
            );
            column = at[0];
            history.remove(0);
            history.push(10);
        }
        assert_eq!(column, 0);
    }

    #[test]
    fn longer_histories_than_a_minute_show_the_last_minute() {
        let mut history = vec![1000; 40];
        history.extend(vec![1; 60]);
        assert_eq!(line(&history, 6, true), "▇▇▇▇▇▇");
    }

    #[test]
    fn chart_fills_eighths_from_the_bottom() {
        let (peak, lines) = chart(&[0, 1, 8, 16], 60, 2, true);
        assert_eq!(peak, 16);
        assert_eq!(lines[0].trim_start(), "█");
        assert_eq!(lines[1].trim_start(), "▁▁██");
        let (_, lines) = chart(&[0, 1, 8, 16], 60, 2, false);
        assert_eq!(
            (lines[0].trim_start(), lines[1].trim_start()),
            ("#", "_.##")
        );
        let (peak, lines) = chart(&[0, 0], 60, 2, true);
        assert_eq!((peak, lines[0].trim(), lines[1].trim()), (0, "", "▁▁"));
    }
}
