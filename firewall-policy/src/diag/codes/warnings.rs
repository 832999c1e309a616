//! FW0201 and on: the policy is valid, and probably not what was meant.

use super::{Code, codes};

codes! { WARNINGS:
    UNUSED_SET "FW0201" "a set that no rule uses"
        "The set is valid, but has no effect. Usually a rule was removed, or names another set."
        wrong "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\n"
        right "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\n";
    EMPTY_SET "FW0202" "an empty set"
        "Rules that name an empty set match nothing, and rules with `!` in front of it match \
         everything. That may be right for a block list that is empty for now."
        wrong "sets: {bad: {type: cidr, elements: []}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n"
        right "sets: {bad: {type: cidr, elements: [192.0.2.0/24]}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n";
    NO_RULES "FW0203" "a default of drop and no active rule"
        "Everything but essential traffic will be dropped. Usually the file was truncated, or \
         every rule is disabled."
        wrong "default: {in: drop}\nrules: []\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    ESSENTIAL_OFF "FW0204" "address resolution will be dropped"
        "Neither the essential group nor a rule passes ARP or neighbour discovery. Without them the host \
         loses its neighbours, and every connection with them, within a minute. Rules can pass both: ARP \
         by `ethertype: arp`, neighbour discovery by its types of ICMPv6."
        wrong "default: {in: drop, essential: false}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop, essential: {dhcp: false}}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    AUDIT "FW0205" "a policy in audit mode"
        "Nothing is dropped, not even malformed frames: packets that the policy would drop pass, and \
         are counted under the reason of the drop. Use it to try a policy; with `mode: audit` on \
         single rules the others are still enforced."
        wrong "mode: audit\ndefault: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    EXPIRED "FW0206" "a rule that has expired"
        "The rule's expiry has passed: it is listed, but matches nothing, whether the program was \
         loaded before or after. No reload revives it while the clock is past its expiry. Tests \
         that depend on the rule are skipped."
        wrong "- {name: party, proto: udp, port: 5000, expires: 2001-01-31, action: pass}\n"
        right "- {name: party, proto: udp, port: 5000, expires: 2999-01-31, action: pass}\n";
    MALFORMED_PASS "FW0207" "malformed frames that would bypass bans and rules"
        "Under `pass`, a frame with a broken header bypassed every ban and every rule. It is read as \
         `rules`: bans apply to a malformed frame, and so do rules that use only fields that could \
         be parsed; the default decides the rest."
        wrong "default: {in: drop}\npacket: {malformed: pass}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\npacket: {malformed: rules}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    UNUSED_STATE "FW0208" "a flow table that no rule uses"
        "The policy sets the size of the flow table, but no active rule uses `state`, so there is \
         no table. Usually the rule was removed or disabled."
        wrong "default: {in: drop}\nstate: {flows: 1000000}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\nstate: {flows: 1000000}\nrules: [{name: replies, state: established, action: pass}, {name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    STATELESS_PROTO "FW0209" "a state that some of the protocols never have"
        "Connections are tracked for TCP, UDP, ICMP and ICMPv6. A packet of any other protocol (SCTP, ESP, \
         GRE, ...) is `new`, whatever went before, so the rule never matches it. Pass such a protocol by \
         the addresses of its other end."
        wrong "- {name: replies, proto: [tcp, sctp], state: established, action: pass}\n"
        right "- {name: replies, proto: tcp, state: established, action: pass}\n- {name: sctp, proto: sctp, from: 192.0.2.1, action: pass}\n";
}
