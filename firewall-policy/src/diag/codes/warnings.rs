//! FW0201 and on: the policy is valid, and probably not what was meant.

use super::{Code, codes};

codes! { WARNINGS:
    UNUSED_SET "FW0201" "a set that no rule uses"
        "The set is defined and checked, but changes nothing. Mostly a rule was removed, or names \
         another set."
        wrong "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\n"
        right "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\n";
    EMPTY_SET "FW0202" "an empty set"
        "Rules that name an empty set match nothing, and rules with `!` in front of it match \
         everything. That may be right for a block list that is empty for now."
        wrong "sets: {bad: {type: cidr, elements: []}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n"
        right "sets: {bad: {type: cidr, elements: [192.0.2.0/24]}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n";
    NO_RULES "FW0203" "a default of drop and no rule in force"
        "Everything but the essential traffic will be dropped. Mostly the file was cut short, or \
         every rule is disabled."
        wrong "default: {in: drop}\nrules: []\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    ESSENTIAL_OFF "FW0204" "address resolution will be dropped"
        "ARP and neighbour discovery are not IP traffic that rules can pass. Without them the host \
         loses its neighbours, and every connection with them, within a minute."
        wrong "default: {in: drop, essential: false}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop, essential: {dhcp: false}}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    AUDIT "FW0205" "a policy in audit mode"
        "Nothing is dropped, not even malformed frames: what the policy would drop passes, and is \
         counted for the reason that it would have been dropped for. For trying a policy; `mode: \
         audit` on single rules leaves the others in force."
        wrong "mode: audit\ndefault: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    EXPIRED "FW0206" "a rule that has expired"
        "The time of the rule has come: it is listed, and matches nothing, whether the program was \
         loaded before or after. As long as the clock is past that moment, no reload brings it back. A \
         test that holds only with such a rule is not run."
        wrong "- {name: party, proto: udp, port: 5000, expires: 2001-01-31, action: pass}\n"
        right "- {name: party, proto: udp, port: 5000, expires: 2999-01-31, action: pass}\n";
    MALFORMED_PASS "FW0207" "malformed frames that would go past bans and rules"
        "Under `pass`, whoever broke a header got past every ban and every rule. It is read as `rules`: a \
         malformed frame meets the bans, and the rules that name nothing but what could be read of it; \
         the default decides about the rest."
        wrong "default: {in: drop}\npacket: {malformed: pass}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\npacket: {malformed: rules}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n";
    UNUSED_STATE "FW0208" "a table of flows that no rule asks for"
        "The size of the table of flows is given, and no rule that is in force looks at `state`: \
         there is no such table. Mostly the rule was removed, or is disabled."
        wrong "default: {in: drop}\nstate: {flows: 1000000}\nrules: [{name: ssh, proto: tcp, port: ssh, action: pass}]\n"
        right "default: {in: drop}\nstate: {flows: 1000000}\nrules: [{name: replies, state: established, action: pass}, {name: ssh, proto: tcp, port: ssh, action: pass}]\n";
}
