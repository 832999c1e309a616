//! FW0210 to FW0219: what `check --lint` finds.

use super::{Code, codes};

codes! { LINT:
    LINT_SHADOWED "FW0210" "a rule shadowed by an earlier one"
        "An earlier rule with the same action matches everything that this rule matches. This rule \
         never decides, and its counter stays at 0."
        wrong "- {name: lan, from: 10.0.0.0/8, action: pass}\n- {name: host, from: 10.1.2.3, proto: tcp, port: 22, action: pass}\n"
        right "- {name: host, from: 10.1.2.3, proto: tcp, port: 22, action: pass}\n- {name: lan, from: 10.0.0.0/8, action: pass}\n";
    LINT_DUPLICATE "FW0211" "a rule that repeats another"
        "An earlier rule matches exactly the same packets and has the same action."
        wrong "- {name: lan, from: 10.0.0.0/8, action: drop}\n- {name: lan-again, from: [10.0.0.0/9, 10.128.0.0/9], action: drop}\n"
        right "- {name: lan, from: 10.0.0.0/8, action: drop}\n";
    LINT_CONTRADICTED "FW0212" "a rule that an earlier one contradicts"
        "An earlier rule with another action matches everything that this rule matches, so this \
         one never decides. Usually the two are in the wrong order: exceptions come first."
        wrong "- {name: lan, from: 10.0.0.0/8, action: drop}\n- {name: admin, from: 10.1.2.3, action: pass}\n"
        right "- {name: admin, from: 10.1.2.3, action: pass}\n- {name: lan, from: 10.0.0.0/8, action: drop}\n";
    LINT_NEVER "FW0213" "a rule that matches no packet that reaches the rules"
        "The packets that the rule matches are decided before the rules, or do not exist: a \
         loopback source, fragments under `fragments: drop`, a length below the shortest header, \
         an empty set."
        wrong "- {name: loop, from: 127.0.0.0/8, action: drop}\n"
        right "- {name: private, from: 10.0.0.0/8, action: drop}\n";
    LINT_UNREACHABLE "FW0214" "a rule shadowed by several earlier ones"
        "No single rule matches everything that this rule matches, but the earlier rules together \
         do."
        wrong "- {name: low, proto: udp, port: 1-1023, action: drop}\n- {name: high, proto: udp, port: 1024-65535, action: drop}\n- {name: dns, proto: udp, port: [53, 5353], action: pass}\n"
        right "- {name: dns, proto: udp, port: [53, 5353], action: pass}\n- {name: low, proto: udp, port: 1-1023, action: drop}\n- {name: high, proto: udp, port: 1024-65535, action: drop}\n";
    LINT_UNDECIDED "FW0215" "a rule that lint could not analyse"
        "The rule overlaps too many others to be analysed in reasonable time. It may be needed or \
         shadowed."
        wrong "" right "";
    LINT_SSH "FW0216" "an SSH port that nobody can reach"
        "No packet that opens a connection to TCP port 22 passes, from any address, in any zone. \
         That may be intended; but then only the console is left to log in."
        wrong "default: {in: drop}\nrules: [{name: web, proto: tcp, port: 443, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    LINT_TUNNELS "FW0217" "tunnels that pass without inspection"
        "`tunnels: inner` opens IP in IP, GRE of IP, Ethernet or WCCP, and VXLAN on UDP port 4789. With a \
         default of pass, packets in other tunnels pass whatever they carry; a host with such a device \
         unpacks them."
        wrong "default: {in: pass}\npacket: {tunnels: inner}\nrules: [{name: telnet, proto: tcp, port: 23, action: drop}]\n"
        right "default: {in: pass}\npacket: {tunnels: inner}\nrules: [{name: telnet, proto: tcp, port: 23, action: drop}, {name: tunnels, proto: udp, port: [4790, 6081, 6635, 8472], action: drop}, {name: others, proto: [gre, 137], action: drop}]\n";
    LINT_HALTS "FW0218" "connections that open and cannot continue"
        "`state: new` matches the packet that opens a connection. Later packets are `established`, \
         and TCP that neither opens nor belongs to a connection is `invalid`. So a rule for \
         `state: new` alone passes the first packet, and the rest is dropped unless another rule \
         passes it."
        wrong "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, state: new, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: replies, state: established, action: pass}, {name: ssh, proto: tcp, port: ssh, state: new, action: pass}]\n";
}
