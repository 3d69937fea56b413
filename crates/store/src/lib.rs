//! Migrations and all SQL; SQLite and PostgreSQL through one code.
