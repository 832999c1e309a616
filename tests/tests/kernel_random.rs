//! The random policies of `firewall-policy/tests/classifier` in the kernel: oracle, host and loaded
//! program name the same rules for every frame, `next` rules included.
//!
//! `FIREWALL_CASES=N` says how many frames there are in all, `FIREWALL_SEED=N` picks other ones.

use crate::random::{Random, Style, headers, policy};
use anyhow::{Context, Result, ensure};
use firewall_common::field::Field;
use firewall_common::key::PacketKey;
use firewall_tests::frames::Frame;
use firewall_tests::keyed;
use firewall_tests::number;
use firewall_tests::trial::Trial;

/// How many frames there are, if `FIREWALL_CASES` does not say.
const CASES: u64 = 20_000;

/// Frames that each policy gets.
const FRAMES: usize = 500;

#[test]
#[ignore = "needs root"]
fn random_policies() -> Result<()> {
    let cases = number("FIREWALL_CASES", CASES)? as usize;
    let mut random = Random(number("FIREWALL_SEED", 1)?);
    let (mut done, mut decided, mut policies, mut refused) = (0, 0, 0, 0);
    while done < cases {
        let size = match random.below(10) {
            0 => random.pick(&[1, 63, 64, 65, 128]),
            1 => random.pick(&[4_095, 4_096, 4_097]),
            2 => 4_098 + random.below(3_000),
            3..6 => 66 + random.below(400),
            _ => 2 + random.below(62),
        } as usize;
        let seed = random.next();
        let style = Style::random(&mut random, size);
        let mut policy = policy(seed, size, style);
        // Essential traffic does not get as far as the rules.
        policy.essential = 0;
        policy.macs = keyed::stations();
        policies += 1;
        // Some random policies need more lanes than there are.
        let Ok(tables) = Trial::compile(&policy) else {
            refused += 1;
            continue;
        };
        // A header at the end of some range, as often as not, and its zone for all.
        let keys = headers(&policy, seed, FRAMES, 40);
        let frames: Vec<(Frame, PacketKey)> = keys
            .iter()
            .step_by((keys.len() / FRAMES).max(1))
            .filter_map(keyed::frame)
            .collect();
        let zones = Field::Zone.none();
        let zone = frames
            .get(seed as usize % frames.len().max(1))
            .map_or(0, |(_, key)| key.field(Field::Zone) % zones);
        decided += Trial::load(&policy, tables, zone)
            .and_then(|mut trial| trial.run(&frames))
            .with_context(|| format!("seed {seed:#x}, {size} rules, {style:?}, zone {zone}"))?;
        done += frames.len();
    }
    println!("{policies} policies ({refused} refused), {done} frames, {decided} decided by a rule");
    ensure!(decided * 10 > done, "hardly a frame meets a rule");
    ensure!(refused * 4 < policies, "too many policies were refused");
    Ok(())
}
