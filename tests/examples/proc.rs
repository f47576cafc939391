//! What Linux tells of an example from outside: what its threads do, what it takes, and what is on its way to it.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::running::{Client, Example, Server, eventually};

/// Waits until all threads sleep, and there are so many of them.
#[track_caller]
pub fn until_all_sleep(example: &Example, threads: usize) {
    eventually("all threads sleep", || {
        let states: Vec<String> = stats(example.id()).map(|stat| stat[0].clone()).collect();
        states == vec!["S"; threads]
    });
}

/// Of each thread what proc(5) calls its stat, from the state on.
fn stats(process: u32) -> impl Iterator<Item = Vec<String>> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    // Some may just have ended.
    let stats = tasks.filter_map(|task| fs::read_to_string(task.ok()?.path().join("stat")).ok());
    stats.map(|stat| {
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').map(str::to_owned).collect()
    })
}

/// How long the thread of this name has run so far. It may have to get its name first.
#[track_caller]
pub fn time_of(example: &Example, thread: &str) -> Duration {
    let tasks = PathBuf::from(format!("/proc/{}/task", example.id()));
    let mut found = None;
    eventually("a thread has this name", || {
        let mut tasks = fs::read_dir(&tasks).unwrap().flatten().map(|task| task.path());
        found = tasks.find(|task| fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == thread));
        found.is_some()
    });
    let times = fs::read_to_string(found.unwrap().join("schedstat")).unwrap();
    let (ran, _) = times.split_once(' ').unwrap();
    Duration::from_nanos(ran.parse().unwrap())
}

/// How much memory it has for itself.
pub fn resident_kib(example: &Example) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", example.id())).unwrap();
    let value = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    value.unwrap().trim().trim_end_matches(" kB").parse().unwrap()
}

/// That it takes next to no processor while nothing happens. `idle` is somebody to whom nothing is said meanwhile.
#[track_caller]
pub fn assert_rests(example: &Example, idle: &Client) {
    // In ticks, of which there are a hundred a second.
    let ticks = || -> u64 {
        let used = stats(example.id()).flat_map(|stat| [stat[11].clone(), stat[12].clone()]);
        used.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    };
    let before = ticks();
    idle.stream()
        .set_read_timeout(Some(Duration::from_millis(250)))
        .unwrap();
    idle.stream().peek(&mut [0]).expect_err("nothing is said");
    idle.stream().set_read_timeout(Some(crate::running::PATIENCE)).unwrap();
    let took = ticks() - before;
    assert!(took < 5, "{took} of 25 ticks, with nothing to do");
}

/// The rows of the table of connections: its own address, that of the other end, the state, the queues.
fn connections() -> impl Iterator<Item = [String; 4]> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table.lines().skip(1).map(|row| -> [String; 4] {
        let columns = row.split_whitespace().skip(1).take(4);
        columns.map(str::to_owned).collect::<Vec<_>>().try_into().unwrap()
    });
    // While others connect and close, Linux shows some rows more than once: the table is read in parts.
    let once: HashMap<[String; 2], [String; 4]> = rows.map(|row| ([row[0].clone(), row[1].clone()], row)).collect();
    once.into_values()
}

fn address(port: u16) -> String {
    format!("0100007F:{port:04X}")
}

const ESTABLISHED: &str = "01";
const SYN_SENT: &str = "02";

/// Waits until the server has taken all that its clients sent.
#[track_caller]
pub fn until_received(server: &Server) {
    eventually("the server has received what was sent", || {
        let of_server = |row: &[String; 4]| row[0] == address(server.port) && row[2] == ESTABLISHED;
        let mut queues = connections().filter(of_server).peekable();
        queues.peek().is_some() && queues.all(|row| row[3] == "00000000:00000000")
    });
}

/// How many connections the server that listens on this port has.
#[cfg(feature = "websocket")]
pub fn connections_at(port: u16) -> usize {
    let at = address(port);
    connections()
        .filter(|row| row[0] == at && row[2] == ESTABLISHED)
        .count()
}

/// How many bytes the server that listens on this port has sent that its clients have no room for.
#[cfg(feature = "websocket")]
pub fn unsent_at(port: u16) -> u64 {
    let at = address(port);
    let of_server = connections().filter(|row| row[0] == at && row[2] == ESTABLISHED);
    of_server
        .map(|row| u64::from_str_radix(&row[3][..8], 16).unwrap())
        .sum()
}

/// How many clients this port has.
pub fn connected_to(port: u16) -> usize {
    in_state(port, ESTABLISHED)
}

/// How many clients of this port have had no answer yet.
pub fn connecting_to(port: u16) -> usize {
    in_state(port, SYN_SENT)
}

fn in_state(port: u16, state: &str) -> usize {
    let to = address(port);
    connections().filter(|row| row[1] == to && row[2] == state).count()
}
