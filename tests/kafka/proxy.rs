//! A proxy before a broker that loses what a test wants lost, requests on their way or answers on their way back, and
//! has the broker say what it would not.

use std::collections::HashSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context as _;

/// Kafka's number of the request that ends a transaction.
pub const END_TXN: i16 = 26;
/// Of the one by which brokers write the end of a transaction into the partitions that it touched.
pub const WRITE_TXN_MARKERS: i16 = 27;
/// A request or an answer is no larger than what a test publishes.
const FRAME_BYTES_MAX: usize = 64 << 20;

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
    loss: Mutex<(i16, Loss)>,
    /// What answers say, and what clients read in its place: as long.
    words: Mutex<Option<(&'static str, &'static str)>>,
    lost: AtomicUsize,
    stopped: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
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
        *self
            .shared
            .loss
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = (kind, loss);
    }

    /// Ends all connections: who waits for an answer that was lost asks again on a new one.
    pub fn cut(&self) {
        let connections = self.shared.connections.lock();
        let mut connections = connections.unwrap_or_else(PoisonError::into_inner);
        for connection in connections.drain(..) {
            drop(connection.shutdown(Shutdown::Both));
        }
    }

    /// From here on answers say the one where the broker says the other; both are as long.
    pub fn replace(&self, said: &'static str, read: &'static str) {
        assert_eq!(said.len(), read.len(), "a frame keeps its size");
        let words = self.shared.words.lock();
        *words.unwrap_or_else(PoisonError::into_inner) = Some((said, read));
    }

    /// How many were lost.
    #[must_use]
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::Acquire)
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
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.extend(client.try_clone());
        connections.extend(broker.try_clone());
        drop(connections);
        // Answers come by the number that the client gave its request.
        let unheard = Arc::<Mutex<HashSet<i32>>>::default();
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let asked = Arc::clone(&unheard);
        std::thread::spawn(move || {
            pass(client, broker, |frame| {
                let (Some(kind), Some(number)) = (i16_at(frame, 0), i32_at(frame, 4)) else {
                    return true;
                };
                match *there.loss.lock().unwrap_or_else(PoisonError::into_inner) {
                    (lost, Loss::Requests) if lost == kind => {
                        there.lost.fetch_add(1, Ordering::AcqRel);
                        false
                    }
                    (lost, Loss::Answers) if lost == kind => {
                        asked
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .insert(number);
                        true
                    }
                    _ => true,
                }
            });
        });
        std::thread::spawn(move || {
            pass(broker_too, client_too, |frame| {
                let number = i32_at(frame, 0).unwrap_or_default();
                let unheard = unheard
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .remove(&number);
                back.rephrase(frame);
                if unheard {
                    back.lost.fetch_add(1, Ordering::AcqRel);
                }
                !unheard
            });
        });
    }
}

impl Shared {
    fn rephrase(&self, frame: &mut [u8]) {
        let words = *self.words.lock().unwrap_or_else(PoisonError::into_inner);
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

/// Hands on frame by frame what `passes` lets pass, until one side is gone.
fn pass(mut from: TcpStream, mut to: TcpStream, mut passes: impl FnMut(&mut [u8]) -> bool) {
    let mut frame = Vec::new();
    loop {
        let mut size = [0; 4];
        if from.read_exact(&mut size).is_err() {
            break;
        }
        let bytes = usize::try_from(u32::from_be_bytes(size)).unwrap_or(usize::MAX);
        if bytes > FRAME_BYTES_MAX {
            break;
        }
        // Written at once: in two parts the second waits for an answer to the first.
        frame.clear();
        frame.extend_from_slice(&size);
        frame.resize(size.len() + bytes, 0);
        let (_, rest) = frame.split_at_mut(size.len());
        if from.read_exact(rest).is_err() || (passes(rest) && to.write_all(&frame).is_err()) {
            break;
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn i16_at(frame: &[u8], at: usize) -> Option<i16> {
    let bytes = frame.get(at..at + 2)?;
    Some(i16::from_be_bytes(bytes.try_into().ok()?))
}

fn i32_at(frame: &[u8], at: usize) -> Option<i32> {
    let bytes = frame.get(at..at + 4)?;
    Some(i32::from_be_bytes(bytes.try_into().ok()?))
}
