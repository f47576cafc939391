//! Conversions, and what becomes of descriptors.

use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;
use wakesock::net::unix::{UnixListener, UnixStream};
use wakesock::net::{TcpListener, TcpStream};
use wakesock::{Error, ListenOptions, MioWait, RawWait, ShutdownRegistry, TcpSocket, ThreadWait};

use crate::program::{Folder, pair, unix_pair};
use crate::support::every::ENDS;
use crate::support::full::MUCH;
use crate::support::scarce::scarce;
use crate::support::{
    PARKER, PATIENCE, assert_sees_end, begin, block, descriptors, in_a_thread, listener, race, std_pair,
};

#[test]
fn a_number_means_nothing_else_for_as_long_as_there_is_an_owner() {
    let _test = begin();
    let (near, mut far) = std_pair();
    let near = TcpStream::from(near);
    let clone = near.try_clone().unwrap();
    let number = near.as_raw_fd();
    assert_eq!(clone.as_raw_fd(), number);
    clone.handle().close();
    assert_sees_end(&mut far);
    drop(near);
    let files: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
    assert!(files.iter().all(|file| file.as_raw_fd() != number));
    // Nothing can be done with it.
    assert!(SockRef::from(&clone).send(b"x").is_err());
    drop(clone);
    drop(files);
    let files: Vec<File> = (0..50).map(|_| File::open("/dev/null").unwrap()).collect();
    assert!(files.iter().any(|file| file.as_raw_fd() == number));
}

#[test]
fn connections_of_a_listener_wait_as_it_does() {
    let _test = begin();
    for (raw_wait, [first, second]) in [
        (Arc::new(MioWait::default()) as Arc<dyn RawWait>, [2 * PARKER; 2]),
        (Arc::new(ThreadWait::default()), [PARKER, 0]),
    ] {
        let mut socket = TcpSocket::new();
        socket.set_raw_wait(raw_wait);
        socket.listen_on("127.0.0.1:0", &ListenOptions::default()).unwrap();
        let listener = TcpListener::try_from(socket).unwrap();
        let streams = [(); 2].map(|()| {
            let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            (listener.accept().unwrap().0, client)
        });
        // Descriptors that a thread keeps go with it.
        let taken = in_a_thread(move || {
            let taken = streams.each_ref().map(|(stream, _)| {
                let before = descriptors();
                stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
                stream.set_write_timeout(Some(Duration::from_millis(1))).unwrap();
                assert!({ stream }.read(&mut [0; 8]).is_err());
                assert!({ stream }.write_all(&MUCH).is_err());
                descriptors() - before
            });
            drop(streams);
            taken
        });
        assert_eq!(taken, [first, second]);
    }
}

#[test]
fn socket2s_become_these_and_back() {
    let _test = begin();
    let made = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: std::net::SocketAddr = "127.0.0.1:0".parse().unwrap();
    made.bind(&any.into()).unwrap();
    made.listen(1).unwrap();
    let number = made.as_raw_fd();
    let listener: TcpListener = made.into();
    let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    listener.accept().unwrap();
    let given = socket2::Socket::from(listener);
    assert_eq!(given.as_raw_fd(), number);
    assert!(!given.nonblocking().unwrap());
    drop(client);
}

#[test]
fn what_was_ended_gives_something_dead() {
    let _test = begin();
    let end: [fn(&TcpStream, &ShutdownRegistry); 2] =
        [|stream, _| stream.handle().close(), |_, registry| registry.shutdown()];
    for end in end {
        let registry = ShutdownRegistry::new();
        let listener = TcpListener::bind_in(&registry, "127.0.0.1:0").unwrap();
        let _client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let clone = stream.try_clone().unwrap();
        end(&stream, &registry);
        for owner in [stream, clone] {
            let mut stream = std::net::TcpStream::from(OwnedFd::from(owner));
            assert!(stream.read(&mut [0; 8]).is_err());
            assert!(stream.write(b"x").is_err());
        }
    }
}

#[test]
fn what_is_ended_while_it_is_given_away_is_closed_once() {
    let _test = begin();
    let give: [fn(TcpStream); 4] = [
        drop,
        |stream| drop(OwnedFd::from(stream)),
        |stream| drop(std::net::TcpStream::from(stream)),
        |stream| drop(TcpSocket::from(stream)),
    ];
    for delay in (0..100).step_by(2) {
        for give in give {
            for (end, _) in ENDS {
                for clones in [0, 1] {
                    let registry = ShutdownRegistry::new();
                    let listener = TcpListener::bind_in(&registry, "127.0.0.1:0").unwrap();
                    let mut far = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                    let (stream, _) = listener.accept().unwrap();
                    let handle = stream.handle();
                    let readers = [(); 2][..clones].iter().map(|()| {
                        let clone = stream.try_clone().unwrap();
                        block(move || { clone }.read(&mut [0; 8]).is_err())
                    });
                    let readers: Vec<_> = readers.collect();
                    // A descriptor that was closed twice might be this.
                    let giving = race(move || give(stream), delay, || end(&handle, &registry));
                    let file = File::open("/dev/null").unwrap();
                    giving.result();
                    assert!(readers.into_iter().all(|reader| reader.result()));
                    assert!(file.metadata().is_ok());
                    assert_sees_end(&mut far);
                }
            }
        }
    }
}

#[test]
fn what_the_registry_refuses_says_so_and_is_given_back_whole() {
    let _test = begin();
    let (near, mut far) = std_pair();
    ShutdownRegistry::global().shutdown();
    let mut stream = TcpStream::from(near);
    let clone = stream.try_clone().unwrap();
    let is_shut_down = |error: std::io::Error| {
        let inner = error.get_ref().unwrap().downcast_ref();
        matches!(inner, Some(Error::Shutdown))
    };
    assert!(is_shut_down(stream.read(&mut [0; 8]).unwrap_err()));
    assert!(is_shut_down(stream.write(b"x").unwrap_err()));
    assert!(is_shut_down(stream.set_nodelay(true).unwrap_err()));
    assert!(is_shut_down(TcpListener::bind("127.0.0.1:0").unwrap_err()));
    assert!(is_shut_down(UnixStream::pair().unwrap_err()));
    let folder = Folder::new();
    assert!(is_shut_down(UnixListener::bind(folder.path("socket")).unwrap_err()));
    assert!(!folder.path("socket").exists());
    ShutdownRegistry::global().reset();
    for owner in [clone, stream] {
        let mut given_back = std::net::TcpStream::from(owner);
        far.write_all(b"hello").unwrap();
        let mut buf = [0; 5];
        given_back.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"hello");
    }
}

#[test]
fn without_descriptors_a_clone_fails_and_a_conversion_does_not() {
    let _test = begin();
    let (near, mut far) = std_pair();
    let near = TcpStream::from(near);
    let clones: Vec<_> = (0..7).map(|_| near.try_clone().unwrap()).collect();
    let none = scarce(0);
    assert_eq!(near.try_clone().unwrap_err().raw_os_error(), Some(libc::EMFILE));
    let start = Barrier::new(8);
    let owners: Vec<_> = thread::scope(|scope| {
        let converted: Vec<_> = clones
            .into_iter()
            .chain([near])
            .map(|clone| {
                scope.spawn(|| {
                    start.wait();
                    OwnedFd::from(clone)
                })
            })
            .collect();
        converted.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    drop(none);
    assert_eq!(owners.len(), 8);
    for owner in owners {
        let mut stream = std::net::TcpStream::from(owner);
        stream.write_all(b"x").unwrap();
        far.read_exact(&mut [0]).unwrap();
    }
    assert_sees_end(&mut far);
}

#[test]
fn dropped_clones_leave_the_spare_for_the_next() {
    let _test = begin();
    let (near, _far) = pair();
    drop(near.try_clone().unwrap());
    let _none = scarce(0);
    for _ in 0..10 {
        drop(near.try_clone().unwrap());
    }
}

#[test]
fn a_socket_and_a_stream_are_the_same_connection() {
    let _test = begin();
    let (own, mut peer) = std_pair();
    let mut socket = TcpSocket::from(own);
    let handle = socket.handle();
    socket.timeout(Duration::from_secs(7));
    let stream = TcpStream::try_from(socket).unwrap();
    assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert_eq!(stream.handle().id(), handle.id());
    peer.write_all(b"hello").unwrap();
    (&stream).read_exact(&mut [0; 2]).unwrap();
    stream.set_nonblocking(true).unwrap();
    let mut socket = TcpSocket::from(stream);
    assert_eq!(socket.id(), handle.id());
    assert_eq!(socket.get_timeout(), Some(Duration::ZERO));
    socket.timeout(None);
    assert_eq!(socket.get_bytes(3).unwrap(), b"llo");
    let blocked = block(move || socket.get_byte().unwrap_err()).until_blocked();
    handle.close();
    assert!(matches!(blocked.result(), Error::Closed));
    assert_sees_end(&mut peer);
}

#[test]
fn what_a_stream_has_waited_for_is_not_waited_for_again_by_a_socket() {
    let _test = begin();
    let (near, mut far) = std_pair();
    let mut socket = TcpSocket::from(near);
    far.write_all(b"x").unwrap();
    // A short read: the socket knows that nothing more is there.
    assert_eq!(socket.read(&mut [0; 100]).unwrap(), 1);
    let stream = TcpStream::try_from(socket).unwrap();
    let reading = block(move || ((&stream).read(&mut [0; 1]), stream)).until_blocked();
    // Data and the end come at once, and one wait reports both.
    far.write_all(b"ab").unwrap();
    drop(far);
    let (read, stream) = reading.result();
    assert_eq!(read.unwrap(), 1);
    let mut socket = TcpSocket::from(stream);
    let all = block(move || socket.get_bytes(100));
    assert_eq!(all.result().unwrap(), b"b");
}

#[test]
fn only_what_is_whole_becomes_a_stream() {
    let _test = begin();
    let refused = |socket: TcpSocket| TcpStream::try_from(socket).unwrap_err();
    assert!(matches!(refused(TcpSocket::new()), Error::Closed));
    let (own, mut peer) = std_pair();
    let mut socket = TcpSocket::from(own);
    peer.write_all(b"two\nlines\n").unwrap();
    socket.get_line().unwrap();
    let error = refused(socket);
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    assert!(refused(listener().0).to_string().contains("not a stream"));
    let (own, _peer) = std::os::unix::net::UnixStream::pair().unwrap();
    assert!(
        refused(TcpSocket::from(own))
            .to_string()
            .contains("another address family")
    );
    let (own, _peer) = std_pair();
    assert!(UnixStream::try_from(TcpSocket::from(own)).is_err());
    let (own, _peer) = std_pair();
    assert!(TcpListener::try_from(TcpSocket::from(own)).is_err());
    assert!(UnixListener::try_from(listener().0).is_err());
    let listener = TcpListener::try_from(listener().0).unwrap();
    assert!(TcpSocket::from(listener).is_open());
}

#[test]
fn a_socket_from_one_of_several_clones_is_a_duplicate() {
    let _test = begin();
    let (near, mut far) = std_pair();
    let near = TcpStream::from(near);
    near.set_read_timeout(Some(PATIENCE)).unwrap();
    let clone = near.try_clone().unwrap();
    let mut socket = TcpSocket::from(near);
    assert_eq!(socket.get_timeout(), Some(PATIENCE));
    clone.handle().close();
    far.write_all(b"still").unwrap();
    assert_eq!(socket.get_bytes(5).unwrap(), b"still");
    // Of clones that were ended there is nothing to duplicate.
    let again = clone.try_clone().unwrap();
    assert!(!TcpSocket::from(again).is_open());
    drop(socket);
    assert_sees_end(&mut far);
}

#[test]
fn limits_and_the_mode_come_along_with_the_standard_librarys() {
    let _test = begin();
    let (near, _far) = std_pair();
    near.set_read_timeout(Some(Duration::from_millis(40))).unwrap();
    near.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let stream = TcpStream::from(near);
    assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_millis(40)));
    assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_secs(3)));
    assert_eq!((&stream).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    stream.set_nonblocking(true).unwrap();
    let near = std::net::TcpStream::from(stream);
    assert_eq!((&near).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!(near.read_timeout().unwrap(), Some(Duration::from_millis(40)));
    near.set_read_timeout(None).unwrap();
    let stream = TcpStream::from(near);
    assert_eq!((&stream).read(&mut [0; 8]).unwrap_err().kind(), ErrorKind::WouldBlock);
}

#[test]
fn the_limit_of_a_socket_goes_on_to_the_standard_librarys() {
    let _test = begin();
    let (own, _peer) = std_pair();
    let mut socket = TcpSocket::from(own);
    socket.timeout(Duration::from_secs(7));
    let stream = std::net::TcpStream::from(TcpStream::try_from(socket).unwrap());
    assert_eq!(stream.read_timeout().unwrap(), Some(Duration::from_secs(7)));
    assert_eq!(stream.write_timeout().unwrap(), Some(Duration::from_secs(7)));
}

#[test]
fn the_limit_of_a_listener_is_that_of_each_accept() {
    let _test = begin();
    let (mut socket, addr) = listener();
    socket.timeout(Duration::from_millis(5));
    let listener = TcpListener::try_from(socket).unwrap();
    let accepts: [fn(&TcpListener) -> std::io::Result<TcpStream>; 2] = [
        |listener| listener.accept().map(|(stream, _)| stream),
        |listener| listener.incoming().next().unwrap(),
    ];
    for accept in accepts {
        let error = accept(&listener).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAGAIN), "{error:?}");
    }
    let mut socket = TcpSocket::from(listener);
    assert_eq!(socket.get_timeout(), Some(Duration::from_millis(5)));
    // Whichever ends it is told.
    socket.timeout(PATIENCE);
    let listener = TcpListener::try_from(socket).unwrap();
    listener.handle().read_deadline(Instant::now());
    for accept in accepts {
        let error = accept(&listener).unwrap_err();
        let inner = error.get_ref().unwrap().downcast_ref();
        assert!(matches!(inner, Some(Error::Timeout)), "{error:?}");
    }
    listener.handle().read_deadline(None);
    let _client = std::net::TcpStream::connect(addr).unwrap();
    let stream = accepts[0](&listener).unwrap();
    assert_eq!(stream.read_timeout().unwrap(), None, "it is the listener's");
}

#[test]
fn a_listener_that_a_duplicate_has_made_a_blocking_one_is_ended_all_the_same() {
    let _test = begin();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let clone = listener.try_clone().unwrap();
    let duplicate = std::net::TcpListener::from(OwnedFd::from(clone));
    duplicate.set_nonblocking(false).unwrap();
    let handle = listener.handle();
    let blocked = block(move || listener.accept().map(drop)).until_blocked();
    handle.close();
    assert!(blocked.result().is_err());
}

#[test]
fn a_borrowed_descriptor_is_good_for_options() {
    let _test = begin();
    let (left, right) = unix_pair();
    let left = UnixStream::from(OwnedFd::from(left));
    SockRef::from(&left).set_send_buffer_size(1 << 16).unwrap();
    assert!(left.as_fd().try_clone_to_owned().is_ok());
    drop(right);
}
