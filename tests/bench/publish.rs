//! Results into files: JSON, picture, and the tables in README.md and docs/performance.md, between
//! the marks that stand there. Everything but the measured text stays as it is.

use crate::plot;
use crate::report::BenchReport;
use anyhow::{Context, Result, bail};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// Writes the report as JSON.
pub(crate) fn json(report: &BenchReport, path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(report)? + "\n";
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// Draws the picture, and a PNG beside it where rsvg-convert is installed.
pub(crate) fn picture(report: &BenchReport, path: &Path) -> Result<()> {
    let Some(svg) = plot::svg(report) else {
        eprintln!("no picture: no case with points was run (P3, P4)");
        return Ok(());
    };
    fs::write(path, svg).with_context(|| path.display().to_string())?;
    let png = path.with_extension("png");
    let converted = Command::new("rsvg-convert")
        .args(["--zoom", "2", "--output"])
        .arg(&png)
        .arg(path)
        .stdin(Stdio::null())
        .status();
    match converted {
        Ok(status) if status.success() => {}
        answer => eprintln!(
            "no {}: rsvg-convert (Debian package librsvg2-bin): {answer:?}",
            png.display()
        ),
    }
    Ok(())
}

/// Puts tables and picture into the documents below `root`: of the single packets, and of all other
/// cases, where they were measured.
pub(crate) fn documents(report: &BenchReport, root: &Path) -> Result<()> {
    if report.quick {
        bail!("results of a quick run are not published");
    }
    let page = root.join("docs/performance.md");
    if !report.packets.is_empty() {
        let packets = format!("{}.\n\n{}", report.caption(), report.packets_markdown());
        replace(&page, &[("packets", &packets)])?;
    }
    if report.rows.is_empty() {
        return Ok(());
    }
    picture(report, &root.join("docs/images/performance.svg"))?;
    let bars = format!("{}.\n\n{}", report.caption(), report.bars_markdown());
    let compare = format!("{}\n{}.\n", report.points_markdown(), report.caption());
    replace(&root.join("README.md"), &[("compare", &compare)])?;
    replace(
        &page,
        &[
            (
                "picture",
                "![Cost of a dropped packet against number of rules](images/performance.svg)\n",
            ),
            ("bars", &bars),
            ("rows", &report.rows_markdown()),
        ],
    )
}

fn replace(path: &Path, parts: &[(&str, &str)]) -> Result<()> {
    let mut text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    for (name, part) in parts {
        text = between(&text, name, part)
            .with_context(|| format!("{} has no marks for {name}", path.display()))?;
    }
    fs::write(path, text).with_context(|| path.display().to_string())
}

/// `text` with `part` between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`.
fn between(text: &str, name: &str, part: &str) -> Option<String> {
    let (begin, end) = (
        format!("<!-- bench:{name} -->\n"),
        format!("<!-- /bench:{name} -->"),
    );
    let (before, rest) = text.split_once(&begin)?;
    let (_, after) = rest.split_once(&end)?;
    Some(format!("{before}{begin}{part}{end}{after}"))
}

#[cfg(test)]
mod tests {
    use super::between;

    #[test]
    fn only_what_is_between_the_marks_changes() {
        let text = "a\n<!-- bench:x -->\nold\n<!-- /bench:x -->\nb\n";
        assert_eq!(
            between(text, "x", "new\n").as_deref(),
            Some("a\n<!-- bench:x -->\nnew\n<!-- /bench:x -->\nb\n")
        );
        assert_eq!(between(text, "y", "new\n"), None);
    }
}
