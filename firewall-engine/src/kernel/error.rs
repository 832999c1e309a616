//! What the kernel layer can fail with: one variant for each thing that a user can do something
//! about, and [`KernelError::Call`] for the rest. Every message says where, what, and what to do.
//!
//! Invariant: an exit code belongs to a variant and is never renumbered.

use std::io;
use std::path::PathBuf;

/// Why a call into the kernel layer failed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The binary carries the stub instead of the BPF object (exit code 1).
    #[error(
        "this firewall-ctl was built without its kernel program; run `cargo xtask build` and use \
         the binary that it makes"
    )]
    Stub,
    /// The BPF object is not what this binary expects (exit code 1).
    #[error(
        "the kernel program that is built into this firewall-ctl does not fit it: {0}; run \
         `cargo xtask build`"
    )]
    Object(String),
    /// Capabilities are missing (exit code 4).
    #[error("needs {needed} (process has {have}). {advice}")]
    Privilege {
        /// The capabilities that loading needs, in words.
        needed: String,
        /// Those of them that the process has, in words.
        have: String,
        /// How to get them.
        advice: &'static str,
    },
    /// The pins' folder is not on a BPF file system (exit code 1).
    #[error(
        "{path} is not on a BPF file system. Mount one with: mount -t bpf bpf {mount}",
        path = .path.display(), mount = .mount.display()
    )]
    Bpffs {
        /// The folder for pins.
        path: PathBuf,
        /// Where to mount.
        mount: PathBuf,
    },
    /// Someone else's XDP program is on the interface (exit code 6).
    #[error("{interface} already carries the XDP program `{name}` (id {id}{pin}). {advice}",
        pin = .pin.as_ref().map(|p| format!(", pinned at {}", p.display())).unwrap_or_default())]
    ForeignProgram {
        /// Interface name.
        interface: String,
        /// The program's name, as the kernel knows it.
        name: String,
        /// The program's id.
        id: u32,
        /// Where the program or its link is pinned, if that could be found out.
        pin: Option<PathBuf>,
        /// What to do about it.
        advice: String,
    },
    /// The filter would misread the frames of the interface (exit code 6).
    #[error("{interface} cannot carry the filter: {reason}")]
    Carrier {
        /// Interface name.
        interface: String,
        /// What is in the way, and the way out.
        reason: String,
    },
    /// The interface or its driver refuses the program (exit code 6).
    #[error("cannot attach to {interface} in {mode} mode: {reason}")]
    Attach {
        /// Interface name.
        interface: String,
        /// `native` or `generic`.
        mode: &'static str,
        /// The system's answer, explained.
        reason: String,
    },
    /// What leaves by the interface cannot be taken note of (exit code 6).
    #[error(
        "the policy looks at `state`, which needs a program on what leaves by {interface}: \
         {reason}. Nothing was changed; leave `state` out of the rules, and let replies in by their \
         form: `flags: {{set: [ack]}}` for TCP, `source_port` for UDP"
    )]
    Egress {
        /// Interface name.
        interface: String,
        /// The system's answer, explained.
        reason: String,
    },
    /// The driver takes VLAN tags off that the policy asks for (exit code 6).
    #[error(
        "the policy matches `vlan`, but {interface} takes VLAN tags off frames before the filter \
         sees them. Turn that off first: ethtool -K {interface} rxvlan off"
    )]
    VlanOffload {
        /// Interface name.
        interface: String,
    },
    /// The kernel's verifier refuses the program (exit code 6).
    #[error("the kernel refuses the program: {summary} (full log: {log})", log = .log.display())]
    Verifier {
        /// The last line of the verifier's log that means something.
        summary: String,
        /// Where the whole log was saved.
        log: PathBuf,
    },
    /// Another process is changing the same generation (exit code 1).
    #[error(
        "another firewall-ctl is changing {path} (waited {seconds} s). Try again when it is done",
        path = .path.display()
    )]
    Busy {
        /// The folder of pins.
        path: PathBuf,
        /// How long was waited.
        seconds: u64,
    },
    /// The pins do not fit together (exit code 1).
    #[error("{0}")]
    State(String),
    /// A system call failed (exit code 1).
    #[error("{what}: {error}")]
    Call {
        /// What was tried, with the object's name: `create map fw_ports`.
        what: String,
        /// The system's answer.
        error: io::Error,
    },
}

/// What is in the way on an interface that is no longer there.
const GONE: &str = "it is gone";

impl KernelError {
    /// A failed system call.
    pub(crate) fn call(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |error| Self::Call { what, error }
    }

    /// An interface that is no longer there.
    pub(crate) fn gone(interface: &str) -> Self {
        Self::Carrier {
            interface: interface.into(),
            reason: GONE.into(),
        }
    }

    /// Whether an interface has gone meanwhile.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Carrier { reason, .. } if reason == GONE)
    }

    /// The exit code of a command that fails with this.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Privilege { .. } => 4,
            Self::ForeignProgram { .. }
            | Self::Carrier { .. }
            | Self::Attach { .. }
            | Self::Egress { .. }
            | Self::VlanOffload { .. }
            | Self::Verifier { .. } => 6,
            Self::Call { error, .. } => match error.raw_os_error() {
                Some(libc::EPERM | libc::EACCES) => 4,
                _ => 1,
            },
            Self::Stub
            | Self::Object(_)
            | Self::Bpffs { .. }
            | Self::Busy { .. }
            | Self::State(_) => 1,
        }
    }
}
