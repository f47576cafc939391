//! A waiter over poll(2) and a pipe: a limit, a client and a close end its waits.

use crate::running::run;

#[test]
fn its_waits_are_ended_by_a_limit_by_a_client_and_by_a_close() {
    run("raw_wait", &[] as &[&str]).assert_success(concat!(
        "no client: Err(Timeout)\n",
        "a client: Some(\"hello\")\n",
        "closed: Err(Closed)\n",
    ));
}
