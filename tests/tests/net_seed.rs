//! A policy is loaded on a router over running traffic: nobody whose connection goes through it is
//! cut, also behind translations of addresses. And a table of flows that is made in another size
//! loses none.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use firewall_tests::ctl::Ctl;
use firewall_tests::netns::{INSIDE_V4, INSIDE_V6, INTERFACE, Namespace, OUTSIDE_V4, OUTSIDE_V6};
use firewall_tests::routed::{FAR_INTERFACE, FAR_V4, FAR_V6, Routed};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Nothing new gets in from anywhere.
const POLICY: &str = "\
version: 1
interfaces: [{match: wan0}, {match: far0}]
default: {in: drop}
rules:
  - {name: replies, state: established, action: pass}
";

const SOON: Duration = Duration::from_millis(400);
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of each kind and family; three kinds of TCP.
const MANY: usize = 84;

/// Where the side that accepts listens.
const PORT: u16 = 80;

/// A connection, by its two ends.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

/// What is open through the router.
struct Traffic {
    idle: Vec<Ends>,
    /// The client has said all that it has to say.
    client_done: Vec<Ends>,
    /// The server has.
    server_done: Vec<Ends>,
    /// Datagrams: the client's socket, the server's, and the address that the server knows.
    conversations: Vec<(UdpSocket, Arc<UdpSocket>, SocketAddr)>,
    /// Bytes that a transfer has brought.
    pushed: Arc<AtomicU64>,
}

fn crosses(from: &mut TcpStream, to: &mut TcpStream) {
    from.write_all(b"hello").unwrap();
    let mut text = [0; 5];
    to.read_exact(&mut text).unwrap();
    assert_eq!(&text, b"hello");
}

fn ends(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "an end");
}

/// Connections from `client` to a server, whom the client knows as `to`.
fn connect(client: &Namespace, listener: &TcpListener, to: SocketAddr) -> Vec<Ends> {
    // One after the other: of several the last segments of the handshakes can overtake each other, and the
    // listener hands the connections out as those come.
    let both = |_| {
        let client = client.run(|| TcpStream::connect_timeout(&to, PATIENCE).unwrap());
        let (server, _) = listener.accept().unwrap();
        for stream in [&client, &server] {
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
        }
        let mut both = Ends { client, server };
        crosses(&mut both.client, &mut both.server);
        crosses(&mut both.server, &mut both.client);
        both
    };
    (0..MANY).map(both).collect()
}

/// A datagram each way.
fn talk(socket: &UdpSocket, server: &UdpSocket) -> SocketAddr {
    socket.send(b"question").unwrap();
    let (_, from) = server.recv_from(&mut [0; 16]).unwrap();
    server.send_to(b"answer", from).unwrap();
    socket.recv(&mut [0; 16]).unwrap();
    from
}

/// Opens everything, from `client` to `server`, whom the client knows by the addresses `to`.
fn open(client: &Namespace, server: &Namespace, to: [(IpAddr, u16); 2]) -> Traffic {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            ..limit
        },
    )
    .unwrap();
    let any = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let (listener, socket) = server.run(|| {
        let socket = UdpSocket::bind((any, PORT)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        (TcpListener::bind((any, PORT)).unwrap(), Arc::new(socket))
    });
    let mut traffic = Traffic {
        idle: Vec::new(),
        client_done: Vec::new(),
        server_done: Vec::new(),
        conversations: Vec::new(),
        pushed: Arc::default(),
    };
    for to in to.map(SocketAddr::from) {
        traffic.idle.extend(connect(client, &listener, to));
        for mut both in connect(client, &listener, to) {
            both.client.shutdown(Shutdown::Write).unwrap();
            ends(&mut both.server);
            traffic.client_done.push(both);
        }
        for mut both in connect(client, &listener, to) {
            both.server.shutdown(Shutdown::Write).unwrap();
            ends(&mut both.client);
            traffic.server_done.push(both);
        }
        for _ in 0..MANY {
            let own = client.run(|| {
                let any: IpAddr = match to {
                    SocketAddr::V4(_) => [0, 0, 0, 0].into(),
                    SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
                };
                let own = UdpSocket::bind((any, 0)).unwrap();
                own.set_read_timeout(Some(PATIENCE)).unwrap();
                own.connect(to).unwrap();
                own
            });
            talk(&own, &socket);
            let from = talk(&own, &socket);
            traffic.conversations.push((own, socket.clone(), from));
        }
        let mut pushing = connect(client, &listener, to);
        for Ends {
            mut client,
            mut server,
        } in pushing.drain(..2)
        {
            // Not faster than the machine's other tests can bear.
            thread::spawn(move || {
                while client.write_all(&[7; 4_096]).is_ok() {
                    thread::sleep(Duration::from_millis(1));
                }
            });
            let pushed = traffic.pushed.clone();
            thread::spawn(move || {
                let mut bytes = [0; 4_096];
                while let Ok(length @ 1..) = server.read(&mut bytes) {
                    pushed.fetch_add(length as u64, Ordering::Relaxed);
                }
            });
        }
    }
    traffic
}

/// Everything that is open goes on; who has been silent longest speaks first.
fn goes_on(traffic: &mut Traffic) {
    for Ends { client, server } in &mut traffic.idle {
        crosses(server, client);
        crosses(client, server);
    }
    for Ends { client, server } in &mut traffic.client_done {
        crosses(server, client);
    }
    for Ends { client, server } in &mut traffic.server_done {
        crosses(client, server);
    }
    for (own, server, from) in &traffic.conversations {
        server.send_to(b"news", *from).unwrap();
        own.recv(&mut [0; 16]).unwrap();
        own.send(b"thanks").unwrap();
        server.recv_from(&mut [0; 16]).unwrap();
    }
    let before = traffic.pushed.load(Ordering::Relaxed);
    let deadline = Instant::now() + PATIENCE;
    while traffic.pushed.load(Ordering::Relaxed) < before + 100_000 {
        assert!(Instant::now() < deadline, "a transfer stands still");
        thread::sleep(Duration::from_millis(10));
    }
}

/// Everything comes to its end.
fn end(traffic: Traffic) {
    for mut both in traffic.client_done {
        drop(both.server);
        ends(&mut both.client);
    }
    for mut both in traffic.server_done {
        drop(both.client);
        ends(&mut both.server);
    }
    for mut both in traffic.idle {
        drop(both.server);
        ends(&mut both.client);
    }
}

fn nft(router: &Namespace, rules: &str) {
    let output = router.command("nft").arg(rules).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn load(ctl: &Ctl<'_>, policy: &str) -> String {
    let file = ctl.policy(policy).unwrap();
    let file = file.to_str().unwrap();
    ctl.ok(&["load", "-i", INTERFACE, "-i", FAR_INTERFACE, "-f", file])
        .unwrap()
}

fn nothing_new_gets_in(client: &Namespace, to: (IpAddr, u16)) {
    let error = client
        .run(|| TcpStream::connect_timeout(&SocketAddr::from(to), SOON))
        .unwrap_err();
    assert!(
        matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
        "{error}"
    );
}

/// With more room, less, and the usual again, the flows stay, over and over.
fn sizes(ctl: &Ctl<'_>, policy: &str, traffic: &mut Traffic) {
    for size in ["state: {flows: 500000}", "state: {flows: 20000}", ""] {
        load(ctl, &policy.replace("rules:", &format!("{size}\nrules:")));
        goes_on(traffic);
    }
}

#[test]
#[ignore = "needs root"]
fn who_goes_out_by_a_router_that_masquerades_goes_on() {
    let net = Routed::new(1_500).unwrap();
    let rules = "table inet fwt { chain out { type nat hook postrouting priority 100; oifname wan0 \
                 masquerade; }; }";
    nft(net.router(), rules);
    // The side of the internet knows of no network behind the router.
    net.pair.inside.ip("route del default").unwrap();
    net.pair.inside.ip("-6 route del default").unwrap();
    let to = [(INSIDE_V4.into(), PORT), (INSIDE_V6.into(), PORT)];
    let mut traffic = open(&net.far, &net.pair.inside, to);
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, POLICY);
    nothing_new_gets_in(&net.far, to[0]);
    nothing_new_gets_in(&net.far, to[1]);
    goes_on(&mut traffic);
    sizes(&ctl, POLICY, &mut traffic);
    end(traffic);
}

#[test]
#[ignore = "needs root"]
fn who_comes_in_by_a_forwarded_port_goes_on() {
    let net = Routed::new(1_500).unwrap();
    let rules = format!(
        "table inet fwt {{ chain in {{ type nat hook prerouting priority -100; \
         meta l4proto {{ tcp, udp }} th dport 8080 dnat ip to {FAR_V4}:{PORT}; \
         meta l4proto {{ tcp, udp }} th dport 8080 dnat ip6 to [{FAR_V6}]:{PORT}; }}; }}"
    );
    nft(net.router(), &rules);
    let to = [(OUTSIDE_V4.into(), 8080), (OUTSIDE_V6.into(), 8080)];
    let mut traffic = open(&net.pair.inside, &net.far, to);
    let ctl = Ctl::new(net.router()).unwrap();
    load(&ctl, POLICY);
    nothing_new_gets_in(&net.pair.inside, to[0]);
    nothing_new_gets_in(&net.pair.inside, to[1]);
    goes_on(&mut traffic);
    sizes(&ctl, POLICY, &mut traffic);
    end(traffic);
}

/// Without connection tracking the table before is all that there is. (What a rule lets in anyway
/// has no flow, hence the datagrams of the one side are let in all the time.)
#[test]
#[ignore = "needs root"]
fn a_table_of_another_size_has_the_flows_of_the_one_before() {
    const ZONES: &str = "[{match: wan0, zone: wan}, {match: far0, zone: lan}]";
    let net = Routed::new(1_500).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    let policy = |protos: &str| {
        let rule = format!(
            "rules:\n  - {{name: lan, zone: lan, proto: {protos}, state: new, action: pass}}"
        );
        POLICY
            .replace("[{match: wan0}, {match: far0}]", ZONES)
            .replace("rules:", &rule)
    };
    load(&ctl, &policy("[tcp, udp]"));
    let to = [(INSIDE_V4.into(), PORT), (INSIDE_V6.into(), PORT)];
    let mut traffic = open(&net.far, &net.pair.inside, to);
    let closed = policy("udp");
    load(&ctl, &closed);
    nothing_new_gets_in(&net.far, to[0]);
    goes_on(&mut traffic);
    sizes(&ctl, &closed, &mut traffic);
    end(traffic);
}

/// Questions that are asked while the table's size changes: one whose flow is not looked for where it
/// was noted has no answer.
#[test]
#[ignore = "needs root"]
fn what_is_asked_while_the_size_changes_is_answered() {
    const CLIENTS: usize = 8;
    let net = Routed::new(1_500).unwrap();
    firewall_tests::talk::listen(&net.pair.inside, PORT).unwrap();
    let ctl = Ctl::new(net.router()).unwrap();
    let policy = POLICY
        .replace("{match: far0}", "{match: far0, zone: lan}")
        .replace("rules:", "rules:\n  - {name: lan, zone: lan, action: pass}");
    load(&ctl, &policy);
    let to = SocketAddr::from((INSIDE_V4, PORT));
    let ends = AtomicBool::new(false);
    let ask = || {
        let (mut asked, mut failed) = (0_u32, Vec::new());
        while !ends.load(Ordering::Relaxed) {
            let answer = UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
                socket.set_read_timeout(Some(PATIENCE))?;
                socket.send_to(b"question", to)?;
                socket.recv(&mut [0; 16])
            });
            asked += 1;
            failed.extend(answer.err());
            // Each has a flow that waits for 3 s.
            thread::sleep(Duration::from_millis(2));
        }
        (asked, failed)
    };
    let all = thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| scope.spawn(|| net.far.run(ask)))
            .collect();
        for size in ["state: {flows: 500000}", "state: {flows: 100000}", ""] {
            load(&ctl, &policy.replace("rules:", &format!("{size}\nrules:")));
        }
        ends.store(true, Ordering::Relaxed);
        clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .collect::<Vec<_>>()
    });
    let asked: u32 = all.iter().map(|(asked, _)| asked).sum();
    let failed: Vec<_> = all.iter().flat_map(|(_, failed)| failed).collect();
    assert!(asked > 100, "{asked}");
    assert!(failed.is_empty(), "{} of {asked}: {failed:?}", failed.len());
}
