//! Use cases and controllers.
