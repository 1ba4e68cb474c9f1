//! Waiting for the cluster, by a thread that is there for it.

use std::sync::Arc;
use std::time::Duration;

/// For an answer of a broker, but at the start of the host.
pub(super) const ANSWER: Duration = Duration::from_secs(10);

/// Waits for what librdkafka's own threads complete; needs no runtime.
pub(super) fn block_on<T>(future: impl Future<Output = T> + Unpin) -> T {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut context = std::task::Context::from_waker(&waker);
    let mut future = future;
    loop {
        match std::pin::Pin::new(&mut future).poll(&mut context) {
            std::task::Poll::Ready(output) => return output,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "who calls this has a thread and nothing else to do while the cluster does not answer"
)]
pub(super) fn pause(time: Duration) {
    std::thread::sleep(time);
}
