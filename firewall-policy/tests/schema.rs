//! The JSON Schema: as it is shipped, against every policy that the project shows, and against the
//! wrong examples of those error codes that a schema can see.

use firewall_policy::bundle;
use firewall_policy::diag::codes::{self, Code};
use firewall_policy::schema::schema;
use jsonschema::Validator;
use serde_json::Value;
use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn validator() -> Validator {
    jsonschema::draft202012::new(&schema()).expect("a schema")
}

/// What an editor makes of a policy's text.
fn value(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

fn complaints(validator: &Validator, text: &str) -> Vec<String> {
    let value = value(text);
    validator
        .iter_errors(&value)
        .map(|error| format!("{}: {error}", error.instance_path()))
        .collect()
}

/// `FIREWALL_WRITE_DOCS=1` writes the file anew.
#[test]
fn the_shipped_file_is_the_schema() {
    let path = root().join("docs/schema/v1.json");
    let text = format!("{:#}\n", schema());
    if std::env::var_os("FIREWALL_WRITE_DOCS").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, &text).expect("written");
    }
    let shipped = std::fs::read_to_string(&path).expect("docs/schema/v1.json");
    assert!(
        shipped == text,
        "docs/schema/v1.json is out of date: FIREWALL_WRITE_DOCS=1 cargo test -p firewall-policy \
         --test schema"
    );
    assert!(
        jsonschema::meta::is_valid(&schema()),
        "not a schema by draft 2020-12"
    );
}

/// The YAML files below a folder.
fn policies(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            policies(&path, found);
        } else if path.extension().is_some_and(|end| end == "yaml") {
            found.push(path);
        }
    }
}

#[test]
fn shipped_policies_fit() {
    let validator = validator();
    let mut found = Vec::new();
    policies(&root().join("rules"), &mut found);
    policies(&root().join("firewall-policy/tests/data"), &mut found);
    assert!(found.len() >= 4);
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a policy");
        let complaints = complaints(&validator, &text);
        assert!(complaints.is_empty(), "{}: {complaints:#?}", path.display());
    }
}

/// Their first line tells editors where the schema is.
#[test]
fn shipped_policies_name_the_schema() {
    let mut found = Vec::new();
    policies(&root().join("rules"), &mut found);
    for path in found {
        let text = std::fs::read_to_string(&path).expect("a policy");
        let named = text.strip_prefix("# yaml-language-server: $schema=");
        let named = named.and_then(|rest| rest.lines().next());
        let folder = path.parent().expect("a folder");
        let schema = named.map(|name| folder.join(name));
        assert!(schema.is_some_and(|it| it.is_file()), "{}", path.display());
    }
}

#[test]
fn right_examples_fit() {
    let validator = validator();
    for code in codes::all().filter(|code| !code.right.is_empty()) {
        for part in bundle::parts(&Code::complete(code.right)) {
            let complaints = complaints(&validator, part.text);
            assert!(complaints.is_empty(), "{}: {complaints:#?}", code.id);
        }
    }
}

/// Keys, kinds and words: what is wrong there is wrong for the schema too.
#[test]
fn wrong_shapes_do_not_fit() {
    let validator = validator();
    for id in ["FW0114", "FW0115", "FW0116", "FW0118", "FW0119", "FW0121"] {
        let code = codes::find(id).expect("a code");
        let complaints = complaints(&validator, &Code::complete(code.wrong));
        assert!(!complaints.is_empty(), "{id} ({}) fits", code.title);
    }
    for text in [
        "rules: []\n",
        "version: 1\nmode: audit\n",
        "version: 1\ndefault: pass\n",
    ] {
        assert!(!complaints(&validator, text).is_empty(), "{text} fits");
    }
}
