//! Options of the verbs that change what is in force: why, and for how long it is only tried.

use firewall_api::history::CONFIRM_LONGEST;
use firewall_policy::duration;

/// Why something is changed.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Why {
    /// Reason for the change, for `history` and the audit trail
    #[arg(long, value_name = "TEXT")]
    pub(super) why: Option<String>,
}

/// Whether a policy goes by itself unless it is confirmed.
#[derive(Debug, Default, clap::Args)]
pub(super) struct Confirm {
    /// Go back by itself unless `firewall-ctl confirm` comes within TIME (60s if none is named); lifts the
    /// guard of your own connection
    #[arg(
        long,
        value_name = "TIME",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "60s",
        value_parser = seconds
    )]
    pub(super) confirm: Option<u64>,
}

/// Whole seconds, from one to a day.
fn seconds(text: &str) -> Result<u64, String> {
    let time = duration::parse(text).filter(|time| time.subsec_nanos() == 0);
    let seconds = time.map(|time| time.as_secs());
    let seconds = seconds.filter(|seconds| (1..=CONFIRM_LONGEST).contains(seconds));
    seconds
        .ok_or_else(|| "write 1s to 1d, in whole seconds: --confirm=60s, --confirm=5m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::seconds;

    #[test]
    fn times_to_confirm_are_whole_seconds() {
        assert_eq!(seconds("60s"), Ok(60));
        assert_eq!(seconds("1m30s"), Ok(90));
        assert_eq!(seconds("1d"), Ok(86_400));
        for wrong in ["", "60", "0s", "1500ms", "2d", "soon"] {
            assert!(seconds(wrong).is_err(), "{wrong}");
        }
    }
}
