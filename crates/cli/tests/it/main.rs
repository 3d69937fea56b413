//! The binary from outside: arguments → exit code, stdout, stderr.

#![allow(clippy::unwrap_used, missing_docs, clippy::disallowed_methods)]

mod check;
mod cloud;
mod credentials;
mod database;
mod euca;
mod flags;
mod install;
mod lifecycle;
mod manage;
mod manual;
mod names;
mod output;
mod people;
mod postgres;
mod strangers;
mod trouble;
