//! `completions`: scripts for the shells.

use super::context::Context;
use super::help::after;
use clap_complete::Shell;
use firewall_api::failure::{Exit, Failure};

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The shell
    #[arg(value_name = "SHELL")]
    shell: Shell,
}

pub(super) fn help() -> String {
    after(
        &[
            "firewall-ctl completions bash > /etc/bash_completion.d/firewall-ctl",
            "firewall-ctl completions zsh > /usr/local/share/zsh/site-functions/_firewall-ctl",
            "firewall-ctl completions fish > ~/.config/fish/completions/firewall-ctl.fish",
        ],
        &[Exit::Ok, Exit::Failed, Exit::Usage],
    )
}

pub(super) fn run(args: &Args, context: &Context) -> Result<Exit, Failure> {
    context.print_raw(&script(args.shell))?;
    Ok(Exit::Ok)
}

/// The script of a shell.
fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut super::command(), "firewall-ctl", &mut script);
    let script = String::from_utf8_lossy(&script);
    match shell {
        // clap_complete writes the hyphen of the program's name in two ways: the state that a verb leads
        // to, and the one that its options are listed under. So bash found nothing behind a verb.
        Shell::Bash => script.replace("firewall__subcmd__ctl", "firewall__ctl"),
        _ => script.into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    /// What bash offers for the last of some words.
    fn bash(words: &str) -> Vec<String> {
        let script = format!(
            "{}\nCOMP_WORDS=(firewall-ctl {words})\nCOMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))\n\
             _firewall__ctl firewall-ctl \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
             printf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
            script(Shell::Bash)
        );
        let shell = Command::new("bash")
            .args(["--norc", "-c", &script])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let answer = String::from_utf8(shell.stdout).unwrap();
        answer.lines().map(str::to_owned).collect()
    }

    #[test]
    fn bash_completes_verbs_their_options_and_the_verbs_below_them() {
        assert_eq!(bash("rel"), ["reload"]);
        assert_eq!(bash("load --disc"), ["--discard-runtime"]);
        assert_eq!(bash("load --mode n"), ["native"]);
        assert_eq!(bash("set load --at"), ["--atomic"]);
        assert_eq!(bash("completions f"), ["fish"]);
    }
}
