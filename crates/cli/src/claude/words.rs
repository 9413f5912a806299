//! What is said of measures and checks, in a few words each.

use claude_code_api_service::backend::claude_code::{check::Check, find::Origin, measure::Measure};

pub(super) fn of_origin(origin: Origin) -> &'static str {
    match origin {
        Origin::Named => "named by --claude-code-path",
        Origin::Installed => "put in place by `claude install`",
        Origin::Path => "found on the PATH",
    }
}

pub(super) fn of_measure(measure: Measure) -> &'static str {
    match measure {
        Measure::OwnUser => "a user of its own",
        Measure::NoNewPrivileges => "no new privileges",
        Measure::NoNetwork => "no network",
        Measure::ProcessGroup => "a process group, killed as a whole",
        Measure::DiesWithUs => "dies with the service",
        Measure::Limits => "limits of processes, files, memory",
        Measure::OwnFolders => "its own HOME, TMPDIR, folder",
    }
}

pub(super) fn of_check(check: Check) -> &'static str {
    match check {
        Check::Version => "it is the pinned version",
        Check::Ready => "a worker becomes ready",
        Check::Environment => "its environment is ours alone",
        Check::Isolated => "it is isolated as said above",
        Check::Text => "a request has our text, no tools",
        Check::Init => "it has no tools, no commands",
        Check::Gone => "killed, nothing of it is left",
        Check::Command => "/help arrives as text",
        Check::File => "@file arrives as text",
        Check::Fields => "max_tokens, temperature arrive",
        Check::Denied => "a 401 is not asked again",
    }
}
