//! Two sessions, whose wires are pipes in memory.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::MaybeUninit;

use proptest::prelude::*;
use rcgen::generate_simple_self_signed;

use super::*;
use crate::tls::{client_config_trusting, server_config};

/// A wire in memory: what is sent on one end comes at the other, in pieces of at most some length.
struct End<'a> {
    incoming: &'a RefCell<Pipe>,
    outgoing: &'a RefCell<Pipe>,
    most: usize,
    /// What sending fails with.
    failure: Option<io::ErrorKind>,
}

#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    has_ended: bool,
}

/// As much as a pipe holds.
const ROOM: usize = 5_000;

impl Wire for End<'_> {
    fn receive<'a>(&mut self, room: &'a mut [MaybeUninit<u8>]) -> io::Result<&'a [u8]> {
        let mut pipe = self.incoming.borrow_mut();
        let count = pipe.bytes.len().min(room.len()).min(self.most);
        if count == 0 && !pipe.has_ended {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let bytes: Vec<u8> = pipe.bytes.drain(..count).collect();
        Ok(room[..count].write_copy_of_slice(&bytes))
    }

    fn receive_into(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut room = vec![MaybeUninit::uninit(); buf.len()];
        let bytes = self.receive(&mut room)?;
        buf[..bytes.len()].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn send(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        if let Some(failure) = self.failure {
            return Err(failure.into());
        }
        let mut pipe = self.outgoing.borrow_mut();
        let count = self.most.min(ROOM - pipe.bytes.len());
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let before = pipe.bytes.len();
        pipe.bytes
            .extend(slices.iter().flat_map(|slice| slice.iter()).take(count));
        Ok(pipe.bytes.len() - before)
    }

    fn end_sending(&mut self) -> io::Result<()> {
        self.outgoing.borrow_mut().has_ended = true;
        Ok(())
    }
}

/// A client's session, and that of its server.
fn sessions() -> [Session; 2] {
    let made = generate_simple_self_signed(["server.test".to_owned()]).unwrap();
    let pem = made.cert.pem();
    let client = client_config_trusting(pem.as_bytes()).unwrap();
    let server = server_config(pem.as_bytes(), made.signing_key.serialize_pem().as_bytes()).unwrap();
    [
        Session::client(&client, "server.test", &[], None).unwrap(),
        Session::server(&server, &[], None).unwrap(),
    ]
}

#[test]
fn an_interruption_doubles_nothing_and_who_reads_waits_for_no_room_where_there_will_be_none() {
    let pipes = [RefCell::default(), RefCell::default()];
    let end = |who: usize, failure| End {
        incoming: &pipes[who],
        outgoing: &pipes[1 - who],
        most: ROOM,
        failure,
    };
    let sessions = sessions();
    while sessions.iter().any(Session::is_handshaking) {
        for (who, session) in sessions.iter().enumerate() {
            let _ = session.handshake(&mut end(who, None));
        }
    }
    let [client, server] = &sessions;
    client.flush(&mut end(0, None)).unwrap();
    let written = client
        .write(&mut end(0, Some(io::ErrorKind::Interrupted)), &[IoSlice::new(b"once")])
        .unwrap();
    assert_eq!(
        (written.taken, written.sent.unwrap_err().kind()),
        (4, io::ErrorKind::Interrupted)
    );
    assert!(
        client.reading_waits_for().contains(WaitEvents::WRITE),
        "who reads sends it"
    );
    client.flush(&mut end(0, None)).unwrap();
    let mut got = Vec::new();
    let mut take = |bytes: &[u8]| {
        got.extend_from_slice(bytes);
        Ok(())
    };
    while server.read(&mut end(1, None), &mut take).is_ok() {}
    assert_eq!(got, b"once");

    // A peer that takes nothing more may still have much to say.
    let written = client
        .write(&mut end(0, Some(io::ErrorKind::BrokenPipe)), &[IoSlice::new(b"?")])
        .unwrap();
    assert_eq!(
        (written.taken, written.sent.unwrap_err().kind()),
        (1, io::ErrorKind::BrokenPipe)
    );
    assert!(client.unsent() > 0);
    assert_eq!(
        client.reading_waits_for(),
        WaitEvents::READ,
        "there will be no room to wait for"
    );
}

/// One end of a test, and how far it has come.
#[derive(Default)]
struct Progress {
    taken: usize,
    got: Vec<u8>,
    has_ended: bool,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// Both put much and read, each step an attempt that doesn't wait, in any order: all comes, once and in order, and then
    /// the end. In no state are both stuck.
    #[test]
    fn whatever_the_order_of_steps_both_get_all(
        steps in proptest::collection::vec((0..2_usize, 0..3_u8, 1..3_000_usize), 1..200),
        len in 1..200_000_usize,
    ) {
        let data: Vec<u8> = (0..len).map(|at| (at / 5) as u8).collect();
        let pipes = [RefCell::default(), RefCell::default()];
        let sessions = sessions();
        let mut progress = [Progress::default(), Progress::default()];
        let mut turns = 0;
        for &(who, what, most) in steps.iter().cycle() {
            let mut wire = End { incoming: &pipes[who], outgoing: &pipes[1 - who], most, failure: None };
            let (session, own) = (&sessions[who], &mut progress[who]);
            let step = match what {
                0 => session.read(&mut wire, &mut |bytes| {
                    own.got.extend_from_slice(bytes);
                    Ok(())
                }).map(|count| own.has_ended |= count == 0),
                1 if own.taken < len => session
                    .handshake(&mut wire)
                    .and_then(|()| session.write(&mut wire, &[IoSlice::new(&data[own.taken..])]))
                    .map(|written| own.taken += written.taken),
                1 => {
                    session.end_sending(&mut wire, false)
                }
                _ => session.flush(&mut wire),
            };
            if let Err(error) = step {
                prop_assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | UNFINISHED), "{error:?}");
            }
            if progress.iter().all(|end| end.has_ended) {
                break;
            }
            turns += 1;
            // Whatever the steps are, some of each kind come for each end, in the end.
            if turns % steps.len() == 0 {
                for who in 0..2 {
                    let mut wire = End { incoming: &pipes[who], outgoing: &pipes[1 - who], most, failure: None };
                    let (session, own) = (&sessions[who], &mut progress[who]);
                    let read = session.read(&mut wire, &mut |bytes| {
                        own.got.extend_from_slice(bytes);
                        Ok(())
                    });
                    own.has_ended |= matches!(read, Ok(0));
                    if session.handshake(&mut wire).is_ok() {
                        match own.taken < len {
                            true => own.taken += session.write(&mut wire, &[IoSlice::new(&data[own.taken..])]).map_or(0, |written| written.taken),
                            false => session.end_sending(&mut wire, false).unwrap(),
                        }
                    }
                }
            }
            prop_assert!(turns < 1_000_000, "stuck at {:?}", progress.map(|end| (end.taken, end.got.len())));
        }
        for end in progress {
            prop_assert!(end.got == data);
        }
    }
}
