//! Subjects of commits: at most 72 characters, so that lists of them stay readable.

use crate::{process, workspace::Workspace};
use std::process::Command;

/// Longest subject, in characters.
const LONGEST: usize = 72;

/// How many commits are looked at where nobody knows what has been published.
const LAST: &str = "-50";

/// The commits that are not yet published whose subject is too long. None in a tree without history
/// or with a part of it only.
pub(crate) fn check(workspace: &Workspace) -> Vec<String> {
    let git = |arguments: &[&str]| {
        let mut git = Command::new("git");
        git.arg("-C").arg(&workspace.root).args(arguments);
        process::ask(&mut git)
    };
    let shallow = git(&["rev-parse", "--is-shallow-repository"]);
    if shallow.as_deref().map(str::trim) != Some("false") {
        return Vec::new();
    }
    let published = git(&["rev-parse", "--verify", "--quiet", "origin/main"]).is_some();
    let which = if published { "origin/main..HEAD" } else { LAST };
    let log = git(&["log", "--no-merges", "--format=%h %s", which, "--"]);
    too_long(&log.unwrap_or_default())
}

/// Of lines with hash and subject, those that are too long.
fn too_long(log: &str) -> Vec<String> {
    let subjects = log.lines().filter_map(|line| line.split_once(' '));
    subjects
        .map(|(hash, subject)| (hash, subject, subject.chars().count()))
        .filter(|&(_, _, length)| length > LONGEST)
        .map(|(hash, subject, length)| {
            format!(
                "commit {hash}: the subject has {length} characters, more than {LONGEST}: {subject}"
            )
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{LONGEST, too_long};

    #[test]
    fn long_subjects_are_found() {
        let subject = |length| format!("0123abc {}", "é".repeat(length));
        assert!(too_long(&subject(LONGEST)).is_empty());
        let found = too_long(&format!("{}\n{}", subject(3), subject(LONGEST + 1)));
        assert_eq!(found.len(), 1);
        assert!(
            found[0].starts_with("commit 0123abc: the subject has 73"),
            "{found:?}"
        );
    }
}
