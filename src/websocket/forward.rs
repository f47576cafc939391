//! The methods that a WebSocket and its halves have as their socket has them.

/// The methods of `$Type` that call the socket's method of the same name, by its functions `tcp` and `tcp_mut`. `$setup` begins
/// their examples: it makes `socket`, of that type, and `peer`.
macro_rules! forward_to_socket {
    ($Type:ident, $setup:expr) => {
        forward_to_socket! { each $Type, $setup;
            set timeout(limit: impl Into<Option<Duration>>),
                "socket.timeout(std::time::Duration::from_secs(5));";
            get get_timeout() -> Option<Duration>,
                "assert_eq!(socket.get_timeout(), None);";
            get current_timeout() -> Option<Duration>,
                "assert_eq!(socket.current_timeout(), None);";
            set blocking(),
                "socket.blocking();";
            get is_blocking() -> bool,
                "assert!(socket.is_blocking());";
            set global_timeout(limit: impl Into<Option<Duration>>),
                "socket.global_timeout(std::time::Duration::from_secs(60));";
            set no_global_timeout(),
                "socket.no_global_timeout();";
            set when_wait(callback: impl Fn(&Waiting<'_>) + Send + Sync + 'static),
                "socket.when_wait(|waiting| eprintln!(\"{:?}\", waiting.elapsed()));";
            set clear_when_wait(),
                "socket.clear_when_wait();";
            set wait_step(step: Duration),
                "socket.wait_step(std::time::Duration::from_millis(20));";
            get get_wait_step() -> Duration,
                "assert_eq!(socket.get_wait_step(), std::time::Duration::from_millis(10));";
            get current_wait_step() -> Duration,
                "assert_eq!(socket.current_wait_step(), std::time::Duration::from_millis(10));";
            get abort() -> (),
                "socket.abort();\nassert!(socket.is_abort());";
            get is_abort() -> bool,
                "assert!(!socket.is_abort());";
            get is_aborted() -> bool,
                "assert!(!socket.is_aborted());";
            get clear_abort() -> (),
                "socket.abort();\nsocket.clear_abort();\nassert!(!socket.is_abort());";
            get id() -> SocketId,
                "assert_eq!(socket.id(), socket.handle().id());";
            get is_open() -> bool,
                "assert!(socket.is_open());";
            get is_timeout() -> bool,
                "assert!(!socket.is_timeout());";
            get timed_out() -> bool,
                "assert!(!socket.timed_out());";
            get is_error() -> bool,
                "assert!(!socket.is_error());";
            get error() -> Option<&Error>,
                "assert!(socket.error().is_none());";
            get error_desc() -> String,
                "assert_eq!(socket.error_desc(), \"\");";
            change clear_error() -> (),
                "socket.clear_error();";
            get local_addr() -> Result<SocketAddr>,
                "assert_eq!(socket.local_addr()?, peer.peer_addr()?);";
            get peer_addr() -> Result<SocketAddr>,
                "assert_eq!(socket.peer_addr()?, peer.local_addr()?);";
            get no_delay() -> Result<()>,
                "socket.no_delay()?;";
            get set_nodelay(nodelay: bool) -> Result<()>,
                "socket.set_nodelay(true)?;";
            get nodelay() -> Result<bool>,
                "assert!(!socket.nodelay()?);";
        }
    };
    (each $Type:ident, $setup:expr; $($how:ident $name:ident($($arg:ident: $Arg:ty),*) $(-> $Return:ty)?, $example:literal;)*) => {
        impl $Type {
            $(forward_to_socket! { one $setup; $how $name($($arg: $Arg),*) $(-> $Return)?, $example })*

            /// Gives a handle by which other threads and signal handlers end the connection: as
            /// [`TcpSocket::handle`](crate::TcpSocket::handle).
            ///
            #[doc = concat!($setup, "let handle = socket.handle();\nhandle.close();\nassert!(!socket.is_open());\n# Ok::<(), wakesock::Error>(())\n```")]
            pub fn handle(&self) -> SocketHandle {
                self.tcp().handle()
            }
        }
    };
    (one $setup:expr; change $name:ident() -> $Return:ty, $example:literal) => {
        #[doc = concat!("As [`TcpSocket::", stringify!($name), "`](crate::TcpSocket::", stringify!($name), ").\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&mut self) -> $Return {
            self.tcp_mut().$name()
        }
    };
    (one $setup:expr; get $name:ident($($arg:ident: $Arg:ty),*) -> $Return:ty, $example:literal) => {
        #[doc = concat!("As [`TcpSocket::", stringify!($name), "`](crate::TcpSocket::", stringify!($name), ").\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&self, $($arg: $Arg),*) -> $Return {
            self.tcp().$name($($arg),*)
        }
    };
    (one $setup:expr; set $name:ident($($arg:ident: $Arg:ty),*), $example:literal) => {
        #[doc = concat!("As [`TcpSocket::", stringify!($name), "`](crate::TcpSocket::", stringify!($name), ").\n\n", $setup, $example, "\n# Ok::<(), wakesock::Error>(())\n```")]
        pub fn $name(&mut self, $($arg: $Arg),*) -> &mut Self {
            self.tcp_mut().$name($($arg),*);
            self
        }
    };
}

/// Begins an example: `peer`, a client, and `$socket`, a server's end, for two that are connected.
macro_rules! two_ends {
    ($socket:literal) => {
        concat!(
            "```\n# use wakesock::{Role, WebSocket};\n",
            "# let listener = std::net::TcpListener::bind(\"127.0.0.1:0\").unwrap();\n",
            "# let peer = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();\n",
            "# let mut peer = WebSocket::from_upgraded(peer.into(), Role::Client);\n",
            "# let accepted = listener.accept().unwrap().0;\n",
            "# let mut socket = WebSocket::from_upgraded(accepted.into(), Role::Server);\n",
            "# ",
            $socket,
            "\n"
        )
    };
}

pub(super) use {forward_to_socket, two_ends};
