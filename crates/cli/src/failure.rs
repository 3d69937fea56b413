//! The error of a command: the text for stderr, the exit code, and whether the database is at
//! fault. Depends on the errors of `control` and `server`.

use novanet_control::{ControlError, StoreError, error_chain};
use novanet_model::carve::CarveError;
use novanet_server::ServerError;
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
    /// The database cannot be used as it is: waiting for it or repairing it helps.
    pub(crate) of_database: bool,
}

impl Failure {
    /// The command line is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self {
            code: 2,
            message: message.into(),
            plain: false,
            output: String::new(),
            of_database: false,
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
            of_database: false,
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

    /// It could not be done because of this error: the text is the error with its causes, on one
    /// line.
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
        failure.of_database = is_of_database(&error);
        if wrong_words {
            failure.code = 2;
        }
        if let Some(remedy) = error.remedy() {
            failure.message = format!("{} ({remedy})", failure.message);
        }
        failure
    }
}

/// Why a server ended. The text has no remedy: the server goes on by itself when the cause is gone.
impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        let mut failure = Self::because(&error);
        failure.of_database = match &error {
            ServerError::Cloud(error) => is_of_database(error),
            ServerError::Listen { .. } => false,
        };
        failure
    }
}

fn is_of_database(error: &ControlError) -> bool {
    matches!(
        error,
        ControlError::Store(
            StoreError::Unavailable { .. } | StoreError::Refused(_) | StoreError::Statement(_)
        )
    )
}

impl Failure {
    /// The same, with the database named as the cause.
    pub(crate) fn with_database_at_fault(mut self) -> Self {
        self.of_database = true;
        self
    }

    /// The same; if the database was at fault and it was not said which, this is the one.
    pub(crate) fn in_database(mut self, name: &str) -> Self {
        if let Some(fault) = self.message.strip_prefix("database: ") {
            self.message = format!("database {name}: {fault}");
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kind_of_an_error_and_not_its_text_says_that_the_database_is_at_fault() {
        let refused = StoreError::Refused("this file is not of this program".to_owned());
        assert!(Failure::from(ControlError::Store(refused)).of_database);
        let forbidden = ControlError::Forbidden("database is a word here".to_owned());
        assert!(!Failure::from(forbidden).of_database);
        let server = ServerError::Cloud(ControlError::Forbidden("database".to_owned()));
        assert!(!Failure::from(server).of_database);
    }
}
