//! The kinds of faults.

/// What is done to a run. All but a few strike while one message of one connection is held back, so
/// that each step of a run is met.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Cut,
    Reset,
    HalfClose,
    Stall,
    Delay,
    CommitLost,
    TerminateBackend,
    CancelBackend,
    Sigkill,
    Sigterm,
    SigstopContinue,
    SigstopKill,
    FastRestart,
    ImmediateRestart,
    ReadOnly,
    LockHeld,
    Deadlock,
    NoConnectionLeft,
}

impl Kind {
    /// The kinds in the order of the rounds; cheap ones come more than once.
    pub const ALL: [Kind; 26] = [
        Kind::Cut,
        Kind::Sigkill,
        Kind::TerminateBackend,
        Kind::Reset,
        Kind::CommitLost,
        Kind::LockHeld,
        Kind::Cut,
        Kind::Stall,
        Kind::CancelBackend,
        Kind::HalfClose,
        Kind::Sigkill,
        Kind::FastRestart,
        Kind::CommitLost,
        Kind::Reset,
        Kind::Delay,
        Kind::Sigterm,
        Kind::TerminateBackend,
        Kind::NoConnectionLeft,
        Kind::Cut,
        Kind::SigstopContinue,
        Kind::ImmediateRestart,
        Kind::Sigkill,
        Kind::CommitLost,
        Kind::SigstopKill,
        Kind::Deadlock,
        Kind::ReadOnly,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Kind::Cut => "connection cut at a message",
            Kind::Reset => "connection reset at a message",
            Kind::HalfClose => "connection half-closed",
            Kind::Stall => "connection stalled forever",
            Kind::Delay => "connection delayed",
            Kind::CommitLost => "cut around COMMIT and its reply",
            Kind::TerminateBackend => "pg_terminate_backend",
            Kind::CancelBackend => "pg_cancel_backend",
            Kind::Sigkill => "SIGKILL of tableferry",
            Kind::Sigterm => "SIGTERM or SIGINT of tableferry",
            Kind::SigstopContinue => "SIGSTOP, then SIGCONT",
            Kind::SigstopKill => "SIGSTOP, then SIGKILL",
            Kind::FastRestart => "server restarted, fast",
            Kind::ImmediateRestart => "server restarted, immediate",
            Kind::ReadOnly => "target's default turned read-only",
            Kind::LockHeld => "lock held by another session",
            Kind::Deadlock => "deadlock",
            Kind::NoConnectionLeft => "no connection left on a server",
        }
    }
}
