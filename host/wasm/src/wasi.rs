//! WASI 0.2, closed: no files, no sockets, no environment, no input. Output becomes log lines.

use std::sync::Arc;

use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::host::{Host, LogSink, Pipe};

/// Random bytes in one call.
const RANDOM_BYTES_MAX: u64 = 64 << 10;
/// Bytes that a stream takes in one write.
const WRITE_BYTES_MAX: usize = 64 << 10;

impl WasiView for Host {
    /// Asked for once in each call of WASI, which is what makes them countable.
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.count_host_call();
        let log = &self.log;
        WasiCtxView {
            ctx: self.wasi.get_or_insert_with(|| closed(log)),
            table: &mut self.table,
        }
    }
}

fn closed(log: &Arc<LogSink>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(LogPipe {
            log: Arc::clone(log),
            pipe: Pipe::Stdout,
        })
        .stderr(LogPipe {
            log: Arc::clone(log),
            pipe: Pipe::Stderr,
        })
        .allow_tcp(false)
        .allow_udp(false)
        .allow_ip_name_lookup(false)
        .max_random_size(RANDOM_BYTES_MAX)
        .build()
}

/// A standard stream of an instance.
#[derive(Clone)]
struct LogPipe {
    log: Arc<LogSink>,
    pipe: Pipe,
}

impl IsTerminal for LogPipe {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for LogPipe {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by WASI 0.3 only, which is not linked.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for LogPipe {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.log.push(self.pipe, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

#[async_trait]
impl Pollable for LogPipe {
    async fn ready(&mut self) {}
}
