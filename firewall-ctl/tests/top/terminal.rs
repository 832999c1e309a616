//! `top` in a real terminal: tmux holds the pseudo-terminal, presses keys and reads the screen.
//! Checks above all that the terminal is given back as it was, however the program ends.
//!
//! Each test has a tmux server of its own, with its socket in the test's folder (`fwt-top-...` in the
//! folder for temporary files); both end with the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long to wait for something to appear: generous, because the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program under test: the example that shows made-up numbers.
fn program() -> String {
    let deps = std::env::current_exe().unwrap();
    let path = deps
        .ancestors()
        .nth(2)
        .unwrap()
        .join("examples/top_synthetic");
    assert!(
        path.is_file(),
        "{} is missing; build it: cargo build -p firewall-ctl --example top_synthetic",
        path.display()
    );
    path.to_str().unwrap().to_owned()
}

/// A tmux server with one shell in it, and a folder of its own; both end with the value.
struct Tmux {
    folder: PathBuf,
}

impl Tmux {
    /// An interactive shell on a terminal of this size.
    fn start(size: (u16, u16)) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fwt-top-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir(&folder).unwrap();
        let tmux = Self { folder };
        let (width, height) = (size.0.to_string(), size.1.to_string());
        tmux.run(&[
            "new-session",
            "-d",
            "-x",
            &width,
            "-y",
            &height,
            "env PS1='$ ' sh -i",
        ]);
        tmux.run(&["set-option", "-g", "status", "off"]);
        tmux.run(&["resize-window", "-x", &width, "-y", &height]);
        tmux
    }

    fn command(&self, args: &[&str]) -> std::io::Result<std::process::Output> {
        Command::new("tmux")
            .args(["-S", "socket", "-f", "/dev/null", "-u"])
            .args(args)
            .current_dir(&self.folder)
            .env("LC_ALL", "C.UTF-8")
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env_remove("TMUX")
            .output()
    }

    fn run(&self, args: &[&str]) -> String {
        let output = self.command(args).unwrap_or_else(|error| {
            panic!("tmux does not start ({error}); install it: apt-get install -y tmux")
        });
        assert!(
            output.status.success(),
            "tmux {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// The screen as text.
    fn screen(&self) -> String {
        self.run(&["capture-pane", "-p"])
    }

    /// Presses a key by its tmux name.
    fn key(&self, name: &str) {
        self.run(&["send-keys", name]);
    }

    /// Types a line into the shell.
    fn line(&self, text: &str) {
        self.run(&["send-keys", "-l", text]);
        self.key("Enter");
    }

    /// Waits until the screen satisfies `wanted`.
    fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        let end = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if wanted(&screen) {
                return screen;
            }
            assert!(
                Instant::now() < end,
                "waited in vain for {what}; the screen:\n{screen}"
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn wait_for(&self, text: &str) -> String {
        self.wait(text, |screen| screen.contains(text))
    }

    /// Waits for a file that a shell command writes with `echo`.
    fn wait_file(&self, name: &str) -> String {
        let (path, end) = (self.folder.join(name), Instant::now() + PATIENCE);
        loop {
            match std::fs::read_to_string(&path) {
                Ok(text) if text.ends_with('\n') => return text,
                _ => assert!(
                    Instant::now() < end,
                    "no {name}; the screen:\n{}",
                    self.screen()
                ),
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Runs the program between two readings of the terminal's modes.
    fn top(&self, args: &str) {
        let program = program();
        self.wait_for("$");
        self.line("stty -a > before; echo before the program");
        // Once typed, once answered.
        self.wait("the answer", |screen| {
            screen.matches("before the program").count() > 1
        });
        self.line(&format!(
            "sh -c 'echo $$ > pid; exec {program} {args}' 2> errors; echo $? > code; \
             stty -a > after; echo end > end"
        ));
    }

    /// Asserts that the terminal is as it was before [`Tmux::top`]; returns the exit code.
    fn assert_given_back(&self) -> String {
        self.wait_file("end");
        let file = |name: &str| std::fs::read_to_string(self.folder.join(name)).unwrap();
        assert_eq!(file("before"), file("after"), "stty -a before and after");
        let modes = "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{keypad_flag}";
        let modes = self.run(&["display-message", "-p", modes]);
        assert_eq!(
            modes.trim(),
            "0 1 0 0",
            "alternate screen, cursor, mouse, keypad"
        );
        self.wait_for("before the program");
        file("code").trim().to_owned()
    }

    fn signal(&self, signal: &str) {
        let pid = self.wait_file("pid");
        // The shell's own kill: a small system has no program of that name.
        let status = Command::new("sh")
            .args(["-c", r#"kill "$@""#, "sh", signal, pid.trim()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.join("errors")).unwrap()
    }
}

impl Drop for Tmux {
    fn drop(&mut self) {
        let _ = self.command(&["kill-server"]);
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

#[test]
fn keys_drive_the_screen_at_80x24() {
    let tmux = Tmux::start((80, 24));
    tmux.top("--frozen");
    let screen = tmux.wait_for("tcp/443");
    assert_eq!(screen.lines().count(), 24);
    assert!(screen.lines().all(|line| line.chars().count() <= 80));
    assert!(screen.lines().next().unwrap().starts_with(" firewall top"));
    assert!(screen.contains("PASS/s") && screen.contains("DROP/s") && screen.contains('▇'));
    tmux.key("Tab");
    tmux.wait_for("dns-resolvers");
    tmux.run(&["send-keys", "-l", "/ssh"]);
    tmux.wait_for("filter: ssh");
    tmux.key("Enter");
    tmux.wait_for("1-2 of 2");
    tmux.key("Enter");
    tmux.wait_for("packets/s of the last 60 s");
    tmux.key("Escape");
    tmux.wait("the table", |screen| screen.contains("1-2 of 2"));
    tmux.key("Escape");
    tmux.wait_for("1-8 of 8");
    tmux.key("BTab");
    tmux.wait_for("1-19 of 224");
    tmux.key("End");
    tmux.wait_for("206-224 of 224");
    tmux.key("PageUp");
    tmux.wait("the page before", |screen| !screen.contains("206-224"));
    tmux.key("Space");
    tmux.wait_for("PAUSED");
    tmux.key("?");
    tmux.wait_for("any key closes this");
    tmux.key("q");
    tmux.wait("the table", |screen| {
        !screen.contains("any key closes this")
    });
    tmux.key("q");
    assert_eq!(tmux.assert_given_back(), "0");
}

#[test]
fn the_screen_follows_the_window() {
    let tmux = Tmux::start((80, 24));
    tmux.top("--frozen");
    tmux.wait_for("60 s");
    tmux.run(&["resize-window", "-x", "60", "-y", "15"]);
    tmux.wait("fewer columns", |s| {
        s.contains("DROPPED") && !s.contains("60 s")
    });
    tmux.run(&["resize-window", "-x", "40", "-y", "10"]);
    tmux.wait_for("This terminal has 40x10 cells");
    tmux.run(&["resize-window", "-x", "120", "-y", "40"]);
    let screen = tmux.wait_for("1-35 of 224");
    assert!(screen.contains("eth1 generic"), "{screen}");
    tmux.key("q");
    tmux.wait_file("end");
}

#[test]
fn the_terminal_is_given_back_on_every_way_out() {
    for (end, code) in [("C-c", "0"), ("-TERM", "0"), ("-INT", "0"), ("-HUP", "0")] {
        let tmux = Tmux::start((80, 24));
        tmux.top("");
        tmux.wait_for("tcp/443");
        if end.starts_with('-') {
            tmux.signal(end);
        } else {
            tmux.key(end);
        }
        assert_eq!(tmux.assert_given_back(), code, "{end}");
    }
}

/// Whether the process runs.
fn alive(pid: &str) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn it_ends_when_its_terminal_is_gone() {
    let tmux = Tmux::start((80, 24));
    tmux.top("");
    tmux.wait_for("tcp/443");
    let pid = std::fs::read_to_string(tmux.folder.join("pid")).unwrap();
    let pid = pid.trim();
    assert!(alive(pid));
    tmux.run(&["kill-server"]);
    let end = Instant::now() + PATIENCE;
    while alive(pid) {
        assert!(
            Instant::now() < end,
            "process {pid} lives on without a terminal"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_terminal_is_given_back_after_a_panic() {
    for args in [
        "--panic-after 3 -i 100",
        "--panic-after 1",
        "--source-panic-after 3 -i 100",
    ] {
        let tmux = Tmux::start((80, 24));
        tmux.top(args);
        let code = tmux.assert_given_back();
        assert_ne!(code, "0", "{args}");
        let errors = tmux.errors();
        assert!(errors.contains("asked to panic in"), "{args}: {errors}");
        assert!(
            !errors.contains('\x1b'),
            "the message is readable: {errors}"
        );
    }
}

#[test]
fn a_source_that_fails_before_the_first_screen_is_a_plain_error() {
    let tmux = Tmux::start((80, 24));
    tmux.top("--fail-from 1");
    assert_eq!(tmux.assert_given_back(), "1");
    assert!(tmux.errors().contains("Connection refused"));
}

#[test]
fn a_daemon_that_goes_away_is_shown_and_so_is_its_return() {
    let tmux = Tmux::start((80, 24));
    tmux.top("-i 200 --fail-from 3 --fail-until 16");
    let screen = tmux.wait_for("daemon not reachable");
    assert!(screen.contains("Connection refused"), "{screen}");
    assert!(screen.contains("retrying; STALE for"), "{screen}");
    assert!(screen.contains("tcp/443"), "the last data stays:\n{screen}");
    tmux.wait("the recovery", |s| {
        s.contains("tcp/443") && !s.contains("not reachable")
    });
    tmux.key("q");
    assert_eq!(tmux.assert_given_back(), "0");
}

#[test]
fn a_daemon_that_hangs_does_not_keep_the_user() {
    let tmux = Tmux::start((80, 24));
    tmux.top("-i 200 --hang-after 3");
    tmux.wait_for("daemon not reachable: no answer for");
    tmux.key("q");
    assert_eq!(tmux.assert_given_back(), "0");
}

#[test]
fn ctrl_z_gives_the_terminal_back_and_fg_takes_it_again() {
    let tmux = Tmux::start((80, 24));
    tmux.top("--frozen");
    tmux.wait_for("tcp/443");
    tmux.key("C-z");
    let alternate = || tmux.run(&["display-message", "-p", "#{alternate_on}"]);
    tmux.wait("the shell", |screen| screen.contains("before the program"));
    assert_eq!(alternate().trim(), "0");
    tmux.line("fg");
    tmux.wait_for("tcp/443");
    assert_eq!(alternate().trim(), "1");
    tmux.key("q");
    tmux.wait("the shell", |screen| screen.contains("before the program"));
    tmux.line("stty -a > again; echo done > done");
    tmux.wait_file("done");
    let file = |name: &str| std::fs::read_to_string(tmux.folder.join(name)).unwrap();
    assert_eq!(file("before"), file("again"));
}

#[test]
fn no_color_and_a_plain_locale_are_obeyed() {
    for obey in [false, true] {
        let tmux = Tmux::start((80, 24));
        if obey {
            tmux.wait_for("$");
            tmux.line("export NO_COLOR=1 LC_ALL=C");
        }
        tmux.top("--frozen");
        let screen = tmux.wait_for("tcp/443");
        let escapes = tmux.run(&["capture-pane", "-p", "-e"]);
        // Foreground and background from the palette.
        let coloured = escapes.contains("38;5;") || escapes.contains("48;5;");
        assert_eq!((coloured, screen.is_ascii()), (!obey, obey), "{escapes:?}");
        tmux.key("q");
        assert_eq!(tmux.assert_given_back(), "0");
    }
}

#[test]
fn without_a_terminal_lines_are_written() {
    let output = Command::new(Path::new(&program()))
        .args(["-n", "2", "-i", "10"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.matches("PORT ").count(), 2, "{text}");
    assert!(text.contains("tcp/443") && !text.contains('\x1b'), "{text}");
}

#[test]
fn a_reader_that_stops_reading_ends_the_lines_quietly() {
    let output = Command::new("sh")
        .args([
            "-c",
            &format!(
                "{{ {} --plain -i 10; echo code=$? >&2; }} | head -1",
                program()
            ),
        ])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stderr), "code=0\n");
}
