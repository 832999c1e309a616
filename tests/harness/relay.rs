//! A bad cable: a host in the middle takes every frame from one interface and puts it out on the
//! other, after it has lost, doubled, reordered, delayed or damaged some of them. (Where the kernel
//! has `netem`, that does the same; here it has not.)
//!
//! What becomes of the n-th frame of a direction is a matter of the seed alone. Only IP is
//! disturbed: a cable that loses ARP shows nothing about state. Invariant: a [`Relay`] ends its
//! threads when it is dropped, and what it holds back then is lost.

use crate::netns::{Namespace, interface};
use crate::random::Random;
use anyhow::{Context, Result, bail};
use pnet_datalink::{Channel, Config, DataLinkReceiver, DataLinkSender};
use rustix::net::{AddressFamily, SocketType, sockopt};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io::ErrorKind;
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How often a thread looks for frames whose time has come, in milliseconds.
const TICK: Duration = Duration::from_millis(2);

/// Bytes that wait for a thread: a slow one loses nothing that it was not told to lose.
const QUEUE: usize = 32 << 20;

/// Longest frame in bytes: the cables carry what fits an MTU, so this shows one that does not.
const LONGEST: usize = 1 << 16;

/// How long a frame that others overtake is held back if no others come.
const OVERTAKEN: Duration = Duration::from_millis(20);

/// Of 1,000 frames, how many meet which fate. A frame can be doubled and damaged and late at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rates {
    /// Never arrive.
    pub lose: u64,
    /// Arrive twice.
    pub double: u64,
    /// Are overtaken by the next one to three frames.
    pub reorder: u64,
    /// Arrive up to 50 ms late.
    pub delay: u64,
    /// Arrive with one bit of the IP packet changed.
    pub corrupt: u64,
}

impl Rates {
    /// A cable that loses `lose` of 1,000 frames, and reorders and doubles some.
    #[must_use]
    pub const fn bad(lose: u64) -> Self {
        Self {
            lose,
            double: 20,
            reorder: 30,
            delay: 10,
            corrupt: 2,
        }
    }
}

/// What has become of the frames of one direction.
#[derive(Debug, Default)]
pub struct Counts {
    /// Frames that came in.
    pub taken: AtomicU64,
    /// Frames that went out, copies included.
    pub sent: AtomicU64,
    /// See [`Rates`].
    pub lost: AtomicU64,
    /// See [`Rates`].
    pub doubled: AtomicU64,
    /// See [`Rates`].
    pub reordered: AtomicU64,
    /// See [`Rates`].
    pub delayed: AtomicU64,
    /// See [`Rates`].
    pub corrupted: AtomicU64,
    /// Frames that the next interface did not take: longer than its MTU, or no room.
    pub refused: AtomicU64,
}

/// The relay at work.
#[derive(Debug)]
pub struct Relay {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    /// What has become of what each interface sent, in the order in which they were named.
    pub counts: [Arc<Counts>; 2],
}

impl Relay {
    /// Joins two interfaces of `host`. `rates[0]` is for what comes in on the first.
    ///
    /// # Errors
    /// What `ethtool` says, or no packet socket.
    pub fn start(
        host: &Namespace,
        interfaces: [&str; 2],
        rates: [Rates; 2],
        seed: u64,
    ) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = [Arc::new(Counts::default()), Arc::new(Counts::default())];
        let [a, b] = interfaces;
        let [(send_a, take_a), (send_b, take_b)] =
            host.run(|| -> Result<_> { Ok([socket(a)?, socket(b)?]) })?;
        let ends = [(take_a, send_b), (take_b, send_a)];
        let threads = ends.into_iter().enumerate().map(|(index, (take, send))| {
            let mut direction = Direction {
                send,
                rates: rates[index],
                random: Random::new(seed ^ (index as u64) << 63),
                counts: Arc::clone(&counts[index]),
                late: BinaryHeap::new(),
                overtaken: Vec::new(),
                number: 0,
            };
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || direction.run(take, &stop))
        });
        Ok(Self {
            threads: threads.collect(),
            stop,
            counts,
        })
    }

    /// All counters, in words.
    #[must_use]
    pub fn told(&self) -> String {
        let told = |counts: &Counts| {
            let of = |count: &AtomicU64| count.load(Ordering::Relaxed);
            format!(
                "{} taken, {} lost, {} doubled, {} overtaken, {} delayed, {} damaged, {} refused, \
                 {} sent",
                of(&counts.taken),
                of(&counts.lost),
                of(&counts.doubled),
                of(&counts.reordered),
                of(&counts.delayed),
                of(&counts.corrupted),
                of(&counts.refused),
                of(&counts.sent)
            )
        };
        format!("{}; back {}", told(&self.counts[0]), told(&self.counts[1]))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

type Ends = (Box<dyn DataLinkSender>, Box<dyn DataLinkReceiver>);

/// A packet socket with a long queue on an interface of this thread's namespace.
fn socket(name: &str) -> Result<Ends> {
    let socket = rustix::net::socket(AddressFamily::PACKET, SocketType::RAW, None)?;
    sockopt::set_socket_recv_buffer_size_force(&socket, QUEUE)?;
    let config = Config {
        read_buffer_size: LONGEST,
        read_timeout: Some(TICK),
        socket_fd: Some(socket.into_raw_fd()),
        ..Config::default()
    };
    match pnet_datalink::channel(&interface(name)?, config).context("a packet socket")? {
        Channel::Ethernet(sender, receiver) => Ok((sender, receiver)),
        _ => bail!("{name} is no Ethernet interface"),
    }
}

/// One direction.
struct Direction {
    send: Box<dyn DataLinkSender>,
    rates: Rates,
    random: Random,
    counts: Arc<Counts>,
    /// Delayed frames by the time at which they are due; the number keeps equal times in order.
    late: BinaryHeap<Reverse<(Instant, u64, Vec<u8>)>>,
    /// Frames with the number of frames that still overtake them, and until when they wait.
    overtaken: Vec<(u64, Instant, Vec<u8>)>,
    number: u64,
}

impl Direction {
    fn run(&mut self, mut take: Box<dyn DataLinkReceiver>, stop: &AtomicBool) {
        while !stop.load(Ordering::Relaxed) {
            match take.next() {
                Ok(frame) => {
                    let frame = frame.to_vec();
                    self.judge(frame);
                }
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::TimedOut | ErrorKind::Interrupted | ErrorKind::WouldBlock
                    ) => {}
                // The interface is down, or gone: nothing comes any more, or it comes up again.
                Err(_) => std::thread::sleep(TICK),
            }
            self.due();
        }
    }

    fn happens(&mut self, rate: u64) -> bool {
        self.random.below(1_000) < rate
    }

    /// What becomes of a frame. All dice are thrown for each, so that one rate does not move what
    /// another one picks.
    fn judge(&mut self, mut frame: Vec<u8>) {
        count(&self.counts.taken);
        let Rates {
            lose,
            double,
            reorder,
            delay,
            corrupt,
        } = self.rates;
        let [lost, doubled, reordered, delayed, corrupted] =
            [lose, double, reorder, delay, corrupt].map(|rate| self.happens(rate));
        let (how_far, how_late, where_to) = (
            1 + self.random.below(3),
            Duration::from_millis(1 + self.random.below(50)),
            self.random.bits(),
        );
        let is_ip = frame.len() > 34 && matches!(&frame[12..14], [8, 0] | [0x86, 0xdd]);
        if !is_ip {
            self.put(&frame);
            return;
        }
        if lost {
            count(&self.counts.lost);
            return;
        }
        if corrupted {
            count(&self.counts.corrupted);
            let bit = where_to % ((frame.len() as u64 - 14) * 8);
            frame[14 + (bit / 8) as usize] ^= 1 << (bit % 8);
        }
        if doubled {
            count(&self.counts.doubled);
            self.put(&frame);
        }
        let now = Instant::now();
        if delayed {
            count(&self.counts.delayed);
            self.number += 1;
            self.late
                .push(Reverse((now + how_late, self.number, frame)));
        } else if reordered {
            count(&self.counts.reordered);
            self.overtaken.push((how_far, now + OVERTAKEN, frame));
        } else {
            self.put(&frame);
            self.pass_by();
        }
    }

    /// One frame has overtaken those that are held back.
    fn pass_by(&mut self) {
        for (left, ..) in &mut self.overtaken {
            *left -= 1;
        }
        self.release(|&(left, ..)| left == 0);
    }

    fn release(&mut self, is_due: impl Fn(&(u64, Instant, Vec<u8>)) -> bool) {
        let (due, kept) = std::mem::take(&mut self.overtaken)
            .into_iter()
            .partition::<Vec<_>, _>(is_due);
        self.overtaken = kept;
        for (.., frame) in due {
            self.put(&frame);
        }
    }

    fn due(&mut self) {
        if self.late.is_empty() && self.overtaken.is_empty() {
            return;
        }
        let now = Instant::now();
        while self.late.peek().is_some_and(|Reverse(it)| it.0 <= now) {
            if let Some(Reverse((.., frame))) = self.late.pop() {
                self.put(&frame);
            }
        }
        self.release(|&(_, until, _)| until <= now);
    }

    fn put(&mut self, frame: &[u8]) {
        match self.send.send_to(frame, None) {
            Some(Ok(())) => count(&self.counts.sent),
            _ => count(&self.counts.refused),
        }
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}
