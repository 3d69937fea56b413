//! Reading columns into types that cannot be wrong.

use crate::{Result, StoreError};
use novanet_model::{Ipv4Net, Micros, ModelError, parse_cidr};
use sqlx::Row;
use sqlx::any::AnyRow;
use std::fmt::Display;
use std::str::FromStr;

/// A row with its name, so that a bad column says where it is.
pub(crate) struct Reader<'r> {
    row: &'r AnyRow,
    table: &'static str,
}

impl<'r> Reader<'r> {
    pub(crate) fn new(table: &'static str, row: &'r AnyRow) -> Self {
        Self { row, table }
    }

    fn name(&self) -> String {
        let key: String = self
            .row
            .try_get::<i64, _>("id")
            .map(|id| id.to_string())
            .or_else(|_| self.row.try_get::<String, _>("id"))
            .unwrap_or_default();
        format!("{} {key}", self.table)
    }

    pub(crate) fn bad(
        &self,
        column: &'static str,
        value: impl ToString,
        reason: impl Display,
    ) -> StoreError {
        StoreError::BadRow {
            row: self.name(),
            source: ModelError::new(column, value, reason.to_string()),
        }
    }

    pub(crate) fn int(&self, column: &'static str) -> Result<i64> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn flag(&self, column: &'static str) -> Result<bool> {
        Ok(self.int(column)? != 0)
    }

    pub(crate) fn text(&self, column: &'static str) -> Result<String> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn maybe_text(&self, column: &'static str) -> Result<Option<String>> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn maybe_int(&self, column: &'static str) -> Result<Option<i64>> {
        Ok(self.row.try_get(column)?)
    }

    pub(crate) fn moment(&self, column: &'static str) -> Result<Micros> {
        Ok(Micros::new(self.int(column)?))
    }

    pub(crate) fn maybe_moment(&self, column: &'static str) -> Result<Option<Micros>> {
        Ok(self.maybe_int(column)?.map(Micros::new))
    }

    pub(crate) fn maybe_bytes(&self, column: &'static str) -> Result<Option<Vec<u8>>> {
        Ok(self.row.try_get(column)?)
    }

    /// A text column as a parsed type.
    pub(crate) fn parse<T>(&self, column: &'static str) -> Result<T>
    where
        T: FromStr<Err: Display>,
    {
        let text = self.text(column)?;
        text.parse().map_err(|e| self.bad(column, text, e))
    }

    /// A text column as a subnet, in its one notation.
    pub(crate) fn cidr(&self, column: &'static str) -> Result<Ipv4Net> {
        let text = self.text(column)?;
        parse_cidr(&text).ok_or_else(|| self.bad(column, text, "must look like 10.0.0.0/24"))
    }

    /// A text column as a parsed type; empty counts as NULL (hand edits).
    pub(crate) fn maybe<T>(&self, column: &'static str) -> Result<Option<T>>
    where
        T: FromStr<Err: Display>,
    {
        match self.maybe_text(column)?.filter(|t| !t.is_empty()) {
            None => Ok(None),
            Some(text) => text
                .parse()
                .map(Some)
                .map_err(|e| self.bad(column, text, e)),
        }
    }

    /// A number column as a smaller number.
    pub(crate) fn number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<T> {
        let value = self.int(column)?;
        T::try_from(value).map_err(|_| self.bad(column, value, "is out of range"))
    }

    pub(crate) fn maybe_number<T: TryFrom<i64>>(&self, column: &'static str) -> Result<Option<T>> {
        match self.maybe_int(column)? {
            None => Ok(None),
            Some(value) => T::try_from(value)
                .map(Some)
                .map_err(|_| self.bad(column, value, "is out of range")),
        }
    }
}
