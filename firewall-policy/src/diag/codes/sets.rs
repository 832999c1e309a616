//! FW0140 to FW0159: sets, set files, addresses.

use super::{Code, codes};

codes! { SETS:
    SET_WITHOUT_ELEMENTS "FW0140" "a set without elements"
        "A set needs `elements`, `file`, or both. A set that is empty on purpose is `elements: []`."
        wrong "sets: {admins: {type: cidr}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\n"
        right "sets: {admins: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\n";
    SET_TYPE "FW0141" "a set of the wrong type"
        "Address fields take sets of `type: cidr`, port fields sets of `type: port`, and other \
         fields take no sets."
        wrong "sets: {web: {type: port, elements: [80]}}\nrules: [{name: web, from: \"@web\", action: pass}]\n"
        right "sets: {web: {type: port, elements: [80]}}\nrules: [{name: web, proto: tcp, port: \"@web\", action: pass}]\n";
    UNKNOWN_SET "FW0142" "a set that is not defined"
        "`@name` refers to an entry under `sets:`."
        wrong "sets: {admin: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admins\", action: pass}]\n"
        right "sets: {admin: {type: cidr, elements: [203.0.113.0/24]}}\nrules: [{name: ssh, from: \"@admin\", action: pass}]\n";
    SET_FILE_UNREADABLE "FW0143" "a set file that cannot be read"
        "The file is missing, may not be read, is too large, has lines of more than 4,096 bytes, or \
         is not text but packed or binary data. Its path counts from the policy file's folder."
        wrong "sets: {bad: {type: cidr, file: sets.d/missing.txt}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n"
        right "sets: {bad: {type: cidr, file: sets.d/good.txt}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n";
    SET_FILE_LINES "FW0144" "many bad lines in a set file"
        "The first 20 bad lines of a set file are shown one by one and the rest counted here. Such \
         a file is mostly of another format: a set file has one prefix, address or range a line. \
         docs/policy.md names the formats of published lists that are read."
        wrong "sets: {bad: {type: cidr, file: sets.d/names.txt}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n"
        right "sets: {bad: {type: cidr, file: sets.d/good.txt}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n";
    SET_FULL "FW0145" "more entries than the set's max"
        "`max` (one million without it) guards against a list that grows without bound. Nothing is \
         ever cut off silently."
        wrong "sets: {bad: {type: cidr, max: 1, elements: [192.0.2.1, 192.0.2.7]}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n"
        right "sets: {bad: {type: cidr, max: 2, elements: [192.0.2.1, 192.0.2.7]}}\nrules: [{name: bad, from: \"@bad\", action: drop}]\n";
    SET_ELEMENT "FW0146" "an element that cannot stand in a set"
        "Sets hold plain values: no other sets, no negation. Combine sets where they are used."
        wrong "sets: {lan: {type: cidr, elements: [10.0.0.0/8, \"!10.9.0.0/16\"]}}\nrules: [{name: lan, from: \"@lan\", action: pass}]\n"
        right "sets: {lan: {type: cidr, elements: [10.0.0.0/8]}}\nrules: [{name: lan, from: [\"@lan\", \"!10.9.0.0/16\"], action: pass}]\n";
    SET_FILE_TYPE "FW0147" "a set of ports from a file"
        "Files are for long address lists. Ports are written in place."
        wrong "sets: {web: {type: port, file: sets.d/good.txt, elements: [80]}}\nrules: [{name: web, proto: tcp, port: \"@web\", action: pass}]\n"
        right "sets: {web: {type: port, elements: [80]}}\nrules: [{name: web, proto: tcp, port: \"@web\", action: pass}]\n";
    UNKNOWN_BUILTIN "FW0148" "an unknown built-in set"
        "Built-in sets have names under `@builtin/`: `@builtin/bogons`, the source addresses that \
         no packet from the internet may carry."
        wrong "- {name: bogons, from: \"@builtin/bogon\", action: drop}\n"
        right "- {name: bogons, from: \"@builtin/bogons\", action: drop}\n";
    TOO_MANY_RANGES "FW0149" "too many address ranges"
        "All sets and rules of a policy together hold at most 16 million address ranges, so that \
         reading it cannot take a machine's memory. A set counts once for all rules that name it \
         alone; where a rule combines it with other addresses, the rule has a copy."
        wrong ""
        right "";
    ADDRESS "FW0150" "not an address"
        "Addresses are IPv4 (192.0.2.1), IPv6 (2001:db8::1), prefixes (10.0.0.0/8) or ranges \
         (192.0.2.1-192.0.2.9). Host names are not looked up, because the answer can change under \
         the policy."
        wrong "- {name: office, from: office.example.net, action: pass}\n"
        right "- {name: office, from: 203.0.113.9, action: pass}\n";
    PREFIX_LENGTH "FW0151" "not a prefix length"
        "Behind the `/` stands the number of network bits: 0 to 32 for IPv4, 0 to 128 for IPv6."
        wrong "- {name: lan, from: 10.0.0.0/255.0.0.0, action: pass}\n"
        right "- {name: lan, from: 10.0.0.0/8, action: pass}\n";
    HOST_BITS "FW0152" "host bits in a prefix"
        "Bits behind the prefix length must be zero. Otherwise either the length or the address is \
         a slip, and only the author knows which."
        wrong "- {name: lan, from: 10.1.2.3/8, action: pass}\n"
        right "- {name: lan, from: 10.0.0.0/8, action: pass}\n";
    REVERSED_RANGE "FW0153" "a range that ends before it starts"
        "Ranges, of addresses or numbers, run from the smaller to the larger value, both included."
        wrong "- {name: web, proto: tcp, port: 8010-8000, action: pass}\n"
        right "- {name: web, proto: tcp, port: 8000-8010, action: pass}\n";
    MIXED_RANGE "FW0154" "a range over two address families"
        "Both ends of a range are of one family."
        wrong "- {name: a, from: \"192.0.2.1-2001:db8::1\", action: pass}\n"
        right "- {name: a, from: [192.0.2.1, \"2001:db8::1\"], action: pass}\n";
    MAPPED_ADDRESS "FW0155" "an IPv4-mapped IPv6 address"
        "Addresses under ::ffff:0:0/96 are how programs name IPv4 peers of an IPv6 socket. On the \
         wire the packet is IPv4, so a rule on the mapped form would never match."
        wrong "- {name: a, from: \"::ffff:192.0.2.1\", action: pass}\n"
        right "- {name: a, from: 192.0.2.1, action: pass}\n";
    LIVE_BESIDE "FW0156" "a live set beside addresses"
        "What is in a live set is known only while the policy is in force, so a list in `from` or \
         `to` names either live sets or addresses. Both can take something away with `!`."
        wrong "sets: {vip: {type: cidr, live: true}}\nrules: [{name: a, from: [\"@vip\", 192.0.2.1], action: pass}]\n"
        right "sets: {vip: {type: cidr, live: true, elements: [192.0.2.1]}}\nrules: [{name: a, from: \"@vip\", action: pass}]\n";
    LIVE_SET "FW0157" "a set that cannot be live"
        "Sets with `live: true` change while the policy is in force (`firewall-ctl set add`). They \
         hold addresses, a policy has eight at most, and `timeout` is for them alone. `@self` is \
         one: the host's own addresses."
        wrong "sets: {web: {type: port, live: true, elements: [80]}}\nrules: [{name: web, proto: tcp, port: \"@web\", action: pass}]\n"
        right "sets: {vip: {type: cidr, live: true, timeout: 1h}}\nrules: [{name: web, from: \"@vip\", action: pass}]\n";
    BAN "FW0158" "a `ban` that bans nobody"
        "`ban: 10m` keeps a source away that is over the rule's limit. So the rule needs a `limit` \
         with `per: source`, what is over it must be dropped, and the time is 1s to 30d."
        wrong "- {name: ssh, proto: tcp, port: 22, limit: {rate: 10/m}, ban: 10m, action: pass}\n"
        right "- {name: ssh, proto: tcp, port: 22, limit: {rate: 10/m, per: source}, ban: 10m, action: pass}\n";
    EXEMPT "FW0159" "`exempt` that does not name addresses"
        "`exempt` names addresses, prefixes and sets of them that no ban holds. What is in a live set \
         is known only while the policy is in force, and there is nothing to take away from."
        wrong "sets: {vip: {type: cidr, live: true}}\nexempt: \"@vip\"\n"
        right "sets: {vip: {type: cidr, elements: [192.0.2.0/24]}}\nexempt: \"@vip\"\n";
}
