//! One runtime for every connection that the tests themselves hold.

use std::sync::{OnceLock, mpsc};

use tokio::runtime::Runtime;

/// The runtime on which the tests' own connections live. It has its own thread, so the blocking
/// helpers may be called from plain tests and from `#[tokio::test]`s alike.
pub fn shared() -> &'static Runtime {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("test-connections")
            .enable_all()
            .build()
            .unwrap()
    })
}

/// Runs `work` on the shared runtime and blocks the calling thread until it is done.
pub fn block_on<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    let (sender, receiver) = mpsc::sync_channel(1);
    shared().spawn(async move {
        let _ = sender.send(work.await);
    });
    receiver
        .recv()
        .expect("the test support's own task panicked; see above")
}
