//! What several of the types have: methods, and traits of the standard library.

/// The lines that an example of `$Type` begins with: of a stream, that and its peer.
macro_rules! setup {
    (TcpStream) => {
        "# let listener = wakesock::net::TcpListener::bind(\"127.0.0.1:0\")?;\n\
         # let mut stream = wakesock::net::TcpStream::connect(listener.local_addr()?)?;\n\
         # let (mut peer, _) = listener.accept()?;\n"
    };
    (UnixStream) => {
        "# let (mut stream, mut peer) = wakesock::net::unix::UnixStream::pair()?;\n"
    };
    (TcpListener) => {
        "# let listener = wakesock::net::TcpListener::bind(\"127.0.0.1:0\")?;\n"
    };
    (UnixListener) => {
        "# let path = std::env::temp_dir().join(format!(\"wakesock-doc-{}\", std::process::id()));\n\
         # let listener = wakesock::net::unix::UnixListener::bind(&path)?;\n\
         # std::fs::remove_file(&path)?;\n"
    };
}
pub(super) use setup;

/// The text of a page that ends with an example.
macro_rules! page {
    ($Type:ident, $text:literal, $example:literal) => {
        concat!(
            $text,
            "\n\n```\n",
            crate::net::methods::setup!($Type),
            $example,
            "\n# Ok::<(), std::io::Error>(())\n```"
        )
    };
}
pub(super) use page;

/// The methods that all types have. Their examples call one `$name`.
macro_rules! methods {
    ($Type:ident, $name:literal) => {
        impl $Type {
            /// Gives a handle by which other threads and signal handlers end this socket, and so all its clones. Doesn't block.
            ///
            #[doc = concat!("```\n", crate::net::methods::setup!($Type), "let handle = ", $name, ".handle();\nhandle.close();\n",
                "assert!(", $name, ".take_error().is_err()); // it is closed\n# Ok::<(), std::io::Error>(())\n```")]
            pub fn handle(&self) -> crate::socket::SocketHandle {
                self.shared.socket().handle()
            }

            /// Gives another owner of the same socket: what ends one of them ends all. Doesn't block.
            ///
            /// # Errors
            ///
            /// The system's, where the process has no descriptor left for it.
            ///
            #[doc = concat!("```\n", crate::net::methods::setup!($Type), "let clone = ", $name, ".try_clone()?;\n",
                $name, ".handle().close();\nassert!(clone.take_error().is_err()); // it is closed, too\n# Ok::<(), std::io::Error>(())\n```")]
            pub fn try_clone(&self) -> std::io::Result<$Type> {
                self.shared.try_clone().map($Type::of)
            }

            /// Takes the error that the system has kept for this socket: `SO_ERROR`, socket(7). Doesn't block.
            ///
            #[doc = concat!("```\n", crate::net::methods::setup!($Type), "assert!(", $name,
                ".take_error()?.is_none());\n# Ok::<(), std::io::Error>(())\n```")]
            pub fn take_error(&self) -> std::io::Result<Option<std::io::Error>> {
                self.shared.take_error()
            }

            /// Makes operations fail with `WouldBlock` instead of blocking, also those of clones. Those that are blocked already
            /// stay so.
            ///
            #[doc = concat!("```\n", crate::net::methods::setup!($Type), $name, ".set_nonblocking(true)?;\n# Ok::<(), std::io::Error>(())\n```")]
            pub fn set_nonblocking(&self, nonblocking: bool) -> std::io::Result<()> {
                self.shared.set_nonblocking(nonblocking)
            }

            pub(in crate::net) fn of(shared: crate::net::shared::Shared) -> $Type {
                $Type { shared }
            }
        }

        impl crate::socket::AsTcpSocket for $Type {
            /// For queues and wait events: they report it as they do a `TcpSocket`.
            fn as_tcp_socket(&self) -> &crate::socket::TcpSocket {
                self.shared.socket()
            }
        }

        /// A panic leaves nothing half done: limits are single numbers, and the system keeps the rest.
        impl std::panic::UnwindSafe for $Type {}
        impl std::panic::RefUnwindSafe for $Type {}
    };
}
pub(super) use methods;

/// Reading, writing and their limits, of both kinds of streams.
macro_rules! stream {
    ($Type:ident) => {
        impl $Type {
            #[doc = crate::net::methods::page!($Type,
                "Limits how long a read may block; `None` for ever. It holds for clones, too, from their next read on. When it is over, the read fails with `WouldBlock` on Unix, with `TimedOut` on Windows, as the standard library's does.\n\n# Errors\n\n`InvalidInput` for a limit of zero.",
                "use std::io::Read;\nuse std::time::Duration;\n\nstream.set_read_timeout(Some(Duration::from_millis(5)))?;\nlet error = stream.read(&mut [0; 64]).unwrap_err();\nassert!(matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut));")]
            pub fn set_read_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.shared.set_read_limit(timeout)
            }

            #[doc = crate::net::methods::page!($Type,
                "Limits how long a write may block; `None` for ever. A write that has sent something by then says how much.\n\n# Errors\n\n`InvalidInput` for a limit of zero.",
                "stream.set_write_timeout(Some(std::time::Duration::from_secs(5)))?;")]
            pub fn set_write_timeout(&self, timeout: Option<std::time::Duration>) -> std::io::Result<()> {
                self.shared.set_write_limit(timeout)
            }

            #[doc = crate::net::methods::page!($Type,
                "The limit of reads, as it was set: the system may know it rounded.",
                "assert_eq!(stream.read_timeout()?, None);")]
            pub fn read_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                self.shared.read_limit()
            }

            #[doc = crate::net::methods::page!($Type,
                "The limit of writes, as it was set: the system may know it rounded.",
                "assert_eq!(stream.write_timeout()?, None);")]
            pub fn write_timeout(&self) -> std::io::Result<Option<std::time::Duration>> {
                self.shared.write_limit()
            }

            #[doc = crate::net::methods::page!($Type,
                "Ends the stream in one direction or both: shutdown(2). It concerns the connection, so also those who have it by another descriptor. Doesn't block; what is blocked in that direction ends.",
                "use std::io::Read;\nuse std::net::Shutdown;\n\nstream.shutdown(Shutdown::Write)?;\nassert_eq!(peer.read(&mut [0; 64])?, 0);")]
            pub fn shutdown(&self, how: std::net::Shutdown) -> std::io::Result<()> {
                self.shared.shutdown(how)
            }
        }

        crate::net::methods::stream!(@traits $Type);
        crate::net::methods::stream!(@traits &$Type);
    };
    (@traits $($Stream:tt)+) => {
        /// Reads go straight into the caller's memory, and return as soon as something has come.
        ///
        /// Each blocks until then, or until the stream has ended, its limit is over, or something ends it: a handle, also a clone's,
        /// or the registry. What had come is then still there for the next one.
        impl std::io::Read for $($Stream)+ {
            fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
                self.shared.read(buf)
            }

            fn read_vectored(&mut self, slices: &mut [std::io::IoSliceMut<'_>]) -> std::io::Result<usize> {
                self.shared.read_vectored(slices)
            }
        }

        /// A write blocks until all is with the system, unless its limit, a failure, or what ends it, a handle or the registry, stops
        /// it: then it says how much is and, if that is nothing, why. Flushing does nothing.
        impl std::io::Write for $($Stream)+ {
            fn write(&mut self, data: &[u8]) -> std::io::Result<usize> {
                self.shared.write(data)
            }

            fn write_vectored(&mut self, slices: &[std::io::IoSlice<'_>]) -> std::io::Result<usize> {
                self.shared.write_vectored(slices)
            }

            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
    };
}
pub(super) use stream;

/// The clients of a listener.
macro_rules! incoming {
    ($Incoming:ident of $Listener:ident: $Stream:ident, $example:literal) => {
        #[doc = concat!("The clients of a [`", stringify!($Listener), "`].\n\n",
            "Unlike the standard library's, it ends: once the listener is closed or shut down, and after the error of an abort. After an error of the \
             system, for example that no descriptor is left, or of a deadline that has passed, the next step waits a little first (5 ms, \
             doubled each time, up to a second), so that a loop that ignores errors doesn't spin.\n\n", $example)]
        #[derive(Debug)]
        pub struct $Incoming<'a> {
            listener: &'a $Listener,
            clients: crate::socket::Incoming<'a>,
        }

        impl<'a> $Incoming<'a> {
            pub(in crate::net) fn new(listener: &'a $Listener) -> $Incoming<'a> {
                $Incoming {
                    listener,
                    clients: listener.shared.socket().incoming(),
                }
            }
        }

        impl Iterator for $Incoming<'_> {
            type Item = std::io::Result<$Stream>;

            fn next(&mut self) -> Option<std::io::Result<$Stream>> {
                let client = self.listener.shared.next_client(&mut self.clients)?;
                Some(client.map($Stream::of))
            }
        }

        impl std::iter::FusedIterator for $Incoming<'_> {}

        /// A panic leaves nothing half done: the next step tries again.
        impl std::panic::UnwindSafe for $Incoming<'_> {}
        impl std::panic::RefUnwindSafe for $Incoming<'_> {}
    };
}
pub(super) use incoming;
