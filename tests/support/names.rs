//! A host whose look-up the test has in its hands: a stand-in for getaddrinfo(3).
//!
//! For test binaries that ask for it by `#[path]`, since it stands in for the whole process.

#![cfg(target_os = "linux")]
#![allow(dead_code, unreachable_pub, reason = "each test binary uses its part")]
#![allow(unsafe_code, reason = "stands in for a function of the C library")]

use std::ffi::{CStr, CString, c_char, c_int};
use std::net::IpAddr;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Condvar, Mutex};

/// The host. Nobody knows it, nor any whose name ends with this, while there are no [`Lookups`].
pub const HOST: &str = "host.test";

/// What becomes of look-ups of [`HOST`] and the like, for as long as this lives.
pub struct Lookups(());

/// The names that were looked up while there were [`Lookups`].
static ASKED: Mutex<Vec<String>> = Mutex::new(Vec::new());
/// Whether what is found is not as long as an address is.
static CUT: AtomicBool = AtomicBool::new(false);

/// The addresses of the host, or the number of an error; `None` while its look-ups are held.
static ANSWER: Mutex<Option<Result<Vec<CString>, c_int>>> = Mutex::new(Some(Err(libc::EAI_NONAME)));
static ANSWERED: Condvar = Condvar::new();

impl Lookups {
    /// They don't end, until there is an answer or this is dropped.
    pub fn held() -> Lookups {
        let lookups = Lookups::begin();
        lookups.hold();
        lookups
    }

    fn begin() -> Lookups {
        ASKED.lock().unwrap().clear();
        Lookups(())
    }

    /// They find `ips`, in this order.
    pub fn finding(ips: &[IpAddr]) -> Lookups {
        let lookups = Lookups::begin();
        lookups.answer(ips);
        lookups
    }

    /// They fail with this number, of getaddrinfo(3).
    pub fn failing(number: c_int) -> Lookups {
        answer(Some(Err(number)));
        Lookups::begin()
    }

    /// The names that were looked up so far, in this order.
    pub fn asked(&self) -> Vec<String> {
        ASKED.lock().unwrap().clone()
    }

    /// What was found is cut short, so that the standard library panics.
    pub fn cut(&self) {
        CUT.store(true, SeqCst);
    }

    /// From now on they don't end, until there is an answer.
    pub fn hold(&self) {
        answer(None);
    }

    /// From now on they find `ips`; those that were held, too.
    pub fn answer(&self, ips: &[IpAddr]) {
        let texts = ips.iter().map(|ip| CString::new(ip.to_string()).unwrap());
        answer(Some(Ok(texts.collect())));
    }
}

impl Drop for Lookups {
    fn drop(&mut self) {
        answer(Some(Err(libc::EAI_NONAME)));
        CUT.store(false, SeqCst);
    }
}

fn answer(answer: Option<Result<Vec<CString>, c_int>>) {
    *ANSWER.lock().unwrap() = answer;
    ANSWERED.notify_all();
}

type GetAddrInfo =
    unsafe extern "C" fn(*const c_char, *const c_char, *const libc::addrinfo, *mut *mut libc::addrinfo) -> c_int;

/// Hands on to the C library's what is not about `HOST` and the like.
#[unsafe(no_mangle)]
unsafe extern "C" fn getaddrinfo(
    node: *const c_char,
    service: *const c_char,
    hints: *const libc::addrinfo,
    found: *mut *mut libc::addrinfo,
) -> c_int {
    // SAFETY: a plain call with a C string.
    let real = unsafe { libc::dlsym(libc::RTLD_NEXT, c"getaddrinfo".as_ptr()) };
    assert!(!real.is_null());
    // SAFETY: it is the C library's function of this very type.
    let real: GetAddrInfo = unsafe { std::mem::transmute(real) };
    // SAFETY: callers give a C string or none.
    let name = (!node.is_null()).then(|| unsafe { CStr::from_ptr(node) }.to_string_lossy());
    let Some(name) = name.filter(|name| name.ends_with(HOST)) else {
        // SAFETY: as the caller says.
        return unsafe { real(node, service, hints, found) };
    };
    ASKED.lock().unwrap().push(name.into_owned());
    let answer = ANSWERED
        .wait_while(ANSWER.lock().unwrap(), |answer| answer.is_none())
        .unwrap()
        .clone();
    let answer = match answer.unwrap_or(Err(libc::EAI_NONAME)) {
        Ok(answer) => answer,
        Err(number) => {
            // What EAI_SYSTEM refers to.
            errno::set_errno(errno::Errno(libc::EMFILE));
            return number;
        }
    };
    // A chain of what the C library makes of each address, since it is its own function that frees it.
    let mut first = ptr::null_mut();
    for ip in answer.iter().rev() {
        let mut one: *mut libc::addrinfo = ptr::null_mut();
        // SAFETY: a C string, and the rest as the caller says.
        let result = unsafe { real(ip.as_ptr(), service, hints, &mut one) };
        assert_eq!(result, 0, "{ip:?}");
        // SAFETY: it has just been made, and is nobody else's.
        let entry = unsafe { &mut *one };
        assert!(entry.ai_next.is_null(), "{ip:?} is one address");
        entry.ai_next = first;
        if CUT.load(SeqCst) {
            entry.ai_addrlen = 1;
        }
        first = one;
    }
    if first.is_null() {
        return libc::EAI_NONAME;
    }
    // SAFETY: the caller gives a place for it.
    unsafe { *found = first };
    0
}
