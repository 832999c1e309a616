//! FW0114 to FW0139: keys, kinds of values, numbers, names.

use super::{Code, codes};

codes! { SHAPE:
    UNKNOWN_KEY "FW0114" "an unknown key"
        "The key is not part of the language at this place. Unknown keys are errors, because a \
         misspelt one would otherwise switch a protection off silently."
        wrong "- {name: dns, proto: udp, sport: 53, action: pass}\n"
        right "- {name: dns, proto: udp, source_port: 53, action: pass}\n";
    MISSING_KEY "FW0115" "a key is missing"
        "The key has no default, because any guess would be wrong for somebody."
        wrong "- {name: web, proto: tcp, port: 80}\n"
        right "- {name: web, proto: tcp, port: 80, action: pass}\n";
    WRONG_KIND "FW0116" "a value of the wrong kind"
        "A list, a mapping or a single value stands where another kind is needed. A list entry \
         starts with `- `, a mapping is `key: value`."
        wrong "rules: {name: web, action: pass}\n"
        right "rules: [{name: web, action: pass}]\n";
    NOTHING "FW0117" "nothing stands where a value is needed"
        "A key with nothing behind it, `~` or `null`. Give it a value, or remove the key."
        wrong "- {name: web, proto: tcp, port: , action: pass}\n"
        right "- {name: web, proto: tcp, port: 80, action: pass}\n";
    UNKNOWN_VALUE "FW0118" "an unknown word"
        "The key takes one of a few words, and this is none of them."
        wrong "- {name: web, action: dorp}\n"
        right "- {name: web, action: drop}\n";
    NOT_SUPPORTED "FW0119" "not supported yet"
        "The construct belongs to the policy language, but this version cannot enforce it. It is \
         refused, because ignoring it would change what the policy means. The message \
         says what to do without."
        wrong "- {name: web, proto: tcp, port: 80, observe: {http: true}, action: pass}\n"
        right "- {name: web, proto: tcp, port: 80, action: pass}\n";
    NUMBER "FW0120" "not a plain decimal number"
        "Numbers are plain decimal digits without sign, leading zeros, underscores or exponent, so \
         that nobody can read them in two ways. Match fields also take hexadecimal ones: 0x50."
        wrong "- {name: web, proto: tcp, port: 0o120, action: pass}\n"
        right "- {name: web, proto: tcp, port: 80, action: pass}\n";
    OUT_OF_RANGE "FW0121" "a number out of range"
        "The number does not fit the field: ports are 1 to 65535, VLAN ids 1 to 4095, code points 0 \
         to 63."
        wrong "- {name: web, proto: tcp, port: 70000, action: pass}\n"
        right "- {name: web, proto: tcp, port: 7000, action: pass}\n";
    TEXT_NEEDS_QUOTES "FW0122" "text that YAML reads as something else"
        "The key holds text, but a YAML reader takes this spelling for a number or a truth value. \
         In quotes it is text for every reader."
        wrong "- {name: 1e3, action: drop}\n"
        right "- {name: \"1e3\", action: drop}\n";
    BOOLEAN "FW0123" "not true or false"
        "Truth values are `true` and `false`. `yes`, `no`, `on` and `off` are text in YAML 1.2, and \
         truth values in YAML 1.1: they are refused here."
        wrong "- {name: web, enabled: no, action: pass}\n"
        right "- {name: web, enabled: false, action: pass}\n";
    VERSION "FW0124" "an unknown policy version"
        "The version says which language the file is written in. This program reads version 1."
        wrong "version: 2\ndefault: {in: pass}\n"
        right "version: 1\ndefault: {in: pass}\n";
    EMPTY_LIST "FW0125" "an empty list"
        "An empty list could mean \"nothing\" or \"everything\". To match everything, leave the key \
         out; to match nothing for now, use `enabled: false`."
        wrong "- {name: web, proto: tcp, port: [], action: pass}\n"
        right "- {name: web, proto: tcp, port: [80], action: pass}\n";
    KEY_KIND "FW0126" "a key that is not a word"
        "Keys are plain words. A list or mapping as a key is mostly a value that lacks its quotes."
        wrong "- {{name: web}: pass}\n"
        right "- {name: web, action: pass}\n";
    MISPLACED "FW0127" "a key that belongs to firewall.yaml"
        "What a policy has once stands in its directory's firewall.yaml. The files of rules.d add \
         rules, sets and tests, and nothing else: a default that any of them could change would be \
         easy to overlook."
        wrong "--- # file: firewall.yaml\nversion: 1\ndefault: {in: pass}\n--- # file: rules.d/10-web.yaml\nversion: 1\ndefault: {in: drop}\n"
        right "--- # file: firewall.yaml\nversion: 1\ndefault: {in: pass}\n--- # file: rules.d/10-web.yaml\nversion: 1\nrules:\n- {name: web, proto: tcp, port: 80, action: pass}\n";
    NOT_A_POLICY "FW0128" "a file of another program"
        "The file is of a kind that another program reads: rules of iptables, nft or ufw, which \
         `import` converts, or an object of Kubernetes. A policy is a mapping with `version`, \
         `default`, and mostly `rules`."
        wrong "version: 1\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: web}\n"
        right "version: 1\ndefault: {in: drop}\nrules: [{name: web, proto: tcp, port: 80, action: pass}]\n";
    BAD_NAME "FW0130" "not a name"
        "Names of rules, sets and zones are 1 to 63 of a-z, 0-9 and `-`, so that they can stand in \
         metrics, file names and commands unchanged."
        wrong "- {name: Web Server, action: pass}\n"
        right "- {name: web-server, action: pass}\n";
    DUPLICATE_NAME "FW0131" "two rules with one name"
        "A rule's name is its identity in counters, listings and diffs, so it must be unique."
        wrong "- {name: web, proto: tcp, port: 80, action: pass}\n- {name: web, proto: tcp, port: 443, action: pass}\n"
        right "- {name: web, proto: tcp, port: 80, action: pass}\n- {name: web-tls, proto: tcp, port: 443, action: pass}\n";
    UNKNOWN_ZONE "FW0132" "an unknown zone"
        "A zone is defined by giving its name to an interface under `interfaces:`."
        wrong "interfaces: [{match: eth0, zone: wan}]\nrules:\n- {name: spoof, zone: wna, from: 10.0.0.0/8, action: drop}\n"
        right "interfaces: [{match: eth0, zone: wan}]\nrules:\n- {name: spoof, zone: wan, from: 10.0.0.0/8, action: drop}\n";
    INTERFACE_NAME "FW0133" "not an interface name"
        "Linux interface names have 1 to 15 characters without spaces and slashes. `*` stands for \
         any characters, `?` for one, and `default-route` for the interface that the default route \
         leaves by."
        wrong "interfaces: [{match: \"eth0/1\"}]\n"
        right "interfaces: [{match: eth0}]\n";
    TOO_MANY_ZONES "FW0134" "too many zones"
        "A policy may have 254 zones. Interfaces that are treated alike share one."
        wrong "" right "";
}
