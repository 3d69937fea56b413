//! Prints the demo: chapters, commands as a user types them, their output, check marks. Depends on
//! `lab` for running commands.

use crate::environment;
use std::io::{IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

/// Between two looks at a state, on a machine of usual speed: each starts a program.
const PAUSE: Duration = Duration::from_millis(20);

/// The demo's terminal, and its score.
pub(super) struct Show {
    colour: bool,
    slowness: u32,
    passed: u32,
    all: u32,
}

impl Show {
    /// On a machine so many times slower than usual.
    pub(super) fn new(slowness: u32) -> Self {
        Self {
            colour: std::io::stdout().is_terminal() && environment::variable("NO_COLOR").is_none(),
            slowness,
            passed: 0,
            all: 0,
        }
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// A new part, with a sentence about why.
    pub(super) fn chapter(&mut self, title: &str, about: &str) {
        println!("\n{}", self.paint("1", &format!("── {title} ──")));
        println!("   {about}\n");
    }

    /// A command, as it would be typed on a host.
    pub(super) fn command(&mut self, host: &str, text: &str) {
        println!(
            "{} {}",
            self.paint("2", &format!("{host}#")),
            self.paint("36", text)
        );
        let _ = std::io::stdout().flush();
    }

    #[allow(clippy::unused_self)] // it is the terminal's business all the same
    /// Output, indented; long output is cut in the middle.
    pub(super) fn output(&mut self, text: &str) {
        let lines: Vec<&str> = text.lines().collect();
        let show = |line: &&str| println!("    {line}");
        if lines.len() <= 24 {
            lines.iter().for_each(show);
        } else {
            lines[..16].iter().for_each(show);
            println!("    … {} lines …", lines.len() - 20);
            lines[lines.len() - 4..].iter().for_each(show);
        }
    }

    /// A check and its result.
    pub(super) fn check(&mut self, what: &str, result: Result<(), String>) {
        self.all += 1;
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("  {} {what}", self.paint("32", "✓"));
            }
            Err(why) => {
                println!("  {} {what}", self.paint("31", "✗"));
                self.output(&why);
            }
        }
        let _ = std::io::stdout().flush();
    }

    /// Something that should not have happened.
    pub(super) fn fail(&mut self, what: &str) {
        self.all += 1;
        println!("  {} {what}", self.paint("31", "✗"));
    }

    /// Checks passed, and all.
    pub(super) fn score(&self) -> (u32, u32) {
        (self.passed, self.all)
    }

    /// Waits for a state and prints dots meanwhile; answers how long it took.
    pub(super) fn wait<T>(
        &mut self,
        what: &str,
        limit: Duration,
        mut ready: impl FnMut() -> anyhow::Result<T>,
    ) -> anyhow::Result<(T, Duration)> {
        let limit = limit * self.slowness;
        let began = Instant::now();
        let mut dots = 0;
        loop {
            match ready() {
                Ok(value) => {
                    if dots > 0 {
                        println!();
                    }
                    return Ok((value, began.elapsed()));
                }
                Err(error) if began.elapsed() > limit => {
                    if dots > 0 {
                        println!();
                    }
                    return Err(error.context(format!("{what}: not within {limit:?}")));
                }
                Err(_) => {}
            }
            if began.elapsed() > Duration::from_secs(dots + 1) {
                if dots == 0 {
                    print!("    waiting: {what} ");
                }
                print!(".");
                let _ = std::io::stdout().flush();
                dots += 1;
            }
            std::thread::sleep(PAUSE * self.slowness * self.slowness);
        }
    }
}
