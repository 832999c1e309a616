//! FW0101 to FW0113: the text is not the YAML that policies are written in.

use super::{Code, codes};

codes! { READING:
    SYNTAX "FW0101" "the text is not YAML"
        "The YAML reader could not go on at this place. Often the cause stands a line above: a \
         bracket or quote that is not closed, a missing space behind a colon, or keys of one \
         mapping that do not start in the same column. Reading stops here, so there may be more \
         errors behind it."
        wrong "- {name: web, proto: tcp, port: [80, 443, action: pass}\n"
        right "- {name: web, proto: tcp, port: [80, 443], action: pass}\n";
    EMPTY "FW0102" "the policy is empty"
        "The file holds nothing, or comments only. An empty policy is never taken for \"pass \
         everything\"."
        wrong "# version: 1\n"
        right "version: 1\ndefault: {in: pass}\n";
    TOO_LARGE "FW0103" "the policy is too large"
        "A policy file may have 16 MiB. Long address lists belong into set files, which may be \
         larger and are read faster."
        wrong "" right "";
    TOO_DEEP "FW0104" "too many values, or nested too deep"
        "A policy may have two million values, and collections inside each other to 32 levels. The \
         language needs six, so a deeper one has a bracket too many."
        wrong "- {name: a, action: drop, port: [[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[80]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}\n"
        right "- {name: a, action: drop, proto: tcp, port: [80]}\n";
    DUPLICATE_KEY "FW0105" "a key stands twice"
        "YAML readers differ on which of two equal keys counts, so a policy may have each key once. \
         `to_port` is another word for `port`."
        wrong "- name: web\n  proto: tcp\n  port: 80\n  port: 443\n  action: pass\n"
        right "- name: web\n  proto: tcp\n  port: [80, 443]\n  action: pass\n";
    ANCHOR "FW0106" "anchors and aliases are not part of the language"
        "A few lines of YAML aliases can expand to millions of values, and a policy reads better \
         without them. Lists that are used more than once belong under `sets:`."
        wrong "- {name: a, from: &office 203.0.113.0/24, action: pass}\n- {name: b, to: *office, action: pass}\n"
        right "sets: {office: {type: cidr, elements: [203.0.113.0/24]}}\nrules:\n- {name: a, from: \"@office\", action: pass}\n- {name: b, to: \"@office\", action: pass}\n";
    TAG "FW0107" "YAML reads this as a type tag"
        "A value that starts with `!` is a type tag in YAML. A negated value goes in quotes."
        wrong "- {name: a, from: !10.0.0.0/8, action: drop}\n"
        right "- {name: a, from: \"!10.0.0.0/8\", action: drop}\n";
    DOCUMENTS "FW0108" "more than one document"
        "A policy file holds one YAML document. Text behind a second `---` would be easy to \
         overlook, so it is refused."
        wrong "version: 1\ndefault: {in: pass}\n---\nversion: 1\ndefault: {in: drop}\n"
        right "version: 1\ndefault: {in: pass}\n";
    DIRECTIVE "FW0109" "YAML directives are not part of the language"
        "Policies are YAML 1.2. A directive such as `%YAML 1.1` would change what scalars mean."
        wrong "%YAML 1.1\n---\nversion: 1\ndefault: {in: pass}\n"
        right "version: 1\ndefault: {in: pass}\n";
    TAB "FW0110" "a tab in the indentation"
        "YAML indents with spaces only."
        wrong "version: 1\ndefault:\n\tin: pass\n"
        right "version: 1\ndefault:\n  in: pass\n";
    CONTROL_CHARACTER "FW0111" "a character that cannot be printed"
        "Control characters and a byte order mark inside the text are invisible in an editor and \
         may make a policy look different from what it is."
        wrong "- {name: a, action: pass} # \u{1b}[2K\n"
        right "- {name: a, action: pass}\n";
    NEEDS_QUOTES "FW0112" "a value that must be quoted"
        "YAML keeps `@`, `` ` ``, `%`, `*` and `&` at the start of a value for itself. Put the value \
         in quotes."
        wrong "- {name: bogons, from: @builtin/bogons, action: drop}\n"
        right "- {name: bogons, from: \"@builtin/bogons\", action: drop}\n";
    NOT_UTF8 "FW0113" "the file is not UTF-8"
        "A policy is UTF-8 text. Save it in that encoding; a compressed or binary file cannot be \
         read."
        wrong "" right "";
}
