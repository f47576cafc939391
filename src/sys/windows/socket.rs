//! Calls on one socket.

use std::io::{self, IoSlice, IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::windows::io::{AsRawSocket, AsSocket};

use socket2::{SockRef, Socket};
use windows_sys::Win32::Networking::WinSock;

use super::super::Accepted;
use super::{BorrowedSocket, OwnedSocket};

/// The most that `SOMAXCONN_HINT` takes.
pub(crate) const MOST_BACKLOG: u32 = 65_535;

/// `LINGER` counts the seconds in this many bits.
pub(crate) const MOST_LINGER: u64 = u16::MAX as u64;

/// Makes a stream socket. socket2 makes all sockets so that child processes don't inherit them.
pub(crate) fn socket(domain: socket2::Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, socket2::Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Sets whether `socket` may be bound where old connections still linger: on Windows it may, unless it asks for
/// `SO_EXCLUSIVEADDRUSE`.
///
/// Never `SO_REUSEADDR`, by which a process takes over a port that another listens on.
pub(crate) fn set_reuse_address(socket: &Socket, reuse: bool) -> io::Result<()> {
    if reuse {
        return Ok(());
    }
    let exclusive = 1_i32;
    // SAFETY: the option is a `BOOL`, and the pointer and the size are of one.
    let result = unsafe {
        WinSock::setsockopt(
            socket.as_socket().as_raw_socket() as WinSock::SOCKET,
            WinSock::SOL_SOCKET,
            WinSock::SO_EXCLUSIVEADDRUSE,
            (&raw const exclusive).cast(),
            size_of_val(&exclusive) as i32,
        )
    };
    if result != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Makes `socket` a listener. `backlog` clients may wait to be accepted; further ones are refused.
pub(crate) fn listen(socket: &Socket, backlog: u32) -> io::Result<()> {
    let backlog = backlog.min(MOST_BACKLOG) as i32;
    // The `listen` of Windows Sockets: more than 200 has to be given negated, `SOMAXCONN_HINT`, or is cut down to 200.
    socket.listen(if backlog > 200 { -backlog } else { backlog })
}

/// Takes a connection off the listener's queue.
pub(crate) fn accept(listener: BorrowedSocket<'_>) -> io::Result<Accepted> {
    let (socket, addr) = SockRef::from(&listener).accept()?;
    adopt(&socket)?;
    Ok(Accepted {
        socket: socket.into(),
        peer: addr.as_socket(),
    })
}

/// Sends what fits. There is no SIGPIPE.
///
/// Sends no more than a piece of long data. While there is any room in its buffer, the system takes all that a
/// non-blocking `send` is given, however much that is, into the kernel's memory. So a peer that doesn't read would
/// never make a sender wait.
pub(crate) fn send(socket: BorrowedSocket<'_>, data: &[u8]) -> io::Result<usize> {
    SockRef::from(&socket).send(&data[..data.len().min(PIECE)])
}

const PIECE: usize = 64 << 10;

/// Sends what fits of `slices`, one behind the other, and no more than a piece, as [`send`].
pub(crate) fn send_vectored(socket: BorrowedSocket<'_>, slices: &[IoSlice<'_>]) -> io::Result<usize> {
    let mut left = PIECE;
    let piece: Vec<_> = slices
        .iter()
        .map(|slice| {
            let len = slice.len().min(left);
            left -= len;
            IoSlice::new(&slice[..len])
        })
        .collect();
    SockRef::from(&socket).send_vectored(&piece)
}

/// How many slices are given to one call.
pub(crate) const MOST_SLICES: usize = 1024;

/// Takes what there is, as much as `buf` has room for. Zero means the end of the stream, if there is room.
pub(crate) fn receive(socket: BorrowedSocket<'_>, buf: &mut [u8]) -> io::Result<usize> {
    (&*SockRef::from(&socket)).read(buf)
}

/// Copies what there is, as much as `buf` has room for, and leaves it there.
pub(crate) fn peek(socket: BorrowedSocket<'_>, buf: &mut [u8]) -> io::Result<usize> {
    let room = buf.as_mut_ptr().cast::<MaybeUninit<u8>>();
    // SAFETY: it is memory for so many bytes, and `peek` writes nothing but bytes into it.
    let room = unsafe { std::slice::from_raw_parts_mut(room, buf.len()) };
    SockRef::from(&socket).peek(room)
}

/// Takes what there is into `slices`, one after the other. Zero means the end of the stream, if there is room.
pub(crate) fn receive_vectored(socket: BorrowedSocket<'_>, slices: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
    (&*SockRef::from(&socket)).read_vectored(slices)
}

/// Takes what there is, as much as `room` is for. Nothing means the end of the stream, if there is room.
pub(crate) fn receive_into_room<'a>(
    socket: BorrowedSocket<'_>,
    room: &'a mut [MaybeUninit<u8>],
) -> io::Result<&'a [u8]> {
    let count = SockRef::from(&socket).recv(room)?;
    // SAFETY: `recv` has written so many bytes.
    Ok(unsafe { room[..count].assume_init_ref() })
}

/// Readies a socket that was made elsewhere, or accepted.
pub(crate) fn adopt(socket: &Socket) -> io::Result<()> {
    socket.set_nonblocking(true)
}

/// Whether calls on `socket` may block: others that have it, too, may have changed that, and there is no way to ask.
pub(crate) fn may_block(_socket: BorrowedSocket<'_>) -> bool {
    true
}

/// Whether `socket` listens: `SO_ACCEPTCONN`.
pub(crate) fn is_listener(socket: BorrowedSocket<'_>) -> bool {
    let mut listens = 0_i32;
    let mut size = size_of_val(&listens) as i32;
    // SAFETY: the option is a `BOOL`, and the pointers are to one and to its size.
    let result = unsafe {
        WinSock::getsockopt(
            socket.as_raw_socket() as WinSock::SOCKET,
            WinSock::SOL_SOCKET,
            WinSock::SO_ACCEPTCONN,
            (&raw mut listens).cast(),
            &mut size,
        )
    };
    result == 0 && listens != 0
}

/// Whether what ends a socket may be a signal handler: there are none.
pub(crate) const HANDLERS_INTERRUPT: bool = false;

/// There is nothing to prepare for [`replace`].
pub(crate) fn prepare_replacing() {}

/// Lets go of the connection behind `socket`, while its number stays taken: unless others may have it, too.
///
/// A listener can't be let go of, since nothing takes its handle's place: clients still get into its queue.
pub(crate) fn replace(socket: BorrowedSocket<'_>, made_elsewhere: bool) {
    if !made_elsewhere {
        // It fails on a socket that is not connected, where there is nothing to let go of.
        let _ = SockRef::from(&socket).shutdown(Shutdown::Both);
    }
}

/// A socket that is not connected, so every call refuses it.
pub(crate) fn dead() -> io::Result<OwnedSocket> {
    socket(socket2::Domain::IPV4).map(Into::into)
}

/// Makes `dead` a duplicate of `socket`. Without memory for one it stays as it is.
pub(crate) fn duplicate_into(socket: BorrowedSocket<'_>, dead: &mut OwnedSocket) {
    if let Ok(duplicate) = socket.try_clone_to_owned() {
        *dead = duplicate;
    }
}

/// How many sockets this process may have, as far as the system says.
pub(crate) fn most_descriptors() -> usize {
    usize::MAX
}

/// Whether closing waits for `SO_LINGER` only if the socket is a blocking one. Else `closesocket` fails where it would have
/// to wait, and the socket stays open.
pub(crate) const LINGERS_IF_BLOCKING: bool = true;
