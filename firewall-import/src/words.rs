//! Command lines as words: quotes, backslashes, and the column of each word.
//!
//! May not import a reader. Invariant: columns are in characters, from 1.

use super::imported::ImportError;

/// A word of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Word {
    pub(super) text: String,
    /// Column in the line, from 1.
    pub(super) column: u32,
    /// It stood in quotes, so it is a value whatever it begins with.
    pub(super) quoted: bool,
}

/// Splits a line as a shell would, without any expansion.
pub(super) fn split(line: &str, number: u32) -> Result<Vec<Word>, ImportError> {
    let mut words = Vec::new();
    let mut word: Option<Word> = None;
    let mut quote: Option<(char, u32)> = None;
    let mut chars = line.chars().zip(1u32..).peekable();
    while let Some((c, column)) = chars.next() {
        let open = |word: &mut Option<Word>| {
            word.get_or_insert(Word {
                text: String::new(),
                column,
                quoted: false,
            });
        };
        match (quote, c) {
            (Some((end, _)), _) if c == end => quote = None,
            (None | Some(('"', _)), '\\') => {
                open(&mut word);
                if let (Some(word), Some((next, _))) = (&mut word, chars.next()) {
                    word.text.push(next);
                }
            }
            (None, '"' | '\'') => {
                open(&mut word);
                quote = Some((c, column));
                if let Some(word) = &mut word {
                    word.quoted = true;
                }
            }
            (None, _) if c.is_whitespace() => words.extend(word.take()),
            _ => {
                open(&mut word);
                if let Some(word) = &mut word {
                    word.text.push(c);
                }
            }
        }
    }
    if let Some((_, column)) = quote {
        return Err(ImportError {
            line: number,
            column,
            message: "a quote that does not end".into(),
            help: "the line seems to be cut off: save the rules again".into(),
        });
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn quotes_and_backslashes_make_one_word() {
        let line = r#"-A INPUT --comment "a \"b\" c" it\ is 'x y'"#;
        let words = split(line, 1).expect("sound");
        let texts: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
        assert_eq!(
            texts,
            ["-A", "INPUT", "--comment", "a \"b\" c", "it is", "x y"]
        );
        assert_eq!(words[3].column, 20);
        assert!(words[3].quoted && !words[0].quoted);
        assert_eq!(split("a \"b", 7).expect_err("cut off").column, 3);
    }
}
