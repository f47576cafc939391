//! What Linux tells of an example from outside: what its threads do, what it takes, and what is on its way to it.

use std::collections::HashMap;
use std::fs;
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
    of_tasks(process, "stat").map(|stat| {
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').map(str::to_owned).collect()
    })
}

/// This file of each thread, but for those that have just ended.
fn of_tasks(process: u32, file: &'static str) -> impl Iterator<Item = String> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).unwrap();
    tasks.filter_map(move |task| fs::read_to_string(task.ok()?.path().join(file)).ok())
}

/// The values of a status, by their names.
fn status(text: &str) -> HashMap<&str, &str> {
    text.lines().filter_map(|line| line.split_once(":\t")).collect()
}

/// How often the thread of this name has gone to sleep. It may have to get its name first.
#[track_caller]
pub fn turns(example: &Example, thread: &str) -> u64 {
    let mut turns = 0;
    eventually("a thread has this name", || {
        let statuses: Vec<String> = of_tasks(example.id(), "status").collect();
        let mut statuses = statuses.iter().map(|text| status(text));
        let found = statuses.find(|status| status["Name"] == thread);
        turns = found.map_or(0, |status| status["voluntary_ctxt_switches"].parse().unwrap());
        turns > 0
    });
    turns
}

/// How much memory it has for itself.
pub fn resident_kib(example: &Example) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", example.id())).unwrap();
    let value = status(&text)["RssAnon"].trim().trim_end_matches(" kB").to_owned();
    value.parse().unwrap()
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
        .set_read_timeout(Some(Duration::from_millis(500)))
        .unwrap();
    idle.stream().peek(&mut [0]).expect_err("nothing is said");
    idle.stream().set_read_timeout(Some(crate::running::PATIENCE)).unwrap();
    let took = ticks() - before;
    assert!(took < 10, "{took} of 50 ticks, with nothing to do");
}

/// The rows of the table of connections: its own address, that of the other end, the state, the queues.
fn connections() -> Vec<[String; 4]> {
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let rows = table
        .lines()
        .skip(1)
        .map(|row| row.split_whitespace().map(str::to_owned));
    rows.map(|row| row.skip(1).take(4).collect::<Vec<_>>().try_into().unwrap())
        .collect()
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
        let of_server = |row: &&[String; 4]| row[0] == address(server.port) && row[2] == ESTABLISHED;
        let rows = connections();
        let mut queues = rows.iter().filter(of_server).peekable();
        queues.peek().is_some() && queues.all(|row| row[3] == "00000000:00000000")
    });
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
    connections()
        .iter()
        .filter(|row| row[1] == to && row[2] == state)
        .count()
}
