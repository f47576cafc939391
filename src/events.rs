//! [`WaitEvents`]: what a wait is for.

bitflags::bitflags! {
    /// What a wait is for, and what it found.
    ///
    /// The values are those of U++ (`WAIT_READ`, `WAIT_WRITE`, `WAIT_IS_EXCEPTION`).
    ///
    /// ```
    /// use wakesock::WaitEvents;
    ///
    /// let events = WaitEvents::READ | WaitEvents::WRITE;
    /// assert!(events.contains(WaitEvents::READ));
    /// assert_eq!(events.bits(), 3);
    /// ```
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct WaitEvents: u32 {
        /// A read, or an accept, would not block. That is so at the end of the stream and after an error, too.
        const READ = 1;
        /// A write would not block. That is so after an error, too.
        const WRITE = 2;
        /// There is an error or a hang-up or, where the platform tells, urgent data.
        const EXCEPTION = 4;
        /// All of these.
        const ALL = 7;
    }
}
