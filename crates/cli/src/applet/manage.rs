//! `novanet manage`, also known as `nova-manage`: from arguments to the printed answer. Opens the
//! database as far as the command needs it.

use super::runtime;
use crate::args::Format;
use crate::failure::Failure;
use crate::manage::context::{Context, Needs};
use crate::manage::{
    Command, Parsed, What, audit, config, db, firewall, fixed, floating, host, image,
    instance_type, local, network, parse, project, role, service, user, version, vm, vpn,
};
use crate::{environment, say, table};
use novanet_model::flags::Flags;

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
    let format = format.unwrap_or_else(table::default_format);
    // These need neither flags nor a database.
    match &command {
        Command::Version => return Ok(version::show(format)),
        Command::InstanceType(command) => {
            return Ok(table::render(&instance_type::rows(command)?, format));
        }
        _ => {}
    }
    if command == Command::Config {
        let (flags, failure) = environment::flags_in_part(&given);
        return config::list(&flags, failure, format);
    }
    let flags = environment::flags(&given)?;
    for warning in flags.warnings() {
        say::warning(warning);
    }
    // What could never be right is said without touching the database.
    if let Command::Network(network::Command::Create(create)) = &command {
        create.request(&flags)?;
    }
    let text = runtime()?.block_on(execute(command, flags, format))?;
    Ok(match format {
        Format::Table | Format::Plain => text,
        Format::Json => as_json(text),
    })
}

/// Makes JSON of output that is no table: an object with its lines. No output stays no output.
fn as_json(text: String) -> String {
    if text.is_empty() || serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok() {
        return text;
    }
    let lines: Vec<&str> = text.lines().collect();
    table::json(&serde_json::json!({ "lines": lines }))
}

fn needs(command: &Command) -> Needs {
    match command {
        Command::Db(_) => Needs::AnySchema,
        Command::Project(command) if project::needs_secrets(command) => Needs::Secrets,
        Command::User(command) if user::needs_secrets(command) => Needs::Secrets,
        Command::Vm(command) if vm::needs_secrets(command) => Needs::Secrets,
        Command::Vpn(command) if vpn::needs_secrets(command) => Needs::Secrets,
        _ => Needs::Schema,
    }
}

/// Whether a command only reads the database: it makes none where there is none.
fn only_reads(command: &Command) -> bool {
    match command {
        Command::Audit(audit::Command::List { .. })
        | Command::Config
        | Command::InstanceType(_)
        | Command::Version => true,
        Command::Firewall(command) => match command {
            firewall::Command::Show { .. }
            | firewall::Command::Explain { .. }
            | firewall::Command::List => true,
            firewall::Command::Block { .. } | firewall::Command::Unblock { .. } => false,
        },
        // A check repairs rows that are there.
        Command::Db(command) => match command {
            db::Command::Version | db::Command::Check => true,
            db::Command::Restored(decision) => decision.is_none(),
            db::Command::Sync { .. } => false,
        },
        Command::Fixed(command) => match command {
            fixed::Command::List { .. } => true,
            fixed::Command::Reserve { .. }
            | fixed::Command::ReserveFor { .. }
            | fixed::Command::Unreserve { .. } => false,
        },
        Command::Floating(command) => match command {
            floating::Command::List { .. } => true,
            floating::Command::Create { .. }
            | floating::Command::Delete { .. }
            | floating::Command::Disassociate { .. } => false,
        },
        Command::Host(command) => match command {
            host::Command::List { .. } | host::Command::Plan { .. } => true,
            host::Command::Adopt { .. }
            | host::Command::Confirm { .. }
            | host::Command::Zone { .. }
            | host::Command::Rename { .. }
            | host::Command::Delete { .. }
            | host::Command::Cleanup { .. } => false,
        },
        Command::Image(command) => match command {
            image::Command::List => true,
            image::Command::Build { .. }
            | image::Command::Register { .. }
            | image::Command::Delete { .. } => false,
        },
        Command::Network(command) => match command {
            network::Command::List | network::Command::Show(_) => true,
            network::Command::Create(_)
            | network::Command::Delete(..)
            | network::Command::Modify(..) => false,
        },
        Command::Project(command) => match command {
            project::Command::List { .. } | project::Command::Environment { .. } => true,
            project::Command::Quota { change, .. } => change.is_none(),
            project::Command::Zipfile { .. }
            | project::Command::Modify { .. }
            | project::Command::Add { .. }
            | project::Command::Remove { .. }
            | project::Command::Create { .. }
            | project::Command::Delete { .. }
            | project::Command::Scrub(_) => false,
        },
        Command::Role(command) => match command {
            role::Command::Has { .. } | role::Command::List { .. } => true,
            role::Command::Add { .. } | role::Command::Remove { .. } => false,
        },
        Command::User(command) => match command {
            user::Command::Exports { .. } | user::Command::List => true,
            user::Command::Create { .. }
            | user::Command::Modify { .. }
            | user::Command::Rotate { .. }
            | user::Command::Delete { .. } => false,
        },
        Command::Service(command) => matches!(command, service::Command::List { .. }),
        Command::Vm(command) => match command {
            vm::Command::List { .. } => true,
            vm::Command::Run(_) | vm::Command::Terminate { .. } => false,
        },
        Command::Vpn(command) => match command {
            vpn::Command::List { .. } => true,
            vpn::Command::Change { .. }
            | vpn::Command::Spawn
            | vpn::Command::Revoke { .. }
            | vpn::Command::Profile { .. }
            | vpn::Command::Run { .. }
            | vpn::Command::Stop { .. } => false,
        },
    }
}

async fn execute(command: Command, flags: Flags, format: Format) -> Result<String, Failure> {
    // These ask this host, not the database.
    let command = match command {
        Command::Host(host::Command::Confirm { interface }) => {
            return host::confirm(interface.as_ref(), &flags, format);
        }
        Command::Firewall(
            command @ (firewall::Command::Show { .. } | firewall::Command::Explain { .. }),
        ) => {
            return local::firewall(command, &flags, format).await;
        }
        Command::Host(command) if local::is_local(&command) => {
            return local::host(command, &flags, format).await;
        }
        Command::Image(image::Command::Build {
            what,
            output: Some(path),
        }) => {
            return image::build_file(&what, &path);
        }
        other => other,
    };
    let cx = if only_reads(&command) {
        Context::read(flags, format, needs(&command)).await?
    } else {
        Context::open(flags, format, needs(&command)).await?
    };
    let done = dispatch(command, &cx).await;
    let done = done.map_err(|failure| failure.in_database(cx.cloud.db().name()));
    // A checkpoint: all writes are in the file itself then.
    cx.cloud.close().await;
    done
}

async fn dispatch(command: Command, cx: &Context) -> Result<String, Failure> {
    match command {
        Command::Audit(command) => audit::run(command, cx).await,
        Command::Db(command) => db::run(command, cx).await,
        Command::Firewall(command) => firewall::run(command, cx).await,
        Command::Fixed(command) => fixed::run(command, cx).await,
        Command::Floating(command) => floating::run(command, cx).await,
        Command::Host(host::Command::List { zone }) => host::list(zone.as_deref(), cx).await,
        Command::Host(host::Command::Adopt { device }) => host::adopt(&device, cx).await,
        Command::Host(host::Command::Zone { host, zone }) => {
            cx.cloud.set_zone(&host, &zone).await?;
            Ok(String::new())
        }
        Command::Host(host::Command::Rename { host, name }) => host::rename(&host, &name, cx).await,
        Command::Host(host::Command::Delete { host }) => {
            cx.cloud.delete_host(&host).await?;
            Ok(String::new())
        }
        Command::Image(command) => image::run(command, cx).await,
        Command::Network(command) => network::run(command, cx).await,
        Command::Project(command) => project::run(command, cx).await,
        Command::Role(command) => role::run(command, cx).await,
        Command::Service(command) => service::run(command, cx).await,
        Command::User(command) => user::run(command, cx).await,
        Command::Vm(command) => vm::execute(command, cx).await,
        Command::Vpn(command) => vpn::run(command, cx).await,
        Command::Config | Command::Host(_) | Command::InstanceType(_) | Command::Version => {
            unreachable!("done before the database was opened")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::as_json;

    #[test]
    fn text_becomes_json_and_json_stays_as_it_is() {
        let plan = "br100\n  gateway \"10.0.0.1\"\n".to_owned();
        assert_eq!(
            as_json(plan),
            "{\n  \"lines\": [\n    \"br100\",\n    \"  gateway \\\"10.0.0.1\\\"\"\n  ]\n}\n"
        );
        for same in ["", "7\n", "[]\n", "{\"a\": [1]}\n"] {
            assert_eq!(as_json(same.to_owned()), same);
        }
    }
}
