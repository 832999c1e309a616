//! The verifier's bar holds for every feature, alone and together, and docs/verifier.md says what
//! this kernel says.

use firewall_tests::verifier::{self, Row};

#[test]
#[ignore = "needs root"]
fn every_feature_is_within_the_bar_and_as_the_table_says() {
    let text = std::fs::read_to_string(verifier::document()).unwrap();
    let rows = verifier::measure(|_| {}).unwrap();
    let complaints = verifier::complaints(&text, &verifier::heading(), &rows);
    assert!(
        complaints.is_empty(),
        "{complaints:#?}\nif that is on purpose: cargo xtask verify --write"
    );

    // The comparison can fail: another count, a missing row, a row above the bar.
    let mut other = rows[..2].to_vec();
    other[0].verified.instructions *= 2;
    other[1].name = "no such row".into();
    assert_eq!(
        verifier::complaints(&verifier::with_section("", "here", &rows), "here", &other).len(),
        2
    );
    let above = Row {
        verified: firewall_engine::kernel::verify::Verified {
            instructions: verifier::MOST_INSTRUCTIONS + 1,
            ..rows[0].verified.clone()
        },
        ..rows[0].clone()
    };
    assert_eq!(verifier::complaints("", "elsewhere", &[above]).len(), 1);

    // One kernel's section leaves another's alone.
    let two = verifier::with_section(
        &verifier::with_section("", "a", &rows[..1]),
        "b",
        &rows[..2],
    );
    let again = verifier::with_section(&two, "a", &rows[..1]);
    assert_eq!(two, again);
    assert_eq!(two.matches("\n## ").count(), 2);
}
