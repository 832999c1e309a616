//! What a crate imports, read from its source: its modules as `mod` declares them, and in each of
//! them every path that begins with `crate`, `self`, `super` or the name of one of our crates.
//!
//! It reads tokens, so a path inside of a macro's arguments counts like any other. What is compiled
//! for tests only (`#[cfg(test)]`) is left out; comments, and links in documentation, are no tokens.

use anyhow::{Context, Result, anyhow};
use proc_macro2::{Delimiter, Group, Ident, TokenStream, TokenTree};
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// How the names of our crates begin, in paths.
const OURS: &str = "firewall_";

/// A crate as it is written.
pub(super) struct Crate {
    /// As paths name it.
    pub(super) name: String,
    /// All of its modules but those for tests; the root has the empty path.
    pub(super) modules: Vec<Module>,
}

/// One file, or several if modules stand inside of it.
pub(super) struct Module {
    /// Names from the crate's root.
    pub(super) path: Vec<String>,
    /// Below the root of the workspace, for messages.
    pub(super) file: String,
    /// Whether other modules lie in a folder of its own: `mod.rs`, or the root.
    pub(super) is_folder: bool,
    /// The text of the `//!` comment at its beginning, in one line.
    pub(super) header: String,
    /// What it imports.
    pub(super) imports: Vec<Import>,
    /// Functions with a body.
    pub(super) functions: Vec<Function>,
}

/// A path that leads to one of our crates.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Import {
    /// Where it stands, from 1.
    pub(super) line: usize,
    /// The crate's name, then the names of the path, as far as they are written.
    pub(super) path: Vec<String>,
}

/// A function and how long it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Function {
    pub(super) name: String,
    /// Where it begins, from 1.
    pub(super) line: usize,
    /// From `fn` to the closing brace.
    pub(super) lines: usize,
}

impl Crate {
    /// Reads the crate in a folder below the workspace's root.
    pub(super) fn read(root: &Path, folder: &str) -> Result<Self> {
        let mut this = Self {
            name: folder.replace('-', "_"),
            modules: Vec::new(),
        };
        let source = root.join(folder).join("src");
        let library = source.join("lib.rs");
        let program = source.join("main.rs");
        if library.exists() {
            this.module(root, &library, Vec::new(), true)?;
            if program.exists() {
                this.module(root, &program, vec!["main".into()], false)?;
            }
        } else {
            this.module(root, &program, Vec::new(), true)?;
        }
        Ok(this)
    }

    /// Reads the file of a module, then those of the modules below it.
    fn module(
        &mut self,
        root: &Path,
        file: &Path,
        path: Vec<String>,
        is_folder: bool,
    ) -> Result<()> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
        let name = file
            .strip_prefix(root)
            .unwrap_or(file)
            .to_string_lossy()
            .into_owned();
        let (module, below) = read_module(&self.name, name, path, is_folder, &text)?;
        let here = file.parent().unwrap_or(root);
        let folder = match module.path.last() {
            Some(last) if !is_folder => here.join(last),
            _ => here.to_path_buf(),
        };
        let path = module.path.clone();
        self.modules.push(module);
        for child in below {
            let (file, is_folder) = find(&folder, &child)?;
            let path = path.iter().chain(&child).cloned().collect();
            self.module(root, &file, path, is_folder)?;
        }
        Ok(())
    }
}

/// The file of a module that is declared in `folder`, and whether that is a `mod.rs`.
fn find(folder: &Path, names: &[String]) -> Result<(PathBuf, bool)> {
    let place = names
        .iter()
        .fold(folder.to_path_buf(), |at, name| at.join(name));
    let inside = place.join("mod.rs");
    if inside.exists() {
        return Ok((inside, true));
    }
    let beside = place.with_extension("rs");
    if beside.exists() {
        return Ok((beside, false));
    }
    Err(anyhow!("no file for the module {}", place.display()))
}

/// A module and the names of those that it declares in files of their own. `of` is the crate.
pub(super) fn read_module(
    of: &str,
    file: String,
    path: Vec<String>,
    is_folder: bool,
    text: &str,
) -> Result<(Module, Vec<Vec<String>>)> {
    let tokens = TokenStream::from_str(text).map_err(|error| anyhow!("{file}: {error}"))?;
    let mut reader = Reader {
        of,
        top: &path,
        inside: Vec::new(),
        imports: Vec::new(),
        functions: Vec::new(),
        below: Vec::new(),
    };
    reader.scan(tokens);
    let (imports, functions, below) = (reader.imports, reader.functions, reader.below);
    let header = text
        .lines()
        .map_while(|line| line.strip_prefix("//!"))
        .map(str::trim)
        .collect::<Vec<_>>()
        .join(" ");
    let module = Module {
        path,
        file,
        is_folder,
        header,
        imports,
        functions,
    };
    Ok((module, below))
}

/// Goes through the tokens of one file.
struct Reader<'a> {
    of: &'a str,
    /// The file's module.
    top: &'a [String],
    /// Modules inside of the file that it is in.
    inside: Vec<String>,
    imports: Vec<Import>,
    functions: Vec<Function>,
    below: Vec<Vec<String>>,
}

impl Reader<'_> {
    fn scan(&mut self, tokens: TokenStream) {
        let tokens: Vec<TokenTree> = tokens.into_iter().collect();
        let mut at = 0;
        while at < tokens.len() {
            at = self.item(&tokens, at);
        }
    }

    /// Reads what begins at a token; where the next thing begins.
    fn item(&mut self, tokens: &[TokenTree], at: usize) -> usize {
        match &tokens[at] {
            TokenTree::Punct(punct) if punct.as_char() == '#' => attribute(tokens, at),
            TokenTree::Group(group) => {
                self.scan(group.stream());
                at + 1
            }
            TokenTree::Ident(word) => self.word(word, tokens, at),
            _ => at + 1,
        }
    }

    fn word(&mut self, word: &Ident, tokens: &[TokenTree], at: usize) -> usize {
        let name = word.to_string();
        match (&*name, tokens.get(at + 1), tokens.get(at + 2)) {
            ("mod", Some(TokenTree::Ident(child)), Some(TokenTree::Group(body))) => {
                self.inside.push(child.to_string());
                self.scan(body.stream());
                self.inside.pop();
                at + 3
            }
            ("mod", Some(TokenTree::Ident(child)), _) => {
                let mut path = self.inside.clone();
                path.push(child.to_string());
                self.below.push(path);
                at + 2
            }
            ("fn", Some(TokenTree::Ident(called)), _) => {
                self.function(word, &called.to_string(), &tokens[at..]);
                at + 2
            }
            // `pub(crate)`, `pub(in crate::x)`: who may see it, not what it sees.
            ("pub", Some(TokenTree::Group(group)), _)
                if group.delimiter() == Delimiter::Parenthesis && is_visibility(group) =>
            {
                at + 2
            }
            _ if is_separator(tokens, at + 1) && !(at >= 2 && is_separator(tokens, at - 2)) => {
                match self.begin(&name, tokens, at) {
                    Some((base, rest)) => self.leaves(word, tokens, rest, base),
                    None => at + 1,
                }
            }
            _ => at + 1,
        }
    }

    /// The absolute beginning of a path, and the token behind it; `None` if it leads elsewhere.
    fn begin(&self, name: &str, tokens: &[TokenTree], at: usize) -> Option<(Vec<String>, usize)> {
        let here = || self.top.iter().chain(&self.inside).cloned();
        let of = || std::iter::once(self.of.to_owned());
        let mut rest = at + 3;
        match name {
            "crate" => Some((of().collect(), rest)),
            "self" => Some((of().chain(here()).collect(), rest)),
            "super" => {
                let mut base: Vec<String> = of().chain(here()).collect();
                base.pop();
                while is_word(tokens.get(rest), "super") && is_separator(tokens, rest + 1) {
                    base.pop();
                    rest += 3;
                }
                Some((base, rest))
            }
            _ if name.starts_with(OURS) => Some((vec![name.to_owned()], rest)),
            _ => None,
        }
    }

    /// Notes every path that begins with `path` and goes on at a token; where the next thing begins.
    fn leaves(
        &mut self,
        word: &Ident,
        tokens: &[TokenTree],
        at: usize,
        mut path: Vec<String>,
    ) -> usize {
        match tokens.get(at) {
            Some(TokenTree::Ident(next)) => {
                if next != "self" {
                    path.push(next.to_string());
                }
                if is_separator(tokens, at + 1) {
                    return self.leaves(next, tokens, at + 3, path);
                }
                self.note(next, path);
                at + 1
            }
            Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                let inner: Vec<TokenTree> = group.stream().into_iter().collect();
                for part in inner.split(|token| is_punct(Some(token), ',')) {
                    if !part.is_empty() {
                        self.leaves(word, part, 0, path.clone());
                    }
                }
                at + 1
            }
            // `*`, or the types of a generic function.
            _ => {
                self.note(word, path);
                at
            }
        }
    }

    fn note(&mut self, word: &Ident, path: Vec<String>) {
        self.imports.push(Import {
            line: word.span().start().line,
            path,
        });
    }

    fn function(&mut self, word: &Ident, name: &str, rest: &[TokenTree]) {
        let end = rest.iter().find_map(|token| match token {
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace => {
                Some(Some(body.span_close().end().line))
            }
            // A function without a body.
            TokenTree::Punct(punct) if punct.as_char() == ';' => Some(None),
            _ => None,
        });
        let line = word.span().start().line;
        if let Some(Some(end)) = end {
            self.functions.push(Function {
                name: name.to_owned(),
                line,
                lines: end + 1 - line,
            });
        }
    }
}

/// The token behind an attribute, and behind the item that it keeps for tests.
fn attribute(tokens: &[TokenTree], at: usize) -> usize {
    let inner = usize::from(is_punct(tokens.get(at + 1), '!'));
    let Some(TokenTree::Group(group)) = tokens.get(at + 1 + inner) else {
        return at + 1;
    };
    let behind = at + 2 + inner;
    if inner == 1 || !is_for_tests(group) {
        return behind;
    }
    let end = tokens[behind..].iter().position(|token| match token {
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        token => is_punct(Some(token), ';'),
    });
    end.map_or(tokens.len(), |end| behind + end + 1)
}

/// `#[cfg(test)]`, `#[cfg(all(test, ...))]`, `#[test]`.
fn is_for_tests(attribute: &Group) -> bool {
    let tokens: Vec<TokenTree> = attribute.stream().into_iter().collect();
    match &tokens[..] {
        [TokenTree::Ident(word)] => word == "test",
        [TokenTree::Ident(cfg), TokenTree::Group(condition)] if cfg == "cfg" => {
            let words: Vec<TokenTree> = condition.stream().into_iter().collect();
            match &words[..] {
                [TokenTree::Ident(all), TokenTree::Group(inside)] if all == "all" => inside
                    .stream()
                    .into_iter()
                    .any(|word| is_word(Some(&word), "test")),
                words => is_word(words.first(), "test"),
            }
        }
        _ => false,
    }
}

fn is_visibility(group: &Group) -> bool {
    let first = group.stream().into_iter().next();
    ["crate", "super", "self", "in"]
        .iter()
        .any(|word| is_word(first.as_ref(), word))
}

/// Whether `::` stands there.
fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at + 1), ':')
}

fn is_punct(token: Option<&TokenTree>, wanted: char) -> bool {
    matches!(token, Some(TokenTree::Punct(punct)) if punct.as_char() == wanted)
}

fn is_word(token: Option<&TokenTree>, wanted: &str) -> bool {
    matches!(token, Some(TokenTree::Ident(word)) if word == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The paths that a module `a::b` of the crate `firewall_x` imports, joined.
    fn imports(text: &str) -> Vec<String> {
        let path = vec!["a".to_owned(), "b".to_owned()];
        let (module, _) = read_module("firewall_x", "b.rs".into(), path, false, text).unwrap();
        let join = |import: &Import| format!("{}:{}", import.line, import.path.join("::"));
        module.imports.iter().map(join).collect()
    }

    #[test]
    fn paths_of_all_forms_are_read() {
        assert_eq!(
            imports("use crate::{c::D, e, f::{self, g::*}};\nuse super::{h, i};\n"),
            [
                "1:firewall_x::c::D",
                "1:firewall_x::e",
                "1:firewall_x::f",
                "1:firewall_x::f::g",
                "2:firewall_x::a::h",
                "2:firewall_x::a::i",
            ]
        );
        assert_eq!(
            imports("use super::super::j::K as L;\npub(in crate::a) use self::m::N;"),
            ["1:firewall_x::j::K", "2:firewall_x::a::b::m::N"]
        );
        assert_eq!(
            imports(
                "fn f(x: crate::c::D) -> bool { matches!(x, super::h::A | firewall_y::z::B(_)) }"
            ),
            [
                "1:firewall_x::c::D",
                "1:firewall_x::a::h::A",
                "1:firewall_y::z::B"
            ]
        );
        assert_eq!(
            imports(
                "macro_rules! m { () => { $crate::c::f::<u8>() } }\nmod inner { use super::super::h; }"
            ),
            ["1:firewall_x::c::f", "2:firewall_x::a::h"]
        );
    }

    #[test]
    fn tests_comments_and_other_crates_do_not_count() {
        let text = "//! crate::a\n/// [`crate::b`]\n#[doc = \"crate::c\"]\nuse std::fmt; // crate::d\n\
                    #[cfg(test)]\nmod tests { use crate::e; }\n\
                    #[cfg(all(test, unix))] use crate::f;\n\
                    #[test]\nfn g() { crate::h::i(); }\n\
                    const T: &str = \"crate::j\"; pub(crate) fn k(self) { self.l::<u8>() }\n";
        assert_eq!(imports(text), Vec::<String>::new());
        assert_eq!(
            imports("#[cfg(test)] mod tests;\n#[cfg(not(test))] use crate::e;"),
            ["2:firewall_x::e"]
        );
    }

    #[test]
    fn functions_are_measured_and_modules_found() {
        let text = "//! One.\n//! Two.\n\nmod c;\nmod d { mod e; }\n#[cfg(test)]\nmod tests;\n\
                    trait T { fn none(&self); fn some(&self) { } }\n\
                    fn long<const N: usize>(\n    x: [u8; 3],\n) -> u8\n{\n    0\n}\n";
        let (module, below) =
            read_module("firewall_x", "lib.rs".into(), Vec::new(), true, text).unwrap();
        let functions: Vec<_> = module
            .functions
            .iter()
            .map(|f| (&*f.name, f.line, f.lines))
            .collect();
        assert_eq!(functions, [("some", 8, 1), ("long", 9, 6)]);
        assert_eq!(module.header, "One. Two.");
        assert_eq!(below, [vec!["c"], vec!["d", "e"]]);
    }
}
