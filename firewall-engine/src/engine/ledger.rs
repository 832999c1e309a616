//! What outlives the pins: the number of the newest generation, and which programs are in force as far
//! as this firewall knows. One small file in the folder of the state.
//!
//! Pins are the truth about what is in force; the ledger says what is not seen by them: that a filter was
//! taken off on purpose, or that one is on whose pins are hidden or gone.
//!
//! Invariant: numbers of generations never fall, whatever becomes of the pins.

use super::store::{Store, Survey};
use crate::kernel::{Hook, KernelError, host};
use firewall_system::whole_file;
use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

/// The folder of what outlives the machine's next start, where pins are at their usual place.
pub const DEFAULT_STATE: &str = "/var/lib/firewall";
/// The variable that names another one.
pub const STATE_VARIABLE: &str = "FIREWALL_STATE";

/// Name of the ledger.
const NAME: &str = "generation";
/// First line of a ledger.
const HEADING: &str = "# firewall-ctl: the newest generation; its number never falls";
/// Bytes that a ledger has at most.
const LIMIT: u64 = 1 << 16;

/// The folder of the state that belongs to the pins under `root`, unless a daemon names another one.
#[must_use]
pub fn state_of(root: &Path) -> PathBuf {
    let named = std::env::var_os(STATE_VARIABLE).filter(|it| !it.is_empty());
    let folder = named.map_or_else(|| PathBuf::from(DEFAULT_STATE), PathBuf::from);
    below(&folder, root)
}

fn below(folder: &Path, root: &Path) -> PathBuf {
    if root == Path::new(super::DEFAULT_ROOT) {
        return folder.to_owned();
    }
    let name = root.to_string_lossy().replace('/', ":");
    folder.join("roots").join(name.trim_start_matches(':'))
}

/// What a ledger says.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ledger {
    /// The number of the newest generation that has been in force.
    pub(super) generation: u64,
    /// The newest number that was given to a change, whatever became of that; 0 if that is unknown.
    pub(super) reserved: u64,
    /// What is in force, unless it was taken off.
    pub(super) in_force: Option<InForce>,
}

/// The programs of a generation in force.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct InForce {
    /// The machine's start since which it is so.
    boot: String,
    /// Ids of its XDP programs.
    pub(super) programs: Vec<u32>,
}

impl Ledger {
    /// Reads the one in a folder; an empty one if there is none.
    pub(super) fn read(folder: &Path) -> Result<Self, KernelError> {
        let path = folder.join(NAME);
        match whole_file::read(&path, LIMIT) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            answer => answer
                .and_then(|bytes| {
                    let text = String::from_utf8_lossy(&bytes);
                    Self::parse(&text).ok_or(io::ErrorKind::InvalidData.into())
                })
                .map_err(KernelError::call(format!("read {}", path.display()))),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (mut generation, mut boot, mut programs) = (None, None, Vec::new());
        let mut reserved = 0;
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            match line.split_once(' ')? {
                ("generation", number) => generation = Some(number.parse().ok()?),
                ("reserved", number) => reserved = number.parse().ok()?,
                ("boot", id) => boot = Some(id.to_owned()),
                ("program", id) => programs.push(id.parse().ok()?),
                _ => return None,
            }
        }
        Some(Self {
            generation: generation?,
            reserved,
            in_force: boot.map(|boot| InForce { boot, programs }),
        })
    }

    fn text(&self) -> String {
        let mut text = format!("{HEADING}\ngeneration {}\n", self.generation);
        if self.reserved > self.generation {
            text.push_str(&format!("reserved {}\n", self.reserved));
        }
        if let Some(InForce { boot, programs }) = &self.in_force {
            text.push_str(&format!("boot {boot}\n"));
            for id in programs {
                text.push_str(&format!("program {id}\n"));
            }
        }
        text
    }

    /// Writes it into a folder, which is made. Nothing is written where it says so already.
    pub(super) fn write(&self, folder: &Path) -> Result<(), KernelError> {
        let says_so = |known: Self| known.text() == self.text();
        if Self::read(folder).is_ok_and(says_so) {
            return Ok(());
        }
        let path = folder.join(NAME);
        make(folder)
            .and_then(|()| whole_file::replace(&path, self.text().as_bytes(), 0o600))
            .map_err(KernelError::call(format!("write {}", path.display())))
    }

    /// That a generation is in force from now on.
    pub(super) fn on(generation: u64, programs: Vec<u32>) -> Self {
        Self {
            generation,
            reserved: 0,
            in_force: Some(InForce {
                boot: host::boot(),
                programs,
            }),
        }
    }

    /// As it stands in the place of another one: a number that was given once stays given.
    fn after(self, known: &Self) -> Self {
        Self {
            reserved: known.newest(),
            ..self
        }
    }

    /// The newest number that anything has had.
    pub(super) fn newest(&self) -> u64 {
        self.generation.max(self.reserved)
    }

    /// The programs in force by it, if it speaks of the machine's present start.
    pub(super) fn programs(&self) -> &[u32] {
        match &self.in_force {
            Some(in_force) if in_force.boot == host::boot() => &in_force.programs,
            _ => &[],
        }
    }
}

impl Store {
    /// The folders in which the ledger is kept: that of this store, and that in which whoever knows
    /// nothing but the pins looks.
    pub(super) fn ledgers(&self) -> Vec<PathBuf> {
        let mut folders = vec![self.state().to_owned(), state_of(self.root())];
        folders.dedup();
        folders
    }

    /// What the ledgers say of the present: the programs that they have in force, and the number of the
    /// newest generation.
    pub(super) fn ledger(&self) -> Result<Ledger, KernelError> {
        let mut all = Ledger::default();
        for folder in self.ledgers() {
            let one = Ledger::read(&folder)?;
            // Of two that know as much, the one that says that it was taken off.
            let is_off = one.generation == all.generation && one.in_force.is_none();
            let reserved = one.reserved.max(all.reserved);
            if one.generation > all.generation || is_off {
                all = one;
            }
            all.reserved = reserved;
        }
        Ok(all)
    }

    /// The number for the next generation: higher than all that there have been. It is taken before the
    /// change begins, so that one which fails half way leaves it to nobody else.
    pub(super) fn next_number(&self, survey: &Survey, warnings: &mut Vec<String>) -> u64 {
        let mut warn = |error: KernelError| {
            let warning = format!("the number of the generation may fall: {error}");
            if !warnings.contains(&warning) {
                warnings.push(warning);
            }
        };
        let known = self.ledger().unwrap_or_else(|error| {
            warn(error);
            Ledger::default()
        });
        let number = survey.newest().max(known.newest()) + 1;
        for folder in self.ledgers() {
            let reserved = Ledger::read(&folder).and_then(|known| {
                Ledger {
                    reserved: number,
                    ..known
                }
                .write(&folder)
            });
            reserved.unwrap_or_else(&mut warn);
        }
        number
    }

    /// Notes which programs are in force, for those who cannot see the pins.
    pub(super) fn note_in_force(&self, warnings: &mut Vec<String>) {
        let noted = self.survey().and_then(|survey| {
            let Some(in_force) = survey.in_force() else {
                return Ok(());
            };
            let on = Ledger::on(in_force.number, in_force.ids(Hook::Xdp));
            let folders = self.ledgers();
            folders.iter().try_for_each(|folder| {
                let known = Ledger::read(folder).unwrap_or_default();
                on.clone().after(&known).write(folder)
            })
        });
        if let Err(error) = noted {
            warnings.push(format!(
                "the number of the generation may fall after `unload`, and pins that are hidden will \
                 not be missed: {error}"
            ));
        }
    }
}

/// Makes a folder of state, with those above it.
pub(super) fn make(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_says_what_was_written() {
        let folder = std::env::temp_dir().join(format!("fwt-{}-ledger", std::process::id()));
        let _ = std::fs::remove_dir_all(&folder);
        assert_eq!(Ledger::read(&folder).expect("none"), Ledger::default());
        let on = Ledger::on(7, vec![118, 119]);
        assert_eq!(on.programs(), [118, 119]);
        for ledger in [
            &on,
            &Ledger {
                in_force: None,
                ..on.clone()
            },
            &Ledger {
                reserved: 8,
                ..on.clone()
            },
        ] {
            ledger.write(&folder).expect("written");
            assert_eq!(Ledger::read(&folder).as_ref().expect("read"), ledger);
        }
        let former = "generation 9\nboot of-another-day\nprogram 3\n";
        let former = Ledger::parse(former).expect("a ledger");
        assert_eq!(former.newest(), 9);
        assert_eq!((former.generation, former.programs()), (9, &[][..]));
        for wrong in [
            "",
            "generation\n",
            "generation x\n",
            "generation 1\nodd 2\n",
        ] {
            assert_eq!(Ledger::parse(wrong), None, "{wrong}");
        }
        let _ = std::fs::remove_dir_all(&folder);
    }

    #[test]
    fn a_number_stays_given_while_the_generation_before_is_noted_again() {
        let failed_half_way = Ledger {
            reserved: 8,
            ..Ledger::on(7, vec![118])
        };
        let noted = Ledger::on(7, vec![118, 119]).after(&failed_half_way);
        assert_eq!((noted.newest(), noted.generation), (8, 7));
        assert_eq!(noted.programs(), [118, 119]);
        assert_eq!(Ledger::on(9, vec![120]).after(&noted).newest(), 9);
    }

    #[test]
    fn other_pins_have_a_folder_of_their_own() {
        let of = |root: &str| below(Path::new(DEFAULT_STATE), Path::new(root));
        assert_eq!(of("/sys/fs/bpf/firewall"), Path::new("/var/lib/firewall"));
        let other = Path::new("/var/lib/firewall/roots/sys:fs:bpf:a");
        assert_eq!(of("/sys/fs/bpf/a"), other);
    }
}
