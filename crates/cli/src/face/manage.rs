//! `novanet manage`, also known as `nova-manage`.

use crate::failure::Failure;
use crate::manage::{Command, Parsed, What, config, instance_type, parse, version};
use crate::{environment, table};

/// Understands the arguments and does what they say; answers what to print.
pub(crate) fn run(args: &[String]) -> Result<String, Failure> {
    let Parsed {
        given,
        format,
        what,
    } = parse(args)?;
    let command = match what {
        What::Help(text) => return Ok(text),
        What::Run(command) => command,
    };
    // These need neither flags nor a database.
    match &command {
        Command::Version => return Ok(version::text()),
        Command::InstanceType(command) => {
            return Ok(table::render(&instance_type::rows(command)?, format));
        }
        _ => {}
    }
    let flags = environment::flags(&given)?;
    match &command {
        Command::Config => Ok(table::render(&config::rows(&flags), format)),
        Command::Network(crate::manage::network::Command::Create(create)) => {
            create.request(&flags)?;
            Err(Failure::failed("not wired yet"))
        }
        other => Err(Failure::failed(format!("{other:?}: not wired yet"))),
    }
}
