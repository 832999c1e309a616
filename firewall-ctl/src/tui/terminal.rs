//! The terminal's modes: taken by [`Guard::enter`], given back in every way a program can end.
//!
//! | end | who gives the terminal back |
//! |---|---|
//! | quit, error | `Drop` of [`Guard`] |
//! | panic, in any thread | the panic hook, before the message is printed |
//! | SIGINT, SIGTERM, SIGHUP | [`Signals::arrived`] ends the event loop, then `Drop` |
//! | Ctrl-Z | [`Guard::suspend`], and takes it again when the shell continues us |
//!
//! SIGKILL cannot be caught; `reset` mends the terminal then.
//!
//! Invariant: giving back is idempotent, and the hook is in place before the first mode changes.

use firewall_system::host;
use ratatui::Terminal;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::fs::File;
use std::io::{self, IsTerminal as _, Stdout, stdout};
use std::os::fd::AsFd;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// Longer than the kernel needs to deliver a signal.
const SETTLE: Duration = Duration::from_millis(20);

/// Holds the terminal in raw mode on the alternate screen.
pub(super) struct Guard {
    /// Draws on it.
    pub(super) terminal: Terminal<CrosstermBackend<Stdout>>,
    previous: Arc<Hook>,
}

impl Guard {
    /// Takes the terminal.
    ///
    /// # Errors
    /// The terminal cannot be read or put into raw mode. It is as before then.
    pub(super) fn enter() -> io::Result<Self> {
        let previous: Arc<Hook> = panic::take_hook().into();
        let next = Arc::clone(&previous);
        panic::set_hook(Box::new(move |info| {
            let _ = give_back();
            next(info);
        }));
        match take().and_then(|()| Terminal::new(CrosstermBackend::new(stdout()))) {
            Ok(terminal) => Ok(Self { terminal, previous }),
            Err(error) => {
                let _ = give_back();
                panic::set_hook(Box::new(move |info| previous(info)));
                Err(error)
            }
        }
    }

    /// Stops this process like Ctrl-Z in a shell, with the terminal given back meanwhile.
    ///
    /// # Errors
    /// The terminal cannot be taken again.
    pub(super) fn suspend(&mut self) -> io::Result<()> {
        give_back()?;
        // TSTP, not STOP: where no shell could continue us, the kernel ignores it.
        host::stop_process()?;
        // Another thread may be the one that takes the signal: let it stop us before going on.
        std::thread::sleep(SETTLE);
        take()?;
        self.terminal.clear()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // There is nobody left to tell about a failure.
        let _ = give_back();
        // A hook cannot be changed while unwinding; the process is about to end then anyway.
        if !std::thread::panicking() {
            let previous = Arc::clone(&self.previous);
            panic::set_hook(Box::new(move |info| previous(info)));
        }
    }
}

fn take() -> io::Result<()> {
    enable_raw_mode()?;
    execute!(stdout(), EnterAlternateScreen)
}

/// Undoes [`take`]; does no harm where there is nothing to undo.
fn give_back() -> io::Result<()> {
    let modes = disable_raw_mode();
    let screen = execute!(stdout(), LeaveAlternateScreen, Show);
    modes.and(screen)
}

/// Where keys come from: the terminal that crossterm reads.
pub(super) struct Keys {
    /// The controlling terminal, if standard input is something else.
    terminal: Option<File>,
}

impl Keys {
    /// Finds it as crossterm does.
    ///
    /// # Errors
    /// There is no terminal.
    pub(super) fn open() -> io::Result<Self> {
        let elsewhere = !io::stdin().is_terminal();
        let terminal = elsewhere.then(|| File::open("/dev/tty")).transpose()?;
        Ok(Self { terminal })
    }

    /// Waits for keys, at most `patience`; false if the terminal is gone.
    ///
    /// crossterm must not be asked to read a terminal that has hung up: it takes the end of the
    /// file for an empty read and tries again for ever.
    ///
    /// # Errors
    /// What the system says.
    pub(super) fn wait(&self, patience: Duration) -> io::Result<bool> {
        let stdin = io::stdin();
        let input = self
            .terminal
            .as_ref()
            .map_or_else(|| stdin.as_fd(), AsFd::as_fd);
        host::wait_readable(input, patience)
    }
}

/// Signals that ask a program to end.
pub(crate) struct Signals {
    arrived: Arc<AtomicBool>,
    ids: Vec<signal_hook::SigId>,
}

impl Signals {
    /// Catches the signals from now on.
    ///
    /// # Errors
    /// The system refuses the handler.
    pub(crate) fn catch() -> io::Result<Self> {
        let arrived = Arc::new(AtomicBool::new(false));
        let mut signals = Self {
            arrived,
            ids: Vec::new(),
        };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            // A signal that comes when one has come before ends the program at once: whatever keeps
            // it from looking here keeps it no longer.
            let again = Arc::clone(&signals.arrived);
            let id = signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, again)?;
            signals.ids.push(id);
            let id = signal_hook::flag::register(signal, Arc::clone(&signals.arrived))?;
            signals.ids.push(id);
        }
        Ok(signals)
    }

    /// Whether one of them came.
    pub(crate) fn arrived(&self) -> bool {
        self.arrived.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.ids.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
