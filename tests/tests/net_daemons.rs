//! The daemons that keep a host on its network, real ones on both ends of a cable, under a default of drop:
//! 802.1X (hostapd and wpa_supplicant), DHCP through the shipped router policy (dnsmasq and dhclient), VRRP
//! (keepalived), and group membership (the kernel's own).
//!
//! `FIREWALL_SECONDS=N` says how long each must stay online.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use anyhow::{Context, Result};
use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INTERFACE, Namespace, Pair};
use firewall_tests::snapshot::{reason, rule};
use firewall_tests::{number, patience};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::net::{Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a host must stay online, if `FIREWALL_SECONDS` does not say.
const SECONDS: u64 = 6;

/// A process that ends with the test.
struct Daemon(Child);

impl Daemon {
    /// What it says goes to `log`.
    fn start(mut command: Command, log: &Path) -> Result<Self> {
        let out = fs::File::create(log)?;
        let child = command
            .stdin(Stdio::null())
            .stdout(out.try_clone()?)
            .stderr(out)
            .spawn()
            .with_context(|| format!("{command:?}"))?;
        Ok(Self(child))
    }

    /// Lets it end in order, with the processes that it has started.
    fn stop(mut self) {
        kill_process(Pid::from_child(&self.0), Signal::TERM).unwrap();
        until("its end", || self.has_ended());
    }

    fn has_ended(&mut self) -> bool {
        self.0.try_wait().is_ok_and(|status| status.is_some())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn online_for() -> Duration {
    patience(Duration::from_secs(
        number("FIREWALL_SECONDS", SECONDS).unwrap(),
    ))
}

fn load(ctl: &Ctl<'_>, text: &str) {
    let file = ctl.policy(text).unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-f", file.to_str().unwrap()])
        .unwrap();
}

/// Waits until something is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience(Duration::from_secs(30));
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}: not within 30 s");
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn read(log: &Path) -> String {
    fs::read_to_string(log).unwrap_or_default()
}

/// How often a line of a log says this.
fn says(log: &Path, what: &str) -> usize {
    read(log).lines().filter(|line| line.contains(what)).count()
}

fn write(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    fs::write(&file, text).unwrap();
    file
}

/// A switch port that asks for a password again every two seconds, and the host behind the filter.
struct Port {
    _switch: Daemon,
    _host: Daemon,
    log: PathBuf,
}

impl Port {
    fn open(pair: &Pair, folder: &Path) -> Self {
        let users = write(folder, "users", "\"host\" MD5 \"secret\"\n");
        let switch = write(
            folder,
            "switch",
            &format!(
                "interface={INTERFACE}\ndriver=wired\nieee8021x=1\neap_server=1\n\
                 eap_user_file={}\neap_reauth_period=2\nuse_pae_group_addr=1\n",
                users.display()
            ),
        );
        let host = write(
            folder,
            "host",
            "ap_scan=0\nnetwork={\n key_mgmt=IEEE8021X\n eap=MD5\n identity=\"host\"\n \
             password=\"secret\"\n eapol_flags=0\n}\n",
        );
        let mut hostapd = pair.outside.command("hostapd");
        hostapd.arg(switch);
        let switch = Daemon::start(hostapd, &folder.join("switch.log")).unwrap();
        let mut supplicant = pair.inside.command("wpa_supplicant");
        supplicant
            .args(["-D", "wired", "-i", INTERFACE, "-c"])
            .arg(host);
        let log = folder.join("host.log");
        let host = Daemon::start(supplicant, &log).unwrap();
        Self {
            _switch: switch,
            _host: host,
            log,
        }
    }

    fn successes(&self) -> usize {
        says(&self.log, "CTRL-EVENT-EAP-SUCCESS")
    }
}

/// M6: 802.1X, and once more every two seconds, by the essential group and by a rule; never without.
#[test]
#[ignore = "needs root"]
fn a_switch_port_stays_open() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = |default: &str, rules: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}, mode: generic}}]\n\
             default: {default}\nrules: [{rules}]\n"
        )
    };
    // Nothing lets the switch's questions in.
    load(&ctl, &policy("{in: drop, essential: {link: false}}", ""));
    let port = Port::open(&pair, ctl.folder());
    until("frames are dropped", || {
        reason(&ctl.snapshot().unwrap(), "non-ip", "drop").0 > 1
    });
    assert_eq!(port.successes(), 0, "{}", read(&port.log));

    load(&ctl, &policy("{in: drop}", ""));
    until("802.1X", || port.successes() > 0);
    std::thread::sleep(online_for());
    let seen = port.successes();
    let wanted = online_for().as_secs() as usize / 2;
    assert!(
        seen >= wanted,
        "{seen} of {wanted} times\n{}",
        read(&port.log)
    );
    assert_eq!(
        says(&port.log, "CTRL-EVENT-EAP-FAILURE"),
        0,
        "{}",
        read(&port.log)
    );
    assert!(reason(&ctl.snapshot().unwrap(), "link", "pass").0 > 3);

    // By a rule alone.
    let rule_alone = policy(
        "{in: drop, essential: {link: false}}",
        "{name: port, ethertype: eapol, action: pass}",
    );
    load(&ctl, &rule_alone);
    until("802.1X by a rule", || port.successes() > seen + 1);
    assert!(rule(&ctl.snapshot().unwrap(), "port").0 > 1);
}

/// M7: a client without an address has its lease from a server on a router under the shipped policy, and
/// once more for the address that it had.
#[test]
#[ignore = "needs root"]
fn a_client_inside_has_its_lease() {
    let pair = Pair::new().unwrap();
    let client = Namespace::new("client").unwrap();
    let router = &pair.inside;
    router
        .ip(&format!(
            "link add lan0 type veth peer name eth0 netns {}",
            client.name()
        ))
        .unwrap();
    router.ip("addr add 10.20.0.1/16 dev lan0").unwrap();
    router.ip("link set lan0 up").unwrap();
    client.ip("link set eth0 up").unwrap();
    let ctl = Ctl::new(router).unwrap();
    let folder = ctl.folder().to_owned();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../rules/router-bastion.yaml");
    ctl.ok(&["load", "-f", shipped.to_str().unwrap()]).unwrap();

    let mut dnsmasq = router.command("dnsmasq");
    dnsmasq
        .args([
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--user=root",
            "--port=0",
            "--interface=lan0",
            "--bind-interfaces",
            "--dhcp-authoritative",
            "--no-ping",
            "--dhcp-range=10.20.0.100,10.20.0.200,255.255.0.0,2m",
            "--log-facility=-",
            "--log-dhcp",
        ])
        .arg(format!(
            "--pid-file={}",
            folder.join("dnsmasq.pid").display()
        ))
        .arg(format!(
            "--dhcp-leasefile={}",
            folder.join("leases").display()
        ));
    let log = folder.join("dnsmasq.log");
    let _server = Daemon::start(dnsmasq, &log).unwrap();
    until("dnsmasq", || says(&log, "DHCP") > 0);

    for round in ["new", "again"] {
        let mut dhclient = client.command("dhclient");
        dhclient.args(["-4", "-1", "-v", "-cf", "/dev/null", "-sf", "/bin/true"]);
        dhclient.arg("-lf").arg(folder.join("client.leases"));
        dhclient.arg("-pf").arg(folder.join("client.pid"));
        dhclient.args(["-d", "eth0"]);
        let log_of_client = folder.join(format!("client-{round}.log"));
        let _client = Daemon::start(dhclient, &log_of_client).unwrap();
        until(round, || says(&log_of_client, "bound to 10.20.0.") > 0);
    }
    let snapshot = ctl.snapshot().unwrap();
    assert!(rule(&snapshot, "lan-dhcp-new").0 >= 3, "{}", read(&log));
    assert_eq!(rule(&snapshot, "lan-antispoof").0, 0);
}

/// VRRP: who is behind the filter hears the other one, takes over when that falls silent, and gives back.
#[test]
#[ignore = "needs root"]
fn a_virtual_address_moves_and_comes_back() {
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    load(
        &ctl,
        &format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}, mode: generic}}]\ndefault: {{in: drop}}\n\
             rules:\n  - {{name: vrrp, proto: vrrp, ttl: 255, from: 192.0.2.9, to: 224.0.0.18, action: pass}}\n\
             tests:\n  - {{name: advert, packet: \"vrrp 192.0.2.9 > 224.0.0.18\", expect: pass, by: vrrp}}\n"
        ),
    );
    let folder = ctl.folder().to_owned();
    let start = |host: &Namespace, name: &str, priority: u32| {
        let config = write(
            &folder,
            name,
            &format!(
                "global_defs {{\n router_id {name}\n vrrp_version 3\n}}\nvrrp_instance v {{\n \
                 state BACKUP\n interface {INTERFACE}\n virtual_router_id 51\n priority {priority}\n \
                 advert_int 0.2\n virtual_ipaddress {{\n  192.0.2.200/24\n }}\n}}\n"
            ),
        );
        let mut keepalived = host.command("keepalived");
        keepalived
            .args(["--dont-fork", "--log-console", "--vrrp", "-f"])
            .arg(config);
        keepalived.arg("-p").arg(folder.join(format!("{name}.pid")));
        keepalived
            .arg("-r")
            .arg(folder.join(format!("{name}.vrrp")));
        Daemon::start(keepalived, &folder.join(format!("{name}.log"))).unwrap()
    };
    let has = |host: &Namespace| {
        let mut ip = host.command("ip");
        let output = ip
            .args(["-4", "addr", "show", "dev", INTERFACE])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).contains("192.0.2.200")
    };
    let mut first = start(&pair.outside, "first", 150);
    until("the first is master", || has(&pair.outside));
    let mut second = start(&pair.inside, "second", 100);
    until("advertisements are heard", || {
        rule(&ctl.snapshot().unwrap(), "vrrp").0 > 5
    });
    let end = Instant::now() + online_for();
    while Instant::now() < end {
        assert!(!has(&pair.inside), "{}", read(&folder.join("second.log")));
        assert!(has(&pair.outside) && !first.has_ended() && !second.has_ended());
        std::thread::sleep(Duration::from_millis(100));
    }
    first.stop();
    until("the second takes over", || has(&pair.inside));
    let first = start(&pair.outside, "first", 150);
    until("the first has it back", || {
        has(&pair.outside) && !has(&pair.inside)
    });
    first.stop();
    second.stop();
}

/// M5: a group that the host is in stays at the switch, which asks every second who is left; without
/// what lets the questions in, it is gone.
#[test]
#[ignore = "needs root"]
fn a_group_stays_joined() {
    const GROUP: Ipv4Addr = Ipv4Addr::new(239, 1, 2, 3);
    let pair = Pair::new().unwrap();
    let ctl = Ctl::new(&pair.inside).unwrap();
    let policy = |default: &str| {
        format!(
            "version: 1\ninterfaces: [{{match: {INTERFACE}, mode: generic}}]\n\
             default: {default}\npacket: {{ip_options: drop}}\nrules: []\n"
        )
    };
    load(&ctl, &policy("{in: drop}"));
    // The switch forgets after two and a half seconds without an answer.
    pair.outside
        .ip(
            "link add br0 type bridge mcast_snooping 1 mcast_querier 1 mcast_query_interval 100 \
             mcast_startup_query_interval 100 mcast_query_response_interval 50 \
             mcast_membership_interval 250 mcast_querier_interval 300",
        )
        .unwrap();
    pair.outside
        .ip(&format!("link set {INTERFACE} master br0"))
        .unwrap();
    pair.outside.ip("link set br0 up").unwrap();
    let host: Ipv4Addr = firewall_tests::netns::INSIDE_V4;
    let socket = pair.inside.run(|| {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 5000)).unwrap();
        socket.join_multicast_v4(&GROUP, &host).unwrap();
        socket
    });
    let is_joined = || {
        let mut bridge = pair.outside.command("bridge");
        let output = bridge.args(["mdb", "show", "dev", "br0"]).output().unwrap();
        String::from_utf8_lossy(&output.stdout).contains(&GROUP.to_string())
    };
    until("the switch asks", || {
        reason(&ctl.snapshot().unwrap(), "igmp", "pass").0 > 1
    });
    until("the group is joined", is_joined);
    let end = Instant::now() + online_for();
    while Instant::now() < end {
        assert!(is_joined(), "the switch has forgotten the group");
        std::thread::sleep(Duration::from_millis(100));
    }
    load(&ctl, &policy("{in: drop, essential: {igmp: false}}"));
    until("the switch forgets", || !is_joined());
    drop(socket);
}
