//! Changes that fail, by a refusal, a crash or somebody else's program, and what is left of them.

use super::engine::{WEB, web_hits};
use crate::common::{Root, has_three_capabilities, in_namespace, ip, policy, request, send, veth};
use firewall_engine::engine::{Engine, EngineError};
use firewall_engine::kernel::KernelError;
use firewall_policy::rule::Mode;
use std::borrow::Cow;
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

#[test]
#[ignore = "needs root"]
fn a_failed_change_leaves_everything_as_it_was() {
    in_namespace(|| {
        let root = Root::new();
        let other = Root::new();
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d", 3);
        let mut engine = root.engine();

        // Nothing was there before: nothing is there after.
        let error = engine
            .apply(&request(policy(&["fwt-x"], "pass", &[])))
            .unwrap_err();
        assert_eq!(error.exit_code(), 3);
        assert!(
            error
                .to_string()
                .starts_with("there is no interface fwt-x. Did you mean fwt-a?")
        );
        assert!(!root.path().exists());

        engine
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let before = (engine.observe().unwrap().unwrap(), root.pins());
        let unchanged = || {
            let now = root.engine().observe().unwrap().unwrap();
            assert_eq!(
                (now.record, now.links),
                (before.0.record.clone(), before.0.links.clone())
            );
            assert_eq!(root.pins(), before.1);
        };

        // The second of two interfaces carries someone else's program.
        other
            .engine()
            .apply(&request(policy(&["fwt-d"], "pass", &[])))
            .unwrap();
        let both = policy(&["fwt-b", "fwt-d"], "drop", &[WEB]);
        engine.apply(&request(both)).unwrap_err();
        unchanged();
        other.engine().unload(None).unwrap();

        // The second of two new interfaces refuses the mode: the first one is let go again.
        let mut native = request(policy(&["fwt-d", "lo", "fwt-b"], "drop", &[WEB]));
        native.mode = Some(Mode::Native);
        let error = engine.apply(&native).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("cannot attach to lo in native mode"),
            "{error}"
        );
        assert_eq!(error.exit_code(), 6);
        unchanged();

        // The verifier refuses.
        let mut broken = Engine::with_object(root.path(), Cow::Owned(refused_object()));
        let error = broken
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap_err();
        let EngineError::Kernel(KernelError::Verifier { summary, log }) = &error else {
            panic!("{error}");
        };
        assert!(!summary.is_empty() && error.to_string().contains(summary));
        assert!(fs::read_to_string(log).unwrap().contains(summary.as_str()));
        fs::remove_file(log).unwrap();
        unchanged();

        // The object is no object.
        let mut broken = Engine::with_object(root.path(), Cow::Owned(vec![1; 64]));
        broken
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap_err();
        unchanged();
    });
}

/// The object of the target folder, with a program that reads where it may not.
fn refused_object() -> Vec<u8> {
    let mut object = fs::read(concat!(env!("OUT_DIR"), "/firewall-ebpf.o")).unwrap();
    let u64_at = |bytes: &[u8], at: usize| {
        u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()) as usize
    };
    // ELF64: section headers of 64 bytes at e_shoff; sh_flags at 8, sh_offset at 24, sh_size at 32.
    let (table, count) = (
        u64_at(&object, 40),
        u16::from_le_bytes([object[60], object[61]]),
    );
    const EXECUTABLE: usize = 4;
    let code: Vec<usize> = (0..usize::from(count))
        .map(|section| table + section * 64)
        .filter(|&header| u64_at(&object, header + 8) & EXECUTABLE != 0)
        .filter(|&header| u64_at(&object, header + 32) > 8)
        .map(|header| u64_at(&object, header + 24))
        .collect();
    assert!(!code.is_empty());
    for offset in code {
        // r0 = *(u64 *)(r9 + 0), with r9 never written. In every section, because the function
        // that another one begins with may not be part of the program.
        object[offset..offset + 8].copy_from_slice(&[0x79, 0x90, 0, 0, 0, 0, 0, 0]);
    }
    object
}

#[test]
#[ignore = "needs root"]
fn what_a_crash_leaves_behind_is_mended_by_the_next_change() {
    in_namespace(|| {
        let root = Root::new();
        veth("fwt-a", "fwt-b", 2);
        let mut engine = root.engine();
        let text = policy(&["fwt-b"], "pass", &[WEB]);
        engine.apply(&request(&*text)).unwrap();
        send(2, 443, 6);

        // Died while staging: the folder is there, no link runs its program.
        fs::create_dir(root.path().join("gen-2")).unwrap();
        assert_eq!(engine.observe().unwrap().unwrap().record.generation, 1);
        assert!(!engine.apply(&request(&*text)).unwrap().changed);
        assert!(!root.path().join("gen-2").exists());

        // Died before the older generation was removed.
        engine
            .apply(&request(policy(&["fwt-b"], "drop", &[WEB])))
            .unwrap();
        fs::create_dir(root.path().join("gen-1")).unwrap();
        assert_eq!(engine.observe().unwrap().unwrap().record.generation, 2);
        engine.apply(&request(&*text)).unwrap();
        assert!(
            root.pins()
                .iter()
                .all(|pin| pin.starts_with("gen-3/") || pin == "links/fwt-b")
        );
        assert!(!root.path().join("gen-1").exists());
        assert_eq!(web_hits(&engine), 6);

        // Someone removed the link's pin, and with it the filter.
        fs::remove_file(root.path().join("links/fwt-b")).unwrap();
        // The kernel detaches a link whose last pin is gone a moment later.
        let started = Instant::now();
        while !matches!(engine.observe(), Ok(None)) {
            assert!(started.elapsed() < Duration::from_secs(10));
            thread::sleep(Duration::from_millis(10));
        }
        let applied = loop {
            match engine.apply(&request(&*text)) {
                Err(EngineError::Kernel(KernelError::ForeignProgram { .. }))
                    if started.elapsed() < Duration::from_secs(10) =>
                {
                    thread::sleep(Duration::from_millis(10));
                }
                outcome => break outcome.unwrap(),
            }
        };
        assert!(applied.changed);
        assert_eq!(engine.observe().unwrap().unwrap().links.len(), 1);
    });
}

#[test]
#[ignore = "needs root"]
fn a_driver_without_xdp_gets_generic_mode_and_a_reason() {
    in_namespace(|| {
        let root = Root::new();
        ip("link set lo up");
        let mut engine = root.engine();
        let request = request(policy(&["lo"], "pass", &[WEB]));
        let applied = engine.apply(&request).unwrap();
        assert_eq!(applied.interfaces[0].mode, Mode::Generic);
        let fallback = applied.interfaces[0].fallback.clone().unwrap();
        assert!(
            fallback.starts_with("native mode refused: its driver has no native XDP"),
            "{fallback}"
        );
        assert_eq!(
            applied.warnings,
            [format!("lo is filtered in generic mode: {fallback}")]
        );

        // The mode and its reason stay on record when the policy changes.
        let mut changed = request.clone();
        changed.policy_text = policy(&["lo"], "pass", &[]);
        let applied = engine.apply(&changed).unwrap();
        assert_eq!(applied.interfaces[0].mode, Mode::Generic);
        assert_eq!(applied.interfaces[0].fallback, Some(fallback));
        changed.mode = Some(Mode::Native);
        let error = engine.apply(&changed).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("`firewall-ctl unload -i lo` and apply this once more"),
            "{error}"
        );
    });
}

#[test]
#[ignore = "needs root"]
fn other_peoples_programs_are_named_and_left_alone() {
    in_namespace(|| {
        let (owner, root) = (Root::new(), Root::new());
        veth("fwt-a", "fwt-b", 2);
        veth("fwt-c", "fwt-d", 3);
        owner
            .engine()
            .apply(&request(policy(&["fwt-b"], "pass", &[WEB])))
            .unwrap();
        let id = owner.engine().observe().unwrap().unwrap().links[0].program_id;

        // With three capabilities nobody may ask what a program is called, nor who holds it.
        let (name, holder) = match has_three_capabilities() {
            true => ("unknown", "Stop its owner"),
            false => ("fw_xdp", "held by a BPF link"),
        };
        // Held by a link: not even with `replace`.
        let mut wanted = request(policy(&["fwt-b"], "pass", &[WEB]));
        for replace in [false, true] {
            wanted.replace = replace;
            let error = root.engine().apply(&wanted).unwrap_err();
            if replace && has_three_capabilities() {
                // Nor may anybody replace what they may not ask for.
                assert_eq!(error.exit_code(), 4, "{error}");
                return;
            }
            assert_eq!(error.exit_code(), 6);
            let text = error.to_string();
            let start = format!(
                "fwt-b already carries the XDP program `{name}` (id {id}, pinned at {}/",
                owner.path().display()
            );
            assert!(text.starts_with(&start), "{text}");
            assert!(text.contains(holder), "{text}");
            assert!(!root.path().exists());
        }
        // By netlink: only with `replace`.
        let pin = owner.path().join("gen-1/prog");
        ip(&format!("link set dev fwt-d xdp pinned {}", pin.display()));
        let mut wanted = request(policy(&["fwt-d"], "pass", &[WEB]));
        let error = root.engine().apply(&wanted).unwrap_err().to_string();
        assert!(error.contains("`ip link set dev fwt-d xdp off`"), "{error}");
        wanted.replace = true;
        let applied = root.engine().apply(&wanted).unwrap();
        assert_eq!(
            applied.warnings,
            [format!(
                "took the XDP program with id {id} off fwt-d, as asked"
            )]
        );
        send(3, 443, 4);
        assert_eq!(web_hits(&root.engine()), 4);
        assert_eq!(owner.engine().observe().unwrap().unwrap().warnings, [""; 0]);
    });
}
