//! Programs of this source tree and of another one, for one policy: two processes hold them, and this
//! one runs both, in turns and by the same calls.

use anyhow::{Context, Result, bail, ensure};
use firewall_engine::kernel::bench::Subject;
use firewall_tests::netns::unique;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The programs of a policy.
#[derive(Debug)]
pub(crate) struct Programs {
    /// What comes in.
    pub(crate) xdp: Subject,
    /// What goes out, where the policy looks at state.
    pub(crate) egress: Option<Subject>,
}

/// A process that holds programs of one tree. They are gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    process: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    seen: Vec<(u32, u32)>,
}

/// Numbers of the kernel: `BPF_PROG_TYPE_SCHED_CLS` and `BPF_PROG_TYPE_XDP`.
const EGRESS: u32 = 3;
const XDP: u32 = 6;

impl Holder {
    /// Starts `firewall-bench hold`, or what is built of the same source in another tree.
    pub(crate) fn start(program: &Path) -> Result<Self> {
        let mut process = Command::new(program)
            .arg("hold")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| program.display().to_string())?;
        let questions = process.stdin.take().context("no input")?;
        let answers = BufReader::new(process.stdout.take().context("no output")?);
        Ok(Self {
            process,
            questions,
            answers,
            seen: Vec::new(),
        })
    }

    /// Loads a policy; the inner error is what the tree says of one that it refuses.
    pub(crate) fn load(&mut self, policy: &Policy) -> Result<Result<Programs, String>> {
        let word = if policy.limits {
            "limited"
        } else {
            "unlimited"
        };
        writeln!(self.questions, "{word} {}", policy.file.display())?;
        self.questions.flush()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        let answer = answer.trim_end();
        if answer != "held" {
            ensure!(
                !answer.is_empty(),
                "the process with the programs has ended"
            );
            return Ok(Err(answer.to_owned()));
        }
        let now = programs_of(self.process.id())?;
        let new: Vec<(u32, u32)> = now
            .iter()
            .copied()
            .filter(|program| !self.seen.contains(program))
            .collect();
        self.seen = now;
        let of = |kind| new.iter().find(|(of, _)| *of == kind).map(|&(_, id)| id);
        let xdp = Subject::by_id(of(XDP).context("no XDP program was loaded")?)?;
        let egress = of(EGRESS).map(Subject::by_id).transpose()?;
        Ok(Ok(Programs { xdp, egress }))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        // Nobody can be told.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Type and id of the programs that a process holds.
fn programs_of(process: u32) -> Result<Vec<(u32, u32)>> {
    let mut programs = Vec::new();
    for entry in fs::read_dir(format!("/proc/{process}/fdinfo"))? {
        // A descriptor can be closed meanwhile.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        let number = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().parse::<u32>().ok()
        };
        if let (Some(kind), Some(id)) = (number("prog_type:"), number("prog_id:")) {
            programs.push((kind, id));
        }
    }
    Ok(programs)
}

/// A policy in a file of its own, which is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Policy {
    file: PathBuf,
    /// Whether its limits count, those of answers included.
    limits: bool,
}

impl Policy {
    /// Writes it.
    pub(crate) fn new(text: &str, limits: bool) -> Result<Self> {
        let file = std::env::temp_dir().join(unique("policy.yaml"));
        fs::write(&file, text).with_context(|| file.display().to_string())?;
        Ok(Self { file, limits })
    }
}

impl Drop for Policy {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.file);
    }
}

/// This tree, and another one if there is one to compare with.
#[derive(Debug)]
pub(crate) struct Trees {
    now: Holder,
    before: Option<Holder>,
}

/// The programs of one policy in both trees.
#[derive(Debug)]
pub(crate) struct Both {
    /// Those of this tree.
    pub(crate) now: Programs,
    /// Those of the other one, or why there are none.
    pub(crate) before: Result<Programs, String>,
}

impl Trees {
    /// `before`: the program that holds those of the other tree.
    pub(crate) fn start(before: Option<&Path>) -> Result<Self> {
        Ok(Self {
            now: Holder::start(&std::env::current_exe()?)?,
            before: before.map(Holder::start).transpose()?,
        })
    }

    /// Loads a policy, which this tree must take.
    pub(crate) fn load(&mut self, text: &str, limits: bool) -> Result<Both> {
        let policy = Policy::new(text, limits)?;
        let now = match self.now.load(&policy)? {
            Ok(programs) => programs,
            Err(refused) => bail!("{refused}"),
        };
        let before = match &mut self.before {
            Some(holder) => holder.load(&policy)?,
            None => Err("there is no other tree".into()),
        };
        Ok(Both { now, before })
    }
}
