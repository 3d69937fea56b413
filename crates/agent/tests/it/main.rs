//! The agent's rooms on a real kernel, each test in namespaces of its own.

mod image;
mod instance;
mod metadata;
