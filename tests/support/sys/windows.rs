//! What a test can see and do on Windows.
//!
//! Threads can be told neither by their names nor by whether they sleep, so that none is counted.

use std::ffi::c_void;
use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::windows::io::AsRawSocket;
use std::ptr;
use std::thread;
use std::time::Duration;

use socket2::SockRef;
use wakesock::{TcpSocket, WaitEvents};
use windows_sys::Wdk::Foundation::{NtQueryObject, ObjectTypeInformation};
use windows_sys::Win32::Foundation::{CloseHandle, FILETIME, HANDLE, UNICODE_STRING};
use windows_sys::Win32::Networking::WinSock::{
    POLLERR, POLLHUP, POLLRDNORM, POLLWRNORM, SO_TYPE, SOCKET, SOL_SOCKET, WSAPOLLFD, WSAPoll, getsockopt,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentThreadId, GetThreadTimes, OpenThread, THREAD_QUERY_LIMITED_INFORMATION,
};

use crate::support::queues::{EXCEPTION, NOTHING, READ, WRITE};

/// The standard library's socket, here with a port.
pub type Stream = TcpStream;

/// Two that are connected, whose buffers hold little, as those of Unix-domain sockets do.
pub fn stream_pair() -> io::Result<(Stream, Stream)> {
    const BUFFER: usize = 64 << 10;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let one = TcpStream::connect(listener.local_addr()?)?;
    let (other, _) = listener.accept()?;
    for end in [&one, &other] {
        end.set_nodelay(true)?;
        // That of the end which receives only grows while it reads.
        SockRef::from(end).set_send_buffer_size(BUFFER)?;
    }
    Ok((one, other))
}

/// Of a poll, no handle is counted.
pub const PARKER: usize = 0;
pub const QUEUE: usize = 0;

/// How many sockets this process has open. Of the other handles, the system's libraries make some when they like.
pub fn descriptors() -> usize {
    handles().filter(|number| is_socket(*number)).count()
}

fn is_socket(number: usize) -> bool {
    let mut kind = 0_i32;
    let mut size = size_of_val(&kind) as i32;
    // SAFETY: the option is a number, and the pointers are to one and to its size. What is no socket is refused.
    let result = unsafe { getsockopt(number as SOCKET, SOL_SOCKET, SO_TYPE, (&raw mut kind).cast(), &mut size) };
    result == 0
}

pub fn list_descriptors() -> String {
    let listed = handles().filter_map(|number| Some(format!("{number}: {}", kind(number)?)));
    listed.collect::<Vec<_>>().join(", ")
}

/// The numbers that handles may have: multiples of four, and the lowest that is free is taken for the next.
fn handles() -> impl Iterator<Item = usize> {
    const GAP: usize = 200;
    let mut free = 0;
    (1..).map(|index| index * 4).take_while(move |number| {
        free = if kind(*number).is_some() { 0 } else { free + 1 };
        free < GAP
    })
}

/// What a handle is of.
fn kind(number: usize) -> Option<String> {
    // More than a name needs, which comes behind the structure; of words, for its alignment.
    let mut room = [0_u64; 64];
    // SAFETY: the pointer is to so many bytes. A number that is no handle's is refused.
    let status = unsafe {
        NtQueryObject(
            number as HANDLE,
            ObjectTypeInformation,
            room.as_mut_ptr().cast::<c_void>(),
            size_of_val(&room) as u32,
            ptr::null_mut(),
        )
    };
    if status < 0 {
        return None;
    }
    // SAFETY: what is there begins with the name.
    let name = unsafe { room.as_ptr().cast::<UNICODE_STRING>().read() };
    // SAFETY: it is of so many bytes, inside `room`.
    let name = unsafe { std::slice::from_raw_parts(name.Buffer, usize::from(name.Length) / 2) };
    Some(String::from_utf16_lossy(name))
}

/// What the thread waits for in the kernel, which isn't known.
pub fn wchan(_task: i32) -> String {
    String::new()
}

pub fn list_threads() -> String {
    String::new()
}

/// How many threads the crate has made, which isn't known.
pub fn own_threads() -> usize {
    0
}

pub fn any_is_nameless() -> bool {
    false
}

/// The number of the calling thread.
pub fn thread_id() -> i32 {
    // SAFETY: a plain call.
    unsafe { GetCurrentThreadId() }.cast_signed()
}

/// Whether the thread sleeps in the kernel, which isn't known: by now it should.
pub fn is_sleeping(_task: i32) -> bool {
    thread::sleep(Duration::from_millis(5));
    true
}

/// Processor time that a thread has used.
pub fn cpu_time(task: i32) -> Duration {
    // SAFETY: a plain call.
    let thread = unsafe { OpenThread(THREAD_QUERY_LIMITED_INFORMATION, 0, task.cast_unsigned()) };
    assert!(!thread.is_null(), "{}", io::Error::last_os_error());
    let mut times = [FILETIME::default(); 4];
    let [made, over, in_kernel, in_program] = &mut times;
    // SAFETY: the handle is open, and the pointers are to times.
    let result = unsafe { GetThreadTimes(thread, made, over, in_kernel, in_program) };
    assert_ne!(result, 0, "{}", io::Error::last_os_error());
    // SAFETY: it is nobody else's.
    unsafe { CloseHandle(thread) };
    let ticks = |time: FILETIME| u64::from(time.dwHighDateTime) << 32 | u64::from(time.dwLowDateTime);
    Duration::from_nanos((ticks(times[2]) + ticks(times[3])) * 100)
}

/// What WSAPoll says, and whether the connection is broken.
pub fn polled(socket: &TcpSocket) -> (WaitEvents, bool) {
    let mut entry = WSAPOLLFD {
        fd: socket.as_raw_socket() as SOCKET,
        events: POLLRDNORM | POLLWRNORM,
        revents: 0,
    };
    // SAFETY: one valid `WSAPOLLFD`.
    let count = unsafe { WSAPoll(&mut entry, 1, 0) };
    assert!(count >= 0, "{}", io::Error::last_os_error());
    let broken = entry.revents & POLLERR != 0;
    let mut events = NOTHING;
    events.set(READ, broken || entry.revents & (POLLRDNORM | POLLHUP) != 0);
    events.set(WRITE, broken || entry.revents & POLLWRNORM != 0);
    events.set(EXCEPTION, broken);
    (events, broken)
}

/// Whether the system says that there is something to read, or a client.
pub fn is_readable(socket: &TcpSocket) -> bool {
    let mut entry = WSAPOLLFD {
        fd: socket.as_raw_socket() as SOCKET,
        events: POLLRDNORM,
        revents: 0,
    };
    // SAFETY: one valid `WSAPOLLFD`.
    let count = unsafe { WSAPoll(&mut entry, 1, 0) };
    count == 1 && entry.revents & (POLLRDNORM | POLLHUP) != 0
}
