//! FW0210 to FW0219: what `check --lint` finds.

use super::{Code, codes};

codes! { LINT:
    LINT_SHADOWED "FW0210" "a rule that an earlier one makes superfluous"
        "An earlier rule with the same action matches everything that this rule matches. It never \
         decides about a packet, and its counter stays at 0."
        wrong "- {name: lan, from: 10.0.0.0/8, action: pass}\n- {name: host, from: 10.1.2.3, proto: tcp, port: 22, action: pass}\n"
        right "- {name: host, from: 10.1.2.3, proto: tcp, port: 22, action: pass}\n- {name: lan, from: 10.0.0.0/8, action: pass}\n";
    LINT_DUPLICATE "FW0211" "a rule that repeats another"
        "An earlier rule matches exactly the same packets and does the same with them."
        wrong "- {name: lan, from: 10.0.0.0/8, action: drop}\n- {name: lan-again, from: [10.0.0.0/9, 10.128.0.0/9], action: drop}\n"
        right "- {name: lan, from: 10.0.0.0/8, action: drop}\n";
    LINT_CONTRADICTED "FW0212" "a rule that an earlier one contradicts"
        "An earlier rule with another action matches everything that this rule matches, so this \
         one never decides. Mostly the two stand in the wrong order: exceptions come first."
        wrong "- {name: lan, from: 10.0.0.0/8, action: drop}\n- {name: admin, from: 10.1.2.3, action: pass}\n"
        right "- {name: admin, from: 10.1.2.3, action: pass}\n- {name: lan, from: 10.0.0.0/8, action: drop}\n";
    LINT_NEVER "FW0213" "a rule that matches no packet that reaches the rules"
        "What the rule matches is judged before the rules, or does not exist: a loopback source, \
         fragments under `fragments: drop`, a length below the shortest header, an empty set."
        wrong "- {name: loop, from: 127.0.0.0/8, action: drop}\n"
        right "- {name: private, from: 10.0.0.0/8, action: drop}\n";
    LINT_UNREACHABLE "FW0214" "a rule that several earlier ones leave nothing to"
        "No single rule matches everything that this rule matches, but the rules before it do so \
         together."
        wrong "- {name: low, proto: udp, port: 1-1023, action: drop}\n- {name: high, proto: udp, port: 1024-65535, action: drop}\n- {name: dns, proto: udp, port: [53, 5353], action: pass}\n"
        right "- {name: dns, proto: udp, port: [53, 5353], action: pass}\n- {name: low, proto: udp, port: 1-1023, action: drop}\n- {name: high, proto: udp, port: 1024-65535, action: drop}\n";
    LINT_UNDECIDED "FW0215" "a question that lint gave up"
        "The rule overlaps so many others that taking it apart would take too long. It may be \
         sound or superfluous."
        wrong "" right "";
    LINT_SSH "FW0216" "an SSH port that nobody can reach"
        "No packet that opens a connection to TCP port 22 passes, from any address, in any zone. \
         That may be meant; after such a policy the console is the way in."
        wrong "default: {in: drop}\nrules: [{name: web, proto: tcp, port: 443, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    LINT_TUNNELS "FW0217" "tunnels that pass without a look inside"
        "`tunnels: inner` opens IP in IP, GRE of IP, Ethernet or WCCP, and VXLAN on UDP port 4789. With a \
         default of pass, packets in other tunnels pass whatever is in them; a host with such a device \
         unpacks them."
        wrong "default: {in: pass}\npacket: {tunnels: inner}\nrules: [{name: telnet, proto: tcp, port: 23, action: drop}]\n"
        right "default: {in: pass}\npacket: {tunnels: inner}\nrules: [{name: telnet, proto: tcp, port: 23, action: drop}, {name: tunnels, proto: udp, port: [4790, 6081, 6635, 8472], action: drop}, {name: others, proto: [gre, 137], action: drop}]\n";
    LINT_HALTS "FW0218" "connections that begin and cannot go on"
        "`state: new` is what opens a connection. All that follows is `established`, and TCP that \
         opens nothing and belongs to nothing is `invalid`. So a rule for `state: new` alone passes \
         the first packet, and the rest is lost unless another rule passes it."
        wrong "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, state: new, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: replies, state: established, action: pass}, {name: ssh, proto: tcp, port: ssh, state: new, action: pass}]\n";
}
