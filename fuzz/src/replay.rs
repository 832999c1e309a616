//! Replays the kept inputs of fuzz targets: a module of the tests of the crates whose readers they
//! feed.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time for one input.
const LONGEST: Duration = Duration::from_secs(2);

/// Bytes of one target's inputs: they are read by every run of the tests, and stored with the source.
const CORPUS: u64 = 180 << 10;

/// A target: its name, and what must hold of an input.
type Target = (&'static str, fn(&[u8]));

/// Feeds each target with its inputs: none may panic or take long.
pub(crate) fn replay(targets: &[Target]) {
    for &(target, property) in targets {
        // Both read policies, and share them.
        let of = if target == "fmt" { "policy" } else { target };
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../fuzz/corpus")
            .join(of);
        let mut files: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
            .map(|entry| entry.expect("an entry").path())
            .collect();
        files.sort();
        assert!(files.len() >= 20, "{target}: {} inputs", files.len());
        let mut bytes = 0;
        for file in files {
            let input = fs::read(&file).expect("readable");
            bytes += input.len() as u64;
            println!("{}", file.display()); // shown if the property does not hold
            let start = Instant::now();
            property(&input);
            assert!(start.elapsed() <= LONGEST, "{:?}", start.elapsed());
        }
        assert!(bytes <= CORPUS, "{target}: the corpus has {bytes} bytes");
    }
}
