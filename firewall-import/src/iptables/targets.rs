//! What `-j` leads to, and the options that each target has.
//!
//! May not import the writer. Invariant: only options that a target is known to have are passed over.

use super::super::ruleset::{NO_LOG, Verdict};

/// Targets, and their options with the number of values behind each.
const OPTIONS: [(&str, &[(&str, usize)]); 25] = [
    ("REJECT", &[("--reject-with", 1)]),
    (
        "LOG",
        &[
            ("--log-prefix", 1),
            ("--log-level", 1),
            ("--log-tcp-sequence", 0),
            ("--log-tcp-options", 0),
            ("--log-ip-options", 0),
            ("--log-uid", 0),
            ("--log-macdecode", 0),
        ],
    ),
    (
        "NFLOG",
        &[
            ("--nflog-group", 1),
            ("--nflog-prefix", 1),
            ("--nflog-range", 1),
            ("--nflog-size", 1),
            ("--nflog-threshold", 1),
        ],
    ),
    (
        "ULOG",
        &[
            ("--ulog-nlgroup", 1),
            ("--ulog-prefix", 1),
            ("--ulog-cprange", 1),
            ("--ulog-qthreshold", 1),
        ],
    ),
    ("AUDIT", &[("--type", 1)]),
    (
        "TARPIT",
        &[("--tarpit", 0), ("--honeypot", 0), ("--reset", 0)],
    ),
    (
        "MARK",
        &[
            ("--set-mark", 1),
            ("--set-xmark", 1),
            ("--and-mark", 1),
            ("--or-mark", 1),
            ("--xor-mark", 1),
        ],
    ),
    (
        "CONNMARK",
        &[
            ("--set-mark", 1),
            ("--set-xmark", 1),
            ("--save-mark", 0),
            ("--restore-mark", 0),
            ("--and-mark", 1),
            ("--or-mark", 1),
            ("--xor-mark", 1),
            ("--mask", 1),
            ("--nfmask", 1),
            ("--ctmask", 1),
            ("--left-shift-mark", 1),
            ("--right-shift-mark", 1),
        ],
    ),
    ("CLASSIFY", &[("--set-class", 1)]),
    ("SECMARK", &[("--selctx", 1)]),
    ("CONNSECMARK", &[("--save", 0), ("--restore", 0)]),
    (
        "CT",
        &[
            ("--notrack", 0),
            ("--helper", 1),
            ("--ctevents", 1),
            ("--expevents", 1),
            ("--zone", 1),
            ("--zone-orig", 1),
            ("--zone-reply", 1),
            ("--timeout", 1),
        ],
    ),
    (
        "SET",
        &[
            ("--add-set", 2),
            ("--del-set", 2),
            ("--map-set", 2),
            ("--exist", 0),
            ("--timeout", 1),
            ("--map-mark", 0),
            ("--map-prio", 0),
            ("--map-queue", 0),
        ],
    ),
    ("TCPMSS", &[("--set-mss", 1), ("--clamp-mss-to-pmtu", 0)]),
    ("TCPOPTSTRIP", &[("--strip-options", 1)]),
    (
        "TOS",
        &[("--set-tos", 1), ("--and-tos", 1), ("--or-tos", 1)],
    ),
    ("DSCP", &[("--set-dscp", 1), ("--set-dscp-class", 1)]),
    (
        "TTL",
        &[("--ttl-set", 1), ("--ttl-dec", 1), ("--ttl-inc", 1)],
    ),
    ("HL", &[("--hl-set", 1), ("--hl-dec", 1), ("--hl-inc", 1)]),
    ("ECN", &[("--ecn-tcp-remove", 0)]),
    ("CHECKSUM", &[("--checksum-fill", 0)]),
    ("TEE", &[("--gateway", 1), ("--oif", 1)]),
    (
        "IDLETIMER",
        &[
            ("--timeout", 1),
            ("--label", 1),
            ("--alarm", 0),
            ("--send_nl_msg", 0),
        ],
    ),
    (
        "LED",
        &[
            ("--led-trigger-id", 1),
            ("--led-delay", 1),
            ("--led-always-blink", 0),
        ],
    ),
    (
        "RATEEST",
        &[
            ("--rateest-name", 1),
            ("--rateest-interval", 1),
            ("--rateest-ewmalog", 1),
        ],
    ),
];

/// How many values stand behind an option of a target; `None` if the target has no such option.
pub(super) fn values(target: &str, option: &str) -> Option<usize> {
    let (_, options) = OPTIONS.iter().find(|(name, _)| *name == target)?;
    let (_, values) = options.iter().find(|(name, _)| *name == option)?;
    Some(*values)
}

/// What a target that is no chain does.
pub(super) fn verdict(target: &str) -> Verdict {
    match target {
        "ACCEPT" => Verdict::Accept,
        "DROP" | "TARPIT" => Verdict::Drop,
        "REJECT" => Verdict::Reject,
        "RETURN" => Verdict::Return,
        "LOG" | "NFLOG" | "ULOG" | "AUDIT" | "TRACE" => Verdict::Continue(Some(NO_LOG.into())),
        "MARK" | "CONNMARK" | "CLASSIFY" | "SECMARK" | "CONNSECMARK" | "LED" | "IDLETIMER"
        | "HMARK" | "RATEEST" | "TEE" | "CHECKSUM" | "TOS" | "DSCP" | "TTL" | "HL" | "ECN"
        | "TCPMSS" | "TCPOPTSTRIP" => {
            Verdict::Continue(Some("packets are not marked, changed or copied".into()))
        }
        "CT" | "NOTRACK" => {
            Verdict::Continue(Some("connection tracking is not set up by a policy".into()))
        }
        "SET" => Verdict::Continue(Some("a policy does not put addresses into sets".into())),
        other => {
            Verdict::Elsewhere(format!("the verdict is decided by {other}, not by a rule").into())
        }
    }
}
