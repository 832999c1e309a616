//! FW0180 to FW0189: packets written as text, and the tests of a policy.

use super::{Code, codes};

codes! { TESTS:
    PACKET_TEXT "FW0180" "a packet that cannot be read"
        "A packet is one line: the protocol, source `>` destination with their ports, then other \
         properties (`syn`, `ttl 64`, `length 1500`, `vlan 10`, `dscp ef`, `in zone wan`). \
         Everything else is as in an ordinary packet."
        wrong "tests: [{name: ssh, packet: \"tpc 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass}]\n"
        right "tests: [{name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass}]\n";
    TEST_BY "FW0181" "a test with an unknown `by`"
        "`by` is the name of a rule, or of a reason such as no-match, under which the packet must be \
         counted. There is no such rule and no such reason."
        wrong "tests: [{name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass, by: no-mach}]\n"
        right "tests: [{name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass, by: no-match}]\n";
    TEST_FAILED "FW0182" "a test of the policy fails"
        "The verdict on the packet is not what the test expects. `check` and `apply` refuse the \
         policy: either the rules are wrong, or the test is. `firewall-ctl test` explains the \
         verdict. A test that depends on who is in a set names the set: `from @admins`."
        wrong "tests: [{name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: drop}]\n"
        right "tests: [{name: ssh, packet: \"tcp 203.0.113.9:5000 > 198.51.100.80:22 syn\", expect: pass}]\n";
    TEST_OF_NOBODY "FW0183" "a test from a set that cannot send its packet"
        "The packet comes from a set (or goes to one) that holds no address of its family, so there is \
         no such packet, and nothing to test. The test is skipped."
        wrong "sets: {admins: {type: cidr, elements: [\"2001:db8::/32\"]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\ntests: [{name: ssh, packet: \"tcp @admins > 198.51.100.80:22 syn\", expect: pass}]\n"
        right "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\ntests: [{name: ssh, packet: \"tcp @admins > 198.51.100.80:22 syn\", expect: pass}]\n";
}
