//! Which module of a crate imports which, and what must not be: an import of a higher floor, and a
//! circle.
//!
//! The modules are those at the top of a crate; what lies in a module's folder counts as part of it.
//! The crate's root, which declares them all, stands above them.

use super::floors::{Floors, ROOT};
use super::source::{Crate, Module};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// The imports between the modules of a crate.
pub(super) struct Graph<'a> {
    of: &'a Crate,
    /// Importing and imported module, and the first place where it is so.
    arrows: BTreeMap<(&'a str, &'a str), String>,
    /// For each module what it imports of other crates of ours.
    outward: BTreeMap<&'a str, BTreeSet<String>>,
}

impl<'a> Graph<'a> {
    pub(super) fn of(of: &'a Crate) -> Self {
        let mut graph = Self {
            of,
            arrows: BTreeMap::new(),
            outward: BTreeMap::new(),
        };
        let tops: BTreeSet<&str> = of.modules.iter().map(top).collect();
        for module in &of.modules {
            let from = top(module);
            for import in &module.imports {
                let place = || format!("{}:{}", module.file, import.line);
                let to = import.path.get(1).map_or(ROOT, String::as_str);
                if import.path[0] != of.name {
                    let to = format!("{}::{to}", import.path[0]);
                    graph.outward.entry(from).or_default().insert(to);
                    continue;
                }
                // What the root defines itself is imported from there.
                let to = tops.get(to).copied().unwrap_or(ROOT);
                if to != from {
                    graph.arrows.entry((from, to)).or_insert_with(place);
                }
            }
        }
        graph
    }

    fn modules(&self) -> BTreeSet<&'a str> {
        self.of.modules.iter().map(top).collect()
    }

    fn imported_by(&self, module: &str) -> Vec<&'a str> {
        let from = self.arrows.keys().filter(|(from, _)| *from == module);
        from.map(|&(_, to)| to).collect()
    }

    /// Imports of what is not below, and modules without a floor.
    pub(super) fn upward(&self, floors: &Floors) -> Vec<String> {
        let mut offences = Vec::new();
        for module in self.modules() {
            if module != ROOT && floors.of(module).is_none() {
                offences.push(format!(
                    "{}: the module `{module}` has no floor: say in {LIST} what it stands on",
                    self.of.name
                ));
            }
        }
        for listed in floors.modules() {
            if !self.modules().contains(listed) {
                offences.push(format!("{LIST}: {} has no `{listed}`", self.of.name));
            }
        }
        for ((from, to), place) in &self.arrows {
            if *to == ROOT {
                offences.push(format!(
                    "{place}: `{from}` imports what the root of the crate defines: give it a module"
                ));
            } else if *from != ROOT
                && let (Some(here), Some(there)) = (floors.of(from), floors.of(to))
                && there >= here
                && !floors.is_uncut(from, to)
            {
                offences.push(format!(
                    "{place}: `{from}` (floor {here}) imports `{to}` (floor {there}): imports go \
                     downward only ({LIST})"
                ));
            }
        }
        offences
    }

    /// Modules that import each other, directly or by way of others: each set of them once.
    pub(super) fn circles(&self, floors: &Floors) -> Vec<String> {
        let reach: BTreeMap<&str, BTreeSet<&str>> = self
            .modules()
            .into_iter()
            .map(|module| (module, self.reached_from(module, floors)))
            .collect();
        let mut seen = BTreeSet::new();
        let mut offences = Vec::new();
        for (module, reached) in &reach {
            if !reached.contains(module) || seen.contains(module) {
                continue;
            }
            let circle: BTreeSet<&str> = reached
                .iter()
                .copied()
                .filter(|other| reach[other].contains(module))
                .collect();
            let inside = |&(from, to): &(&str, &str)| {
                circle.contains(from) && circle.contains(to) && !floors.is_uncut(from, to)
            };
            let arrows = self.arrows.iter().filter(|(arrow, _)| inside(arrow));
            let arrows: Vec<String> = arrows
                .map(|((from, to), place)| format!("{from} ─► {to} ({place})"))
                .collect();
            offences.push(format!(
                "{}: a circle of {} modules: {}",
                self.of.name,
                circle.len(),
                arrows.join(", ")
            ));
            seen.extend(circle);
        }
        offences
    }

    fn reached_from(&self, module: &str, floors: &Floors) -> BTreeSet<&'a str> {
        let step = |from: &str| {
            let mut to = self.imported_by(from);
            to.retain(|to| !floors.is_uncut(from, to));
            to
        };
        let mut reached = BTreeSet::new();
        let mut next = step(module);
        while let Some(module) = next.pop() {
            if reached.insert(module) {
                next.extend(step(module));
            }
        }
        reached
    }

    /// The list of imports, from the top floor to the bottom.
    pub(super) fn print(&self, floors: &Floors) -> String {
        let mut modules: Vec<&str> = self.modules().into_iter().collect();
        let is_low = |module: &str| module != ROOT;
        modules.sort_by_key(|m| (is_low(m), std::cmp::Reverse(floors.of(m)), *m));
        let mut text = format!("{}\n", self.of.name);
        for module in modules {
            let number = floors
                .of(module)
                .map_or(String::new(), |floor| floor.to_string());
            let outward = self.outward.get(module).into_iter().flatten();
            let names: Vec<&str> = self
                .imported_by(module)
                .into_iter()
                .chain(outward.map(String::as_str))
                .collect();
            let names = if names.is_empty() {
                "-".to_owned()
            } else {
                names.join(", ")
            };
            let _ = writeln!(text, "{number:>4}  {module:<14} ─► {names}");
        }
        text
    }
}

/// Where the order of floors stands.
const LIST: &str = "xtask/src/layers/floors.rs";

/// The module at the top of the crate that a module is part of.
fn top(module: &Module) -> &str {
    module.path.first().map_or(ROOT, String::as_str)
}

#[cfg(test)]
mod tests {
    use super::super::source::read_module;
    use super::*;

    /// A crate of modules with the given texts.
    fn made(texts: &[(&str, &str)]) -> Crate {
        let read = |&(name, text): &(&str, &str)| {
            let path = if name == ROOT {
                Vec::new()
            } else {
                name.split("::").map(String::from).collect()
            };
            read_module("firewall_x", format!("{name}.rs"), path, name == ROOT, text)
                .unwrap()
                .0
        };
        Crate {
            name: "firewall_x".into(),
            modules: texts.iter().map(read).collect(),
        }
    }

    const FLOORS: Floors = Floors {
        of: "firewall-x",
        rows: &[&["low", "ground"], &["middle"], &["high"]],
        uncut: &["old", "older"],
    };

    #[test]
    fn imports_that_go_down_are_fine() {
        let sound = made(&[
            (ROOT, "pub mod high; pub mod middle; mod low; mod ground;"),
            ("high", "use crate::{low::A, middle::B};"),
            ("high::inner", "use super::C; use super::super::low::D;"),
            (
                "middle",
                "use super::ground::E; #[cfg(test)] mod tests { use crate::high::C; }",
            ),
            ("low", "/// See [`crate::high`].\nuse firewall_y::high::F;"),
            ("ground", ""),
        ]);
        let graph = Graph::of(&sound);
        assert_eq!(graph.upward(&FLOORS), Vec::<String>::new());
        assert_eq!(graph.circles(&FLOORS), Vec::<String>::new());
        assert_eq!(
            graph.print(&FLOORS),
            "firewall_x\n      the root       ─► -\n   3  high           ─► low, middle\n   \
             2  middle         ─► ground\n   1  ground         ─► -\n   \
             1  low            ─► firewall_y::high\n"
        );
    }

    #[test]
    fn a_deliberate_upward_import_is_refused() {
        let modules = |low: &'static str| {
            made(&[
                (ROOT, ""),
                ("high", ""),
                ("middle", ""),
                ("ground", ""),
                ("low", low),
            ])
        };
        for (text, wanted) in [
            (
                "use crate::high::A;",
                "low.rs:1: `low` (floor 1) imports `high` (floor 3)",
            ),
            (
                "\nfn f() { super::middle::g() }",
                "low.rs:2: `low` (floor 1) imports `middle` (floor 2)",
            ),
            (
                "use crate::ground::A;",
                "low.rs:1: `low` (floor 1) imports `ground` (floor 1)",
            ),
            (
                "use crate::Defined;",
                "low.rs:1: `low` imports what the root of the crate defines",
            ),
        ] {
            let found = Graph::of(&modules(text)).upward(&FLOORS);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(found[0].starts_with(wanted), "{found:?}");
        }
        let found = Graph::of(&made(&[("new", "")])).upward(&FLOORS);
        assert!(
            found[0].contains("the module `new` has no floor"),
            "{found:?}"
        );
        assert!(found[1].contains("firewall_x has no `low`"), "{found:?}");
    }

    #[test]
    fn a_deliberate_circle_is_refused() {
        let circle = made(&[
            (ROOT, ""),
            ("a", "use crate::b::B;"),
            ("b", "use crate::c::C;"),
            ("c::inner", "use crate::a::A;"),
            ("d", "use crate::a::A;"),
        ]);
        assert_eq!(
            Graph::of(&circle).circles(&FLOORS),
            [
                "firewall_x: a circle of 3 modules: a ─► b (a.rs:1), b ─► c (b.rs:1), c ─► a (c::inner.rs:1)"
            ]
        );
        // What is known and yet to be cut is no news.
        let known = [
            ("old", "use crate::older::A;"),
            ("older", "use crate::old::B;"),
        ];
        assert_eq!(
            Graph::of(&made(&known)).circles(&FLOORS),
            Vec::<String>::new()
        );
        let one = made(&[("a", "use crate::a::B; mod b { use super::C; }")]);
        assert_eq!(Graph::of(&one).circles(&FLOORS), Vec::<String>::new());
    }
}
