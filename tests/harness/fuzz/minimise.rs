//! Making a frame smaller while it still shows what it shows (Zeller and Hildebrandt, "Simplifying
//! and isolating failure-inducing input", 2002, in its plainest form).

use crate::frames::Frame;

/// The shortest frame that the kernel takes.
const SHORTEST: usize = 14;

/// A smaller frame for which `shows` still holds: bytes are cut off, taken out and zeroed until
/// nothing more can be. `shows(frame)` must hold.
pub fn minimise(frame: &[u8], shows: impl Fn(&[u8]) -> bool) -> Frame {
    let mut best = frame.to_vec();
    loop {
        let before = best.clone();
        let mut step = best.len();
        while step > 0 {
            let mut at = 0;
            while at < best.len() {
                let end = (at + step).min(best.len());
                let without = [&best[..at], &best[end..]].concat();
                if without.len() >= SHORTEST && shows(&without) {
                    best = without;
                } else {
                    at += step;
                }
            }
            step /= 2;
        }
        for at in 0..best.len() {
            let kept = best[at];
            for simpler in [0, kept & 0xf0, kept & 0x0f] {
                best[at] = simpler;
                if simpler < kept && shows(&best) {
                    break;
                }
                best[at] = kept;
            }
        }
        if best == before {
            return best;
        }
    }
}
