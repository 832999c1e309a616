//! The kernel program's own log, by `aya-log`: one line for every packet, for debugging the program
//! itself. Off unless the environment says otherwise; then the next generation is loaded with the
//! code for it, which the verifier takes out of all others.

use super::KernelError;
use aya_log::EbpfLogger;
use tracing::debug;

/// Set to 1, makes generations that log.
pub const VARIABLE: &str = "FIREWALL_KERNEL_LOG";

/// Whether generations are to log.
pub(crate) fn wanted() -> bool {
    std::env::var_os(VARIABLE).is_some_and(|value| value == "1")
}

/// Follows the log of the program in force, and hands its lines to the `log` facade.
#[derive(Default)]
pub struct KernelLog {
    followed: Option<(u32, EbpfLogger<&'static dyn log::Log>)>,
}

impl KernelLog {
    /// Hands over what the program with this id has logged since the last call. Does nothing
    /// unless logging is wanted.
    ///
    /// # Errors
    /// The program has no log.
    pub fn flush(&mut self, program_id: u32) -> Result<(), KernelError> {
        if !wanted() {
            return Ok(());
        }
        if self
            .followed
            .as_ref()
            .is_none_or(|(id, _)| *id != program_id)
        {
            debug!("following the log of program {program_id}");
            let logger = EbpfLogger::init_from_id(program_id).map_err(|error| {
                KernelError::State(format!("the log of program {program_id}: {error}"))
            })?;
            self.followed = Some((program_id, logger));
        }
        if let Some((_, logger)) = &mut self.followed {
            logger.flush();
        }
        Ok(())
    }
}
