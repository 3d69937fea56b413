//! How a command ends badly: what to print, and the exit code.

use novanet_control::{ControlError, error_chain};
use novanet_model::carve::CarveError;
use std::error::Error;
use std::fmt;

/// A command that did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Failure {
    /// 2: the command line is wrong; 1: everything else.
    pub(crate) code: u8,
    /// One line for each thing that is wrong, saying what to do; `error: ` is put in front.
    pub(crate) message: String,
    /// The message is a usage text: nothing is put in front.
    pub(crate) plain: bool,
    /// What goes to stdout all the same; nothing is said on stderr if there is no message.
    pub(crate) output: String,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
            plain: false,
            output: String::new(),
        }
    }

    /// Not enough was said: the usage text.
    pub(crate) fn help(text: impl Into<String>) -> Self {
        Self {
            plain: true,
            ..Self::usage(text)
        }
    }

    /// It was understood and could not be done.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self {
            code: 1,
            message: message.into(),
            plain: false,
            output: String::new(),
        }
    }

    /// The answer, with an exit code that says something about it.
    pub(crate) fn answer(code: u8, output: String) -> Self {
        Self {
            code,
            output,
            ..Self::failed("")
        }
    }

    /// It could not be done because of this error, told with its causes on one line.
    pub(crate) fn because(error: &dyn Error) -> Self {
        Self::failed(error_chain(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.plain {
            return f.write_str(self.message.trim_end());
        }
        let lines: Vec<String> = self
            .message
            .lines()
            .map(|line| format!("error: {line}"))
            .collect();
        f.write_str(&lines.join("\n"))
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let wrong_words = matches!(
            error,
            ControlError::Invalid(_) | ControlError::Carve(CarveError::Invalid(_))
        );
        let mut failure = Self::because(&error);
        if wrong_words {
            failure.code = 2;
        }
        if let Some(remedy) = error.remedy() {
            failure.message = format!("{} ({remedy})", failure.message);
        }
        failure
    }
}

impl Failure {
    /// The same; if the database was at fault and it was not said which, this is the one.
    pub(crate) fn in_database(mut self, name: &str) -> Self {
        if let Some(fault) = self.message.strip_prefix("database: ") {
            self.message = format!("database {name}: {fault}");
        }
        self
    }
}
