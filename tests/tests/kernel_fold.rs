//! What folding constants into a program does, compared by the kernel: random programs, and the firewall's
//! own under policies of every kind, run as they are and folded.

use firewall_common::abi::InterfaceEntry;
use firewall_engine::kernel::compared::compare;
use firewall_engine::kernel::program::Loaded;
use firewall_policy::compile::compile;
use firewall_tests::frames::{self, Taste};
use firewall_tests::number;
use firewall_tests::policies;
use firewall_tests::random::Random;

/// Random programs, if `FIREWALL_PROGRAMS` does not ask for more.
const PROGRAMS: u64 = 1_000;

/// Frames for each policy, if `FIREWALL_FRAMES` does not ask for more.
const FRAMES: u64 = 1_000;

/// What is read-only.
const DATA: [u8; 24] = [
    5, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0x80, 9, 0, 0, 0,
];

/// Bytes of a frame: three registers at the start, four words at the end.
const FRAME: usize = 56;

/// A slot (RFC 9669).
fn insn(code: u8, dst: u8, src: u8, off: i16, imm: i32) -> [u8; 8] {
    let (off, imm) = (off.to_le_bytes(), imm.to_le_bytes());
    let registers = dst | src << 4;
    [
        code, registers, off[0], off[1], imm[0], imm[1], imm[2], imm[3],
    ]
}

/// The address in the read-only data in `dst`: two slots.
fn address(dst: u8, offset: i32) -> [[u8; 8]; 2] {
    [insn(0x18, dst, 2, 0, 0), insn(0, 0, 0, 0, offset)]
}

/// Operations of arithmetic: ADD, SUB, MUL, OR, AND, XOR, MOV, LSH, RSH.
const OPERATIONS: [u8; 9] = [0x00, 0x10, 0x20, 0x40, 0x50, 0xa0, 0xb0, 0x60, 0x70];
/// JEQ, JGT, JGE, JSET, JNE, JSGT, JSGE, JLT, JLE, JSLT, JSLE.
const BRANCHES: [u8; 11] = [
    0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0,
];
/// Numbers at the borders of what 32 bits can say.
const NUMBERS: [i32; 8] = [0, 1, -1, 5, 64, i32::MIN, i32::MAX, 255];

/// One step of a random program: slots that nobody jumps into the middle of. A branch has its
/// distance in steps.
fn step(random: &mut Random) -> Vec<[u8; 8]> {
    let (dst, src) = (random.below(6) as u8, random.below(6) as u8);
    let imm = random.pick(&NUMBERS);
    match random.below(10) {
        0..=3 => {
            let class = random.pick(&[0x04, 0x07]);
            let operation = class | random.pick(&OPERATIONS);
            vec![if operation & 0xf0 == 0x60 || operation & 0xf0 == 0x70 {
                insn(operation, dst, 0, 0, random.below(32) as i32)
            } else if random.one_in(2) {
                insn(operation, dst, 0, 0, imm)
            } else {
                insn(operation | 0x08, dst, src, 0, 0)
            }]
        }
        4 | 5 => {
            let load = random.pick(&[0x61, 0x69, 0x71, 0x79]);
            let [low, high] = address(dst, random.pick(&[0, 8]));
            vec![low, high, insn(load, dst, dst, random.below(8) as i16, 0)]
        }
        6 => vec![insn(0x7b, 10, src, random.pick(&[-8, -16, -24, -32]), 0)],
        _ => {
            let code = random.pick(&[0x05, 0x06]) | random.pick(&BRANCHES);
            let ahead = random.below(6) as i16;
            vec![if random.one_in(2) {
                insn(code, dst, 0, ahead, imm)
            } else {
                insn(code | 0x08, dst, src, ahead, 0)
            }]
        }
    }
}

/// Some program: registers 1 to 3 come from the frame, register 0 and four words of its stack go into
/// it at the end.
fn program(random: &mut Random) -> Vec<[u8; 8]> {
    let mut all = vec![
        insn(0x61, 7, 1, 4, 0),            // r7 = the frame's end
        insn(0x61, 6, 1, 0, 0),            // r6 = its beginning
        insn(0xbf, 8, 6, 0, 0),            // r8 = r6
        insn(0x07, 8, 0, 0, FRAME as i32), // r8 += its length
        insn(0xbd, 8, 7, 2, 0),            // if r8 <= r7 goto the third from here
        insn(0xb7, 0, 0, 0, 0),
        insn(0x95, 0, 0, 0, 0),
        insn(0x79, 1, 6, 0, 0),
        insn(0x79, 2, 6, 8, 0),
        insn(0x79, 3, 6, 16, 0),
        insn(0xb7, 0, 0, 0, 3),
        insn(0xb7, 4, 0, 0, -1),
        insn(0xbf, 5, 1, 0, 0),
    ];
    all.extend([-8, -16, -24, -32].map(|off| insn(0x7a, 10, 0, off, 0)));
    let steps: Vec<_> = (0..8 + random.below(40)).map(|_| step(random)).collect();
    for (at, slots) in steps.iter().enumerate() {
        for slot in slots {
            let mut slot = *slot;
            if matches!(slot[0] & 7, 5 | 6) {
                let skipped = steps.iter().skip(at + 1).take(usize::from(slot[2]));
                let distance: usize = skipped.map(Vec::len).sum();
                slot[2] = distance as u8;
            }
            all.push(slot);
        }
    }
    for word in 0..4 {
        all.push(insn(0x79, 7, 10, -8 - word * 8, 0));
        all.push(insn(0x7b, 6, 7, 24 + word * 8, 0));
    }
    all.push(insn(0x95, 0, 0, 0, 0));
    all
}

#[test]
#[ignore = "needs root"]
fn random_programs_do_what_they_did() {
    let mut random = Random::new(5);
    let (mut slots, mut taken) = ([0; 2], 0);
    let rounds = number("FIREWALL_PROGRAMS", PROGRAMS).unwrap();
    for round in 0..rounds {
        let program = program(&mut random);
        let frames: Vec<Vec<u8>> = (0..4)
            .map(|_| {
                let registers = [0; 3].map(|_: u64| random.bits() >> random.below(64));
                let mut frame = registers.map(u64::to_le_bytes).concat();
                frame.resize(FRAME, 0);
                frame
            })
            .collect();
        let compared = compare(&program, &DATA, &frames)
            .unwrap_or_else(|error| panic!("round {round}: {error}: {program:02x?}"));
        // One that the verifier takes for too long, or that reads an address, in either form.
        let Some(compared) = compared else { continue };
        taken += 1;
        for (sum, slots) in slots.iter_mut().zip(compared.slots) {
            *sum += slots;
        }
        for (frame, [before, after]) in frames.iter().zip(&compared.ends) {
            assert_eq!(
                before, after,
                "round {round}: {program:02x?} on {frame:02x?}"
            );
        }
    }
    // Otherwise nothing would be tested.
    let [before, after] = slots;
    assert!(
        taken * 10 > rounds * 9,
        "the kernel takes {taken} of {rounds}"
    );
    assert!(after * 4 < before * 3, "{before} slots became {after}");
}

#[test]
#[ignore = "needs root"]
fn the_firewall_does_what_it_did() {
    let frames_each = number("FIREWALL_FRAMES", FRAMES).unwrap();
    let interface = InterfaceEntry {
        ifindex: 1,
        slot: 1,
        zone: 0,
    };
    for (name, policy) in policies::shipped().unwrap() {
        let count = policy.counters().len() as u32;
        let slots: Vec<u32> = (0..count).collect();
        let tables = compile(&policy, &slots).unwrap();
        let folded = Loaded::load(&tables, count, &[interface]).unwrap();
        let plain = Loaded::load_unfolded(&tables, count, &[interface]).unwrap();
        let mut random = Random::new(11);
        for round in 0..frames_each {
            let frame = frames::random(&mut random, &Taste::default());
            if frame.len() < 14 {
                continue;
            }
            let [folded, plain] = [&folded, &plain].map(|loaded| {
                let (run, left) = loaded.run_and_read(&frame, None).unwrap();
                (run.verdict, run.answers, left)
            });
            assert_eq!(folded, plain, "{name}, frame {round}: {frame:02x?}");
        }
        let [folded, plain] = [folded, plain].map(|loaded| loaded.counters());
        assert!(folded.reasons == plain.reasons, "{name}: other reasons");
        assert!(folded.rules == plain.rules, "{name}: other rules");
        assert!(folded.ports == plain.ports, "{name}: other ports");
    }
}
