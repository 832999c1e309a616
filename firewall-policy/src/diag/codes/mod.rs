//! Every diagnostic code: number, title, explanation, and an example of wrong and right.
//!
//! Codes are part of the interface: append, never renumber, never reuse. A test reads every
//! example: the wrong one must give its code, the right one nothing.
//! FW0101 to 0113 reading YAML, 0114 to 0129 shape, 0130 to 0139 names, 0140 to 0149 sets, 0150 to
//! 0159 addresses, 0160 to 0179 match fields and rules, 0180 to 0189 packets in text and the tests of a policy, 0201 on
//! warnings.

mod fields;
mod lint;
mod reading;
mod sets;
mod shape;
mod tests_of_policy;
mod warnings;

pub(crate) use {
    fields::*, lint::*, reading::*, sets::*, shape::*, tests_of_policy::*, warnings::*,
};

/// One code.
#[derive(PartialEq, Eq, Debug)]
pub struct Code {
    /// `FW0101`.
    pub id: &'static str,
    /// What is wrong, in a few words.
    pub title: &'static str,
    /// Why it is refused, and what to do.
    pub text: &'static str,
    /// The smallest example that gives this code; empty where none can be shown. A part of a
    /// policy: see [`Code::complete`].
    pub wrong: &'static str,
    /// The example mended.
    pub right: &'static str,
}

impl Code {
    /// Makes a policy of an example, which may be a list of rules or leave `version` and `default`
    /// out.
    #[must_use]
    pub fn complete(example: &str) -> String {
        if example.contains("version:") || example.is_empty() {
            return example.to_string();
        }
        let default = if example.contains("default:") {
            ""
        } else {
            "default: {in: pass}\n"
        };
        let rules = if example.starts_with("- ") {
            "rules:\n"
        } else {
            ""
        };
        format!("version: 1\n{default}{rules}{example}")
    }
}

/// Every code, in order.
pub fn all() -> impl Iterator<Item = &'static Code> {
    [READING, SHAPE, SETS, FIELDS, TESTS, WARNINGS, LINT]
        .into_iter()
        .flatten()
        .copied()
}

/// A code by its number, in any case: `FW0101`, `fw0101`.
#[must_use]
pub fn find(id: &str) -> Option<&'static Code> {
    all().find(|code| code.id.eq_ignore_ascii_case(id))
}

/// Declares the codes of one group, and the list of them.
macro_rules! codes {
    ($list:ident: $($name:ident $id:literal $title:literal $text:literal wrong $wrong:literal right $right:literal;)*) => {
        $(
            #[doc = $title]
            pub(crate) static $name: Code =
                Code { id: $id, title: $title, text: $text, wrong: $wrong, right: $right };
        )*
        /// The group.
        pub(crate) static $list: &[&Code] = &[$(&$name),*];
    };
}
use codes;

#[cfg(test)]
mod tests {
    use super::{all, find};

    #[test]
    fn codes_are_in_order_and_complete() {
        let list: Vec<_> = all().collect();
        for pair in list.windows(2) {
            assert!(
                pair[0].id < pair[1].id,
                "{} before {}",
                pair[0].id,
                pair[1].id
            );
        }
        for code in &list {
            let digits = code.id.strip_prefix("FW").expect("codes start with FW");
            assert!(digits.len() == 4 && digits.bytes().all(|b| b.is_ascii_digit()));
            assert!(
                code.text.ends_with('.'),
                "{} is explained in sentences",
                code.id
            );
        }
        assert_eq!(find("fw0118").map(|code| code.id), Some("FW0118"));
        assert_eq!(find("FW9999"), None);
    }
}
