//! Plain decimal numbers, and what to write in place of the other forms that YAML readers take for
//! numbers.

use super::{Cx, scalar};
use crate::ast::{Node, Span, Value};
use crate::diag::{codes, show};

/// A plain decimal number in a range.
pub(in crate::validate) fn integer(
    cx: &mut Cx<'_>,
    node: &Node<'_>,
    key: &str,
    first: u64,
    last: u64,
) -> Option<u64> {
    let expected = format!("`{key}` is a number from {first} to {last}");
    let text = scalar(cx, node, &expected, &format!("`{key}: {first}`"))?;
    if matches!(node.value, Value::Scalar { plain: false, .. }) {
        cx.sink
            .error(
                &codes::NUMBER,
                node.span,
                format!("{expected}, not text in quotes"),
            )
            .help("write the number without quotes");
        return None;
    }
    let number = decimal(cx, node.span, key, text)?;
    if !(first..=last).contains(&number) {
        cx.sink
            .error(
                &codes::OUT_OF_RANGE,
                node.span,
                format!("`{key}: {}` is out of range", show(text)),
            )
            .help(format!("{key} is a number from {first} to {last}"));
        return None;
    }
    Some(number)
}

/// Digits to a number; anything else that looks like one is an error with the decimal form.
/// Numbers beyond 64 bits come out as the largest one, which no range holds.
pub(in crate::validate) fn decimal(
    cx: &mut Cx<'_>,
    span: Span,
    what: &str,
    text: &str,
) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if digits && (text == "0" || !text.starts_with('0')) {
        return Some(text.parse().unwrap_or(u64::MAX));
    }
    let help = number_help(text);
    cx.sink
        .error(
            &codes::NUMBER,
            span,
            format!("`{}` is not a number for {what}", show(text)),
        )
        .help(help);
    None
}

/// `0x50`: a hexadecimal number, which YAML 1.2 and every other program read alike.
pub(in crate::validate) fn hexadecimal(text: &str) -> Option<u64> {
    let digits = text.strip_prefix("0x")?;
    let all = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_hexdigit());
    all.then(|| u64::from_str_radix(digits, 16).unwrap_or(u64::MAX))
}

/// Whether text was meant as a number, in whatever form.
pub(in crate::validate) fn looks_numeric(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.')
}

fn number_help(text: &str) -> String {
    let decimal = |radix: u32, digits: &str| u64::from_str_radix(digits, radix).ok();
    if let Some(hex) = text
        .strip_prefix("0x")
        .and_then(|digits| decimal(16, digits))
    {
        return format!("numbers are decimal: write {hex}");
    }
    if let Some(octal) = text
        .strip_prefix("0o")
        .and_then(|digits| decimal(8, digits))
    {
        return format!("numbers are decimal: write {octal}");
    }
    if let Some(binary) = text
        .strip_prefix("0b")
        .and_then(|digits| decimal(2, digits))
    {
        return format!("numbers are decimal: write {binary}");
    }
    if let Some(plain) = text
        .strip_prefix('+')
        .filter(|rest| decimal(10, rest).is_some())
    {
        return format!("write it without the sign: {plain}");
    }
    if text.len() > 1 && text.bytes().all(|b| b.is_ascii_digit()) {
        let plain = text.trim_start_matches('0');
        let plain = if plain.is_empty() { "0" } else { plain };
        return format!("write it without leading zeros: {plain}");
    }
    let plain: String = text
        .chars()
        .filter(|c| !matches!(c, '_' | ',' | ' '))
        .collect();
    if plain.len() < text.len() && plain.bytes().all(|b| b.is_ascii_digit()) {
        return if text.contains('_') {
            format!("write the digits together: {plain}")
        } else {
            let items: Vec<&str> = text
                .split([',', ' '])
                .filter(|item| !item.is_empty())
                .collect();
            format!("several values are a list: [{}]", items.join(", "))
        };
    }
    if let Some((a, b)) = text.split_once(':')
        && decimal(10, a).is_some()
        && decimal(10, b).is_some()
    {
        return format!("a range is written with a dash: {a}-{b}");
    }
    "write a plain decimal number".into()
}
