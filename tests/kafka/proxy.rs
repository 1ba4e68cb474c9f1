//! A proxy before a broker that loses what a test wants lost, requests on their way or answers on their way back, has
//! requests come late, and has the broker say what it would not.

use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

use crate::wait;

/// Kafka's number of the request that commits the positions of a group, outside of a transaction.
pub const OFFSET_COMMIT: i16 = 8;
/// Of the one by which a member tells its group that it lives, and hears whether it still is one.
pub const HEARTBEAT: i16 = 12;
/// Of the one by which a producer takes its name, and fences whoever had it.
pub const INIT_PRODUCER_ID: i16 = 22;
/// Of the one that ends a transaction.
pub const END_TXN: i16 = 26;
/// Of the one by which brokers write the end of a transaction into the partitions that it touched.
pub const WRITE_TXN_MARKERS: i16 = 27;
/// The request that adds positions to a transaction.
pub const TXN_OFFSET_COMMIT: i16 = 28;
/// A request or an answer is no larger than what a test publishes.
const FRAME_BYTES_MAX: usize = 64 << 20;
/// Of the number that a frame begins with.
const FRAME_SIZE: usize = 4;
/// A broker answers at once what comes late.
const ANSWER: Duration = Duration::from_secs(10);

/// What becomes of requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loss {
    /// All pass.
    #[default]
    Nothing,
    /// They never reach the broker.
    Requests,
    /// The broker does what they ask, and nobody hears of it.
    Answers,
    /// They reach the broker by [`Proxy::deliver`], on the connection on which they came, whether or not who sent them is
    /// still there.
    Late,
}

/// Passes all on but what is to be lost. Dropped, it cuts all off and gives its port back.
#[derive(Debug)]
pub struct Proxy {
    port: u16,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    /// By kind of request.
    losses: Mutex<HashMap<i16, Loss>>,
    /// What answers say, and what clients read in its place: as long.
    words: Mutex<Option<(&'static str, &'static str)>>,
    lost: AtomicUsize,
    /// Requests on their way, each with the connection to the broker on which it goes on.
    late: Mutex<Vec<(TcpStream, Vec<u8>)>>,
    /// How many of those that came late the broker has answered.
    answered: AtomicUsize,
    stopped: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// What both ways of a connection know of it.
#[derive(Debug, Default)]
struct Connection {
    /// Requests whose answers are to be lost, by the number that the client gave them.
    unheard: Mutex<HashSet<i32>>,
    /// Those that come late.
    late: Mutex<HashSet<i32>>,
    /// Nobody waits for answers any more.
    is_left: AtomicBool,
}

impl Proxy {
    pub(super) fn start(port: u16, behind: u16) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", port)).context("listen as a proxy")?;
        let shared = Arc::<Shared>::default();
        let proxy = Arc::clone(&shared);
        let thread = std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if proxy.stopped.load(Ordering::Acquire) {
                    return;
                }
                if let Ok(broker) = TcpStream::connect(("127.0.0.1", behind)) {
                    proxy.connect(client, broker);
                }
            }
        });
        Ok(Self {
            port,
            shared,
            thread: Some(thread),
        })
    }

    /// Where clients find it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// From here on requests of this kind (Kafka's `api_key`) are treated so.
    pub fn lose(&self, kind: i16, loss: Loss) {
        lock(&self.shared.losses).insert(kind, loss);
    }

    /// Ends all connections: who waits for an answer that was lost asks again on a new one.
    pub fn cut(&self) {
        for connection in lock(&self.shared.connections).drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// From here on answers say the one where the broker says the other; both are as long.
    pub fn replace(&self, said: &'static str, read: &'static str) {
        assert_eq!(said.len(), read.len(), "a frame keeps its size");
        *lock(&self.shared.words) = Some((said, read));
    }

    /// How many were lost, or are late.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Acquire)
    }

    /// Has all that is late reach the broker, one after the other in the order in which they came, each when the one before
    /// it was answered.
    ///
    /// # Errors
    /// The broker did not answer.
    pub fn deliver(&self) -> anyhow::Result<()> {
        let late = std::mem::take(&mut *lock(&self.shared.late));
        for (mut broker, frame) in late {
            let before = self.shared.answered.load(Ordering::Acquire);
            broker.write_all(&frame).context("deliver what is late")?;
            wait::until("the answer to what came late", ANSWER, || {
                let answered = self.shared.answered.load(Ordering::Acquire);
                Ok((answered > before).then_some(()))
            })?;
        }
        Ok(())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Release);
        self.cut();
        // Wakes the thread that listens, so that it gives the port back.
        drop(TcpStream::connect_timeout(
            &([127, 0, 0, 1], self.port).into(),
            Duration::from_secs(1),
        ));
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

impl Shared {
    fn connect(self: &Arc<Self>, client: TcpStream, broker: TcpStream) {
        let (Ok(client_too), Ok(broker_too)) = (client.try_clone(), broker.try_clone()) else {
            return;
        };
        let mut connections = lock(&self.connections);
        connections.extend(client.try_clone());
        connections.extend(broker.try_clone());
        drop(connections);
        let connection = Arc::<Connection>::default();
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let asked = Arc::clone(&connection);
        std::thread::spawn(move || {
            pass(&client, &broker, |frame| {
                there.is_to_pass(&asked, frame, &broker)
            });
            asked.is_left.store(true, Ordering::Release);
            drop(client.shutdown(Shutdown::Both));
            if lock(&asked.late).is_empty() {
                drop(broker.shutdown(Shutdown::Both));
            }
        });
        std::thread::spawn(move || {
            pass(&broker_too, &client_too, |frame| {
                back.rephrase(frame);
                back.is_to_be_heard(&connection, frame)
            });
            for side in [broker_too, client_too] {
                drop(side.shutdown(Shutdown::Both));
            }
        });
    }

    /// Whether a request goes on at once.
    fn is_to_pass(&self, connection: &Connection, frame: &[u8], broker: &TcpStream) -> bool {
        let request = &frame[FRAME_SIZE..];
        let (Some(kind), Some(number)) = (i16_at(request, 0), i32_at(request, 4)) else {
            return true;
        };
        let loss = lock(&self.losses).get(&kind).copied();
        match loss.unwrap_or_default() {
            Loss::Nothing => return true,
            Loss::Answers => {
                lock(&connection.unheard).insert(number);
                return true;
            }
            Loss::Requests => {}
            Loss::Late => {
                lock(&connection.late).insert(number);
                let broker = broker.try_clone().map(|broker| (broker, frame.to_vec()));
                lock(&self.late).extend(broker);
            }
        }
        self.lost.fetch_add(1, Ordering::AcqRel);
        false
    }

    /// Whether an answer goes on.
    fn is_to_be_heard(&self, connection: &Connection, frame: &[u8]) -> bool {
        let number = i32_at(frame, FRAME_SIZE).unwrap_or_default();
        if lock(&connection.late).contains(&number) {
            self.answered.fetch_add(1, Ordering::AcqRel);
        }
        let unheard = lock(&connection.unheard).remove(&number);
        if unheard {
            self.lost.fetch_add(1, Ordering::AcqRel);
        }
        !unheard && !connection.is_left.load(Ordering::Acquire)
    }

    fn rephrase(&self, frame: &mut [u8]) {
        let words = *lock(&self.words);
        let Some((said, read)) = words else {
            return;
        };
        let mut at = 0;
        while let Some(window) = frame.get_mut(at..at + said.len()) {
            if window == said.as_bytes() {
                window.copy_from_slice(read.as_bytes());
            }
            at += 1;
        }
    }
}

/// Hands on frame by frame what `passes` lets pass, until one side is gone. A frame begins with its size.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut passes: impl FnMut(&mut [u8]) -> bool) {
    let mut frame = Vec::new();
    loop {
        let mut size = [0; FRAME_SIZE];
        if from.read_exact(&mut size).is_err() {
            return;
        }
        let bytes = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            return;
        }
        // Written at once: in two parts the second waits for an answer to the first.
        frame.clear();
        frame.extend_from_slice(&size);
        frame.resize(FRAME_SIZE + bytes, 0);
        if from.read_exact(&mut frame[FRAME_SIZE..]).is_err()
            || (passes(&mut frame) && to.write_all(&frame).is_err())
        {
            return;
        }
    }
}

fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

fn i16_at(frame: &[u8], at: usize) -> Option<i16> {
    let bytes = frame.get(at..at + 2)?;
    Some(i16::from_be_bytes(bytes.try_into().ok()?))
}

fn i32_at(frame: &[u8], at: usize) -> Option<i32> {
    let bytes = frame.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}
