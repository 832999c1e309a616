//! What the results name: kernel, processor, day; and the CPU that everything is measured on.

use crate::report::Machine;
use anyhow::{Context, Result};
use firewall_tests::verifier::kernel_version;
use rustix::process::{getpriority_process, setpriority_process};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::io::Read as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// This machine, today.
pub(crate) fn describe() -> Result<Machine> {
    let processors = fs::read_to_string("/proc/cpuinfo").context("/proc/cpuinfo")?;
    let name = processors
        .lines()
        .find_map(|line| line.strip_prefix("model name")?.split_once(": "))
        .map_or("unknown processor", |(_, name)| name.trim());
    Ok(Machine {
        kernel: kernel_version(),
        cpu: name.to_owned(),
        cpus: std::thread::available_parallelism()?.get(),
        date: today()?,
    })
}

/// Priority of a thread that measures: before all programs that do not ask for more.
const NICE: i32 = -15;

/// This thread on one CPU and before others, until this is dropped: the last that it may use, because interrupts
/// mostly come to the first. Threads and programs that it starts meanwhile run there too.
#[derive(Debug)]
pub(crate) struct OneCpu {
    before: CpuSet,
    nice: i32,
}

impl OneCpu {
    /// From now on.
    pub(crate) fn enter() -> Result<Self> {
        let before = sched_getaffinity(None)?;
        let mut one = CpuSet::new();
        one.set(last_cpu(&before));
        sched_setaffinity(None, &one)?;
        let nice = getpriority_process(None)?;
        setpriority_process(None, NICE)?;
        Ok(Self { before, nice })
    }
}

fn last_cpu(allowed: &CpuSet) -> usize {
    let cpus = (0..CpuSet::MAX_CPU).rev();
    cpus.into_iter()
        .find(|&cpu| allowed.is_set(cpu))
        .unwrap_or(0)
}

impl Drop for OneCpu {
    fn drop(&mut self) {
        // Only ever narrows what was allowed: an error leaves it on one CPU, which is harmless.
        let _ = sched_setaffinity(None, &self.before);
        let _ = setpriority_process(None, self.nice);
    }
}

/// The time of the kernel's thread that works off this CPU's packets when there are too many.
#[derive(Debug)]
pub(crate) struct Busy {
    before: Duration,
}

/// `/proc/PID/schedstat` of that thread; `None` where thread times leave packets out or cannot be
/// read.
static KSOFTIRQD: LazyLock<Option<PathBuf>> = LazyLock::new(|| {
    if softirqs_have_a_time_of_their_own() {
        return None;
    }
    let cpu = last_cpu(&sched_getaffinity(None).ok()?);
    let name = format!("ksoftirqd/{cpu}\n");
    let mut processes = fs::read_dir("/proc").ok()?.filter_map(Result::ok);
    let process = processes
        .find(|entry| fs::read_to_string(entry.path().join("comm")).is_ok_and(|comm| comm == name));
    Some(process?.path().join("schedstat"))
});

impl Busy {
    /// From now on; `None` where only the time on the clock is right.
    pub(crate) fn start() -> Result<Option<Self>> {
        if KSOFTIRQD.is_none() {
            return Ok(None);
        }
        Ok(Some(Self {
            before: Self::now()?,
        }))
    }

    /// How long it has run since.
    pub(crate) fn since(&self) -> Result<Duration> {
        Ok(Self::now()?.saturating_sub(self.before))
    }

    /// The time that this thread has run so far.
    pub(crate) fn of_this_thread() -> Duration {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
    }

    fn now() -> Result<Duration> {
        let path = KSOFTIRQD.as_ref().context("no ksoftirqd")?;
        let text = fs::read_to_string(path)?;
        let nanoseconds = text.split_whitespace().next().context("schedstat")?;
        Ok(Duration::from_nanos(nanoseconds.parse()?))
    }
}

/// Whether the kernel keeps the time of interrupts apart from that of the threads that they
/// interrupt, or does not say.
fn softirqs_have_a_time_of_their_own() -> bool {
    let release = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    let packed = Command::new("gzip")
        .args(["--decompress", "--stdout", "/proc/config.gz"])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output();
    let mut text = String::new();
    match packed {
        Ok(output) if output.status.success() => {
            text = String::from_utf8_lossy(&output.stdout).into_owned();
        }
        _ => {
            let file = fs::File::open(format!("/boot/config-{release}"));
            if file
                .and_then(|mut file| file.read_to_string(&mut text))
                .is_err()
            {
                return true;
            }
        }
    }
    text.lines()
        .any(|line| line == "CONFIG_IRQ_TIME_ACCOUNTING=y")
}

/// The day in UTC, `YYYY-MM-DD`.
fn today() -> Result<String> {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    Ok(date(seconds / 86_400))
}

/// The civil date of a day after 1970-01-01 (Hinnant, "chrono-compatible low-level date
/// algorithms").
fn date(days: u64) -> String {
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn days_have_dates() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(11_016), "2000-02-29");
        assert_eq!(date(20_454), "2026-01-01");
    }
}
